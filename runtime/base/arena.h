/* arena.h: many small allocations with one life. Blocks of growing size, freed together; no single free. Not thread safe.
 * `limit` bounds the total (0 = none): hostile input can never make an arena larger than its owner said. */
#ifndef BL_BASE_ARENA_H
#define BL_BASE_ARENA_H
#include <bitloom/status.h>
#include <stddef.h>

struct bl_arena {
    struct bl_arena_block *head;
    uint64_t total, limit; /* bytes taken from malloc; bound */
};

void bl_arena_init(struct bl_arena *arena, uint64_t limit);
/* count * size zeroed bytes aligned to 16; NULL when the product overflows, the limit is reached or memory is out. */
void *bl_arena_alloc(struct bl_arena *arena, uint64_t count, uint64_t size);
/* A NUL-terminated copy of `bytes` bytes. */
char *bl_arena_string(struct bl_arena *arena, const void *text, uint64_t bytes);
void bl_arena_finish(struct bl_arena *arena);
#endif
