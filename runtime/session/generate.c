/* generate.c: the generation loop: prompt in chunks, then sample, decode, stop. Knows no device and no graph. */
#include "base/error.h"
#include "session/session.h"
#include "text/stop.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bl_generate_default_params(bl_generate_params *params)
{
    memset(params, 0, sizeof *params);
    params->struct_size = sizeof *params;
    params->tokenize_flags = BL_TOKENIZE_ADD_SPECIAL | BL_TOKENIZE_PARSE_SPECIAL;
    params->max_tokens = -1;
    bl_sampler_default_params(&params->sampler);
}

struct run {
    bl_sequence *s;
    const bl_generate_params *p;
    bl_generate_result *r;
    bl_sampler *sampler;
    struct bl_stop *stop;
    int32_t *prompt;   /* tokens that must be computed before the first new one */
    size_t n_prompt;
    bl_decoder decoder;
};

/* The tokens to read first: the new text, or else the last token of the sequence once more, whose logits are gone. */
static bl_status read_prompt(struct run *run)
{
    bl_sequence *s = run->s;
    const bl_tokenizer *tokenizer = s->model->tokenizer;
    uint32_t flags = run->p->tokenize_flags;
    if (bl_sequence_length(s) > 0)
        flags &= ~(uint32_t)BL_TOKENIZE_ADD_SPECIAL;
    size_t n = 0, owed = s->pending >= 0;
    BL_TRY(bl_tokenizer_encode(tokenizer, run->p->prompt, run->p->prompt_bytes, flags, NULL, 0, &n));
    run->prompt = malloc((n + owed + 1) * sizeof *run->prompt);
    if (!run->prompt)
        BL_FAIL(BL_ENOMEM, "no memory for %zu prompt tokens", n);
    if (owed)
        run->prompt[0] = s->pending;
    BL_TRY(bl_tokenizer_encode(tokenizer, run->p->prompt, run->p->prompt_bytes, flags, run->prompt + owed, n, &n));
    run->n_prompt = n + owed;
    if (run->n_prompt + s->length > s->model->context)
        BL_FAIL(BL_ELIMIT, "context full: %u tokens in the sequence and %zu in the prompt, context %u", s->length, run->n_prompt, s->model->context);
    s->pending = -1;
    if (run->n_prompt == 0) {
        if (s->length == 0)
            BL_FAIL(BL_EINVAL, "the prompt has no token");
        run->prompt[0] = s->tokens[--s->length];
        run->n_prompt = 1;
    }
    run->r->n_prompt = (uint32_t)run->n_prompt;
    return BL_OK;
}

static bl_status compute_prompt(struct run *run)
{
    bl_model *m = run->s->model;
    bl_row rows[BL_STEP_MAX_ROWS];
    for (size_t at = 0; at < run->n_prompt;) {
        uint32_t n = 0;
        for (; n < m->batch && at + n < run->n_prompt; n++)
            rows[n] = (bl_row){run->s, run->prompt[at + n], at + n + 1 == run->n_prompt};
        BL_TRY(bl_forward(m, rows, n));
        at += n;
        if (run->p->on_prompt)
            run->p->on_prompt(run->p->user, (uint32_t)at, (uint32_t)run->n_prompt);
    }
    for (uint32_t i = 0; i < run->s->length; i++)
        bl_sampler_accept(run->sampler, run->s->tokens[i]);
    return BL_OK;
}

/* The text goes on where the sequence ends: its last token decides whether a space is dropped from the next one. */
static bl_status start_text(struct run *run)
{
    const bl_tokenizer *tokenizer = run->s->model->tokenizer;
    int32_t last = run->s->tokens[run->s->length - 1];
    const char *text;
    size_t bytes;
    if ((uint32_t)last < bl_tokenizer_vocabulary(tokenizer))
        BL_TRY(bl_tokenizer_decode(tokenizer, &run->decoder, last, 0, &text, &bytes));
    run->decoder.n_pending = 0;
    return BL_OK;
}

/* Hands text out; false when the callback wants to stop. */
static bool emit(const struct run *run, const char *text, size_t bytes)
{
    return !bytes || !run->p->on_text || run->p->on_text(run->p->user, text, bytes);
}

