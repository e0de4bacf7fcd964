/* xq_matvec.cuh: products of up to eight rows of activations with X-bit matrices. Numbers as in kernel_params.h, bit for bit. The matrix lies in
 * tiles of eight rows, so a warp works on eight outputs at once: lane 8 t + r has the columns 4 t .. and 16 + 4 t .. of a block of row r. */
#ifndef BL_CUDA_XQ_MATVEC_CUH
#define BL_CUDA_XQ_MATVEC_CUH
#include "cuda/matvec.cuh"
#include "cuda/xq.cuh"

/* The tile with the first output of a place. */
__device__ __forceinline__ bl_xq_tile bl_xq_tile_at(const bl_cuda_args &args, const bl_linear_place &t)
{
    return bl_xq_tile_of(t.weights, bl_push<bl_params_linear>(args).first_row[t.segment] + t.output);
}

/* Asks for the codes of a tile before the limits are added up; `part` of `parts` warps. */
__device__ __forceinline__ void bl_xq_fetch_early(const bl_xq_tile &tile, uint32_t part, uint32_t parts)
{
    for (uint32_t at = (part * 32 + threadIdx.x % 32) * 32; at < tile.stride; at += parts * 32 * 32)
        BL_PREFETCH(tile.words + at);
}

/* ---- q8 activations: the blocks of a tile are shared among warps; the terms are parked, then one thread per output and row adds them ---- */

#define BL_XQ_WARPS 8u
#define BL_XQ_TERMS(ROWS) (2 * BL_XQ_TILE * (ROWS)) /* of a block: [row of activations][plane][output] */

/* The terms of block b from `at` on. */
template <uint32_t ROWS>
__device__ __forceinline__ void bl_xq_terms(const bl_linear_place &t, const bl_xq_tile &tile, const bl_xq_walk &walk, const bl_q8_block *x, uint32_t b,
                                            SHARED_PARAMETER(float) limit, SHARED_PARAMETER(float) terms, uint32_t at)
{
    const uint32_t r = threadIdx.x % 8, quad = threadIdx.x % 32 / 8;
    bl_xq_levels w;
    bl_xq_load(tile, walk, b, r, quad, w);
#pragma unroll
    for (uint32_t m = 0; m < ROWS; m++) {
        if (m >= t.rows)
            continue;
        const bl_q8_block &a = x[(size_t)m * (t.k / 32) + b];
        const float d = a.d;
        const bool is_dominant = d > limit[m];
#pragma unroll
        for (uint32_t plane = 0; plane < 2; plane++) {
            float term = 0; /* adding 0 changes nothing: a sum that began with +0 is never -0 */
            if (plane == 0 || is_dominant) { /* the same for all lanes */
                const bl_q8_plane &p = plane ? a.fine : a.coarse;
                int32_t dot = __dp4a((int32_t)w.w[1], bl_word(p.q, quad + 4), __dp4a((int32_t)w.w[0], bl_word(p.q, quad), 0));
                dot += __shfl_xor_sync(0xffffffffu, dot, 8);
                dot += __shfl_xor_sync(0xffffffffu, dot, 16);
                term = ((plane ? d * BL_Q8_FINE : d) * walk.unit) * (float)(w.scale * dot + w.offset * (p.sum[0] + p.sum[1]));
            }
            if (m % 4 == quad)
                terms[at + (2 * m + plane) * BL_XQ_TILE + r] = term;
        }
    }
}

