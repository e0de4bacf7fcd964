/* round.c: rounding with error feedback (the update of GPTQ / LDLQ, in the order of the stored columns), in units of each row's scale. Rows
 * know of each other by the unit of a segment, which all rows of a strip share; and those of a group by a second feedback, from each row that is
 * done to the later ones of its group. */
#include "compress/round.h"

#include "base/error.h"
#include "base/half.h"
#include "compress/parallel.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 32 /* rows of one turn: whole tiles */, MOST_SHARED = 4 };

/* One strip being rounded. Everything is [rows of the strip][padded] unless said. */
struct strip {
    const struct xq_job *job;
    const struct xq_matrix *matrix;
    const struct xq_prepared *p;
    const struct xq_measured *m;
    const struct xq_round_options *options;
    uint32_t first_row, rows;
    float *z, *original;        /* what is left to round, with the error of the columns before; the weights */
    uint8_t *codes, *groups;    /* groups: [rows][blocks] */
    float *value;               /* what the codes and corrections say */
    uint16_t *corrections;      /* of the strip's outliers, f16 */
    uint32_t first_outlier, n_outliers;
    struct bl_xq_segment segments[BL_XQ_MAX_SEGMENTS];
    uint32_t n_segments;
    /* of the segment at hand */
    uint32_t segment, first_block;
    double *partial;            /* [chunks][candidates] */
    bl_status status;
    double *loss;               /* [rows] */
};

static const float candidates[] = {0.7f, 0.8f, 0.87f, 0.93f, 1.0f, 1.07f, 1.15f, 1.25f};
enum { CANDIDATES = sizeof candidates / sizeof candidates[0] };

static float row_scale(const struct strip *s, uint32_t i)
{
    return bl_xq_scale_value(s->m->scale[s->first_row + i], s->m->exponent);
}

/* The strip's outliers in row i, as a range of the matrix's list. */
static uint32_t outliers_of(const struct strip *s, uint32_t i, uint32_t *n)
{
    const struct xq_place *all = s->m->outliers;
    uint32_t low = s->first_outlier, high = s->first_outlier + s->n_outliers;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (all[middle].row < s->first_row + i)
            low = middle + 1;
        else
            high = middle;
    }
    *n = 0;
    while (low + *n < s->first_outlier + s->n_outliers && all[low + *n].row == s->first_row + i)
        ++*n;
    return low;
}

static uint32_t chunk_end(const struct strip *s, uint32_t chunk)
{
    return (chunk + 1) * CHUNK < s->rows ? (chunk + 1) * CHUNK : s->rows;
}

static uint32_t chunks_of(const struct strip *s)
{
    return (s->rows + CHUNK - 1) / CHUNK;
}

/* ---- loading ---- */

static void load_chunk(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    struct strip *s = user;
    float *row = malloc(s->matrix->columns * sizeof *row);
    if (!row) {
        s->status = BL_ENOMEM; /* every writer writes the same */
        return;
    }
    for (uint32_t i = chunk * CHUNK; i < chunk_end(s, chunk); i++) {
        float *z = s->z + (size_t)i * s->p->padded;
        const float r = row_scale(s, i);
        xq_stored_row(s->job, s->matrix, s->p, s->first_row + i, row, z);
        for (uint32_t c = 0; c < s->p->padded; c++)
            z[c] = r > 0 ? z[c] / r : 0;
        memcpy(s->original + (size_t)i * s->p->padded, z, s->p->padded * sizeof *z);
    }
    free(row);
}

/* ---- the unit of a segment ---- */

static void add_power(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    struct strip *s = user;
    const uint32_t first = 32 * s->first_block, end = first + 32u * s->segments[s->segment].n_blocks;
    double power = 0, weight = 0;
    for (uint32_t i = chunk * CHUNK; i < chunk_end(s, chunk); i++) {
        const float *z = s->z + (size_t)i * s->p->padded;
        for (uint32_t c = first; c < end; c++) {
            const float a = fabsf(z[c]);
            if (a > 4 || !(s->p->l2[c] > 0)) /* outliers, fill */
                continue;
            power += (double)(a * a) * (double)s->p->l2[c];
            weight += (double)s->p->l2[c];
        }
    }
    s->partial[chunk * CANDIDATES] = power;
    s->partial[chunk * CANDIDATES + 1] = weight;
}

