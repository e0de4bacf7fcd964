/* body/dequantize.h: rows of weights as f32, the same bits as bl_cpu_dequantize_row. */
#ifndef BL_CPU_BODY_DEQUANTIZE_H
#define BL_CPU_BODY_DEQUANTIZE_H
#include "cpu_fallback/body/quants.h"

#include "base/half.h"

static INLINE float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return bl_f16_to_f32(h);
}

static INLINE void dequantize_block(uint32_t format, const uint8_t *b, float *y)
{
    const struct quant_facts facts = facts_of(format);
    const float d = f16_at(b + facts.d_at), e = facts.e_at ? f16_at(b + facts.e_at) : 0.0f;
    const vf offset = vf_set1(facts.offset_bits ? (float)(1 << facts.offset_bits) : 0.0f);
    int16_t scales[16], mins[16];
    if (facts.scales) {
        vb s, m;
        sub_scales(format, b, &s, &m);
        vb_store((uint8_t *)scales, s);
        vb_store((uint8_t *)mins, m);
    }
#pragma GCC unroll 8
    for (uint32_t j = 0; j < block_elements(format) / 32; j++) {
        uint8_t stored[32];
        vb_store(stored, stored_weights(format, b, j));
        for (uint32_t i = 0; i < 4; i++) {
            vf q = facts.is_signed ? vf_load_s8(stored + 8 * i) : vf_load_u8(stored + 8 * i);
            vf w = vf_mul(vf_set1(facts.scales ? d * (float)scales[2 * j + i / 2] : d), vf_sub(q, offset));
            if (facts.e_at && facts.scales)
                w = vf_sub(w, vf_set1(e * (float)mins[2 * j + i / 2]));
            else if (facts.e_at)
                w = vf_add(w, vf_set1(e));
            vf_store(y + 32 * j + 8 * i, w);
        }
    }
}

static INLINE vf load_weights(uint32_t format, const uint8_t *p)
{
    if (format == BL_FMT_F16)
        return vf_load_f16(p);
    return format == BL_FMT_BF16 ? vf_load_bf16(p) : vf_load((const float *)(const void *)p);
}

/* y[k] = row; k is a multiple of the block. */
static INLINE void dequantize_row(uint32_t format, const uint8_t *row, float *y, uint32_t k)
{
    const uint32_t elements = block_elements(format), bytes = block_bytes(format);
    if (elements > 1) {
        for (uint32_t c = 0; c < k; c += elements, row += bytes)
            dequantize_block(format, row, y + c);
        return;
    }
    uint32_t c = 0;
    for (; c + 8 <= k; c += 8)
        vf_store(y + c, load_weights(format, row + (size_t)c * bytes));
    if (c < k) {
        uint8_t last[8 * sizeof(float)] = {0};
        memcpy(last, row + (size_t)c * bytes, (size_t)(k - c) * bytes);
        float lanes[8];
        vf_store(lanes, load_weights(format, last));
        memcpy(y + c, lanes, (k - c) * sizeof lanes[0]);
    }
}
#endif
