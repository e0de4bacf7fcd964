/* lower.c: chooses activation formats. Where a linear multiplies a quantised weight with 8-bit activations, its input goes through one
 * quantize node, shared by all linears that read the same value. Knows no device. */
#include "base/error.h"
#include "base/limits.h"
#include "graph/graph.h"

#include <string.h>

/* What an input has already been made into, for the nodes that come later. */
struct made {
    uint32_t x, tables, value; /* tables: BL_NO_ID after quantize */
};

static bool wants(const struct bl_graph *g, const struct bl_node *n, bool q8)
{
    if (n->op != BL_NODE_LINEAR || g->values[n->in[0]].format != BL_FMT_F32)
        return false;
    return n->weight.format == BL_FMT_BX || (q8 && bl_formats[n->weight.format].is_quantized);
}

/* Appends the node that makes x into what the linear reads. */
static bl_status make_input(struct bl_graph *g, const struct bl_node *linear, bool q8, uint32_t *value)
{
    uint32_t x = linear->in[0], columns = g->values[x].columns;
    struct bl_node node = {.op = BL_NODE_QUANTIZE, .n_in = 1, .in = {x}, .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID,
                           .layer = BL_NO_ID, .line = linear->line, .block = linear->block};
    if (linear->weight.format == BL_FMT_BX) {
        const uint32_t blocks = (columns + BL_Q8_COLUMNS - 1) / BL_Q8_COLUMNS;
        node.op = BL_NODE_STAGE;
        node.weight = (struct bl_weight){.tensor = linear->weight.input, .rows = 1};
        node.params.stage = (struct bl_params_stage){columns, blocks, g->values[x].rows};
        columns = blocks * BL_Q8_COLUMNS;
    }
    BL_TRY(bl_graph_add_value(g, g->values[x].rows, columns, q8 ? BL_FMT_Q8 : BL_FMT_F32, value));
    g->values[*value].producer = g->n_nodes;
    g->values[*value].name = g->values[x].name;
    node.out = *value;
    g->nodes[g->n_nodes++] = node;
    return BL_OK;
}

bl_status bl_graph_lower(struct bl_graph *g, bool q8)
{
    uint32_t n_old = g->n_nodes, n_made = 0;
    struct bl_node *old = g->nodes;
    struct made *made = bl_arena_alloc(&g->arena, n_old, sizeof *made);
    g->nodes = bl_arena_alloc(&g->arena, 2 * (uint64_t)n_old, sizeof *g->nodes);
    if (!made || !g->nodes)
        BL_FAIL(BL_ELIMIT, "%s: the graph needs more memory than its limit", g->text_name);
    g->cap_nodes = 2 * n_old;
    g->n_nodes = 0;
    for (uint32_t i = 0; i < n_old; i++) {
        struct bl_node node = old[i];
        if (wants(g, &node, q8)) {
            const uint32_t x = node.in[0], tables = node.weight.format == BL_FMT_BX ? node.weight.input : BL_NO_ID;
            uint32_t m = n_made; /* the readers of a value stand close together: look backwards */
            while (m > 0 && (made[m - 1].x != x || made[m - 1].tables != tables))
                m--;
            if (m == 0) {
                made[n_made] = (struct made){x, tables, BL_NO_ID};
                BL_TRY(make_input(g, &node, q8, &made[n_made].value));
                m = ++n_made;
            }
            node.in[0] = made[m - 1].value;
        }
        if (node.out != BL_NO_ID)
            g->values[node.out].producer = g->n_nodes;
        g->nodes[g->n_nodes++] = node;
    }
    return BL_OK;
}
