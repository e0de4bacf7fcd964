/* learn.c: what text says about inputs and what that says about weights: learned once, kept in the work folder while it is learned, and measured
 * matrix by matrix. */
#include "compress/stages.h"

#include "base/error.h"
#include "base/hash.h"
#include "compress/capture.h"
#include "compress/parallel.h"
#include "compress/progress.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_KEY UINT64_C(0x6269746c6f6f6d77)
#define MOST_OF_TIME 20 /* keeping sums takes at most one part in so many */
enum { WINDOW = 512 };  /* tokens; fewer where the model takes no more */

uint64_t xq_run_key(uint64_t key, const void *data, size_t bytes)
{
    return bl_hash_bytes(key, data, bytes);
}

/* ---- text ---- */

bl_status xq_open_state(struct xq_run *w)
{
    const struct xq_options *o = w->options;
    w->objective = o->objective;
    if (!o->state)
        return BL_OK;
    struct xq_state_key key = xq_state_key(&w->job, NULL, o->temper);
    key.objective = o->objective == XQ_OBJECTIVE_OF_STATE ? XQ_ANY_OBJECTIVE : o->objective;
    BL_TRY(xq_state_open(o->state, &w->job, &key, &w->state));
    const uint32_t objective = xq_state_objective(w->state);
    if (objective >= XQ_OBJECTIVES)
        BL_FAIL(BL_EFORMAT, "%s: a state made for an objective that this program does not know", o->state);
    w->objective = (enum xq_objective)objective;
    return BL_OK;
}

static uint32_t window_of(const struct xq_run *w)
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

static bl_status check_text(const struct xq_run *w)
{
    struct xq_calibration kept;
    BL_TRY(xq_state_text(w->state, &w->job, &kept));
    const bool same = kept.hash == w->text.hash;
    xq_calibration_free(&kept);
    if (!same)
        BL_FAIL(BL_EINVAL, "%s: a state made from another calibration text, or other windows of it: leave --calib and --task out, the state has what it needs", w->options->state);
    return BL_OK;
}

bl_status xq_read_text(struct xq_run *w)
{
    const struct xq_options *o = w->options;
    bl_tokenizer *tokenizer;
    if (w->state && !o->n_calibration && !o->questions)
        return xq_state_text(w->state, &w->job, &w->text);
    BL_TRY(bl_tokenizer_open(o->in, &tokenizer));
    const bl_status status = o->questions ? xq_calibration_read_questions(tokenizer, o->questions, window_of(w), o->calibration_tokens, &w->text)
                                          : xq_calibration_read(tokenizer, o->calibration, o->n_calibration, window_of(w), o->calibration_tokens, &w->text);
    bl_tokenizer_destroy(tokenizer);
    if (status == BL_OK && !o->quiet && w->text.is_short)
        fprintf(stderr, "the %s %llu tokens, %llu were asked for: %u windows of %u to learn from\n", o->questions ? "questions have" : o->n_calibration ? "calibration text has" : "built-in text has",
                (unsigned long long)w->text.available, (unsigned long long)o->calibration_tokens, w->text.n_train, w->text.window);
    if (status == BL_OK && !o->quiet && !o->questions && !o->n_calibration)
        fprintf(stderr, "the built-in text is small and of one kind: with --calib and text like that the model is for, the result is better\n");
    if (status == BL_OK && !o->quiet && o->calibration_tokens && o->calibration_tokens < w->text.window)
        fprintf(stderr, "%llu tokens to learn from are less than a window: %u are\n", (unsigned long long)o->calibration_tokens, w->text.window);
    return status == BL_OK && w->state ? check_text(w) : status;
}

/* ---- learning ---- */

enum xq_labels xq_labels_of(const struct xq_run *w)
{
    return w->objective == XQ_OBJECTIVE_KLD ? XQ_LABELS_DRAWN : XQ_LABELS_TEXT;
}

/* A run of xq_capture. With `spill` covariances go to the file of what was learned as they are complete, and are read from there. */
struct learning {
    struct xq_run *run;
    struct xq_state_key state_key;
    uint64_t key;
    char *path;
    bool spill;
    struct xq_state_writer *writer;
    struct xq_span *spans;  /* `at`, the writer's head, sums */
    struct xq_capture_at at;
    double kept, took;      /* when, and how long that was */
};

