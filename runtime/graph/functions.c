/* functions.c: the functions and operators of the graph language: argument binding, arithmetic, and one handler per op that checks shapes
 * and adds a node. A new op is a row in the table at the end and a handler. Knows no family. */
#include "base/error.h"
#include "base/limits.h"
#include "graph/eval.h"
#include "graph/rope_turns.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const char *tensor_name(const struct bl_eval *e, const struct bl_weight *w)
{
    return e->source->tensor_name(e->source->user, w->tensor);
}

/* ---- arithmetic ---- */

static bl_status number_result(const struct bl_eval *e, double number, const char *what, struct bl_val *out)
{
    if (!isfinite(number))
        BL_EVAL_FAIL(e, BL_EFORMAT, "%s gives no finite number", what);
    *out = (struct bl_val){.kind = BL_VAL_NUMBER, .number = number};
    return BL_OK;
}

static bl_status add_unary(struct bl_eval *e, uint32_t x, enum bl_unary kind, double a, struct bl_val *out)
{
    const struct bl_value *value = &e->graph->values[x];
    struct bl_node node = {.op = BL_NODE_UNARY, .n_in = 1, .in = {x}, .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID, .layer = BL_NO_ID,
                           .line = e->line, .block = e->block};
    node.params.unary = (struct bl_params_unary){value->columns, value->rows, kind, (float)a};
    *out = (struct bl_val){.kind = BL_VAL_VALUE};
    return bl_graph_add_node(e->graph, &node, value->rows, value->columns, &out->id);
}

static bl_status use_tensor(struct bl_eval *e, const struct bl_weight *w)
{
    if (w->format == BL_FMT_NONE) {
        struct bl_graph_tensor tensor = {.ggml_type = 0};
        (void)e->source->tensor(e->source->user, tensor_name(e, w), &tensor);
        const char *type = bl_ggml_type_name(tensor.ggml_type);
        BL_EVAL_FAIL(e, BL_EUNSUPPORTED, "tensor '%s' has type %u (%s), which is not supported", tensor_name(e, w), tensor.ggml_type,
                     type ? type : "unknown");
    }
    e->graph->tensor_used[w->tensor] = 1;
    if (w->format == BL_FMT_BX && w->first_row % BL_LINEAR_ALIGN)
        BL_EVAL_FAIL(e, BL_EUNSUPPORTED, "tensor '%s': X-bit rows from %u on, limit: multiples of %u", tensor_name(e, w), w->first_row, BL_LINEAR_ALIGN);
    return BL_OK;
}

static bl_status binary_values(struct bl_eval *e, uint32_t kind, const struct bl_val *a, const struct bl_val *b, struct bl_val *out)
{
    struct bl_graph *g = e->graph;
    const struct bl_value *x = &g->values[a->id];
    struct bl_node node = {.op = BL_NODE_BINARY, .n_in = 1, .in = {a->id}, .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID,
                           .layer = BL_NO_ID, .line = e->line, .block = e->block};
    node.params.binary = (struct bl_params_binary){x->columns, x->rows, kind, 0};
    if (b->kind == BL_VAL_TENSOR) {
        if (b->weight.rows != 1 || b->weight.columns != x->columns)
            BL_EVAL_FAIL(e, BL_EFORMAT, "tensor '%s' [%u, %u] is no vector of %u", tensor_name(e, &b->weight), b->weight.rows, b->weight.columns, x->columns);
        BL_TRY(use_tensor(e, &b->weight));
        node.weight = b->weight;
        node.params.binary.broadcast = 1;
    } else {
        const struct bl_value *z = &g->values[b->id];
        if (x->columns != z->columns || x->rows != z->rows)
            BL_EVAL_FAIL(e, BL_EFORMAT, "shapes differ: %u and %u columns%s", x->columns, z->columns, x->rows != z->rows ? ", other rows" : "");
        node.n_in = 2;
        node.in[1] = b->id;
    }
    *out = (struct bl_val){.kind = BL_VAL_VALUE};
    return bl_graph_add_node(g, &node, x->rows, x->columns, &out->id);
}

