/* choose.c: see choose.h. */
#include "eval/choose.h"

#include "base/error.h"
#include "compress/parallel.h"

#include <stdlib.h>
#include <string.h>

struct runner {
    bl_model *model;
    bl_sequence *sequence;
    bl_row *rows;
    int32_t *held;    /* the tokens in the sequence, `context` at most */
    uint32_t n_held, context, vocabulary, threads;
    int32_t *ids[MOST_CHOICES]; /* of the task at hand */
    uint32_t n[MOST_CHOICES], n_choices;
    char *text;       /* room for a prompt with a choice */
    size_t text_bytes;
    uint64_t tokens;
};

/* ---- tokens ---- */

static bl_status tokenize_choice(struct runner *r, const struct text *prompt, const struct text *choice, uint32_t c)
{
    const size_t bytes = prompt->bytes + 1 + choice->bytes;
    if (bytes > r->text_bytes) {
        char *grown = realloc(r->text, bytes);
        if (!grown)
            BL_FAIL(BL_ENOMEM, "no memory for a task of %zu bytes", bytes);
        r->text = grown;
        r->text_bytes = bytes;
    }
    memcpy(r->text, prompt->data, prompt->bytes);
    r->text[prompt->bytes] = ' ';
    memcpy(r->text + prompt->bytes + 1, choice->data, choice->bytes);
    size_t n;
    BL_TRY(score_tokenize(bl_model_tokenizer(r->model), r->text, bytes, &r->ids[c], &n));
    r->n[c] = (uint32_t)n;
    return BL_OK;
}

static void forget_tokens(struct runner *r)
{
    for (uint32_t c = 0; c < r->n_choices; c++) {
        free(r->ids[c]);
        r->ids[c] = NULL;
    }
}

/* Tokens that all choices begin with alike; each keeps one for itself. */
static uint32_t shared_tokens(const struct runner *r)
{
    uint32_t n = r->n[0] - 1;
    for (uint32_t c = 1; c < r->n_choices; c++) {
        n = r->n[c] - 1 < n ? r->n[c] - 1 : n;
        for (uint32_t i = 0; i < n; i++)
            if (r->ids[c][i] != r->ids[0][i])
                n = i;
    }
    return n;
}

/* Takes what does not fit out of the front of the prompt, behind its first token, which may be the model's begin token. */
static bl_status fit(struct runner *r, const char *name, const struct task *task, uint32_t *shared, uint32_t *cut)
{
    uint32_t longest = 0;
    for (uint32_t c = 0; c < r->n_choices; c++)
        longest = r->n[c] > longest ? r->n[c] : longest;
    const uint32_t most = r->context + 1; /* the last token is only guessed */
    if (longest <= most)
        return BL_OK;
    const uint32_t gone = longest - most;
    if (gone + 2 > *shared)
        BL_FAIL(BL_EFORMAT, "%s: line %u: a choice of %u tokens does not fit a context of %u", name, task->prompt.line, longest - *shared, r->context);
    for (uint32_t c = 0; c < r->n_choices; c++) {
        r->n[c] -= gone;
        memmove(r->ids[c] + 1, r->ids[c] + 1 + gone, (r->n[c] - 1) * sizeof *r->ids[c]);
    }
    *shared -= gone;
    *cut += 1;
    return BL_OK;
}

/* ---- likelihoods ---- */

/* Appends ids; the logits of those from `keep` on are kept. */
static bl_status extend(struct runner *r, const int32_t *ids, uint32_t n, uint32_t keep)
{
    for (uint32_t i = 0; i < n; i++)
        r->rows[i] = (bl_row){r->sequence, ids[i], i >= keep};
    r->tokens += n;
    return bl_forward(r->model, r->rows, n);
}

static bl_status compute_prompt(struct runner *r, uint32_t shared)
{
    uint32_t same = 0;
    while (same < r->n_held && same + 1 < shared && r->held[same] == r->ids[0][same])
        same++;
    BL_TRY(bl_sequence_truncate(r->sequence, same));
    r->n_held = 0;
    BL_TRY(extend(r, r->ids[0] + same, shared - same, shared - same - 1));
    memcpy(r->held, r->ids[0], shared * sizeof *r->held);
    r->n_held = shared;
    return BL_OK;
}