static void try_units(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    struct strip *s = user;
    const struct bl_xq_segment *segment = &s->segments[s->segment];
    const struct xq_coder *coder = &xq_coders()[segment->depth];
    double *error = s->partial + chunk * CANDIDATES;
    memset(error, 0, CANDIDATES * sizeof *error);
    for (uint32_t i = chunk * CHUNK; i < chunk_end(s, chunk); i += s->rows < 512 ? 4 : 16) { /* some rows say enough */
        const uint32_t end = s->first_block + segment->n_blocks;
        for (uint32_t b = s->first_block; b < end; b += s->options->shared) {
            float z[32 * MOST_SHARED];
            const uint32_t n = 32 * (end - b < s->options->shared ? end - b : s->options->shared);
            const float *l2 = s->p->l2 + 32 * b;
            for (uint32_t c = 0; c < n; c++) {
                const float a = s->z[(size_t)i * s->p->padded + 32 * b + c];
                z[c] = fabsf(a) > 4 ? 0 : a;
            }
            for (uint32_t k = 0; k < CANDIDATES; k++) {
                float unit = segment->unit * candidates[k];
                if (segment->flags & BL_XQ_GROUPED)
                    unit *= (float)(BL_XQ_GROUP_BASE + xq_best_group(coder, z, l2, n, unit));
                for (uint32_t c = 0; c < n; c++) {
                    const float d = z[c] - unit * (float)coder->level[xq_code_of(coder, z[c] / unit)];
                    error[k] += (double)(d * d * l2[c]);
                }
            }
        }
    }
}

static double sum_of(const struct strip *s, uint32_t k)
{
    double sum = 0;
    for (uint32_t chunk = 0; chunk < chunks_of(s); chunk++)
        sum += s->partial[chunk * CANDIDATES + k];
    return sum;
}

static void choose_unit(struct strip *s)
{
    struct bl_xq_segment *segment = &s->segments[s->segment];
    const struct xq_coder *coder = &xq_coders()[segment->depth];
    xq_parallel(s->options->threads, chunks_of(s), add_power, s);
    const double power = sum_of(s, 0), weight = sum_of(s, 1);
    const double deviation = power > 0 && weight > 0 ? sqrt(power / weight) : 1;
    segment->unit = (float)(deviation * (double)coder->spread / coder->most / (segment->flags & BL_XQ_GROUPED ? 16 : 1));
    xq_parallel(s->options->threads, chunks_of(s), try_units, s);
    uint32_t best = 4; /* 1.0 */
    for (uint32_t k = 0; k < CANDIDATES; k++)
        if (sum_of(s, k) < sum_of(s, best))
            best = k;
    segment->unit *= candidates[best];
}

/* ---- rounding ---- */

/* For the blocks before `end` that share it with block b of row i, as they are by now; outliers from the given one on do not count. */
static uint32_t choose_group(const struct strip *s, const struct bl_xq_segment *segment, uint32_t end, uint32_t i, uint32_t b, uint32_t outlier, uint32_t n_outliers)
{
    const uint32_t left = end - b, n = 32 * (left < s->options->shared ? left : s->options->shared);
    float clean[32 * MOST_SHARED];
    memcpy(clean, s->z + (size_t)i * s->p->padded + 32 * b, n * sizeof *clean);
    for (uint32_t k = 0; k < n_outliers && s->m->outliers[outlier + k].column < 32 * b + n; k++)
        clean[s->m->outliers[outlier + k].column - 32 * b] = 0;
    return xq_best_group(&xq_coders()[segment->depth], clean, s->p->l2 + 32 * b, n, segment->unit);
}

