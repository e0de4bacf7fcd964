/* body/dot_rows.h: products of rows of floats: four rows of weights, one or two of activations. Lane = column mod 8, as the definition asks, so a
 * lane is never added to another before the end. Knows no format. */
#ifndef BL_CPU_BODY_DOT_ROWS_H
#define BL_CPU_BODY_DOT_ROWS_H
#include "cpu_fallback/body/parts.h"

enum { WEIGHT_ROWS = 4, ACTIVATION_ROWS = 2 };

/* Columns c .. c + columns of n rows of x and WEIGHT_ROWS rows of w. The padding of both is zero: it adds +0 to sums that are never -0. */
static INLINE void add_products(int n, const float *w, size_t stride, const float *x, uint32_t k, uint32_t c, uint32_t columns,
                                vf (*sum)[WEIGHT_ROWS])
{
#pragma GCC unroll 2
    for (int r = 0; r < n; r++) {
        const vf a = vf_load_part(x + (size_t)r * k + c, columns);
#pragma GCC unroll 4
        for (int i = 0; i < WEIGHT_ROWS; i++)
            sum[r][i] = vf_add(sum[r][i], vf_mul(a, vf_load(w + (size_t)i * stride + c)));
    }
}

/* n rows of x against the rows w[WEIGHT_ROWS][stride]; out[r][i]. */
static INLINE void dot_rows(int n, const float *w, size_t stride, const float *x, uint32_t k, float (*out)[WEIGHT_ROWS])
{
    vf sum[ACTIVATION_ROWS][WEIGHT_ROWS];
    for (int r = 0; r < n; r++)
        for (int i = 0; i < WEIGHT_ROWS; i++)
            sum[r][i] = vf_set1(0);
    uint32_t c = 0;
    for (; c + 8 <= k; c += 8)
        add_products(n, w, stride, x, k, c, 8, sum);
    if (c < k)
        add_products(n, w, stride, x, k, c, k - c, sum);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < WEIGHT_ROWS; i++)
            out[r][i] = vf_sum(sum[r][i]);
}
#endif