/* A block of eight warps has one tile, which they share; with a GLU four of gate and four of up, one for each. */
template <uint32_t ROWS> __device__ __forceinline__ void bl_matvec_xq_q8(const bl_cuda_args &args)
{
    constexpr uint32_t ahead = ROWS == 1 ? 8 : 4, n_pairs = BL_XQ_TILE * ROWS; /* blocks of a warp in a turn; sums of a tile */
    SHARED(float, terms, BL_XQ_WARPS * ahead * BL_XQ_TERMS(ROWS));
    SHARED(float, scales, ROWS * 129);
    SHARED(float, limit, ROWS);
    SHARED_PARAMETER(float) sides = scales; /* which are not needed any more then */
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
    const uint32_t warp = threadIdx.x / 32, parts = is_glu ? 1 : BL_XQ_WARPS, part = warp % parts, tile_of_block = warp / parts;
    bl_linear_place t;
    if (!bl_linear_find_at<ROWS>(args, blockIdx.x * (is_glu ? BL_LINEAR_ALIGN : BL_XQ_TILE), t))
        return;
    const uint32_t first = t.output, blocks = t.k / 32;
    if (is_glu) {
        bl_linear_side(args, t, tile_of_block / 4);
        t.output += tile_of_block % 4 * BL_XQ_TILE;
    }
    const bool is_there = t.output < t.n;
    const bl_xq_tile tile = bl_xq_tile_at(args, t);
    const bl_q8_block *x = bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * blocks;
    if (is_there)
        bl_xq_fetch_early(tile, part, parts);
    bl_q8_limits<ROWS>(t, x, BL_XQ_DOMINANT, scales, limit);
    bl_xq_walk walk;
    bl_xq_begin(tile, walk);
    float acc[(n_pairs + 31) / 32] = {};
    for (uint32_t b0 = 0; b0 < blocks; b0 += ahead * parts) {
        for (uint32_t i = 0; is_there && i < ahead; i++) {
            const uint32_t b = b0 + i * parts + part;
            if (b < blocks) {
                bl_xq_seek(tile, walk, b);
                bl_xq_terms<ROWS>(t, tile, walk, x, b, limit, terms, (warp * ahead + i) * BL_XQ_TERMS(ROWS));
            }
        }
        __syncthreads();
        const uint32_t n = bl_min(ahead * parts, blocks - b0);
#pragma unroll
        for (uint32_t j = 0; j < (n_pairs + 31) / 32; j++) {
            const uint32_t pair = threadIdx.x % (32 * parts) + 32 * parts * j, m = pair / BL_XQ_TILE;
            for (uint32_t i = 0; is_there && pair < n_pairs && m < t.rows && i < n; i++) {
                const uint32_t slot = (tile_of_block * parts + i % parts) * ahead + i / parts;
                const uint32_t at = slot * BL_XQ_TERMS(ROWS) + 2 * m * BL_XQ_TILE + pair % BL_XQ_TILE;
                acc[j] = acc[j] + terms[at];
                acc[j] = acc[j] + terms[at + BL_XQ_TILE];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (uint32_t j = 0; j < (n_pairs + 31) / 32; j++) {
        const uint32_t pair = threadIdx.x % (32 * parts) + 32 * parts * j, m = pair / BL_XQ_TILE, r = pair % BL_XQ_TILE;
        if (pair >= n_pairs || m >= t.rows || t.output + r >= t.n)
            continue;
        const bl_q8_block *row = x + (size_t)m * blocks;
        const float y = bl_xq_finish(tile, r, acc[j], [=](uint32_t c) { return bl_xq_q8_column(row, c); });
        bl_matvec_result<ROWS>(args, t, t.output + r, m, y, sides);
    }
    if (!is_glu)
        return;
    __syncthreads();
    t.output = first;
    bl_matvec_finish<BL_XQ_WARPS, ROWS>(args, t, sides);
}

/* ---- f32 activations: a block of columns is dequantised; then eight lanes per output, lane j has the columns j mod 8 ---- */

#define BL_XQ_FLOAT_STRIDE 40u /* from output to output: four of a warp on different banks */

template <uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_xq_f32_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) weights,
                                                      SHARED_PARAMETER(float) sides)
{
    const uint32_t lane = threadIdx.x % 32, j = lane % 8, o = lane / 8, base = threadIdx.x / 32 * (BL_XQ_TILE * BL_XQ_FLOAT_STRIDE);
    const float *x = bl_binding<const float>(args, 1) + (size_t)t.row * t.k;
    const bl_xq_tile tile = bl_xq_tile_at(args, t);
    float s[2][ROWS] = {};
    bl_xq_walk walk;
    bl_xq_begin(tile, walk);
    for (uint32_t b = 0; b < t.k / 32; b++) {
        bl_xq_levels levels;
        bl_xq_seek(tile, walk, b);
        bl_xq_load(tile, walk, b, j, o, levels);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            float w[4];
#pragma unroll
            for (uint32_t c = 0; c < 4; c++)
                w[c] = walk.unit * (float)bl_xq_level(levels, i, c);
            BL_STORE4(weights, base + j * BL_XQ_FLOAT_STRIDE + 16 * i + 4 * o, w);
        }
        __syncwarp();
#pragma unroll
        for (uint32_t c = j; c < 32; c += 8) {
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                const float w = weights[base + (o + 4 * i) * BL_XQ_FLOAT_STRIDE + c];
#pragma unroll
                for (uint32_t r = 0; r < ROWS; r++)
                    if (r < t.rows)
                        s[i][r] = s[i][r] + x[(size_t)r * t.k + 32 * b + c] * w;
            }
        }
        __syncwarp();
    }
#pragma unroll
    for (uint32_t i = 0; i < 2 * ROWS; i++) {
        const uint32_t r = o + i / ROWS * 4, m = i % ROWS;
        const float dot = bl_tree8(s[i / ROWS][m]), *row = x + (size_t)m * t.k;
        if (j == 0 && t.output + r < t.n && m < t.rows)
            bl_matvec_result<ROWS>(args, t, t.output + r, m, bl_xq_finish(tile, r, dot, [=](uint32_t c) { return row[c]; }), sides);
    }
}

/* A block of four warps has 32 outputs, with a GLU gate and up of them. */
template <uint32_t ROWS> __device__ __forceinline__ void bl_matvec_xq_f32(const bl_cuda_args &args)
{
    constexpr uint32_t warps = BL_LINEAR_ALIGN / BL_XQ_TILE;
    SHARED(float, weights, warps * BL_XQ_TILE * BL_XQ_FLOAT_STRIDE);
    SHARED(float, sides, 2 * ROWS * 32);
    bl_linear_place t;
    if (!bl_linear_find_at<ROWS>(args, blockIdx.x * BL_LINEAR_ALIGN, t))
        return;
    const uint32_t first = t.output;
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
    t.output += threadIdx.x / 32 * BL_XQ_TILE;
#pragma unroll 1
    for (uint32_t side = 0; side < (is_glu ? 2 : 1); side++) {
        if (side == 1)
            bl_linear_side(args, t, 1);
        if (t.output < t.n)
            bl_matvec_xq_f32_tile<ROWS>(args, t, weights, sides);
    }
    if (!is_glu)
        return;
    __syncthreads();
    t.output = first;
    bl_matvec_finish<warps, ROWS>(args, t, sides);
}
#endif
