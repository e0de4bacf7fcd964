/* matmul_half.cuh: products of many rows with matrices of every format on the half float tensor cores: weights and activations are rounded to
 * f16 on their way into shared memory, sums are f32. Not the bits of kernel_params.h: a way that hal/tune.c may choose where bits need not be
 * equal (caps.ways_inexact). Knows the parameters of linear ops and the formats.
 *
 * A block has BL_HALF_OUTPUTS x BL_HALF_ROWS results, eight warps of 32 outputs x 64 rows; 32 outputs lie in one segment, so a block may lie in
 * several. While 32 columns are multiplied, the next are unpacked beside them and those after are on their way: activations by asynchronous
 * copies, weights in registers. What a thread copies it also converts, so one barrier per 32 columns is enough.
 *
 * Range: a row of activations whose largest value is beyond what f16 holds well is found while it is converted; then the block computes once
 * more with that row times a power of two, which changes no rounding of the other rows. Weights beyond 65504 become infinite. */
#ifndef BL_CUDA_MATMUL_HALF_CUH
#define BL_CUDA_MATMUL_HALF_CUH
#include "cuda/matmul.cuh"

#define BL_HALF_THREADS 256u
#define BL_HALF_OUTPUTS 128u
#define BL_HALF_ROWS 128u
#define BL_HALF_TILE 2048u /* words of a tile: 128 lines of 32 halves */

#ifndef BL_LOAD_MATRICES /* the emulator has its own */
#define BL_LOAD_MATRICES(out, array, index)                                                                          \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"                                     \
                 : "=r"((out)[0]), "=r"((out)[1]), "=r"((out)[2]), "=r"((out)[3])                                    \
                 : "r"((uint32_t)__cvta_generic_to_shared(&array[index]))                                            \
                 : "memory")
/* As BL_COPY_ASYNC, 16 bytes; both ends begin at a multiple of them. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define BL_COPY_ASYNC4(array, index, from) \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(&array[index])), "l"(from) : "memory")
#else
#define BL_COPY_ASYNC4(array, index, from) ((void)(*reinterpret_cast<uint4 *>(&array[index]) = *reinterpret_cast<const uint4 *>(from)))
#endif
/* c[16][8] += a[16][16] * b[16][8], halves into floats. */
__device__ __forceinline__ void bl_mma_f16_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDA_ARCH__) /* Turing: eight columns at a time */
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}
#endif

/* Two floats as halves, the first in the low half. */
__device__ __forceinline__ uint32_t bl_pack_halves(float low, float high)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t halves;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(high), "f"(low));
    return halves;
#elif defined(__CUDA_ARCH__)
    uint16_t a, b;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(a) : "f"(low));
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(b) : "f"(high));
    return a | (uint32_t)b << 16;
#else
    return bl_f32_to_f16(low) | (uint32_t)bl_f32_to_f16(high) << 16;
#endif
}

/* Where eight halves of a line begin in a tile: eight lines' eights lie on different banks, for ldmatrix and for who writes them. */
__device__ __forceinline__ uint32_t bl_half_at(uint32_t line, uint32_t eight)
{
    return line * 16 + (eight ^ (line / 2 & 3)) * 4;
}

/* ---- weights: lane = output of the warp's 32, 16 of the 32 columns ---- */

/* As they come from memory: loads of the next piece are under way while this one is multiplied. */
struct bl_half_piece {
    bl_scales scales;
    uint32_t w[16]; /* quantised: 4 words of bytes; f16, bf16: 8; f32: 16 */
};

template <int FORMAT> __device__ __forceinline__ void bl_half_fetch(const uint8_t *row, uint32_t k, uint32_t block, uint32_t half, bl_half_piece &out)
{
    if (bl_is_quant<FORMAT>()) {
        const uint32_t j = bl_is_k<FORMAT>() ? block % 8 : 0;
        const uint8_t *b = bl_block_at<FORMAT>(row, block);
        bl_decode_scales<FORMAT>(b, j, out.scales);
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            out.w[i] = bl_quant_word<FORMAT>(b, j, 4 * half + i);
        return;
    }
    constexpr uint32_t words = FORMAT == BL_FMT_F32 ? 16 : 8;
    const uint32_t c0 = 32 * block + 16 * half;
    if (reinterpret_cast<uintptr_t>(row) % 16 == 0 && c0 + 16 <= k) {
        const bl_words4 *from = reinterpret_cast<const bl_words4 *>(row + (size_t)c0 * (words / 4));
#pragma unroll
        for (uint32_t i = 0; i < words / 4; i++) {
            const bl_words4 x = from[i];
#pragma unroll
            for (uint32_t e = 0; e < 4; e++)
                out.w[4 * i + e] = x.w[e];
        }
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < words; i++) {
        if (FORMAT == BL_FMT_F32) {
            out.w[i] = c0 + i < k ? reinterpret_cast<const uint32_t *>(row)[c0 + i] : 0u;
        } else {
            const uint16_t *x = reinterpret_cast<const uint16_t *>(row) + c0 + 2 * i;
            out.w[i] = (c0 + 2 * i < k ? x[0] : 0u) | (c0 + 2 * i + 1 < k ? (uint32_t)x[1] << 16 : 0u);
        }
    }
}