static bl_status compare_strings(const struct bl_eval *e, uint16_t op, const struct bl_val *a, const struct bl_val *b, struct bl_val *out)
{
    bool equal = strcmp(a->text, b->text) == 0;
    if (op == ('=' | '=' << 8))
        return number_result(e, equal, "==", out);
    if (op == ('!' | '=' << 8))
        return number_result(e, !equal, "!=", out);
    BL_EVAL_FAIL(e, BL_EFORMAT, "'%c' does not work on strings", op & 0xff);
}

static bl_status binary_numbers(const struct bl_eval *e, uint16_t op, double a, double b, struct bl_val *out)
{
    switch (op) {
    case '+': return number_result(e, a + b, "+", out);
    case '-': return number_result(e, a - b, "-", out);
    case '*': return number_result(e, a * b, "*", out);
    case '/': return number_result(e, a / b, "/", out);
    case '%': return number_result(e, fmod(a, b), "%", out);
    case '<': return number_result(e, a < b, "<", out);
    case '>': return number_result(e, a > b, ">", out);
    case '<' | '=' << 8: return number_result(e, a <= b, "<=", out);
    case '>' | '=' << 8: return number_result(e, a >= b, ">=", out);
    case '=' | '=' << 8: return number_result(e, a == b, "==", out);
    case '!' | '=' << 8: return number_result(e, a != b, "!=", out);
    case 'a': return number_result(e, a != 0 && b != 0, "and", out);
    default: return number_result(e, a != 0 || b != 0, "or", out);
    }
}

bl_status bl_eval_binary(struct bl_eval *e, uint16_t op, const struct bl_val *a, const struct bl_val *b, struct bl_val *out)
{
    const struct bl_val *absent = a->kind == BL_VAL_ABSENT ? a : b->kind == BL_VAL_ABSENT ? b : NULL;
    if (absent)
        BL_EVAL_FAIL(e, BL_EFORMAT, "unknown name '%s': no variable, key or tensor of that name", absent->text);
    if (a->kind == BL_VAL_NUMBER && b->kind == BL_VAL_NUMBER)
        return binary_numbers(e, op, a->number, b->number, out);
    if (a->kind == BL_VAL_STRING && b->kind == BL_VAL_STRING)
        return compare_strings(e, op, a, b, out);
    bool swap = b->kind == BL_VAL_VALUE && a->kind != BL_VAL_VALUE && (op == '+' || op == '*');
    const struct bl_val *x = swap ? b : a, *z = swap ? a : b;
    if (x->kind == BL_VAL_VALUE && z->kind == BL_VAL_NUMBER && (op == '*' || op == '/')) {
        if (op == '/' && z->number == 0)
            BL_EVAL_FAIL(e, BL_EFORMAT, "division by zero");
        double factor = op == '*' ? z->number : 1 / z->number;
        if (!(fabs(factor) <= FLT_MAX))
            BL_EVAL_FAIL(e, BL_EFORMAT, "a factor of %g is no finite f32", factor);
        return add_unary(e, x->id, BL_UNARY_SCALE, factor, out);
    }
    bool operand = z->kind == BL_VAL_VALUE || z->kind == BL_VAL_TENSOR;
    if (x->kind == BL_VAL_VALUE && operand && (op == '+' || op == '*' || op == '-'))
        return binary_values(e, op == '+' ? BL_BINARY_ADD : op == '*' ? BL_BINARY_MUL : BL_BINARY_SUB, x, z, out);
    BL_EVAL_FAIL(e, BL_EFORMAT, "'%c' does not work on %s and %s", op & 0xff, bl_val_kind_name(a->kind), bl_val_kind_name(b->kind));
}

/* ---- bound arguments ---- */

enum { MAX_SLOTS = 14 };
struct bound {
    struct bl_eval *e;
    const char *function;
    const struct bl_val *slot[MAX_SLOTS]; /* NULL: not given */
};