/* The 32 columns of block b of row i, in a segment that ends before block `end`; error[c] is what each lost. */
static void round_block(struct strip *s, const struct bl_xq_segment *segment, uint32_t end, uint32_t i, uint32_t b, float *error)
{
    const struct xq_coder *coder = &xq_coders()[segment->depth];
    const uint32_t padded = s->p->padded;
    float *z = s->z + (size_t)i * padded + 32 * b;
    float unit = segment->unit;
    uint32_t n_outliers, outlier = outliers_of(s, i, &n_outliers);
    for (; n_outliers && s->m->outliers[outlier].column < 32 * b; outlier++)
        n_outliers--;
    if (segment->flags & BL_XQ_GROUPED) {
        const uint32_t group = (b - (end - segment->n_blocks)) % s->options->shared ? s->groups[(size_t)i * s->p->blocks + b - 1] : choose_group(s, segment, end, i, b, outlier, n_outliers);
        s->groups[(size_t)i * s->p->blocks + b] = (uint8_t)group;
        unit *= (float)(BL_XQ_GROUP_BASE + group);
    }
    const float inverse = 1 / unit, r = row_scale(s, i);
    for (uint32_t c = 0; c < 32; c++) {
        const uint8_t code = xq_code_of(coder, z[c] * inverse);
        float value = unit * (float)coder->level[code];
        if (n_outliers && s->m->outliers[outlier].column == 32 * b + c) {
            const uint16_t correction = bl_f32_to_f16((z[c] - value) * r);
            s->corrections[outlier - s->first_outlier] = correction;
            value += bl_f16_to_f32(correction) / r;
            outlier++;
            n_outliers--;
        }
        s->codes[(size_t)i * padded + 32 * b + c] = code;
        s->value[(size_t)i * padded + 32 * b + c] = value;
        error[c] = z[c] - value;
        const float *feedback = s->p->feedback + (size_t)(32 * b + c) * padded + 32 * b;
        for (uint32_t k = c + 1; s->options->feedback && k < 32; k++)
            z[k] -= error[c] * feedback[k];
    }
}

/* Rows are taken in fours, so that a row of the feedback serves four of them. */
XQ_WIDE static void carry(const struct strip *s, uint32_t i, uint32_t n, uint32_t b, float error[4][32])
{
    const uint32_t padded = s->p->padded, from = 32 * (b + 1);
    for (uint32_t c = 0; c < 32; c++) {
        const float *restrict feedback = s->p->feedback + (size_t)(32 * b + c) * padded;
        for (uint32_t r = 0; r < n; r++) {
            float *restrict z = s->z + (size_t)(i + r) * padded;
            const float e = error[r][c];
            for (uint32_t k = from; k < padded; k++)
                z[k] -= e * feedback[k];
        }
    }
}

static void round_chunk(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    struct strip *s = user;
    const uint32_t end_block = s->first_block + s->segments[s->segment].n_blocks, end = chunk_end(s, chunk);
    for (uint32_t i = chunk * CHUNK; i < end; i += 4) {
        const uint32_t n = end - i < 4 ? end - i : 4;
        for (uint32_t b = s->first_block; b < end_block; b++) {
            float error[4][32];
            for (uint32_t r = 0; r < n; r++)
                round_block(s, &s->segments[s->segment], end_block, i + r, b, error[r]);
            if (s->options->feedback)
                carry(s, i, n, b, error);
        }
    }
}

/* ---- coordinate descent, and the loss ---- */

/* he = H (original - value) of one row. */
XQ_WIDE static void row_gradient(const struct strip *s, uint32_t i, float *restrict he)
{
    const uint32_t padded = s->p->padded;
    memset(he, 0, padded * sizeof *he);
    for (uint32_t j = 0; j < s->p->columns; j++) {
        const float *restrict h = s->p->h + (size_t)j * padded;
        const float e = s->original[(size_t)i * padded + j] - s->value[(size_t)i * padded + j];
        for (uint32_t k = 0; k < padded; k++)
            he[k] += e * h[k];
    }
}

