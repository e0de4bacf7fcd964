/* body/table.h: the rows of a SIMD level. rope_table (double precision) and select (a copy) stay with level C; a level with LEVEL_ONLY_DOTS
 * has no more than what multiplies bytes with bytes, one with LEVEL_ONLY_XQ no more than what multiplies X-bit weights with bytes. */
#include "cpu_fallback/body/level.h"

static const struct bl_cpu_row rows[] = {
    {BL_OP_MATVEC, BL_FMT_BX, BL_FMT_Q8, LEVEL_NAME(linear_bx_q8), LEVEL_NAME(linear_bx_q8_scratch)},
    {BL_OP_MATMUL, BL_FMT_BX, BL_FMT_Q8, LEVEL_NAME(linear_bx_q8), LEVEL_NAME(linear_bx_q8_scratch)},
#ifndef LEVEL_ONLY_XQ
    {BL_OP_MATVEC, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(matvec_q8), LEVEL_NAME(linear_q8_scratch)},
    {BL_OP_MATMUL, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(matmul_q8), LEVEL_NAME(linear_q8_scratch)},
#endif
#ifndef LEVEL_ONLY_DOTS
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) {BL_OP_EMBED, BL_FMT_##NAME, BL_FMT_F32, LEVEL_NAME(embed_##name##_f32), NULL},
#include "hal/formats.def"
#undef BL_FORMAT
    {BL_OP_EMBED, BL_FMT_BX, BL_FMT_F32, LEVEL_NAME(embed_bx_f32), LEVEL_NAME(embed_bx_scratch)},
    {BL_OP_MATVEC, BL_FMT_BX, BL_FMT_F32, LEVEL_NAME(linear_bx_f32), LEVEL_NAME(linear_bx_f32_scratch)},
    {BL_OP_MATMUL, BL_FMT_BX, BL_FMT_F32, LEVEL_NAME(linear_bx_f32), LEVEL_NAME(linear_bx_f32_scratch)},
    {BL_OP_STAGE, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(stage_f32), NULL},
    {BL_OP_STAGE, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(stage_q8), NULL},
    {BL_OP_MATVEC, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(linear_f32), LEVEL_NAME(linear_f32_scratch)},
    {BL_OP_MATMUL, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(linear_f32), LEVEL_NAME(linear_f32_scratch)},
    {BL_OP_QUANTIZE, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(quantize_q8), NULL},
    {BL_OP_RMS_NORM, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(rms_norm_f32), NULL},
    {BL_OP_RMS_NORM, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(rms_norm_q8), NULL},
    {BL_OP_LAYER_NORM, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(layer_norm_f32), NULL},
    {BL_OP_LAYER_NORM, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(layer_norm_q8), NULL},
    {BL_OP_ROPE, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(rope_f32), NULL},
    {BL_OP_KV_STORE, BL_FMT_F32, BL_FMT_F32, LEVEL_NAME(kv_store_f32_f32), NULL},
    {BL_OP_KV_STORE, BL_FMT_F16, BL_FMT_F32, LEVEL_NAME(kv_store_f16_f32), NULL},
    {BL_OP_ROPE_STORE, BL_FMT_F32, BL_FMT_F32, LEVEL_NAME(rope_store_f32_f32), LEVEL_NAME(rope_store_scratch)},
    {BL_OP_ROPE_STORE, BL_FMT_F16, BL_FMT_F32, LEVEL_NAME(rope_store_f16_f32), LEVEL_NAME(rope_store_scratch)},
    {BL_OP_ATTENTION, BL_FMT_F32, BL_FMT_F32, LEVEL_NAME(attention_f32_f32), LEVEL_NAME(attention_scratch)},
    {BL_OP_ATTENTION, BL_FMT_F32, BL_FMT_Q8, LEVEL_NAME(attention_f32_q8), LEVEL_NAME(attention_scratch)},
    {BL_OP_ATTENTION, BL_FMT_F16, BL_FMT_F32, LEVEL_NAME(attention_f16_f32), LEVEL_NAME(attention_scratch)},
    {BL_OP_ATTENTION, BL_FMT_F16, BL_FMT_Q8, LEVEL_NAME(attention_f16_q8), LEVEL_NAME(attention_scratch)},
    {BL_OP_UNARY, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(unary_f32), NULL},
    {BL_OP_BINARY, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(binary_f32), NULL},
    {BL_OP_GLU, ANY_WEIGHT, BL_FMT_F32, LEVEL_NAME(glu_f32), NULL},
    {BL_OP_GLU, ANY_WEIGHT, BL_FMT_Q8, LEVEL_NAME(glu_q8), NULL},
#endif
};
const struct bl_cpu_table LEVEL_TABLE = {rows, sizeof rows / sizeof rows[0]};
