/* call.h: how a kernel finds its part of a launch: tiles of the grid, the rows of the step, the segments of a grouped launch. Shared by
 * all levels; knows no arithmetic and no ISA. */
#ifndef BL_CPU_CALL_H
#define BL_CPU_CALL_H
#include "cpu_fallback/ops.h"

/* Elements of the grid per workgroup, {x, y} per op. Large enough to hide the hand-out of work, small enough to feed many threads.
 * A tile of matvec and matmul equals BL_LINEAR_ALIGN, so it lies in one segment; tiles in columns are whole blocks of every format. */
enum {
    TILE_LINEAR_X = 32, TILE_LINEAR_Y = 512,
    TILE_EMBED_X = 4096, TILE_EMBED_Y = 1,
    TILE_STAGE_X = 64, TILE_STAGE_Y = 1,
    TILE_QUANTIZE_X = 64, TILE_QUANTIZE_Y = 1,
    TILE_NORM_X = 8, TILE_NORM_Y = 1,
    TILE_ROPE_TABLE_X = 64, TILE_ROPE_TABLE_Y = 8,
    TILE_HEADS_X = 8, TILE_HEADS_Y = 1,
    TILE_ATTENTION_X = 1, TILE_ATTENTION_Y = 16,
    TILE_COLUMNS_X = 2048, TILE_COLUMNS_Y = 1
};
_Static_assert(TILE_LINEAR_X == BL_LINEAR_ALIGN && TILE_LINEAR_Y == BL_STEP_MAX_ROWS, "one tile covers all rows of one segment's outputs");

struct tile {
    uint32_t x0, x1, y0, y1; /* elements, end exclusive; empty when x0 >= x1 or y0 >= y1 */
};

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline struct tile tile_at(const struct bl_cpu_call *call, uint32_t index, uint32_t tile_x, uint32_t tile_y, uint32_t columns,
                                  uint32_t rows)
{
    uint32_t x = index % call->grid[0] * tile_x, y = index / call->grid[0] * tile_y;
    return (struct tile){x, min_u32(x + tile_x, columns), y, min_u32(y + tile_y, rows)};
}

static inline const uint32_t *step_of(const struct bl_cpu_call *call)
{
    return call->bindings[0];
}

static inline uint32_t rows_of(const struct bl_cpu_call *call, uint32_t rows)
{
    return step_of(call)[rows == BL_ROWS_OF_OUTPUT ? BL_STEP_N_OUT : BL_STEP_N_ROWS];
}

/* The outputs of one tile of a matvec or matmul: y[r * stride + i] for rows r < m and n0 <= i < n1. */
struct linear_tile {
    const uint8_t *weights; /* output 0's row; bx: the blob, in which it is row `first_row` */
    const float *bias, *residual;
    float *y;
    uint32_t format, row_bytes, k, m, stride, n0, n1, first_row;
};

static inline uint32_t row_bytes_of(uint32_t format, uint32_t k)
{
    return k / bl_formats[format].block_elements * bl_formats[format].block_bytes;
}

/* False when the tile lies in the padding of its segment. */
static inline bool linear_tile_at(const struct bl_cpu_call *call, uint32_t index, struct linear_tile *out)
{
    const struct bl_params_linear *p = call->push;
    uint32_t n0 = index % call->grid[0] * TILE_LINEAR_X, s = 0;
    for (;; s++) {
        uint32_t padded = (p->segment[s].n + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
        if (n0 < padded)
            break;
        n0 -= padded;
    }
    void *const *b = call->bindings + 2 + 4 * s;
    *out = (struct linear_tile){
        .weights = b[0],
        .bias = p->segment[s].flags & BL_LINEAR_BIAS ? b[1] : NULL,
        .residual = p->segment[s].flags & BL_LINEAR_RESIDUAL ? b[2] : NULL,
        .y = b[3],
        .format = p->segment[s].format,
        .row_bytes = row_bytes_of(p->segment[s].format, p->k),
        .k = p->k,
        .m = rows_of(call, p->rows),
        .stride = p->segment[s].stride,
        .n0 = n0,
        .n1 = min_u32(n0 + TILE_LINEAR_X, p->segment[s].n),
        .first_row = p->first_row[s],
    };
    return out->n0 < out->n1;
}

/* In a launch with a GLU: `side` (0 gate, 1 up) of the tile as a tile of its own, whose rows of TILE_LINEAR_X floats follow one another
 * in `y`. */
static inline struct linear_tile linear_glu_side(const struct bl_cpu_call *call, const struct linear_tile *t, uint32_t side, float *y)
{
    const struct bl_params_linear *p = call->push;
    struct linear_tile half = *t;
    half.format = p->segment[side].format;
    half.row_bytes = row_bytes_of(half.format, t->k);
    half.weights = (const uint8_t *)call->bindings[2 + 4 * side] + (size_t)t->n0 * half.row_bytes; /* row_bytes of bx: 0 */
    half.first_row = p->first_row[side] + t->n0;
    half.y = y;
    half.stride = TILE_LINEAR_X;
    half.n0 = 0;
    half.n1 = t->n1 - t->n0;
    return half;
}

/* Where row r of the tile's y begins in a launch with a GLU. */
static inline void *linear_glu_out(const struct linear_tile *t, uint32_t r, bool to_q8)
{
    const size_t at = (size_t)r * t->stride + t->n0;
    return to_q8 ? (void *)((struct bl_q8_block *)(void *)t->y + at / BL_Q8_COLUMNS) : t->y + at;
}

/* Above this d, a block of the row is dominant: its fine plane counts (kernel_params.h). */
static inline float q8_threshold(const struct bl_q8_block *row, uint32_t n_blocks, float dominant)
{
    float sum = 0;
    for (uint32_t b = 0; b < n_blocks; b++)
        sum = sum + row[b].d;
    return dominant * (sum / (float)n_blocks);
}

/* Where a row's sequence keeps a position: the number of its page. */
static inline uint32_t page_of(const uint32_t *step, uint32_t row, uint32_t position)
{
    uint32_t sequence = step[(uint32_t)BL_STEP_SEQ + row];
    return step[(uint32_t)BL_STEP_PAGES + sequence * step[BL_STEP_PAGE_STRIDE] + position / BL_KV_PAGE];
}
#endif
