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

/* silu(linear(x, gate)) * linear(x, up): one launch over both matrices, which writes the product. It stands where the product stood. */
static bool fuse_linear_glu(struct bl_graph *g, struct bl_node *n, const struct uses *uses)
{
    if (n->op != BL_NODE_GLU || n->in[0] == n->in[1])
        return false;
    struct bl_node *gate = producer(g, n->in[0]), *up = producer(g, n->in[1]);
    for (uint32_t side = 0; side < 2; side++) {
        const struct bl_node *linear = side ? up : gate;
        if (!linear || linear->op != BL_NODE_LINEAR || linear->in[1] != BL_NO_ID || linear->bias.tensor != BL_NO_ID || uses->count[n->in[side]] != 1)
            return false;
    }
    if (gate->in[0] != up->in[0] || !bl_formats_mix(gate->weight.format, up->weight.format))
        return false;
    uint32_t x = gate->in[0];
    n->op = BL_NODE_LINEAR_GLU;
    n->n_in = 1;
    n->in[0] = x;
    n->in[1] = BL_NO_ID;
    n->weight = gate->weight;
    n->up = up->weight;
    gate->dead = up->dead = true;
    return true;
}

/* The rotations of q and k and the stores of k and v before an attention become one node, in the place of the second store. A norm between
 * a linear and its rotation stays where it is; a head that is not rotated leaves all of them as they are. */
static bool fuse_rope_store(struct bl_graph *g, struct bl_node *n, const struct uses *uses)
{
    if (n->op != BL_NODE_ATTENTION || n - g->nodes < 2)
        return false;
    struct bl_node *v = n - 1, *k = n - 2, *rope_q = producer(g, n->in[0]), *rope_k;
    if (v->op != BL_NODE_KV_STORE || v->kv_part != 1 || v->layer != n->layer || k->op != BL_NODE_KV_STORE || k->kv_part != 0 || k->layer != n->layer)
        return false;
    rope_k = producer(g, k->in[0]);
    if (!rope_q || rope_q->op != BL_NODE_ROPE || uses->count[n->in[0]] != 1 || !rope_k || rope_k->op != BL_NODE_ROPE || uses->count[k->in[0]] != 1)
        return false;
    const struct bl_params_attention *shape = &n->params.attention;
    const struct bl_params_rope *q_turns = &rope_q->params.rope, *k_turns = &rope_k->params.rope;
    if (rope_q->in[1] != rope_k->in[1] || q_turns->d_head != shape->d_k || k_turns->d_head != shape->d_k || q_turns->n_rot != k_turns->n_rot ||
        q_turns->layout != k_turns->layout)
        return false;
    *v = (struct bl_node){.op = BL_NODE_ROPE_STORE, .n_in = 4, .in = {rope_q->in[0], rope_k->in[0], v->in[0], rope_q->in[1]}, .out = n->in[0],
                          .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID, .layer = n->layer, .line = n->line, .block = n->block,
                          .params.rope_store = {shape->n_head, shape->n_head_kv, shape->d_k, shape->d_v, q_turns->n_rot, q_turns->layout, 0}};
    k->dead = rope_q->dead = rope_k->dead = true;
    return true;
}

static const struct rule {
    const char *name;
    bool (*apply)(struct bl_graph *g, struct bl_node *n, const struct uses *uses);
} rules[] = {
    {"glu", fuse_glu},
    {"residual", fuse_residual},
    {"quantize", fuse_quantize},
    {"linear_glu", fuse_linear_glu},
    {"rope_store", fuse_rope_store},
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
