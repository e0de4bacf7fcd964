/* progress.c: the stage at hand. */
#include "compress/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24, KINDS = 8 };

static struct {
    pthread_mutex_t lock;
    const char *name;
    uint64_t total, done, skipped;
    double begun, shown;
    bool quiet, terminal;
} stage = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Stages that have ended, by name. */
static struct {
    const char *name; /* a literal */
    double seconds;
} kinds[KINDS];
static uint32_t n_kinds;

double xq_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print_time(double seconds)
{
    if (seconds >= 90)
        fprintf(stderr, "%.0f min %02.0f s", (double)((int)seconds / 60), (double)((int)seconds % 60));
    else
        fprintf(stderr, "%.1f s", seconds);
}

static void show(double at)
{
    const double share = stage.total ? (double)stage.done / (double)stage.total : 1, spent = at - stage.begun;
    stage.shown = at;
    fprintf(stderr, "\r\033[K%-12s [", stage.name);
    for (int i = 0; i < BAR; i++)
        fputc(i < (int)(share * BAR) ? '#' : ' ', stderr);
    fprintf(stderr, "] %3.0f %%", 100 * share);
    const double worked = stage.total ? (double)(stage.done - stage.skipped) / (double)stage.total : 1;
    if (worked > 0.02) {
        fprintf(stderr, ", left ");
        print_time(spent * (1 - share) / worked);
    }
    fflush(stderr);
}

void xq_stage_begin(const char *name, uint64_t total, bool quiet)
{
    stage.name = name;
    stage.total = total;
    stage.done = stage.skipped = 0;
    stage.begun = xq_now();
    stage.shown = 0;
    stage.quiet = quiet;
    stage.terminal = !quiet && isatty(STDERR_FILENO);
    if (stage.terminal)
        show(stage.begun);
}

void xq_stage_step(uint64_t units)
{
    pthread_mutex_lock(&stage.lock);
    stage.done += units;
    const double at = xq_now();
    if (stage.terminal && at - stage.shown > 0.1)
        show(at);
    pthread_mutex_unlock(&stage.lock);
}

void xq_stage_skip(uint64_t units)
{
    pthread_mutex_lock(&stage.lock);
    stage.done += units;
    stage.skipped += units;
    pthread_mutex_unlock(&stage.lock);
}

double xq_stage_seconds(const char *name)
{
    for (uint32_t i = 0; i < n_kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].seconds;
    return 0;
}

static void add_time(const char *name, double seconds)
{
    uint32_t i = 0;
    while (i < n_kinds && strcmp(kinds[i].name, name) != 0)
        i++;
    if (i == KINDS)
        return;
    n_kinds += i == n_kinds;
    kinds[i].name = name;
    kinds[i].seconds += seconds;
}

double xq_stage_end(const char *note)
{
    const double spent = xq_now() - stage.begun;
    add_time(stage.name, spent);
    if (stage.quiet)
        return spent;
    fprintf(stderr, "%s%-12s ", stage.terminal ? "\r\033[K" : "", stage.name);
    print_time(spent);
    fprintf(stderr, "%s%s\n", note ? ": " : "", note ? note : "");
    return spent;
}
