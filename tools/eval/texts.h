/* texts.h: the texts of a file of JSON lines, one by one. Knows not what they are for. */
#ifndef BL_EVAL_TEXTS_H
#define BL_EVAL_TEXTS_H
#include <bitloom/status.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    const char *data; /* UTF-8, no terminator */
    size_t bytes;
    uint32_t line;    /* where it begins in the file, from 1 */
};
struct texts {
    struct text *items;
    uint32_t n;
    char *storage;
};
/* The strings under "text", one object per line; empty lines are skipped. BL_EFORMAT naming file and line for what is no such line, or for a
 * file without one. */
bl_status texts_read(const char *name, const char *data, size_t bytes, struct texts *out) BL_MUST_USE;
void texts_free(struct texts *texts);
#endif
