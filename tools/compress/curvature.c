/* curvature.c: a piece of rows in a turn, so that the gradient of a matrix is never there as a whole. */
#include "compress/curvature.h"

#include "base/error.h"
#include "compress/parallel.h"
#include "compress/softmax.h"

#include <stdlib.h>

enum { ROWS = 64 /* of a piece, where there are no groups */ };

struct sums {          /* of a matrix */
    double *row;       /* [rows] of |A_row|^2 */
    float *coupling;   /* [rows][group] of A_row . A_other, where there are groups */
};
struct xq_curvature {
    const struct xq_job *job;
    const struct xq_blas *blas;
    uint32_t threads;
    struct sums *matrices;
    double *rows;      /* of all, one after the other */
    float *couplings;
    size_t n_rows, n_couplings;
    float *scratch;    /* [threads][scratch_floats]: a piece of A */
    size_t scratch_floats;
};

static uint32_t piece_of(const struct xq_matrix *m)
{
    return m->group > 1 ? m->group : ROWS;
}

struct xq_curvature *xq_curvature_open(const struct xq_job *job, const struct xq_blas *blas, uint32_t threads)
{
    struct xq_curvature *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct xq_curvature){.job = job, .blas = blas, .threads = threads ? threads : 1, .matrices = calloc(job->n_matrices, sizeof *c->matrices)};
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        const struct xq_matrix *m = &job->matrices[i];
        const size_t floats = m->is_table ? 0 : (size_t)piece_of(m) * m->columns;
        c->scratch_floats = floats > c->scratch_floats ? floats : c->scratch_floats;
        c->n_rows += m->is_table ? 0 : m->rows;
        c->n_couplings += m->is_table || m->group == 1 ? 0 : (size_t)m->rows * m->group;
    }
    c->rows = calloc(c->n_rows + 1, sizeof *c->rows);
    c->couplings = calloc(c->n_couplings + 1, sizeof *c->couplings);
    c->scratch = malloc((c->threads * c->scratch_floats + 1) * sizeof *c->scratch);
    if (!c->matrices || !c->rows || !c->couplings || !c->scratch) {
        xq_curvature_close(c);
        return NULL;
    }
    double *row = c->rows;
    float *coupling = c->couplings;
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        const struct xq_matrix *m = &job->matrices[i];
        if (m->is_table)
            continue;
        c->matrices[i] = (struct sums){row, coupling};
        row += m->rows;
        coupling += m->group > 1 ? (size_t)m->rows * m->group : 0;
    }
    return c;
}

void xq_curvature_close(struct xq_curvature *c)
{
    if (!c)
        return;
    free(c->matrices);
    free(c->rows);
    free(c->couplings);
    free(c->scratch);
    free(c);
}

void xq_curvature_spans(struct xq_curvature *c, struct xq_span out[2])
{
    out[0] = (struct xq_span){c->rows, c->n_rows * sizeof *c->rows};
    out[1] = (struct xq_span){c->couplings, c->n_couplings * sizeof *c->couplings};
}

struct window {
    struct xq_curvature *c;
    const struct xq_matrix *m;
    struct sums *sums;
    const float *g, *x;
    uint32_t first, n, tokens;
};

/* All by column-major rules: x is [columns x tokens], g [n x tokens], a piece of A [columns x rows]. */
static void piece_turn(void *user, uint32_t i, uint32_t worker)
{
    const struct window *w = user;
    const struct xq_matrix *m = w->m;
    const uint32_t piece = piece_of(m), first = i * piece, rows = w->n - first < piece ? w->n - first : piece;
    const int columns = (int)m->columns, n = (int)w->n, k = (int)w->tokens, r = (int)rows, stride = (int)m->group;
    const float one = 1, zero = 0;
    float *a = w->c->scratch + worker * w->c->scratch_floats;
    w->c->blas->sgemm("N", "T", &columns, &r, &k, &one, w->x, &columns, w->g + first, &n, &zero, a, &columns, 1, 1);
    for (uint32_t row = 0; row < rows; row++)
        w->sums->row[w->first + first + row] += (double)xq_sum_squares(a + (size_t)row * m->columns, m->columns);
    if (m->group > 1)
        w->c->blas->sgemm("T", "N", &r, &r, &columns, &one, a, &columns, a, &columns, &one, w->sums->coupling + (size_t)(w->first + first) * m->group, &stride, 1, 1);
}

void xq_curvature_add(struct xq_curvature *c, uint32_t matrix, uint32_t first, uint32_t n, const float *g, const float *x, uint32_t tokens)
{
    const struct xq_matrix *m = &c->job->matrices[matrix];
    struct window w = {c, m, &c->matrices[matrix], g, x, first, n, tokens};
    xq_parallel(c->threads, (n + piece_of(m) - 1) / piece_of(m), piece_turn, &w);
}

bl_status xq_curvature_take(const struct xq_curvature *c, uint32_t matrix, double power, struct xq_matrix *out)
{
    const struct sums *s = &c->matrices[matrix];
    const double by = power > 0 ? 1 / power : 0;
    free(out->row_worth);
    free(out->coupling);
    out->row_worth = malloc(out->rows * sizeof *out->row_worth);
    out->coupling = out->group > 1 ? malloc((size_t)out->rows * out->group * sizeof *out->coupling) : NULL;
    if (!out->row_worth || (out->group > 1 && !out->coupling))
        BL_FAIL(BL_ENOMEM, "no memory for the worth of %u rows", out->rows);
    for (uint32_t r = 0; r < out->rows; r++)
        out->row_worth[r] = (float)(s->row[r] * by);
    for (size_t k = 0; out->coupling && k < (size_t)out->rows * out->group; k++)
        out->coupling[k] = s->coupling[k] * (float)by;
    return BL_OK;
}
