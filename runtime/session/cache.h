/* cache.h: what was measured once, kept in a small text file: speeds of devices, winners of races. Losing it costs a measurement, never an
 * answer. One line per fact: key, tab, value; keys hold no tab or newline.
 *
 * The file is believed only when it is a plain file of this user that nobody else can write, of at most 64 KiB, and whole; else it is left
 * out with a warning, and replaced by the next put. `folder` NULL: nothing is kept. */
#ifndef BL_SESSION_CACHE_H
#define BL_SESSION_CACHE_H
#include <stdbool.h>
#include <stddef.h>

/* False: not known. */
bool bl_cache_get(const char *folder, const char *key, char *value, size_t bytes);
/* Makes the folder where it is missing. A failure is a line in the log. */
void bl_cache_put(const char *folder, const char *key, const char *value);
#endif
