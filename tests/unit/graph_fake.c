/* graph_fake.c: the tables, families, random graphs and checks of graph_fake.h. */
#include "graph_fake.h"

#include "base/error.h"
#include "model/families.h"

#include <stdarg.h>
#include <stdlib.h>

/* ---- the source ---- */

static bl_status source_key(void *user, const char *name, uint64_t index, struct bl_graph_key *out)
{
    const struct fake *f = user;
    *out = (struct bl_graph_key){.kind = BL_KEY_ABSENT};
    for (uint32_t i = 0; i < f->n_keys; i++) {
        const struct fake_key *key = &f->keys[i];
        if (strcmp(key->name, name) != 0)
            continue;
        if (key->text) {
            *out = (struct bl_graph_key){.kind = BL_KEY_STRING, .text = key->text, .text_bytes = strlen(key->text)};
            return BL_OK;
        }
        if (key->is_array && index >= key->n)
            BL_FAIL(BL_EFORMAT, "%s: no element %llu", name, (unsigned long long)index);
        *out = (struct bl_graph_key){.kind = BL_KEY_NUMBER, .number = key->numbers[key->is_array ? index : 0]};
        return BL_OK;
    }
    return BL_OK;
}

static bool source_tensor(void *user, const char *name, struct bl_graph_tensor *out)
{
    const struct fake *f = user;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const struct fake_tensor *t = &f->tensors[i];
        if (strcmp(t->name, name) != 0)
            continue;
        *out = (struct bl_graph_tensor){i, t->format, 0, t->rows > 1 ? 2 : 1, t->columns, t->rows};
        return true;
    }
    return false;
}

static const char *source_tensor_name(void *user, uint32_t id)
{
    const struct fake *f = user;
    return f->tensors[id].name;
}

/* Number i of tensor t is 1 + t + i. */
static bl_status source_numbers(void *user, uint32_t id, uint64_t first, uint32_t n, float *out)
{
    (void)user;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (float)(1 + id + first + i);
    return BL_OK;
}

void fake_init(struct fake *f, const char *arch)
{
    memset(f, 0, sizeof *f);
    f->source = (struct bl_graph_source){f, "fake.gguf", arch, source_key, source_tensor, 0, source_tensor_name, source_numbers};
}

void fake_tensor(struct fake *f, const char *name, enum bl_format format, uint64_t columns, uint64_t rows)
{
    cr_assert_lt(f->n_tensors, FAKE_TENSORS);
    struct fake_tensor *t = &f->tensors[f->n_tensors++];
    *t = (struct fake_tensor){.format = format, .columns = columns, .rows = rows};
    snprintf(t->name, sizeof t->name, "%s", name);
    f->source.n_tensors = f->n_tensors;
}

static struct fake_key *new_key(struct fake *f, const char *name)
{
    cr_assert_lt(f->n_keys, FAKE_KEYS);
    struct fake_key *key = &f->keys[f->n_keys++];
    snprintf(key->name, sizeof key->name, "%s", name);
    return key;
}

void fake_number(struct fake *f, const char *name, double number)
{
    new_key(f, name)->numbers[0] = number;
}

void fake_array(struct fake *f, const char *name, const double *numbers, uint32_t n)
{
    struct fake_key *key = new_key(f, name);
    key->is_array = true;
    key->n = n;
    memcpy(key->numbers, numbers, n * sizeof *numbers);
}

void fake_text(struct fake *f, const char *name, const char *text)
{
    new_key(f, name)->text = text;
}

void fake_least(struct fake *f)
{
    fake_init(f, "test");
    fake_tensor(f, "token_embd.weight", BL_FMT_F32, 64, 16);
}

bl_status fake_parse(struct fake *f, const char *text, struct bl_graph **out)
{
    bl_errors_clear();
    return bl_graph_parse(text, strlen(text), "test.graph", &f->source, true, out);
}

struct bl_graph *must_parse(struct fake *f, const char *text)
{
    struct bl_graph *g;
    cr_assert_eq(fake_parse(f, text, &g), BL_OK, "%s\n%.1000s", bl_error_text(), text);
    check_serial_order(g);
    return g;
}