static void captured_window(void *user, uint32_t done, uint32_t all)
{
    (void)user;
    (void)done;
    (void)all;
    xq_stage_step(1);
}

static bl_status captured_input(void *user, uint32_t input)
{
    struct learning *l = user;
    return xq_state_put(l->writer, &l->run->job, input);
}

static uint32_t join_spans(struct learning *l, const struct xq_span *sums, uint32_t n)
{
    free(l->spans);
    l->spans = malloc((n + 2u) * sizeof *l->spans);
    if (!l->spans)
        return 0;
    l->spans[0] = (struct xq_span){&l->at, sizeof l->at};
    l->spans[1] = l->writer ? xq_state_head(l->writer) : (struct xq_span){NULL, 0};
    if (n)
        memcpy(l->spans + 2, sums, n * sizeof *sums);
    return n + 2;
}

static bl_status keep_sums(void *user, struct xq_capture_at at, const struct xq_span *sums, uint32_t n)
{
    struct learning *l = user;
    const double every = l->run->options->checkpoint, now = xq_now(), wait = every > 0 && l->took * MOST_OF_TIME > every ? l->took * MOST_OF_TIME : every;
    if (now - l->kept < wait)
        return BL_OK;
    l->at = at;
    const uint32_t n_spans = join_spans(l, sums, n);
    if (!n_spans)
        BL_FAIL(BL_ENOMEM, "no memory for a list of %u sums", n);
    if (l->writer)
        BL_TRY(xq_state_flush(l->writer));
    BL_TRY(xq_work_save(l->run->kept, "sums", l->key, l->spans, n_spans));
    l->kept = xq_now();
    l->took = l->kept - now;
    return BL_OK;
}

static bl_status load_sums(void *user, const struct xq_span *sums, uint32_t n)
{
    struct learning *l = user;
    const uint32_t n_spans = join_spans(l, sums, n);
    if (!n_spans || !xq_work_load(l->run->kept, "sums", l->key, l->spans, n_spans))
        BL_FAIL(BL_EIO, "%s: the file 'sums' of its work folder can no longer be read", l->run->options->in);
    return BL_OK;
}

/* The file that covariances go to: the one that another run left, if sums of it are there to go on with. */
static bl_status open_writer(struct learning *l, const struct xq_capture_at *at)
{
    if (at->pass && xq_state_reopen(l->path, &l->run->job, &l->state_key, &l->writer) == BL_OK)
        return BL_OK;
    bl_errors_clear();
    l->at = (struct xq_capture_at){0};
    return xq_state_create(l->path, &l->run->job, &l->state_key, &l->writer);
}

static bl_status learn_from_text(struct learning *l)
{
    struct xq_run *w = l->run;
    const struct xq_options *o = w->options;
    struct xq_capture_options options = {.threads = o->threads, .ram = o->ram, .labels = xq_labels_of(w), .temper = o->temper, .progress = captured_window, .user = l};
    struct xq_captured captured;
    char note[96];
    const struct xq_span at = {&l->at, sizeof l->at};
    if (!xq_work_load(w->kept, "sums", l->key, &at, 1))
        l->at = (struct xq_capture_at){0};
    if (l->spill) {
        options.done = captured_input;
        BL_TRY(open_writer(l, &l->at));
    }
    options.from = l->at;
    if (xq_work_keeps(w->kept)) {
        options.save = keep_sums;
        options.load = load_sums;
        l->kept = xq_now();
    }
    xq_stage_begin("learn", w->text.n_train, o->quiet);
    xq_stage_skip(l->at.pass ? w->text.n_train : l->at.window);
    bl_status status = xq_capture(&w->job, w->blas, &w->text, &options, &captured);
    if (status == BL_OK)
        snprintf(note, sizeof note, "%llu tokens, perplexity %.2f", (unsigned long long)captured.tokens, exp(captured.nll));
    if (status == BL_OK && !isfinite(captured.nll))
        status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: the loss of the original on the calibration text is not a finite number", o->in);
    (void)xq_stage_end(status == BL_OK ? note : "failed");
    if (status == BL_OK && l->spill)
        status = xq_state_finish(l->writer, &w->job, &w->text);
    else if (status == BL_OK && l->path)
        status = xq_state_write(l->path, &w->job, &l->state_key, &w->text);
    if (status == BL_OK)
        xq_work_drop(w->kept, "sums");
    return status;
}

