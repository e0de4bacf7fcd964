/* xq.cuh: X-bit matrices on CUDA (hal/xq.h): 32 columns of a tile of eight rows as bytes for dp4a and mma, scales, outliers; `stage` and embed.
 * Numbers as in kernel_params.h, bit for bit. Knows no matrix product. Trusts the blob, which the reader has checked.
 *
 * In a plane of 4 bits word 8 t + r belongs to row r and has the columns 4 t .. 4 t + 3 of a block in its low halves of bytes and 16 columns
 * further in the high ones: 32 lanes, (r, t) each, have a block of eight rows. Planes of 2 and 1 bits are shifted into the same shape. */
#ifndef BL_CUDA_XQ_CUH
#define BL_CUDA_XQ_CUH
#include "cuda/decode.cuh"
#include "hal/xq.h"

/* The tile of eight rows in which a row of the matrix lies. */
struct bl_xq_tile {
    const bl_xq_header *header;
    const bl_xq_segment *segments;
    const uint32_t *words; /* row scales, group scales, codes */
    uint32_t row, stride;  /* its first row; words */
    uint32_t n_grouped;
};

/* A depth as a type. */
template <int DEPTH> struct bl_xq_depth {
    static constexpr int depth = DEPTH;
};

/* Walks the blocks of tiles of one row block in ascending order; the same way for a whole warp. */
struct bl_xq_walk {
    uint32_t segment, first, end, depth; /* blocks first .. end - 1 are of this segment */
    uint32_t codes, grouped;             /* of block `first`: words from the start of a tile; blocks with group scales before it */
    bool is_grouped;
    float unit;
    uint32_t table[4]; /* levels in the order of their numbers, depths 2 to 5 */
};

/* Four bytes of the lane's row, columns 4 t .. and 16 + 4 t .. of a block: level = scale * byte + offset, the group scale in both. */
struct bl_xq_levels {
    uint32_t w[2];
    int32_t scale, offset;
};

#define BL_MANTISSA(i, value) value,
static __device__ const float bl_xq_mantissas[16] = {BL_XQ_MANTISSAS(BL_MANTISSA)};
#undef BL_MANTISSA

__device__ __forceinline__ float bl_xq_scale(uint32_t s, int32_t exponent)
{
    return s ? bl_xq_mantissas[s % 16] * bl_bits_f32((uint32_t)(exponent + (int32_t)(s / 16) + 127) << 23) : 0.0f;
}

__device__ __forceinline__ bl_xq_tile bl_xq_tile_of(const uint8_t *blob, uint32_t row)
{
    const bl_xq_header *h = reinterpret_cast<const bl_xq_header *>(blob);
    const bl_xq_row_block *b = reinterpret_cast<const bl_xq_row_block *>(h + 1);
    const bl_xq_segment *segments = reinterpret_cast<const bl_xq_segment *>(b + h->n_row_blocks);
    for (uint32_t i = 1; i < h->n_row_blocks && b[1].first_row <= row; i++)
        b++;
    const uint32_t tile = (row - b->first_row) / BL_XQ_TILE;
    return {h, segments + b->first_segment, reinterpret_cast<const uint32_t *>(blob) + b->data + (size_t)tile * b->stride,
            b->first_row + tile * BL_XQ_TILE, b->stride, b->n_grouped};
}

/* The n-th tile after this one, in the same row block. */
__device__ __forceinline__ bl_xq_tile bl_xq_tile_after(bl_xq_tile tile, uint32_t n)
{
    tile.words += (size_t)n * tile.stride;
    tile.row += n * BL_XQ_TILE;
    return tile;
}

/* Bytes with another sign; none is 0. */
__device__ __forceinline__ uint32_t bl_negative4(uint32_t bytes)
{
    return ~bytes + 0x01010101u;
}

