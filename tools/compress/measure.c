/* measure.c: looks at every weight of a matrix once. */
#include "compress/measure.h"

#include "base/error.h"
#include "compress/rank.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CLIP 3.0f
#define LEAST_GAIN 1e-9 /* nats per token: 5 bytes are dearer than that at any size worth having */
#define SAMPLE 96u /* rows on which depths are tried */

void xq_measured_free(struct xq_measured *m)
{
    free(m->scale);
    free(m->worth);
    free(m->order);
    free(m->feedback);
    free(m->candidates);
    free(m->outliers);
    free(m->energy);
    *m = (struct xq_measured){0};
}

void xq_stored_row(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, uint32_t index, float *row, float *out)
{
    xq_matrix_rows(job, matrix, index, 1, row);
    for (uint32_t c = 0; c < p->padded; c++)
        out[c] = p->perm[c] == BL_XQ_NO_COLUMN || !(p->g[c] > 0) ? 0 : row[p->perm[c]] / p->g[c];
}

/* The deviation of a row, without what lies beyond 3 of it. */
static float deviation(const float *v, uint32_t n)
{
    float r = INFINITY;
    for (uint32_t round = 0; round < 3; round++) {
        double sum = 0;
        uint32_t count = 0;
        for (uint32_t c = 0; c < n; c++) {
            const float a = fabsf(v[c]);
            if (a > CLIP * r)
                continue;
            sum += (double)a * (double)a;
            count++;
        }
        const float next = count ? (float)sqrt(sum / count) : 0;
        if (!(next > 0)) /* more than half zeros: what is left decides */
            return round ? r : 0;
        r = next;
    }
    return r;
}

/* ---- rows of a group ---- */

#define GROUP_DAMP 0.1 /* of the mean of its diagonal */

/* Rows of much worth first: the later ones make up for their errors. */
static bool factor_group(const struct xq_matrix *matrix, uint32_t first, const struct xq_blas *blas, struct xq_ranked *ranked, double *a, struct xq_measured *out)
{
    const uint32_t n = matrix->group;
    double mean = 0;
    for (uint32_t i = 0; i < n; i++) {
        ranked[i] = (struct xq_ranked){(double)matrix->row_worth[first + i], i};
        mean += (double)matrix->row_worth[first + i] / n;
    }
    xq_rank(ranked, n);
    for (uint32_t i = 0; i < n; i++)
        out->order[first + i] = first + ranked[i].index;
    bool done = false;
    float *l2 = out->worth + first; /* by place, then by row */
    for (double damp = GROUP_DAMP; !done && damp < 1e6; damp *= 4) {
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                a[(size_t)(n - 1 - i) * n + (n - 1 - j)] = (double)matrix->coupling[(size_t)(first + ranked[i].index) * n + ranked[j].index] + (i == j ? damp * (mean > 0 ? mean : 1) : 0);
        done = xq_factor(blas, n, a, out->feedback + (size_t)first * n, n, l2);
    }
    for (uint32_t i = 0; i < n; i++)
        a[ranked[i].index] = mean > 0 ? (double)l2[i] : 0;
    for (uint32_t i = 0; i < n; i++)
        l2[i] = (float)a[i];
    return done;
}

bl_status xq_measure_worth(const struct xq_matrix *matrix, const struct xq_blas *blas, struct xq_measured *out)
{
    const uint32_t n = matrix->group;
    out->group = matrix->coupling ? n : 1;
    out->worth = malloc(matrix->rows * sizeof *out->worth);
    if (!out->worth)
        goto no_memory;
    for (uint32_t i = 0; i < matrix->rows; i++)
        out->worth[i] = matrix->row_worth ? matrix->row_worth[i] : 1;
    if (out->group == 1)
        return BL_OK;
    out->order = malloc(matrix->rows * sizeof *out->order);
    out->feedback = calloc((size_t)matrix->rows * n, sizeof *out->feedback);
    struct xq_ranked *ranked = malloc(n * sizeof *ranked);
    double *a = malloc((size_t)n * n * sizeof *a);
    bool done = out->order && out->feedback && ranked && a;
    const bool had_memory = done;
    for (uint32_t first = 0; first < matrix->rows && done; first += n)
        done = factor_group(matrix, first, blas, ranked, a, out);
    free(ranked);
    free(a);
    if (!done && had_memory)
        BL_FAIL(BL_EINTERNAL, "the coupling of the rows of '%s' has no factor: it holds numbers that are not finite", matrix->name);
    if (done)
        return BL_OK;
no_memory:
    BL_FAIL(BL_ENOMEM, "no memory for the worth of '%s'", matrix->name);
}