void must_refuse(struct fake *f, const char *text, bl_status code, const char *word)
{
    struct bl_graph *g;
    bl_status status = fake_parse(f, text, &g);
    cr_assert_eq(status, code, "status %d for\n%.1000s", (int)status, text);
    cr_assert_null(g);
    cr_assert_not_null(strstr(bl_error_text(), word), "'%s' lacks '%s'", bl_error_text(), word);
}

/* ---- the built-in families, two layers of 128 columns, 4 heads of 32 ---- */

enum { D = 128, D_HEAD = 32, N_HEAD = 4, N_KV = 2, D_FF = 192, VOCABULARY = 64 };

static void arch_number(struct fake *f, const char *key, double number)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", f->source.arch, key);
    fake_number(f, name, number);
}

static void layer_tensor(struct fake *f, uint32_t layer, const char *rest, enum bl_format format, uint64_t columns, uint64_t rows)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s", layer, rest);
    fake_tensor(f, name, format, columns, rows);
}

static void family_layer(struct fake *f, uint32_t i, bool phi, bool head_norms, bool post_norms)
{
    uint32_t kv = phi ? N_HEAD * D_HEAD : N_KV * D_HEAD;
    layer_tensor(f, i, "attn_norm.weight", BL_FMT_F32, D, 1);
    if (phi && i == 0) {
        layer_tensor(f, i, "attn_qkv.weight", BL_FMT_Q8_0, D, D + 2 * kv);
        layer_tensor(f, i, "attn_qkv.bias", BL_FMT_F32, D + 2 * kv, 1);
    } else {
        layer_tensor(f, i, "attn_q.weight", BL_FMT_Q8_0, D, D);
        layer_tensor(f, i, "attn_k.weight", BL_FMT_Q4_0, D, kv);
        layer_tensor(f, i, "attn_v.weight", BL_FMT_Q8_0, D, kv);
    }
    layer_tensor(f, i, "attn_output.weight", BL_FMT_Q8_0, D, D);
    layer_tensor(f, i, "ffn_up.weight", BL_FMT_Q8_0, D, D_FF);
    layer_tensor(f, i, "ffn_down.weight", BL_FMT_Q8_0, D_FF, D);
    if (phi) {
        layer_tensor(f, i, "attn_norm.bias", BL_FMT_F32, D, 1);
        layer_tensor(f, i, "attn_output.bias", BL_FMT_F32, D, 1);
        layer_tensor(f, i, "ffn_up.bias", BL_FMT_F32, D_FF, 1);
        layer_tensor(f, i, "ffn_down.bias", BL_FMT_F32, D, 1);
        return;
    }
    layer_tensor(f, i, "ffn_norm.weight", BL_FMT_F32, D, 1);
    layer_tensor(f, i, "ffn_gate.weight", BL_FMT_Q8_0, D, D_FF);
    if (head_norms) {
        layer_tensor(f, i, "attn_q_norm.weight", BL_FMT_F32, D_HEAD, 1);
        layer_tensor(f, i, "attn_k_norm.weight", BL_FMT_F32, D_HEAD, 1);
    }
    if (post_norms) {
        layer_tensor(f, i, "post_attention_norm.weight", BL_FMT_F32, D, 1);
        layer_tensor(f, i, "post_ffw_norm.weight", BL_FMT_F32, D, 1);
    }
}

const char *fake_family(uint32_t n, struct fake *f, struct bl_graph **out)
{
    *out = NULL;
    if (n >= bl_n_families)
        return NULL;
    const struct bl_family *family = &bl_families[n];
    bool phi = strcmp(family->name, "phi2") == 0, gemma = strcmp(family->name, "gemma3") == 0, qwen = strcmp(family->name, "qwen3") == 0;
    cr_assert(phi || gemma || qwen || strcmp(family->name, "llama") == 0, "the tests do not know family %s", family->name);
    fake_init(f, family->name);
    arch_number(f, "block_count", 2);
    arch_number(f, "attention.head_count", N_HEAD);
    arch_number(f, "attention.key_length", D_HEAD);
    arch_number(f, phi ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5);
    if (gemma) {
        arch_number(f, "attention.sliding_window", 8);
        arch_number(f, "attention.sliding_window_pattern", 2);
        arch_number(f, "final_logit_softcapping", 30);
    }
    fake_tensor(f, "token_embd.weight", BL_FMT_Q8_0, D, VOCABULARY);
    fake_tensor(f, "output_norm.weight", BL_FMT_F32, D, 1);
    if (phi) {
        fake_tensor(f, "output_norm.bias", BL_FMT_F32, D, 1);
        fake_tensor(f, "output.weight", BL_FMT_Q8_0, D, VOCABULARY);
        fake_tensor(f, "output.bias", BL_FMT_F32, VOCABULARY, 1);
    }
    for (uint32_t i = 0; i < 2; i++)
        family_layer(f, i, phi, qwen || gemma, gemma);
    bl_errors_clear();
    bl_status status = bl_graph_parse(family->text, family->bytes, family->name, &f->source, false, out);
    cr_assert_eq(status, BL_OK, "%s", bl_error_text());
    check_serial_order(*out);
    return family->name;
}