struct scores_job {
    const bl_model *model;
    uint32_t vocabulary;
    const int32_t *ids;
    double nll[CHOOSE_OUTPUTS];
};

static void score_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct scores_job *job = user;
    job->nll[i] = score_token(bl_logits(job->model, i), job->vocabulary, job->ids[i]);
}

/* -ln p of the choice's tokens behind its first own one, which the prompt's last row told. */
static bl_status score_rest(struct runner *r, uint32_t c, uint32_t shared, double *nll)
{
    const uint32_t last = r->n[c] - 1;
    if (shared == last)
        return BL_OK;
    BL_TRY(bl_sequence_truncate(r->sequence, shared));
    for (uint32_t at = shared; at < last; at += CHOOSE_OUTPUTS) {
        const uint32_t n = last - at < CHOOSE_OUTPUTS ? last - at : CHOOSE_OUTPUTS;
        BL_TRY(extend(r, r->ids[c] + at, n, 0));
        struct scores_job job = {.model = r->model, .vocabulary = r->vocabulary, .ids = r->ids[c] + at + 1};
        xq_parallel(r->threads, n, score_turn, &job);
        for (uint32_t i = 0; i < n; i++)
            *nll += job.nll[i];
    }
    return BL_OK;
}

static bl_status run_task(struct runner *r, const struct tasks *tasks, const struct task *task, uint32_t *cut, uint32_t *choice)
{
    r->n_choices = task->n_choices;
    for (uint32_t c = 0; c < task->n_choices; c++) {
        BL_TRY(tokenize_choice(r, &task->prompt, &task->choices[c], c));
        if (r->n[c] < 2)
            BL_FAIL(BL_EFORMAT, "%s: line %u: a task of one token", tasks->name, task->prompt.line);
    }
    uint32_t shared = shared_tokens(r);
    if (shared == 0)
        BL_FAIL(BL_EFORMAT, "%s: line %u: the choices have no token in common", tasks->name, task->prompt.line);
    BL_TRY(fit(r, tasks->name, task, &shared, cut));
    BL_TRY(compute_prompt(r, shared));
    double nll[MOST_CHOICES];
    for (uint32_t c = 0; c < r->n_choices; c++)
        nll[c] = score_token(bl_logits(r->model, 0), r->vocabulary, r->ids[c][shared]);
    for (uint32_t c = 0; c < r->n_choices; c++) {
        BL_TRY(score_rest(r, c, shared, &nll[c]));
        if (tasks->per_token)
            nll[c] /= r->n[c] - shared;
    }
    *choice = 0;
    for (uint32_t c = 1; c < r->n_choices; c++)
        *choice = nll[c] < nll[*choice] ? c : *choice;
    return BL_OK;
}

bl_status choose(bl_model *model, const struct tasks *tasks, const struct choose_options *options, struct chosen *out)
{
    bl_model_info info;
    bl_model_get_info(model, &info);
    *out = (struct chosen){.right = malloc(tasks->n * sizeof *out->right)};
    struct runner r = {.model = model, .context = info.context, .vocabulary = info.vocabulary, .threads = options->threads};
    r.rows = malloc(info.context * sizeof *r.rows);
    r.held = malloc(info.context * sizeof *r.held);
    bl_status status = out->right && r.rows && r.held ? bl_sequence_create(model, &r.sequence)
                                                      : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for a context of %u tokens", info.context);
    for (uint32_t i = 0; i < tasks->n && status == BL_OK; i++) {
        uint32_t choice = 0;
        status = run_task(&r, tasks, &tasks->items[i], &out->cut, &choice);
        forget_tokens(&r);
        if (status != BL_OK)
            break;
        out->right[out->n++] = choice == tasks->items[i].answer;
        if (options->progress)
            options->progress(options->user, i + 1, tasks->n, accuracy(out->right, out->n).value);
    }
    out->tokens = r.tokens;
    bl_sequence_destroy(r.sequence);
    free(r.rows);
    free(r.held);
    free(r.text);
    if (status != BL_OK) {
        free(out->right);
        *out = (struct chosen){0};
    }
    return status;
}
