/* score.c: windows of a text through the models, and from logits to numbers per token. */
#include "eval/score.h"

#include "base/error.h"
#include "compress/parallel.h"
#include "eval/base_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bl_status score_tokenize(const bl_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids, size_t *n)
{
    *ids = NULL;
    BL_TRY(bl_tokenizer_encode(tokenizer, text, bytes, BL_TOKENIZE_ADD_SPECIAL, NULL, 0, n));
    *ids = malloc((*n + 1) * sizeof **ids);
    if (!*ids)
        BL_FAIL(BL_ENOMEM, "no memory for %zu tokens", *n);
    return bl_tokenizer_encode(tokenizer, text, bytes, BL_TOKENIZE_ADD_SPECIAL, *ids, *n, n);
}

/* What an empty text becomes: the begin token, or nothing. -1: none. */
static int32_t begin_token(const bl_tokenizer *tokenizer)
{
    int32_t id = -1;
    size_t n = 0;
    if (bl_tokenizer_encode(tokenizer, "", 0, BL_TOKENIZE_ADD_SPECIAL, &id, 1, &n) != BL_OK || n == 0 || id != bl_tokenizer_special(tokenizer, BL_SPECIAL_BOS))
        return -1;
    return id;
}

/* Tokens that go through the model at once: long windows take no more memory for logits, and can say how far they are. */
enum { PIECE = 512 };

uint32_t score_outputs(uint32_t window)
{
    return window / 2 < PIECE ? window / 2 : PIECE;
}

/* Tokens `from` to `to` of a window of one model: those of the first half are only read, the logits of the second half's are kept. */
static bl_status run_piece(bl_model *model, bl_sequence *sequence, const int32_t *ids, uint32_t from, uint32_t to, uint32_t window)
{
    bl_row rows[PIECE];
    for (uint32_t i = from; i < to; i++)
        rows[i - from] = (bl_row){sequence, ids[i], i >= window / 2 && i + 1 < window};
    return bl_forward(model, rows, to - from);
}

/* The largest number's place. */
static uint32_t top_of(const float *numbers, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        top = numbers[i] > numbers[top] ? i : top;
    return top;
}

/* ln of the sum of exponentials. */
static double log_sum(const float *logits, uint32_t n, uint32_t top)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - logits[top]);
    return (double)logits[top] + log(sum);
}

double score_token(const float *logits, uint32_t vocabulary, int32_t id)
{
    return log_sum(logits, vocabulary, top_of(logits, vocabulary)) - (double)logits[id];
}

/* Tokens of a window whose logits are there. The base is a model, or rows of a file, or neither. */
struct window_job {
    const bl_model *model, *base;
    const struct base_file *stored;
    float *rows;        /* one decoded row per worker */
    const int32_t *ids; /* what row i's next token is */
    uint32_t vocabulary, window, first; /* first: of the window's scored tokens, which row 0 is */
    struct scored *out;
};

static void score_row(void *user, uint32_t i, uint32_t worker)
{
    const struct window_job *job = user;
    const uint32_t n = job->vocabulary;
    struct scored *s = &job->out[i];
    const float *logits = bl_logits(job->model, i), *base;
    const uint32_t top = top_of(logits, n);
    const double sum = log_sum(logits, n, top);
    *s = (struct scored){.nll = sum - (double)logits[job->ids[i]]};
    if (job->base) {
        base = bl_logits(job->base, i);
    } else if (job->stored) {
        float *row = job->rows + (size_t)worker * n;
        base_file_row(job->stored, job->window, job->first + i, row);
        base = row;
    } else {
        return;
    }
    const uint32_t base_top = top_of(base, n);
    const double base_sum = job->base ? log_sum(base, n, base_top) : 0; /* a file holds ln p */
    s->same_top = base_top == top;
    s->base_nll = base_sum - (double)base[job->ids[i]];
    double divergence = 0;
    for (uint32_t v = 0; v < n; v++) {
        const double ln_base = (double)base[v] - base_sum;
        if (ln_base > -16) /* less likely tokens add less than 1e-7 each: what llama-perplexity keeps of them too */
            divergence += (double)expf((float)ln_base) * (ln_base - ((double)logits[v] - sum));
    }
    s->divergence = divergence;
}

/* How far a figure over `all` windows or texts is when a window begins. */
struct way {
    uint32_t done, all;
    double figure;
};

static bl_status score_pieces(struct window_job job, bl_model *model, bl_model *base, bl_sequence *const sequences[2], const int32_t *ids, const struct way *way,
                              const struct score_options *options)
{
    const uint32_t window = options->window, half = window / 2;
    for (uint32_t at = 0; at < window; at += PIECE) {
        const uint32_t end = window - at < PIECE ? window : at + PIECE, first = at > half ? at : half, last = end < window ? end : window - 1;
        BL_TRY(run_piece(model, sequences[0], ids, at, end, window));
        if (base)
            BL_TRY(run_piece(base, sequences[1], ids, at, end, window));
        if (last > first) {
            job.first = first - half;
            job.ids = ids + first + 1;
            xq_parallel(options->threads, last - first, score_row, &job);
            job.out += last - first;
        }
        if (options->progress && end < window)
            options->progress(options->user, way->done + (double)end / window, way->all, way->figure);
    }
    return BL_OK;
}

