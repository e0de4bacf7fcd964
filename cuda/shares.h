/* shares.h: where the host launches other blocks than the core counted. C and CUDA.
 *
 * A linear that ends in a GLU: its blocks have bl_glu_tile outputs, both gate and up.
 *
 * An attention over few rows is shared among blocks along z, with scratch memory.
 * Block z of `shares` takes the splits first + z, first + z + shares ... (kernel_params.h) of a row and head, and leaves m, l and the sums of
 * each in scratch memory; the block that comes last merges all of them in ascending order. Scratch: a counter for each row and head, 0 before
 * and after a launch; and for each row, head and split m, l and d_v sums. Launches that may overlap need scratch of their own. */
#ifndef BL_CUDA_SHARES_H
#define BL_CUDA_SHARES_H
#include "hal/kernel_params.h"

/* tile: outputs of a block of the same kernel without a GLU. */
static inline uint32_t bl_glu_tile(uint32_t tile)
{
    return tile > BL_LINEAR_ALIGN ? tile / 2 : BL_LINEAR_ALIGN;
}

#define BL_SHARES_MOST 16u
#define BL_SHARES_RESIDENT 4u /* blocks that a processor works on side by side */
#define BL_SHARES_ROWS 8u /* more rows fill the device by themselves */
#define BL_SHARES_BYTES (64ull << 20)
enum { BL_SHARES_COUNTERS = 5, BL_SHARES_SUMS = 6 }; /* bindings of the kernel, or none */

/* Splits of the longest sequence that the pages can hold. */
#define BL_SHARES_SPLITS(n_pages) (((n_pages) + BL_ATTENTION_SPLIT / BL_KV_PAGE - 1) / (BL_ATTENTION_SPLIT / BL_KV_PAGE))

static inline uint64_t bl_shares_counter_bytes(const struct bl_params_attention *p, uint32_t rows)
{
    return 4ull * rows * p->n_head;
}

static inline uint64_t bl_shares_sum_bytes(const struct bl_params_attention *p, uint32_t rows)
{
    return bl_shares_counter_bytes(p, rows) * BL_SHARES_SPLITS(p->n_pages) * (p->d_v + 2);
}

/* Blocks along z; 1: no scratch. processors: the device's; a block more than they hold would only add to the merging. */
static inline uint32_t bl_shares(const struct bl_params_attention *p, uint32_t rows, uint32_t processors)
{
    const uint32_t splits = BL_SHARES_SPLITS(p->n_pages), blocks = rows * p->n_head;
    const uint32_t wanted = (BL_SHARES_RESIDENT * processors + blocks - 1) / blocks;
    if (rows > BL_SHARES_ROWS || splits < 2 || wanted < 2 || bl_shares_sum_bytes(p, rows) > BL_SHARES_BYTES)
        return 1;
    const uint32_t most = wanted < BL_SHARES_MOST ? wanted : BL_SHARES_MOST;
    return splits < most ? splits : most;
}
#endif
