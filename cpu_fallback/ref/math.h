/* ref/math.h: exp, tanh, erf, sin and cos in f32 by polynomials, and the unary functions made of them: the definition for every device, also
 * compiled as CUDA device code. Only adds, multiplies, divides, compares and bit moves, in one order, so a SIMD lane that does the same steps
 * (body/math.h) gets the same bits. Errors below 2 ulp; infinities and NaN go where they belong. Knows no kernel. */
#ifndef BL_CPU_REF_MATH_H
#define BL_CPU_REF_MATH_H
#include "base/half.h"
#include "hal/kernel_params.h"

/* Adding this rounds |x| < 2^22 to an integer, half to even, and leaves the integer in the low mantissa bits. */
#define ROUND_MAGIC 12582912.0f

static inline float min_f32(float a, float b) /* b when either is NaN */
{
    return a < b ? a : b;
}

static inline float max_f32(float a, float b)
{
    return a > b ? a : b;
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2, Taylor to the seventh power. 2^n in two factors reaches infinity and the denormals without a branch. */
static inline float exp_f32(float x)
{
    x = max_f32(-104.0f, min_f32(89.0f, x));
    float shifted = x * 1.44269504f + ROUND_MAGIC;
    float n = shifted - ROUND_MAGIC;
    float r = x - n * 0.693359375f; /* ln 2 in two parts: the first product is exact */
    r = r - n * -2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r;
    p = p + 1.0f;
    int32_t exponent = (int32_t)(bl_f32_bits(shifted) - bl_f32_bits(ROUND_MAGIC)), half = exponent >> 1;
    p = p * bl_bits_f32((uint32_t)(half + 127) << 23);
    return p * bl_bits_f32((uint32_t)(exponent - half + 127) << 23);
}

/* Odd polynomial near zero, 1 - 2 / (e^(2|x|) + 1) elsewhere. */
static inline float tanh_f32(float x)
{
    float u = x * x;
    float p = 2.29584e-3f;
    p = p * u + -8.34698e-3f;
    p = p * u + 2.176996e-2f;
    p = p * u + -5.395941e-2f;
    p = p * u + 1.3333304e-1f;
    p = p * u + -3.3333333e-1f;
    float small = (p * u) * x + x;
    uint32_t sign = bl_f32_bits(x) & 0x80000000u;
    float magnitude = bl_bits_f32(bl_f32_bits(x) ^ sign);
    float large = 1.0f - 2.0f / (exp_f32(magnitude + magnitude) + 1.0f);
    return magnitude < 0.625f ? small : bl_bits_f32(bl_f32_bits(large) | sign);
}

/* Odd polynomial to 1, then 1 - e^-P(|x|) with P fitted to -ln erfc on 1..4; beyond 4 the f32 nearest to erf is 1. */
static inline float erf_f32(float x)
{
    float u = x * x;
    float p = -9.67359042e-6f;
    p = p * u + 1.12682538e-4f;
    p = p * u + -8.48439653e-4f;
    p = p * u + 5.22105341e-3f;
    p = p * u + -2.68654383e-2f;
    p = p * u + 1.12837826e-1f;
    p = p * u + -3.76126385e-1f;
    p = p * u + 1.28379167e-1f;
    float small = p * x + x;
    uint32_t sign = bl_f32_bits(x) & 0x80000000u;
    float a = min_f32(4.0f, bl_bits_f32(bl_f32_bits(x) ^ sign));
    float q = -1.61406163e-6f;
    q = q * a + 4.55906230e-5f;
    q = q * a + -5.92769543e-4f;
    q = q * a + 4.74022237e-3f;
    q = q * a + -2.63647174e-2f;
    q = q * a + 1.09978245e-1f;
    q = q * a + 6.31937093e-1f;
    q = q * a + 1.13016668f;
    q = q * a + -3.03213001e-4f;
    float large = 1.0f - exp_f32(-q);
    return a < 1.0f ? small : bl_bits_f32(bl_f32_bits(large) | sign);
}

/* Taylor to the ninth and eighth power, for |x| <= pi / 4. */
static inline float sin_f32(float x)
{
    float u = x * x;
    float p = 1.0f / 362880.0f;
    p = p * u + -1.0f / 5040.0f;
    p = p * u + 1.0f / 120.0f;
    p = p * u + -1.0f / 6.0f;
    return (p * u) * x + x;
}

static inline float cos_f32(float x)
{
    float u = x * x;
    float p = 1.0f / 40320.0f;
    p = p * u + -1.0f / 720.0f;
    p = p * u + 1.0f / 24.0f;
    p = p * u + -0.5f;
    return p * u + 1.0f;
}

/* enum bl_unary; a: the parameter of scale and softcap. */
static inline float unary_value(uint32_t kind, float a, float x)
{
    switch (kind) {
    case BL_UNARY_SILU:
        return x / (1.0f + exp_f32(-x));
    case BL_UNARY_GELU:
        return (0.5f * x) * (1.0f + erf_f32(x * 0.707106781f));
    case BL_UNARY_GELU_TANH:
        return (0.5f * x) * (1.0f + tanh_f32(0.797884561f * (x + 0.044715f * ((x * x) * x))));
    case BL_UNARY_GELU_QUICK:
        return x / (1.0f + exp_f32(-1.702f * x));
    case BL_UNARY_RELU:
        return max_f32(x, 0.0f);
    case BL_UNARY_RELU2:
        return max_f32(x, 0.0f) * max_f32(x, 0.0f);
    case BL_UNARY_SIGMOID:
        return 1.0f / (1.0f + exp_f32(-x));
    case BL_UNARY_TANH:
        return tanh_f32(x);
    case BL_UNARY_SCALE:
        return a * x;
    default: /* BL_UNARY_SOFTCAP */
        return a * tanh_f32(x / a);
    }
}
#endif