static bl_status need_number(const struct bound *b, uint32_t slot, const char *name, double low, double high, bool whole, double *out)
{
    const struct bl_val *v = b->slot[slot];
    *out = 0;
    if (v->kind != BL_VAL_NUMBER)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): %s is %s, expected a number", b->function, name, bl_val_kind_name(v->kind));
    if (!(v->number >= low) || v->number > high || (whole && v->number != floor(v->number)))
        BL_EVAL_FAIL(b->e, BL_ELIMIT, "%s(): %s = %g, limit %g to %g%s", b->function, name, v->number, low, high, whole ? ", whole" : "");
    *out = v->number;
    return BL_OK;
}

static bl_status optional_number(const struct bound *b, uint32_t slot, const char *name, double low, double high, bool whole, double otherwise,
                                 double *out)
{
    *out = otherwise;
    return b->slot[slot] ? need_number(b, slot, name, low, high, whole, out) : BL_OK;
}

static bl_status need_value(const struct bound *b, uint32_t slot, const char *name, const struct bl_value **out)
{
    const struct bl_val *v = b->slot[slot];
    *out = NULL;
    if (v->kind != BL_VAL_VALUE)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): %s is %s, expected a value", b->function, name, bl_val_kind_name(v->kind));
    *out = &b->e->graph->values[v->id];
    return BL_OK;
}

static bl_status need_tensor(const struct bound *b, uint32_t slot, const char *name, const struct bl_val **out)
{
    const struct bl_val *v = b->slot[slot];
    *out = NULL;
    if (v->kind != BL_VAL_TENSOR)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): %s is %s, expected a tensor", b->function, name, bl_val_kind_name(v->kind));
    BL_TRY(use_tensor(b->e, &v->weight));
    *out = v;
    return BL_OK;
}

static struct bl_node new_node(const struct bound *b, enum bl_node_op op, uint32_t n_in)
{
    struct bl_node node = {.op = op, .n_in = n_in, .in = {BL_NO_ID, BL_NO_ID, BL_NO_ID, BL_NO_ID}, .out = BL_NO_ID,
                           .weight.tensor = BL_NO_ID, .bias.tensor = BL_NO_ID, .up.tensor = BL_NO_ID, .layer = BL_NO_ID, .line = b->e->line, .block = b->e->block};
    return node;
}

static bl_status add_node(const struct bound *b, const struct bl_node *node, uint32_t rows, uint32_t columns, struct bl_val *out)
{
    *out = (struct bl_val){.kind = BL_VAL_VALUE};
    return bl_graph_add_node(b->e->graph, node, rows, columns, &out->id);
}

/* The module's bias as a vector of n, if there is one. */
static bl_status take_bias(const struct bound *b, const struct bl_val *module, uint32_t n, struct bl_node *node)
{
    if (module->bias.tensor == BL_NO_ID)
        return BL_OK;
    if (module->bias.columns != n || module->bias.rows != 1)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "tensor '%s' [%u, %u] is no vector of %u", tensor_name(b->e, &module->bias), module->bias.rows,
                     module->bias.columns, n);
    BL_TRY(use_tensor(b->e, &module->bias));
    node->bias = module->bias;
    return BL_OK;
}

/* ---- handlers: numbers ---- */

static bl_status call_math(const struct bound *b, struct bl_val *out)
{
    double a;
    BL_TRY(need_number(b, 0, "a", -HUGE_VAL, HUGE_VAL, false, &a));
    switch (b->function[0]) {
    case 's': return number_result(b->e, sqrt(a), "sqrt()", out);
    case 'l': return number_result(b->e, log(a), "log()", out);
    case 'f': return number_result(b->e, floor(a), "floor()", out);
    default: return number_result(b->e, a == 0, "not()", out);
    }
}

static bl_status call_min_max(const struct bound *b, struct bl_val *out)
{
    double x, y;
    BL_TRY(need_number(b, 0, "a", -HUGE_VAL, HUGE_VAL, false, &x));
    BL_TRY(need_number(b, 1, "b", -HUGE_VAL, HUGE_VAL, false, &y));
    return number_result(b->e, (strcmp(b->function, "min") == 0) == (x < y) ? x : y, b->function, out);
}

