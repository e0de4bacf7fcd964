/* score.c: windows of a text through the models, and from logits to numbers per token. */
#include "eval/score.h"

#include "base/error.h"
#include "compress/parallel.h"

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

struct window_job {
    const bl_model *model, *base;
    const int32_t *ids; /* what row i's next token is */
    uint32_t vocabulary;
    struct scored *out;
};

/* The largest logit's place, and ln of the sum of exponentials. */
static uint32_t log_sum(const float *logits, uint32_t n, double *out)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - logits[top]);
    *out = (double)logits[top] + log(sum);
    return top;
}

static void score_row(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct window_job *job = user;
    struct scored *s = &job->out[i];
    const float *logits = bl_logits(job->model, i);
    double sum, base_sum;
    const uint32_t top = log_sum(logits, job->vocabulary, &sum);
    *s = (struct scored){.nll = sum - (double)logits[job->ids[i]]};
    if (!job->base)
        return;
    const float *base = bl_logits(job->base, i);
    s->same_top = log_sum(base, job->vocabulary, &base_sum) == top;
    s->base_nll = base_sum - (double)base[job->ids[i]];
    double divergence = 0;
    for (uint32_t v = 0; v < job->vocabulary; v++) {
        const double ln_base = (double)base[v] - base_sum;
        if (ln_base > -16) /* less likely tokens add less than 1e-7 each: what llama-perplexity keeps of them too */
            divergence += (double)expf((float)ln_base) * (ln_base - ((double)logits[v] - sum));
    }
    s->divergence = divergence;
}

bl_status score_text(bl_model *model, bl_model *base, const int32_t *ids, size_t n, const struct score_options *options, struct scores *out)
{
    *out = (struct scores){0};
    const uint32_t window = options->window, scored = window - 1 - window / 2;
    bl_model_info info, base_info;
    bl_model_get_info(model, &info);
    if (base)
        bl_model_get_info(base, &base_info);
    if (base && base_info.vocabulary != info.vocabulary)
        BL_FAIL(BL_EINVAL, "the models' vocabularies have %u and %u tokens", info.vocabulary, base_info.vocabulary);
    if (n < 2 * (size_t)window)
        BL_FAIL(BL_EINVAL, "the text has %zu tokens, two windows of %u are needed", n, window);
    const size_t all = n / window;
    const uint32_t windows = options->windows && options->windows < all ? options->windows : (uint32_t)all;
    const int32_t begin = begin_token(bl_model_tokenizer(model));
    int32_t *input = malloc(window * sizeof *input);
    out->tokens = malloc((size_t)windows * scored * sizeof *out->tokens);
    bl_status status = input && out->tokens ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for %u windows", windows);
    for (uint32_t w = 0; w < windows && status == BL_OK; w++) {
        const int32_t *from = ids + (size_t)w * window;
        memcpy(input, from, window * sizeof *input);
        if (begin >= 0)
            input[0] = begin;
        status = run_window(model, input, window);
        if (status == BL_OK && base)
            status = run_window(base, input, window);
        if (status != BL_OK)
            break;
        struct window_job job = {model, base, from + window / 2 + 1, info.vocabulary, out->tokens + out->n};
        xq_parallel(options->threads, scored, score_row, &job);
        out->n += scored;
        out->windows = w + 1;
        if (options->progress)
            options->progress(options->user, w + 1, windows, out->tokens, out->n);
    }
    free(input);
    if (status != BL_OK) {
        free(out->tokens);
        *out = (struct scores){0};
    }
    return status;
}