/* Into memory, or with `spill` as it is needed. */
static bl_status use_state(struct xq_run *w, const char *path, const struct xq_state_key *key, bool spill)
{
    return spill ? xq_state_open(path, &w->job, key, &w->state) : xq_state_read(path, &w->job, key);
}

static bl_status learn_or_find(struct learning *l)
{
    struct xq_run *w = l->run;
    if (l->path && access(l->path, R_OK) == 0) {
        if (use_state(w, l->path, &l->state_key, l->spill) == BL_OK) {
            xq_stage_begin("learn", 1, w->options->quiet);
            (void)xq_stage_end("as kept in the work folder");
            return BL_OK;
        }
        if (!w->options->quiet)
            fprintf(stderr, "not used: %s\n", bl_error_text());
        bl_errors_clear();
    }
    BL_TRY(learn_from_text(l));
    return l->spill ? use_state(w, l->path, &l->state_key, true) : BL_OK;
}

static bl_status take_input(struct xq_run *w, uint32_t i, bool *taken)
{
    *taken = w->state && !w->job.inputs[i].h;
    return *taken ? xq_state_take(w->state, &w->job, i) : BL_OK;
}

static void drop_input(struct xq_run *w, uint32_t i, bool taken)
{
    if (!taken)
        return;
    free(w->job.inputs[i].h);
    w->job.inputs[i].h = NULL;
}

static bl_status save_state(struct xq_run *w, const struct xq_state_key *key)
{
    struct xq_state_writer *writer;
    BL_TRY(xq_state_create(w->options->save_state, &w->job, key, &writer));
    bl_status status = BL_OK;
    for (uint32_t i = 0; i < w->job.n_inputs && status == BL_OK; i++) {
        bool taken;
        status = take_input(w, i, &taken);
        if (status == BL_OK)
            status = xq_state_put(writer, &w->job, i);
        drop_input(w, i, taken);
    }
    if (status == BL_OK)
        status = xq_state_finish(writer, &w->job, &w->text);
    xq_state_destroy(writer);
    return status;
}

/* With a bound of memory covariances stay in the state until they are needed. */
static bl_status take_state(struct xq_run *w)
{
    bl_status status = BL_OK;
    if (w->options->ram)
        return BL_OK;
    for (uint32_t i = 0; i < w->job.n_inputs && status == BL_OK; i++)
        status = xq_state_take(w->state, &w->job, i);
    xq_state_close(w->state);
    w->state = NULL;
    return status;
}

bl_status xq_learn(struct xq_run *w)
{
    const struct xq_options *o = w->options;
    if (o->state)
        return take_state(w);
    struct learning l = {.run = w, .spill = o->ram && xq_work_keeps(w->kept), .state_key = xq_state_key(&w->job, &w->text, o->temper)};
    l.state_key.objective = o->objective;
    if (xq_work_keeps(w->kept) && !(l.path = xq_work_path(w->kept, "learned")))
        return BL_EIO;
    const uint64_t all[] = {l.state_key.model, l.state_key.text, o->objective, (uint64_t)(o->temper * 1e6), o->ram};
    l.key = xq_run_key(HASH_KEY, all, sizeof all);
    bl_status status = learn_or_find(&l);
    if (status == BL_OK && o->save_state)
        status = save_state(w, &l.state_key);
    xq_state_destroy(l.writer);
    free(l.spans);
    free(l.path);
    return status;
}

/* ---- keys ---- */

/* What the text said: of all that is learned the worths depend on the most. */
static uint64_t learned_key(const struct xq_run *w)
{
    uint64_t key = xq_run_key(HASH_KEY, bl_model_file_data(w->job.file), (size_t)bl_model_file_bytes(w->job.file));
    for (uint32_t i = 0; i < w->job.n_matrices; i++) {
        const struct xq_matrix *m = &w->job.matrices[i];
        key = xq_run_key(key, m->row_worth, m->rows * sizeof *m->row_worth);
    }
    return key;
}

uint64_t xq_measured_key(const struct xq_run *w)
{
    const struct xq_options *o = w->options;
    const double all[] = {o->damp, o->method != XQ_METHOD_XQ};
    return xq_run_key(w->learned_key, all, sizeof all);
}

