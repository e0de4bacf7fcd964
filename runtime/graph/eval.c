/* eval.c: runs a graph text: statements, blocks and expressions, with explicit stacks and a budget of steps. Knows what names mean; the
 * functions and operators themselves are in functions.c. */
#include "graph/eval.h"

#include "base/error.h"
#include "base/limits.h"
#include "graph/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VARIABLES = 256, MAX_OPERANDS = 128, MAX_OPERATORS = BL_LIMIT_GRAPH_DEPTH, NAME_BYTES = 256 };

struct variable {
    const char *name;
    struct bl_val val;
};
enum operator_kind { OP_BINARY, OP_NEGATE, OP_PAREN, OP_CALL, OP_INDEX };
struct operator {
    enum operator_kind kind;
    uint16_t punct;
    uint8_t precedence;
    bool has_colon;           /* INDEX */
    uint32_t first_operand;   /* CALL: where its arguments begin */
    uint32_t column;
    const char *function;     /* CALL */
    const char *arg_names[BL_MAX_ARGS];
    uint32_t n_args;          /* CALL: arguments begun */
};
struct frame { /* an open block */
    uint32_t head, body, end;     /* lines: the repeat or if, first of the body, first after it */
    uint32_t variable, i, n;      /* repeat; n = 0 for if */
};
struct interpreter {
    struct bl_eval e;
    struct bl_graph_lines lines;
    uint32_t steps;
    struct variable variables[MAX_VARIABLES];
    uint32_t n_variables;
    struct bl_val operands[MAX_OPERANDS];
    uint32_t n_operands;
    struct operator operators[MAX_OPERATORS];
    uint32_t n_operators;
    struct frame frames[BL_LIMIT_GRAPH_DEPTH];
    uint32_t n_frames;
    bool if_known[BL_LIMIT_GRAPH_DEPTH + 1], if_taken[BL_LIMIT_GRAPH_DEPTH + 1]; /* by block depth: for "else" */
    struct bl_call call; /* too large for the stack of a small thread, and never nested */
};

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

static struct bl_val number_val(double number)
{
    return (struct bl_val){.kind = BL_VAL_NUMBER, .number = number};
}

static struct variable *find_variable(struct interpreter *in, const char *name)
{
    for (uint32_t i = 0; i < in->n_variables; i++)
        if (strcmp(in->variables[i].name, name) == 0)
            return &in->variables[i];
    return NULL;
}

static bl_status set_variable(struct interpreter *in, const char *name, const struct bl_val *val, uint32_t *index)
{
    struct variable *v = find_variable(in, name);
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
            struct variable *v = find_variable(in, piece);
            if (!v || (v->val.kind != BL_VAL_NUMBER && v->val.kind != BL_VAL_STRING))
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s': '%s' is not a number or string", path, piece);
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
                              t->rows > UINT32_MAX ? UINT32_MAX : (uint32_t)t->rows};
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
        struct variable *v = find_variable(in, token->text);
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
    target->weight.first_row += (uint32_t)a;
    target->weight.rows = (uint32_t)(b - a);
    if (target->bias.tensor != BL_NO_ID) { /* a bias is one row of columns: its "rows" are its columns */
        if (b > target->bias.columns)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: rows [%.0f:%.0f] of a bias of %u", op.column, a, b, target->bias.columns);
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

static bool is_punct(const struct bl_graph_token *token, char c)
{
    return token->kind == BL_TOK_PUNCT && token->punct == (uint16_t)c;
}

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

/* Evaluates one expression from *token on; *token is left at the first token after it. */
static bl_status expression(struct interpreter *in, const struct bl_graph_token **token, struct bl_val *out)
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

/* ---- statements ---- */

static bl_status add_param(struct interpreter *in, const char *name, const struct bl_val *val)
{
    struct bl_graph *g = in->e.graph;
    if (val->kind != BL_VAL_NUMBER && val->kind != BL_VAL_STRING)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "param %s is %s, expected a number or a string", name, bl_val_kind_name(val->kind));
    for (uint32_t i = 0; i < g->n_params; i++)
        if (strcmp(g->params[i].name, name) == 0)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "param %s is set twice", name);
    if (g->n_params == g->cap_params) {
        uint32_t cap = g->cap_params ? g->cap_params * 2 : 16;
        struct bl_graph_param *grown = bl_arena_alloc(&g->arena, cap, sizeof *grown);
        if (!grown)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "the text needs more memory than its limit");
        if (g->n_params)
            memcpy(grown, g->params, g->n_params * sizeof *grown);
        g->params = grown;
        g->cap_params = cap;
    }
    g->params[g->n_params++] = (struct bl_graph_param){bl_arena_string(&g->arena, name, strlen(name)), val->kind == BL_VAL_STRING, val->number, val->text};
    return BL_OK;
}

