/* body/level.h: the kernels that body/ gives every SIMD level, declared. LEVEL_NAME comes from the ISA header (LEVEL_HEADER,
 * which the build names). A level with LEVEL_ONLY_DOTS defines only what its table lists. */
#ifndef BL_CPU_BODY_LEVEL_H
#define BL_CPU_BODY_LEVEL_H
#include "cpu_fallback/table.h"

#define KERNEL(name) void LEVEL_NAME(name)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch);
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) KERNEL(embed_##name##_f32)
#include "hal/formats.def"
#undef BL_FORMAT
KERNEL(linear_f32) KERNEL(matvec_q8) KERNEL(matmul_q8)
KERNEL(linear_bx_f32) KERNEL(linear_bx_q8) KERNEL(embed_bx_f32) KERNEL(stage_f32) KERNEL(stage_q8)
KERNEL(quantize_q8)
KERNEL(rms_norm_f32) KERNEL(rms_norm_q8) KERNEL(layer_norm_f32) KERNEL(layer_norm_q8)
KERNEL(rope_f32)
KERNEL(kv_store_f32_f32) KERNEL(kv_store_f16_f32) KERNEL(rope_store_f32_f32) KERNEL(rope_store_f16_f32)
KERNEL(attention_f32_f32) KERNEL(attention_f32_q8) KERNEL(attention_f16_f32) KERNEL(attention_f16_q8)
KERNEL(unary_f32) KERNEL(binary_f32) KERNEL(glu_f32) KERNEL(glu_q8)
#undef KERNEL

size_t LEVEL_NAME(linear_f32_scratch)(const void *push);
size_t LEVEL_NAME(linear_q8_scratch)(const void *push);
size_t LEVEL_NAME(linear_bx_f32_scratch)(const void *push);
size_t LEVEL_NAME(linear_bx_q8_scratch)(const void *push);
size_t LEVEL_NAME(embed_bx_scratch)(const void *push);
size_t LEVEL_NAME(rope_store_scratch)(const void *push);
size_t LEVEL_NAME(attention_scratch)(const void *push);
#endif
