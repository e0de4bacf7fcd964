/* checked.h: arithmetic on numbers that came from outside. In files that read untrusted input no raw + or * may touch such a number:
 * these return false on overflow and leave *out alone. All sizes are uint64_t. */
#ifndef BL_BASE_CHECKED_H
#define BL_BASE_CHECKED_H
#include <stdbool.h>
#include <stdint.h>

static inline bool bl_ck_add(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a)
        return false;
    *out = a + b;
    return true;
}

static inline bool bl_ck_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}

/* Rounds `a` up to a multiple of `alignment`, a power of two. */
static inline bool bl_ck_align(uint64_t a, uint64_t alignment, uint64_t *out)
{
    uint64_t sum;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || !bl_ck_add(a, alignment - 1, &sum))
        return false;
    *out = sum & ~(alignment - 1);
    return true;
}
#endif
