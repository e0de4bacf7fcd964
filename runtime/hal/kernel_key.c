/* kernel_key.c: names of keys, and kernels.def expanded. */
#include "hal/kernel_key.h"

#include <stdio.h>

static const char *const op_names[BL_OP_COUNT] = {
    [BL_OP_EMBED] = "embed",           [BL_OP_MATVEC] = "matvec",         [BL_OP_MATMUL] = "matmul",
    [BL_OP_QUANTIZE] = "quantize",     [BL_OP_RMS_NORM] = "rms_norm",     [BL_OP_LAYER_NORM] = "layer_norm",
    [BL_OP_ROPE_TABLE] = "rope_table", [BL_OP_ROPE] = "rope",             [BL_OP_KV_STORE] = "kv_store",
    [BL_OP_ROPE_STORE] = "rope_store", [BL_OP_ATTENTION] = "attention",   [BL_OP_UNARY] = "unary",
    [BL_OP_BINARY] = "binary",         [BL_OP_GLU] = "glu",               [BL_OP_SELECT] = "select",
};

const char *bl_op_name(uint32_t op)
{
    return op < BL_OP_COUNT ? op_names[op] : NULL;
}

size_t bl_kernel_key_name(struct bl_kernel_key key, char *out, size_t out_bytes)
{
    const char *op = bl_op_name(key.op);
    const char *weight = key.weight < BL_FMT_COUNT ? bl_formats[key.weight].name : NULL;
    const char *activation = key.activation < BL_FMT_COUNT ? bl_formats[key.activation].name : NULL;
    int n = snprintf(out, out_bytes, "%s%s%s%s%s%s", op ? op : "none", key.row_class == BL_ROWS_8 ? "8" : "", weight ? "_" : "",
                     weight ? weight : "", activation ? "_" : "", activation ? activation : "");
    return n < 0 ? 0 : (size_t)n;
}

bool bl_kernel_key_equal(struct bl_kernel_key a, struct bl_kernel_key b)
{
    return a.op == b.op && a.weight == b.weight && a.activation == b.activation && a.row_class == b.row_class && a.tuning == b.tuning;
}

/* The sets of formats that kernels.def names. */
enum { SET_NONE = 1, SET_FLOATS = 2, SET_QUANTS = 4, SET_MIX = 8, SET_KV = 16 };
#define W_NONE SET_NONE
#define W_FLOATS SET_FLOATS
#define W_QUANTS (SET_QUANTS | SET_MIX)
#define W_ALL (SET_FLOATS | SET_QUANTS)
#define W_F16_OR_F32 SET_KV
enum { A_F32 = 1, A_Q8 = 2, A_F32_OR_Q8 = 3 };
#define R_1 BL_ROWS_1
#define R_8 BL_ROWS_8
#define R_512 BL_ROWS_512
#define R_ANY BL_ROWS_ANY

enum {
#define BL_KERNEL(op, weights, activations, rows) OPS_BY_NAME_##op##_##weights##_##rows,
#include "hal/kernels.def"
#undef BL_KERNEL
    ROW_COUNT
};
enum {
    OP_embed = BL_OP_EMBED, OP_matvec = BL_OP_MATVEC, OP_matmul = BL_OP_MATMUL, OP_quantize = BL_OP_QUANTIZE, OP_rms_norm = BL_OP_RMS_NORM,
    OP_layer_norm = BL_OP_LAYER_NORM, OP_rope_table = BL_OP_ROPE_TABLE, OP_rope = BL_OP_ROPE, OP_kv_store = BL_OP_KV_STORE,
    OP_rope_store = BL_OP_ROPE_STORE, OP_attention = BL_OP_ATTENTION, OP_unary = BL_OP_UNARY, OP_binary = BL_OP_BINARY, OP_glu = BL_OP_GLU,
    OP_select = BL_OP_SELECT
};

static const struct table_row {
    uint16_t op;
    uint8_t weights, activations;
    uint16_t rows;
} table[] = {
#define BL_KERNEL(op, weights, activations, rows) {OP_##op, W_##weights, A_##activations, R_##rows},
#include "hal/kernels.def"
#undef BL_KERNEL
};
_Static_assert(sizeof table / sizeof table[0] == ROW_COUNT, "one table row per line of kernels.def");

static bool weight_in_set(uint32_t format, uint32_t set)
{
    if (format == BL_FMT_NONE)
        return (set & SET_NONE) != 0;
    if (format == BL_FMT_MIX)
        return (set & SET_MIX) != 0;
    if (format == BL_FMT_Q8)
        return false;
    if ((set & SET_KV) && (format == BL_FMT_F16 || format == BL_FMT_F32))
        return true;
    return (set & (bl_formats[format].is_quantized ? SET_QUANTS : SET_FLOATS)) != 0;
}

size_t bl_kernel_keys(struct bl_kernel_key *out, size_t n_out)
{
    size_t n = 0;
    for (size_t r = 0; r < ROW_COUNT; r++) {
        for (uint32_t weight = 0; weight < BL_FMT_COUNT; weight++) {
            if (!weight_in_set(weight, table[r].weights))
                continue;
            for (uint32_t a = 0; a < 2; a++) {
                if (!(table[r].activations & (a ? A_Q8 : A_F32)))
                    continue;
                if (n < n_out)
                    out[n] = (struct bl_kernel_key){table[r].op, (uint8_t)weight, a ? BL_FMT_Q8 : BL_FMT_F32, table[r].rows, 0};
                n++;
            }
        }
    }
    return n;
}