/* ---- measuring ---- */

bl_status xq_prepare_input(struct xq_run *w, uint32_t input, struct xq_prepared *out)
{
    bool taken;
    *out = (struct xq_prepared){0};
    BL_TRY(take_input(w, input, &taken));
    const bl_status status = xq_prepare(&w->job, &w->job.inputs[input], w->options->damp, w->blas, out);
    drop_input(w, input, taken);
    return status;
}

enum { MEASURED_SPANS = 5 };

static uint64_t measured_spans(struct xq_measured *m, struct xq_span spans[MEASURED_SPANS])
{
    spans[0] = (struct xq_span){&m->exponent, sizeof m->exponent};
    spans[1] = (struct xq_span){m->share, sizeof m->share};
    spans[2] = (struct xq_span){m->scale, m->rows};
    spans[3] = (struct xq_span){m->energy, (uint64_t)m->n_row_blocks * m->blocks * sizeof *m->energy};
    spans[4] = (struct xq_span){m->candidates, m->n_candidates * sizeof *m->candidates};
    return spans[0].bytes + spans[1].bytes + spans[2].bytes + spans[3].bytes;
}

static bool load_measured(struct xq_run *w, uint32_t matrix, const char *name)
{
    struct xq_measured m = xq_measured_shape(&w->job.matrices[matrix]);
    struct xq_span spans[MEASURED_SPANS];
    const uint64_t fixed = measured_spans(&m, spans), bytes = xq_work_bytes(w->kept, name, xq_measured_key(w));
    if (bytes < fixed)
        return false;
    m.n_candidates = (uint32_t)((bytes - fixed) / sizeof *m.candidates);
    m.scale = malloc(m.rows);
    m.energy = malloc((size_t)spans[3].bytes);
    m.candidates = malloc((m.n_candidates + 1) * sizeof *m.candidates);
    m.outliers = malloc((m.n_candidates + 1) * sizeof *m.outliers);
    (void)measured_spans(&m, spans);
    if (!m.scale || !m.energy || !m.candidates || !m.outliers || !xq_work_load(w->kept, name, xq_measured_key(w), spans, MEASURED_SPANS) ||
        xq_measure_worth(&w->job.matrices[matrix], w->blas, &m) != BL_OK) {
        xq_measured_free(&m);
        return false;
    }
    w->measured[matrix] = m;
    return true;
}

static bl_status measure_matrices(struct xq_run *w, uint32_t input)
{
    struct xq_prepared p = {0};
    bl_status status = BL_OK;
    for (uint32_t k = 0; k < w->job.n_matrices && status == BL_OK; k++) {
        char name[32];
        snprintf(name, sizeof name, "measured-%u", k);
        if (w->job.matrices[k].input != input || load_measured(w, k, name))
            continue;
        if (!p.perm)
            status = xq_prepare_input(w, input, &p);
        if (status == BL_OK)
            status = xq_measure(&w->job, &w->job.matrices[k], &p, w->blas, &w->measured[k]);
        struct xq_span spans[MEASURED_SPANS];
        (void)measured_spans(&w->measured[k], spans);
        if (status == BL_OK)
            status = xq_work_save(w->kept, name, xq_measured_key(w), spans, MEASURED_SPANS);
    }
    xq_prepared_free(&p);
    return status;
}

struct measuring {
    struct xq_run *run;
    bl_status status; /* of the first input that failed; its line, for the errors of a thread stay with it */
    char line[256];
    _Atomic bool failed;
};

static void measure_input(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct measuring *m = user;
    if (m->failed)
        return;
    const bl_status status = measure_matrices(m->run, i);
    xq_stage_step(1);
    if (status != BL_OK && !atomic_exchange(&m->failed, true)) {
        m->status = status;
        snprintf(m->line, sizeof m->line, "%s", bl_error_text());
    }
}

bl_status xq_measure_all(struct xq_run *w)
{
    struct measuring m = {.run = w};
    w->learned_key = learned_key(w);
    xq_stage_begin("measure", w->job.n_inputs, w->options->quiet);
    xq_parallel(w->options->threads, w->job.n_inputs, measure_input, &m);
    (void)xq_stage_end(NULL);
    if (m.status != BL_OK)
        return bl_error_push(m.status, __FILE__, __LINE__, "%s", m.line);
    return BL_OK;
}
