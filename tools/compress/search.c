/* search.c: files are made and judged, each at a size that the ones before suggest. */
#include "compress/stages.h"

#include "base/error.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

enum { MOST_TRIES = 10, LINES = 4 /* tries that lines lead to */ };
#define FINE 0.005  /* of the bytes: sizes nearer to each other than that are not told apart */
#define AIM 0.985   /* of the divergence that is allowed: what the next try is meant to have */
#define CLOSE 0.97   /* of the divergence that is allowed: enough of it is used */

/* Sizes between which the answer is: `low` loses too much, `high` does not; their logarithms of the divergence. */
struct search {
    struct xq_run *run;
    uint64_t low, high;
    double low_log, high_log;  /* NAN: not known */
    uint32_t slot;             /* that the best file is not in */
    struct xq_result best;
    bool found;
};

/* The size at which the allocation expects a loss: bisection, the same for every run. */
static bl_status expected_size(struct xq_run *w, double loss, uint64_t *out)
{
    uint64_t low = w->least, high = w->most;
    while ((double)(high - low) > FINE * (double)high) {
        const uint64_t middle = low + (high - low) / 2;
        struct xq_result r = {.parameters = w->parameters};
        BL_TRY(xq_plan_allocate(w, middle, &r));
        if (r.expected_loss > loss)
            low = middle;
        else
            high = middle;
    }
    *out = high;
    return BL_OK;
}

/* Tries are kept, so that a killed search does not judge again what it has judged. */
static bl_status try_size(struct search *s, const struct xq_target *target, uint32_t number, uint64_t bytes)
{
    struct xq_run *w = s->run;
    struct xq_result r = {.parameters = w->parameters};
    const struct xq_span span = {&r, sizeof r};
    char name[32], error[32];
    snprintf(name, sizeof name, "try-%u", number);
    const double how[] = {(double)bytes, w->options->feedback, w->options->sweeps, w->options->rounds, w->options->tune_windows};
    const uint64_t key = xq_run_key(xq_run_key(xq_measured_key(w), how, sizeof how), &w->text.hash, sizeof w->text.hash);
    if (!xq_work_load(w->kept, name, key, &span, 1)) {
        BL_TRY(xq_produce(w, target->out, bytes, s->slot, false, &r));
        BL_TRY(xq_work_save(w->kept, name, key, &span, 1));
    }
    if (!r.is_judged)
        BL_FAIL(BL_EINVAL, "%s: no window of the calibration text is held out: the text is too short to judge by", w->options->in);
    const bool good = r.divergence <= target->divergence;
    if (!w->options->quiet)
        fprintf(stderr, "try %u: %llu bytes, KL %.4g%s: %s\n", number, (unsigned long long)r.bytes, r.divergence, xq_error_text(r.divergence_error, error), good ? "small enough" : "too much");
    if (good && (!s->found || r.bytes < s->best.bytes)) {
        s->best = r;
        s->found = true;
        s->slot = (s->slot + 1) % XQ_SLOTS;
    }
    *(good ? &s->high : &s->low) = bytes;
    *(good ? &s->high_log : &s->low_log) = log(fmax(r.divergence, 1e-12));
    return BL_OK;
}

/* Where a line through both ends meets the goal (the logarithm of the loss is about straight over bytes), not too near to an end; with one end, by
 * the slope that is usual: a bit more per weight loses three quarters. Small models go in steps: when lines have not led there, halves do. */
static uint64_t next_size(const struct search *s, uint32_t number, double divergence)
{
    const double goal = log(AIM * divergence), slope = 8 * log(4.0) / (double)s->run->parameters, width = (double)(s->high - s->low);
    double at;
    if (number > LINES)
        at = (double)s->low + width / 2;
    else if (!isnan(s->low_log) && !isnan(s->high_log))
        at = (double)s->low + width * (s->low_log - goal) / (s->low_log - s->high_log);
    else
        at = isnan(s->low_log) ? (double)s->high - (goal - s->high_log) / slope : (double)s->low + (s->low_log - goal) / slope;
    const double least = (double)s->low + 0.1 * width, most = (double)s->high - 0.1 * width;
    return (uint64_t)(at < least ? least : at > most ? most : at);
}

static bool is_narrow(const struct search *s)
{
    return (double)(s->high - s->low) <= FINE * (double)s->high;
}

bl_status xq_search(struct xq_run *w, const struct xq_target *target, struct xq_result *result)
{
    struct search s = {.run = w, .low = w->least, .high = w->most, .low_log = NAN, .high_log = NAN};
    uint64_t bytes = 0;
    xq_plan_expect_measured(w);
    BL_TRY(expected_size(w, target->divergence, &bytes));
    for (uint32_t number = 1; number <= MOST_TRIES; number++) {
        BL_TRY(try_size(&s, target, number, bytes));
        if (s.found ? is_narrow(&s) || s.best.divergence >= CLOSE * target->divergence : bytes == w->most)
            break;
        bytes = !s.found && is_narrow(&s) ? w->most : next_size(&s, number, target->divergence);
    }
    if (!s.found)
        BL_FAIL(BL_ELIMIT, "%s: no size was found whose KL is at most %g: the largest file has %llu bytes", w->options->in, target->divergence, (unsigned long long)w->most);
    *result = s.best;
    return xq_produce(w, target->out, s.high, (s.slot + 1) % XQ_SLOTS, true, result);
}
