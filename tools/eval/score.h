/* score.h: runs one or two models over a text in windows, as llama-perplexity does: windows of n tokens that do not overlap, each alone, the model's
 * begin token (where it has one) in the place of a window's first; tokens of the second half are scored. The same with the predictions of the
 * second model from a file, and windows that are the beginnings of many texts. */
#ifndef BL_EVAL_SCORE_H
#define BL_EVAL_SCORE_H
#include "eval/statistics.h"
#include "eval/texts.h"

#include <bitloom/bitloom.h>

/* Called after each window or task, and on the way through long windows: then `done` is no whole number. `figure` is what is known until then, NAN
 * before the first. */
typedef void eval_progress(void *user, double done, uint32_t all, double figure);
struct score_options {
    uint32_t window;   /* tokens, 4 or more */
    uint32_t windows;  /* at most so many; 0: all */
    uint32_t threads;
    eval_progress *progress; /* NULL: none */
    void *user;
};
struct scores {
    struct scored *tokens;
    size_t n;
    uint32_t windows;
};

/* The ids of a text, begin token and all; the caller frees. */
bl_status score_tokenize(const bl_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids, size_t *n) BL_MUST_USE;
/* max_outputs that a model needs for windows of so many tokens. */
uint32_t score_outputs(uint32_t window);
/* base: NULL to score the model alone (then divergences are 0). Both need a context of a window and score_outputs(). The caller frees
 * out->tokens. Errors: BL_EINVAL for a text shorter than two windows or vocabularies of different sizes. */
bl_status score_text(bl_model *model, bl_model *base, const int32_t *ids, size_t n, const struct score_options *options, struct scores *out) BL_MUST_USE;
/* The same against what a file holds of the other model, on the windows in the file; options->window must be the file's. */
struct base_file;
bl_status score_stored(bl_model *model, const struct base_file *base, const struct score_options *options, struct scores *out) BL_MUST_USE;

/* Perplexities of the first windows of texts, one each; texts that are not longer than a window are left out. The caller frees out->perplexities.
 * BL_EINVAL when none is long enough. */
struct snippets {
    double *perplexities;
    uint32_t n, too_short;
};
bl_status score_snippets(bl_model *model, const struct texts *texts, const struct score_options *options, struct snippets *out) BL_MUST_USE;

/* -ln p of a token by one row of logits. */
double score_token(const float *logits, uint32_t vocabulary, int32_t id);
#endif
