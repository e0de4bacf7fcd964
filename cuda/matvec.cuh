/* matvec.cuh: products of up to eight rows of activations with matrices of every format, several matrices in one launch. Numbers as in
 * kernel_params.h, bit for bit. A block has WARPS warps, a warp BL_MATVEC_OUTPUTS outputs; more rows are more blocks along y. With a GLU at the
 * end a block has 32 outputs and computes gate and up of them one after the other (shares.h). */
#ifndef BL_CUDA_MATVEC_CUH
#define BL_CUDA_MATVEC_CUH
#include "cuda/decode.cuh"

#define BL_MATVEC_OUTPUTS 4u /* of a warp */

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

/* Of a launch that ends in a GLU: the same outputs of gate (0) or up (1). */
__device__ __forceinline__ void bl_linear_side(const bl_cuda_args &args, bl_linear_place &t, uint32_t side)
{
    t.segment = side;
    t.format = bl_push<bl_params_linear>(args).segment[side].format;
    t.weights = bl_binding<const uint8_t>(args, 2 + 4 * side);
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

__device__ __forceinline__ float bl_linear_glu(const bl_cuda_args &args, float gate, float up)
{
    return unary_value(bl_push<bl_params_linear>(args).glu & BL_LINEAR_GLU_KIND, 0, gate) * up;
}

/* A row's 32 outputs from t.output on, after the GLU; lane = output, all lanes of the warp. */
__device__ __forceinline__ void bl_linear_store_glu(const bl_cuda_args &args, const bl_linear_place &t, uint32_t row, float y)
{
    const bl_params_linear &p = bl_push<bl_params_linear>(args);
    const uint32_t lane = threadIdx.x % 32;
    const size_t at = (size_t)(t.row + row) * p.segment[0].stride + t.output;
    if (p.glu & BL_LINEAR_GLU_Q8)
        bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 5) + at / 32);
    else if (t.output + lane < t.n)
        bl_binding<float>(args, 5)[at + lane] = y;
}

#define BL_FOR_QUANTS(CASE) \
    CASE(Q4_0) CASE(Q4_1) CASE(Q5_0) CASE(Q5_1) CASE(Q8_0) CASE(Q2_K) CASE(Q3_K) CASE(Q4_K) CASE(Q5_K) CASE(Q6_K)

/* Calls use(tag) with the format as a type. FORMAT BL_FMT_MIX: the segment says; then it is a switch, the same way for a whole warp. */
template <int FORMAT, bool HAS_FLOATS, typename F> __device__ __forceinline__ void bl_of_format(uint32_t format, F use)
{
    if (FORMAT != BL_FMT_MIX) {
        use(bl_format_tag<FORMAT == BL_FMT_MIX ? BL_FMT_Q8_0 : FORMAT>());
        return;
    }
    switch (format) {
#define BL_CASE(NAME)                            \
    case BL_FMT_##NAME:                          \
        if (FORMAT == BL_FMT_MIX)                \
            use(bl_format_tag<BL_FMT_##NAME>()); \
        break;
        BL_FOR_QUANTS(BL_CASE)
#undef BL_CASE
#define BL_CASE(NAME)                             \
    case BL_FMT_##NAME:                           \
        if (FORMAT == BL_FMT_MIX && HAS_FLOATS)   \
            use(bl_format_tag<BL_FMT_##NAME>());  \
        break;
        BL_CASE(F32) BL_CASE(F16) BL_CASE(BF16)
#undef BL_CASE
    }
}

/* ---- q8 activations: a lane has a block of 32 columns; the terms are parked, then one lane per output and row adds them in order ---- */

#define BL_TERM_STRIDE 33u /* keeps the adding lanes on different banks */

__device__ __forceinline__ int32_t bl_word(const int8_t *q, uint32_t i)
{
    return reinterpret_cast<const int32_t *>(q)[i];
}

/* dot, sum: of the two halves of a block. */
template <int FORMAT> __device__ __forceinline__ float bl_scale_dot(const bl_scales &w, int32_t dot0, int32_t dot1, int32_t sum0, int32_t sum1)
{
    if (FORMAT == BL_FMT_BX) /* what is left is a factor of the activations' */
        return (float)(w.scale[0] * dot0 + w.min[0] * (sum0 + sum1));
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
    bl_of_format<FORMAT, false>(t.format, [&](auto tag) { row_bytes = bl_row_bytes<tag.format>(t.k); });
    const uint32_t outputs = t.output < t.n ? bl_min(BL_MATVEC_OUTPUTS, t.n - t.output) : 0;
    const uint8_t *first = t.weights + t.output * row_bytes;
    for (size_t at = threadIdx.x % 32 * 128; at < outputs * row_bytes; at += 32 * 128)
        BL_PREFETCH(first + at);
}

/* limit[r]: above this d a block of row r is dominant. The sum of all d in ascending order; lane r of the first warp adds those of row r. */
template <uint32_t ROWS> __device__ __forceinline__ void bl_q8_limits(const bl_linear_place &t, const bl_q8_block *x, float dominant,
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
        limit[threadIdx.x] = dominant * (sum / (float)blocks);
    __syncthreads();
}

/* What a pass gives: to memory, or for the GLU to sides[side][row][output of 32]. */
template <uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_result(const bl_cuda_args &args, const bl_linear_place &t, uint32_t output, uint32_t row, float y,
                                                 SHARED_PARAMETER(float) sides)
{
    if (bl_push<bl_params_linear>(args).glu)
        sides[(t.segment * ROWS + row) * 32 + output % 32] = y;
    else
        bl_linear_store(args, t, output, row, y);
}

/* The GLU of what is in sides: 32 outputs, the warps' rows in turn. All threads have written. */
template <uint32_t WARPS, uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_finish(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) sides)
{
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t r = threadIdx.x / 32; r < t.rows; r += WARPS) {
        const uint32_t at = r * 32 + lane;
        bl_linear_store_glu(args, t, r, t.output + lane < t.n ? bl_linear_glu(args, sides[at], sides[ROWS * 32 + at]) : 0.0f);
    }
}

