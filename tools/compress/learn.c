/* learn.c: text -> windows -> statistics -> state, or a state that is there already. */
#include "compress/learn.h"

#include "base/error.h"
#include "compress/network.h"

#include <stdlib.h>
#include <unistd.h>

/* As many tokens as the model has positions. */
static uint32_t window_of(const struct xq_job *job)
{
    const struct bl_graph_param *context = bl_graph_find_param(job->graph, "context");
    uint32_t window = context && !context->is_text && context->number < XQ_WINDOW ? (uint32_t)context->number : XQ_WINDOW;
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *n = &job->graph->nodes[i];
        if (n->op == BL_NODE_EMBED && n->params.embed.source && n->weight.rows < window)
            window = n->weight.rows;
    }
    return window;
}

struct saving {
    const struct xq_learn_options *options;
    struct xq_job *job;
    struct xq_state_writer *writer;
};

static bl_status put(void *user, uint32_t input)
{
    const struct saving *s = user;
    return xq_state_put(s->writer, s->job, input);
}

static void progress(void *user, uint32_t done, uint32_t all)
{
    const struct saving *s = user;
    if (s->options->progress)
        s->options->progress(s->options->user, done, all);
}

static bl_status look_at_text(struct xq_job *job, const struct xq_blas *blas, const struct xq_learn_options *o, const struct xq_state_key *key, struct xq_learned *out)
{
    struct saving s = {o, job, NULL};
    struct xq_capture_options options = {o->threads, o->ram, o->temper, progress, NULL, &s};
    if (!o->state)
        return xq_capture(job, blas, &out->text, &options, &out->captured);
    options.done = put;
    BL_TRY(xq_state_create(o->state, job, key, &s.writer)); /* before the work: a folder that cannot be written to is found out now */
    bl_status status = xq_capture(job, blas, &out->text, &options, &out->captured);
    if (status == BL_OK)
        status = xq_state_finish(s.writer, job);
    xq_state_destroy(s.writer);
    return status;
}

bl_status xq_learn(struct xq_job *job, const struct xq_blas *blas, const struct xq_learn_options *options, struct xq_learned *out)
{
    *out = (struct xq_learned){0};
    bl_tokenizer *tokenizer;
    BL_TRY(bl_tokenizer_open(bl_model_file_path(job->file), &tokenizer));
    const bl_status status = xq_calibration_read(tokenizer, options->texts, options->n_texts, window_of(job), options->tokens, &out->text);
    bl_tokenizer_destroy(tokenizer);
    BL_TRY(status);
    const struct xq_state_key key = options->state ? xq_state_key(job, &out->text, options->temper) : (struct xq_state_key){0};
    if (!options->state || access(options->state, F_OK) != 0)
        BL_TRY(look_at_text(job, blas, options, &key, out));
    return options->state ? xq_state_open(options->state, job, &key, &out->state) : BL_OK;
}

void xq_learned_free(struct xq_learned *learned)
{
    xq_calibration_free(&learned->text);
    xq_state_close(learned->state);
    *learned = (struct xq_learned){0};
}

bl_status xq_learned_take(const struct xq_learned *learned, struct xq_job *job, uint32_t input)
{
    return learned->state ? xq_state_take(learned->state, job, input) : BL_OK;
}

void xq_learned_drop(const struct xq_learned *learned, struct xq_job *job, uint32_t input)
{
    if (!learned->state)
        return;
    free(job->inputs[input].h);
    job->inputs[input].h = NULL;
}
