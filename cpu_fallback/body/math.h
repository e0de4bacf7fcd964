/* body/math.h: exp, tanh, erf and the unary functions, eight at a time: step by step what ref/math.h does, hence the same bits. */
#ifndef BL_CPU_BODY_MATH_H
#define BL_CPU_BODY_MATH_H
#include "cpu_fallback/ref/math.h"

static INLINE vf horner(vf p, vf x, float c)
{
    return vf_add(vf_mul(p, x), vf_set1(c));
}

static INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set1(ROUND_MAGIC);
    x = vf_max(vf_set1(-104.0f), vf_min(vf_set1(89.0f), x));
    vf shifted = vf_add(vf_mul(x, vf_set1(1.44269504f)), magic);
    vf n = vf_sub(shifted, magic);
    vf r = vf_sub(x, vf_mul(n, vf_set1(0.693359375f)));
    r = vf_sub(r, vf_mul(n, vf_set1(-2.12194440e-4f)));
    vf p = vf_set1(1.0f / 5040.0f);
    p = horner(p, r, 1.0f / 720.0f);
    p = horner(p, r, 1.0f / 120.0f);
    p = horner(p, r, 1.0f / 24.0f);
    p = horner(p, r, 1.0f / 6.0f);
    p = horner(p, r, 0.5f);
    p = vf_add(vf_mul(vf_mul(p, r), r), r);
    p = vf_add(p, vf_set1(1.0f));
    return vf_scale_by_power(p, shifted, magic);
}

static INLINE vf vf_tanh(vf x)
{
    vf u = vf_mul(x, x);
    vf p = vf_set1(2.29584e-3f);
    p = horner(p, u, -8.34698e-3f);
    p = horner(p, u, 2.176996e-2f);
    p = horner(p, u, -5.395941e-2f);
    p = horner(p, u, 1.3333304e-1f);
    p = horner(p, u, -3.3333333e-1f);
    vf small = vf_add(vf_mul(vf_mul(p, u), x), x);
    vf sign = vf_sign(x), magnitude = vf_xor(x, sign);
    vf large = vf_sub(vf_set1(1.0f), vf_div(vf_set1(2.0f), vf_add(vf_exp(vf_add(magnitude, magnitude)), vf_set1(1.0f))));
    return vf_less_select(magnitude, vf_set1(0.625f), small, vf_xor(large, sign));
}

static INLINE vf vf_erf(vf x)
{
    vf u = vf_mul(x, x);
    vf p = vf_set1(-9.67359042e-6f);
    p = horner(p, u, 1.12682538e-4f);
    p = horner(p, u, -8.48439653e-4f);
    p = horner(p, u, 5.22105341e-3f);
    p = horner(p, u, -2.68654383e-2f);
    p = horner(p, u, 1.12837826e-1f);
    p = horner(p, u, -3.76126385e-1f);
    p = horner(p, u, 1.28379167e-1f);
    vf small = vf_add(vf_mul(p, x), x);
    vf sign = vf_sign(x), a = vf_min(vf_set1(4.0f), vf_xor(x, sign));
    vf q = vf_set1(-1.61406163e-6f);
    q = horner(q, a, 4.55906230e-5f);
    q = horner(q, a, -5.92769543e-4f);
    q = horner(q, a, 4.74022237e-3f);
    q = horner(q, a, -2.63647174e-2f);
    q = horner(q, a, 1.09978245e-1f);
    q = horner(q, a, 6.31937093e-1f);
    q = horner(q, a, 1.13016668f);
    q = horner(q, a, -3.03213001e-4f);
    vf large = vf_sub(vf_set1(1.0f), vf_exp(vf_xor(q, vf_set1(-0.0f))));
    return vf_less_select(a, vf_set1(1.0f), small, vf_xor(large, sign));
}

/* x / (1 + exp(negated)) */
static INLINE vf vf_logistic(vf x, vf negated)
{
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(negated)));
}

static INLINE vf vf_unary(uint32_t kind, float a, vf x)
{
    const vf one = vf_set1(1.0f), positive = vf_max(x, vf_set1(0.0f));
    switch (kind) {
    case BL_UNARY_SILU:
        return vf_logistic(x, vf_xor(x, vf_set1(-0.0f)));
    case BL_UNARY_GELU:
        return vf_mul(vf_mul(vf_set1(0.5f), x), vf_add(one, vf_erf(vf_mul(x, vf_set1(0.707106781f)))));
    case BL_UNARY_GELU_TANH: {
        vf inner = vf_add(x, vf_mul(vf_set1(0.044715f), vf_mul(vf_mul(x, x), x)));
        return vf_mul(vf_mul(vf_set1(0.5f), x), vf_add(one, vf_tanh(vf_mul(vf_set1(0.797884561f), inner))));
    }
    case BL_UNARY_GELU_QUICK:
        return vf_logistic(x, vf_mul(vf_set1(-1.702f), x));
    case BL_UNARY_RELU:
        return positive;
    case BL_UNARY_RELU2:
        return vf_mul(positive, positive);
    case BL_UNARY_SIGMOID:
        return vf_logistic(one, vf_xor(x, vf_set1(-0.0f)));
    case BL_UNARY_TANH:
        return vf_tanh(x);
    case BL_UNARY_SCALE:
        return vf_mul(vf_set1(a), x);
    default: /* BL_UNARY_SOFTCAP */
        return vf_mul(vf_set1(a), vf_tanh(vf_div(x, vf_set1(a))));
    }
}
#endif
