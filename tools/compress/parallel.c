/* parallel.c: turns handed out one by one from a counter. */
#include "compress/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_THREADS = 256 };

struct loop {
    xq_turn_fn *turn;
    void *user;
    uint32_t n;
    _Atomic uint32_t next;
};
struct worker {
    struct loop *loop;
    uint32_t index;
};

static void *work(void *user)
{
    struct worker *w = user;
    for (uint32_t i; (i = atomic_fetch_add(&w->loop->next, 1)) < w->loop->n;)
        w->loop->turn(w->loop->user, i, w->index);
    return NULL;
}

void xq_parallel(uint32_t n_threads, uint32_t n, xq_turn_fn *turn, void *user)
{
    struct loop loop = {turn, user, n, 0};
    struct worker workers[MOST_THREADS];
    pthread_t threads[MOST_THREADS];
    uint32_t started = 1;
    workers[0] = (struct worker){&loop, 0};
    for (; started < n_threads && started < n && started < MOST_THREADS; started++) {
        workers[started] = (struct worker){&loop, started};
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0)
            break;
    }
    work(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
}

uint32_t xq_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : (uint32_t)n;
}
