/* compress.c: the order of the stages, and what each hands to the next. */
#include "compress/compress.h"

#include "base/error.h"
#include "compress/gguf_write.h"
#include "compress/parallel.h"
#include "compress/round.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct work {
    const struct xq_options *options;
    const struct xq_blas *blas;
    struct xq_job job;
    struct xq_measured *measured;   /* [n_matrices] */
    struct xq_strip *strips;        /* of all matrices, one after the other */
    uint32_t *first_strip;          /* [n_matrices + 1] */
    struct xq_out_tensor *tensors;
    uint32_t *matrix_of_tensor;     /* [n_tensors]; BL_NO_ID: copied; or INPUT + index */
    uint32_t n_tensors;
    uint32_t *source_of_tensor;
    char (*names)[80];
};
#define INPUT 0x80000000u

static bl_status no_memory(const struct work *w)
{
    BL_FAIL(BL_ENOMEM, "%s: no memory for the lists of a compression", w->options->in);
}

/* ---- measuring ---- */

struct measuring {
    struct work *work;
    struct xq_prepared prepared;
    uint32_t input;
    bl_status status;
};

static void measure_one(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct measuring *m = user;
    struct work *w = m->work;
    if (w->job.matrices[i].input != m->input)
        return;
    const bl_status status = xq_measure(&w->job, &w->job.matrices[i], &m->prepared, w->options->outlier_loss, &w->measured[i]);
    if (status != BL_OK)
        m->status = status;
}

static bl_status measure_all(struct work *w)
{
    for (uint32_t i = 0; i < w->job.n_inputs; i++) {
        struct measuring m = {.work = w, .input = i};
        BL_TRY(xq_prepare(&w->job, &w->job.inputs[i], w->options->damp, w->blas, &m.prepared));
        xq_parallel(w->options->threads, w->job.n_matrices, measure_one, &m);
        xq_prepared_free(&m.prepared);
        BL_TRY(m.status);
    }
    return BL_OK;
}

/* ---- allocating ---- */

static bl_status make_strips(struct work *w)
{
    uint32_t n = 0;
    w->first_strip = calloc(w->job.n_matrices + 1, sizeof *w->first_strip);
    if (!w->first_strip)
        return no_memory(w);
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
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
            *s = (struct xq_strip){.rows = m->first_row[b + 1] - m->first_row[b], .blocks = m->blocks, .energy = m->energy + (size_t)b * m->blocks,
                                   .share = (const float (*)[9])m->share, .depth = calloc(m->blocks, 1), .grouped = calloc(m->blocks, 1)};
            if (!s->depth || !s->grouped)
                return no_memory(w);
        }
    }
    return BL_OK;
}