static bl_status call_if(const struct bound *b, struct bl_val *out)
{
    double condition;
    BL_TRY(need_number(b, 0, "condition", -HUGE_VAL, HUGE_VAL, false, &condition));
    *out = *b->slot[condition != 0 ? 1 : 2];
    if (b->slot[1]->kind == BL_VAL_VALUE || b->slot[2]->kind == BL_VAL_VALUE)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "if(): chooses between numbers, strings or tensors; use an 'if' block for values");
    return BL_OK;
}

/* What a text cannot do right must be refused, not guessed. */
static bl_status call_require(const struct bound *b, struct bl_val *out)
{
    double condition;
    BL_TRY(need_number(b, 0, "condition", -HUGE_VAL, HUGE_VAL, false, &condition));
    if (condition == 0)
        BL_EVAL_FAIL(b->e, BL_EUNSUPPORTED, "the model needs what the graph does not know: %s", b->slot[1]->kind == BL_VAL_STRING ? b->slot[1]->text : "?");
    return number_result(b->e, 1, "require()", out);
}

static bl_status call_exists(const struct bound *b, struct bl_val *out)
{
    return number_result(b->e, b->slot[0] != NULL, "exists()", out);
}

static bl_status call_shape(const struct bound *b, struct bl_val *out)
{
    const struct bl_val *v = b->slot[0];
    if (v->kind != BL_VAL_TENSOR)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): %s, expected a tensor", b->function, bl_val_kind_name(v->kind));
    return number_result(b->e, b->function[0] == 'r' ? v->weight.rows : v->weight.columns, b->function, out);
}

/* ---- handlers: ops ---- */

static bl_status call_embed(const struct bound *b, struct bl_val *out)
{
    const struct bl_val *source = b->slot[0], *module;
    if (source->kind != BL_VAL_INPUT || source->id == BL_INPUT_OUTPUTS)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "embed(): the first argument is tokens or pos");
    BL_TRY(need_tensor(b, 1, "W", &module));
    struct bl_node node = new_node(b, BL_NODE_EMBED, 0);
    node.weight = module->weight;
    node.params.embed = (struct bl_params_embed){module->weight.columns, module->weight.rows, source->id == BL_INPUT_POS};
    return add_node(b, &node, BL_ROWS_OF_STEP, module->weight.columns, out);
}

static bl_status call_linear(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    const struct bl_val *module;
    BL_TRY(need_value(b, 0, "x", &x));
    BL_TRY(need_tensor(b, 1, "W", &module));
    const struct bl_weight *w = &module->weight;
    if (w->columns != x->columns)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "linear(): tensor '%s' has %u columns, the input has %u", tensor_name(b->e, w), w->columns, x->columns);
    struct bl_node node = new_node(b, BL_NODE_LINEAR, 2);
    node.in[0] = b->slot[0]->id;
    node.weight = *w;
    BL_TRY(take_bias(b, module, w->rows, &node));
    return add_node(b, &node, x->rows, w->rows, out);
}

static bl_status call_norm(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    BL_TRY(need_value(b, 0, "x", &x));
    struct bl_node node = new_node(b, b->function[0] == 'r' ? BL_NODE_RMS_NORM : BL_NODE_LAYER_NORM, 1);
    node.in[0] = b->slot[0]->id;
    double eps, columns = x->columns;
    BL_TRY(need_number(b, 2, "eps", 0, 1, false, &eps));
    uint32_t flags = 0;
    if (b->slot[1]) {
        const struct bl_val *module;
        BL_TRY(need_tensor(b, 1, "W", &module));
        if (module->weight.rows != 1)
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): tensor '%s' is no vector", b->function, tensor_name(b->e, &module->weight));
        columns = module->weight.columns;
        node.weight = module->weight;
        flags |= BL_NORM_WEIGHT;
        BL_TRY(take_bias(b, module, module->weight.columns, &node));
        if (node.bias.tensor != BL_NO_ID)
            flags |= BL_NORM_BIAS;
    }
    BL_TRY(optional_number(b, 3, "columns", 1, x->columns, true, columns, &columns));
    if (b->slot[1] && (uint32_t)columns != node.weight.columns)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): columns = %.0f, the tensor has %u", b->function, columns, node.weight.columns);
    if (x->columns % (uint32_t)columns)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): %u columns are no multiple of the group of %.0f", b->function, x->columns, columns);
    node.params.norm = (struct bl_params_norm){(uint32_t)columns, x->columns / (uint32_t)columns, x->rows, flags, (float)eps};
    return add_node(b, &node, x->rows, x->columns, out);
}

