/* interpreter.h: the state of a running graph text, shared by statements (eval.c) and expressions (expression.c). Private to this room. */
#ifndef BL_GRAPH_INTERPRETER_H
#define BL_GRAPH_INTERPRETER_H
#include "base/limits.h"
#include "graph/eval.h"
#include "graph/text.h"

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

struct variable *bl_find_variable(struct interpreter *in, const char *name);
/* index may be NULL. */
bl_status bl_set_variable(struct interpreter *in, const char *name, const struct bl_val *val, uint32_t *index) BL_MUST_USE;
/* Evaluates one expression from *token on; *token is left at the first token after it. */
bl_status bl_eval_expression(struct interpreter *in, const struct bl_graph_token **token, struct bl_val *out) BL_MUST_USE;

static inline struct bl_val number_val(double number)
{
    return (struct bl_val){.kind = BL_VAL_NUMBER, .number = number};
}

static inline bool is_punct(const struct bl_graph_token *token, char c)
{
    return token->kind == BL_TOK_PUNCT && token->punct == (uint16_t)c;
}
#endif