/* ---- random graphs ---- */

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct maker {
    struct fake *f;
    uint64_t state;
    bool quantized;
    char text[FAKE_TEXT_BYTES];
    size_t bytes;
    uint32_t columns[64], n_values, n_layers;
};

static uint32_t below(struct maker *m, uint32_t n)
{
    return (uint32_t)(random_next(&m->state) % n);
}

static void say(struct maker *m, const char *format, ...) BL_PRINTF(2, 3);
static void say(struct maker *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(m->text + m->bytes, sizeof m->text - m->bytes, format, args);
    va_end(args);
    cr_assert(n >= 0 && (size_t)n < sizeof m->text - m->bytes);
    m->bytes += (size_t)n;
}

/* Adds a matrix; its number makes its name w<number>. */
static uint32_t matrix(struct maker *m, uint32_t columns, uint32_t rows, bool vector)
{
    static const enum bl_format quantized[] = {BL_FMT_Q8_0, BL_FMT_Q4_0, BL_FMT_F32};
    enum bl_format format = m->quantized && !vector && columns % 32 == 0 ? quantized[below(m, 3)] : BL_FMT_F32;
    uint32_t id = m->f->n_tensors;
    char name[32];
    snprintf(name, sizeof name, "w%u.weight", id);
    fake_tensor(m->f, name, format, columns, rows);
    if (!vector && below(m, 3) == 0) {
        snprintf(name, sizeof name, "w%u.bias", id);
        fake_tensor(m->f, name, BL_FMT_F32, rows, 1);
    }
    return id;
}

/* Mostly a recent value, so that graphs are deep and wide. */
static uint32_t any_value(struct maker *m)
{
    uint32_t back = below(m, 2) ? below(m, 4) : below(m, 64);
    return back < m->n_values ? m->n_values - 1 - back : below(m, m->n_values);
}

static uint32_t same_width(struct maker *m, uint32_t columns)
{
    uint32_t v = any_value(m);
    while (m->columns[v] != columns)
        v = (v + 1) % m->n_values;
    return v;
}

