/* graph_ops.c: the functions that add nodes: shapes, operands and parameters of each. */
#include "graph_fake.h"

#include "graph/rope_turns.h"

#include <math.h>

static struct fake f;

static void sources(void)
{
    fake_least(&f);
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 96);
    fake_tensor(&f, "b.weight", BL_FMT_Q8_0, 64, 96);
    fake_tensor(&f, "b.bias", BL_FMT_F32, 96, 1);
    fake_tensor(&f, "badbias.weight", BL_FMT_F32, 64, 96);
    fake_tensor(&f, "badbias.bias", BL_FMT_F32, 128, 1);
    fake_tensor(&f, "n.weight", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "n8.weight", BL_FMT_F32, 8, 1);
    fake_tensor(&f, "nb.weight", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "nb.bias", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "vector", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "f4", BL_FMT_F32, 4, 1);
    fake_tensor(&f, "g4", BL_FMT_F32, 4, 1);
    fake_tensor(&f, "positions.weight", BL_FMT_F16, 64, 32);
    fake_tensor(&f, "huge.weight", BL_FMT_F32, 64, BL_NO_ID);
}

static struct bl_graph *parse(const char *statements)
{
    char text[2048];
    snprintf(text, sizeof text, "x = embed(tokens, token_embd)\n%s\n" LEAST, statements);
    return must_parse(&f, text);
}

static void refuse(const char *statements, bl_status code, const char *word)
{
    char text[2048];
    snprintf(text, sizeof text, "x = embed(tokens, token_embd)\n%s\n" LEAST, statements);
    must_refuse(&f, text, code, word);
}

/* The node that made the value called y. */
static const struct bl_node *y_of(const struct bl_graph *g)
{
    for (uint32_t v = 0; v < g->n_values; v++)
        if (g->values[v].name && strcmp(g->values[v].name, "y") == 0)
            return &g->nodes[g->values[v].producer];
    cr_assert(false, "no y");
    return NULL;
}

