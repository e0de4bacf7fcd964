/* decode.cuh: 32 columns of a quantized row as bytes ready for dp4a and mma, for every format. Owns the block layouts on CUDA; knows no
 * kernel. weight = d * scale[h] * (q - offset) + e * min[h], h = column / 16; e * min only where HAS_MIN. All q are in -128..127, so an
 * integer dot is scale[h] * (dp4a(q, x) - offset * sum(x)), exact. Rows begin at even addresses: every block has an even number of bytes. */
#ifndef BL_CUDA_DECODE_CUH
#define BL_CUDA_DECODE_CUH
#include "cuda/device.cuh"
#include "hal/formats.h"

struct bl_scales {
    int32_t scale[2], min[2], offset;
    uint16_t d, e; /* f16; e is what is multiplied with min: m, or dmin, which is subtracted */
};
struct bl_block32 : bl_scales {
    uint32_t q[8]; /* column 4i in the low byte of q[i] */
};

/* A format as a type, for functions that take one. */
template <int FORMAT> struct bl_format_tag {
    static constexpr int format = FORMAT;
};

__device__ __forceinline__ uint32_t bl_load8(const uint8_t *p, uint32_t i)
{
    return p[i];
}

/* Bits 0..3 of `bits` to bit `at` of four bytes. */
__device__ __forceinline__ uint32_t bl_spread(uint32_t bits, uint32_t at)
{
    return ((bits & 1u) | (bits & 2u) << 7 | (bits & 4u) << 14 | (bits & 8u) << 21) << at;
}

template <int FORMAT> __host__ __device__ constexpr bool bl_is_k()
{
    return FORMAT >= BL_FMT_Q2_K && FORMAT <= BL_FMT_Q6_K;
}

template <int FORMAT> __host__ __device__ constexpr bool bl_is_quant()
{
    return FORMAT >= BL_FMT_Q4_0 && FORMAT <= BL_FMT_Q6_K;
}

template <int FORMAT> __host__ __device__ constexpr bool bl_has_min()
{
    return FORMAT == BL_FMT_Q4_1 || FORMAT == BL_FMT_Q5_1 || FORMAT == BL_FMT_Q2_K || FORMAT == BL_FMT_Q4_K || FORMAT == BL_FMT_Q5_K;
}

template <int FORMAT> __host__ __device__ constexpr uint32_t bl_block_bytes()
{
    constexpr uint32_t bytes[] = {
        0,
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) bytes,
#include "hal/formats.def"
#undef BL_FORMAT
    };
    return bytes[FORMAT];
}

/* Bindings begin at multiples of 4. So do words in blocks of a multiple of 4 bytes; others are read in halves. */
template <int FORMAT> __device__ __forceinline__ uint32_t bl_load32(const uint8_t *p)
{
    if (bl_block_bytes<FORMAT>() % 4 == 0)
        return *reinterpret_cast<const uint32_t *>(p);
    const uint16_t *half = reinterpret_cast<const uint16_t *>(p);
    return half[0] | (uint32_t)half[1] << 16;
}

template <int FORMAT> __device__ __forceinline__ size_t bl_row_bytes(uint32_t columns)
{
    return (size_t)(columns / (bl_is_k<FORMAT>() ? 256 : bl_is_quant<FORMAT>() ? 32 : 1)) * bl_block_bytes<FORMAT>();
}

/* Four columns, 4 i .. 4 i + 3, of block j (of its super-block b). */
template <int FORMAT> __device__ __forceinline__ uint32_t bl_quant_word(const uint8_t *b, uint32_t j, uint32_t i)
{
    const uint32_t h = j / 4, shift = i / 4 * 4, c = i % 4 * 4, pairs = j % 4 * 2;
    if (FORMAT == BL_FMT_Q4_0)
        return bl_load32<FORMAT>(b + 2 + c) >> shift & 0x0f0f0f0fu;
    if (FORMAT == BL_FMT_Q4_1)
        return bl_load32<FORMAT>(b + 4 + c) >> shift & 0x0f0f0f0fu;
    if (FORMAT == BL_FMT_Q5_0)
        return (bl_load32<FORMAT>(b + 6 + c) >> shift & 0x0f0f0f0fu) | bl_spread(bl_load32<FORMAT>(b + 2) >> 4 * i, 4);
    if (FORMAT == BL_FMT_Q5_1)
        return (bl_load32<FORMAT>(b + 8 + c) >> shift & 0x0f0f0f0fu) | bl_spread(bl_load32<FORMAT>(b + 4) >> 4 * i, 4);
    if (FORMAT == BL_FMT_Q8_0)
        return bl_load32<FORMAT>(b + 2 + 4 * i);
    if (FORMAT == BL_FMT_Q2_K)
        return bl_load32<FORMAT>(b + 16 + 32 * h + 4 * i) >> pairs & 0x03030303u;
    if (FORMAT == BL_FMT_Q3_K)
        return (bl_load32<FORMAT>(b + 32 + 32 * h + 4 * i) >> pairs & 0x03030303u) | (bl_load32<FORMAT>(b + 4 * i) >> j & 0x01010101u) << 2;
    if (FORMAT == BL_FMT_Q4_K)
        return bl_load32<FORMAT>(b + 16 + j / 2 * 32 + 4 * i) >> j % 2 * 4 & 0x0f0f0f0fu;
    if (FORMAT == BL_FMT_Q5_K)
        return (bl_load32<FORMAT>(b + 48 + j / 2 * 32 + 4 * i) >> j % 2 * 4 & 0x0f0f0f0fu) | (bl_load32<FORMAT>(b + 16 + 4 * i) >> j & 0x01010101u) << 4;
    return (bl_load32<FORMAT>(b + 64 * h + j % 2 * 32 + 4 * i) >> j % 4 / 2 * 4 & 0x0f0f0f0fu) |
           (bl_load32<FORMAT>(b + 128 + 32 * h + 4 * i) >> pairs & 0x03030303u) << 4;
}

