/* check.h: the shared part of kernel-check: seeded inputs, buffers with guard zones, one launch run at every level and compared with level C,
 * the measured error of level C against double precision. Sees the kernels only through cpu_fallback/ops.h. */
#ifndef KERNEL_CHECK_H
#define KERNEL_CHECK_H
#include "cpu_fallback/ops.h"

#include <bitloom/device.h>
#include <stdio.h>

/* LOUD: blocks of the largest weights and activations of one sign, where narrow integer sums overflow if they can. */
enum style { UNIFORM, EXTREMES, SPARSE, LOUD, ZEROS };

uint64_t random_bits(void);
uint32_t random_below(uint32_t n);
double random_unit(void); /* -1 .. 1 */
void random_seed(uint64_t seed);
/* Seeds from the run's seed and a text, so that a case's inputs do not depend on which other cases run. */
void random_seed_for(const char *text);
void fill_floats(float *x, size_t n, enum style style);
/* n rows of k weights of random bits with finite scales. */
void fill_weights(uint8_t *w, uint32_t format, uint32_t n, uint32_t k, enum style style);
/* A blob of X-bit weights, depth 0: a mixture of all; freed by the caller. And one row of it, in stored order, as the reference reads it. */
uint8_t *xq_random(uint32_t rows, uint32_t columns, uint32_t depth, enum style style, size_t *bytes);
void xq_row(void *blob, uint32_t row, bool outliers, float *w);
/* What the benchmark multiplies: one depth with group scales where compressed models have them (2 to 7), or the mixture of the seed's models of
 * a fifth of the size: share of the columns per depth; and the outliers of a usual model. */
#define XQ_MIXTURE 9u
extern const double xq_mixture[9];
uint8_t *xq_typical(uint32_t rows, uint32_t columns, uint32_t depth, size_t *bytes);
size_t weight_bytes(uint32_t format, uint32_t n, uint32_t k);

#define GUARD 128u /* bytes before and after every binding that nobody may touch */
struct buffer {
    uint8_t *block, *data, *initial, *expected;
    size_t bytes;
    bool is_output, is_alias;
};

#define MAX_BINDINGS 20
struct launch {
    struct bl_kernel_key key;
    char label[160];
    union {
        uint8_t bytes[128];
        struct bl_params_linear linear;
        struct bl_params_embed embed;
        struct bl_params_stage stage;
        struct bl_params_quantize quantize;
        struct bl_params_norm norm;
        struct bl_params_rope_table rope_table;
        struct bl_params_rope rope;
        struct bl_params_kv_store kv_store;
        struct bl_params_rope_store rope_store;
        struct bl_params_attention attention;
        struct bl_params_unary unary;
        struct bl_params_binary binary;
        struct bl_params_glu glu;
        struct bl_params_select select;
    } push;
    struct buffer buffers[MAX_BINDINGS];
    void *bindings[MAX_BINDINGS];
    uint32_t n, columns, rows; /* bindings; grid in elements */
    bool is_extreme;           /* numbers from one end of f32 to the other */
};

/* Bindings are appended in order. Inputs come zeroed; `shift` bytes move the start off its 64-byte alignment. Outputs start as a pattern. */
void launch_init(struct launch *l, struct bl_kernel_key key);
uint32_t *launch_step(struct launch *l, uint32_t n_rows, uint32_t n_out, uint32_t n_page_words);
void *launch_input(struct launch *l, size_t bytes, size_t shift);
void *launch_output(struct launch *l, size_t bytes, size_t shift);
/* n rows of k random weights as the next input; returns the row of the matrix at which they begin (bx: a random one; else 0). */
uint32_t launch_weights(struct launch *l, uint32_t format, uint32_t n, uint32_t k, uint32_t depth, enum style style);
void launch_none(struct launch *l);
void launch_alias(struct launch *l, uint32_t binding);      /* the same range again */
void launch_in_place(struct launch *l, uint32_t binding);   /* marks an input as written too */
void launch_free(struct launch *l);

