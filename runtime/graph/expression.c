/* expression.c: names and expressions of the graph language, by operator precedence over explicit stacks: no recursion, a budget of steps.
 * Knows what names mean; the functions and operators themselves are in functions.c. */
#include "graph/interpreter.h"

#include "base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bl_status bl_eval_error(const struct bl_eval *e, bl_status code, int source_line, const char *format, ...)
{
    char text[BL_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return bl_error_push(code, __FILE__, source_line, "%s: %s:%u: %s", e->source->name, e->name, e->line, text);
}

const char *bl_val_kind_name(enum bl_val_kind kind)
{
    static const char *const names[] = {"a number", "a string", "a metadata key", "a tensor", "something absent", "a value", "an input", "none"};
    return names[kind];
}

bl_status bl_eval_resolve(const struct bl_eval *e, struct bl_val *val, uint64_t index)
{
    if (val->kind != BL_VAL_KEY)
        return BL_OK;
    struct bl_graph_key key;
    BL_TRY(e->source->key(e->source->user, val->text, index, &key));
    if (key.kind == BL_KEY_NUMBER) {
        val->kind = BL_VAL_NUMBER;
        val->number = key.number;
    } else if (key.kind == BL_KEY_STRING) {
        val->kind = BL_VAL_STRING;
        val->text = bl_arena_string(&e->graph->arena, key.text, key.text_bytes);
        if (!val->text)
            BL_EVAL_FAIL(e, BL_ELIMIT, "string of %llu bytes does not fit the memory limit", (unsigned long long)key.text_bytes);
    } else {
        val->kind = BL_VAL_ABSENT;
    }
    return BL_OK;
}

struct variable *bl_find_variable(struct interpreter *in, const char *name)
{
    for (uint32_t i = 0; i < in->n_variables; i++)
        if (strcmp(in->variables[i].name, name) == 0)
            return &in->variables[i];
    return NULL;
}

bl_status bl_set_variable(struct interpreter *in, const char *name, const struct bl_val *val, uint32_t *index)
{
    struct variable *v = bl_find_variable(in, name);
    if (!v) {
        if (in->n_variables == MAX_VARIABLES)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "'%s': more than %d variables", name, MAX_VARIABLES);
        v = &in->variables[in->n_variables++];
        v->name = name;
    }
    v->val = *val;
    if (index)
        *index = (uint32_t)(v - in->variables);
    if (val->kind == BL_VAL_VALUE)
        in->e.graph->values[val->id].name = name;
    return BL_OK;
}

/* Replaces {NAME} in a path. */
static bl_status expand_path(struct interpreter *in, const char *path, char *out)
{
    size_t n = 0;
    for (const char *s = path; *s;) {
        char piece[NAME_BYTES];
        size_t length = 1;
        piece[0] = *s;
        if (*s == '}')
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s': '}' without '{'", path);
        if (*s == '{') {
            const char *close = strchr(s, '}');
            if (!close || (size_t)(close - s) >= sizeof piece)
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s': '{' without '}'", path);
            memcpy(piece, s + 1, (size_t)(close - s - 1));
            piece[close - s - 1] = 0;
            struct variable *v = bl_find_variable(in, piece);
            if (!v || (v->val.kind != BL_VAL_NUMBER && v->val.kind != BL_VAL_STRING))
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s': '%s' is not a number or string", path, piece);
            if (v->val.kind == BL_VAL_NUMBER && v->val.number != floor(v->val.number))
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s': '%s' = %g is not whole", path, piece, v->val.number);
            int written = v->val.kind == BL_VAL_STRING ? snprintf(piece, sizeof piece, "%s", v->val.text)
                                                       : snprintf(piece, sizeof piece, "%.0f", v->val.number);
            length = (size_t)written;
            s = close;
        }
        if (length >= sizeof piece || n + length >= NAME_BYTES)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "'%s': name longer than %d bytes", path, NAME_BYTES - 1);
        memcpy(out + n, piece, length);
        n += length;
        s++;
    }
    out[n] = 0;
    return BL_OK;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static struct bl_weight whole_tensor(const struct bl_graph_tensor *t)
{
    /* Dimensions beyond what an op can use are refused by the op, by the tensor's full shape; here they only must not wrap. */
    return (struct bl_weight){t->id, t->format, t->columns > UINT32_MAX ? UINT32_MAX : (uint32_t)t->columns, 0,
                              t->rows > UINT32_MAX ? UINT32_MAX : (uint32_t)t->rows, t->input};
}

