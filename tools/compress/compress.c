/* compress.c: the order of the stages, and what each hands to the next. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/progress.h"
#include "compress/sort.h"

#include <math.h>
#include <stdio.h>

const char *xq_objective_name(enum xq_objective objective)
{
    static const char *const names[] = {[XQ_OBJECTIVE_KLD] = "kld", [XQ_OBJECTIVE_PPL] = "ppl", [XQ_OBJECTIVE_TASK] = "task"};
    return names[objective];
}

const char *xq_error_text(double error, char text[32])
{
    text[0] = 0;
    if (!isnan(error))
        snprintf(text, 32, " +/- %.2g", error);
    return text;
}

static bl_status make_target(struct xq_run *w, uint32_t number, double started, struct xq_result *result)
{
    const struct xq_target *target = &w->options->targets[number];
    const double rounding = xq_stage_seconds("round"), judging = xq_stage_seconds("judge"), tuning = xq_stage_seconds("tune");
    result->parameters = w->parameters;
    if (target->divergence > 0)
        BL_TRY(xq_search(w, target, result));
    else
        BL_TRY(xq_produce(w, target->out, xq_plan_target(w, target), number, true, result));
    const struct xq_times times = {xq_stage_seconds("learn"), xq_stage_seconds("measure"), xq_stage_seconds("round") - rounding, xq_stage_seconds("tune") - tuning, xq_stage_seconds("judge") - judging, xq_now() - started};
    return w->options->report ? xq_write_report(w, target, result, &times) : BL_OK;
}

static bl_status run(struct xq_run *w, struct xq_result *results)
{
    const struct xq_options *o = w->options;
    const double started = xq_now();
    xq_coders_make(o->method != XQ_METHOD_XQ);
    BL_TRY(xq_check_names(o));
    BL_TRY(xq_work_open(o->work, o->quiet, &w->kept));
    BL_TRY(xq_blas_open(&w->blas));
    BL_TRY(xq_job_open(&w->job, o->in));
    BL_TRY(xq_open_state(w));
    BL_TRY(xq_plan_make(w));
    BL_TRY(xq_check_room(w));
    BL_TRY(xq_check_weights(w));
    BL_TRY(xq_read_text(w));
    if (o->dry_run)
        return xq_dry_run(w);
    BL_TRY(xq_work_lock(w->kept));
    BL_TRY(xq_learn(w));
    BL_TRY(xq_sort(&w->job));
    BL_TRY(xq_measure_all(w));
    for (uint32_t t = 0; t < o->n_targets; t++) {
        results[t] = (struct xq_result){0};
        BL_TRY(make_target(w, t, started, &results[t]));
    }
    return BL_OK;
}

bl_status xq_compress(const struct xq_options *options, struct xq_result *results)
{
    struct xq_run w = {.options = options};
    const bl_status status = run(&w, results);
    xq_plan_free(&w);
    xq_calibration_free(&w.text);
    xq_state_close(w.state);
    xq_job_close(&w.job);
    xq_work_close(w.kept, status != BL_EIO && status != BL_ENOMEM); /* those may go away, and then it goes on */
    return status;
}
