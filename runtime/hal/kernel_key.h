/* kernel_key.h: what names a kernel. {op, weight format, activation format, row class, tuning} <-> "matvec_q4_k_q8".
 *
 * A kernel's full name is the key's name, "_", and the ISA or back end that runs it: matvec_q4_k_q8_avx2. The same string is the C symbol
 * (bl_matvec_q4_k_q8_avx2 where it is one), the test case, the bench row, the log line and the value of BITLOOM_KERNEL. Ops without a
 * weight leave that part out: rms_norm_q8. Row classes above 1 that share an op name carry it: matvec8_q4_k_q8 (2 to 8 rows). */
#ifndef BL_HAL_KERNEL_KEY_H
#define BL_HAL_KERNEL_KEY_H
#include "hal/formats.h"

#include <stdbool.h>
#include <stddef.h>

enum bl_op {
    BL_OP_NONE = 0,
    BL_OP_EMBED,
    BL_OP_MATVEC,
    BL_OP_MATMUL,
    BL_OP_QUANTIZE,
    BL_OP_RMS_NORM,
    BL_OP_LAYER_NORM,
    BL_OP_ROPE_TABLE,
    BL_OP_ROPE,
    BL_OP_KV_STORE,
    BL_OP_ROPE_STORE,
    BL_OP_ATTENTION,
    BL_OP_UNARY,
    BL_OP_BINARY,
    BL_OP_GLU,
    BL_OP_SELECT,
    BL_OP_COUNT
};

#define BL_ROWS_ANY 0u
#define BL_ROWS_1 1u
#define BL_ROWS_8 8u
#define BL_ROWS_512 512u

struct bl_kernel_key {
    uint16_t op;         /* enum bl_op */
    uint8_t weight;      /* enum bl_format; BL_FMT_F16 or BL_FMT_F32 is the format of the KV pages for kv_store, rope_store and attention */
    uint8_t activation;  /* BL_FMT_F32 or BL_FMT_Q8 */
    uint16_t row_class;  /* BL_ROWS_* */
    uint16_t tuning;     /* 0: what the back end thinks best, or what a race found (hal/tune.c); 1 .. caps.n_ways: that way */
};

const char *bl_op_name(uint32_t op); /* "matvec"; NULL when out of range */
/* Writes the name (always terminated), returns its length without the terminator. 64 bytes are enough for every key. */
size_t bl_kernel_key_name(struct bl_kernel_key key, char *out, size_t out_bytes);
bool bl_kernel_key_equal(struct bl_kernel_key a, struct bl_kernel_key b);

/* All keys of kernels.def, expanded, in the order of the table. Returns the number of keys; writes at most `n_out`. */
size_t bl_kernel_keys(struct bl_kernel_key *out, size_t n_out);
#endif