Test(graph_ops, shapes)
{
    static const struct {
        const char *statements;
        enum bl_node_op op;
        uint32_t columns, rows;
    } cases[] = {
        {"y = embed(tokens, token_embd)", BL_NODE_EMBED, 64, BL_ROWS_OF_STEP},
        {"y = embed(pos, positions)", BL_NODE_EMBED, 64, BL_ROWS_OF_STEP},
        {"y = linear(x, w)", BL_NODE_LINEAR, 96, BL_ROWS_OF_STEP},
        {"y = linear(W=w, x=x)", BL_NODE_LINEAR, 96, BL_ROWS_OF_STEP},
        {"y = linear(x, w[10:20])", BL_NODE_LINEAR, 10, BL_ROWS_OF_STEP},
        {"y = linear(select(x, outputs), w)", BL_NODE_LINEAR, 96, BL_ROWS_OF_OUTPUT},
        {"y = rms_norm(x, n, 0.1)", BL_NODE_RMS_NORM, 64, BL_ROWS_OF_STEP},
        {"y = rms_norm(x, none, 0.1)", BL_NODE_RMS_NORM, 64, BL_ROWS_OF_STEP},
        {"y = rms_norm(select(x, outputs), n, 0.1)", BL_NODE_RMS_NORM, 64, BL_ROWS_OF_OUTPUT},
        {"y = layer_norm(eps=0.1, x=x, W=n)", BL_NODE_LAYER_NORM, 64, BL_ROWS_OF_STEP},
        {"y = rope(x, pos, d_head=16, base=100, layout=\"norm\")", BL_NODE_ROPE, 64, BL_ROWS_OF_STEP},
        {"y = attention(x, x, x, layer=0, d_head=16)", BL_NODE_ATTENTION, 64, BL_ROWS_OF_STEP},
        {"y = silu(x)", BL_NODE_UNARY, 64, BL_ROWS_OF_STEP},
        {"y = softcap(select(x, outputs), 3)", BL_NODE_UNARY, 64, BL_ROWS_OF_OUTPUT},
        {"y = softcap(c=3, x=linear(x, w))", BL_NODE_UNARY, 96, BL_ROWS_OF_STEP},
        {"y = x * 3", BL_NODE_UNARY, 64, BL_ROWS_OF_STEP},
        {"y = x + x", BL_NODE_BINARY, 64, BL_ROWS_OF_STEP},
        {"y = select(x, outputs) - select(x, outputs)", BL_NODE_BINARY, 64, BL_ROWS_OF_OUTPUT},
        {"y = x * vector", BL_NODE_BINARY, 64, BL_ROWS_OF_STEP},
        {"y = select(outputs=outputs, x=linear(x, w))", BL_NODE_SELECT, 96, BL_ROWS_OF_OUTPUT},
    };
    sources();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bl_graph *g = parse(cases[i].statements);
        const struct bl_node *y = y_of(g);
        cr_expect_eq(y->op, cases[i].op, "%s: %s", cases[i].statements, bl_node_op_name(y->op));
        cr_expect_eq(g->values[y->out].columns, cases[i].columns, "%s: %u columns", cases[i].statements, g->values[y->out].columns);
        cr_expect_eq(g->values[y->out].rows, cases[i].rows, "%s: rows", cases[i].statements);
        cr_expect_eq(g->values[y->out].format, BL_FMT_F32);
        cr_expect_eq(y->line, 2);
        bl_graph_destroy(g);
    }
    refuse("y = x + linear(x, w)", BL_EFORMAT, "64 and 96");
    refuse("y = x + select(x, outputs)", BL_EFORMAT, "other rows");
    refuse("y = x * n8", BL_EFORMAT, "n8");
    refuse("y = x + w", BL_EFORMAT, "'w.weight'");
    refuse("y = 1 + x", BL_EFORMAT, "number");
    refuse("y = 1 - x", BL_EFORMAT, "number");
    refuse("y = 1 / x", BL_EFORMAT, "number");
    refuse("y = x % 2", BL_EFORMAT, "'%'");
    refuse("y = x / x", BL_EFORMAT, "'/'");
    refuse("y = x / 0", BL_EFORMAT, "zero");
    refuse("y = x == x", BL_EFORMAT, "'='");
    refuse("y = vector - x", BL_EFORMAT, "'-'");
    refuse("y = linear(linear(x, w), w)", BL_EFORMAT, "96");
    refuse("y = rope(select(x, outputs), pos, d_head=16, base=100, layout=\"norm\")", BL_EFORMAT, "selected");
    refuse("y = attention(select(x, outputs), x, x, layer=0, d_head=16)", BL_EFORMAT, "selected");
    refuse("y = embed(outputs, token_embd)", BL_EFORMAT, "tokens or pos");
    refuse("y = select(x, tokens)", BL_EFORMAT, "outputs");
    refuse("y = linear(x, huge)", BL_ELIMIT, "columns");
    refuse("y = rms_norm(x, n8, 0.1, columns=16)", BL_EFORMAT, "columns");
    refuse("y = rms_norm(x, none, 0.1, columns=48)", BL_EFORMAT, "48");
    refuse("y = rms_norm(x, w, 0.1)", BL_EFORMAT, "w.weight");
}