static bl_status lookup_tensor(struct interpreter *in, const char *name, struct bl_val *out)
{
    char full[NAME_BYTES + 8];
    struct bl_graph_tensor tensor;
    const struct bl_graph_source *source = in->e.source;
    *out = (struct bl_val){.kind = BL_VAL_TENSOR, .bias = {.tensor = BL_NO_ID}, .weight = {.tensor = BL_NO_ID}};
    snprintf(full, sizeof full, "%s.weight", name);
    if (source->tensor(source->user, full, &tensor)) {
        out->weight = whole_tensor(&tensor);
        snprintf(full, sizeof full, "%s.bias", name);
        if (source->tensor(source->user, full, &tensor))
            out->bias = whole_tensor(&tensor);
        return BL_OK;
    }
    if (source->tensor(source->user, name, &tensor)) {
        out->weight = whole_tensor(&tensor);
        return BL_OK;
    }
    out->kind = BL_VAL_ABSENT;
    out->text = bl_arena_string(&in->e.graph->arena, name, strlen(name));
    if (!out->text)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "the text needs more memory than its limit");
    return BL_OK;
}

static bl_status lookup_name(struct interpreter *in, const struct bl_graph_token *token, struct bl_val *out)
{
    if (token->kind == BL_TOK_NAME) {
        struct variable *v = bl_find_variable(in, token->text);
        if (v) {
            *out = v->val;
            return BL_OK;
        }
        if (strlen(token->text) >= NAME_BYTES)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "name longer than %d bytes", NAME_BYTES - 1);
        return lookup_tensor(in, token->text, out);
    }
    char name[NAME_BYTES];
    BL_TRY(expand_path(in, token->text, name));
    if (starts_with(token->text, "{arch}.") || starts_with(name, "general.") || starts_with(name, "tokenizer.") || starts_with(name, "bitloom.")) {
        *out = (struct bl_val){.kind = BL_VAL_KEY, .text = bl_arena_string(&in->e.graph->arena, name, strlen(name))};
        if (!out->text)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "the text needs more memory than its limit");
        return BL_OK;
    }
    return lookup_tensor(in, name, out);
}

/* ---- expressions: operator precedence over two stacks ---- */

static bl_status push_operand(struct interpreter *in, const struct bl_val *val)
{
    if (in->n_operands == MAX_OPERANDS)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "expression with more than %d operands", MAX_OPERANDS);
    in->operands[in->n_operands++] = *val;
    return BL_OK;
}

static bl_status push_operator(struct interpreter *in, const struct operator *op)
{
    if (in->n_operators == MAX_OPERATORS)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "expression nested deeper than %d", MAX_OPERATORS);
    in->operators[in->n_operators++] = *op;
    return BL_OK;
}

static bl_status apply_top(struct interpreter *in)
{
    struct operator op = in->operators[--in->n_operators];
    if (op.kind == OP_NEGATE) {
        struct bl_val *a = &in->operands[in->n_operands - 1], minus = number_val(-1), negated;
        BL_TRY(bl_eval_resolve(&in->e, a, UINT64_MAX));
        BL_TRY(bl_eval_binary(&in->e, '*', a, &minus, &negated));
        *a = negated;
        return BL_OK;
    }
    struct bl_val *a = &in->operands[in->n_operands - 2], *b = &in->operands[in->n_operands - 1], result;
    BL_TRY(bl_eval_resolve(&in->e, a, UINT64_MAX));
    if (op.punct == '?') {
        result = a->kind == BL_VAL_ABSENT ? *b : *a;
    } else {
        BL_TRY(bl_eval_resolve(&in->e, b, UINT64_MAX));
        BL_TRY(bl_eval_binary(&in->e, op.punct, a, b, &result));
    }
    in->n_operands--;
    *a = result;
    return BL_OK;
}