template <int FORMAT>
__device__ __forceinline__ void bl_half_unpack(const bl_half_piece &p, uint32_t line, uint32_t half, SHARED_PARAMETER(uint32_t) tile, uint32_t at)
{
    uint32_t out[8];
    const float scale = bl_is_quant<FORMAT>() ? bl_half(p.scales.d) * (float)(half ? p.scales.scale[1] : p.scales.scale[0]) : 1.0f;
    const float min = bl_has_min<FORMAT>() ? bl_min_scale(bl_is_k<FORMAT>(), p.scales.e) * (float)(half ? p.scales.min[1] : p.scales.min[0]) : 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        float w[2];
#pragma unroll
        for (uint32_t e = 0; e < 2; e++) {
            if (FORMAT == BL_FMT_F32)
                w[e] = bl_bits_f32(p.w[2 * i + e]);
            else if (FORMAT == BL_FMT_BF16)
                w[e] = bl_bf16_to_f32((uint16_t)(p.w[i] >> 16 * e));
            else
                w[e] = fmaf((float)((int8_t)(p.w[i / 2] >> (i % 2 * 16 + 8 * e)) - p.scales.offset), scale, min);
        }
        out[i] = FORMAT == BL_FMT_F16 ? p.w[i] : bl_pack_halves(w[0], w[1]);
    }
    BL_STORE4(tile, at + bl_half_at(line, 2 * half), out);
    BL_STORE4(tile, at + bl_half_at(line, 2 * half + 1), out + 4);
}

/* ---- activations: q8: a thread has half a block of one row; f32: four columns of four rows ---- */

template <bool IS_Q8> struct bl_half_input {
    static constexpr uint32_t pieces = IS_Q8 ? 1 : 4, raw_words = IS_Q8 ? 9 * BL_HALF_THREADS : 16 * BL_HALF_THREADS;
    float factor[pieces];     /* power of two that the piece's row is multiplied with */
    uint32_t largest[pieces]; /* |x|, or d, as bits: NaN is above infinity */
    const uint32_t *row[pieces];
    bool is_aligned;
};

template <bool IS_Q8> __device__ __forceinline__ uint32_t bl_half_row(uint32_t piece)
{
    return IS_Q8 ? threadIdx.x / 2 : threadIdx.x / 8 + 32 * piece;
}

/* Rows that are there, in whole sixteens: what is staged; those past the last repeat it and are never stored. */
__device__ __forceinline__ uint32_t bl_half_rows(const bl_linear_place &t)
{
    return (t.rows + 15) / 16 * 16;
}

template <bool IS_Q8> __device__ __forceinline__ void bl_half_begin(const bl_cuda_args &args, const bl_linear_place &t, bl_half_input<IS_Q8> &in)
{
    const uint32_t *x = bl_binding<const uint32_t>(args, 1);
    const size_t words = IS_Q8 ? (size_t)(t.k / 32) * BL_Q8_WORDS : t.k;
#pragma unroll
    for (uint32_t i = 0; i < in.pieces; i++) {
        in.factor[i] = 1;
        in.row[i] = x + (t.row + bl_min(bl_half_row<IS_Q8>(i), t.rows - 1)) * words;
    }
    in.is_aligned = t.k % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
}

