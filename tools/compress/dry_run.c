/* dry_run.c: what a compression would take, from one window of text and one matrix, timed. Owns the words; keeps nothing, writes nothing. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/capture.h"
#include "compress/progress.h"
#include "compress/tune.h"
#include "model/xq_pack.h"

#include <stdio.h>
#include <stdlib.h>

#define MB(bytes) ((double)(bytes) / 1e6)

/* Costs of the whole in units of the sample's. */
struct work_units {
    double prepare, measure, round; /* columns^3, rows * columns, rows * columns^2 */
};
struct trial {
    struct xq_run *run;
    uint32_t matrix;             /* the one that is timed */
    float *h;                    /* of its input */
    struct xq_captured captured; /* of the window */
    double window, prepare, measure, round; /* seconds */
};

static struct work_units units_of(const struct xq_matrix *m)
{
    const double rows = m->rows, columns = m->columns;
    return (struct work_units){columns * columns * columns, rows * columns, rows * columns * columns};
}

/* The largest that is no table. */
static uint32_t choose_matrix(const struct xq_job *job)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < job->n_matrices; i++) {
        const struct xq_matrix *m = &job->matrices[i], *b = &job->matrices[best];
        if (b->is_table || (!m->is_table && (uint64_t)m->rows * m->columns > (uint64_t)b->rows * b->columns))
            best = i;
    }
    return best;
}

/* Of all inputs only one covariance stays. */
static bl_status take_one(void *user, uint32_t input)
{
    struct trial *t = user;
    struct xq_input *in = &t->run->job.inputs[input];
    if (input != t->run->job.matrices[t->matrix].input)
        return BL_OK;
    t->h = in->h;
    in->h = NULL;
    return BL_OK;
}

static bl_status time_window(struct trial *t)
{
    struct xq_run *w = t->run;
    struct xq_calibration one = w->text;
    const struct xq_capture_options options = {.threads = w->options->threads, .ram = w->options->ram, .labels = xq_labels_of(w), .temper = w->options->temper, .done = take_one, .user = t};
    one.n_train = 1;
    const double begun = xq_now();
    BL_TRY(xq_capture(&w->job, w->blas, &one, &options, &t->captured));
    t->window = xq_now() - begun;
    w->job.inputs[w->job.matrices[t->matrix].input].h = t->h;
    return BL_OK;
}

static bl_status time_rounding(struct trial *t, const struct xq_prepared *p)
{
    struct xq_run *w = t->run;
    const uint32_t i = t->matrix;
    const struct xq_round_options options = {w->options->threads, w->options->feedback, w->options->sweeps, w->options->shared};
    double loss, begun = xq_now();
    BL_TRY(xq_measure(&w->job, &w->job.matrices[i], p, w->blas, &w->measured[i]));
    t->measure = xq_now() - begun;
    struct xq_strip *strips = w->strips + w->first_strip[i];
    xq_allocate_uniform(strips, w->first_strip[i + 1] - w->first_strip[i], 4, false);
    void *blob = malloc((size_t)xq_blob_bytes(&w->job.matrices[i], &w->measured[i], strips));
    if (!blob)
        BL_FAIL(BL_ENOMEM, "no memory to round '%s'", w->job.matrices[i].name);
    begun = xq_now();
    const bl_status status = xq_round(&w->job, &w->job.matrices[i], p, &w->measured[i], strips, &options, w->job.matrices[i].input, blob, &loss);
    t->round = xq_now() - begun;
    free(blob);
    return status;
}

static bl_status time_matrix(struct trial *t)
{
    struct xq_run *w = t->run;
    struct xq_prepared p = {0};
    const double begun = xq_now();
    BL_TRY(xq_prepare_input(w, w->job.matrices[t->matrix].input, &p));
    t->prepare = xq_now() - begun;
    const bl_status status = time_rounding(t, &p);
    xq_prepared_free(&p);
    return status;
}

/* What stands in memory while matrices are measured and rounded: per thread an input with two squares of its own; the largest matrix in pieces. */
static uint64_t rounding_bytes(const struct xq_run *w)
{
    uint64_t input = 0, matrix = 0;
    for (uint32_t i = 0; i < w->job.n_inputs; i++) {
        const uint64_t square = (uint64_t)w->job.inputs[i].columns * w->job.inputs[i].columns * sizeof(float);
        input = 3 * square > input ? 3 * square : input;
    }
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        const struct xq_measured *m = &w->measured[i];
        const uint64_t bytes = (uint64_t)m->rows * m->blocks * 32 / m->n_row_blocks * 13;
        matrix = bytes > matrix ? bytes : matrix;
    }
    return input * w->options->threads + matrix;
}

