/* jsonl.h: the texts, or the questions, of a file of JSON lines. Knows no more of JSON than that takes. */
#ifndef XQ_JSONL_H
#define XQ_JSONL_H
#include <bitloom/status.h>
#include <stddef.h>

/* The strings under "text" of every line's object, each followed by a newline, as UTF-8; the caller frees *out. BL_EFORMAT naming file, line and
 * what is wrong with it: no object, no "text", an unfinished string. Empty lines are skipped. */
bl_status xq_jsonl_texts(const char *name, const char *data, size_t bytes, char **out, size_t *out_bytes) BL_MUST_USE;

/* A question and its right answer, as text (UTF-8, not NUL-terminated). */
struct xq_question {
    const char *prompt, *answer;
    size_t prompt_bytes, answer_bytes;
};
/* Lines of {"prompt": text, "answer": ...}, with or without {"choices": [texts]}: then the answer is the number of a choice, from 0, or its letter, from
 * A, or its text; without, a text. Or lines of {"text": ...} that end in "Answer: X", as eval reads them. The caller frees *out and *strings. BL_EFORMAT naming file, line and what is wrong with it. */
bl_status xq_jsonl_questions(const char *name, const char *data, size_t bytes, struct xq_question **out, size_t *n, char **strings) BL_MUST_USE;
#endif