/* Where the bytes of a row's block of 32 columns begin, or those of the super-block that holds it. */
template <int FORMAT> __device__ __forceinline__ const uint8_t *bl_block_at(const uint8_t *row, uint32_t block)
{
    return row + (size_t)(bl_is_k<FORMAT>() ? block / 8 : block) * bl_block_bytes<FORMAT>();
}

/* What multiplies the columns of block j. */
template <int FORMAT> __device__ __forceinline__ void bl_decode_scales(const uint8_t *b, uint32_t j, bl_scales &out)
{
    out.scale[0] = out.scale[1] = out.min[0] = out.min[1] = 1;
    out.offset = FORMAT == BL_FMT_Q4_0 ? 8 : FORMAT == BL_FMT_Q5_0 ? 16 : FORMAT == BL_FMT_Q3_K ? 4 : FORMAT == BL_FMT_Q6_K ? 32 : 0;
    constexpr uint32_t d_at = FORMAT == BL_FMT_Q2_K ? 80 : FORMAT == BL_FMT_Q3_K ? 108 : FORMAT == BL_FMT_Q6_K ? 208 : 0;
    out.d = *reinterpret_cast<const uint16_t *>(b + d_at);
    out.e = bl_has_min<FORMAT>() ? *reinterpret_cast<const uint16_t *>(b + d_at + 2) : (uint16_t)0;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        if (FORMAT == BL_FMT_Q2_K) {
            out.scale[i] = (int32_t)(bl_load8(b, 2 * j + i) & 15u);
            out.min[i] = (int32_t)(bl_load8(b, 2 * j + i) >> 4);
        } else if (FORMAT == BL_FMT_Q3_K) {
            const uint32_t s = 2 * j + i;
            out.scale[i] = (int32_t)((bl_load8(b, 96 + s % 8) >> (s < 8 ? 0 : 4) & 15u) | (bl_load8(b, 104 + s % 4) >> s / 4 * 2 & 3u) << 4) - 32;
        } else if (FORMAT == BL_FMT_Q4_K || FORMAT == BL_FMT_Q5_K) {
            const uint8_t *s = b + 4;
            out.scale[i] = (int32_t)(j < 4 ? bl_load8(s, j) & 63u : (bl_load8(s, j + 4) & 15u) | bl_load8(s, j - 4) >> 6 << 4);
            out.min[i] = (int32_t)(j < 4 ? bl_load8(s, j + 4) & 63u : bl_load8(s, j + 4) >> 4 | bl_load8(s, j) >> 6 << 4);
        } else if (FORMAT == BL_FMT_Q6_K) {
            out.scale[i] = (int8_t)bl_load8(b, 192 + 2 * j + i);
        }
    }
}

template <int FORMAT> __device__ __forceinline__ void bl_decode32(const uint8_t *row, uint32_t block, bl_block32 &out)
{
    const uint32_t j = bl_is_k<FORMAT>() ? block % 8 : 0;
    const uint8_t *b = bl_block_at<FORMAT>(row, block);
    bl_decode_scales<FORMAT>(b, j, out);
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        out.q[i] = bl_quant_word<FORMAT>(b, j, i);
}

__device__ __forceinline__ float bl_min_scale(bool is_subtracted, uint16_t e)
{
    return is_subtracted ? -bl_half(e) : bl_half(e);
}

/* Column c of 32 as a float. */
template <int FORMAT> __device__ __forceinline__ float bl_weight(const bl_block32 &b, uint32_t c)
{
    const int32_t q = (int8_t)(b.q[c / 4] >> c % 4 * 8) - b.offset;
    const float w = (bl_half(b.d) * (float)b.scale[c / 16]) * (float)q;
    return bl_has_min<FORMAT>() ? w + bl_min_scale(bl_is_k<FORMAT>(), b.e) * (float)b.min[c / 16] : w;
}

template <int FORMAT> __device__ __forceinline__ float bl_float_weight(const uint8_t *row, uint32_t column)
{
    if (FORMAT == BL_FMT_F32)
        return reinterpret_cast<const float *>(row)[column];
    const uint16_t bits = reinterpret_cast<const uint16_t *>(row)[column];
    return FORMAT == BL_FMT_F16 ? bl_half(bits) : bl_bf16_to_f32(bits);
}
#endif
