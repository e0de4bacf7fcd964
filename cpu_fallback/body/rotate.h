/* body/rotate.h: rope of one head, for the ops rope and rope_store. As bl_ref_rotate, which defines it. */
#ifndef BL_CPU_BODY_ROTATE_H
#define BL_CPU_BODY_ROTATE_H
#include "cpu_fallback/body/parts.h"

static INLINE void rotate_head(const float *x, const float *table, uint32_t d_head, uint32_t n_rot, uint32_t layout, float *y)
{
    const uint32_t half = n_rot / 2;
    const bool norm_layout = layout == BL_ROPE_NORM;
    uint32_t j = 0;
    for (; j + 8 <= half; j += 8) {
        vf a, b, cosine, sine;
        vf_load_pairs(table + 2 * j, &cosine, &sine);
        if (norm_layout) {
            vf_load_pairs(x + 2 * j, &a, &b);
        } else {
            a = vf_load(x + j);
            b = vf_load(x + j + half);
        }
        vf c = vf_sub(vf_mul(a, cosine), vf_mul(b, sine)), d = vf_add(vf_mul(a, sine), vf_mul(b, cosine));
        if (norm_layout) {
            vf_store_pairs(y + 2 * j, c, d);
        } else {
            vf_store(y + j, c);
            vf_store(y + j + half, d);
        }
    }
    for (; j < half; j++) {
        const uint32_t c0 = norm_layout ? 2 * j : j, c1 = norm_layout ? 2 * j + 1 : j + half;
        const float a = x[c0], b = x[c1], cosine = table[2 * j], sine = table[2 * j + 1];
        y[c0] = a * cosine - b * sine;
        y[c1] = a * sine + b * cosine;
    }
    if (x != y)
        memcpy(y + n_rot, x + n_rot, (d_head - n_rot) * sizeof y[0]);
}
#endif