/* All ropes with the same frequencies share one table per step. */
static bl_status rope_table(const struct bound *b, const struct bl_params_rope_table *params, const uint32_t *turns, uint32_t *value)
{
    struct bl_graph *g = b->e->graph;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        if (n->op == BL_NODE_ROPE_TABLE && memcmp(&n->params.rope_table, params, sizeof *params) == 0 &&
            memcmp(g->constants + n->constant, turns, params->n_rot * sizeof *turns) == 0) {
            *value = n->out;
            return BL_OK;
        }
    }
    struct bl_node node = new_node(b, BL_NODE_ROPE_TABLE, 0);
    node.block = BL_NO_ID;
    node.params.rope_table = *params;
    BL_TRY(bl_graph_add_constant(g, turns, params->n_rot, &node.constant));
    return bl_graph_add_node(g, &node, BL_ROWS_OF_STEP, params->n_rot, value);
}

static bl_status need_pos(const struct bound *b, uint32_t slot)
{
    if (b->slot[slot]->kind != BL_VAL_INPUT || b->slot[slot]->id != BL_INPUT_POS)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): the second argument is pos", b->function);
    return BL_OK;
}

/* The turns of every pair; `factors` is a vector of the file, or absent. */
static bl_status rope_turns(const struct bound *b, const struct bl_rope_scaling *scaling, const struct bl_weight *factors, uint32_t *words)
{
    const struct bl_graph_source *source = b->e->source;
    for (uint32_t j = 0; j < scaling->n_rot / 2; j++) {
        uint64_t turns;
        float factor = 1;
        if (factors->tensor != BL_NO_ID)
            BL_TRY(source->numbers(source->user, factors->tensor, factors->first_row + j, 1, &factor));
        if (!bl_rope_turns(scaling, j, (double)factor, &turns))
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "rope(): pair %u has no finite frequency (base %g, factor %g)", j, scaling->base, (double)factor);
        words[2 * j] = (uint32_t)turns;
        words[2 * j + 1] = (uint32_t)(turns >> 32);
    }
    return BL_OK;
}

