/* produce.c: a plan becomes a file: matrices rounded one after the other, each kept in the work folder once it is done; the file judged on text
 * that was not learned from before it gets its name. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/divergence.h"
#include "compress/progress.h"
#include "compress/tune.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JUDGE_MEMORY (UINT64_C(1) << 29) /* for matrices as f32: of a small model half of them, which costs little time */
#define TUNE_MEMORY (UINT64_C(320) << 20) /* so that it takes no more than learning does */
#define TUNE_RATE 0.014 /* of the square root of the divergence: what errors cost grows with their square, and so do gains that make up for them */

/* One file in the making. */
struct making {
    struct xq_run *run;
    struct xq_writer *writer;
    uint32_t slot, round;
    bool is_last;         /* no other round will take its place */
    bool is_spoiled;      /* tuned, and no better for it */
    uint64_t key;         /* of what is kept */
    struct xq_prepared p; /* of the input at hand, once a matrix needs it */
    bool is_prepared;
};

static bl_status prepare(struct making *m, uint32_t input)
{
    if (m->is_prepared)
        return BL_OK;
    BL_TRY(xq_prepare_input(m->run, input, &m->p));
    m->is_prepared = true;
    return BL_OK;
}

static bl_status make_input(struct making *m, uint32_t input, void *blob)
{
    BL_TRY(prepare(m, input));
    const uint32_t *place_of = m->run->job.inputs[input].place_of;
    uint16_t *perm = malloc(m->p.padded * sizeof *perm);
    if (!perm)
        BL_FAIL(BL_ENOMEM, "%s: no memory for the order of %u columns", m->run->options->in, m->p.columns);
    for (uint32_t c = 0; c < m->p.padded; c++)
        perm[c] = place_of && m->p.perm[c] != BL_XQ_NO_COLUMN ? (uint16_t)place_of[m->p.perm[c]] : m->p.perm[c];
    bl_xq_input_make(m->p.columns, m->p.exponent, perm, m->p.scale, blob);
    free(perm);
    return BL_OK;
}

static bl_status make_matrix(struct making *m, uint32_t i, void *blob, double *loss)
{
    const struct xq_run *w = m->run;
    const struct xq_matrix *matrix = &w->job.matrices[i];
    const struct xq_round_options options = {w->options->threads, w->options->feedback, w->options->sweeps, w->options->shared};
    BL_TRY(prepare(m, matrix->input));
    return xq_round(&w->job, matrix, &m->p, &w->measured[i], w->strips + w->first_strip[i], &options, matrix->input, blob, loss);
}

/* Tensor t, an input or a matrix, as it is kept or newly made. */
static bl_status make_tensor(struct making *m, uint32_t t, void *blob, double *loss)
{
    struct xq_run *w = m->run;
    const uint32_t i = w->matrix_of_tensor[t];
    const struct xq_span spans[] = {{loss, sizeof *loss}, {blob, w->tensors[t].bytes}};
    char name[48];
    snprintf(name, sizeof name, "matrix-%u-%u-%u", m->slot, m->round, t);
    if (xq_work_bytes(w->kept, name, m->key) == sizeof *loss + w->tensors[t].bytes && xq_work_load(w->kept, name, m->key, spans, 2))
        return BL_OK;
    *loss = 0;
    BL_TRY(i & XQ_INPUT ? make_input(m, i - XQ_INPUT, blob) : make_matrix(m, i, blob, loss));
    return xq_work_save(w->kept, name, m->key, spans, 2);
}

static void note_matrix(struct xq_run *w, uint32_t i, const void *blob, uint64_t bytes, double loss)
{
    const struct xq_matrix *matrix = &w->job.matrices[i];
    struct bl_xq_histogram h;
    bl_xq_histogram(blob, bytes, &h);
    w->rows[i] = (struct xq_report_matrix){.name = matrix->name, .rows = matrix->rows, .columns = matrix->columns, .n_outliers = w->measured[i].n_outliers, .bytes = bytes, .loss = loss};
    memcpy(w->rows[i].weights, h.weights, sizeof h.weights);
    memcpy(w->rows[i].grouped, h.grouped, sizeof h.grouped);
}

