/* choose.h: which of a task's choices a model finds most likely.
 *
 * Prompt, blank and choice are one text, with the tokens that the model puts around a text. What the texts of a task begin with alike is computed
 * once, and what it shares with the task before is not computed again; the choices branch off from it. A choice's score is the sum of
 * ln p of its tokens behind that, for tasks whose choices are compared per token divided by their number: what llama-perplexity does for
 * HellaSwag. The first of equals is taken. */
#ifndef BL_EVAL_CHOOSE_H
#define BL_EVAL_CHOOSE_H
#include "eval/score.h"
#include "eval/tasks.h"

#include <bitloom/bitloom.h>

enum { CHOOSE_OUTPUTS = 64 }; /* max_outputs that the model must be opened with */
struct choose_options {
    uint32_t threads;
    eval_progress *progress; /* NULL: none */
    void *user;
};
struct chosen {
    bool *right;     /* per task */
    uint32_t n, cut; /* cut: tasks whose prompt lost its front because it was longer than the context */
    uint64_t tokens; /* that were computed */
};
/* The caller frees out->right. BL_EFORMAT naming the line of a task whose choices alone fill the context. */
bl_status choose(bl_model *model, const struct tasks *tasks, const struct choose_options *options, struct chosen *out) BL_MUST_USE;
#endif