static bl_status call_rope(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    double d_head, n_rot, base, freq_scale, ext, attn, fast, slow, ctx;
    BL_TRY(need_value(b, 0, "x", &x));
    BL_TRY(need_pos(b, 1));
    BL_TRY(need_number(b, 2, "d_head", 1, BL_LIMIT_LAYERS, true, &d_head));
    BL_TRY(need_number(b, 3, "base", 1e-6, 1e15, false, &base));
    BL_TRY(optional_number(b, 5, "n_rot", 2, d_head, true, d_head, &n_rot));
    BL_TRY(optional_number(b, 6, "freq_scale", 1e-9, 1e9, false, 1, &freq_scale));
    BL_TRY(optional_number(b, 8, "ext_factor", 0, 1e9, false, 0, &ext));
    BL_TRY(optional_number(b, 9, "attn_factor", 1e-9, 1e9, false, 1, &attn));
    BL_TRY(optional_number(b, 10, "beta_fast", 0, 1e9, false, 32, &fast));
    BL_TRY(optional_number(b, 11, "beta_slow", 0, 1e9, false, 1, &slow));
    BL_TRY(optional_number(b, 12, "n_ctx_orig", 0, BL_LIMIT_CONTEXT, true, 0, &ctx));
    const char *layout = b->slot[4]->kind == BL_VAL_STRING ? b->slot[4]->text : "";
    bool neox = strcmp(layout, "neox") == 0;
    if (!neox && strcmp(layout, "norm") != 0)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "rope(): layout is \"norm\" or \"neox\"");
    if ((uint32_t)n_rot % 2 || x->columns % (uint32_t)d_head)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "rope(): n_rot = %.0f, d_head = %.0f do not fit %u columns", n_rot, d_head, x->columns);
    if (x->rows != BL_ROWS_OF_STEP)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "rope(): not on selected rows");
    struct bl_params_rope_table params = {(uint32_t)n_rot, (float)attn};
    struct bl_rope_scaling scaling = {(uint32_t)n_rot, base, freq_scale, ext, fast, slow, ctx};
    struct bl_weight factors = {.tensor = BL_NO_ID};
    if (b->slot[7]) {
        const struct bl_val *module;
        BL_TRY(need_tensor(b, 7, "factors", &module));
        if (module->weight.rows != 1 || module->weight.columns != (uint32_t)n_rot / 2)
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "rope(): tensor '%s' is no vector of %u", tensor_name(b->e, &module->weight), (uint32_t)n_rot / 2);
        factors = module->weight;
    }
    uint32_t *turns = bl_arena_alloc(&b->e->graph->arena, params.n_rot, sizeof *turns);
    if (!turns)
        BL_EVAL_FAIL(b->e, BL_ELIMIT, "rope(): no memory for %u frequencies", params.n_rot / 2);
    BL_TRY(rope_turns(b, &scaling, &factors, turns));
    struct bl_node node = new_node(b, BL_NODE_ROPE, 2);
    node.in[0] = b->slot[0]->id;
    uint32_t columns = x->columns;
    BL_TRY(rope_table(b, &params, turns, &node.in[1]));
    node.params.rope = (struct bl_params_rope){columns / (uint32_t)d_head, (uint32_t)d_head, (uint32_t)n_rot, neox ? BL_ROPE_NEOX : BL_ROPE_NORM};
    return add_node(b, &node, BL_ROWS_OF_STEP, columns, out);
}

static bl_status add_kv_store(const struct bound *b, uint32_t slot, uint32_t layer, uint32_t part, uint32_t heads, uint32_t d)
{
    struct bl_node node = new_node(b, BL_NODE_KV_STORE, 1);
    node.in[0] = b->slot[slot]->id;
    node.layer = layer;
    node.kv_part = part;
    node.params.kv_store = (struct bl_params_kv_store){heads, d, 0};
    return bl_graph_add_node(b->e->graph, &node, BL_ROWS_OF_STEP, 0, NULL);
}

static bl_status kv_layer(const struct bound *b, uint32_t layer, const struct bl_kv_layer *shape)
{
    struct bl_graph *g = b->e->graph;
    if (layer < g->n_kv_layers)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "attention(): layer %u is used twice", layer);
    if (layer != g->n_kv_layers)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "attention(): layer = %u, expected %u: layers are numbered from 0 without gaps", layer, g->n_kv_layers);
    if (layer == g->cap_kv_layers) {
        uint32_t cap = layer ? layer * 2 : 32;
        struct bl_kv_layer *grown = bl_arena_alloc(&g->arena, cap, sizeof *grown);
        if (!grown)
            BL_EVAL_FAIL(b->e, BL_ELIMIT, "the text needs more memory than its limit");
        if (layer)
            memcpy(grown, g->kv_layers, layer * sizeof *grown);
        g->kv_layers = grown;
        g->cap_kv_layers = cap;
    }
    g->kv_layers[g->n_kv_layers++] = *shape;
    return BL_OK;
}

