/* ref/ref.h: what the plain C kernels share: their prototypes, one decoded block of 32 weights, the fixed order of float sums. Knows no
 * SIMD; slow and obvious on purpose, because this folder is the definition of every op. */
#ifndef BL_CPU_REF_H
#define BL_CPU_REF_H
#include "cpu_fallback/call.h"

#include "base/half.h"

/* 32 columns of a quantized row. weight = d * scale * q + e * min, scale and min per 16 columns; e * min only where has_min.
 * The formats with sub-scales have e = -dmin; Q4_1 and Q5_1 have e = m and min = 1; without sub-scales scale = 1. */
struct ref_block {
    int32_t q[32], scale[2], min[2];
    float d, e;
    bool has_min;
};
void bl_ref_decode(uint32_t format, const uint8_t *row, uint32_t block, struct ref_block *out);

/* The one order of float sums over a row: eight accumulators by column, then a fixed tree. */
struct ref_sum {
    float s[8];
};

static inline void ref_sum_add(struct ref_sum *sum, uint32_t column, float value)
{
    sum->s[column % 8] = sum->s[column % 8] + value;
}

static inline float ref_sum_total(const struct ref_sum *sum)
{
    const float *s = sum->s;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* One block of q8 from n <= 32 values; the rest of the block counts as zeros. */
void bl_ref_quantize_block(const float *x, uint32_t n, struct bl_q8_block *out);
/* y[n] = f(gate[n]) * up[n], as f32 or as q8. */
void bl_ref_glu(uint32_t kind, const float *gate, const float *up, uint32_t n, void *y, bool to_q8);
/* y[d_head] = the head x, rotated by the row's table. */
void bl_ref_rotate(const float *x, const float *table, uint32_t d_head, uint32_t n_rot, uint32_t layout, float *y);

#define REF_KERNEL(name) void bl_##name##_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch);
#define REF_EMBED(NAME, name, id, elements, bytes, kind) REF_KERNEL(embed_##name##_f32)
#define BL_FORMAT REF_EMBED
#include "hal/formats.def"
#undef BL_FORMAT
#undef REF_EMBED
REF_KERNEL(linear_f32) REF_KERNEL(linear_q8)
REF_KERNEL(quantize_q8)
REF_KERNEL(rms_norm_f32) REF_KERNEL(rms_norm_q8) REF_KERNEL(layer_norm_f32) REF_KERNEL(layer_norm_q8)
REF_KERNEL(rope_table_f32) REF_KERNEL(rope_f32)
REF_KERNEL(kv_store_f32_f32) REF_KERNEL(kv_store_f16_f32) REF_KERNEL(rope_store_f32_f32) REF_KERNEL(rope_store_f16_f32)
REF_KERNEL(attention_f32_f32) REF_KERNEL(attention_f32_q8) REF_KERNEL(attention_f16_f32) REF_KERNEL(attention_f16_q8)
REF_KERNEL(unary_f32) REF_KERNEL(binary_f32) REF_KERNEL(glu_f32) REF_KERNEL(glu_q8) REF_KERNEL(select_f32)
#undef REF_KERNEL

size_t bl_linear_scratch_c(const void *push);
size_t bl_attention_scratch_c(const void *push);
size_t bl_rope_store_scratch_c(const void *push);
#endif