/* Text of one token through the stop strings. True: the generation is over, and why. */
static bl_status put_token(struct run *run, int32_t token, bool *over)
{
    const char *text;
    size_t bytes;
    uint32_t flags = run->p->special ? BL_DETOKENIZE_SPECIAL : 0;
    BL_TRY(bl_tokenizer_decode(run->s->model->tokenizer, &run->decoder, token, flags, &text, &bytes));
    bool stopped = run->stop && bl_stop_feed(run->stop, text, bytes, &text, &bytes);
    bool go_on = emit(run, text, bytes);
    *over = stopped || !go_on;
    run->r->end = !go_on ? BL_END_CALLBACK : BL_END_STOP;
    return BL_OK;
}

/* What the decoder and the stop strings still hold back, once no stop can come any more. */
static void flush_text(struct run *run)
{
    const char *text;
    size_t bytes;
    bl_tokenizer_decode_finish(&run->decoder, &text, &bytes);
    if (run->stop) {
        bool stopped = bl_stop_feed(run->stop, text, bytes, &text, &bytes);
        (void)emit(run, text, bytes);
        if (stopped)
            return;
        bl_stop_finish(run->stop, &text, &bytes);
    }
    (void)emit(run, text, bytes);
}

static bl_status generate(struct run *run)
{
    bl_sequence *s = run->s;
    bl_model *m = s->model;
    uint64_t start = now_ns();
    BL_TRY(compute_prompt(run));
    BL_TRY(start_text(run));
    uint64_t prompt_end = now_ns();
    run->r->prompt_ns = prompt_end - start;
    run->r->end = BL_END_LENGTH;
    while (run->p->max_tokens < 0 || run->r->n_generated < (uint32_t)run->p->max_tokens) {
        int32_t token;
        bool over = false;
        BL_TRY(bl_sampler_sample(run->sampler, bl_logits(m, 0), &token));
        if (bl_tokenizer_is_end(m->tokenizer, token) && !run->p->ignore_end) {
            run->r->end = BL_END_TOKEN;
            break;
        }
        if ((uint32_t)token >= bl_tokenizer_vocabulary(m->tokenizer)) /* a padded head: no such token */
            BL_FAIL(BL_EFORMAT, "the model gave token %d, the tokenizer has %u", token, bl_tokenizer_vocabulary(m->tokenizer));
        bl_sampler_accept(run->sampler, token);
        run->r->n_generated++;
        run->r->generate_ns = now_ns() - prompt_end;
        s->pending = token;
        BL_TRY(put_token(run, token, &over));
        if (over)
            return BL_OK;
        run->r->end = BL_END_LENGTH;
        if (s->length == m->context) { /* no place for the token: it was shown, but cannot be part of the sequence */
            s->pending = -1;
            break;
        }
        if (run->p->max_tokens >= 0 && run->r->n_generated == (uint32_t)run->p->max_tokens)
            break;
        s->pending = -1;
        bl_row row = {s, token, true};
        BL_TRY(bl_forward(m, &row, 1));
        run->r->n_steps++;
        run->r->generate_ns = now_ns() - prompt_end;
    }
    flush_text(run);
    return BL_OK;
}

static bl_status prepare(struct run *run)
{
    const bl_generate_params *p = run->p;
    if (p->struct_size != sizeof *p)
        BL_FAIL(BL_EINVAL, "bl_generate_params.struct_size is %zu, expected %zu", p->struct_size, sizeof *p);
    if (p->prompt_bytes && !p->prompt)
        BL_FAIL(BL_EINVAL, "bl_generate: prompt is NULL");
    if (!run->s->model->tokenizer)
        BL_FAIL(BL_EUNSUPPORTED, "%s: the file has no tokenizer", bl_model_file_path(run->s->model->file));
    BL_TRY(bl_sampler_create(&p->sampler, run->s->model->vocabulary, &run->sampler));
    if (p->n_stop)
        BL_TRY(bl_stop_create(p->stop, p->n_stop, &run->stop));
    return read_prompt(run);
}

bl_status bl_generate(bl_sequence *sequence, const bl_generate_params *params, bl_generate_result *result)
{
    bl_errors_clear();
    bl_generate_result own;
    if (!result)
        result = &own;
    memset(result, 0, sizeof *result);
    if (!sequence || !params)
        BL_FAIL(BL_EINVAL, "bl_generate: sequence or params is NULL");
    struct run run = {.s = sequence, .p = params, .r = result};
    uint32_t length = sequence->length;
    int32_t pending = sequence->pending;
    bl_status status = prepare(&run);
    if (status == BL_OK)
        status = generate(&run);
    if (status != BL_OK && result->n_generated == 0) { /* the prompt did not get through: nothing has changed */
        sequence->length = length;
        sequence->pending = pending;
    }
    bl_sampler_destroy(run.sampler);
    bl_stop_destroy(run.stop);
    free(run.prompt);
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}