static bl_status call_attention(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *q, *k, *v;
    double layer, d_head, scale, window, softcap;
    BL_TRY(need_value(b, 0, "q", &q));
    BL_TRY(need_value(b, 1, "k", &k));
    BL_TRY(need_value(b, 2, "v", &v));
    BL_TRY(need_number(b, 3, "layer", 0, BL_LIMIT_LAYERS - 1, true, &layer));
    BL_TRY(need_number(b, 4, "d_head", 1, BL_LIMIT_LAYERS, true, &d_head));
    BL_TRY(optional_number(b, 5, "scale", -1e9, 1e9, false, 1 / sqrt(d_head), &scale));
    BL_TRY(optional_number(b, 6, "window", 0, BL_LIMIT_CONTEXT, true, 0, &window));
    BL_TRY(optional_number(b, 7, "softcap", 0, 1e9, false, 0, &softcap));
    uint32_t d_k = (uint32_t)d_head, n_head = q->columns / d_k, n_head_kv = k->columns / d_k;
    if (q->columns % d_k || k->columns % d_k || !n_head_kv || n_head % n_head_kv || v->columns % n_head_kv)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "attention(): %u, %u and %u columns of q, k, v do not fit heads of %u", q->columns, k->columns, v->columns, d_k);
    uint32_t d_v = v->columns / n_head_kv;
    if (n_head > BL_LIMIT_LAYERS || d_v > BL_LIMIT_LAYERS)
        BL_EVAL_FAIL(b->e, BL_ELIMIT, "attention(): %u heads of %u, limit %u", n_head, d_v, BL_LIMIT_LAYERS);
    if (q->rows != BL_ROWS_OF_STEP || k->rows != BL_ROWS_OF_STEP || v->rows != BL_ROWS_OF_STEP)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "attention(): not on selected rows");
    BL_TRY(kv_layer(b, (uint32_t)layer, &(struct bl_kv_layer){n_head_kv, d_k, d_v}));
    BL_TRY(add_kv_store(b, 1, (uint32_t)layer, 0, n_head_kv, d_k));
    BL_TRY(add_kv_store(b, 2, (uint32_t)layer, 1, n_head_kv, d_v));
    struct bl_node node = new_node(b, BL_NODE_ATTENTION, 1);
    node.in[0] = b->slot[0]->id;
    node.layer = (uint32_t)layer;
    node.params.attention = (struct bl_params_attention){n_head, n_head_kv, d_k, d_v, (uint32_t)window, 0, (float)scale, (float)softcap};
    return add_node(b, &node, BL_ROWS_OF_STEP, n_head * d_v, out);
}

static const char *const unary_names[BL_UNARY_COUNT] = {
    [BL_UNARY_SILU] = "silu", [BL_UNARY_GELU] = "gelu", [BL_UNARY_GELU_TANH] = "gelu_tanh", [BL_UNARY_GELU_QUICK] = "gelu_quick",
    [BL_UNARY_RELU] = "relu", [BL_UNARY_RELU2] = "relu2", [BL_UNARY_SIGMOID] = "sigmoid", [BL_UNARY_TANH] = "tanh",
};

static bl_status call_unary(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    BL_TRY(need_value(b, 0, "x", &x));
    uint32_t kind = 0;
    while (!unary_names[kind] || strcmp(unary_names[kind], b->function) != 0)
        kind++;
    return add_unary(b->e, b->slot[0]->id, (enum bl_unary)kind, 0, out);
}

static bl_status call_softcap(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    double c;
    BL_TRY(need_value(b, 0, "x", &x));
    BL_TRY(need_number(b, 1, "c", 1e-9, 1e9, false, &c));
    return add_unary(b->e, b->slot[0]->id, BL_UNARY_SOFTCAP, c, out);
}

static bl_status call_select(const struct bound *b, struct bl_val *out)
{
    const struct bl_value *x;
    BL_TRY(need_value(b, 0, "x", &x));
    if (b->slot[1]->kind != BL_VAL_INPUT || b->slot[1]->id != BL_INPUT_OUTPUTS || x->rows != BL_ROWS_OF_STEP)
        BL_EVAL_FAIL(b->e, BL_EFORMAT, "select(): expected select(x, outputs) with x on all rows");
    struct bl_node node = new_node(b, BL_NODE_SELECT, 1);
    node.in[0] = b->slot[0]->id;
    return add_node(b, &node, BL_ROWS_OF_OUTPUT, x->columns, out);
}

/* ---- the table: a function is a row; '!' before a name: required; '?': what the file lacks may stand there ---- */