XQ_WIDE static void sweep_row(struct strip *s, uint32_t i, float *restrict he)
{
    const uint32_t padded = s->p->padded;
    uint32_t n_outliers, outlier = outliers_of(s, i, &n_outliers), b = 0;
    for (uint32_t g = 0; g < s->n_segments; g++) {
        const struct bl_xq_segment *segment = &s->segments[g];
        const struct xq_coder *coder = &xq_coders()[segment->depth];
        for (const uint32_t end = b + segment->n_blocks; b < end; b++) {
            float unit = segment->unit;
            if (segment->flags & BL_XQ_GROUPED)
                unit *= (float)(BL_XQ_GROUP_BASE + s->groups[(size_t)i * s->p->blocks + b]);
            const float inverse = 1 / unit;
            for (uint32_t c = 32 * b; c < 32 * b + 32 && c < s->p->columns; c++) {
                if (n_outliers && s->m->outliers[outlier].column == c) { /* exact already */
                    outlier++;
                    n_outliers--;
                    continue;
                }
                float *value = &s->value[(size_t)i * padded + c];
                const float *restrict h = s->p->h + (size_t)c * padded;
                const uint8_t code = xq_code_of(coder, (*value + he[c] / h[c]) * inverse);
                if (code == s->codes[(size_t)i * padded + c])
                    continue;
                const float next = unit * (float)coder->level[code], change = next - *value;
                s->codes[(size_t)i * padded + c] = code;
                *value = next;
                for (uint32_t k = 0; k < padded; k++)
                    he[k] -= change * h[k];
            }
        }
    }
}

/* Sweeps, then returns what the row loses. */
static double settle_row(struct strip *s, uint32_t i, float *he)
{
    const double r = (double)row_scale(s, i), worth = (double)s->m->worth[s->first_row + i];
    row_gradient(s, i, he);
    for (uint32_t sweep = 0; sweep < s->options->sweeps; sweep++)
        sweep_row(s, i, he);
    double loss = 0;
    for (uint32_t c = 0; c < s->p->columns; c++)
        loss += (double)he[c] * (double)(s->original[(size_t)i * s->p->padded + c] - s->value[(size_t)i * s->p->padded + c]);
    return loss * worth * r * r / 2;
}

static void sweep_chunk(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    struct strip *s = user;
    float *he = malloc(s->p->padded * sizeof *he);
    if (!he) {
        s->status = BL_ENOMEM;
        return;
    }
    for (uint32_t i = chunk * CHUNK; i < chunk_end(s, chunk); i++)
        s->loss[i] = settle_row(s, i, he);
    free(he);
}

/* ---- groups of rows ---- */

/* All strips of a matrix. */
struct groups {
    struct strip *strips;
    uint32_t group;
};

static struct strip *strip_of(const struct groups *g, uint32_t row)
{
    struct strip *s = g->strips;
    while (row >= s->first_row + s->rows)
        s++;
    return s;
}

/* What is left of the error of the row at a place goes to the later places, each in its own unit. */
XQ_WIDE static void hand_on(struct strip *s, uint32_t first, uint32_t place, uint32_t group)
{
    const uint32_t padded = s->p->padded, *order = s->m->order + first;
    const uint32_t i = order[place] - s->first_row;
    const float *restrict target = s->original + (size_t)i * padded, *restrict value = s->value + (size_t)i * padded;
    for (uint32_t later = place + 1; later < group; later++) {
        const uint32_t k = order[later] - s->first_row;
        const float to = row_scale(s, k), by = to > 0 ? s->m->feedback[(size_t)(first + place) * group + later] * row_scale(s, i) / to : 0;
        float *restrict next = s->original + (size_t)k * padded;
        for (uint32_t c = 0; c < padded; c++)
            next[c] -= by * (target[c] - value[c]);
    }
}