template <bool IS_Q8>
__device__ __forceinline__ void bl_half_copy(const bl_linear_place &t, const bl_half_input<IS_Q8> &in, uint32_t block, SHARED_PARAMETER(uint32_t) raw)
{
    const uint32_t thread = threadIdx.x;
#pragma unroll
    for (uint32_t i = 0; i < in.pieces; i++) {
        if (bl_half_row<IS_Q8>(i) >= bl_half_rows(t))
            continue;
        if constexpr (IS_Q8) {
            const uint32_t *from = in.row[i] + block * BL_Q8_WORDS, half = thread % 2;
#pragma unroll
            for (uint32_t w = 0; w < 9; w++) /* d, four words of the coarse plane, four of the fine one */
                BL_COPY_ASYNC(raw, w * BL_HALF_THREADS + thread, from + (w == 0 ? 0 : w < 5 ? 1 + w + 4 * half : 6 + w + 4 * half));
        } else {
            const uint32_t c = 32 * block + thread % 8 * 4, at = (i * BL_HALF_THREADS + thread) * 4;
            if (in.is_aligned && c < t.k) {
                BL_COPY_ASYNC4(raw, at, in.row[i] + c);
                continue;
            }
#pragma unroll
            for (uint32_t w = 0; w < 4; w++) {
                if (c + w < t.k)
                    BL_COPY_ASYNC(raw, at + w, in.row[i] + c + w);
                else
                    raw[at + w] = 0u;
            }
        }
    }
    BL_COPY_COMMIT();
}

__device__ __forceinline__ uint32_t bl_larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

template <bool IS_Q8>
__device__ __forceinline__ void bl_half_convert(const bl_linear_place &t, bl_half_input<IS_Q8> &in, SHARED_PARAMETER(uint32_t) raw,
                                                SHARED_PARAMETER(uint32_t) tile, uint32_t at)
{
    const uint32_t thread = threadIdx.x;
#pragma unroll
    for (uint32_t i = 0; i < in.pieces; i++) {
        const uint32_t row = bl_half_row<IS_Q8>(i);
        if (row >= bl_half_rows(t))
            continue;
        if constexpr (IS_Q8) {
            const uint32_t d = raw[thread];
            const float coarse = bl_bits_f32(d) * in.factor[i], fine = coarse * BL_Q8_FINE;
            uint32_t out[8];
            in.largest[i] = bl_larger(in.largest[i], d);
#pragma unroll
            for (uint32_t w = 0; w < 4; w++) {
                const uint32_t high = raw[(1 + w) * BL_HALF_THREADS + thread], low = raw[(5 + w) * BL_HALF_THREADS + thread];
                float x[4];
#pragma unroll
                for (uint32_t e = 0; e < 4; e++)
                    x[e] = fmaf((float)(int8_t)(low >> 8 * e), fine, (float)(int8_t)(high >> 8 * e) * coarse);
                out[2 * w] = bl_pack_halves(x[0], x[1]);
                out[2 * w + 1] = bl_pack_halves(x[2], x[3]);
            }
            BL_STORE4(tile, at + bl_half_at(row, thread % 2 * 2), out);
            BL_STORE4(tile, at + bl_half_at(row, thread % 2 * 2 + 1), out + 4);
        } else {
            const uint32_t from = (i * BL_HALF_THREADS + thread) * 4, to = at + bl_half_at(row, thread % 8 / 2) + thread % 2 * 2;
            uint32_t x[4];
#pragma unroll
            for (uint32_t e = 0; e < 4; e++) {
                x[e] = raw[from + e];
                in.largest[i] = bl_larger(in.largest[i], x[e] & 0x7fffffffu);
            }
            tile[to] = bl_pack_halves(bl_bits_f32(x[0]) * in.factor[i], bl_bits_f32(x[1]) * in.factor[i]);
            tile[to + 1] = bl_pack_halves(bl_bits_f32(x[2]) * in.factor[i], bl_bits_f32(x[3]) * in.factor[i]);
        }
    }
}

