/* graph_rewrites.c: where the rewrites of lower.c and fuse.c apply and where they must not, and which tensors count as used. */
#include "graph_fake.h"

#include "base/error.h"

static struct fake f;

/* x is the embedding of 64 columns, s and t are 64 x 64 (f32 and q8_0), n a norm of 64, odd 64 -> 40, back 40 -> 64. */
static void sources(void)
{
    fake_least(&f);
    fake_tensor(&f, "s.weight", BL_FMT_F32, 64, 64);
    fake_tensor(&f, "t.weight", BL_FMT_Q8_0, 64, 64);
    fake_tensor(&f, "n.weight", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "n8.weight", BL_FMT_F32, 8, 1);
    fake_tensor(&f, "odd.weight", BL_FMT_F32, 64, 40);
    fake_tensor(&f, "wide.weight", BL_FMT_F32, 64, 96);
    fake_tensor(&f, "tall.weight", BL_FMT_Q8_0, 96, 64);
    fake_tensor(&f, "b.weight", BL_FMT_F32, 64, 64);
    fake_tensor(&f, "b.bias", BL_FMT_F32, 64, 1);
}

static struct bl_graph *rewritten(const char *body, const char *last, bool q8)
{
    char text[2048];
    snprintf(text, sizeof text, "x = embed(tokens, token_embd)\n%s\nlogits = linear(select(%s, outputs), token_embd)\n", body, last);
    sources();
    struct bl_graph *g = must_parse(&f, text);
    cr_assert_eq(bl_graph_lower(g, q8), BL_OK);
    check_serial_order(g);
    cr_assert_eq(bl_graph_fuse(g), BL_OK);
    check_serial_order(g);
    return g;
}

static uint32_t residuals(const struct bl_graph *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i].op == BL_NODE_LINEAR && g->nodes[i].in[1] != BL_NO_ID;
    return n;
}