/* Applies finished operators above `precedence`; stops at an open bracket. */
static bl_status reduce(struct interpreter *in, uint32_t floor_operators, uint8_t precedence)
{
    while (in->n_operators > floor_operators) {
        const struct operator *top = &in->operators[in->n_operators - 1];
        if (top->kind > OP_NEGATE || top->precedence < precedence)
            break;
        BL_TRY(apply_top(in));
    }
    return BL_OK;
}

static bl_status close_call(struct interpreter *in)
{
    struct operator *op = &in->operators[in->n_operators - 1];
    struct bl_call *call = &in->call;
    call->function = op->function;
    call->n_args = in->n_operands - op->first_operand;
    for (uint32_t i = 0; i < call->n_args; i++) {
        call->args[i] = in->operands[op->first_operand + i];
        call->names[i] = op->arg_names[i];
    }
    in->n_operands = op->first_operand;
    in->n_operators--;
    struct bl_val result;
    BL_TRY(bl_eval_call(&in->e, call, &result));
    return push_operand(in, &result);
}

static bl_status close_index(struct interpreter *in)
{
    struct operator op = in->operators[--in->n_operators];
    uint32_t n = op.has_colon ? 2 : 1;
    struct bl_val *target = &in->operands[in->n_operands - 1 - n], *index = &in->operands[in->n_operands - n];
    for (uint32_t i = 0; i < n; i++) {
        BL_TRY(bl_eval_resolve(&in->e, &index[i], UINT64_MAX));
        if (index[i].kind != BL_VAL_NUMBER || !(index[i].number >= 0) || index[i].number > 0x1p32 || index[i].number != floor(index[i].number))
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: an index must be a whole number from 0", op.column);
    }
    in->n_operands -= n;
    if (!op.has_colon) {
        if (target->kind != BL_VAL_KEY)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: [i] needs a metadata key, not %s", op.column, bl_val_kind_name(target->kind));
        return bl_eval_resolve(&in->e, target, (uint64_t)index[0].number);
    }
    if (target->kind == BL_VAL_ABSENT)
        return BL_OK;
    if (target->kind != BL_VAL_TENSOR)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: [a:b] needs a tensor, not %s", op.column, bl_val_kind_name(target->kind));
    double a = index[0].number, b = index[1].number;
    if (a >= b || b > target->weight.rows)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: rows [%.0f:%.0f] of a tensor of %u rows", op.column, a, b, target->weight.rows);
    uint32_t target_rows = target->weight.rows;
    target->weight.first_row += (uint32_t)a;
    target->weight.rows = (uint32_t)(b - a);
    if (target->bias.tensor != BL_NO_ID) { /* a bias is one row of columns: its "rows" are its columns */
        if (target->bias.columns != target_rows)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: a tensor of %u rows with a bias of %u", op.column, target_rows, target->bias.columns);
        target->bias.first_row += (uint32_t)a;
        target->bias.columns = (uint32_t)(b - a);
    }
    return BL_OK;
}

static uint8_t precedence_of(const struct bl_graph_token *token)
{
    if (token->kind == BL_TOK_NAME)
        return strcmp(token->text, "or") == 0 ? 2 : strcmp(token->text, "and") == 0 ? 3 : 0;
    if (token->kind != BL_TOK_PUNCT)
        return 0;
    switch (token->punct) {
    case '?': return 1;
    case '=' | '=' << 8: case '!' | '=' << 8: case '<': case '<' | '=' << 8: case '>': case '>' | '=' << 8: return 4;
    case '+': case '-': return 5;
    case '*': case '/': case '%': return 6;
    }
    return 0;
}
enum { NEGATE_PRECEDENCE = 7 };

/* An argument begins: "NAME =" makes it a named one. */
static bl_status begin_argument(struct interpreter *in, const struct bl_graph_token **token)
{
    struct operator *op = &in->operators[in->n_operators - 1];
    if (op->n_args == BL_MAX_ARGS)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "%s(): more than %d arguments", op->function, BL_MAX_ARGS);
    const struct bl_graph_token *t = *token;
    bool named = t->kind == BL_TOK_NAME && is_punct(t + 1, '=');
    if (!named && op->n_args && op->arg_names[op->n_args - 1])
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: %s(): a plain argument after a named one", t->column, op->function);
    op->arg_names[op->n_args++] = named ? t->text : NULL;
    if (named)
        *token = t + 2;
    return BL_OK;
}

