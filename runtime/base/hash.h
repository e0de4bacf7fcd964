/* hash.h: hashing of keys that come from outside. Keyed by a number that differs from process to process, so that nobody can prepare a
 * file whose keys all collide (look-ups would turn quadratic). Nothing that leaves the process may depend on a hash under the process' key; checksums in files are
 * bl_hash_bytes under keys of their own. */
#ifndef BL_BASE_HASH_H
#define BL_BASE_HASH_H
#include <stddef.h>
#include <stdint.h>

/* The key of this process: random, never 0, the same on every call. */
uint64_t bl_hash_key(void);
/* SipHash-1-3 of `bytes` bytes under (key, ~key). */
uint64_t bl_hash_bytes(uint64_t key, const void *data, size_t bytes);

/* For a pair of ids in one word; cheap, and good enough under a secret key. */
static inline uint64_t bl_hash_u64(uint64_t key, uint64_t x)
{
    x = (x ^ key) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 32) * (key | 1);
    return x ^ x >> 29;
}
#endif