/* Whether a row of the block has to be computed once more with another factor, now set. Leaves what undoes the factors in raw[row]. */
template <bool IS_Q8>
__device__ __forceinline__ bool bl_half_again(const bl_linear_place &t, bl_half_input<IS_Q8> &in, SHARED_PARAMETER(uint32_t) raw)
{
    const float most = IS_Q8 ? 0x1p8f : 0x1p15f, least = IS_Q8 ? 0x1p-13f : 0x1p-6f;
    const uint32_t threads = IS_Q8 ? 2 : 8; /* that have the same rows */
    bool again = false;
#pragma unroll
    for (uint32_t i = 0; i < in.pieces; i++) {
        const uint32_t row = bl_half_row<IS_Q8>(i);
        uint32_t largest = in.largest[i];
        for (uint32_t distance = threads / 2; distance > 0; distance /= 2)
            largest = bl_larger(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
        if (threadIdx.x % threads == 0)
            raw[row] = bl_f32_bits(1.0f / in.factor[i]);
        const float x = bl_bits_f32(largest) * in.factor[i];
        if (row < bl_half_rows(t) && largest < 0x7f800000u && bl_bits_f32(largest) > 0x1p-100f && (x > most || x < least)) {
            in.factor[i] = bl_bits_f32((254u + 7u * !IS_Q8 - (largest >> 23)) << 23); /* the exponent becomes 0, or 7 */
            again = true;
        }
    }
    const uint32_t votes = __ballot_sync(0xffffffffu, again);
    if (threadIdx.x % 32 == 0)
        raw[BL_HALF_ROWS + threadIdx.x / 32] = votes;
    __syncthreads();
    uint32_t all = 0;
    for (uint32_t warp = 0; warp < BL_HALF_THREADS / 32; warp++)
        all |= raw[BL_HALF_ROWS + warp];
    return all != 0;
}

/* ---- the product ---- */

/* 32 columns of one buffer of the tiles: two outputs' sixteens x eight rows' eights. */
__device__ __forceinline__ void bl_half_multiply(const bl_linear_place &t, uint32_t line, uint32_t first, SHARED_PARAMETER(uint32_t) weights,
                                                 SHARED_PARAMETER(uint32_t) input, uint32_t at, float (&acc)[2][8][4])
{
    const uint32_t lane = threadIdx.x % 32, matrix = lane / 8;
#pragma unroll
    for (uint32_t step = 0; step < 2; step++) {
        uint32_t a[2][4];
#pragma unroll
        for (uint32_t o = 0; o < 2; o++)
            BL_LOAD_MATRICES(a[o], weights, at + bl_half_at(line + 16 * o + matrix % 2 * 8 + lane % 8, 2 * step + matrix / 2));
#pragma unroll
        for (uint32_t pair = 0; pair < 4; pair++) {
            if (first + 16 * pair >= t.rows) /* the same for the whole warp */
                break;
            uint32_t b[4];
            BL_LOAD_MATRICES(b, input, at + bl_half_at(first + 16 * pair + matrix / 2 * 8 + lane % 8, 2 * step + matrix % 2));
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                const uint32_t both[2] = {b[2 * i], b[2 * i + 1]};
#pragma unroll
                for (uint32_t o = 0; o < 2; o++)
                    bl_mma_f16_16x8x16(acc[o][2 * pair + i], a[o], both);
            }
        }
    }
}

/* acc[o][r][i] is of output 16 o + lane / 4 + 8 (i / 2) and row 8 r + 2 (lane % 4) + i % 2 of the warp's. */
#define BL_FOR_HALF_RESULTS                                       \
    _Pragma("unroll") for (uint32_t o = 0; o < 2; o++)            \
        _Pragma("unroll") for (uint32_t r = 0; r < 8; r++)        \
            _Pragma("unroll") for (uint32_t i = 0; i < 4; i++)

__device__ __forceinline__ uint32_t bl_half_output(uint32_t o, uint32_t i)
{
    return 16 * o + threadIdx.x % 32 / 4 + i / 2 * 8;
}

__device__ __forceinline__ uint32_t bl_half_line(uint32_t r, uint32_t i)
{
    return 8 * r + threadIdx.x % 4 * 2 + i % 2;
}

/* Takes the rows' factors out again. */
__device__ __forceinline__ void bl_half_scale(const bl_linear_place &t, uint32_t first, SHARED_PARAMETER(uint32_t) raw, float (&acc)[2][8][4])
{
    BL_FOR_HALF_RESULTS
    {
        const uint32_t row = first + bl_half_line(r, i);
        acc[o][r][i] = acc[o][r][i] * (row < t.rows ? bl_bits_f32(raw[row]) : 0.0f);
    }
}

__device__ __forceinline__ void bl_half_store(const bl_cuda_args &args, const bl_linear_place &t, uint32_t first, const float (&acc)[2][8][4])
{
    BL_FOR_HALF_RESULTS
    {
        const uint32_t row = first + bl_half_line(r, i), output = t.output + bl_half_output(o, i);
        if (row < t.rows && output < t.n)
            bl_linear_store(args, t, output, row, acc[o][r][i]);
    }
}

