/* formats.h: the formats of formats.def as an enum and as data. Owns the block geometry; knows no kernel and no file. */
#ifndef BL_HAL_FORMATS_H
#define BL_HAL_FORMATS_H
#include <stdbool.h>
#include <stdint.h>

enum bl_format {
    BL_FMT_NONE = 0, /* "does not apply" in a kernel key */
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) BL_FMT_##NAME,
#include "hal/formats.def"
#undef BL_FORMAT
    BL_FMT_WEIGHT_COUNT, /* weight formats are 1 .. BL_FMT_WEIGHT_COUNT - 1 */
    BL_FMT_MIX = BL_FMT_WEIGHT_COUNT, /* a grouped launch whose matrices differ in format */
    BL_FMT_BX,           /* X-bit weights: depths of 1 to 8 bits inside one matrix, hal/xq.h; no rows of blocks */
    BL_FMT_Q8,           /* activations: struct bl_q8_block of kernel_params.h */
    BL_FMT_COUNT
};

struct bl_format_info {
    const char *name;       /* lower case, as in kernel names; NULL for BL_FMT_NONE */
    uint32_t ggml_type;     /* UINT32_MAX for formats that no file holds */
    uint32_t block_elements;
    uint32_t block_bytes;
    uint32_t is_quantized;
};

/* Indexed by enum bl_format. */
extern const struct bl_format_info bl_formats[BL_FMT_COUNT];

/* May matrices of these two formats be in one launch? Their key is then the common format's, or mix. */
static inline bool bl_formats_mix(enum bl_format a, enum bl_format b)
{
    return a == b || (bl_formats[a].is_quantized && bl_formats[b].is_quantized);
}

#define BL_GGML_I8 24u /* plain bytes: what carries X-bit matrices through other tools */
/* BL_FMT_NONE when the id is none of ours. */
enum bl_format bl_format_of_ggml(uint32_t ggml_type);
/* The ggml name of an id ("IQ2_XXS"), for refusals; NULL when ggml does not know it either. */
const char *bl_ggml_type_name(uint32_t ggml_type);
#endif
