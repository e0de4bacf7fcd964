/* body/parts.h: what rows need at their end: the last, shorter vector of a row; and a block of q8. */
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
#endif
