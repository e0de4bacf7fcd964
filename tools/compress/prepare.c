/* prepare.c: column order, column scales, Cholesky factor of one input. */
#include "compress/prepare.h"

#include "base/error.h"
#include "compress/rank.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CLIP 3.0f      /* weights beyond so many deviations are outliers and say nothing about scales */
#define ROWS 256u      /* of a matrix at a time */
#define ROUNDS 3u

void xq_prepared_free(struct xq_prepared *p)
{
    free(p->perm);
    free(p->scale);
    free(p->g);
    free(p->feedback);
    free(p->h);
    free(p->l2);
    *p = (struct xq_prepared){0};
}

/* ---- order ---- */

/* Columns of much power first: what is left of their error is paid by the later ones. */
static bl_status order_columns(const struct xq_input *input, struct xq_prepared *p)
{
    struct xq_ranked *ranked = malloc(p->columns * sizeof *ranked);
    if (!ranked)
        BL_FAIL(BL_ENOMEM, "no memory to order %u columns", p->columns);
    for (uint32_t c = 0; c < p->columns; c++)
        ranked[c] = (struct xq_ranked){input->h ? (double)input->h[(size_t)c * p->columns + c] : 1, c};
    xq_rank(ranked, p->columns);
    for (uint32_t c = 0; c < p->padded; c++)
        p->perm[c] = c < p->columns ? (uint16_t)ranked[c].index : BL_XQ_NO_COLUMN;
    free(ranked);
    return BL_OK;
}

/* ---- scales ---- */

/* One alternation: rows by the scales of the columns, then the mean square of each column by those of the rows. */
static void add_squares(const struct xq_job *job, const struct xq_matrix *m, const float *inverse, float *rows, double *sum, double *count)
{
    for (uint32_t first = 0; first < m->rows; first += ROWS) {
        const uint32_t n = m->rows - first < ROWS ? m->rows - first : ROWS;
        xq_matrix_rows(job, m, first, n, rows);
        for (uint32_t i = 0; i < n; i++) {
            float *w = rows + (size_t)i * m->columns;
            double square = 0;
            for (uint32_t c = 0; c < m->columns; c++) {
                w[c] *= inverse[c];
                square += (double)w[c] * (double)w[c];
            }
            if (square <= 0)
                continue;
            const float r = (float)(1 / sqrt(square / m->columns));
            for (uint32_t c = 0; c < m->columns; c++) {
                const float z = fabsf(w[c] * r), clipped = z > CLIP ? CLIP : z;
                sum[c] += (double)(clipped * clipped);
            }
            *count += 1;
        }
    }
}

static bl_status scale_columns(const struct xq_job *job, const struct xq_input *input, struct xq_prepared *p)
{
    const uint32_t k = p->columns, index = (uint32_t)(input - job->inputs);
    float *rows = malloc((size_t)ROWS * k * sizeof *rows), *g = malloc(k * sizeof *g), *inverse = malloc(k * sizeof *inverse);
    double *sum = malloc(k * sizeof *sum);
    bl_status status = BL_OK;
    if (!rows || !g || !inverse || !sum) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for the scales of %u columns", k);
        goto out;
    }
    for (uint32_t c = 0; c < k; c++)
        g[c] = inverse[c] = 1;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double count = 0;
        memset(sum, 0, k * sizeof *sum);
        for (uint32_t i = 0; i < job->n_matrices; i++)
            if (job->matrices[i].input == index)
                add_squares(job, &job->matrices[i], inverse, rows, sum, &count);
        for (uint32_t c = 0; c < k; c++) {
            if (count > 0 && sum[c] > 0)
                g[c] *= (float)sqrt(sum[c] / count);
            inverse[c] = 1 / g[c];
        }
    }
    float largest = 0;
    for (uint32_t c = 0; c < k; c++)
        largest = g[c] > largest ? g[c] : largest;
    p->exponent = (int16_t)(ceil(log2((double)largest)) - 15);
    for (uint32_t c = 0; c < p->padded; c++) {
        p->scale[c] = c < k ? bl_xq_scale_nearest(g[p->perm[c]], p->exponent) : 0;
        p->g[c] = bl_xq_scale_value(p->scale[c], p->exponent);
    }
