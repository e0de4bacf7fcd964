/* matvec.cuh: products of up to eight rows of activations with matrices of every format, several matrices in one launch. Numbers as in
 * kernel_params.h, bit for bit. A block has BL_MATVEC_WARPS warps, a warp BL_MATVEC_OUTPUTS outputs; more rows are more blocks along y. */
#ifndef BL_CUDA_MATVEC_CUH
#define BL_CUDA_MATVEC_CUH
#include "cuda/decode.cuh"

#define BL_MATVEC_WARPS 4u
#define BL_MATVEC_OUTPUTS 4u
#define BL_MATVEC_TILE 16u /* outputs of a block; divides BL_LINEAR_ALIGN, so a block lies in one segment */
static_assert(BL_MATVEC_TILE == BL_MATVEC_WARPS * BL_MATVEC_OUTPUTS && BL_LINEAR_ALIGN % BL_MATVEC_TILE == 0, "tile");

/* A block's part of a launch, or a warp's. */
struct bl_linear_place {
    const uint8_t *weights;
    uint32_t segment, format, k, n, output, row, rows; /* first output; first row, rows of this block */
};

/* Where ROWS rows of block y, and from `output` on (in all segments, each rounded up to BL_LINEAR_ALIGN), lie; false when that is padding, of a
 * segment or of the rows. */
