/* plan.c: from the shapes of a model's tensors, and what is known of their loss, to the depths, sizes and order of a file's. */
#include "compress/stages.h"

#include "base/error.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTLIER_BYTES 5      /* of one in a file */
#define OUTLIER_ROUNDS 4     /* of allocation: the price of a byte decides how many outliers there are, and they take bytes */
#define LEAST_OUTLIER 1e-9   /* nats per token */
#define BASELINE_OUTLIER 5e-8
#define MOST_EXCESS 2.5       /* factor of the second round: what is expected of single depths is not worse than that */

static bl_status no_memory(const struct xq_run *w)
{
    BL_FAIL(BL_ENOMEM, "%s: no memory for the lists of a compression", w->options->in);
}

/* From the shapes of the matrices alone. */
static bl_status make_strips(struct xq_run *w)
{
    uint32_t n = 0;
    w->measured = calloc(w->job.n_matrices, sizeof *w->measured);
    w->rows = calloc(w->job.n_matrices, sizeof *w->rows);
    w->share = calloc(w->job.n_matrices, sizeof *w->share);
    w->first_strip = calloc(w->job.n_matrices + 1, sizeof *w->first_strip);
    if (!w->measured || !w->rows || !w->share || !w->first_strip)
        return no_memory(w);
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        w->measured[i] = xq_measured_shape(&w->job.matrices[i]);
        w->first_strip[i] = n;
        n += w->measured[i].n_row_blocks;
    }
    w->first_strip[w->job.n_matrices] = n;
    w->strips = calloc(n, sizeof *w->strips);
    if (!w->strips)
        return no_memory(w);
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        struct xq_measured *m = &w->measured[i];
        for (uint32_t b = 0; b < m->n_row_blocks; b++) {
            struct xq_strip *s = &w->strips[w->first_strip[i] + b];
            *s = (struct xq_strip){.rows = m->first_row[b + 1] - m->first_row[b], .blocks = m->blocks, .depth = calloc(m->blocks, 1), .grouped = calloc(m->blocks, 1)};
            if (!s->depth || !s->grouped)
                return no_memory(w);
        }
    }
    return BL_OK;
}

static bl_status add_matrix(struct xq_run *w, uint32_t i)
{
    const char *name = w->job.matrices[i].name;
    const uint32_t to = w->n_tensors++;
    if (strlen(name) + 4 > sizeof w->names[to])
        BL_FAIL(BL_ELIMIT, "%s: tensor '%s': a name of %zu bytes, limit %zu", w->options->in, name, strlen(name), sizeof w->names[to] - 4);
    snprintf(w->names[to], sizeof w->names[to], "%s.xq", name);
    w->matrix_of_tensor[to] = i;
    w->tensors[to] = (struct xq_out_tensor){w->names[to], BL_GGML_I8, 1, {0}, 0};
    return BL_OK;
}

/* The directory of the file to be: each input with the matrices that read it, so that one preparation serves them all; then what is copied. */
static bl_status list_tensors(struct xq_run *w)
{
    const uint32_t n_source = bl_model_file_tensor_count(w->job.file), most = n_source + w->job.n_inputs;
    w->tensors = calloc(most, sizeof *w->tensors);
    w->matrix_of_tensor = calloc(most, sizeof *w->matrix_of_tensor);
    w->source_of_tensor = calloc(most, sizeof *w->source_of_tensor);
    w->names = calloc(most, sizeof *w->names);
    if (!w->tensors || !w->matrix_of_tensor || !w->source_of_tensor || !w->names)
        return no_memory(w);
    for (uint32_t i = 0; i < w->job.n_inputs; i++) {
        const uint64_t bytes = bl_xq_input_bytes(w->job.inputs[i].columns);
        const uint32_t to = w->n_tensors++;
        snprintf(w->names[to], sizeof w->names[to], "xq.input.%u", i);
        w->tensors[to] = (struct xq_out_tensor){w->names[to], BL_GGML_I8, 1, {bytes}, bytes};
        w->matrix_of_tensor[to] = XQ_INPUT + i;
        for (uint32_t k = 0; k < w->job.n_matrices; k++)
            if (w->job.matrices[k].input == i)
                BL_TRY(add_matrix(w, k));
    }
    for (uint32_t t = 0; t < n_source; t++) {
        const struct bl_tensor *from = bl_model_file_tensor_at(w->job.file, t);
        if (from->is_table || xq_matrix_of(&w->job, t) != BL_NO_ID)
            continue;
        w->source_of_tensor[w->n_tensors] = t;
        w->matrix_of_tensor[w->n_tensors] = BL_NO_ID;
        w->tensors[w->n_tensors++] = (struct xq_out_tensor){from->name, from->ggml_type, from->n_dims, {from->dims[0], from->dims[1], from->dims[2], from->dims[3]}, from->bytes};
    }
    return BL_OK;
}

