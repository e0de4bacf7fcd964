/* print.h: formatted text into somebody's callback. Owns nothing; knows no stream. */
#ifndef BL_BASE_PRINT_H
#define BL_BASE_PRINT_H
#include <bitloom/file.h>
#include <stdint.h>

struct bl_printer {
    bl_text_fn write;
    void *user;
};
/* One piece is cut at 511 bytes. */
void bl_print(const struct bl_printer *p, const char *format, ...) BL_PRINTF(2, 3);
/* A string that may hold anything, in quotes, fit for a terminal and for JSON: quotes and control characters escaped, what is no UTF-8 as
 * U+FFFD, after `limit` bytes "...". */
void bl_print_quoted(const struct bl_printer *p, const char *text, uint64_t bytes, uint64_t limit);
#endif