template <uint32_t ROWS> __device__ __forceinline__ bool bl_linear_find_at(const bl_cuda_args &args, uint32_t output, bl_linear_place &t)
{
    const bl_params_linear &p = bl_push<bl_params_linear>(args);
    const uint32_t m = bl_rows(args, p.rows);
    uint32_t s = 0;
    for (; s < p.n_segments; s++) {
        const uint32_t padded = (p.segment[s].n + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
        if (output < padded)
            break;
        output -= padded;
    }
    const bool is_there = s < p.n_segments;
    s = is_there ? s : 0;
    t.segment = s;
    t.format = p.segment[s].format;
    t.k = p.k;
    t.n = p.segment[s].n;
    t.weights = bl_binding<const uint8_t>(args, 2 + 4 * s);
    t.row = blockIdx.y * ROWS;
    t.rows = t.row < m ? bl_min(ROWS, m - t.row) : 0;
    t.output = output;
    return is_there && output < t.n && t.rows > 0;
}

/* The same for a block of TILE outputs. */
template <uint32_t TILE, uint32_t ROWS> __device__ __forceinline__ bool bl_linear_find(const bl_cuda_args &args, bl_linear_place &t)
{
    static_assert(BL_LINEAR_ALIGN % TILE == 0, "a block lies in one segment");
    return bl_linear_find_at<ROWS>(args, blockIdx.x * TILE, t);
}

__device__ __forceinline__ void bl_linear_store(const bl_cuda_args &args, const bl_linear_place &t, uint32_t output, uint32_t row, float y)
{
    const bl_params_linear &p = bl_push<bl_params_linear>(args);
    const uint32_t s = t.segment, flags = p.segment[s].flags;
    const size_t at = (size_t)(t.row + row) * p.segment[s].stride + output;
    if (flags & BL_LINEAR_BIAS)
        y = y + bl_binding<const float>(args, 3 + 4 * s)[output];
    if (flags & BL_LINEAR_RESIDUAL)
        y = y + bl_binding<const float>(args, 4 + 4 * s)[at];
    bl_binding<float>(args, 5 + 4 * s)[at] = y;
}

/* FORMAT BL_FMT_MIX: the segment says. A switch over the whole block, so shared memory is declared once outside of it. */
#define BL_FOR_QUANTS(CASE) \
    CASE(Q4_0) CASE(Q4_1) CASE(Q5_0) CASE(Q5_1) CASE(Q8_0) CASE(Q2_K) CASE(Q3_K) CASE(Q4_K) CASE(Q5_K) CASE(Q6_K)
#define BL_FOR_WEIGHTS(CASE) CASE(F32) CASE(F16) CASE(BF16) BL_FOR_QUANTS(CASE)

/* ---- q8 activations: a lane has a block of 32 columns; the terms are parked, then one lane per output and row adds them in order ---- */

#define BL_TERM_STRIDE 33u /* keeps the adding lanes on different banks */

__device__ __forceinline__ int32_t bl_word(const int8_t *q, uint32_t i)
{
    return reinterpret_cast<const int32_t *>(q)[i];
}

/* dot, sum: of the two halves of a block. */
template <int FORMAT> __device__ __forceinline__ float bl_scale_dot(const bl_scales &w, int32_t dot0, int32_t dot1, int32_t sum0, int32_t sum1)
{
    const int32_t isum = w.scale[0] * (dot0 - w.offset * sum0) + w.scale[1] * (dot1 - w.offset * sum1);
    float t = bl_half(w.d) * (float)isum;
    if (bl_has_min<FORMAT>())
        t = t + bl_min_scale(bl_is_k<FORMAT>(), w.e) * (float)(w.min[0] * sum0 + w.min[1] * sum1);
    return t;
}

template <int FORMAT> __device__ __forceinline__ float bl_dot_plane(const bl_block32 &w, const bl_q8_plane &x)
{
    int32_t dot[2] = {0, 0};
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        dot[i / 4] = __dp4a((int32_t)w.q[i], bl_word(x.q, i), dot[i / 4]);
    return bl_scale_dot<FORMAT>(w, dot[0], dot[1], x.sum[0], x.sum[1]);
}

#ifndef BL_PREFETCH /* the emulator has its own */
#define BL_PREFETCH(address) asm volatile("prefetch.global.L2 [%0];" ::"l"(address))
#endif

/* Asks for the weights of the warp's outputs, which lie side by side, before the limits are added up: memory is at work meanwhile. */
template <int FORMAT> __device__ __forceinline__ void bl_fetch_early(const bl_linear_place &t)
{
    size_t row_bytes = 0;
    switch (FORMAT == BL_FMT_MIX ? t.format : (uint32_t)FORMAT) {
#define BL_CASE(NAME) case BL_FMT_##NAME: row_bytes = bl_row_bytes<BL_FMT_##NAME>(t.k); break;
        BL_FOR_QUANTS(BL_CASE)
#undef BL_CASE
    }
    const uint32_t outputs = t.output < t.n ? bl_min(BL_MATVEC_OUTPUTS, t.n - t.output) : 0;
    const uint8_t *first = t.weights + t.output * row_bytes;
    for (size_t at = threadIdx.x % 32 * 128; at < outputs * row_bytes; at += 32 * 128)
        BL_PREFETCH(first + at);
}

/* limit[r]: above this d a block of row r is dominant. The sum of all d in ascending order; lane r of the first warp adds those of row r. */
template <uint32_t ROWS> __device__ __forceinline__ void bl_q8_limits(const bl_linear_place &t, const bl_q8_block *x,
                                                                      SHARED_PARAMETER(float) scales, SHARED_PARAMETER(float) limit)
{
    const uint32_t blocks = t.k / 32;
    float sum = 0;
    for (uint32_t b0 = 0; b0 < blocks; b0 += 128) {
        const uint32_t n = bl_min(128, blocks - b0);
        for (uint32_t r = 0; r < t.rows; r++)
            if (threadIdx.x < n)
                scales[r * 129 + threadIdx.x] = x[(size_t)r * blocks + b0 + threadIdx.x].d;
        __syncthreads();
        if (threadIdx.x < t.rows) {
#pragma unroll 8
            for (uint32_t i = 0; i < n; i++)
                sum = sum + scales[threadIdx.x * 129 + i];
        }
        __syncthreads();
    }
    if (threadIdx.x < t.rows)
        limit[threadIdx.x] = BL_Q8_DOMINANT * (sum / (float)blocks);
    __syncthreads();
}

template <int FORMAT, uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_q8_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) terms,
                                                  SHARED_PARAMETER(float) limit)
{
    const uint32_t lane = threadIdx.x % 32, blocks = t.k / 32, base = threadIdx.x / 32 * (BL_MATVEC_OUTPUTS * ROWS * 2 * BL_TERM_STRIDE);
    const bl_q8_block *x = bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * blocks;
    const size_t row_bytes = bl_row_bytes<FORMAT>(t.k);
    const uint32_t my_output = lane / ROWS, my_row = lane % ROWS;
    const bool is_adder = my_output < BL_MATVEC_OUTPUTS && my_row < t.rows && t.output + my_output < t.n;
    float acc = 0;
    for (uint32_t b0 = 0; b0 < blocks; b0 += 32) {
        const uint32_t b = b0 + lane, n = bl_min(32, blocks - b0);
#pragma unroll
        for (uint32_t o = 0; o < BL_MATVEC_OUTPUTS; o++) {
            if (b < blocks && t.output + o < t.n) {
                bl_block32 w;
                bl_decode32<FORMAT>(t.weights + (t.output + o) * row_bytes, b, w);
#pragma unroll
                for (uint32_t r = 0; r < ROWS; r++) {
                    if (r < t.rows) {
                        const bl_q8_block &a = x[(size_t)r * blocks + b];
                        const uint32_t at = base + (o * ROWS + r) * 2 * BL_TERM_STRIDE + lane;
                        const float d = a.d;
                        terms[at] = d * bl_dot_plane<FORMAT>(w, a.coarse);
                        /* Adding 0 changes nothing: a sum that began with +0 is never -0. */
                        terms[at + BL_TERM_STRIDE] = d > limit[r] ? (d * BL_Q8_FINE) * bl_dot_plane<FORMAT>(w, a.fine) : 0.0f;
                    }
                }
            }
        }
        __syncwarp();
        if (is_adder) {
            const uint32_t at = base + lane * 2 * BL_TERM_STRIDE;
#pragma unroll 8
            for (uint32_t i = 0; i < n; i++) {
                acc = acc + terms[at + i];
                acc = acc + terms[at + BL_TERM_STRIDE + i];
            }
        }
        __syncwarp();
    }
    if (is_adder)
        bl_linear_store(args, t, t.output + my_output, my_row, acc);
}

