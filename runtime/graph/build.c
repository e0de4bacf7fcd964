/* build.c: adds values and nodes to a graph, within its limits. Knows no op's meaning. */
#include "base/error.h"
#include "base/limits.h"
#include "graph/graph.h"

#include <string.h>

const char *bl_node_op_name(enum bl_node_op op)
{
    static const char *const names[BL_NODE_OP_COUNT] = {
#define BL_NODE_NAME(NAME, name) #name,
        BL_NODE_OPS(BL_NODE_NAME)
#undef BL_NODE_NAME
    };
    return names[op];
}

/* Arrays grow by doubling inside the arena: what is left behind is at most as much again. */
static bl_status grow(struct bl_graph *g, void **array, uint32_t count, uint32_t *cap, uint64_t size)
{
    if (count < *cap)
        return BL_OK;
    uint32_t wanted = *cap ? *cap * 2 : 256;
    void *grown = bl_arena_alloc(&g->arena, wanted, size);
    if (!grown)
        BL_FAIL(BL_ELIMIT, "%s: the graph needs more memory than its limit of %llu bytes", g->text_name, (unsigned long long)g->arena.limit);
    if (count)
        memcpy(grown, *array, count * size);
    *array = grown;
    *cap = wanted;
    return BL_OK;
}

bl_status bl_graph_add_value(struct bl_graph *g, uint32_t rows, uint32_t columns, enum bl_format format, uint32_t *out)
{
    if (columns == 0 || columns > BL_LIMIT_GRAPH_COLUMNS)
        BL_FAIL(BL_ELIMIT, "%s: a value of %u columns, limit %u", g->text_name, columns, BL_LIMIT_GRAPH_COLUMNS);
    void *values = g->values;
    BL_TRY(grow(g, &values, g->n_values, &g->cap_values, sizeof *g->values));
    g->values = values;
    *out = g->n_values;
    g->values[g->n_values++] = (struct bl_value){columns, rows, format, BL_NO_ID, NULL};
    return BL_OK;
}

bl_status bl_graph_add_constant(struct bl_graph *g, const uint32_t *words, uint32_t n, uint32_t *first)
{
    uint32_t padded = (n + BL_CONSTANT_ALIGN - 1) / BL_CONSTANT_ALIGN * BL_CONSTANT_ALIGN;
    void *constants = g->constants;
    if (g->n_constants + padded > BL_LIMIT_GRAPH_CONSTANTS)
        BL_FAIL(BL_ELIMIT, "%s: more than %u words of constants", g->text_name, BL_LIMIT_GRAPH_CONSTANTS);
    while (g->n_constants + padded > g->cap_constants)
        BL_TRY(grow(g, &constants, g->cap_constants, &g->cap_constants, sizeof *g->constants));
    g->constants = constants;
    *first = g->n_constants;
    memset(g->constants + g->n_constants, 0, padded * sizeof *words);
    memcpy(g->constants + g->n_constants, words, n * sizeof *words);
    g->n_constants += padded;
    return BL_OK;
}

bl_status bl_graph_add_node(struct bl_graph *g, const struct bl_node *node, uint32_t rows, uint32_t columns, uint32_t *value)
{
    struct bl_node copy = *node; /* the caller's may lie in the array that grows */
    if (g->n_nodes >= BL_LIMIT_GRAPH_NODES)
        BL_FAIL(BL_ELIMIT, "%s:%u: more than %u nodes", g->text_name, node->line, BL_LIMIT_GRAPH_NODES);
    void *nodes = g->nodes;
    BL_TRY(grow(g, &nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes));
    g->nodes = nodes;
    copy.out = BL_NO_ID;
    if (value) {
        BL_TRY(bl_graph_add_value(g, rows, columns, BL_FMT_F32, &copy.out));
        g->values[copy.out].producer = g->n_nodes;
        *value = copy.out;
    }
    g->nodes[g->n_nodes++] = copy;
    return BL_OK;
}
