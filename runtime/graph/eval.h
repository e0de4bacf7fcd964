/* eval.h: what the interpreter (eval.c) and the functions of the language (functions.c) share. Private to this room. */
#ifndef BL_GRAPH_EVAL_H
#define BL_GRAPH_EVAL_H
#include "graph/graph.h"

enum bl_val_kind {
    BL_VAL_NUMBER,
    BL_VAL_STRING,
    BL_VAL_KEY,     /* a metadata key, looked up when it is used */
    BL_VAL_TENSOR,  /* a module: weight and maybe bias */
    BL_VAL_ABSENT,  /* a tensor or key that the file does not have; text = its name */
    BL_VAL_VALUE,   /* a value of the graph */
    BL_VAL_INPUT,   /* tokens, pos, outputs */
    BL_VAL_NONE
};
enum bl_input { BL_INPUT_TOKENS, BL_INPUT_POS, BL_INPUT_OUTPUTS };
struct bl_val {
    enum bl_val_kind kind;
    uint32_t id;       /* VALUE: value id; INPUT: enum bl_input */
    double number;
    const char *text;  /* STRING, KEY, ABSENT: terminated */
    struct bl_weight weight, bias; /* TENSOR; bias.tensor BL_NO_ID: none */
};
const char *bl_val_kind_name(enum bl_val_kind kind);

struct bl_eval {
    const char *name;              /* of the text, for messages */
    const struct bl_graph_source *source;
    struct bl_graph *graph;
    uint32_t line;                 /* being run */
    uint32_t block;                /* iteration of the outermost repeat or BL_NO_ID */
};

/* Turns a KEY into NUMBER, STRING or ABSENT; leaves others alone. index UINT64_MAX: the scalar. */
bl_status bl_eval_resolve(const struct bl_eval *e, struct bl_val *val, uint64_t index) BL_MUST_USE;

enum { BL_MAX_ARGS = 16 };
struct bl_call {
    const char *function;
    struct bl_val args[BL_MAX_ARGS];
    const char *names[BL_MAX_ARGS]; /* NULL for plain arguments */
    uint32_t n_args;
};
/* Calls a function of the language by name. */
bl_status bl_eval_call(struct bl_eval *e, struct bl_call *call, struct bl_val *out) BL_MUST_USE;
/* The name of the i-th function of the language; NULL past the last. */
const char *bl_eval_function_name(uint32_t i);
/* op: the punctuation or 'a' (and), 'o' (or). Operands are resolved. */
bl_status bl_eval_binary(struct bl_eval *e, uint16_t op, const struct bl_val *a, const struct bl_val *b, struct bl_val *out) BL_MUST_USE;

#define BL_EVAL_FAIL(e, code, ...) \
    return bl_eval_error((e), (code), __LINE__, __VA_ARGS__)
bl_status bl_eval_error(const struct bl_eval *e, bl_status code, int source_line, const char *format, ...) BL_PRINTF(4, 5);
#endif
