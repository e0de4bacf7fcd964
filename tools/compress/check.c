/* check.c: what is refused before anything takes time: names that are no places for files or that two files would share, a full disk, weights that
 * are no numbers. Knows no algorithm. */
#include "compress/stages.h"

#include "base/error.h"
#include "compress/network.h"
#include "compress/out_file.h"
#include "compress/parallel.h"
#include "cpu_fallback/ops.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

/* A file that is read or will be written. */
struct place {
    char *path;
    const char *what;
    bool is_written, exists;
    dev_t device;            /* of its folder's disk; where it exists its own */
    ino_t number, folder;    /* number: 0 where it does not exist */
};
struct places {
    struct place *place;
    uint32_t n, room;
    bool failed;             /* no memory */
};

static void add(struct places *p, const char *path, const char *ending, const char *what, bool is_written)
{
    if (!path)
        return;
    if (p->n == p->room) {
        p->room = 2 * p->room + 16;
        struct place *more = realloc(p->place, p->room * sizeof *more);
        if (!more) {
            p->failed = true;
            return;
        }
        p->place = more;
    }
    const size_t bytes = strlen(path) + strlen(ending) + 1;
    char *name = malloc(bytes);
    p->failed |= !name;
    if (!name)
        return;
    snprintf(name, bytes, "%s%s", path, ending);
    p->place[p->n++] = (struct place){.path = name, .what = what, .is_written = is_written};
}

static void list_places(const struct xq_options *o, struct places *p)
{
    add(p, o->in, "", "the input", false);
    for (uint32_t i = 0; i < o->n_calibration; i++)
        add(p, o->calibration[i], "", "a calibration text", false);
    add(p, o->questions, "", "the questions", false);
    add(p, o->state, "", "the state that is used", false);
    for (uint32_t t = 0; t < o->n_targets; t++) {
        add(p, o->targets[t].out, "", "the output", true);
        add(p, o->report ? o->targets[t].out : NULL, ".report.html", "the report", true);
        add(p, o->report ? o->targets[t].out : NULL, ".report.json", "the report", true);
    }
    add(p, o->save_state, "", "the state that is saved", true);
    add(p, o->picture, "", "the picture", true);
}

/* Where it is, or will be. What is read and does not exist is left to who opens it. */
static bl_status find_place(struct place *p)
{
    struct stat s;
    if (stat(p->path, &s) == 0) {
        p->exists = true;
        p->number = s.st_ino;
        p->device = s.st_dev;
        if (p->is_written && !S_ISREG(s.st_mode))
            BL_FAIL(BL_EINVAL, "%s: %s cannot go there: it is %s", p->path, p->what, S_ISDIR(s.st_mode) ? "a folder" : "not a regular file");
    }
    if (!p->is_written)
        return BL_OK;
    char *slash = strrchr(p->path, '/');
    const char *folder = !slash ? "." : slash == p->path ? "/" : p->path;
    if (slash && slash != p->path)
        *slash = 0;
    bool good = stat(folder, &s) == 0;
    if (good && !S_ISDIR(s.st_mode)) {
        good = false;
        errno = ENOTDIR;
    }
    good = good && access(folder, W_OK | X_OK) == 0;
    const int reason = errno;
    if (slash)
        *slash = '/';
    if (!good)
        BL_FAIL(BL_EINVAL, "%s: its folder: %s", p->path, strerror(reason));
    p->folder = s.st_ino;
    if (!p->exists)
        p->device = s.st_dev;
    return BL_OK;
}

static bool is_same(const struct place *a, const struct place *b)
{
    if (a->device != b->device || a->exists != b->exists)
        return false;
    if (a->exists)
        return a->number == b->number;
    const char *x = strrchr(a->path, '/'), *y = strrchr(b->path, '/');
    return a->is_written && b->is_written && a->folder == b->folder && strcmp(x ? x + 1 : a->path, y ? y + 1 : b->path) == 0;
}

static bl_status check_places(struct places *p)
{
    if (p->failed)
        BL_FAIL(BL_ENOMEM, "no memory for the names of files");
    for (uint32_t i = 0; i < p->n; i++) {
        BL_TRY(find_place(&p->place[i]));
        for (uint32_t k = 0; k < i; k++)
            if ((p->place[i].is_written || p->place[k].is_written) && is_same(&p->place[k], &p->place[i]))
                BL_FAIL(BL_EINVAL, "%s: %s and %s are the same file", p->place[i].path, p->place[k].what, p->place[i].what);
    }
    return BL_OK;
}

bl_status xq_check_names(const struct xq_options *options)
{
    struct places p = {0};
    list_places(options, &p);
    const bl_status status = check_places(&p);
    for (uint32_t i = 0; i < p.n; i++)
        free(p.place[i].path);
    free(p.place);
    return status;
}

/* ---- room ---- */