static void random_statement(struct maker *m)
{
    static const uint32_t widths[] = {32, 64, 96, 40};
    static const char *const unary[] = {"silu", "gelu", "gelu_tanh", "gelu_quick", "relu", "relu2", "sigmoid", "tanh"};
    uint32_t x = any_value(m), columns = m->columns[x], y = same_width(m, columns), out = m->n_values, wide = widths[below(m, 4)];
    switch (below(m, 13)) {
    case 0: case 1: case 2:
        say(m, "v%u = linear(v%u, w%u)\n", out, x, matrix(m, columns, wide, false));
        columns = wide;
        break;
    case 3: say(m, "v%u = rms_norm(v%u, w%u, 0.001)\n", out, x, matrix(m, columns, 1, true)); break;
    case 4: say(m, "v%u = layer_norm(v%u, none, 0.001, columns=8)\n", out, x); break;
    case 5: say(m, "v%u = %s(v%u)\n", out, unary[below(m, 8)], x); break;
    case 6: say(m, "v%u = v%u + linear(v%u, w%u)\n", out, y, x, matrix(m, columns, columns, false)); break;
    case 7: say(m, "v%u = %s(v%u) * v%u\n", out, unary[below(m, 8)], x, y); break;
    case 8: say(m, "v%u = v%u %c v%u\n", out, x, "+-*"[below(m, 3)], y); break;
    case 9: say(m, "v%u = softcap(v%u, 5) / 2 + v%u\n", out, x, y); break;
    case 10: say(m, "v%u = rope(v%u, pos, d_head=8, base=10000, layout=\"%s\")\n", out, x, below(m, 2) ? "norm" : "neox"); break;
    case 11:
        say(m, "v%u = %s(linear(v%u, w%u)) * linear(v%u, w%u)\n", out, unary[below(m, 8)], x, matrix(m, columns, wide, false), x, matrix(m, columns, wide, false));
        columns = wide;
        break;
    default: {
        uint32_t d = columns % 32 ? 8 : 32, rotated = below(m, 4); /* bits: q, k */
        char turn[64];
        snprintf(turn, sizeof turn, ", pos, d_head=%u, base=10000, layout=\"%s\")", d, below(m, 2) ? "norm" : "neox");
        say(m, "v%u = attention(%sv%u%s, %slinear(v%u, w%u)%s, linear(v%u, w%u), layer=%u, d_head=%u)\n", out, rotated & 1 ? "rope(" : "", x,
            rotated & 1 ? turn : "", rotated & 2 ? "rope(" : "", x, matrix(m, columns, d, false), rotated & 2 ? turn : "", y, matrix(m, columns, d, false),
            m->n_layers++, d);
        break;
    }
    }
    m->columns[m->n_values++] = columns;
}

struct bl_graph *random_graph(uint64_t seed, uint32_t flags, struct fake *f)
{
    struct maker *m = calloc(1, sizeof *m);
    cr_assert_not_null(m);
    fake_init(f, "random");
    m->f = f;
    m->state = seed;
    m->quantized = flags & RANDOM_QUANTIZED;
    say(m, "v0 = embed(tokens, w%u)\n", matrix(m, 64, 16, false));
    m->columns[m->n_values++] = 64;
    uint32_t n = flags & RANDOM_SMALL ? 4 + below(m, 12) : 4 + below(m, 40);
    while (m->n_values < n)
        random_statement(m);
    uint32_t x = m->n_values - 1;
    say(m, "o = select(v%u, outputs)\nlogits = linear(rms_norm(o, none, 0.001) + o, w%u)\n", x, matrix(m, m->columns[x], 16, false));
    struct bl_graph *g = must_parse(f, m->text);
    free(m);
    return g;
}

/* ---- checks ---- */

void check_serial_order(const struct bl_graph *g)
{
    bool *made = calloc(g->n_values, 1), *stored = calloc(2 * (size_t)g->n_kv_layers + 1, 1);
    cr_assert(made && stored);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        cr_assert_not(n->dead);
        for (uint32_t k = 0; k < n->n_in; k++)
            cr_assert(n->in[k] == BL_NO_ID || made[n->in[k]], "node %u (%s, line %u) reads %%%u too early", i, bl_node_op_name(n->op), n->line, n->in[k]);
        if (n->op == BL_NODE_KV_STORE)
            stored[2 * n->layer + n->kv_part] = true;
        if (n->op == BL_NODE_ROPE_STORE)
            stored[2 * n->layer] = stored[2 * n->layer + 1] = true;
        if (n->op == BL_NODE_ATTENTION)
            cr_assert(stored[2 * n->layer] && stored[2 * n->layer + 1]);
        cr_assert_eq(n->out == BL_NO_ID, n->op == BL_NODE_KV_STORE);
        if (n->out == BL_NO_ID)
            continue;
        cr_assert_not(made[n->out]);
        made[n->out] = true;
        cr_assert_eq(g->values[n->out].producer, i);
    }
    cr_assert(made[g->logits]);
    free(made);
    free(stored);
}

uint32_t count_ops(const struct bl_graph *g, enum bl_node_op op)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i].op == op;
    return n;
}

const struct bl_node *only(const struct bl_graph *g, enum bl_node_op op)
{
    const struct bl_node *found = NULL;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        cr_assert(g->nodes[i].op != op || !found, "more than one %s", bl_node_op_name(op));
        if (g->nodes[i].op == op)
            found = &g->nodes[i];
    }
    cr_assert_not_null(found, "no %s", bl_node_op_name(op));
    return found;
}
