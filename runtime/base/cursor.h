/* cursor.h: the only way to read bytes that came from outside. A cursor is a window with a position that can never leave it; every read
 * says whether it fitted. Little endian. Owns nothing. */
#ifndef BL_BASE_CURSOR_H
#define BL_BASE_CURSOR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bl_cursor {
    const uint8_t *data;
    uint64_t bytes;
    uint64_t position; /* always <= bytes */
};

static inline struct bl_cursor bl_cursor_make(const void *data, uint64_t bytes)
{
    return (struct bl_cursor){(const uint8_t *)data, bytes, 0};
}

static inline uint64_t bl_cursor_left(const struct bl_cursor *c)
{
    return c->bytes - c->position;
}

/* Borrows `bytes` bytes at the position and moves past them; NULL (and no move) if fewer are left. */
static inline const uint8_t *bl_cursor_take(struct bl_cursor *c, uint64_t bytes)
{
    if (bytes > bl_cursor_left(c))
        return NULL;
    const uint8_t *p = c->data + c->position;
    c->position += bytes;
    return p;
}

static inline bool bl_cursor_u8(struct bl_cursor *c, uint8_t *out)
{
    const uint8_t *p = bl_cursor_take(c, 1);
    if (!p)
        return false;
    *out = *p;
    return true;
}

static inline uint16_t bl_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint32_t)p[1] << 8);
}

static inline uint32_t bl_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t bl_load_u64(const uint8_t *p)
{
    return (uint64_t)bl_load_u32(p) | (uint64_t)bl_load_u32(p + 4) << 32;
}

static inline bool bl_cursor_u32(struct bl_cursor *c, uint32_t *out)
{
    const uint8_t *p = bl_cursor_take(c, 4);
    if (!p)
        return false;
    *out = bl_load_u32(p);
    return true;
}

static inline bool bl_cursor_u64(struct bl_cursor *c, uint64_t *out)
{
    const uint8_t *p = bl_cursor_take(c, 8);
    if (!p)
        return false;
    *out = bl_load_u64(p);
    return true;
}
#endif