#define TURN "pos, d_head=32, base=100, layout=\"norm\""
/* What is left of a body after the rewrites. quantize: nodes that stay; q8: values that some node writes as q8. */
static const struct {
    const char *body, *last;
    uint32_t glu, unary, binary, residuals, quantize, q8, linear_glu, rope_store;
} cases[] = {
    /* glu */
    {"y = silu(linear(x, s)) * x", "y", 1, 0, 0, 0, 0, 0},
    {"y = x * gelu(linear(x, s))", "y", 1, 0, 0, 0, 0, 0},
    {"y = silu(x) * gelu(x)", "y", 1, 1, 0, 0, 0, 0},
    {"a = silu(x)   y = a * x   z = y - a", "z", 0, 1, 2, 0, 0, 0},
    {"a = silu(x)   y = a * a", "y", 0, 1, 1, 0, 0, 0},
    {"y = silu(x) + x", "y", 0, 1, 1, 0, 0, 0},
    {"y = silu(x) * n", "y", 0, 1, 1, 0, 0, 0},
    {"y = (x * 2) * x", "y", 0, 1, 1, 0, 0, 0},
    {"y = softcap(x, 3) * x", "y", 0, 1, 1, 0, 0, 0},
    {"y = silu(silu(x)) * x", "y", 1, 1, 0, 0, 0, 0},
    {"y = silu(silu(x) * x) * x", "y", 2, 0, 0, 0, 0, 0},
    /* residual */
    {"y = x + linear(x, s)", "y", 0, 0, 0, 1, 0, 0},
    {"y = linear(x, s) + x", "y", 0, 0, 0, 1, 0, 0},
    {"y = linear(x, s) + linear(x, s)", "y", 0, 0, 0, 1, 0, 0},
    {"a = linear(x, s)   y = a + a", "y", 0, 0, 1, 0, 0, 0},
    {"a = linear(x, s)   y = (a + x) * a", "y", 0, 0, 2, 0, 0, 0},
    {"y = linear(x, s) - x", "y", 0, 0, 1, 0, 0, 0},
    {"y = linear(x, s) * x", "y", 0, 0, 1, 0, 0, 0},
    {"y = linear(x, s) + n", "y", 0, 0, 1, 0, 0, 0},
    {"y = (x + linear(x, s)) + silu(x)", "y", 0, 1, 1, 1, 0, 0},
    {"y = x + linear(silu(x), s) + linear(x, s)", "y", 0, 1, 0, 2, 0, 0},
    {"a = linear(x, s)   b = rms_norm(x, n, 0.1)   y = a + b", "y", 0, 0, 0, 1, 0, 0},
    /* quantize into the producer */
    {"y = linear(rms_norm(x, n, 0.1), t)", "y", 0, 0, 0, 0, 0, 1},
    {"y = linear(layer_norm(x, n, 0.1), t)", "y", 0, 0, 0, 0, 0, 1},
    {"h = rms_norm(x, n, 0.1)   y = linear(h, t) * linear(h, t)", "y", 0, 0, 1, 0, 0, 1},
    {"h = rms_norm(x, n, 0.1)   y = linear(h, t) * linear(h, s)", "y", 0, 0, 1, 0, 1, 1},
    {"h = rms_norm(x, n, 0.1)   y = linear(h, t) * h", "y", 0, 0, 1, 0, 1, 1},
    {"y = linear(rms_norm(x, n8, 0.1), t)", "y", 0, 0, 0, 0, 1, 1},
    {"y = linear(x, t)", "y", 0, 0, 0, 0, 1, 1},
    {"y = linear(silu(x), t)", "y", 0, 1, 0, 0, 1, 1},
    {"y = linear(silu(x) * x, t)", "y", 1, 0, 0, 0, 0, 1},
    {"y = x + linear(silu(x) * x, t)", "y", 1, 0, 0, 1, 0, 1},
    {"y = linear(silu(linear(x, wide)) * linear(x, wide), tall)", "y", 0, 0, 0, 0, 0, 1, 1},
    {"y = linear(attention(x, x, x, layer=0, d_head=32), t)", "y", 0, 0, 0, 0, 0, 1},
    {"y = linear(attention(x, x, x, layer=0, d_head=16), t)", "y", 0, 0, 0, 0, 1, 1},
    {"h = rms_norm(x, n, 0.1)   a = linear(h, t)   y = x + a   z = linear(rms_norm(y, n, 0.1), t)", "z", 0, 0, 0, 1, 0, 2},
    /* glu into the linears that it reads */
    {"y = silu(linear(x, s)) * linear(x, s)", "y", 0, 0, 0, 0, 0, 0, 1},
    {"y = linear(linear(x, wide) * gelu_tanh(linear(x, wide)), tall)", "y", 0, 0, 0, 0, 0, 1, 1},
    {"y = silu(linear(x, t)) * linear(x, t)", "y", 0, 0, 0, 0, 1, 1, 1},
    {"y = silu(linear(x, t)) * linear(x, s)", "y", 1, 0, 0, 0, 1, 1}, /* one reads q8, the other f32 */
    {"y = silu(linear(x, b)) * linear(x, s)", "y", 1, 0, 0, 0, 0, 0},
    {"y = silu(linear(x, s)) * linear(x, b)", "y", 1, 0, 0, 0, 0, 0},
    {"a = linear(x, s)   y = silu(linear(x, s)) * a + a", "y", 1, 0, 1, 0, 0, 0},
    {"a = linear(x, s)   y = silu(a) * a", "y", 1, 0, 0, 0, 0, 0},
    {"z = silu(x)   y = silu(linear(x, s)) * linear(z, s)", "y", 1, 1, 0, 0, 0, 0},
    {"y = silu(linear(x, s) + x) * linear(x, s)", "y", 1, 0, 0, 1, 0, 0},
    {"y = silu(linear(x, s)) * x", "y", 1, 0, 0, 0, 0, 0},
    {"y = x + linear(silu(linear(x, t)) * linear(x, t), t)", "y", 0, 0, 0, 1, 1, 2, 1},
    /* the way into the cache */
    {"y = attention(rope(x, " TURN "), rope(x, " TURN "), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0, 0, 1},
    {"y = linear(attention(rope(x, " TURN "), rope(linear(x, s), " TURN "), linear(x, wide), layer=0, d_head=32), tall)", "y", 0, 0, 0, 0, 1, 1, 0, 1},
    {"y = attention(rope(rms_norm(x, n8, 0.1), " TURN "), rope(x, " TURN "), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0, 0, 1},
    {"y = attention(x, rope(x, " TURN "), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
    {"y = attention(rope(x, " TURN "), x, x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
    {"a = rope(x, " TURN ")   y = attention(a, a, x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
    {"a = rope(x, " TURN ")   y = attention(a, rope(x, " TURN "), x, layer=0, d_head=32) + a", "y", 0, 0, 1, 0, 0, 0},
    {"a = rope(x, " TURN ")   y = attention(rope(x, " TURN "), a, x, layer=0, d_head=32) + a", "y", 0, 0, 1, 0, 0, 0},
    {"y = attention(rope(x, " TURN "), rope(x, pos, d_head=32, base=10, layout=\"norm\"), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
    {"y = attention(rope(x, " TURN "), rope(x, pos, d_head=32, base=100, layout=\"neox\"), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
    {"y = attention(rope(x, " TURN "), rope(x, " TURN "), x, layer=0, d_head=16)", "y", 0, 0, 0, 0, 0, 0},
    {"y = attention(rope(x, " TURN "), rope(x, " TURN ", n_rot=16), x, layer=0, d_head=32)", "y", 0, 0, 0, 0, 0, 0},
};

Test(graph_rewrites, apply_exactly_where_they_may)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bl_graph *g = rewritten(cases[i].body, cases[i].last, true);
        uint32_t q8 = 0;
        for (uint32_t n = 0; n < g->n_nodes; n++)
            q8 += g->nodes[n].out != BL_NO_ID && g->values[g->nodes[n].out].format == BL_FMT_Q8;
        const uint32_t stores = cases[i].rope_store, attentions = count_ops(g, BL_NODE_ATTENTION);
        cr_expect_eq(count_ops(g, BL_NODE_LINEAR_GLU), cases[i].linear_glu, "linear_glu: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_ROPE_STORE), stores, "rope_store: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_KV_STORE), 2 * (attentions - stores), "kv_store: %s", cases[i].body);
        cr_expect(!stores || !count_ops(g, BL_NODE_ROPE), "rope: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_GLU), cases[i].glu, "glu: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_UNARY), cases[i].unary, "unary: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_BINARY), cases[i].binary, "binary: %s", cases[i].body);
        cr_expect_eq(residuals(g), cases[i].residuals, "residuals: %s", cases[i].body);
        cr_expect_eq(count_ops(g, BL_NODE_QUANTIZE), cases[i].quantize, "quantize: %s", cases[i].body);
        cr_expect_eq(q8, cases[i].q8, "q8 values: %s", cases[i].body);
        bl_graph_destroy(g);
    }
}

/* Each linear on a quantised weight reads q8, no other node does; without q8 nothing changes. */
Test(graph_rewrites, who_reads_q8)
{
    for (int q8 = 0; q8 < 2; q8++) {
        struct bl_graph *g = rewritten("h = rms_norm(x, n, 0.1)   y = silu(linear(h, t)) * linear(h, s) + linear(x, t)", "y", q8);
        for (uint32_t i = 0; i < g->n_nodes; i++)
            for (uint32_t k = 0; k < g->nodes[i].n_in; k++) {
                const struct bl_node *n = &g->nodes[i];
                if (n->in[k] == BL_NO_ID)
                    continue;
                bool wants = q8 && n->op == BL_NODE_LINEAR && k == 0 && bl_formats[n->weight.format].is_quantized;
                cr_assert_eq(g->values[n->in[k]].format, wants ? BL_FMT_Q8 : BL_FMT_F32);
            }
        cr_assert_eq(count_ops(g, BL_NODE_QUANTIZE), q8 ? 2 : 0);
        bl_graph_destroy(g);
    }
}

/* What the folded nodes look like. */
Test(graph_rewrites, operands_of_folded_nodes)
{
    struct bl_graph *g = rewritten("a = linear(x, s)   y = a * gelu_tanh(x)", "y", false);
    const struct bl_node *glu = only(g, BL_NODE_GLU);
    cr_assert_eq(glu->params.glu.kind, BL_UNARY_GELU_TANH);
    cr_assert_eq(glu->params.glu.columns, 64);
    cr_assert_eq(g->nodes[g->values[glu->in[0]].producer].op, BL_NODE_EMBED); /* gate: what the function is of */
    cr_assert_eq(g->nodes[g->values[glu->in[1]].producer].op, BL_NODE_LINEAR);
    bl_graph_destroy(g);

    g = rewritten("y = linear(x, wide[32:96]) * relu(linear(x, s))", "y", false);
    const struct bl_node *both = only(g, BL_NODE_LINEAR_GLU);
    cr_assert_eq(both->params.glu.kind, BL_UNARY_RELU);
    cr_assert_eq(both->n_in, 1);
    cr_assert_eq(g->nodes[g->values[both->in[0]].producer].op, BL_NODE_EMBED);
    cr_assert_str_eq(f.tensors[both->weight.tensor].name, "s.weight"); /* the gate's */
    cr_assert_str_eq(f.tensors[both->up.tensor].name, "wide.weight");
    cr_assert_eq(both->up.first_row, 32);
    bl_graph_destroy(g);

    g = rewritten("y = linear(attention(rope(x, " TURN ", n_rot=8), rope(linear(x, s), " TURN ", n_rot=8), linear(x, wide), layer=0, d_head=32), tall)", "y", false);
    const struct bl_node *store = only(g, BL_NODE_ROPE_STORE), *attention = only(g, BL_NODE_ATTENTION);
    const struct bl_params_rope_store *shape = &store->params.rope_store;
    cr_assert(shape->n_head == 2 && shape->n_head_kv == 2 && shape->d_k == 32 && shape->d_v == 48 && shape->n_rot == 8 && shape->layout == BL_ROPE_NORM);
    cr_assert_eq(store->out, attention->in[0]);
    cr_assert_eq(store->layer, 0);
    cr_assert_eq(g->nodes[g->values[store->in[0]].producer].op, BL_NODE_EMBED);
    cr_assert_str_eq(f.tensors[g->nodes[g->values[store->in[1]].producer].weight.tensor].name, "s.weight");
    cr_assert_str_eq(f.tensors[g->nodes[g->values[store->in[2]].producer].weight.tensor].name, "wide.weight");
    cr_assert_eq(g->nodes[g->values[store->in[3]].producer].op, BL_NODE_ROPE_TABLE);
    bl_graph_destroy(g);

    g = rewritten("a = linear(silu(x), s)   b = tanh(x)   y = b + a", "y", false);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        if (n->op != BL_NODE_LINEAR || n->in[1] == BL_NO_ID)
            continue;
        cr_assert_eq(g->nodes[g->values[n->in[0]].producer].params.unary.kind, BL_UNARY_SILU);
        cr_assert_eq(g->nodes[g->values[n->in[1]].producer].params.unary.kind, BL_UNARY_TANH);
    }
    cr_assert_eq(residuals(g), 1);
    bl_graph_destroy(g);
}

/* The logits are read by the caller: a rewrite must not take them away. */
Test(graph_rewrites, logits_stay)
{
    sources();
    struct bl_graph *g = must_parse(&f, "x = select(embed(tokens, token_embd), outputs)\nlogits = linear(x, t)\ny = logits + x   z = linear(logits, t)\n");
    cr_assert_eq(bl_graph_lower(g, true), BL_OK);
    cr_assert_eq(bl_graph_fuse(g), BL_OK);
    check_serial_order(g);
    cr_assert_eq(residuals(g), 0);
    cr_assert_eq(g->nodes[g->values[g->logits].producer].op, BL_NODE_LINEAR);
    cr_assert_eq(g->values[g->logits].format, BL_FMT_F32);
    bl_graph_destroy(g);

    g = must_parse(&f, "x = select(embed(tokens, token_embd), outputs)\nlogits = silu(linear(x, t))\ny = logits * x\n");
    cr_assert_eq(bl_graph_fuse(g), BL_OK);
    check_serial_order(g);
    cr_assert_eq(count_ops(g, BL_NODE_GLU), 0);
    bl_graph_destroy(g);
}

/* ---- tensors ---- */

static bool used(const struct bl_graph *g, const char *name)
{
    for (uint32_t i = 0; i < f.n_tensors; i++)
        if (strcmp(f.tensors[i].name, name) == 0)
            return g->tensor_used[i];
    cr_assert(false, "no tensor %s", name);
    return false;
}

Test(graph_rewrites, used_tensors)
{
    fake_least(&f);
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 64);
    fake_tensor(&f, "w.bias", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "n.weight", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "n.bias", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "freqs", BL_FMT_F32, 16, 1);
    fake_tensor(&f, "v", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "spare.weight", BL_FMT_F32, 64, 64);
    const char *text = "x = embed(tokens, token_embd)\nx = layer_norm(linear(x, w), n, 0.1) + v\n"
                       "x = rope(x, pos, d_head=32, base=100, layout=\"norm\", factors=freqs)\n"
                       "e = exists(spare) + rows(spare) + columns(spare)\n"
                       "logits = linear(select(x, outputs), token_embd)\n";
    struct bl_graph *g = must_parse(&f, text);
    static const char *const names[] = {"token_embd.weight", "w.weight", "w.bias", "n.weight", "n.bias", "freqs", "v"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        cr_assert(used(g, names[i]), "%s", names[i]);
    cr_assert_not(used(g, "spare.weight")); /* to ask for its shape is no use */
    bl_graph_destroy(g);

    bl_errors_clear();
    cr_assert_eq(bl_graph_parse(text, strlen(text), "test.graph", &f.source, false, &g), BL_EFORMAT);
    cr_assert_null(g);
    cr_assert_not_null(strstr(bl_error_text(), "spare.weight"), "%s", bl_error_text());
    f.source.n_tensors--; /* without the last one nothing is unused */
    f.n_tensors--;
    const char *without = "x = embed(tokens, token_embd)\nx = layer_norm(linear(x, w), n, 0.1) + v\n"
                          "x = rope(x, pos, d_head=32, base=100, layout=\"norm\", factors=freqs)\nlogits = linear(select(x, outputs), token_embd)\n";
    cr_assert_eq(bl_graph_parse(without, strlen(without), "test.graph", &f.source, false, &g), BL_OK, "%s", bl_error_text());
    bl_graph_destroy(g);
}

/* A type that we cannot compute with is refused where it is used, and only there. */
Test(graph_rewrites, unsupported_tensor)
{
    fake_least(&f);
    fake_tensor(&f, "w.weight", BL_FMT_NONE, 64, 64);
    bl_graph_destroy(must_parse(&f, "n = rows(w)\n" LEAST));
    must_refuse(&f, "x = linear(embed(tokens, token_embd), w)\n" LEAST, BL_EUNSUPPORTED, "w.weight");
}
