/* windows.h: what the two ways to make windows share (calibration.c: texts; questions.c: questions). */
#ifndef XQ_WINDOWS_H
#define XQ_WINDOWS_H
#include "compress/calibration.h"

/* One window of so many is held out: of texts, and of questions, which have few tokens that count. */
enum { XQ_HELD_OUT = 16, XQ_HELD_QUESTIONS = 4 };

/* BL_EFORMAT naming the first byte that is not UTF-8, or NUL. */
bl_status xq_check_utf8(const char *path, const char *text, size_t bytes) BL_MUST_USE;
/* The token that the model puts before every text; -1: none. */
bl_status xq_first_token(const bl_tokenizer *tokenizer, int32_t *out) BL_MUST_USE;
/* Whether a window is held out: one of `every`; of few windows more, so that there are two where half of them are at least three. */
bool xq_is_held(uint32_t window, uint32_t of, uint32_t every);
/* Windows to read so that `tokens` are learned from; UINT32_MAX for 0 tokens: all. */
uint64_t xq_windows_wanted(uint64_t tokens, uint32_t window, uint32_t every);
/* Sets the hash, when all else is there. */
void xq_calibration_hash(struct xq_calibration *c);
#endif
