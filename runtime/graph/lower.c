/* lower.c: chooses activation formats. Where a linear multiplies a quantised weight with 8-bit activations, its input goes through one
 * quantize node, shared by all linears that read the same value. Knows no device. */
#include "base/error.h"
#include "base/limits.h"
#include "graph/graph.h"

#include <string.h>

static bool wants_q8(const struct bl_graph *g, const struct bl_node *n)
{
    return n->op == BL_NODE_LINEAR && bl_formats[n->weight.format].is_quantized && g->values[n->in[0]].format == BL_FMT_F32;
}

bl_status bl_graph_lower(struct bl_graph *g, bool q8)
{
    if (!q8)
        return BL_OK;
    uint32_t n_old = g->n_nodes, n_values = g->n_values;
    struct bl_node *old = g->nodes;
    uint32_t *q8_of = bl_arena_alloc(&g->arena, n_values, sizeof *q8_of); /* value + 1; 0: not yet */
    g->nodes = bl_arena_alloc(&g->arena, 2 * (uint64_t)n_old, sizeof *g->nodes);
    if (!q8_of || !g->nodes)
        BL_FAIL(BL_ELIMIT, "%s: the graph needs more memory than its limit", g->text_name);
    g->cap_nodes = 2 * n_old;
    g->n_nodes = 0;
    for (uint32_t i = 0; i < n_old; i++) {
        struct bl_node node = old[i];
        if (wants_q8(g, &node)) {
            uint32_t x = node.in[0];
            if (!q8_of[x]) {
                struct bl_node quantize = {.op = BL_NODE_QUANTIZE, .n_in = 1, .in = {x}, .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID,
                                           .layer = BL_NO_ID, .line = node.line, .block = node.block};
                uint32_t value;
                BL_TRY(bl_graph_add_value(g, g->values[x].rows, g->values[x].columns, BL_FMT_Q8, &value));
                g->values[value].producer = g->n_nodes;
                g->values[value].name = g->values[x].name;
                quantize.out = value;
                g->nodes[g->n_nodes++] = quantize;
                q8_of[x] = value + 1;
            }
            node.in[0] = q8_of[x] - 1;
        }
        if (node.out != BL_NO_ID)
            g->values[node.out].producer = g->n_nodes;
        g->nodes[g->n_nodes++] = node;
    }
    return BL_OK;
}