Test(graph_ops, unary_and_binary_kinds)
{
    static const struct {
        const char *statements;
        uint32_t kind;
        double a;
    } unary[] = {
        {"y = silu(x)", BL_UNARY_SILU, 0}, {"y = gelu(x)", BL_UNARY_GELU, 0}, {"y = gelu_tanh(x)", BL_UNARY_GELU_TANH, 0},
        {"y = gelu_quick(x)", BL_UNARY_GELU_QUICK, 0}, {"y = relu(x)", BL_UNARY_RELU, 0}, {"y = relu2(x)", BL_UNARY_RELU2, 0},
        {"y = sigmoid(x)", BL_UNARY_SIGMOID, 0}, {"y = tanh(x)", BL_UNARY_TANH, 0}, {"y = softcap(x, 30)", BL_UNARY_SOFTCAP, 30},
        {"y = x * 3", BL_UNARY_SCALE, 3}, {"y = 3 * x", BL_UNARY_SCALE, 3}, {"y = x / 4", BL_UNARY_SCALE, 0.25}, {"y = -x", BL_UNARY_SCALE, -1},
    };
    static const struct {
        const char *statements;
        uint32_t kind, broadcast;
    } binary[] = {
        {"y = x + silu(x)", BL_BINARY_ADD, 0}, {"y = x * silu(x)", BL_BINARY_MUL, 0}, {"y = x - silu(x)", BL_BINARY_SUB, 0},
        {"y = x + vector", BL_BINARY_ADD, 1}, {"y = vector + x", BL_BINARY_ADD, 1}, {"y = vector * x", BL_BINARY_MUL, 1}, {"y = x - vector", BL_BINARY_SUB, 1},
    };
    sources();
    for (size_t i = 0; i < sizeof unary / sizeof unary[0]; i++) {
        struct bl_graph *g = parse(unary[i].statements);
        cr_expect_eq(y_of(g)->params.unary.kind, unary[i].kind, "%s", unary[i].statements);
        cr_expect_eq((double)y_of(g)->params.unary.a, unary[i].a, "%s", unary[i].statements);
        bl_graph_destroy(g);
    }
    cr_assert_eq(BL_UNARY_COUNT, 10, "a new unary function needs a row here");
    for (size_t i = 0; i < sizeof binary / sizeof binary[0]; i++) {
        struct bl_graph *g = parse(binary[i].statements);
        const struct bl_node *y = y_of(g);
        cr_expect_eq(y->params.binary.kind, binary[i].kind, "%s", binary[i].statements);
        cr_expect_eq(y->params.binary.broadcast, binary[i].broadcast, "%s", binary[i].statements);
        cr_expect_eq(g->nodes[g->values[y->in[0]].producer].op, BL_NODE_EMBED, "%s", binary[i].statements);
        cr_expect_eq(y->n_in, 2 - binary[i].broadcast);
        bl_graph_destroy(g);
    }
}

Test(graph_ops, biases_and_slices)
{
    sources();
    struct bl_graph *g = parse("y = linear(x, b)");
    cr_assert_str_eq(f.tensors[y_of(g)->bias.tensor].name, "b.bias");
    cr_assert_eq(y_of(g)->bias.columns, 96);
    bl_graph_destroy(g);

    g = parse("y = linear(x, w)");
    cr_assert_eq(y_of(g)->bias.tensor, BL_NO_ID);
    bl_graph_destroy(g);

    g = parse("y = linear(x, b[32 : 48])");
    const struct bl_node *y = y_of(g);
    cr_assert(y->weight.first_row == 32 && y->weight.rows == 16 && y->weight.columns == 64);
    cr_assert(y->bias.first_row == 32 && y->bias.columns == 16 && y->bias.rows == 1);
    bl_graph_destroy(g);

    g = parse("s = b[32 : 64]   y = linear(x, s[8 : 24])   z = linear(x, s)"); /* a slice of a slice; s stays as it was */
    y = y_of(g);
    cr_assert(y->weight.first_row == 40 && y->weight.rows == 16 && y->bias.first_row == 40 && y->bias.columns == 16);
    const struct bl_node *z = &g->nodes[y - g->nodes + 1];
    cr_assert(z->weight.first_row == 32 && z->weight.rows == 32 && z->bias.first_row == 32 && z->bias.columns == 32);
    bl_graph_destroy(g);

    g = parse("y = layer_norm(x, nb, 0.5)");
    cr_assert_str_eq(f.tensors[y_of(g)->bias.tensor].name, "nb.bias");
    cr_assert_eq(y_of(g)->params.norm.flags, BL_NORM_WEIGHT | BL_NORM_BIAS);
    bl_graph_destroy(g);

    refuse("y = linear(x, badbias)", BL_EFORMAT, "badbias.bias");
    refuse("y = linear(x, badbias[0 : 64])", BL_EFORMAT, "bias");
    refuse("y = linear(x, b[0 : 97])", BL_EFORMAT, "97");
    refuse("y = linear(x, b[4 : 4])", BL_EFORMAT, "[4:4]");
}

