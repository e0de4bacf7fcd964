/* compress.c: the order of the stages, and what each hands to the next. */
#include "compress/compress.h"

#include "base/error.h"
#include "compress/capture.h"
#include "compress/divergence.h"
#include "compress/gguf_write.h"
#include "compress/parallel.h"
#include "compress/progress.h"
#include "compress/report.h"
#include "compress/round.h"
#include "compress/state.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct work {
    const struct xq_options *options;
    const struct xq_blas *blas;
    struct xq_job job;
    struct xq_calibration text;
    struct xq_measured *measured;   /* [n_matrices] */
    struct xq_strip *strips;        /* of all matrices, one after the other */
    uint32_t *first_strip;          /* [n_matrices + 1] */
    struct xq_out_tensor *tensors;
    uint32_t *matrix_of_tensor;     /* [n_tensors]; BL_NO_ID: copied; or INPUT + index */
    uint32_t n_tensors;
    uint32_t *source_of_tensor;
    char (*names)[80];
    struct xq_report_matrix *rows;  /* [n_matrices], of the report */
};
#define INPUT 0x80000000u
#define OUTLIER_BYTES 5      /* of one in a file */
#define OUTLIER_ROUNDS 4     /* of allocation: the price of a byte decides how many outliers there are, and they take bytes */
#define LEAST_OUTLIER 1e-9   /* nats per token */
#define BASELINE_OUTLIER 5e-8

static bl_status no_memory(const struct work *w)
{
    BL_FAIL(BL_ENOMEM, "%s: no memory for the lists of a compression", w->options->in);
}

/* ---- learning ---- */

static void captured_window(void *user, uint32_t done, uint32_t all)
{
    (void)user;
    (void)done;
    (void)all;
    xq_stage_step(1);
}

enum { WINDOW = 512 }; /* tokens; fewer where the model takes no more */

static uint32_t window_of(const struct work *w)
{
    char key[96];
    uint64_t context = 0;
    snprintf(key, sizeof key, "%s.context_length", w->job.source.arch);
    const struct bl_meta *meta = bl_model_file_meta(w->job.file, key);
    if (!meta || bl_meta_u64(w->job.file, meta, 0, &context) != BL_OK) {
        bl_errors_clear();
        return WINDOW;
    }
    return context >= 8 && context < WINDOW ? (uint32_t)context : WINDOW;
}

static bl_status read_text(struct work *w)
{
    const struct xq_options *o = w->options;
    bl_tokenizer *tokenizer;
    BL_TRY(bl_tokenizer_open(o->in, &tokenizer));
    const bl_status status = xq_calibration_read(tokenizer, o->calibration, o->n_calibration, window_of(w), o->calibration_tokens, &w->text);
    bl_tokenizer_destroy(tokenizer);
    return status;
}

static bl_status learn(struct work *w)
{
    const struct xq_options *o = w->options;
    const struct xq_capture_options options = {.threads = o->threads, .ram = o->ram, .temper = o->temper, .progress = captured_window};
    struct xq_captured captured;
    char note[96];
    if (o->state) {
        const struct xq_state_key key = xq_state_key(&w->job, NULL, o->temper);
        return xq_state_read(o->state, &w->job, &key);
    }
    xq_stage_begin("learn", w->text.n_train, o->quiet);
    const bl_status status = xq_capture(&w->job, w->blas, &w->text, &options, &captured);
    if (status == BL_OK)
        snprintf(note, sizeof note, "%llu tokens, perplexity %.2f", (unsigned long long)captured.tokens, exp(captured.nll));
    (void)xq_stage_end(status == BL_OK ? note : "failed");
    if (status != BL_OK || !o->save_state)
        return status;
    const struct xq_state_key key = xq_state_key(&w->job, &w->text, o->temper);
    return xq_state_write(o->save_state, &w->job, &key);
}

/* How far the result is from the original on text that was not learned from. */
static bl_status judge(struct work *w, const char *path, struct xq_result *result)
{
    struct bl_model_file *file;
    if (!w->text.n_held)
        return BL_OK;
    xq_stage_begin("judge", 1, w->options->quiet);
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    struct xq_divergence_result d;
    const bl_status status = xq_divergence_measure(&w->job, w->blas, &w->text, file, w->options->threads, UINT64_C(1) << 30, &d);
    bl_model_file_close(file);
    char note[96];
    if (status == BL_OK) {
        result->divergence = d.mean;
        result->divergence_error = d.error;
        result->same_top = d.same_top;
        result->nll_ratio = exp(d.other_nll - d.nll);
        snprintf(note, sizeof note, "KL %.4f +/- %.4f on %llu tokens held out", d.mean, d.error, (unsigned long long)d.tokens);
    }
    (void)xq_stage_end(status == BL_OK ? note : "failed");
    return status;
}