/* ---- f32 activations: eight lanes per output, lane j has the columns j mod 8 ---- */

#define BL_FLOAT_STRIDE 264u /* floats from output to output of the dequantised piece: the four outputs of a warp on different banks */

template <int FORMAT, uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_f32_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) weights)
{
    const uint32_t lane = threadIdx.x % 32, j = lane % 8, o = lane / 8, base = threadIdx.x / 32 * (BL_MATVEC_OUTPUTS * BL_FLOAT_STRIDE);
    const float *x = bl_binding<const float>(args, 1) + (size_t)t.row * t.k;
    const uint8_t *row = t.weights + (t.output + o) * bl_row_bytes<FORMAT>(t.k);
    const bool is_there = t.output + o < t.n;
    float s[ROWS];
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++)
        s[r] = 0;
    if (bl_is_quant<FORMAT>()) {
        for (uint32_t c0 = 0; c0 < t.k; c0 += 256) {
            const uint32_t n = bl_min(256, t.k - c0), at = base + o * BL_FLOAT_STRIDE;
            if (is_there && 32 * j < n) {
                bl_block32 b;
                bl_decode32<FORMAT>(row, c0 / 32 + j, b);
#pragma unroll
                for (uint32_t c = 0; c < 32; c++)
                    weights[at + 32 * j + c] = bl_weight<FORMAT>(b, c);
            }
            __syncwarp();
            for (uint32_t c = j; is_there && c < n; c += 8) {
                const float w = weights[at + c];
#pragma unroll
                for (uint32_t r = 0; r < ROWS; r++)
                    if (r < t.rows)
                        s[r] = s[r] + x[(size_t)r * t.k + c0 + c] * w;
            }
            __syncwarp();
        }
    } else {
#pragma unroll 4
        for (uint32_t c = j; c < t.k; c += 8) {
            const float w = is_there ? bl_float_weight<FORMAT>(row, c) : 0.0f;
#pragma unroll
            for (uint32_t r = 0; r < ROWS; r++)
                if (r < t.rows)
                    s[r] = s[r] + x[(size_t)r * t.k + c] * w;
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        const float total = bl_tree8(s[r]);
        if (is_there && j == 0 && r < t.rows)
            bl_linear_store(args, t, t.output + o, r, total);
    }
}

template <int FORMAT, uint32_t ROWS> __device__ __forceinline__ void bl_matvec_q8(const bl_cuda_args &args)
{
    SHARED(float, terms, BL_MATVEC_TILE * ROWS * 2 * BL_TERM_STRIDE);
    SHARED(float, scales, ROWS * 129);
    SHARED(float, limit, ROWS);
    bl_linear_place t;
    if (!bl_linear_find<BL_MATVEC_TILE, ROWS>(args, t))
        return;
    t.output += threadIdx.x / 32 * BL_MATVEC_OUTPUTS;
    bl_fetch_early<FORMAT>(t);
    bl_q8_limits<ROWS>(t, bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * (t.k / 32), scales, limit);
    if (FORMAT != BL_FMT_MIX) {
        bl_matvec_q8_tile<FORMAT == BL_FMT_MIX ? BL_FMT_Q8_0 : FORMAT, ROWS>(args, t, terms, limit);
        return;
    }
    switch (t.format) {
#define BL_CASE(NAME)                                                  \
    case BL_FMT_##NAME:                                                \
        if (FORMAT == BL_FMT_MIX)                                      \
            bl_matvec_q8_tile<BL_FMT_##NAME, ROWS>(args, t, terms, limit); \
        break;
        BL_FOR_QUANTS(BL_CASE)
#undef BL_CASE
    }
}

template <int FORMAT, uint32_t ROWS> __device__ __forceinline__ void bl_matvec_f32(const bl_cuda_args &args)
{
    SHARED(float, weights, BL_MATVEC_TILE * BL_FLOAT_STRIDE);
    bl_linear_place t;
    if (!bl_linear_find<BL_MATVEC_TILE, ROWS>(args, t))
        return;
    t.output += threadIdx.x / 32 * BL_MATVEC_OUTPUTS;
    if (FORMAT != BL_FMT_MIX) {
        bl_matvec_f32_tile<FORMAT == BL_FMT_MIX ? BL_FMT_F32 : FORMAT, ROWS>(args, t, weights);
        return;
    }
    switch (t.format) {
#define BL_CASE(NAME)                                                    \
    case BL_FMT_##NAME:                                                  \
        if (FORMAT == BL_FMT_MIX)                                        \
            bl_matvec_f32_tile<BL_FMT_##NAME, ROWS>(args, t, weights);   \
        break;
        BL_FOR_WEIGHTS(BL_CASE)
#undef BL_CASE
    }
}
#endif