/* Scores one window; `ids` are its tokens, the first of which gives way to the begin token, if `begin` is one. */
static bl_status score_window(const struct window_job *job, bl_model *model, bl_model *base, int32_t *ids, int32_t begin, const struct way *way,
                              const struct score_options *options)
{
    bl_sequence *sequences[2] = {NULL, NULL};
    const int32_t first = ids[0];
    if (begin >= 0)
        ids[0] = begin;
    bl_status status = bl_sequence_create(model, &sequences[0]);
    if (status == BL_OK && base)
        status = bl_sequence_create(base, &sequences[1]);
    if (status == BL_OK)
        status = score_pieces(*job, model, base, sequences, ids, way, options);
    bl_sequence_destroy(sequences[0]);
    bl_sequence_destroy(sequences[1]);
    ids[0] = first;
    return status;
}

/* All windows of a text, or of a file. */
static bl_status score_windows(bl_model *model, bl_model *base, const struct base_file *stored, const int32_t *text, uint32_t windows,
                               const struct score_options *options, struct scores *out)
{
    *out = (struct scores){0};
    bl_model_info info;
    bl_model_get_info(model, &info);
    const uint32_t window = options->window, scored = window - 1 - window / 2;
    const int32_t begin = begin_token(bl_model_tokenizer(model));
    int32_t *ids = malloc(window * sizeof *ids);
    float *rows = stored ? malloc((size_t)options->threads * info.vocabulary * sizeof *rows) : NULL;
    out->tokens = malloc((size_t)windows * scored * sizeof *out->tokens);
    bl_status status = ids && out->tokens && (rows || !stored) ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for %u windows", windows);
    for (uint32_t w = 0; w < windows && status == BL_OK; w++) {
        if (stored)
            status = base_file_window(stored, w, ids);
        else
            memcpy(ids, text + (size_t)w * window, window * sizeof *ids);
        const struct way way = {w, windows, out->n ? perplexity(out->tokens, out->n).value : NAN};
        const struct window_job job = {.model = model, .base = base, .stored = stored, .rows = rows, .vocabulary = info.vocabulary, .window = w, .out = out->tokens + out->n};
        if (status == BL_OK)
            status = score_window(&job, model, base, ids, begin, &way, options);
        if (status != BL_OK)
            break;
        out->n += scored;
        out->windows = w + 1;
        if (options->progress)
            options->progress(options->user, w + 1, windows, perplexity(out->tokens, out->n).value);
    }
    if (status == BL_OK && stored)
        status = base_file_check(stored);
    free(ids);
    free(rows);
    if (status != BL_OK) {
        free(out->tokens);
        *out = (struct scores){0};
    }
    return status;
}

static uint32_t at_most(uint32_t most, size_t all)
{
    return most && most < all ? most : (uint32_t)all;
}

bl_status score_text(bl_model *model, bl_model *base, const int32_t *ids, size_t n, const struct score_options *options, struct scores *out)
{
    *out = (struct scores){0};
    bl_model_info info, base_info;
    bl_model_get_info(model, &info);
    if (base)
        bl_model_get_info(base, &base_info);
    if (base && base_info.vocabulary != info.vocabulary)
        BL_FAIL(BL_EINVAL, "the models' vocabularies have %u and %u tokens", info.vocabulary, base_info.vocabulary);
    if (n < 2 * (size_t)options->window)
        BL_FAIL(BL_EINVAL, "the text has %zu tokens, two windows of %u are needed", n, options->window);
    return score_windows(model, base, NULL, ids, at_most(options->windows, n / options->window), options, out);
}

bl_status score_stored(bl_model *model, const struct base_file *base, const struct score_options *options, struct scores *out)
{
    *out = (struct scores){0};
    bl_model_info info;
    bl_model_get_info(model, &info);
    if (base->vocabulary != info.vocabulary)
        BL_FAIL(BL_EINVAL, "%s: offset 12: vocabulary is %u, the model's has %u tokens", base->path, base->vocabulary, info.vocabulary);
    return score_windows(model, NULL, base, NULL, at_most(options->windows, base->windows), options, out);
}

bl_status score_snippets(bl_model *model, const struct texts *texts, const struct score_options *options, struct snippets *out)
{
    bl_model_info info;
    bl_model_get_info(model, &info);
    const uint32_t scored = options->window - 1 - options->window / 2, most = at_most(options->windows, texts->n);
    struct scored *tokens = malloc(scored * sizeof *tokens);
    *out = (struct snippets){.perplexities = malloc(texts->n * sizeof *out->perplexities)};
    bl_status status = tokens && out->perplexities ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for %u texts", texts->n);
    for (uint32_t i = 0; i < texts->n && out->n < most && status == BL_OK; i++) {
        int32_t *ids;
        size_t n;
        const struct window_job job = {.model = model, .vocabulary = info.vocabulary, .out = tokens};
        const struct way way = {out->n, most, out->n ? mean(out->perplexities, out->n).value : NAN};
        status = score_tokenize(bl_model_tokenizer(model), texts->items[i].data, texts->items[i].bytes, &ids, &n);
        if (status == BL_OK && n > options->window)
            status = score_window(&job, model, NULL, ids, -1, &way, options);
        free(ids);
        if (status == BL_OK && n > options->window)
            out->perplexities[out->n++] = perplexity(tokens, scored).value;
        else
            out->too_short++;
        if (status == BL_OK && options->progress && out->n)
            options->progress(options->user, out->n, most, mean(out->perplexities, out->n).value);
    }
    if (status == BL_OK && out->n == 0)
        status = bl_error_push(BL_EINVAL, __FILE__, __LINE__, "none of %u texts is longer than %u tokens", texts->n, options->window);
    free(tokens);
    if (status != BL_OK) {
        free(out->perplexities);
        *out = (struct snippets){0};
    }
    return status;
}
