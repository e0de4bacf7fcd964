/* kept_file.h: small files that are kept between runs and may be lost at any time: what was measured, what a driver made. Knows nothing of
 * what is in them.
 *
 * A file is believed only when it is a plain file of this user that nobody else can write, of at most the size that is asked for. It is
 * replaced as a whole (temporary name, fsync, rename), so that of two writers one wins. No failure is an error: each is a line in the log. */
#ifndef BL_BASE_KEPT_FILE_H
#define BL_BASE_KEPT_FILE_H
#include <stddef.h>

/* The file folder/name and a terminating 0 behind it, which the caller frees; NULL where there is none that can be believed. */
void *bl_kept_read(const char *folder, const char *name, size_t most_bytes, size_t *bytes);
/* Makes the folder where it is missing. */
void bl_kept_write(const char *folder, const char *name, const void *data, size_t bytes);
#endif