static bl_status absent_error(const struct bl_eval *e, const struct bl_val *val)
{
    BL_EVAL_FAIL(e, BL_EFORMAT, "unknown name '%s': no variable, key or tensor of that name", val->text);
}

static bl_status statements(struct interpreter *in, const struct bl_graph_line *line)
{
    const struct bl_graph_token *t = line->tokens;
    while (t->kind != BL_TOK_END) {
        bool is_param = t->kind == BL_TOK_NAME && strcmp(t->text, "param") == 0 && t[1].kind == BL_TOK_NAME;
        if (is_param)
            t++;
        if (t->kind != BL_TOK_NAME || !is_punct(t + 1, '='))
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: expected NAME = ..., found '%s'", t->column, t->text);
        const char *name = t->text;
        t += 2;
        struct bl_val val;
        BL_TRY(expression(in, &t, &val));
        if (val.kind == BL_VAL_ABSENT)
            return absent_error(&in->e, &val);
        if (is_param)
            BL_TRY(add_param(in, name, &val));
        BL_TRY(set_variable(in, name, &val, NULL));
    }
    return BL_OK;
}

static bl_status number_here(struct interpreter *in, const struct bl_graph_token *t, const char *what, double *out)
{
    struct bl_val val;
    BL_TRY(expression(in, &t, &val));
    if (val.kind == BL_VAL_ABSENT)
        return absent_error(&in->e, &val);
    if (val.kind != BL_VAL_NUMBER)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "%s needs a number, not %s", what, bl_val_kind_name(val.kind));
    if (t->kind != BL_TOK_END)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: unexpected '%s' after the expression", t->column, t->text);
    *out = val.number;
    return BL_OK;
}

static void push_frame(struct interpreter *in, const struct frame *f)
{
    in->frames[in->n_frames++] = *f;
    in->if_known[in->n_frames] = false; /* an "if" of an earlier block at this depth is no partner for an "else" here */
}

/* Begins the iteration frames[top].i, or leaves the block. */
static void next_iteration(struct interpreter *in, uint32_t *pc)
{
    struct frame *f = &in->frames[in->n_frames - 1];
    if (f->i < f->n) {
        in->variables[f->variable].val = number_val(f->i);
        if (in->n_frames == 1)
            in->e.block = f->i;
        f->i++;
        *pc = f->body;
    } else {
        *pc = f->end;
        in->n_frames--;
        if (in->n_frames == 0)
            in->e.block = BL_NO_ID;
    }
}

static bl_status run_line(struct interpreter *in, uint32_t *pc)
{
    const struct bl_graph_line *line = &in->lines.lines[*pc];
    const struct bl_graph_token *t = line->tokens;
    in->e.line = line->number;
    if (++in->steps > BL_LIMIT_GRAPH_STEPS)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "more than %u words evaluated", BL_LIMIT_GRAPH_STEPS);
    uint32_t end = line->block_end, depth = in->n_frames;
    bool is_repeat = t->kind == BL_TOK_NAME && strcmp(t->text, "repeat") == 0 && t[1].kind == BL_TOK_NAME;
    bool is_if = t->kind == BL_TOK_NAME && strcmp(t->text, "if") == 0 && !is_punct(t + 1, '=');
    bool is_else = t->kind == BL_TOK_NAME && strcmp(t->text, "else") == 0 && t[1].kind == BL_TOK_END;
    if ((is_repeat || is_if || is_else) && end == *pc + 1)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s' without deeper lines", t->text);
    if ((is_repeat || is_if) && depth == BL_LIMIT_GRAPH_DEPTH)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "blocks nested deeper than %u", BL_LIMIT_GRAPH_DEPTH);
    if (is_repeat) {
        if (t[2].kind != BL_TOK_NAME || strcmp(t[2].text, "in") != 0)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: expected 'repeat NAME in COUNT'", t[2].column);
        double n;
        BL_TRY(number_here(in, t + 3, "repeat", &n));
        if (!(n >= 0) || n > BL_LIMIT_LAYERS || n != floor(n))
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "repeat count %g, limit %u", n, BL_LIMIT_LAYERS);
        struct frame f = {*pc, *pc + 1, end, 0, 0, (uint32_t)n};
        struct bl_val zero = number_val(0);
        BL_TRY(set_variable(in, t[1].text, &zero, &f.variable));
        in->if_known[depth] = false;
        push_frame(in, &f);
        next_iteration(in, pc);
        return BL_OK;
    }
    if (is_if || is_else) {
        bool take;
        if (is_if) {
            double condition;
            BL_TRY(number_here(in, t + 1, "if", &condition));
            take = condition != 0;
        } else {
            if (!in->if_known[depth])
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'else' without 'if'");
            take = !in->if_taken[depth];
        }
        in->if_known[depth] = is_if;
        in->if_taken[depth] = take;
        if (take)
            push_frame(in, &(struct frame){*pc, *pc + 1, end, 0, 0, 0});
        *pc = take ? *pc + 1 : end;
        return BL_OK;
    }
    in->if_known[depth] = false;
    if (end != *pc + 1) {
        in->e.line = in->lines.lines[*pc + 1].number;
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "unexpected indent");
    }
    BL_TRY(statements(in, line));
    (*pc)++;
    return BL_OK;
}