Test(graph_ops, norm_groups)
{
    static const struct {
        const char *statements;
        uint32_t columns, groups, flags;
    } cases[] = {
        {"y = rms_norm(x, n, 0.5)", 64, 1, BL_NORM_WEIGHT},
        {"y = rms_norm(x, n8, 0.5)", 8, 8, BL_NORM_WEIGHT},
        {"y = rms_norm(x, none, 0.5, columns=16)", 16, 4, 0},
        {"y = rms_norm(x, gone, 0.5)", 64, 1, 0},
        {"y = rms_norm(x, n8, 0.5, columns=8)", 8, 8, BL_NORM_WEIGHT},
        {"y = layer_norm(x, none, 0.5)", 64, 1, 0},
    };
    sources();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bl_graph *g = parse(cases[i].statements);
        const struct bl_params_norm *norm = &y_of(g)->params.norm;
        cr_expect(norm->columns == cases[i].columns && norm->groups == cases[i].groups && norm->flags == cases[i].flags, "%s", cases[i].statements);
        cr_expect_eq(norm->eps, 0.5f);
        cr_expect_eq(norm->rows, BL_ROWS_OF_STEP);
        bl_graph_destroy(g);
    }
}

/* Two ropes share a table exactly when their frequencies are the same; d_head and layout are the rope's own. */
Test(graph_ops, rope_tables)
{
    static const struct {
        const char *first, *second;
        uint32_t tables;
    } cases[] = {
        {"", "", 1},
        {"d_head=16, base=100, layout=\"norm\", n_rot=8", "layout=\"neox\", n_rot=8, base=100, d_head=32", 1},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=101, layout=\"norm\"", 2},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", n_rot=8", 2},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", freq_scale=0.5", 2},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", freq_scale=1", 1},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", ext_factor=1", 1},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", attn_factor=2", 2},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", beta_fast=3", 1},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", beta_slow=3", 1},
        {"d_head=16, base=100, layout=\"norm\"", "d_head=16, base=100, layout=\"norm\", n_ctx_orig=3", 1},
        /* without interpolation the corrections change nothing; with it they do */
        {"d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", "d_head=16, base=100, layout=\"norm\", freq_scale=0.25", 2},
        {"d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", "d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=128", 2},
        {"d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", "d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64, beta_fast=3", 2},
        {"d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", "d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64, beta_slow=0.25", 2},
        {"d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", "d_head=16, base=100, layout=\"norm\", freq_scale=0.25, ext_factor=1, n_ctx_orig=64", 1},
        {"d_head=8, base=100, layout=\"norm\"", "d_head=8, base=100, layout=\"norm\", factors=f4", 2},
        {"d_head=8, base=100, layout=\"norm\", factors=f4", "d_head=8, base=100, layout=\"norm\", factors=f4", 1},
        {"d_head=8, base=100, layout=\"norm\", factors=f4", "d_head=8, base=100, layout=\"norm\", factors=g4", 2},
        {"d_head=8, base=100, layout=\"norm\", factors=none", "d_head=8, base=100, layout=\"norm\", factors=gone ? none", 1},
    };
    sources();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *least = "d_head=16, base=100, layout=\"norm\"";
        char text[512];
        snprintf(text, sizeof text, "a = rope(x, pos, %s)\ny = rope(x, pos, %s)", *cases[i].first ? cases[i].first : least, *cases[i].second ? cases[i].second : least);
        struct bl_graph *g = parse(text);
        cr_expect_eq(count_ops(g, BL_NODE_ROPE_TABLE), cases[i].tables, "%s", text);
        cr_expect_eq(count_ops(g, BL_NODE_ROPE), 2);
        bl_graph_destroy(g);
    }
    struct bl_graph *g = parse("y = rope(x, pos, d_head=16, base=100, layout=\"neox\", n_rot=8, factors=f4, freq_scale=0.5, ext_factor=1, attn_factor=2, beta_fast=3,"
                               " beta_slow=4, n_ctx_orig=5)");
    const struct bl_node *table = only(g, BL_NODE_ROPE_TABLE), *rope = only(g, BL_NODE_ROPE);
    const struct bl_params_rope_table *p = &table->params.rope_table;
    const struct bl_rope_scaling scaling = {8, 100, 0.5, 1, 3, 4, 5};
    struct bl_graph_tensor f4;
    cr_assert(f.source.tensor(&f, "f4", &f4));
    for (uint32_t j = 0; j < 4; j++) {
        uint64_t turns;
        cr_assert(bl_rope_turns(&scaling, j, 1.0 + f4.id + j, &turns));
        cr_assert_eq((uint64_t)g->constants[table->constant + 2 * j + 1] << 32 | g->constants[table->constant + 2 * j], turns);
    }
    cr_assert(p->n_rot == 8 && p->attn_factor == 2);
    cr_assert_eq(g->values[table->out].columns, 8);
    cr_assert_eq(rope->in[1], table->out);
    cr_assert(rope->params.rope.heads == 4 && rope->params.rope.d_head == 16 && rope->params.rope.n_rot == 8 && rope->params.rope.layout == BL_ROPE_NEOX);
    bl_graph_destroy(g);
    refuse("y = rope(x, pos, d_head=16, base=100, layout=\"norm\", factors=f4)", BL_EFORMAT, "f4");
    refuse("y = rope(x, tokens, d_head=16, base=100, layout=\"norm\")", BL_EFORMAT, "pos");
    refuse("y = rope(x, pos, d_head=24, base=100, layout=\"norm\")", BL_EFORMAT, "64 columns");
}

