/* hash.c: the keyed hash behind every table of names. Owns the process key. */
#include "base/hash.h"

#include "base/cursor.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t process_key;

static void make_key(void)
{
    uint64_t key = 0;
    if (getentropy(&key, sizeof key) != 0) { /* no entropy to be had: still differs between processes */
        struct timespec now = {0, 0};
        (void)clock_gettime(CLOCK_REALTIME, &now);
        key = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)(uintptr_t)&key ^ (uint64_t)getpid() << 16;
    }
    process_key = key ? key : 1;
}

uint64_t bl_hash_key(void)
{
    (void)pthread_once(&once, make_key);
    return process_key;
}

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void round1(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

uint64_t bl_hash_bytes(uint64_t key, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t v[4] = {key ^ UINT64_C(0x736f6d6570736575), ~key ^ UINT64_C(0x646f72616e646f6d), key ^ UINT64_C(0x6c7967656e657261),
                     ~key ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)bytes << 56;
    size_t left = bytes;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word = bl_load_u64(p);
        v[3] ^= word;
        round1(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    round1(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    round1(v);
    round1(v);
    round1(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