/* Runs `kernel` over the whole grid, in one range or in shuffled pieces; false (and a message) when a guard or an input was touched. */
bool launch_run(struct launch *l, const struct bl_cpu_kernel *kernel, bool in_pieces);
/* Runs every level that passes the filters, compares with level C bit for bit, counts. With an oracle: the result of level C is also
 * compared with it; the oracle returns false (and prints) when a limit is broken. Returns what level C wrote in the outputs' `expected`. */
typedef bool oracle_fn(const struct launch *l);
void launch_check(struct launch *l, oracle_fn *oracle);
void report_failure(const struct launch *l, const char *kernel_name, const char *what);
/* Level C of `key` over the whole grid, of `columns` and `rows` elements; for oracles that are made of other ops. */
void run_level_c(struct bl_kernel_key key, void *const *bindings, const void *push, uint32_t columns, uint32_t rows);

/* Worst errors per row of the limits table (limits.c). */
enum limit {
    LIMIT_LINEAR_F32, LIMIT_LINEAR_Q8, LIMIT_LINEAR_Q8_ROW, LIMIT_LINEAR_XQ, LIMIT_LINEAR_XQ_ROW, LIMIT_LINEAR_Q8_EXACT, LIMIT_NORM, LIMIT_ROPE, LIMIT_ROPE_TABLE, LIMIT_UNARY,
    LIMIT_ATTENTION, LIMIT_QUANTIZE, LIMIT_EXP_ULP, LIMIT_TANH_ULP, LIMIT_ERF_ULP, LIMIT_COUNT
};
bool within_limit(enum limit limit, double measured);
double nmse(const double *truth, const float *got, size_t n); /* 0 when both are all zeros */
void print_limits(FILE *f, bool json);

/* Another implementation of the table, compared with level C in place of the CPU's other levels: what a program links as `linked_kernels`
 * (NULL in kernel-check), or a device. Where it is not exact, what is not equal to the bit must be within the limits of close.c.
 * run: NULL or what went wrong. A guard lies around each binding's bytes; the same data twice is one range bound twice; NULL is absent. */
struct bound {
    void *data;
    size_t bytes;
    bool is_output;
};
struct other_kernels {
    const char *name; /* "cuda" */
    bool is_exact;
    uint32_t ways_inexact; /* as in bl_caps: the limits of close.c are wider for these */
    bool (*has)(struct bl_kernel_key key);
    const char *(*run)(struct bl_kernel_key key, const struct bound *bindings, uint32_t n_bindings, const void *push, uint32_t columns, uint32_t rows);
};
extern const struct other_kernels *const linked_kernels;
extern const struct other_kernels *other_kernels; /* the one that is checked, or NULL */
const struct other_kernels *open_device(const char *name); /* NULL: bl_error_text says why */
void close_device(void);
uint32_t push_bytes(uint32_t op);
/* Whether binding i is as near to what level C wrote as the op asks for, or a way that is not exact; else *what says where not. */
bool is_close(const struct launch *l, uint32_t i, bool is_inexact, const char **what);

/* Filters and counts. */
extern struct options {
    const char *kernel, *level, *device;
    uint64_t seed;
    uint32_t tuning;
    bool quick, json, partial;
} options;
extern struct counts {
    uint32_t passed, failed, skipped, equal; /* equal: to the bit, launches of other kernels */
    uint64_t digest; /* of every output of level C */
} counts;
void full_name(char *out, size_t bytes, struct bl_kernel_key key, enum bl_cpu_level level);
bool wanted(struct bl_kernel_key key, enum bl_cpu_level level);

void check_linear(struct bl_kernel_key key);
void check_rows(struct bl_kernel_key key);
void check_stage(struct bl_kernel_key key);
void check_embed_xq(struct bl_kernel_key key);
void check_attention(struct bl_kernel_key key);
void check_math(void);
int bench(void);
#endif