bl_status bl_eval_expression(struct interpreter *in, const struct bl_graph_token **token, struct bl_val *out)
{
    in->n_operators = in->n_operands = 0;
    bool want_operand = true;
    for (;; (*token)++) {
        const struct bl_graph_token *t = *token;
        if (++in->steps > BL_LIMIT_GRAPH_STEPS)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "more than %u words evaluated", BL_LIMIT_GRAPH_STEPS);
        if (want_operand) {
            struct bl_val val;
            if (t->kind == BL_TOK_NUMBER) {
                val = number_val(t->number);
            } else if (t->kind == BL_TOK_STRING) {
                val = (struct bl_val){.kind = BL_VAL_STRING, .text = t->text};
            } else if (t->kind == BL_TOK_NAME && is_punct(t + 1, '(')) {
                struct operator call = {.kind = OP_CALL, .function = t->text, .first_operand = in->n_operands, .column = t->column};
                BL_TRY(push_operator(in, &call));
                (*token)++;
                if (is_punct(t + 2, ')')) {
                    (*token)++;
                    BL_TRY(close_call(in));
                    want_operand = false;
                } else {
                    const struct bl_graph_token *next = t + 2;
                    BL_TRY(begin_argument(in, &next));
                    *token = next - 1;
                }
                continue;
            } else if ((t->kind == BL_TOK_NAME && !precedence_of(t)) || t->kind == BL_TOK_PATH) {
                BL_TRY(lookup_name(in, t, &val));
            } else if (is_punct(t, '(')) {
                BL_TRY(push_operator(in, &(struct operator){.kind = OP_PAREN, .column = t->column}));
                continue;
            } else if (is_punct(t, '-')) {
                BL_TRY(push_operator(in, &(struct operator){.kind = OP_NEGATE, .precedence = NEGATE_PRECEDENCE, .column = t->column}));
                continue;
            } else {
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: expected a value, found %s%s%s", t->column, t->kind ? "'" : "the end of the line",
                             t->kind ? t->text : "", t->kind ? "'" : "");
            }
            BL_TRY(push_operand(in, &val));
            want_operand = false;
            continue;
        }
        uint8_t precedence = precedence_of(t);
        if (precedence) {
            BL_TRY(reduce(in, 0, precedence));
            uint16_t punct = t->kind == BL_TOK_NAME ? (uint16_t)t->text[0] : t->punct;
            BL_TRY(push_operator(in, &(struct operator){.kind = OP_BINARY, .punct = punct, .precedence = precedence, .column = t->column}));
            want_operand = true;
            continue;
        }
        if (is_punct(t, '[')) {
            BL_TRY(push_operator(in, &(struct operator){.kind = OP_INDEX, .column = t->column}));
            want_operand = true;
            continue;
        }
        BL_TRY(reduce(in, 0, 0));
        struct operator *top = in->n_operators ? &in->operators[in->n_operators - 1] : NULL;
        if (!top) { /* everything is applied */
            *out = in->operands[0];
            return bl_eval_resolve(&in->e, out, UINT64_MAX);
        }
        if (top->kind == OP_PAREN && is_punct(t, ')')) {
            in->n_operators--;
        } else if (top->kind == OP_CALL && is_punct(t, ')')) {
            BL_TRY(close_call(in));
        } else if (top->kind == OP_CALL && is_punct(t, ',')) {
            const struct bl_graph_token *next = t + 1;
            BL_TRY(begin_argument(in, &next));
            *token = next - 1;
            want_operand = true;
        } else if (top->kind == OP_INDEX && is_punct(t, ':') && !top->has_colon) {
            top->has_colon = true;
            want_operand = true;
        } else if (top->kind == OP_INDEX && is_punct(t, ']')) {
            BL_TRY(close_index(in));
        } else {
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: unexpected %s, the bracket of column %u is open", t->column,
                         t->kind ? t->text : "end of the line", top->column);
        }
    }
}