/* Again, with the units that the first rounding chose. */
static void group_turn(void *user, uint32_t turn, uint32_t worker)
{
    (void)worker;
    const struct groups *g = user;
    const uint32_t first = turn * g->group;
    struct strip *s = strip_of(g, first);
    const uint32_t padded = s->p->padded;
    float *he = malloc(padded * sizeof *he);
    if (!he) {
        s->status = BL_ENOMEM;
        return;
    }
    for (uint32_t place = 0; place < g->group; place++) {
        const uint32_t i = s->m->order[first + place] - s->first_row;
        memcpy(s->z + (size_t)i * padded, s->original + (size_t)i * padded, padded * sizeof *s->z);
        uint32_t b = 0;
        for (uint32_t segment = 0; segment < s->n_segments; segment++) {
            for (const uint32_t end = b + s->segments[segment].n_blocks; b < end; b++) {
                float error[4][32];
                round_block(s, &s->segments[segment], end, i, b, error[0]);
                if (s->options->feedback)
                    carry(s, i, 1, b, error);
            }
        }
        s->loss[i] = settle_row(s, i, he);
        if (s->options->feedback)
            hand_on(s, first, place, g->group);
    }
    free(he);
}

/* ---- the blob ---- */

static struct bl_xq_shape shape_of(const struct xq_matrix *matrix, const struct xq_measured *m, const struct xq_strip *strips, uint32_t input, struct bl_xq_rows *rows)
{
    for (uint32_t i = 0; i < m->n_row_blocks; i++)
        rows[i] = (struct bl_xq_rows){m->first_row[i], strips[i].n_segments, strips[i].segments};
    return (struct bl_xq_shape){matrix->rows, matrix->columns, input, m->exponent, xq_half(2), xq_half(3), xq_half(4), xq_half(5), m->n_row_blocks, rows, m->n_outliers};
}

uint64_t xq_blob_bytes(const struct xq_matrix *matrix, const struct xq_measured *m, const struct xq_strip *strips)
{
    struct bl_xq_rows rows[XQ_ROW_BLOCKS];
    const struct bl_xq_shape shape = shape_of(matrix, m, strips, 0, rows);
    return bl_xq_matrix_bytes(&shape);
}

struct packing {
    const struct strip *strip;
    void *blob;
};

static void pack_chunk(void *user, uint32_t chunk, uint32_t worker)
{
    (void)worker;
    const struct packing *k = user;
    const struct strip *s = k->strip;
    for (uint32_t i = chunk * CHUNK; i < chunk_end(s, chunk); i++) {
        bl_xq_set_row_scale(k->blob, s->first_row + i, s->m->scale[s->first_row + i]);
        for (uint32_t b = 0; b < s->p->blocks; b++)
            bl_xq_set_codes(k->blob, s->first_row + i, b, s->codes + (size_t)i * s->p->padded + 32 * b, s->groups[(size_t)i * s->p->blocks + b]);
    }
}

static void begin(struct strip *s)
{
    const size_t n = (size_t)s->rows * s->p->padded;
    s->z = malloc(n * sizeof *s->z);
    s->original = malloc(n * sizeof *s->original);
    s->value = malloc(n * sizeof *s->value);
    s->codes = malloc(n);
    s->groups = calloc((size_t)s->rows * s->p->blocks, 1);
    s->corrections = calloc(s->n_outliers + 1, sizeof *s->corrections);
    s->partial = calloc((size_t)chunks_of(s) * CANDIDATES, sizeof *s->partial);
    s->loss = calloc(s->rows, sizeof *s->loss);
    s->status = s->z && s->original && s->value && s->codes && s->groups && s->corrections && s->partial && s->loss ? BL_OK : BL_ENOMEM;
    if (s->status == BL_OK)
        xq_parallel(s->options->threads, chunks_of(s), load_chunk, s);
}

static void round_segments(struct strip *s)
{
    s->first_block = 0;
    for (s->segment = 0; s->status == BL_OK && s->segment < s->n_segments; s->segment++) {
        choose_unit(s);
        xq_parallel(s->options->threads, chunks_of(s), round_chunk, s);
        s->first_block += s->segments[s->segment].n_blocks;
    }
}