/* The passes of a block: one, or gate and up of 32 outputs, then the GLU. compute(): t.output on, of this warp. */
template <uint32_t WARPS, uint32_t ROWS, typename F>
__device__ __forceinline__ void bl_matvec_passes(const bl_cuda_args &args, bl_linear_place &t, SHARED_PARAMETER(float) sides, F compute)
{
    constexpr uint32_t tile = WARPS * BL_MATVEC_OUTPUTS, parts = 32 / tile;
    const uint32_t first = t.output, warp = threadIdx.x / 32;
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
#pragma unroll 1
    for (uint32_t pass = 0; pass < (is_glu ? 2 * parts : 1); pass++) {
        if (is_glu)
            bl_linear_side(args, t, pass / parts);
        t.output = first + pass % parts * tile + warp * BL_MATVEC_OUTPUTS;
        compute();
    }
    if (!is_glu)
        return;
    __syncthreads();
    t.output = first;
    bl_matvec_finish<WARPS, ROWS>(args, t, sides);
}

template <uint32_t WARPS> __device__ __forceinline__ uint32_t bl_matvec_tile(const bl_cuda_args &args)
{
    static_assert(32 % (WARPS * BL_MATVEC_OUTPUTS) == 0 && BL_LINEAR_ALIGN == 32, "a block lies in one segment");
    return bl_push<bl_params_linear>(args).glu ? 32 : WARPS * BL_MATVEC_OUTPUTS;
}

template <int FORMAT, uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_q8_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) terms,
                                                  SHARED_PARAMETER(float) limit, SHARED_PARAMETER(float) sides)
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
        bl_matvec_result<ROWS>(args, t, t.output + my_output, my_row, acc, sides);
}

/* ---- f32 activations: eight lanes per output, lane j has the columns j mod 8 ---- */

#define BL_FLOAT_STRIDE 264u /* floats from output to output of the dequantised piece: the four outputs of a warp on different banks */

template <int FORMAT, uint32_t ROWS>
__device__ __forceinline__ void bl_matvec_f32_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) weights,
                                                   SHARED_PARAMETER(float) sides)
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
            bl_matvec_result<ROWS>(args, t, t.output + o, r, total, sides);
    }
}

template <int FORMAT, uint32_t ROWS, uint32_t WARPS> __device__ __forceinline__ void bl_matvec_q8(const bl_cuda_args &args)
{
    SHARED(float, terms, WARPS * BL_MATVEC_OUTPUTS * ROWS * 2 * BL_TERM_STRIDE);
    SHARED(float, scales, ROWS * 129);
    SHARED(float, limit, ROWS);
    SHARED_PARAMETER(float) sides = scales; /* which are not needed any more then */
    bl_linear_place t;
    if (!bl_linear_find_at<ROWS>(args, blockIdx.x * bl_matvec_tile<WARPS>(args), t))
        return;
    const uint32_t first = t.output;
    t.output += threadIdx.x / 32 * BL_MATVEC_OUTPUTS;
    bl_fetch_early<FORMAT>(t);
    t.output = first;
    bl_q8_limits<ROWS>(t, bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * (t.k / 32), BL_Q8_DOMINANT, scales, limit);
    bl_matvec_passes<WARPS, ROWS>(args, t, sides, [&]() {
        bl_of_format<FORMAT, false>(t.format, [&](auto tag) { bl_matvec_q8_tile<tag.format, ROWS>(args, t, terms, limit, sides); });
    });
}

template <int FORMAT, uint32_t ROWS> __device__ __forceinline__ void bl_matvec_f32(const bl_cuda_args &args)
{
    constexpr uint32_t warps = 4;
    SHARED(float, weights, warps * BL_MATVEC_OUTPUTS * BL_FLOAT_STRIDE);
    SHARED(float, sides, 2 * ROWS * 32);
    bl_linear_place t;
    if (!bl_linear_find_at<ROWS>(args, blockIdx.x * bl_matvec_tile<warps>(args), t))
        return;
    bl_matvec_passes<warps, ROWS>(args, t, sides, [&]() {
        bl_of_format<FORMAT, true>(t.format, [&](auto tag) { bl_matvec_f32_tile<tag.format, ROWS>(args, t, weights, sides); });
    });
}
#endif