/* ---- measuring ---- */

struct measuring {
    struct work *work;
    bl_status status; /* of the first input that failed; its line, for the errors of a thread stay with it */
    char line[256];
    _Atomic bool failed;
};

static void measure_input(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct measuring *m = user;
    struct work *w = m->work;
    struct xq_prepared p;
    bl_status status = m->failed ? BL_OK : xq_prepare(&w->job, &w->job.inputs[i], w->options->damp, w->blas, &p);
    if (m->failed)
        return;
    for (uint32_t k = 0; k < w->job.n_matrices && status == BL_OK; k++)
        if (w->job.matrices[k].input == i)
            status = xq_measure(&w->job, &w->job.matrices[k], &p, w->blas, &w->measured[k]);
    xq_prepared_free(&p);
    xq_stage_step(1);
    if (status != BL_OK && !atomic_exchange(&m->failed, true)) {
        m->status = status;
        snprintf(m->line, sizeof m->line, "%s", bl_error_text());
    }
}

static bl_status measure_all(struct work *w)
{
    struct measuring m = {.work = w};
    xq_stage_begin("measure", w->job.n_inputs, w->options->quiet);
    xq_parallel(w->options->threads, w->job.n_inputs, measure_input, &m);
    (void)xq_stage_end(NULL);
    if (m.status != BL_OK)
        return bl_error_push(m.status, __FILE__, __LINE__, "%s", m.line);
    return BL_OK;
}

/* ---- allocating ---- */

/* From the shapes of the matrices alone. */
static bl_status make_strips(struct work *w)
{
    uint32_t n = 0;
    w->measured = calloc(w->job.n_matrices, sizeof *w->measured);
    w->rows = calloc(w->job.n_matrices, sizeof *w->rows);
    w->first_strip = calloc(w->job.n_matrices + 1, sizeof *w->first_strip);
    if (!w->measured || !w->rows || !w->first_strip)
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

static bl_status add_matrix(struct work *w, uint32_t i)
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

static bool is_matrix(const struct work *w, uint32_t tensor)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++)
        if (w->job.matrices[i].tensor == tensor)
            return true;
    return false;
}

/* The directory of the file to be: each input with the matrices that read it, so that one preparation serves them all; then what is copied. */
static bl_status list_tensors(struct work *w)
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
        w->matrix_of_tensor[to] = INPUT + i;
        for (uint32_t k = 0; k < w->job.n_matrices; k++)
            if (w->job.matrices[k].input == i)
                BL_TRY(add_matrix(w, k));
    }
    for (uint32_t t = 0; t < n_source; t++) {
        const struct bl_tensor *from = bl_model_file_tensor_at(w->job.file, t);
        if (from->is_table || is_matrix(w, t))
            continue;
        w->source_of_tensor[w->n_tensors] = t;
        w->matrix_of_tensor[w->n_tensors] = BL_NO_ID;
        w->tensors[w->n_tensors++] = (struct xq_out_tensor){from->name, from->ggml_type, from->n_dims, {from->dims[0], from->dims[1], from->dims[2], from->dims[3]}, from->bytes};
    }
    return BL_OK;
}

/* Fills in the sizes of the blobs; returns the file's. */
static uint64_t size_tensors(struct work *w)
{
    for (uint32_t t = 0; t < w->n_tensors; t++) {
        const uint32_t i = w->matrix_of_tensor[t];
        if (i >= w->job.n_matrices)
            continue;
        w->tensors[t].bytes = xq_blob_bytes(&w->job.matrices[i], &w->measured[i], w->strips + w->first_strip[i]);
        w->tensors[t].dims[0] = w->tensors[t].bytes;
    }
    return xq_file_bytes(w->job.file, NULL, 0, w->tensors, w->n_tensors);
}

static uint64_t count_parameters(const struct work *w)
{
    uint64_t n = 0;
    for (uint32_t t = 0; t < bl_model_file_tensor_count(w->job.file); t++)
        n += bl_model_file_tensor_at(w->job.file, t)->rows * bl_model_file_tensor_at(w->job.file, t)->dims[0];
    return n;
}

/* What the blocks of a matrix would lose, once that is measured. */
static void fill_strips(struct work *w)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        for (uint32_t s = w->first_strip[i]; s < w->first_strip[i + 1]; s++) {
            w->strips[s].energy = w->measured[i].energy + (size_t)(s - w->first_strip[i]) * w->measured[i].blocks;
            w->strips[s].share = (const float (*)[9])w->measured[i].share;
        }
    }
}

