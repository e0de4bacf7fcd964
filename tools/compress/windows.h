/* windows.h: what the two ways to make windows share (calibration.c: texts; questions.c: questions). */
#ifndef XQ_WINDOWS_H
#define XQ_WINDOWS_H
#include "compress/calibration.h"

enum { XQ_HELD_OUT = 16 /* one window of so many */ };

/* BL_EFORMAT naming the first byte that is not UTF-8, or NUL. */
bl_status xq_check_utf8(const char *path, const char *text, size_t bytes) BL_MUST_USE;
/* The token that the model puts before every text; -1: none. */
bl_status xq_first_token(const bl_tokenizer *tokenizer, int32_t *out) BL_MUST_USE;
/* Whether a window of so many is held out. */
bool xq_is_held(uint32_t window, uint32_t of);
/* Sets the hash, when all else is there. */
void xq_calibration_hash(struct xq_calibration *c);
#endif