static bl_status write_made(struct making *m, uint32_t t, struct xq_result *result)
{
    struct xq_run *w = m->run;
    const uint32_t i = w->matrix_of_tensor[t];
    if (i & XQ_INPUT) { /* its matrices follow */
        xq_prepared_free(&m->p);
        m->is_prepared = false;
    }
    double loss;
    void *blob = malloc((size_t)w->tensors[t].bytes);
    if (!blob)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %llu bytes of '%s'", w->options->in, (unsigned long long)w->tensors[t].bytes, w->tensors[t].name);
    bl_status status = make_tensor(m, t, blob, &loss);
    if (status == BL_OK)
        status = xq_writer_add(m->writer, blob);
    if (status == BL_OK && !(i & XQ_INPUT)) {
        note_matrix(w, i, blob, w->tensors[t].bytes, loss);
        result->loss += loss;
    }
    free(blob);
    return status;
}

static bl_status write_tensors(struct making *m, struct xq_result *result)
{
    struct xq_run *w = m->run;
    bl_status status = BL_OK;
    xq_stage_begin("round", result->bytes, w->options->quiet);
    for (uint32_t t = 0; t < w->n_tensors && status == BL_OK; t++) {
        const uint32_t i = w->matrix_of_tensor[t];
        xq_stage_step(w->tensors[t].bytes);
        if (i == BL_NO_ID)
            status = xq_writer_add(m->writer, bl_model_file_data(w->job.file) + bl_model_file_tensor_at(w->job.file, w->source_of_tensor[t])->offset);
        else
            status = write_made(m, t, result);
    }
    xq_prepared_free(&m->p);
    (void)xq_stage_end(NULL);
    return status;
}

/* How far the result is from the original on text that was not learned from. */
static bl_status judge(struct xq_run *w, const char *path, struct xq_result *result)
{
    struct bl_model_file *file;
    if (!w->text.n_held || result->is_judged)
        return BL_OK;
    xq_stage_begin("judge", 1, w->options->quiet);
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    struct xq_divergence_result d;
    const bl_status status = xq_divergence_measure(&w->job, w->blas, &w->text, file, w->options->threads, JUDGE_MEMORY, &d);
    bl_model_file_close(file);
    char note[128], error[32];
    if (status == BL_OK) {
        result->is_judged = true;
        result->divergence = d.mean;
        result->divergence_error = d.error;
        result->same_top = d.same_top;
        result->nll_ratio = exp(d.other_nll - d.nll);
        result->cost = w->objective == XQ_OBJECTIVE_KLD ? d.mean : d.other_nll - d.nll;
        result->nll = d.other_nll;
        result->original_nll = d.nll;
        result->held_tokens = d.tokens;
        result->held_windows = d.windows;
        snprintf(note, sizeof note, "KL %.4f%s, loss %+.4f on %llu tokens held out", d.mean, xq_error_text(d.error, error), d.other_nll - d.nll, (unsigned long long)d.tokens);
    }
    (void)xq_stage_end(status == BL_OK ? note : "failed");
    return status;
}

/* ---- gains ---- */

static void tuned_window(void *user)
{
    (void)user;
    xq_stage_step(1);
}

static bl_status write_norm(struct making *m, uint32_t t, const float *factor, uint64_t n)
{
    const struct xq_run *w = m->run;
    float *weights = malloc((size_t)n * sizeof *weights);
    if (!weights)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %llu weights of '%s'", w->options->in, (unsigned long long)n, w->tensors[t].name);
    bl_status status = bl_model_file_numbers(w->job.file, bl_model_file_tensor_at(w->job.file, w->source_of_tensor[t]), 0, n, weights);
    for (uint64_t i = 0; i < n; i++)
        weights[i] *= factor[i];
    if (status == BL_OK)
        status = xq_writer_replace(m->writer, t, weights);
    free(weights);
    return status;
}

