/* cut.c: a part of a graph as a graph of its own, for a model on several devices. Owns what crosses a border; knows no device and no sizes:
 * who computes which part is decided in the session's room. */
#include "base/error.h"
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

uint32_t bl_graph_units(const struct bl_graph *g, uint32_t *unit_of_node)
{
    uint32_t unit = 0, block = BL_NO_ID, last = 0; /* last: past the last node of an iteration */
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].block != BL_NO_ID)
            last = i + 1;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        uint32_t here = g->nodes[i].block;
        if (here == BL_NO_ID && i < last) /* what iterations share, a table of turns, is made where the first of them needs it */
            here = block;
        unit += i && here != block;
        block = here;
        if (unit_of_node)
            unit_of_node[i] = unit;
    }
    return unit + 1;
}

enum { MADE_BEFORE = 1, MADE_HERE = 2, READ_HERE = 4, READ_AFTER = 8 };

/* For each value, where its producer and its readers stand. */
static void look_at_values(const struct bl_graph *g, uint32_t first, uint32_t end, uint8_t *seen)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        bool here = i >= first && i < end;
        if (n->out != BL_NO_ID && i < end)
            seen[n->out] |= here ? MADE_HERE : MADE_BEFORE;
        for (uint32_t k = 0; k < n->n_in; k++)
            if (n->in[k] != BL_NO_ID && i >= first)
                seen[n->in[k]] |= here ? READ_HERE : READ_AFTER;
    }
}

static void add_node(struct bl_graph *part, const struct bl_node *node)
{
    if (node->out != BL_NO_ID)
        part->values[node->out].producer = part->n_nodes;
    part->nodes[part->n_nodes++] = *node;
}

static bl_status copy_part(const struct bl_graph *g, uint32_t first, uint32_t end, const uint8_t *seen, struct bl_graph *part)
{
    uint32_t n_crossing = 0;
    for (uint32_t v = 0; v < g->n_values; v++)
        n_crossing += (seen[v] & (MADE_BEFORE | READ_HERE)) == (MADE_BEFORE | READ_HERE) || (seen[v] & (MADE_HERE | READ_AFTER)) == (MADE_HERE | READ_AFTER);
    part->nodes = bl_arena_alloc(&part->arena, (uint64_t)(end - first) + n_crossing, sizeof *part->nodes);
    part->values = bl_arena_alloc(&part->arena, g->n_values, sizeof *part->values);
    if (!part->nodes || !part->values)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a part of the graph", g->text_name);
    part->cap_nodes = end - first + n_crossing;
    part->n_values = part->cap_values = g->n_values;
    memcpy(part->values, g->values, g->n_values * sizeof *part->values);
    for (uint32_t v = 0; v < g->n_values; v++)
        part->values[v].producer = BL_NO_ID;
    struct bl_node border = {.out = BL_NO_ID, .layer = BL_NO_ID, .block = BL_NO_ID, .line = g->nodes[first].line};
    border.weight.tensor = border.bias.tensor = border.up.tensor = BL_NO_ID;
    border.op = BL_NODE_IMPORT;
    for (uint32_t v = 0; v < g->n_values; v++) {
        border.out = v;
        if ((seen[v] & (MADE_BEFORE | READ_HERE)) == (MADE_BEFORE | READ_HERE))
            add_node(part, &border);
    }
    for (uint32_t i = first; i < end; i++)
        add_node(part, &g->nodes[i]);
    border = (struct bl_node){.op = BL_NODE_EXPORT, .n_in = 1, .out = BL_NO_ID, .weight = border.weight, .bias = border.bias, .up = border.up, .layer = BL_NO_ID,
                              .line = g->nodes[end - 1].line, .block = BL_NO_ID};
    for (uint32_t v = 0; v < g->n_values; v++) {
        border.in[0] = v;
        if ((seen[v] & (MADE_HERE | READ_AFTER)) == (MADE_HERE | READ_AFTER))
            add_node(part, &border);
    }
    part->logits = seen[g->logits] & MADE_HERE ? g->logits : BL_NO_ID;
    return BL_OK;
}

bl_status bl_graph_cut(const struct bl_graph *g, uint32_t first, uint32_t end, struct bl_graph **out)
{
    *out = NULL;
    struct bl_graph *part = calloc(1, sizeof *part);
    uint8_t *seen = calloc(g->n_values, 1);
    if (!part || !seen) {
        free(part);
        free(seen);
        BL_FAIL(BL_ENOMEM, "%s: no memory for a part of the graph", g->text_name);
    }
    *part = (struct bl_graph){.text_name = g->text_name, .kv_layers = g->kv_layers, .n_kv_layers = g->n_kv_layers, .cap_kv_layers = g->cap_kv_layers,
                              .constants = g->constants, .n_constants = g->n_constants, .cap_constants = g->cap_constants};
    bl_arena_init(&part->arena, 0);
    look_at_values(g, first, end, seen);
    bl_status status = copy_part(g, first, end, seen, part);
    free(seen);
    if (status != BL_OK) {
        bl_graph_destroy(part);
        return status;
    }
    *out = part;
    return BL_OK;
}