static bl_status run(struct interpreter *in)
{
    static const struct {
        const char *name;
        enum bl_val_kind kind;
        uint32_t id;
    } inputs[] = {{"tokens", BL_VAL_INPUT, BL_INPUT_TOKENS}, {"pos", BL_VAL_INPUT, BL_INPUT_POS}, {"outputs", BL_VAL_INPUT, BL_INPUT_OUTPUTS},
                  {"none", BL_VAL_NONE, 0}};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        BL_TRY(set_variable(in, inputs[i].name, &(struct bl_val){.kind = inputs[i].kind, .id = inputs[i].id}, NULL));
    BL_TRY(set_variable(in, "arch", &(struct bl_val){.kind = BL_VAL_STRING, .text = in->e.source->arch}, NULL));
    for (uint32_t pc = 0;;) {
        while (in->n_frames && pc == in->frames[in->n_frames - 1].end)
            next_iteration(in, &pc);
        if (pc == in->lines.n_lines)
            break;
        BL_TRY(run_line(in, &pc));
    }
    const struct variable *logits = find_variable(in, "logits");
    if (!logits || logits->val.kind != BL_VAL_VALUE)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "the text does not set 'logits' to a value");
    struct bl_graph *g = in->e.graph;
    g->logits = logits->val.id;
    if (g->values[g->logits].rows != BL_ROWS_OF_OUTPUT)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'logits' is not on the rows of select(x, outputs)");
    if (g->nodes[g->values[g->logits].producer].op != BL_NODE_LINEAR && g->nodes[g->values[g->logits].producer].op != BL_NODE_UNARY)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'logits' must come from linear() or a function of it");
    return BL_OK;
}

bl_status bl_graph_parse(const char *text, uint64_t text_bytes, const char *text_name, const struct bl_graph_source *source, bool allow_unused,
                         struct bl_graph **out)
{
    *out = NULL;
    bl_status status = BL_ENOMEM;
    struct interpreter *in = calloc(1, sizeof *in);
    struct bl_graph *g = calloc(1, sizeof *g);
    if (!in || !g) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the graph", source->name);
        goto out;
    }
    bl_arena_init(&g->arena, UINT64_C(24) << 20);
    g->text_name = bl_arena_string(&g->arena, text_name, strlen(text_name));
    g->tensor_used = bl_arena_alloc(&g->arena, source->n_tensors, 1);
    g->logits = BL_NO_ID;
    if (!g->text_name || !g->tensor_used) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the graph", source->name);
        goto out;
    }
    in->e = (struct bl_eval){g->text_name, source, g, 0, BL_NO_ID};
    char name[512]; /* of the text and of the file that it is read for */
    snprintf(name, sizeof name, "%s: %s", source->name, text_name);
    status = bl_graph_text_read(text, text_bytes, name, &g->arena, &in->lines);
    if (status == BL_OK)
        status = run(in);
    for (uint32_t i = 0; status == BL_OK && !allow_unused && i < source->n_tensors; i++)
        if (!g->tensor_used[i])
            status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: tensor '%s' is used by no op of graph %s: the answers would be wrong",
                                   source->name, source->tensor_name(source->user, i), g->text_name);
out:
    free(in);
    if (status != BL_OK) {
        bl_graph_destroy(g);
        return status;
    }
    *out = g;
    return BL_OK;
}

void bl_graph_destroy(struct bl_graph *graph)
{
    if (!graph)
        return;
    bl_arena_finish(&graph->arena);
    free(graph);
}

const struct bl_graph_param *bl_graph_find_param(const struct bl_graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->n_params; i++)
        if (strcmp(graph->params[i].name, name) == 0)
            return &graph->params[i];
    return NULL;
}