/* With a GLU a block has 64 outputs: even warps have gate, odd ones up. 64 rows after the other meet where the tiles were. */
__device__ __forceinline__ void bl_half_glu(const bl_cuda_args &args, bl_linear_place &t, bool is_there, SHARED_PARAMETER(uint32_t) gates,
                                            SHARED_PARAMETER(uint32_t) ups, const float (&acc)[2][8][4])
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, base = blockIdx.x * (BL_HALF_OUTPUTS / 2);
    for (uint32_t first = 0; first < t.rows; first += 64) {
        if (is_there && warp / 4 == first / 64) {
            BL_FOR_HALF_RESULTS
            {
                const uint32_t at = bl_half_line(r, i) * 64 + warp % 4 / 2 * 32 + bl_half_output(o, i);
                if (warp % 2)
                    ups[at] = bl_f32_bits(acc[o][r][i]);
                else
                    gates[at] = bl_f32_bits(acc[o][r][i]);
            }
        }
        __syncthreads();
        for (uint32_t i = warp; i < 128; i += BL_HALF_THREADS / 32) { /* 64 rows, two thirty-twos of outputs */
            const uint32_t r = i / 2, at = r * 64 + i % 2 * 32 + lane;
            t.output = base + i % 2 * 32;
            if (first + r < t.rows && t.output < t.n)
                bl_linear_store_glu(args, t, first + r, bl_linear_glu(args, bl_bits_f32(gates[at]), bl_bits_f32(ups[at])));
        }
        __syncthreads();
    }
}

template <int FORMAT, bool IS_Q8> __device__ __forceinline__ void bl_matmul_half(const bl_cuda_args &args)
{
    SHARED(uint32_t, weights, 2 * BL_HALF_TILE);
    SHARED(uint32_t, input, 2 * BL_HALF_TILE);
    SHARED(uint32_t, raw, bl_half_input<IS_Q8>::raw_words);
    static_assert(BL_HALF_ROWS == BL_HALF_OUTPUTS && BL_HALF_TILE == 16 * BL_HALF_ROWS && BL_LINEAR_ALIGN == 32, "tiles");
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, line = warp % 4 * 32, half = warp / 4, first = half * 64;
    bl_linear_place t;
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
    const uint32_t side = is_glu ? warp % 2 : 0, piece_output = is_glu ? blockIdx.x * BL_HALF_OUTPUTS / 2 + line / 64 * 32 : blockIdx.x * BL_HALF_OUTPUTS + line;
    const bool is_there = bl_linear_find_at<BL_HALF_ROWS>(args, piece_output, t) && !(is_glu && t.segment);
    if (t.rows == 0)
        return;
    if (is_glu)
        bl_linear_side(args, t, side);
    const uint32_t blocks = (t.k + 31) / 32;
    const uint8_t *row = t.weights;
    if (is_there) /* outputs that are not there repeat the last one and are never stored */
        bl_of_format<FORMAT, !IS_Q8>(t.format, [&](auto tag) { row += bl_min(t.output + lane, t.n - 1) * bl_row_bytes<tag.format>(t.k); });
    bl_half_input<IS_Q8> in;
    bl_half_begin(args, t, in);
    for (;;) { /* until no row needs another factor */
        float acc[2][8][4] = {};
#pragma unroll
        for (uint32_t i = 0; i < in.pieces; i++)
            in.largest[i] = 0;
        bl_half_piece piece;
        __syncthreads(); /* all have read what the round before left in raw */
        bl_half_copy(t, in, 0, raw);
        if (is_there)
            bl_of_format<FORMAT, !IS_Q8>(t.format, [&](auto tag) { bl_half_fetch<tag.format>(row, t.k, 0, half, piece); });
        for (uint32_t b = 0; b <= blocks; b++) { /* block b is unpacked, block b - 1 multiplied */
            const uint32_t at = b % 2 * BL_HALF_TILE;
            if (b < blocks) {
                BL_COPY_WAIT(0);
                bl_half_convert(t, in, raw, input, at);
                if (is_there)
                    bl_of_format<FORMAT, !IS_Q8>(t.format, [&](auto tag) { bl_half_unpack<tag.format>(piece, line + lane, half, weights, at); });
            }
            if (b + 1 < blocks) {
                bl_half_copy(t, in, b + 1, raw);
                if (is_there)
                    bl_of_format<FORMAT, !IS_Q8>(t.format, [&](auto tag) { bl_half_fetch<tag.format>(row, t.k, b + 1, half, piece); });
            }
            if (b > 0 && is_there)
                bl_half_multiply(t, line, first, weights, input, BL_HALF_TILE - at, acc);
            __syncthreads();
        }
        if (bl_half_again(t, in, raw))
            continue;
        if (is_there)
            bl_half_scale(t, first, raw, acc);
        if (is_glu)
            bl_half_glu(args, t, is_there, weights, input, acc);
        else if (is_there)
            bl_half_store(args, t, first, acc);
        return;
    }
}
#endif