/* ---- errors ---- */

uint32_t xq_best_group(const struct xq_coder *coder, const float *z, const float *l2, uint32_t n, float unit)
{
    uint32_t best = 0;
    float least = INFINITY;
    for (uint32_t s = 0; s < 16; s++) {
        const float step = unit * (float)(BL_XQ_GROUP_BASE + s), inverse = 1 / step;
        float error = 0;
        for (uint32_t c = 0; c < n; c++) {
            const float d = z[c] - step * (float)coder->level[xq_code_of(coder, z[c] * inverse)];
            error += d * d * l2[c];
        }
        if (error < least) {
            least = error;
            best = s;
        }
    }
    return best;
}

/* Rounds a block at a depth, alone, and returns the weighted error. */
static double block_error(const struct xq_coder *coder, bool grouped, const float *z, const float *l2)
{
    float unit = coder->spread / (float)coder->most;
    if (grouped) {
        unit /= 16;
        unit *= (float)(BL_XQ_GROUP_BASE + xq_best_group(coder, z, l2, 32, unit));
    }
    double error = 0;
    for (uint32_t c = 0; c < 32; c++) {
        const double d = (double)(z[c] - unit * (float)coder->level[xq_code_of(coder, z[c] / unit)]);
        error += d * d * (double)l2[c];
    }
    return error;
}

struct pass {
    const struct xq_job *job;
    const struct xq_matrix *matrix;
    const struct xq_prepared *p;
    struct xq_measured *out;
    float *row, *z;
    uint32_t cap_outliers;
    double error[2][9], power;
};

static bl_status note_candidate(struct pass *s, uint32_t row, uint32_t column, double gain)
{
    if (s->out->n_candidates == s->cap_outliers) {
        s->cap_outliers = s->cap_outliers ? 2 * s->cap_outliers : 256;
        struct xq_place *grown = realloc(s->out->candidates, s->cap_outliers * sizeof *grown);
        if (!grown)
            BL_FAIL(BL_ENOMEM, "no memory for %u outliers", s->cap_outliers);
        s->out->candidates = grown;
    }
    s->out->candidates[s->out->n_candidates++] = (struct xq_place){row, (uint16_t)column, (float)gain};
    return BL_OK;
}

/* z: in deviations of the row. Outliers are noted and then count as zeros. */
static bl_status measure_row(struct pass *s, uint32_t index, uint32_t row_block, float r)
{
    const struct xq_prepared *p = s->p;
    const double worth = (double)s->out->worth[index] * (double)r * (double)r / 2;
    float *energy = s->out->energy + (size_t)row_block * p->blocks;
    for (uint32_t c = 0; c < p->columns; c++) {
        const float beyond = fabsf(s->z[c]) - CLIP;
        const double gain = beyond > 0 ? worth * (double)p->l2[c] * (double)(beyond * beyond) : 0;
        if (gain > LEAST_GAIN) {
            BL_TRY(note_candidate(s, index, c, gain));
            s->z[c] = 0;
        }
    }
    const bool is_sample = index % ((s->matrix->rows + SAMPLE - 1) / SAMPLE) == 0;
    for (uint32_t b = 0; b < p->blocks; b++) {
        const float *z = s->z + 32 * b, *l2 = p->l2 + 32 * b;
        double power = 0;
        for (uint32_t c = 0; c < 32; c++)
            power += (double)z[c] * (double)z[c] * (double)l2[c];
        energy[b] += (float)(worth * power);
        if (!is_sample)
            continue;
        s->power += worth * power;
        for (uint32_t grouped = 0; grouped < 2; grouped++)
            for (uint32_t depth = 1; depth <= 8; depth++)
                s->error[grouped][depth] += worth * block_error(&xq_coders()[depth], grouped, z, l2);
    }
    return BL_OK;
}