/* The rest as it is in the file. */
static bl_status write_matrix(struct making *m, uint32_t t, uint32_t matrix, const struct bl_model_file *file, const float *factor)
{
    const struct xq_run *w = m->run;
    const uint64_t bytes = w->tensors[t].bytes;
    void *blob = malloc((size_t)bytes);
    if (!blob)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %llu bytes of '%s'", w->options->in, (unsigned long long)bytes, w->tensors[t].name);
    const uint32_t rows = w->job.matrices[matrix].rows;
    int32_t *steps = malloc(rows * sizeof *steps);
    if (!steps) {
        free(blob);
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u rows", w->options->in, rows);
    }
    memcpy(blob, bl_model_file_data(file) + bl_model_file_tensor(file, w->job.matrices[matrix].name)->offset, (size_t)bytes);
    for (uint32_t i = 0; i < rows; i++)
        steps[i] = (int32_t)lround(XQ_GAIN_STEPS * log2((double)factor[i]));
    bl_xq_multiply_rows(blob, steps);
    bl_xq_matrix_end(blob, bytes);
    const bl_status status = xq_writer_replace(m->writer, t, blob);
    free(steps);
    free(blob);
    return status;
}

static bl_status write_gains(struct making *m, const char *path, const struct xq_gains *gains)
{
    const struct xq_run *w = m->run;
    struct bl_model_file *file;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    bl_status status = BL_OK;
    for (uint32_t t = 0; t < w->n_tensors; t++) {
        const uint32_t matrix = w->matrix_of_tensor[t];
        for (uint32_t i = 0; i < gains->n && status == BL_OK; i++) {
            const float *factor = gains->factor + gains->first[i];
            if (matrix != BL_NO_ID && matrix == gains->matrix[i])
                status = write_matrix(m, t, matrix, file, factor);
            else if (matrix == BL_NO_ID && gains->matrix[i] == BL_NO_ID && w->source_of_tensor[t] == gains->tensor[i])
                status = write_norm(m, t, factor, gains->first[i + 1] - gains->first[i]);
        }
    }
    bl_model_file_close(file);
    return status == BL_OK && !xq_writer_seal(m->writer) ? BL_EIO : status;
}

/* Trained, or as they were kept. */
static bl_status train_gains(struct making *m, const char *path, double divergence, struct xq_gains *gains)
{
    struct xq_run *w = m->run;
    const struct xq_options *o = w->options;
    const struct xq_tune_options options = {.objective = w->objective, .threads = o->threads, .windows = o->tune_windows, .rate = TUNE_RATE * sqrt(fmin(divergence, 1)), .memory = o->ram ? 0 : TUNE_MEMORY,
                                            .progress = tuned_window};
    const struct xq_span span = {gains->factor, gains->first[gains->n] * sizeof *gains->factor};
    const uint64_t key = xq_run_key(xq_run_key(m->key, &w->text.hash, sizeof w->text.hash), &o->tune_windows, sizeof o->tune_windows);
    struct bl_model_file *file;
    char name[48];
    snprintf(name, sizeof name, "gains-%u-%u", m->slot, m->round);
    if (xq_work_load(w->kept, name, key, &span, 1))
        return BL_OK;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    xq_stage_begin("tune", xq_tune_windows(&w->text, o->tune_windows), o->quiet);
    const bl_status status = xq_tune(&w->job, w->blas, &w->text, file, &options, gains);
    (void)xq_stage_end(status == BL_OK ? NULL : "failed");
    bl_model_file_close(file);
    return status == BL_OK ? xq_work_save(w->kept, name, key, &span, 1) : status;
}

/* The file at `path`, sealed and judged, with gains; spoiled if it does not cost less with them. */
static bl_status tune_with(struct making *m, const char *path, struct xq_gains *gains, struct xq_result *result)
{
    const bool known = result->tuned != XQ_TUNE_NOT_TRIED;
    if (!known) {
        result->untuned_cost = result->cost;
        result->untuned_divergence = result->divergence;
    }
    struct xq_result trial = *result;
    BL_TRY(train_gains(m, path, result->untuned_divergence, gains));
    BL_TRY(write_gains(m, path, gains));
    if (known)
        return BL_OK;
    trial.is_judged = false;
    trial.tuned = XQ_TUNE_KEPT;
    result->tuned = XQ_TUNE_NO_BETTER;
    BL_TRY(judge(m->run, path, &trial));
    m->is_spoiled = !(trial.cost < result->cost);
    if (!m->is_spoiled)
        *result = trial;
    return BL_OK;
}

