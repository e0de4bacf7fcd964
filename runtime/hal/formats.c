/* formats.c: the tables behind formats.h. */
#include "hal/formats.h"

#include <stddef.h>

#define QUANT 1u
#define FLOAT 0u
const struct bl_format_info bl_formats[BL_FMT_COUNT] = {
    [BL_FMT_NONE] = {NULL, UINT32_MAX, 1, 0, 0},
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = {#name, id, elements, bytes, kind},
#include "hal/formats.def"
#undef BL_FORMAT
    [BL_FMT_MIX] = {"mix", UINT32_MAX, 1, 0, 1},
    [BL_FMT_BX] = {"bx", UINT32_MAX, 32, 0, 1},
    [BL_FMT_Q8] = {"q8", UINT32_MAX, 32, 76, 1},
};
#undef QUANT
#undef FLOAT

enum bl_format bl_format_of_ggml(uint32_t ggml_type)
{
    for (int f = 1; f < BL_FMT_WEIGHT_COUNT; f++)
        if (bl_formats[f].ggml_type == ggml_type)
            return (enum bl_format)f;
    return BL_FMT_NONE;
}

const char *bl_ggml_type_name(uint32_t ggml_type)
{
    static const char *const names[] = {
        [0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [6] = "Q5_0", [7] = "Q5_1", [8] = "Q8_0", [9] = "Q8_1", [10] = "Q2_K",
        [11] = "Q3_K", [12] = "Q4_K", [13] = "Q5_K", [14] = "Q6_K", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [24] = "I8", [25] = "I16", [26] = "I32",
        [27] = "I64", [28] = "F64", [29] = "IQ1_M", [30] = "BF16", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4", [40] = "NVFP4",
        [41] = "Q1_0", [42] = "Q2_0",
    };
    return ggml_type < sizeof names / sizeof names[0] ? names[ggml_type] : NULL;
}