static double pack(const struct strip *s, void *blob, struct bl_xq_segment *units, struct bl_xq_outlier *outliers)
{
    double loss = 0;
    xq_parallel(s->options->threads, chunks_of(s), pack_chunk, &(struct packing){s, blob});
    for (uint32_t g = 0; g < s->n_segments; g++)
        units[g].unit = s->segments[g].unit;
    for (uint32_t k = 0; k < s->n_outliers; k++) {
        const struct xq_place *place = &s->m->outliers[s->first_outlier + k];
        outliers[s->first_outlier + k] = (struct bl_xq_outlier){place->row, place->column, s->corrections[k]};
    }
    for (uint32_t i = 0; i < s->rows; i++)
        loss += s->loss[i];
    return loss;
}

static void end(struct strip *s)
{
    free(s->z);
    free(s->original);
    free(s->value);
    free(s->codes);
    free(s->groups);
    free(s->corrections);
    free(s->partial);
    free(s->loss);
}

/* Strips that are in memory at a time: one, or with groups of rows all of them: there are too few groups in a strip to keep threads busy. */
static bl_status round_strips(struct strip *strips, uint32_t n, void *blob, struct bl_xq_segment *units, struct bl_xq_outlier *outliers, double *loss)
{
    const struct xq_measured *m = strips->m;
    bl_status status = BL_OK;
    for (uint32_t i = 0; i < n; i++) {
        begin(&strips[i]);
        round_segments(&strips[i]);
        if (strips[i].status == BL_OK && m->group == 1)
            xq_parallel(strips[i].options->threads, chunks_of(&strips[i]), sweep_chunk, &strips[i]);
        status = strips[i].status != BL_OK ? strips[i].status : status;
    }
    if (status == BL_OK && m->group > 1)
        xq_parallel(strips->options->threads, m->rows / m->group, group_turn, &(struct groups){strips, m->group});
    for (uint32_t i = 0; i < n; i++) {
        status = strips[i].status != BL_OK ? strips[i].status : status;
        if (status == BL_OK)
            *loss += pack(&strips[i], blob, units, outliers);
        units += strips[i].n_segments;
        end(&strips[i]);
    }
    if (status != BL_OK)
        BL_FAIL(BL_ENOMEM, "no memory to round '%s'", strips->matrix->name);
    return BL_OK;
}

bl_status xq_round(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, const struct xq_measured *m,
                   const struct xq_strip *strips, const struct xq_round_options *options, uint32_t input_number, void *blob, double *loss)
{
    struct bl_xq_rows rows[XQ_ROW_BLOCKS];
    struct strip all[XQ_ROW_BLOCKS];
    const struct bl_xq_shape shape = shape_of(matrix, m, strips, input_number, rows);
    bl_xq_matrix_begin(&shape, blob);
    struct bl_xq_outlier *outliers = calloc(m->n_outliers + 1, sizeof *outliers);
    if (!outliers)
        BL_FAIL(BL_ENOMEM, "no memory for the outliers of '%s'", matrix->name);
    struct bl_xq_segment *units = (struct bl_xq_segment *)(uintptr_t)bl_xq_segments(blob);
    for (uint32_t i = 0, outlier = 0; i < m->n_row_blocks; i++) {
        all[i] = (struct strip){.job = job, .matrix = matrix, .p = p, .m = m, .options = options, .first_row = m->first_row[i],
                                .rows = m->first_row[i + 1] - m->first_row[i], .first_outlier = outlier, .n_segments = strips[i].n_segments};
        memcpy(all[i].segments, strips[i].segments, sizeof all[i].segments);
        while (outlier < m->n_outliers && m->outliers[outlier].row < m->first_row[i + 1])
            outlier++;
        all[i].n_outliers = outlier - all[i].first_outlier;
    }
    *loss = 0;
    bl_status status = BL_OK;
    for (uint32_t i = 0, n = m->group > 1 ? m->n_row_blocks : 1; i < m->n_row_blocks && status == BL_OK; i += n) {
        status = round_strips(all + i, n, blob, units, outliers, loss);
        units += all[i].n_segments;
    }
    bl_xq_set_outliers(blob, outliers);
    bl_xq_matrix_end(blob, bl_xq_matrix_bytes(&shape));
    free(outliers);
    return status;
}