struct xq_measured xq_measured_shape(const struct xq_matrix *matrix)
{
    struct xq_measured shape = {.rows = matrix->rows, .blocks = (matrix->columns + 31) / 32}, *m = &shape;
    uint32_t unit = BL_XQ_UNIT; /* rows that stay together */
    m->n_row_blocks = matrix->is_table && matrix->rows >= unit * XQ_ROW_BLOCKS ? XQ_ROW_BLOCKS : 1;
    if (matrix->is_sorted && matrix->rows >= unit * XQ_SORTED_BLOCKS)
        m->n_row_blocks = XQ_SORTED_BLOCKS;
    if (matrix->group > 1 && matrix->group % BL_XQ_UNIT == 0) {
        unit = matrix->group;
        m->n_row_blocks = matrix->rows / unit < XQ_ROW_BLOCKS ? matrix->rows / unit : XQ_ROW_BLOCKS;
    }
    for (uint32_t i = 0; i <= m->n_row_blocks; i++)
        m->first_row[i] = i == m->n_row_blocks ? matrix->rows : (uint32_t)((uint64_t)matrix->rows * i / m->n_row_blocks / unit * unit);
    return shape;
}

bl_status xq_measure(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, const struct xq_blas *blas, struct xq_measured *out)
{
    *out = xq_measured_shape(matrix);
    struct pass s = {job, matrix, p, out, malloc(matrix->columns * sizeof(float)), malloc(p->padded * sizeof(float)), 0, {{0}}, 0};
    float *r = malloc(matrix->rows * sizeof *r), largest = 0;
    out->scale = malloc(matrix->rows);
    out->energy = calloc((size_t)out->n_row_blocks * p->blocks, sizeof *out->energy);
    bl_status status = BL_OK;
    if (!s.row || !s.z || !r || !out->scale || !out->energy) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory to measure '%s'", matrix->name);
        goto out;
    }
    status = xq_measure_worth(matrix, blas, out);
    if (status != BL_OK)
        goto out;
    for (uint32_t i = 0; i < matrix->rows; i++) {
        xq_stored_row(job, matrix, p, i, s.row, s.z);
        for (uint32_t c = 0; c < p->columns; c++) {
            if (!isfinite(s.z[c])) {
                status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: '%s', row %u: a weight is not a finite number", bl_model_file_path(job->file), matrix->name, i);
                goto out;
            }
        }
        r[i] = deviation(s.z, p->columns);
        largest = r[i] > largest ? r[i] : largest;
    }
    const int exponent = largest > 0 ? (int)ceil(log2((double)largest)) - 15 : 0;
    out->exponent = (int16_t)(exponent < BL_XQ_MIN_EXPONENT ? BL_XQ_MIN_EXPONENT : exponent > BL_XQ_MAX_EXPONENT ? BL_XQ_MAX_EXPONENT : exponent);
    for (uint32_t i = 0, b = 0; i < matrix->rows && status == BL_OK; i++) {
        b += i == out->first_row[b + 1];
        out->scale[i] = bl_xq_scale_nearest(r[i], out->exponent);
        r[i] = bl_xq_scale_value(out->scale[i], out->exponent);
        if (!(r[i] > 0))
            continue;
        xq_stored_row(job, matrix, p, i, s.row, s.z);
        for (uint32_t c = 0; c < p->columns; c++)
            s.z[c] /= r[i];
        status = measure_row(&s, i, b, r[i]);
    }
    for (uint32_t grouped = 0; grouped < 2; grouped++)
        for (uint32_t depth = 1; depth <= 8; depth++)
            out->share[grouped][depth] = s.power > 0 ? (float)(s.error[grouped][depth] / s.power) : 0;
    out->outliers = malloc((out->n_candidates + 1) * sizeof *out->outliers);
    if (status == BL_OK && !out->outliers)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for the outliers of '%s'", matrix->name);
out:
    free(s.row);
    free(s.z);
    free(r);
    if (status != BL_OK)
        xq_measured_free(out);
    return status;
}

void xq_choose_outliers(struct xq_measured *m, double least)
{
    m->n_outliers = 0;
    for (uint32_t i = 0; i < m->n_candidates; i++)
        if ((double)m->candidates[i].gain > least)
            m->outliers[m->n_outliers++] = m->candidates[i];
}
