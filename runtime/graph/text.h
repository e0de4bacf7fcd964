/* text.h: the graph language as lines of tokens. Grammar in GRAMMAR.md. Owns nothing of the meaning (eval.c does). */
#ifndef BL_GRAPH_TEXT_H
#define BL_GRAPH_TEXT_H
#include "base/arena.h"

#include <bitloom/status.h>
#include <stdbool.h>

enum bl_token_kind {
    BL_TOK_END = 0, /* of the line */
    BL_TOK_NAME,    /* identifier */
    BL_TOK_PATH,    /* dotted or with {}: a tensor or a metadata key */
    BL_TOK_NUMBER,
    BL_TOK_STRING,
    BL_TOK_PUNCT    /* one of = == != < <= > >= + - * / % ? ( ) [ ] : , */
};
struct bl_graph_token {
    enum bl_token_kind kind;
    const char *text;  /* terminated copy; STRING without quotes */
    double number;
    uint16_t punct;    /* first character | second << 8 */
    uint32_t column;   /* 1-based */
};
struct bl_graph_line {
    uint32_t number;   /* 1-based */
    uint32_t indent;
    struct bl_graph_token *tokens; /* the last one is BL_TOK_END */
    uint32_t n_tokens; /* without END */
    uint32_t block_end; /* index of the first line after the deeper lines that follow this one */
};
struct bl_graph_lines {
    struct bl_graph_line *lines; /* lines with nothing on them are left out */
    uint32_t n_lines;
};
bl_status bl_graph_text_read(const char *text, uint64_t bytes, const char *name, struct bl_arena *arena, struct bl_graph_lines *out) BL_MUST_USE;
#endif