/* The folder of a path that has been checked. */
static dev_t disk_of(const char *path)
{
    struct place p = {.path = strdup(path), .is_written = true};
    const bl_status status = p.path ? find_place(&p) : BL_ENOMEM;
    free(p.path);
    if (status != BL_OK)
        bl_errors_clear();
    return p.device;
}

bl_status xq_check_room(const struct xq_run *w)
{
    const struct xq_options *o = w->options;
    const uint64_t ram = xq_network_least_bytes(&w->job, o->threads, true) + bl_model_file_bytes(w->job.file);
    if (o->ram && o->ram < ram && !o->state && !o->quiet)
        fprintf(stderr, "--ram of %llu bytes cannot be held: learning takes at least %llu, and will\n", (unsigned long long)o->ram, (unsigned long long)ram);
    uint64_t bytes = o->work && !o->dry_run ? xq_plan_work_bytes(w) : 0;
    for (uint32_t t = 0; t < o->n_targets; t++) {
        const uint64_t target = xq_plan_target(w, &o->targets[t]);
        if (target)
            BL_TRY(xq_plan_check(w, target));
        if (target > w->most && !o->quiet)
            fprintf(stderr, "%s: a target of %llu bytes is above the largest that is possible, about %llu with 8 bits for all: it gets that (the original has %llu)\n", o->targets[t].out,
                    (unsigned long long)target, (unsigned long long)w->most, (unsigned long long)bl_model_file_bytes(w->job.file));
        bytes += target && target < w->most ? target : w->most;
    }
    if (o->save_state) {
        const uint64_t state = xq_state_bytes(&w->job);
        const bool together = disk_of(o->save_state) == disk_of(o->targets[0].out);
        BL_TRY(xq_out_check_room(o->save_state, together ? state + bytes : state));
    }
    return xq_out_check_room(o->targets[0].out, bytes);
}

/* ---- weights ---- */

enum { PIECE = 64 /* rows of one turn */ };

struct looking {
    const struct xq_job *job;
    const struct bl_tensor *tensor;
    float **row;                /* [threads] */
    _Atomic uint64_t first_bad; /* row; UINT64_MAX: none */
};

static void look_at_rows(void *user, uint32_t i, uint32_t worker)
{
    struct looking *l = user;
    const struct bl_tensor *t = l->tensor;
    const uint64_t row_bytes = t->bytes / t->rows, first = (uint64_t)i * PIECE;
    float *row = l->row[worker];
    for (uint64_t r = first; r < first + PIECE && r < t->rows; r++) {
        bl_cpu_dequantize_row(t->format, bl_model_file_data(l->job->file) + t->offset + r * row_bytes, row, (uint32_t)t->dims[0]);
        bool bad = false;
        for (uint64_t c = 0; c < t->dims[0]; c++)
            bad |= !isfinite(row[c]);
        uint64_t known = l->first_bad;
        while (bad && r < known && !atomic_compare_exchange_weak(&l->first_bad, &known, r)) {
        }
    }
}

static bl_status check_tensor(struct looking *l, uint32_t threads, const struct bl_tensor *t)
{
    l->tensor = t;
    l->first_bad = UINT64_MAX;
    xq_parallel(threads, (uint32_t)((t->rows + PIECE - 1) / PIECE), look_at_rows, l);
    if (l->first_bad != UINT64_MAX)
        BL_FAIL(BL_EFORMAT, "%s: '%s', row %llu: a weight is not a finite number", bl_model_file_path(l->job->file), t->name, (unsigned long long)l->first_bad);
    return BL_OK;
}

static bool is_looked_at(const struct bl_tensor *t)
{
    return !t->is_table && t->format != BL_FMT_NONE && t->format != BL_FMT_BX && t->rows && t->dims[0] && t->dims[0] <= UINT32_MAX;
}

bl_status xq_check_weights(const struct xq_run *w)
{
    const uint32_t threads = w->options->threads, n = bl_model_file_tensor_count(w->job.file);
    struct looking l = {.job = &w->job};
    uint64_t longest = 1;
    for (uint32_t i = 0; i < n; i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(w->job.file, i);
        longest = is_looked_at(t) && t->dims[0] > longest ? t->dims[0] : longest;
    }
    float *rows = malloc((size_t)longest * threads * sizeof *rows);
    l.row = malloc(threads * sizeof *l.row);
    bl_status status = rows && l.row ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for rows of %llu weights", w->options->in, (unsigned long long)longest);
    for (uint32_t i = 0; i < threads && status == BL_OK; i++)
        l.row[i] = rows + i * longest;
    for (uint32_t i = 0; i < n && status == BL_OK; i++)
        if (is_looked_at(bl_model_file_tensor_at(w->job.file, i)))
            status = check_tensor(&l, threads, bl_model_file_tensor_at(w->job.file, i));
    free(rows);
    free(l.row);
    return status;
}
