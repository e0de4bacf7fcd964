/* half.h: 16-bit floats, bit-exact on every compiler (IEEE round to nearest even; NaN stays NaN, quiet). */
#ifndef BL_BASE_HALF_H
#define BL_BASE_HALF_H
#include <stdint.h>
#include <string.h>

static inline float bl_bits_f32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t bl_f32_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

static inline float bl_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (uint32_t)(h >> 10) & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31)
        return bl_bits_f32(sign | 0x7f800000u | (mantissa ? mantissa << 13 | 0x400000u : 0u));
    if (exponent == 0) { /* zero or denormal: mantissa * 2^-24 is exact in f32 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return bl_bits_f32(sign | bl_f32_bits(magnitude));
    }
    return bl_bits_f32(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t bl_f32_to_f16(float f)
{
    uint32_t bits = bl_f32_bits(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN keeps its top payload bits, as the hardware conversion does */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: adding 0.5 rounds at bit 2^-24 */
        float shifted = bl_bits_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (bl_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

static inline float bl_bf16_to_f32(uint16_t h)
{
    return bl_bits_f32((uint32_t)h << 16);
}
#endif