out:
    free(rows);
    free(g);
    free(inverse);
    free(sum);
    return status;
}

/* ---- factor ---- */

static double damped(const struct xq_input *input, const struct xq_prepared *p, uint32_t a, uint32_t b, double extra)
{
    const double h = input->h ? (double)input->h[(size_t)p->perm[a] * p->columns + p->perm[b]] : a == b;
    return (h + (a == b ? extra : 0)) * (double)p->g[a] * (double)p->g[b];
}

/* By the Cholesky factor of H turned around. */
bool xq_factor(const struct xq_blas *blas, uint32_t n, double *reversed, float *feedback, uint32_t stride, float *l2)
{
    const int size = (int)n;
    int info = 1;
    blas->dpotrf("U", &size, reversed, &size, &info, 1);
    if (!info)
        blas->dtrtri("U", "N", &size, reversed, &size, &info, 1, 1);
    for (uint32_t j = 0; j < n && !info; j++) {
        const double diagonal = reversed[(size_t)(n - 1 - j) * n + (n - 1 - j)];
        l2[j] = (float)(1 / (diagonal * diagonal));
        for (uint32_t c = j + 1; c < n; c++)
            feedback[(size_t)j * stride + c] = (float)(reversed[(size_t)(n - 1 - j) * n + (n - 1 - c)] / diagonal);
    }
    return !info;
}

static bl_status factor(const struct xq_input *input, double damp, const struct xq_blas *blas, struct xq_prepared *p)
{
    const uint32_t k = p->columns;
    double mean = 0;
    for (uint32_t c = 0; c < k; c++)
        mean += input->h ? (double)input->h[(size_t)c * k + c] / k : 1.0 / k;
    if (!(mean > 0))
        mean = 1;
    double *a = malloc((size_t)k * k * sizeof *a);
    if (!a)
        BL_FAIL(BL_ENOMEM, "no memory to factor %u columns", k);
    bool done = false;
    for (; !done && damp < 1e6; damp *= 4) {
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t j = 0; j < k; j++)
                a[(size_t)(k - 1 - i) * k + (k - 1 - j)] = damped(input, p, i, j, damp * mean);
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t j = 0; j < k; j++)
                p->h[(size_t)i * p->padded + j] = (float)a[(size_t)(k - 1 - i) * k + (k - 1 - j)];
        done = xq_factor(blas, k, a, p->feedback, p->padded, p->l2);
    }
    free(a);
    if (!done)
        BL_FAIL(BL_EINTERNAL, "a covariance of %u columns has no factor: it holds numbers that are not finite", k);
    return BL_OK;
}

bl_status xq_prepare(const struct xq_job *job, const struct xq_input *input, double damp, const struct xq_blas *blas, struct xq_prepared *out)
{
    struct xq_prepared *p = out;
    *p = (struct xq_prepared){.columns = input->columns, .blocks = (input->columns + 31) / 32};
    p->padded = 32 * p->blocks;
    p->perm = malloc(p->padded * sizeof *p->perm);
    p->scale = malloc(p->padded);
    p->g = malloc(p->padded * sizeof *p->g);
    p->l2 = calloc(p->padded, sizeof *p->l2);
    p->feedback = calloc((size_t)p->padded * p->padded, sizeof *p->feedback);
    p->h = calloc((size_t)p->padded * p->padded, sizeof *p->h);
    bl_status status = BL_OK;
    if (!p->perm || !p->scale || !p->g || !p->l2 || !p->feedback || !p->h)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory to prepare %u columns", p->columns);
    if (status == BL_OK)
        status = order_columns(input, p);
    if (status == BL_OK)
        status = scale_columns(job, input, p);
    if (status == BL_OK)
        status = factor(input, damp, blas, p);
    if (status != BL_OK)
        xq_prepared_free(p);
    return status;
}
