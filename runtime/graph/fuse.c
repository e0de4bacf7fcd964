/* fuse.c: rewrites of the graph, as a table. A rule looks at one node and may fold it into a neighbour; it keeps the order of nodes a legal
 * serial order and the numbers bit for bit what they were. */
#include "base/error.h"
#include "graph/graph.h"

#include <string.h>

struct uses {
    uint32_t *count; /* by value */
};

static struct bl_node *producer(struct bl_graph *g, uint32_t value)
{
    uint32_t p = g->values[value].producer;
    return p == BL_NO_ID ? NULL : &g->nodes[p];
}

/* f(gate) * up: the activation is computed where it is multiplied. */
static bool fuse_glu(struct bl_graph *g, struct bl_node *n, const struct uses *uses)
{
    if (n->op != BL_NODE_BINARY || n->params.binary.kind != BL_BINARY_MUL || n->n_in != 2)
        return false;
    for (uint32_t side = 0; side < 2; side++) {
        struct bl_node *f = producer(g, n->in[side]);
        if (!f || f->op != BL_NODE_UNARY || f->params.unary.kind >= BL_UNARY_SCALE || uses->count[n->in[side]] != 1)
            continue;
        struct bl_params_glu glu = {n->params.binary.columns, n->params.binary.rows, f->params.unary.kind};
        uint32_t up = n->in[1 - side];
        n->op = BL_NODE_GLU;
        n->in[0] = f->in[0];
        n->in[1] = up;
        n->params.glu = glu;
        f->dead = true;
        return true;
    }
    return false;
}

/* x + linear(h): the linear adds the residual as it writes. It moves to the place of the add, its only user. */
static bool fuse_residual(struct bl_graph *g, struct bl_node *n, const struct uses *uses)
{
    if (n->op != BL_NODE_BINARY || n->params.binary.kind != BL_BINARY_ADD || n->n_in != 2 || n->in[0] == n->in[1])
        return false;
    for (uint32_t side = 2; side-- > 0;) {
        struct bl_node *linear = producer(g, n->in[side]);
        if (!linear || linear->op != BL_NODE_LINEAR || linear->in[1] != BL_NO_ID || uses->count[n->in[side]] != 1)
            continue;
        uint32_t residual = n->in[1 - side], out = n->out, block = n->block;
        linear->dead = true;
        *n = *linear;
        n->dead = false;
        n->in[1] = residual;
        n->out = out;
        n->block = block;
        return true;
    }
    return false;
}

/* A value that is only read as q8 is written as q8. */
static bool fuse_quantize(struct bl_graph *g, struct bl_node *n, const struct uses *uses)
{
    if (n->op != BL_NODE_QUANTIZE || uses->count[n->in[0]] != 1)
        return false;
    struct bl_node *p = producer(g, n->in[0]);
    uint32_t group; /* columns that one workgroup of the producer writes */
    switch (p->op) {
    case BL_NODE_RMS_NORM:
    case BL_NODE_LAYER_NORM: group = p->params.norm.columns; break;
    case BL_NODE_ATTENTION: group = p->params.attention.d_v; break;
    case BL_NODE_GLU: group = p->params.glu.columns; break;
    default: return false;
    }
    if (group % BL_Q8_COLUMNS)
        return false;
    p->out = n->out;
    g->values[n->out].producer = (uint32_t)(p - g->nodes);
    n->dead = true;
    return true;
}

static const struct rule {
    const char *name;
    bool (*apply)(struct bl_graph *g, struct bl_node *n, const struct uses *uses);
} rules[] = {
    {"glu", fuse_glu},
    {"residual", fuse_residual},
    {"quantize", fuse_quantize},
};

static void count_uses(const struct bl_graph *g, uint32_t *count)
{
    memset(count, 0, g->n_values * sizeof *count);
    count[g->logits]++;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; !g->nodes[i].dead && k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != BL_NO_ID)
                count[g->nodes[i].in[k]]++;
}

static void drop_dead(struct bl_graph *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].dead)
            continue;
        g->nodes[n] = g->nodes[i];
        if (g->nodes[n].out != BL_NO_ID)
            g->values[g->nodes[n].out].producer = n;
        n++;
    }
    g->n_nodes = n;
}

bl_status bl_graph_fuse(struct bl_graph *g)
{
    struct uses uses = {bl_arena_alloc(&g->arena, g->n_values, sizeof *uses.count)};
    if (!uses.count)
        BL_FAIL(BL_ELIMIT, "%s: the graph needs more memory than its limit", g->text_name);
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        count_uses(g, uses.count);
        for (uint32_t i = 0; i < g->n_nodes; i++)
            if (!g->nodes[i].dead)
                (void)rules[r].apply(g, &g->nodes[i], &uses);
        drop_dead(g);
    }
    return BL_OK;
}