static bl_status tune(struct making *m, const char *path, struct xq_result *result)
{
    struct xq_run *w = m->run;
    struct xq_gains gains;
    if (result->tuned == XQ_TUNE_NO_BETTER || !w->text.n_held || !xq_tune_windows(&w->text, w->options->tune_windows))
        return BL_OK;
    BL_TRY(xq_gains_make(&w->job, &gains));
    const bl_status status = gains.n ? tune_with(m, path, &gains, result) : BL_OK;
    xq_gains_free(&gains);
    return status;
}

/* ---- files ---- */

/* Gets its name if that is to be, and it costs less than `least`. */
static bl_status write_file(struct making *m, bool keep, double least, struct xq_result *result)
{
    struct xq_run *w = m->run;
    BL_TRY(write_tensors(m, result));
    const char *temporary = xq_writer_seal(m->writer);
    if (!temporary)
        return BL_EIO;
    BL_TRY(judge(w, temporary, result));
    const bool is_taken = !isfinite(least) || result->cost < least;
    if (is_taken && m->is_last)
        BL_TRY(tune(m, temporary, result));
    BL_TRY(bl_model_file_check(w->job.file)); /* before the result gets its name: the input may have shrunk */
    if (!keep || !is_taken || m->is_spoiled)
        return BL_OK;
    xq_plan_keys(w, result);
    return xq_writer_finish(m->writer, w->keys);
}

/* One file, by what is expected now; its name only if it costs less than `least`. is_last: it is the one, if it does. */
static bl_status make_file(struct xq_run *w, const char *path, uint64_t target, uint32_t slot, bool keep, bool is_last, double least, struct xq_result *result)
{
    const struct xq_options *o = w->options;
    struct making m = {.run = w, .slot = slot, .round = result->round, .is_last = is_last};
    const double how[] = {o->method, o->depth, o->grouped, o->feedback, o->sweeps, o->shared, result->round};
    m.key = xq_run_key(xq_run_key(xq_measured_key(w), how, sizeof how), &target, sizeof target);
    BL_TRY(xq_plan_allocate(w, target, result));
    xq_plan_keys(w, result);
    BL_TRY(xq_writer_create(path, w->job.file, w->keys, XQ_KEYS, w->tensors, w->n_tensors, &m.writer));
    result->loss = 0;
    const bl_status status = write_file(&m, keep, least, result);
    xq_writer_destroy(m.writer);
    return status == BL_OK && m.is_spoiled && keep ? make_file(w, path, target, slot, keep, is_last, least, result) : status;
}

/* A result that was chosen before is made again without being judged: of the second round, after the first has said what it loses. */
bl_status xq_produce(struct xq_run *w, const char *path, uint64_t target, uint32_t slot, bool keep, struct xq_result *result)
{
    const bool twice = w->options->rounds > 1 && w->options->method == XQ_METHOD_XQ && w->text.n_held, chosen = result->is_judged;
    struct xq_result first = *result, second = *result;
    first.round = 1;
    second.round = 2;
    xq_plan_expect_measured(w);
    if (!twice || (chosen && result->round == 1)) {
        BL_TRY(make_file(w, path, target, slot, keep, true, INFINITY, &first));
        *result = first;
        return BL_OK;
    }
    BL_TRY(make_file(w, path, target, slot, false, false, INFINITY, &first));
    xq_plan_expect_rounded(w);
    BL_TRY(xq_plan_allocate(w, target, &second));
    if (chosen || second.expected_loss < w->options->worth_a_round * first.loss) {
        BL_TRY(make_file(w, path, target, slot, keep, true, chosen ? INFINITY : first.cost, &second));
        if (!chosen)
            second.first_cost = first.cost;
        if (chosen || second.cost < first.cost) {
            *result = second;
            return BL_OK;
        }
    }
    *result = first;
    xq_plan_expect_measured(w);
    return keep || w->options->tune_windows ? make_file(w, path, target, slot, keep, true, INFINITY, result) : BL_OK;
}