void xq_plan_keys(struct xq_run *w, const struct xq_result *result)
{
    snprintf(w->text_hash, sizeof w->text_hash, "%016llx", (unsigned long long)w->text.hash);
    const struct xq_out_key keys[XQ_KEYS] = {
        {.key = "xq.version", .kind = XQ_KEY_WHOLE, .whole = BL_XQ_VERSION},
        {.key = "xq.bits_per_weight", .kind = XQ_KEY_REAL, .real = 8 * (double)result->bytes / (double)w->parameters},
        {.key = "xq.objective", .kind = XQ_KEY_TEXT, .text = xq_objective_name(w->objective)},
        {.key = "xq.calibration.hash", .kind = XQ_KEY_TEXT, .text = w->text_hash},
        {.key = "xq.tokens", .kind = XQ_KEY_WHOLE, .whole = (uint64_t)w->job.inputs[0].tokens},
        {.key = "xq.kl_valid", .kind = XQ_KEY_REAL, .real = result->is_judged ? result->divergence : -1},
    };
    memcpy(w->keys, keys, sizeof keys);
}

/* Fills in the sizes of the blobs; returns the file's. */
static uint64_t size_tensors(struct xq_run *w)
{
    for (uint32_t t = 0; t < w->n_tensors; t++) {
        const uint32_t i = w->matrix_of_tensor[t];
        if (i >= w->job.n_matrices)
            continue;
        w->tensors[t].bytes = xq_blob_bytes(&w->job.matrices[i], &w->measured[i], w->strips + w->first_strip[i]);
        w->tensors[t].dims[0] = w->tensors[t].bytes;
    }
    return xq_file_bytes(w->job.file, w->keys, XQ_KEYS, w->tensors, w->n_tensors);
}

static uint64_t count_parameters(const struct xq_run *w)
{
    uint64_t n = 0;
    for (uint32_t t = 0; t < bl_model_file_tensor_count(w->job.file); t++)
        n += bl_model_file_tensor_at(w->job.file, t)->rows * bl_model_file_tensor_at(w->job.file, t)->dims[0];
    return n;
}

/* What the blocks of a matrix would lose, once that is measured. */
static void fill_strips(struct xq_run *w)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        for (uint32_t s = w->first_strip[i]; s < w->first_strip[i + 1]; s++) {
            w->strips[s].energy = w->measured[i].energy + (size_t)(s - w->first_strip[i]) * w->measured[i].blocks;
            w->strips[s].share = (const float (*)[9])w->share[i];
        }
    }
}

void xq_plan_expect_measured(struct xq_run *w)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++)
        memcpy(w->share[i], w->measured[i].share, sizeof w->share[i]);
}

void xq_plan_expect_rounded(struct xq_run *w)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        double expected = 0;
        for (uint32_t s = w->first_strip[i]; s < w->first_strip[i + 1]; s++)
            expected += xq_strip_loss(&w->strips[s]);
        const double excess = expected > 0 ? w->rows[i].loss / expected : 1;
        const float factor = (float)fmin(fmax(excess, 1 / MOST_EXCESS), MOST_EXCESS);
        for (uint32_t k = 0; k < 2 * 9; k++)
            w->share[i][k / 9][k % 9] *= factor;
    }
}

static void size_limits(struct xq_run *w)
{
    const uint32_t n = w->first_strip[w->job.n_matrices];
    xq_allocate_uniform(w->strips, n, 8, true);
    w->most = size_tensors(w);
    xq_allocate_uniform(w->strips, n, 1, false);
    w->least = size_tensors(w);
}