/* Bytes of the file with 1 bit everywhere, with 8 bits and group scales. */
static void size_limits(struct work *w, uint64_t *least, uint64_t *most)
{
    const uint32_t n = w->first_strip[w->job.n_matrices];
    xq_allocate_uniform(w->strips, n, 8, true);
    *most = size_tensors(w);
    xq_allocate_uniform(w->strips, n, 1, false);
    *least = size_tensors(w);
}

static uint64_t target_bytes(const struct xq_target *t, uint64_t parameters)
{
    return t->size ? t->size : (uint64_t)(t->bits_per_weight * (double)parameters / 8);
}

static bl_status check_target(struct work *w, const struct xq_target *target, uint64_t parameters)
{
    uint64_t least, most;
    size_limits(w, &least, &most);
    if (w->options->method == XQ_METHOD_XQ && target_bytes(target, parameters) < least)
        BL_FAIL(BL_ELIMIT, "%s: a target of %llu bytes is too small: the smallest possible is %llu", w->options->in,
                (unsigned long long)target_bytes(target, parameters), (unsigned long long)least);
    return BL_OK;
}

static void choose_outliers(struct work *w, double least)
{
    for (uint32_t i = 0; i < w->job.n_matrices; i++)
        xq_choose_outliers(&w->measured[i], least);
}

/* With the outliers as they are. Where these alone are too much for the target, fewer: those that gain most. */
static bl_status allocate_once(struct work *w, uint64_t target, struct xq_result *result, double *price)
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

static bl_status allocate_all(struct work *w, const struct xq_target *goal, struct xq_result *result)
{
    const uint32_t n = w->first_strip[w->job.n_matrices];
    if (w->options->method != XQ_METHOD_XQ) {
        choose_outliers(w, BASELINE_OUTLIER);
        xq_allocate_uniform(w->strips, n, w->options->depth, w->options->grouped);
        result->bytes = size_tensors(w);
        return BL_OK;
    }
    const uint64_t target = target_bytes(goal, result->parameters);
    double least = INFINITY; /* gain of an outlier; none in the first round */
    for (uint32_t round = 0; round < OUTLIER_ROUNDS; round++) {
        double price;
        choose_outliers(w, least);
        BL_TRY(allocate_once(w, target, result, &price));
        least = price * OUTLIER_BYTES; /* what the same bytes would gain elsewhere */
    }
    return BL_OK;
}

/* ---- writing ---- */

static bl_status write_input(struct work *w, struct xq_writer *writer, const struct xq_prepared *p)
{
    void *blob = malloc((size_t)bl_xq_input_bytes(p->columns));
    if (!blob)
        return no_memory(w);
    bl_xq_input_make(p->columns, p->exponent, p->perm, p->scale, blob);
    const bl_status status = xq_writer_add(writer, blob);
    free(blob);
    return status;
}

static bl_status write_matrix(struct work *w, struct xq_writer *writer, uint32_t i, const struct xq_prepared *p, uint64_t bytes)
{
    const struct xq_matrix *matrix = &w->job.matrices[i];
    const struct xq_round_options options = {w->options->threads, w->options->feedback, w->options->sweeps};
    void *blob = malloc((size_t)bytes);
    if (!blob)
        return no_memory(w);
    double loss;
    bl_status status = xq_round(&w->job, matrix, p, &w->measured[i], w->strips + w->first_strip[i], &options, matrix->input, blob, &loss);
    if (status == BL_OK) {
        struct bl_xq_histogram h;
        bl_xq_histogram(blob, bytes, &h);
        w->rows[i] = (struct xq_report_matrix){.name = matrix->name, .rows = matrix->rows, .columns = matrix->columns, .n_outliers = w->measured[i].n_outliers, .bytes = bytes, .loss = loss};
        memcpy(w->rows[i].weights, h.weights, sizeof h.weights);
        memcpy(w->rows[i].grouped, h.grouped, sizeof h.grouped);
        status = xq_writer_add(writer, blob);
    }
    free(blob);
    return status;
}

static bl_status write_tensors(struct work *w, struct xq_writer *writer, struct xq_result *result)
{
    struct xq_prepared p = {0};
    bl_status status = BL_OK;
    xq_stage_begin("round", result->bytes, w->options->quiet);
    for (uint32_t t = 0; t < w->n_tensors && status == BL_OK; t++) {
        const uint32_t i = w->matrix_of_tensor[t];
        xq_stage_step(w->tensors[t].bytes);
        if (i == BL_NO_ID) {
            status = xq_writer_add(writer, bl_model_file_data(w->job.file) + bl_model_file_tensor_at(w->job.file, w->source_of_tensor[t])->offset);
        } else if (i & INPUT) { /* its matrices follow */
            xq_prepared_free(&p);
            status = xq_prepare(&w->job, &w->job.inputs[i - INPUT], w->options->damp, w->blas, &p);
            if (status == BL_OK)
                status = write_input(w, writer, &p);
        } else {
            status = write_matrix(w, writer, i, &p, w->tensors[t].bytes);
        }
        result->loss += i < w->job.n_matrices ? w->rows[i].loss : 0;
    }
    xq_prepared_free(&p);
    (void)xq_stage_end(NULL);
    return status;
}

