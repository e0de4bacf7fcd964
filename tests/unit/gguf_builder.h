/* gguf_builder.h: GGUF files in memory for tests, right or deliberately wrong: every field is written as told. Header only. */
#ifndef BL_TEST_GGUF_BUILDER_H
#define BL_TEST_GGUF_BUILDER_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct builder { uint8_t *data; size_t bytes, room; };

static inline void put(struct builder *b, const void *data, size_t bytes)
{
    if (b->bytes + bytes > b->room) {
        b->room = 2 * (b->bytes + bytes) + 256;
        b->data = realloc(b->data, b->room);
        if (!b->data)
            abort();
    }
    if (bytes)
        memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static inline void put_number(struct builder *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        put(b, &byte, 1);
    }
}

static inline void put_u32(struct builder *b, uint32_t value) { put_number(b, value, 4); }
static inline void put_u64(struct builder *b, uint64_t value) { put_number(b, value, 8); }

static inline void put_f32(struct builder *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put_u32(b, bits);
}

static inline void put_text(struct builder *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static inline void put_header(struct builder *b, uint32_t version, uint64_t n_tensors, uint64_t n_meta)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_meta);
}

static inline void put_meta_u32(struct builder *b, const char *key, uint32_t value)
{
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, value);
}

static inline void put_meta_text(struct builder *b, const char *key, const char *value)
{
    put_text(b, key);
    put_u32(b, 8);
    put_text(b, value);
}

static inline void put_meta_array(struct builder *b, const char *key, uint32_t type, uint64_t count)
{
    put_text(b, key);
    put_u32(b, 9);
    put_u32(b, type);
    put_u64(b, count);
}

static inline void put_tensor(struct builder *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_padding(struct builder *b, size_t alignment)
{
    while (b->bytes % alignment)
        put_number(b, 0, 1);
}

/* One more use of the same builder. */
static inline void put_reset(struct builder *b)
{
    b->bytes = 0;
}
#endif