__device__ __forceinline__ void bl_xq_table(const bl_xq_header *h, uint32_t depth, uint32_t (&table)[4])
{
    static_assert(offsetof(bl_xq_header, half2) == 48 && offsetof(bl_xq_header, half3) == 50 && offsetof(bl_xq_header, half4) == 54 &&
                  offsetof(bl_xq_header, half5) == 62, "half tables lie half a word off");
    const uint32_t *at = reinterpret_cast<const uint32_t *>(h) + 12;
    const uint32_t first = depth == 5 ? 3 : depth == 4 ? 1 : 0;
    uint32_t half[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
        half[i] = at[first + i] >> 16 | at[first + i + 1] << 16;
    if (depth == 2) {
        const uint32_t two = (at[0] & 0xffffu) | 0x01010000u;
        table[0] = __byte_perm(bl_negative4(two), two, 0x5401);
    } else if (depth == 3) {
        table[0] = __byte_perm(bl_negative4(half[0]), 0, 0x0123);
        table[1] = half[0];
    } else if (depth == 4) {
        table[0] = __byte_perm(bl_negative4(half[1]), 0, 0x0123);
        table[1] = __byte_perm(bl_negative4(half[0]), 0, 0x0123);
        table[2] = half[0];
        table[3] = half[1];
    } else {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            table[i] = half[i];
    }
}

__device__ __forceinline__ void bl_xq_enter(const bl_xq_tile &tile, bl_xq_walk &walk)
{
    const bl_xq_segment &s = tile.segments[walk.segment];
    walk.end = walk.first + s.n_blocks;
    walk.depth = s.depth;
    walk.is_grouped = s.flags & BL_XQ_GROUPED;
    walk.unit = s.unit;
    if (s.depth >= 2 && s.depth <= 5)
        bl_xq_table(tile.header, s.depth, walk.table);
}

__device__ __forceinline__ void bl_xq_begin(const bl_xq_tile &tile, bl_xq_walk &walk)
{
    walk.codes = 2 + tile.n_grouped;
    walk.segment = walk.first = walk.grouped = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
        walk.table[i] = 0;
    bl_xq_enter(tile, walk);
}

/* To the segment of block b, which is not before walk.first. */
__device__ __forceinline__ void bl_xq_seek(const bl_xq_tile &tile, bl_xq_walk &walk, uint32_t b)
{
    while (b >= walk.end) {
        const uint32_t n = walk.end - walk.first;
        walk.codes += n * BL_XQ_BLOCK_WORDS(walk.depth);
        walk.grouped += walk.is_grouped ? n : 0;
        walk.first = walk.end;
        walk.segment++;
        bl_xq_enter(tile, walk);
    }
}

/* Sixteen levels by their number, two numbers in a byte of `numbers`: those of the low halves to out[0]. */
__device__ __forceinline__ void bl_xq_look_up(const uint32_t (&table)[4], uint32_t numbers, uint32_t (&out)[2])
{
    uint32_t half[2];
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) { /* three bits of a number count, the fourth picks which half of the table it was */
        const uint32_t of = numbers >> 16 * i, pick = 0x3210u | (of & 0x8888u) >> 1;
        half[i] = __byte_perm(__byte_perm(table[0], table[1], of), __byte_perm(table[2], table[3], of), pick);
    }
    out[0] = __byte_perm(half[0], half[1], 0x6420);
    out[1] = __byte_perm(half[0], half[1], 0x7531);
}