static bl_status write_all(struct work *w, const struct xq_target *target, struct xq_result *result)
{
    struct xq_writer *writer;
    BL_TRY(xq_writer_create(target->out, w->job.file, NULL, 0, w->tensors, w->n_tensors, &writer));
    bl_status status = write_tensors(w, writer, result);
    if (status == BL_OK)
        status = bl_model_file_check(w->job.file); /* before the result gets its name: the input may have shrunk */
    if (status == BL_OK)
        status = xq_writer_finish(writer);
    xq_writer_destroy(writer);
    return status;
}

static bl_status report(const struct work *w, const struct xq_target *target, const struct xq_result *result, double seconds)
{
    const struct xq_options *o = w->options;
    const struct xq_report_line options[] = {
        {"size", NULL, (double)target->size}, {"bits per weight", NULL, target->bits_per_weight}, {"damping", NULL, o->damp},
        {"error feedback", o->feedback ? "yes" : "no", 0}, {"sweeps", NULL, o->sweeps},
    };
    const struct xq_report_line figures[] = {
        {"bytes", NULL, (double)result->bytes}, {"bits per weight", NULL, 8 * (double)result->bytes / (double)result->parameters},
        {"KL on held out text, nats per token", NULL, result->divergence}, {"its standard error", NULL, result->divergence_error},
        {"ratio of perplexities", NULL, result->nll_ratio}, {"same top token, share", NULL, result->same_top},
        {"nats per token expected by the allocation", NULL, result->expected_loss}, {"nats per token after rounding", NULL, result->loss}, {"seconds", NULL, seconds},
    };
    const struct xq_report r = {o->in, target->out, options, figures, sizeof options / sizeof options[0], sizeof figures / sizeof figures[0], w->rows, w->job.n_matrices};
    return xq_report_write(&r);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Before anything takes time: the files, and whether the targets can be met at all. */
static bl_status check(struct work *w, uint64_t *parameters)
{
    const struct xq_options *o = w->options;
    BL_TRY(make_strips(w));
    BL_TRY(list_tensors(w));
    *parameters = count_parameters(w);
    for (uint32_t t = 0; t < o->n_targets; t++) {
        if (is_same_file(o->in, o->targets[t].out))
            BL_FAIL(BL_EINVAL, "%s: input and output are the same file", o->in);
        BL_TRY(check_target(w, &o->targets[t], *parameters));
    }
    return BL_OK;
}

static void clean_up(struct work *w)
{
    for (uint32_t i = 0; w->measured && i < w->job.n_matrices; i++)
        xq_measured_free(&w->measured[i]);
    for (uint32_t s = 0; w->strips && s < w->first_strip[w->job.n_matrices]; s++) {
        free(w->strips[s].depth);
        free(w->strips[s].grouped);
    }
    free(w->measured);
    free(w->rows);
    free(w->strips);
    free(w->first_strip);
    free(w->tensors);
    free(w->matrix_of_tensor);
    free(w->source_of_tensor);
    free(w->names);
    xq_calibration_free(&w->text);
    xq_job_close(&w->job);
}

bl_status xq_compress(const struct xq_options *options, struct xq_result *results)
{
    struct work w = {.options = options};
    const double started = now();
    uint64_t parameters = 0;
    xq_coders_make(options->method != XQ_METHOD_XQ);
    bl_status status = xq_blas_open(&w.blas);
    if (status == BL_OK)
        status = xq_job_open(&w.job, options->in);
    if (status == BL_OK)
        status = check(&w, &parameters);
    if (status == BL_OK)
        status = read_text(&w);
    if (status == BL_OK)
        status = learn(&w);
    if (status == BL_OK)
        status = measure_all(&w);
    for (uint32_t t = 0; t < options->n_targets && status == BL_OK; t++) {
        fill_strips(&w);
        results[t] = (struct xq_result){.parameters = parameters};
        status = allocate_all(&w, &options->targets[t], &results[t]);
        if (status == BL_OK)
            status = write_all(&w, &options->targets[t], &results[t]);
        if (status == BL_OK)
            status = judge(&w, options->targets[t].out, &results[t]);
        if (status == BL_OK && options->report)
            status = report(&w, &options->targets[t], &results[t], now() - started);
    }
    clean_up(&w);
    return status;
}
