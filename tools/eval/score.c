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

/* A window of one model: its first half is only read, the second half's logits are kept. */
static bl_status run_window(bl_model *model, const int32_t *ids, uint32_t window)
{
    bl_sequence *sequence;
    bl_row *rows = malloc(window * sizeof *rows);
    if (!rows)
        BL_FAIL(BL_ENOMEM, "no memory for a window of %u tokens", window);
    bl_status status = bl_sequence_create(model, &sequence);
    if (status == BL_OK) {
        for (uint32_t i = 0; i < window; i++)
            rows[i] = (bl_row){sequence, ids[i], i >= window / 2 && i + 1 < window};
        status = bl_forward(model, rows, window);
        bl_sequence_destroy(sequence);
    }
    free(rows);
    return status;
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

/* A window whose logits are there. The base is a model, or rows of a file, or neither. */
struct window_job {
    const bl_model *model, *base;
    const struct base_file *stored;
    float *rows;        /* one decoded row per worker */
    const int32_t *ids; /* what row i's next token is */
    uint32_t vocabulary, window;
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
        base_file_row(job->stored, job->window, i, row);
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

/* Scores one window; `ids` are its tokens, the first of which gives way to the begin token, if `begin` is one. */
static bl_status score_window(struct window_job *job, bl_model *model, bl_model *base, int32_t *ids, int32_t begin, const struct score_options *options)
{
    const int32_t first = ids[0];
    if (begin >= 0)
        ids[0] = begin;
    bl_status status = run_window(model, ids, options->window);
    if (status == BL_OK && base)
        status = run_window(base, ids, options->window);
    ids[0] = first;
    if (status != BL_OK)
        return status;
    job->ids = ids + options->window / 2 + 1;
    xq_parallel(options->threads, options->window - 1 - options->window / 2, score_row, job);
    return BL_OK;
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
        struct window_job job = {.model = model, .base = base, .stored = stored, .rows = rows, .vocabulary = info.vocabulary, .window = w, .out = out->tokens + out->n};
        if (status == BL_OK)
            status = score_window(&job, model, base, ids, begin, options);
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
        struct window_job job = {.model = model, .vocabulary = info.vocabulary, .out = tokens};
        status = score_tokenize(bl_model_tokenizer(model), texts->items[i].data, texts->items[i].bytes, &ids, &n);
        if (status == BL_OK && n > options->window)
            status = score_window(&job, model, NULL, ids, -1, options);
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
