/* ref/table.c: the rows of level C: every key of kernels.def. */
#include "cpu_fallback/ref/ref.h"
#include "cpu_fallback/table.h"

static const struct bl_cpu_row rows[] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) {BL_OP_EMBED, BL_FMT_##NAME, BL_FMT_F32, bl_embed_##name##_f32_c, NULL},
#include "hal/formats.def"
#undef BL_FORMAT
    {BL_OP_MATVEC, ANY_WEIGHT, BL_FMT_F32, bl_linear_f32_c, bl_linear_scratch_c},
    {BL_OP_MATVEC, ANY_WEIGHT, BL_FMT_Q8, bl_linear_q8_c, bl_linear_scratch_c},
    {BL_OP_MATMUL, ANY_WEIGHT, BL_FMT_F32, bl_linear_f32_c, bl_linear_scratch_c},
    {BL_OP_MATMUL, ANY_WEIGHT, BL_FMT_Q8, bl_linear_q8_c, bl_linear_scratch_c},
    {BL_OP_QUANTIZE, ANY_WEIGHT, BL_FMT_Q8, bl_quantize_q8_c, NULL},
    {BL_OP_RMS_NORM, ANY_WEIGHT, BL_FMT_F32, bl_rms_norm_f32_c, NULL},
    {BL_OP_RMS_NORM, ANY_WEIGHT, BL_FMT_Q8, bl_rms_norm_q8_c, NULL},
    {BL_OP_LAYER_NORM, ANY_WEIGHT, BL_FMT_F32, bl_layer_norm_f32_c, NULL},
    {BL_OP_LAYER_NORM, ANY_WEIGHT, BL_FMT_Q8, bl_layer_norm_q8_c, NULL},
    {BL_OP_ROPE_TABLE, ANY_WEIGHT, BL_FMT_F32, bl_rope_table_f32_c, NULL},
    {BL_OP_ROPE, ANY_WEIGHT, BL_FMT_F32, bl_rope_f32_c, NULL},
    {BL_OP_KV_STORE, BL_FMT_F32, BL_FMT_F32, bl_kv_store_f32_f32_c, NULL},
    {BL_OP_KV_STORE, BL_FMT_F16, BL_FMT_F32, bl_kv_store_f16_f32_c, NULL},
    {BL_OP_ROPE_STORE, BL_FMT_F32, BL_FMT_F32, bl_rope_store_f32_f32_c, bl_rope_store_scratch_c},
    {BL_OP_ROPE_STORE, BL_FMT_F16, BL_FMT_F32, bl_rope_store_f16_f32_c, bl_rope_store_scratch_c},
    {BL_OP_ATTENTION, BL_FMT_F32, BL_FMT_F32, bl_attention_f32_f32_c, bl_attention_scratch_c},
    {BL_OP_ATTENTION, BL_FMT_F32, BL_FMT_Q8, bl_attention_f32_q8_c, bl_attention_scratch_c},
    {BL_OP_ATTENTION, BL_FMT_F16, BL_FMT_F32, bl_attention_f16_f32_c, bl_attention_scratch_c},
    {BL_OP_ATTENTION, BL_FMT_F16, BL_FMT_Q8, bl_attention_f16_q8_c, bl_attention_scratch_c},
    {BL_OP_UNARY, ANY_WEIGHT, BL_FMT_F32, bl_unary_f32_c, NULL},
    {BL_OP_BINARY, ANY_WEIGHT, BL_FMT_F32, bl_binary_f32_c, NULL},
    {BL_OP_GLU, ANY_WEIGHT, BL_FMT_F32, bl_glu_f32_c, NULL},
    {BL_OP_GLU, ANY_WEIGHT, BL_FMT_Q8, bl_glu_q8_c, NULL},
    {BL_OP_SELECT, ANY_WEIGHT, BL_FMT_F32, bl_select_f32_c, NULL},
};
const struct bl_cpu_table bl_cpu_table_c = {rows, sizeof rows / sizeof rows[0]};
