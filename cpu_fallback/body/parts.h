/* body/parts.h: what rows need at their end: the last, shorter vector of a row; a block of q8; eight outputs of a linear. */
#ifndef BL_CPU_BODY_PARTS_H
#define BL_CPU_BODY_PARTS_H
#include "cpu_fallback/ref/math.h"

/* n <= 8 floats, the other lanes zero. */
static INLINE vf vf_load_part(const float *p, uint32_t n)
{
    if (n == 8)
        return vf_load(p);
    float lanes[8] = {0};
    for (uint32_t i = 0; i < n; i++)
        lanes[i] = p[i];
    return vf_load(lanes);
}

static INLINE void vf_store_part(float *p, vf a, uint32_t n)
{
    if (n == 8) {
        vf_store(p, a);
        return;
    }
    float lanes[8];
    vf_store(lanes, a);
    for (uint32_t i = 0; i < n; i++)
        p[i] = lanes[i];
}

/* As bl_ref_quantize_block, which defines it. */
static INLINE void store_q8_block(const vf v[4], struct bl_q8_block *out)
{
    const uint32_t largest = vf_largest_magnitude(v);
    if (largest >= 0x7f800000u || bl_bits_f32(largest) < BL_Q8_MIN) {
        *out = (struct bl_q8_block){.d = largest >= 0x7f800000u ? bl_bits_f32(0x7fc00000u) : 0.0f};
        return;
    }
    out->d = bl_bits_f32(largest) / 127.0f;
    const float inverse = 1.0f / out->d;
    const vf d = vf_set1(out->d), factor = vf_set1(inverse), magic = vf_set1(ROUND_MAGIC);
    vf left[4];
    for (int i = 0; i < 4; i++)
        left[i] = vf_sub(v[i], vf_mul(d, vf_sub(vf_add(vf_mul(v[i], factor), magic), magic)));
    vf_store_q8(v, inverse, &out->coarse);
    vf_store_q8(left, 254.0f * inverse, &out->fine);
}
/* Outputs n0 .. n0 + 7 of a row of the tile, those of them that it has. */
static INLINE void store_group(const struct linear_tile *t, uint32_t row, uint32_t n0, vf y)
{
    const size_t at = (size_t)row * t->stride + n0;
    if (n0 + 8 <= t->n1) {
        if (t->bias)
            y = vf_add(y, vf_load(t->bias + n0));
        if (t->residual)
            y = vf_add(y, vf_load(t->residual + at));
        vf_store(t->y + at, y);
        return;
    }
    float lanes[8];
    vf_store(lanes, y);
    for (uint32_t i = 0; i < t->n1 - n0; i++) {
        float one = lanes[i];
        if (t->bias)
            one = one + t->bias[n0 + i];
        if (t->residual)
            one = one + t->residual[at + i];
        t->y[at + i] = one;
    }
}
#endif
