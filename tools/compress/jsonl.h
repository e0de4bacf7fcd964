/* jsonl.h: the texts of a file of JSON lines. Knows no more of JSON than that takes. */
#ifndef XQ_JSONL_H
#define XQ_JSONL_H
#include <bitloom/status.h>
#include <stddef.h>

/* The strings under "text" of every line's object, each followed by a newline, as UTF-8; the caller frees *out. BL_EFORMAT naming file, line and
 * what is wrong with it: no object, no "text", an unfinished string. Empty lines are skipped. */
bl_status xq_jsonl_texts(const char *name, const char *data, size_t bytes, char **out, size_t *out_bytes) BL_MUST_USE;
#endif
