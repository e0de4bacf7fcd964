/* file_map.h: a whole file as read-only memory.
 *
 * Mapped where the system can (private, read only), else read into memory. A file that shrinks while mapped would kill the process with
 * SIGBUS on the next touch; instead a process-wide handler, installed with the first map, puts zero pages under the hole and marks the map
 * as damaged. Readers of weights ask bl_file_map_check after their work: zeros never reach a user as an answer. Faults outside our maps go
 * to the handler that was there before. Thread safe; a map is used by any number of threads. */
#ifndef BL_BASE_FILE_MAP_H
#define BL_BASE_FILE_MAP_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

struct bl_file_map;

/* mode: BL_FILE_MAP, or BL_FILE_READ to copy the file into memory (for systems and tests without mmap). Refuses what is not a regular,
 * non-empty file. */
enum bl_file_mode { BL_FILE_MAP = 0, BL_FILE_READ };
bl_status bl_file_map_create(const char *path, enum bl_file_mode mode, struct bl_file_map **out) BL_MUST_USE;
void bl_file_map_destroy(struct bl_file_map *map);
const void *bl_file_map_data(const struct bl_file_map *map);
uint64_t bl_file_map_bytes(const struct bl_file_map *map);
const char *bl_file_map_path(const struct bl_file_map *map);
bool bl_file_map_is_mapped(const struct bl_file_map *map);
/* BL_EIO with file name, size at opening and size now, once a touched page was missing. */
bl_status bl_file_map_check(const struct bl_file_map *map) BL_MUST_USE;
#endif