template <int DEPTH>
__device__ __forceinline__ void bl_xq_decode(const uint32_t *block, const uint32_t (&table)[4], uint32_t r, uint32_t t, bl_xq_levels &out)
{
    constexpr bool is_even = DEPTH == 1 || DEPTH > 5; /* levels 2 c + 1 - 2^depth */
    const uint32_t *plane = block;
    uint32_t p4 = 0, p44 = 0, p2 = 0, p1 = 0;
    if (DEPTH >= 4) {
        p4 = plane[8 * t + r];
        plane += 32;
    }
    if (DEPTH == 8)
        p44 = plane[8 * t + r];
    if (DEPTH < 8 && (DEPTH & 2)) {
        p2 = plane[8 * (t % 2) + r] >> 2 * (t / 2) & 0x33333333u;
        plane += 16;
    }
    if (DEPTH & 1)
        p1 = plane[r] >> t & 0x11111111u;
    if (is_even) {
        out.w[0] = DEPTH == 1 ? p1 & 0x01010101u : (p4 & 0x0f0f0f0fu) | (p2 & 0x03030303u) << 4 | (p1 & 0x01010101u) << 6 | (p44 & 0x0f0f0f0fu) << 4;
        out.w[1] = DEPTH == 1 ? p1 >> 4 & 0x01010101u : (p4 >> 4 & 0x0f0f0f0fu) | (p2 & 0x30303030u) | (p1 & 0x10101010u) << 2 | (p44 & 0xf0f0f0f0u);
        if (DEPTH == 8) { /* to bytes with a sign */
            out.w[0] ^= 0x80808080u;
            out.w[1] ^= 0x80808080u;
        }
    } else {
        bl_xq_look_up(table, DEPTH > 3 ? p4 : p2 | p1 << 2, out.w);
        if (DEPTH == 5) {
            const uint32_t sign[2] = {p1 & 0x01010101u, p1 >> 4 & 0x01010101u};
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) /* no level is 0, so nothing is carried */
                out.w[i] = (out.w[i] ^ sign[i] * 255u) + sign[i];
        }
    }
    out.scale = is_even ? 2 : 1;
    out.offset = !is_even ? 0 : DEPTH == 8 ? 1 : 1 - (1 << DEPTH);
}

/* Block b, in the segment of the walk, of row r of the tile. */
__device__ __forceinline__ void bl_xq_load(const bl_xq_tile &tile, const bl_xq_walk &walk, uint32_t b, uint32_t r, uint32_t t, bl_xq_levels &out)
{
    const uint32_t *block = tile.words + walk.codes + (b - walk.first) * BL_XQ_BLOCK_WORDS(walk.depth);
    switch (walk.depth) {
#define BL_CASE(DEPTH)                                        \
    case DEPTH:                                               \
        bl_xq_decode<DEPTH>(block, walk.table, r, t, out); \
        break;
        BL_CASE(1) BL_CASE(2) BL_CASE(3) BL_CASE(4) BL_CASE(5) BL_CASE(6) BL_CASE(7)
#undef BL_CASE
    default: bl_xq_decode<8>(block, walk.table, r, t, out);
    }
    if (walk.is_grouped) {
        const int32_t m = (int32_t)(BL_XQ_GROUP_BASE + (tile.words[2 + walk.grouped + (b - walk.first)] >> 4 * r & 15u));
        out.scale *= m;
        out.offset *= m;
    }
}

/* Level times group scale of one column: i: which of the two words, c: which byte. */
__device__ __forceinline__ int32_t bl_xq_level(const bl_xq_levels &levels, uint32_t i, uint32_t c)
{
    return levels.scale * (int8_t)((i ? levels.w[1] : levels.w[0]) >> 8 * c) + levels.offset;
}

__device__ __forceinline__ float bl_xq_row_scale(const bl_xq_tile &tile, uint32_t r)
{
    return bl_xq_scale(tile.words[r / 4] >> r % 4 * 8 & 255u, tile.header->row_exponent);
}

