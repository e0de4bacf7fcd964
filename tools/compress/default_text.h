/* default_text.h: the built-in calibration text, default_text.txt as embedded by the build. */
#ifndef XQ_DEFAULT_TEXT_H
#define XQ_DEFAULT_TEXT_H
#include <stddef.h>

extern const char xq_default_text[];
extern const size_t xq_default_text_bytes;
#endif
