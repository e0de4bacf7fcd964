/* report.h: what bitloom eval found, in words or as JSON, on stdout. Computes no model. */
#ifndef BL_EVAL_REPORT_H
#define BL_EVAL_REPORT_H
#include "eval/choose.h"
#include "eval/score.h"
#include "options.h"

/* "q8" or "f32": what the model, or the other one that it is compared with, computes with: that one with no rounding of its own but its weights',
 * unless --activations says otherwise. */
const char *activations_of(const struct options *o, bool is_base);

/* seconds: of the whole evaluation, models and all. */

/* `base`: what the model is compared with; NULL: with nothing. False without memory. */
bool report_text(const struct options *o, const struct scores *scores, const char *base, double seconds);
void report_snippets(const struct options *o, const struct snippets *snippets, double seconds);
/* other: what o->against answered; NULL: there is none. `kind`: the option's name without dashes. */
void report_tasks(const struct options *o, const char *kind, const char *file, const struct chosen *model, const struct chosen *other, double seconds);
#endif
