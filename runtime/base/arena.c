/* arena.c: bump allocation in blocks. Knows nothing of what is stored. */
#include "base/arena.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK 4096u
#define LARGEST_BLOCK (1u << 20)

struct bl_arena_block {
    struct bl_arena_block *next;
    uint64_t used, bytes;
    _Alignas(16) unsigned char data[];
};

void bl_arena_init(struct bl_arena *arena, uint64_t limit)
{
    *arena = (struct bl_arena){NULL, 0, limit};
}

void *bl_arena_alloc(struct bl_arena *arena, uint64_t count, uint64_t size)
{
    uint64_t bytes;
    if (!bl_ck_mul(count, size, &bytes) || !bl_ck_align(bytes ? bytes : 1, 16, &bytes))
        return NULL;
    struct bl_arena_block *block = arena->head;
    if (!block || bytes > block->bytes - block->used) {
        uint64_t want = block ? block->bytes * 2 : FIRST_BLOCK, total;
        if (want > LARGEST_BLOCK)
            want = LARGEST_BLOCK;
        if (want < bytes)
            want = bytes;
        if (!bl_ck_add(want, sizeof *block, &total) || total > SIZE_MAX)
            return NULL;
        uint64_t grown;
        if (!bl_ck_add(arena->total, total, &grown) || (arena->limit && grown > arena->limit))
            return NULL;
        block = malloc((size_t)total);
        if (!block)
            return NULL;
        *block = (struct bl_arena_block){arena->head, 0, want};
        arena->head = block;
        arena->total = grown;
    }
    void *p = block->data + block->used;
    block->used += bytes;
    return memset(p, 0, (size_t)bytes);
}

char *bl_arena_string(struct bl_arena *arena, const void *text, uint64_t bytes)
{
    uint64_t with_nul;
    if (!bl_ck_add(bytes, 1, &with_nul))
        return NULL;
    char *copy = bl_arena_alloc(arena, with_nul, 1);
    if (copy && bytes)
        memcpy(copy, text, (size_t)bytes);
    return copy;
}

void bl_arena_finish(struct bl_arena *arena)
{
    while (arena->head) {
        struct bl_arena_block *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
    arena->total = 0;
}