static const struct function {
    const char *name;
    bl_status (*call)(const struct bound *b, struct bl_val *out);
    const char *slots[MAX_SLOTS];
} functions[] = {
    {"sqrt", call_math, {"!a"}},
    {"log", call_math, {"!a"}},
    {"floor", call_math, {"!a"}},
    {"not", call_math, {"!a"}},
    {"min", call_min_max, {"!a", "!b"}},
    {"max", call_min_max, {"!a", "!b"}},
    {"if", call_if, {"!condition", "!a", "!b"}},
    {"require", call_require, {"!condition", "!what"}},
    {"exists", call_exists, {"?ref"}},
    {"rows", call_shape, {"!tensor"}},
    {"columns", call_shape, {"!tensor"}},
    {"embed", call_embed, {"!ids", "!W"}},
    {"linear", call_linear, {"!x", "!W"}},
    {"rms_norm", call_norm, {"!x", "W", "!eps", "columns"}},
    {"layer_norm", call_norm, {"!x", "W", "!eps", "columns"}},
    {"rope", call_rope, {"!x", "!pos", "!d_head", "!base", "!layout", "n_rot", "freq_scale", "factors", "ext_factor", "attn_factor", "beta_fast",
                         "beta_slow", "n_ctx_orig"}},
    {"attention", call_attention, {"!q", "!k", "!v", "!layer", "!d_head", "scale", "window", "softcap"}},
    {"silu", call_unary, {"!x"}},
    {"gelu", call_unary, {"!x"}},
    {"gelu_tanh", call_unary, {"!x"}},
    {"gelu_quick", call_unary, {"!x"}},
    {"relu", call_unary, {"!x"}},
    {"relu2", call_unary, {"!x"}},
    {"sigmoid", call_unary, {"!x"}},
    {"tanh", call_unary, {"!x"}},
    {"softcap", call_softcap, {"!x", "!c"}},
    {"select", call_select, {"!x", "!outputs"}},
};

const char *bl_eval_function_name(uint32_t i)
{
    return i < sizeof functions / sizeof functions[0] ? functions[i].name : NULL;
}

static bl_status bind(struct bl_call *call, const struct function *f, struct bound *b)
{
    for (uint32_t i = 0; i < call->n_args; i++) {
        struct bl_val *arg = &call->args[i];
        uint32_t slot = i;
        if (call->names[i])
            for (slot = 0; slot < MAX_SLOTS && f->slots[slot]; slot++)
                if (strcmp(f->slots[slot] + strspn(f->slots[slot], "!?"), call->names[i]) == 0)
                    break;
        if (slot >= MAX_SLOTS || !f->slots[slot])
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): unknown argument %s%s", f->name, call->names[i] ? call->names[i] : "at the end", "");
        if (b->slot[slot])
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): argument %s is given twice", f->name, call->names[i]);
        BL_TRY(bl_eval_resolve(b->e, arg, UINT64_MAX));
        bool required = f->slots[slot][0] == '!';
        if (arg->kind == BL_VAL_ABSENT && f->slots[slot][0] != '?')
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "unknown name '%s': no variable, key or tensor of that name", arg->text);
        if (required || (arg->kind != BL_VAL_NONE && arg->kind != BL_VAL_ABSENT))
            b->slot[slot] = arg;
    }
    for (uint32_t slot = 0; slot < MAX_SLOTS && f->slots[slot]; slot++)
        if (f->slots[slot][0] == '!' && !b->slot[slot])
            BL_EVAL_FAIL(b->e, BL_EFORMAT, "%s(): argument %s is missing", f->name, f->slots[slot] + 1);
    return BL_OK;
}

bl_status bl_eval_call(struct bl_eval *e, struct bl_call *call, struct bl_val *out)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(functions[i].name, call->function) == 0) {
            struct bound b = {.e = e, .function = functions[i].name};
            BL_TRY(bind(call, &functions[i], &b));
            return functions[i].call(&b, out);
        }
    }
    BL_EVAL_FAIL(e, BL_EFORMAT, "unknown op '%s'", call->function);
}
