/* random_model.h: X-bit matrices and models of random bits: as long to read as any. Owns the shapes and the mixture of depths; knows nothing of
 * what is measured with them. */
#ifndef BL_BENCH_RANDOM_MODEL_H
#define BL_BENCH_RANDOM_MODEL_H
#include <bitloom/status.h>
#include <stdint.h>

struct bench_shape {
    const char *name;
    uint32_t layers, width, ff, heads, kv_heads, vocabulary, is_tied;
};
/* From the largest to the smallest; the last has no name. */
extern const struct bench_shape bench_shapes[];

/* A matrix of whole blocks of 32 columns and whole tiles of 8 rows, on average `bits` per weight, scales and outliers included: columns of
 * neighbouring depths, the deepest first, as learned matrices have them. With depth, all columns have that one. Freed by the caller; NULL:
 * no memory. */
void *bench_random_matrix(uint32_t rows, uint32_t columns, uint32_t input, double bits, uint32_t depth, uint64_t *bytes);

/* Of the file that bench_write_model makes. */
uint64_t bench_model_bytes(const struct bench_shape *shape, double bits);
/* The file appears under its name when it is complete. BL_EIO, BL_ENOMEM. */
bl_status bench_write_model(const char *path, const struct bench_shape *shape, double bits) BL_MUST_USE;
#endif