/* The directory of the file to be: inputs, then the source's tensors in their order, matrices as blobs. */
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
        snprintf(w->names[i], sizeof w->names[i], "xq.input.%u", i);
        w->tensors[i] = (struct xq_out_tensor){w->names[i], BL_GGML_I8, 1, {bytes}, bytes};
        w->matrix_of_tensor[i] = INPUT + i;
    }
    w->n_tensors = w->job.n_inputs;
    for (uint32_t t = 0; t < n_source; t++) {
        const struct bl_tensor *from = bl_model_file_tensor_at(w->job.file, t);
        const uint32_t to = w->n_tensors;
        if (from->is_table)
            continue;
        w->tensors[to] = (struct xq_out_tensor){from->name, from->ggml_type, from->n_dims, {from->dims[0], from->dims[1], from->dims[2], from->dims[3]}, from->bytes};
        w->source_of_tensor[to] = t;
        w->matrix_of_tensor[to] = BL_NO_ID;
        for (uint32_t i = 0; i < w->job.n_matrices; i++) {
            if (w->job.matrices[i].tensor != t)
                continue;
            if (strlen(from->name) + 4 > sizeof w->names[to])
                BL_FAIL(BL_ELIMIT, "%s: tensor '%s': a name of %zu bytes, limit %zu", w->options->in, from->name, strlen(from->name), sizeof w->names[to] - 4);
            snprintf(w->names[to], sizeof w->names[to], "%s.xq", from->name);
            w->matrix_of_tensor[to] = i;
            w->tensors[to] = (struct xq_out_tensor){w->names[to], BL_GGML_I8, 1, {0}, 0};
        }
        w->n_tensors++;
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

static bl_status allocate_all(struct work *w, struct xq_result *result)
{
    BL_TRY(make_strips(w));
    BL_TRY(list_tensors(w));
    const uint32_t n = w->first_strip[w->job.n_matrices];
    result->parameters = count_parameters(w);
    const uint64_t target = w->options->size ? w->options->size : (uint64_t)(w->options->bits_per_weight * (double)result->parameters / 8);
    xq_allocate_uniform(w->strips, n, 1, false);
    uint64_t fixed = size_tensors(w), fewest, most, spare = 0; /* everything but the strips; padding changes a little with the sizes */
    const uint64_t least = fixed;
    xq_allocate_limits(w->strips, n, &fewest, &most);
    fixed -= fewest;
    if (target < least)
        BL_FAIL(BL_ELIMIT, "%s: a target of %llu bytes is too small: the smallest possible is %llu", w->options->in, (unsigned long long)target, (unsigned long long)least);
    for (uint64_t bytes;; spare += bytes - target) {
        BL_TRY(xq_allocate(w->strips, n, target - fixed - spare, &result->expected_loss));
        bytes = size_tensors(w);
        result->bytes = bytes;
        if (bytes <= target)
            return BL_OK;
    }
}

/* ---- writing ---- */

static bl_status write_input(struct work *w, struct xq_writer *writer, uint32_t i)
{
    struct xq_prepared p;
    BL_TRY(xq_prepare(&w->job, &w->job.inputs[i], w->options->damp, w->blas, &p));
    void *blob = malloc((size_t)bl_xq_input_bytes(p.columns));
    bl_status status = blob ? BL_OK : no_memory(w);
    if (status == BL_OK) {
        bl_xq_input_make(p.columns, p.exponent, p.perm, p.scale, blob);
        status = xq_writer_add(writer, blob);
    }
    free(blob);
    xq_prepared_free(&p);
    return status;
}

static bl_status write_matrix(struct work *w, struct xq_writer *writer, uint32_t i, uint64_t bytes, double *loss)
{
    const struct xq_matrix *matrix = &w->job.matrices[i];
    const struct xq_round_options options = {w->options->threads, w->options->feedback, w->options->sweeps};
    struct xq_prepared p;
    BL_TRY(xq_prepare(&w->job, &w->job.inputs[matrix->input], w->options->damp, w->blas, &p));
    void *blob = malloc((size_t)bytes);
    bl_status status = blob ? BL_OK : no_memory(w);
    if (status == BL_OK)
        status = xq_round(&w->job, matrix, &p, &w->measured[i], w->strips + w->first_strip[i], &options, matrix->input, blob, loss);
    if (status == BL_OK)
        status = xq_writer_add(writer, blob);
    free(blob);
    xq_prepared_free(&p);
    return status;
}

static bl_status write_all(struct work *w, struct xq_result *result)
{
    struct xq_writer *writer;
    BL_TRY(xq_writer_create(w->options->out, w->job.file, NULL, 0, w->tensors, w->n_tensors, &writer));
    bl_status status = BL_OK;
    result->loss = 0;
    for (uint32_t t = 0; t < w->n_tensors && status == BL_OK; t++) {
        const uint32_t i = w->matrix_of_tensor[t];
        double loss = 0;
        if (i == BL_NO_ID)
            status = xq_writer_add(writer, bl_model_file_data(w->job.file) + bl_model_file_tensor_at(w->job.file, w->source_of_tensor[t])->offset);
        else if (i & INPUT)
            status = write_input(w, writer, i - INPUT);
        else
            status = write_matrix(w, writer, i, w->tensors[t].bytes, &loss);
        result->loss += loss;
        if (!w->options->quiet && i < w->job.n_matrices)
            fprintf(stderr, "%s %.2f bits, loss %.3g\n", w->tensors[t].name,
                    8 * (double)w->tensors[t].bytes / ((double)w->job.matrices[i].rows * w->job.matrices[i].columns), loss);
    }
    if (status == BL_OK)
        status = bl_model_file_check(w->job.file); /* before the result gets its name: the input may have shrunk */
    if (status == BL_OK)
        status = xq_writer_finish(writer);
    xq_writer_destroy(writer);
    return status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bl_status xq_compress(const struct xq_options *options, struct xq_result *result)
{
    *result = (struct xq_result){0};
    struct work w = {.options = options};
    if (is_same_file(options->in, options->out))
        BL_FAIL(BL_EINVAL, "%s: input and output are the same file", options->out);
    (void)xq_coders();
    bl_status status = xq_blas_open(&w.blas);
    if (status == BL_OK)
        status = xq_job_open(&w.job, options->in);
    if (status == BL_OK) {
        w.measured = calloc(w.job.n_matrices, sizeof *w.measured);
        status = w.measured ? measure_all(&w) : no_memory(&w);
    }
    if (status == BL_OK)
        status = allocate_all(&w, result);
    if (status == BL_OK)
        status = write_all(&w, result);
    for (uint32_t i = 0; w.measured && i < w.job.n_matrices; i++)
        xq_measured_free(&w.measured[i]);
    for (uint32_t s = 0; w.strips && s < w.first_strip[w.job.n_matrices]; s++) {
        free(w.strips[s].depth);
        free(w.strips[s].grouped);
    }
    free(w.measured);
    free(w.strips);
    free(w.first_strip);
    free(w.tensors);
    free(w.matrix_of_tensor);
    free(w.source_of_tensor);
    free(w.names);
    xq_job_close(&w.job);
    return status;
}
