/* score.h: runs one or two models over a text in windows, as llama-perplexity does: windows of n tokens that do not overlap, each alone, the model's
 * begin token (where it has one) in the place of a window's first; tokens of the second half are scored. */
#ifndef BL_EVAL_SCORE_H
#define BL_EVAL_SCORE_H
#include "eval/statistics.h"

#include <bitloom/bitloom.h>

struct score_options {
    uint32_t window;   /* tokens; even, 8 or more */
    uint32_t windows;  /* at most so many; 0: all */
    uint32_t threads;
    /* Called after each window with what is known until then; NULL: not. */
    void (*progress)(void *user, uint32_t done, uint32_t all, const struct scored *tokens, size_t n);
    void *user;
};
struct scores {
    struct scored *tokens;
    size_t n;
    uint32_t windows;
};

/* The ids of a text, begin token and all; the caller frees. */
bl_status score_tokenize(const bl_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids, size_t *n) BL_MUST_USE;
/* base: NULL to score the model alone (then divergences are 0). Both need a context of a window and max_outputs of half of it. The caller frees
 * out->tokens. Errors: BL_EINVAL for a text shorter than a window or vocabularies of different sizes. */
bl_status score_text(bl_model *model, bl_model *base, const int32_t *ids, size_t n, const struct score_options *options, struct scores *out) BL_MUST_USE;
#endif