bl_status xq_plan_make(struct xq_run *w)
{
    BL_TRY(make_strips(w));
    BL_TRY(list_tensors(w));
    w->parameters = count_parameters(w);
    xq_plan_keys(w, &(struct xq_result){.bytes = 0});
    size_limits(w);
    return BL_OK;
}

void xq_plan_free(struct xq_run *w)
{
    for (uint32_t i = 0; w->measured && i < w->job.n_matrices; i++)
        xq_measured_free(&w->measured[i]);
    for (uint32_t s = 0; w->strips && s < w->first_strip[w->job.n_matrices]; s++) {
        free(w->strips[s].depth);
        free(w->strips[s].grouped);
    }
    free(w->measured);
    free(w->rows);
    free(w->share);
    free(w->strips);
    free(w->first_strip);
    free(w->tensors);
    free(w->matrix_of_tensor);
    free(w->source_of_tensor);
    free(w->names);
}

uint64_t xq_plan_target(const struct xq_run *w, const struct xq_target *t)
{
    return t->size ? t->size : (uint64_t)(t->bits_per_weight * (double)w->parameters / 8);
}

uint64_t xq_plan_work_bytes(const struct xq_run *w)
{
    uint64_t covariances = 0, rounded = 0;
    for (uint32_t i = 0; i < w->job.n_inputs; i++)
        covariances += (uint64_t)w->job.inputs[i].columns * (w->job.inputs[i].columns + 1) / 2 * sizeof(float);
    for (uint32_t t = 0; t < w->options->n_targets; t++) {
        const uint64_t target = xq_plan_target(w, &w->options->targets[t]), bytes = target && target < w->most ? target : w->most;
        rounded += w->options->rounds * (w->options->targets[t].divergence > 0 ? XQ_SLOTS * bytes : bytes);
    }
    return 2 * covariances + rounded; /* while learning ends: sums and what they became */
}

bl_status xq_plan_check(const struct xq_run *w, uint64_t target)
{
    if (w->options->method == XQ_METHOD_XQ && target < w->least)
        BL_FAIL(BL_ELIMIT, "%s: a target of %llu bytes is too small: the smallest possible is %llu", w->options->in, (unsigned long long)target,
                (unsigned long long)w->least);
    return BL_OK;
}

static void choose_outliers(struct xq_run *w, double least)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++)
        xq_choose_outliers(&w->measured[i], least);
}

/* With the outliers as they are. Where these alone are too much for the target, fewer: those that gain most. */
static bl_status allocate_once(struct xq_run *w, uint64_t target, struct xq_result *result, double *price)
{
    const uint32_t n = w->first_strip[w->job.n_matrices];
    uint64_t spare = 0, fewest, most, fixed; /* fixed: everything but the strips; padding changes a little with the sizes */
    xq_allocate_uniform(w->strips, n, 1, false);
    xq_allocate_limits(w->strips, n, &fewest, &most);
    for (double least = LEAST_OUTLIER; (fixed = size_tensors(w)) > target; least *= 4)
        choose_outliers(w, least);
    fixed -= fewest;
    for (uint64_t bytes;; spare += bytes - target) {
        BL_TRY(xq_allocate(w->strips, n, target - fixed - spare, &result->expected_loss, price));
        bytes = size_tensors(w);
        result->bytes = bytes;
        if (bytes <= target)
            return BL_OK;
    }
}

bl_status xq_plan_allocate(struct xq_run *w, uint64_t target, struct xq_result *result)
{
    const uint32_t n = w->first_strip[w->job.n_matrices];
    fill_strips(w);
    if (w->options->method != XQ_METHOD_XQ) {
        choose_outliers(w, BASELINE_OUTLIER);
        xq_allocate_uniform(w->strips, n, w->options->depth, w->options->grouped);
        result->bytes = size_tensors(w);
        return BL_OK;
    }
    double least = INFINITY; /* gain of an outlier; none in the first round */
    for (uint32_t round = 0; round < OUTLIER_ROUNDS; round++) {
        double price;
        choose_outliers(w, least);
        BL_TRY(allocate_once(w, target, result, &price));
        least = price * OUTLIER_BYTES; /* what the same bytes would gain elsewhere */
    }
    return BL_OK;
}
