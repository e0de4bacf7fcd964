/* limits.c: how far level C may be from an independent evaluation in double precision. One table: the limit, and beside it the worst value
 * that the default run measures. A limit is a promise; a measured value that grows towards it deserves a look. */
#include "check.h"

#include <math.h>

static struct {
    const char *name;
    double limit, noted; /* noted: measured with seed 1 on x86-64 when the row was written */
    double worst;
} table[LIMIT_COUNT] = {
    [LIMIT_LINEAR_F32] = {"linear, f32 activations (nmse)", 1e-10, 8.9e-12, 0},
    [LIMIT_LINEAR_Q8] = {"linear, q8 activations against f32 activations (nmse)", 1e-6, 2.5e-8, 0},
    [LIMIT_LINEAR_Q8_ROW] = {"the same, worst output row (nmse)", 1e-5, 4.5e-9, 0},
    [LIMIT_LINEAR_XQ] = {"linear of bx, q8 against f32 activations (nmse)", 5e-5, 1.8e-5, 0}, /* one plane, where blocks are alike */
    [LIMIT_LINEAR_XQ_ROW] = {"the same, worst output row (nmse)", 1e-3, 3.9e-4, 0},
    [LIMIT_LINEAR_Q8_EXACT] = {"linear, q8 activations as given (nmse)", 1e-10, 1.3e-13, 0},
    [LIMIT_NORM] = {"rms_norm, layer_norm (nmse)", 1e-11, 1.1e-14, 0},
    [LIMIT_ROPE] = {"rope (nmse)", 1e-11, 1.6e-15, 0},
    [LIMIT_ROPE_TABLE] = {"rope_table (nmse)", 1e-11, 4.3e-16, 0},
    [LIMIT_UNARY] = {"unary, glu (nmse)", 1e-11, 4.7e-15, 0},
    [LIMIT_ATTENTION] = {"attention on the stored pages (nmse)", 1e-10, 1.2e-13, 0},
    [LIMIT_QUANTIZE] = {"q8 outputs (nmse)", 1e-8, 7.5e-10, 0},
    [LIMIT_EXP_ULP] = {"exp (ulp)", 2, 1.01, 0},
    [LIMIT_TANH_ULP] = {"tanh (ulp)", 3, 1.26, 0},
    [LIMIT_ERF_ULP] = {"erf (ulp)", 3, 1.32, 0},
};

bool within_limit(enum limit limit, double measured)
{
    if (!(measured <= table[limit].worst))
        table[limit].worst = measured;
    return measured <= table[limit].limit;
}

double nmse(const double *truth, const float *got, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        error += (truth[i] - (double)got[i]) * (truth[i] - (double)got[i]);
        power += truth[i] * truth[i];
    }
    return error == 0 ? 0 : error / power; /* infinite where nothing should be */
}

void print_limits(FILE *f, bool json)
{
    for (int i = 0; i < LIMIT_COUNT; i++) {
        if (json)
            fprintf(f, "{\"limit\": \"%s\", \"worst\": %.3g, \"allowed\": %.3g}\n", table[i].name, table[i].worst, table[i].limit);
        else
            fprintf(f, "%-58s worst %8.2e  noted %8.2e  limit %8.2e\n", table[i].name, table[i].worst, table[i].noted, table[i].limit);
    }
}