/* use(column, value) for the outliers of a row of the matrix, in ascending order. */
template <typename F> __device__ __forceinline__ void bl_xq_outliers(const bl_xq_header *h, uint32_t row, F use)
{
    if (h->n_outliers == 0)
        return;
    const uint32_t *start = reinterpret_cast<const uint32_t *>(h) + h->outliers, unit = row / BL_XQ_UNIT;
    const uint32_t *entry = start + (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT + 1;
    const uint8_t *rows = reinterpret_cast<const uint8_t *>(entry + h->n_outliers);
    for (uint32_t e = start[unit], end = start[unit + 1]; e < end; e++)
        if (rows[e] == row % BL_XQ_UNIT)
            use(entry[e] & 0xffffu, bl_half((uint16_t)(entry[e] >> 16)));
}

/* A dot, of row r of the tile, with what stands for the whole row; x(c): the activation of a stored column. */
template <typename F> __device__ __forceinline__ float bl_xq_finish(const bl_xq_tile &tile, uint32_t r, float dot, F x)
{
    float acc = bl_xq_row_scale(tile, r) * dot;
    bl_xq_outliers(tile.header, tile.row + r, [&](uint32_t c, float value) { acc = acc + value * x(c); });
    return acc;
}

/* A stored column of q8 activations, both planes. */
__device__ __forceinline__ float bl_xq_q8_column(const bl_q8_block *x, uint32_t c)
{
    const bl_q8_block &b = x[c / 32];
    return b.d * (float)b.coarse.q[c % 32] + (b.d * BL_Q8_FINE) * (float)b.fine.q[c % 32];
}

/* ---- inputs ---- */

/* One warp per block of 32 columns. */
template <bool TO_Q8> __device__ __forceinline__ void bl_stage(const bl_cuda_args &args)
{
    const bl_params_stage &p = bl_push<bl_params_stage>(args);
    const uint32_t row = blockIdx.y, lane = threadIdx.x % 32, block = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, c = 32 * block + lane;
    if (row >= bl_rows(args, p.rows) || block >= p.blocks)
        return;
    const bl_xq_input *input = bl_binding<const bl_xq_input>(args, 2);
    const uint16_t *perm = reinterpret_cast<const uint16_t *>(input + 1);
    const uint8_t *scale = reinterpret_cast<const uint8_t *>(perm + 32 * p.blocks);
    float y = 0;
    if (perm[c] != BL_XQ_NO_COLUMN)
        y = bl_binding<const float>(args, 1)[(size_t)row * p.columns + perm[c]] * bl_xq_scale(scale[c], input->exponent);
    const size_t at = (size_t)row * p.blocks + block;
    if (TO_Q8)
        bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 3) + at);
    else
        bl_binding<float>(args, 3)[32 * at + lane] = y;
}

/* One warp per block of 32 stored columns. */
__device__ __forceinline__ void bl_embed_xq(const bl_cuda_args &args)
{
    const bl_params_embed &p = bl_push<bl_params_embed>(args);
    const bl_xq_input *input = bl_binding<const bl_xq_input>(args, 2);
    const uint32_t row = blockIdx.y, block = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, c = threadIdx.x % 32, column = 32 * block + c;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || block >= input->blocks)
        return;
    const uint16_t *perm = reinterpret_cast<const uint16_t *>(input + 1);
    const uint8_t *scale = reinterpret_cast<const uint8_t *>(perm + 32 * input->blocks);
    const uint32_t id = bl_step(args, (uint32_t)(p.source ? BL_STEP_POS : BL_STEP_TOKEN) + row), to = perm[column];
    if (to == BL_XQ_NO_COLUMN)
        return;
    float y = 0;
    if (id < p.n_ids) {
        const bl_xq_tile tile = bl_xq_tile_of(bl_binding<const uint8_t>(args, 1), id);
        const uint32_t r = id - tile.row;
        bl_xq_walk walk;
        bl_xq_levels levels;
        bl_xq_begin(tile, walk);
        bl_xq_seek(tile, walk, block);
        bl_xq_load(tile, walk, block, r, c / 4 % 4, levels);
        const float w = bl_xq_row_scale(tile, r) * (walk.unit * (float)bl_xq_level(levels, c / 16, c % 4));
        float correction = 0;
        bl_xq_outliers(tile.header, id, [&](uint32_t of, float value) { correction = of == column ? value : correction; });
        y = (w + correction) * bl_xq_scale(scale[column], input->exponent);
    }
    bl_binding<float>(args, 3)[(size_t)row * p.columns + to] = y;
}
#endif
