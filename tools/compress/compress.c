/* compress.c: the order of the stages, and what each hands to the next. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/out_file.h"
#include "compress/progress.h"
#include "compress/sort.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

const char *xq_objective_name(enum xq_objective objective)
{
    static const char *const names[] = {[XQ_OBJECTIVE_KLD] = "kld", [XQ_OBJECTIVE_PPL] = "ppl", [XQ_OBJECTIVE_TASK] = "task"};
    return names[objective];
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Before anything takes time: the files, and whether the targets can be met at all. */
static bl_status check(struct xq_run *w)
{
    const struct xq_options *o = w->options;
    uint64_t bytes = 0;
    BL_TRY(xq_plan_make(w));
    if (o->save_state && is_same_file(o->in, o->save_state))
        BL_FAIL(BL_EINVAL, "%s: input and saved state are the same file", o->in);
    for (uint32_t t = 0; t < o->n_targets; t++) {
        const uint64_t target = xq_plan_target(w, &o->targets[t]);
        if (is_same_file(o->in, o->targets[t].out))
            BL_FAIL(BL_EINVAL, "%s: input and output are the same file", o->in);
        if (target)
            BL_TRY(xq_plan_check(w, target));
        bytes += target && target < w->most ? target : w->most;
    }
    return xq_out_check_room(o->targets[0].out, bytes + (o->work && !o->dry_run ? xq_plan_work_bytes(w) : 0));
}

static bl_status make_target(struct xq_run *w, uint32_t number, double started, struct xq_result *result)
{
    const struct xq_target *target = &w->options->targets[number];
    result->parameters = w->parameters;
    if (target->divergence > 0)
        BL_TRY(xq_search(w, target, result));
    else
        BL_TRY(xq_produce(w, target->out, xq_plan_target(w, target), number, true, result));
    return w->options->report ? xq_write_report(w, target, result, xq_now() - started) : BL_OK;
}

static bl_status run(struct xq_run *w, struct xq_result *results)
{
    const struct xq_options *o = w->options;
    const double started = xq_now();
    xq_coders_make(o->method != XQ_METHOD_XQ);
    BL_TRY(xq_work_open(o->work, o->quiet, &w->kept));
    BL_TRY(xq_blas_open(&w->blas));
    BL_TRY(xq_job_open(&w->job, o->in));
    BL_TRY(check(w));
    BL_TRY(xq_read_text(w));
    if (o->dry_run)
        return xq_dry_run(w);
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