static void print_time(const char *stage, double seconds, const char *what)
{
    if (seconds >= 90)
        printf("  %-8s about %.0f min: %s\n", stage, seconds / 60, what);
    else
        printf("  %-8s about %.1f s: %s\n", stage, seconds, what);
}

static void print_times(const struct trial *t)
{
    const struct xq_run *w = t->run;
    const struct work_units one = units_of(&w->job.matrices[t->matrix]);
    struct work_units all = {0};
    char what[160];
    for (uint32_t i = 0; i < w->job.n_inputs; i++)
        all.prepare += (double)w->job.inputs[i].columns * w->job.inputs[i].columns * w->job.inputs[i].columns / one.prepare;
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        all.measure += units_of(&w->job.matrices[i]).measure / one.measure;
        all.round += units_of(&w->job.matrices[i]).round / one.round;
    }
    const double learn = t->window * w->text.n_train, measure = (all.prepare * t->prepare + all.measure * t->measure) / w->options->threads;
    const double round = all.prepare * t->prepare + all.round * t->round, judge = t->window * w->text.n_held, tune = w->text.n_held ? t->window * xq_tune_windows(&w->text, w->options->tune_windows) : 0;
    printf("time, with %u threads, from one window and one matrix:\n", w->options->threads);
    snprintf(what, sizeof what, "%u windows of %u tokens, %u pass%s over them", w->text.n_train, w->text.window, t->captured.passes, t->captured.passes > 1 ? "es" : "");
    print_time("learn", w->state ? 0 : learn, w->state ? "from the state that was saved" : what);
    snprintf(what, sizeof what, "%u matrices, %u inputs", w->job.n_matrices, w->job.n_inputs);
    print_time("measure", measure, what);
    print_time("round", w->options->rounds * round, "for each file");
    snprintf(what, sizeof what, "for each file, %u windows held out", w->text.n_held);
    print_time("judge", w->options->rounds * judge, what);
    snprintf(what, sizeof what, "for each file, %u windows", xq_tune_windows(&w->text, w->options->tune_windows));
    print_time("tune", tune, what);
    const uint32_t files = w->options->n_targets;
    snprintf(what, sizeof what, "%u file%s%s", files, files > 1 ? "s" : "", w->options->targets[0].divergence > 0 ? ", and as much as round, judge and tune again for each try more" : "");
    print_time("total", (w->state ? 0 : learn) + measure + files * (w->options->rounds * (round + judge) + tune), what);
}

static void print_sizes(const struct xq_run *w)
{
    const double parameters = (double)w->parameters;
    printf("%s: %llu bytes, %.0f weights\n", w->options->in, (unsigned long long)bl_model_file_bytes(w->job.file), parameters);
    printf("possible sizes: %llu bytes (%.3f bits per weight) to %llu bytes (%.3f)\n", (unsigned long long)w->least, 8 * (double)w->least / parameters,
           (unsigned long long)w->most, 8 * (double)w->most / parameters);
    for (uint32_t i = 0; i < w->options->n_targets; i++) {
        const struct xq_target *t = &w->options->targets[i];
        const uint64_t bytes = xq_plan_target(w, t);
        if (bytes)
            printf("target: %s: at most %llu bytes, %.3f bits per weight\n", t->out, (unsigned long long)bytes, 8 * (double)bytes / parameters);
        else if (t->divergence > 0)
            printf("target: %s: the smallest file whose KL is at most %g: some files are rounded and judged\n", t->out, t->divergence);
        else
            printf("target: %s: %u bits for all\n", t->out, w->options->depth);
    }
}

bl_status xq_dry_run(struct xq_run *w)
{
    struct trial t = {.run = w, .matrix = choose_matrix(&w->job)};
    BL_TRY(time_window(&t));
    BL_TRY(time_matrix(&t));
    print_sizes(w);
    print_times(&t);
    const uint64_t learning = w->state ? 0 : t.captured.weight_bytes + t.captured.value_bytes + t.captured.h_bytes, rounding = rounding_bytes(w) + (w->options->ram ? 0 : t.captured.h_bytes);
    printf("memory: about %.0f MB beside the model's file (learning %.0f MB, rounding %.0f MB)%s\n", MB(learning > rounding ? learning : rounding), MB(learning), MB(rounding),
           w->options->ram ? ", within --ram where that can be" : "");
    printf("disk: about %.0f MB for the work folder until the end\n", MB(xq_plan_work_bytes(w)));
    return BL_OK;
}