Test(graph_ops, attention_heads)
{
    static const struct {
        const char *call;
        uint32_t n_head, n_kv, d_k, d_v;
    } cases[] = {
        {"attention(x, x, x, layer=0, d_head=16)", 4, 4, 16, 16},
        {"attention(x, linear(x, w[0:32]), linear(x, w[0:32]), layer=0, d_head=16)", 4, 2, 16, 16},
        {"attention(x, linear(x, w[0:16]), linear(x, w[0:16]), layer=0, d_head=16)", 4, 1, 16, 16},
        {"attention(x, linear(x, w[0:32]), linear(x, w[0:48]), layer=0, d_head=16)", 4, 2, 16, 24},
        {"attention(linear(x, w), linear(x, w[0:32]), linear(x, w[0:8]), layer=0, d_head=16)", 6, 2, 16, 4},
        {"attention(d_head=64, layer=0, v=x, k=x, q=x)", 1, 1, 64, 64},
    };
    sources();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "y = %s", cases[i].call);
        struct bl_graph *g = parse(text);
        const struct bl_node *y = y_of(g);
        const struct bl_params_attention *a = &y->params.attention;
        cr_expect(a->n_head == cases[i].n_head && a->n_head_kv == cases[i].n_kv && a->d_k == cases[i].d_k && a->d_v == cases[i].d_v, "%s", text);
        cr_expect_eq(g->values[y->out].columns, cases[i].n_head * cases[i].d_v, "%s", text);
        cr_expect_eq(a->scale, (float)(1 / sqrt(cases[i].d_k)));
        cr_expect(a->window == 0 && a->softcap == 0);
        cr_expect(g->n_kv_layers == 1 && g->kv_layers[0].heads == cases[i].n_kv && g->kv_layers[0].d_k == cases[i].d_k && g->kv_layers[0].d_v == cases[i].d_v);
        cr_expect_eq(count_ops(g, BL_NODE_KV_STORE), 2);
        for (uint32_t n = 0; n < g->n_nodes; n++) {
            const struct bl_node *store = &g->nodes[n];
            if (store->op == BL_NODE_KV_STORE)
                cr_expect(store->params.kv_store.heads == cases[i].n_kv && store->params.kv_store.d_head == (store->kv_part ? cases[i].d_v : cases[i].d_k), "%s", text);
        }
        bl_graph_destroy(g);
    }
    struct bl_graph *g = parse("y = attention(x, x, x, layer=0, d_head=16, softcap=50, window=7, scale=0.5)");
    const struct bl_params_attention *a = &y_of(g)->params.attention;
    cr_assert(a->window == 7 && a->softcap == 50 && a->scale == 0.5f);
    bl_graph_destroy(g);
    refuse("y = attention(x, linear(x, w[0:48]), linear(x, w[0:48]), layer=0, d_head=16)", BL_EFORMAT, "heads"); /* 4 heads on 3 */
    refuse("y = attention(x, linear(x, w[0:32]), linear(x, w[0:33]), layer=0, d_head=16)", BL_EFORMAT, "33");
}
