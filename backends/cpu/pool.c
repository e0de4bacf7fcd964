/* pool.c: the threads that run submitted lists. Owns the queues' order, the open wave and all waiting; knows nothing of kernels.
 *
 * There is no leader and no barrier with members. The tasks of one wave are open at a time: `ticket` holds how many there are and which is
 * next, a thread claims one by adding 1, and whoever finishes the last one opens the next wave. So a thread that the system has taken off
 * its core delays nobody unless it holds a task, and any number may join: the pool's workers, and a thread inside bl_queue_wait, which
 * computes instead of sleeping. A claim that succeeded keeps the wave open, hence its list alive: nothing of a list is read before.
 *
 * Waves with little work (cpu_wave.solo) are not opened at all: the thread that would open them runs them itself. A thread without work
 * looks for some for a bounded time, then sleeps on a futex. The opener of a wave wakes sleepers only if there is much to do, and never
 * more threads than there are cores. What keeps work from being forgotten: whenever tasks are open, either some thread is awake in
 * work(), or nobody who waits exists (then the next wait, poll or large submission runs them).
 *
 * Answers do not depend on who runs which task, nor in which order: nodes of a wave touch nothing in conflict (the core has checked), and
 * a kernel's answer does not depend on the partition of its workgroups. */
#include "base/log.h"
#include "cpu.h"

#include <linux/futex.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPIN_NS 40000u              /* how long a thread looks for work before it sleeps */
#define WAKE_BYTES (128u * 1024u)   /* work that is worth waking a thread for: tens of microseconds */
#define NO_DEADLINE UINT64_MAX

enum { BIT_WORK = 1, BIT_DONE = 2 }; /* what a sleeper wants to hear of */

struct worker {
    pthread_t thread;
    struct cpu_pool *pool;
    uint32_t seat;
};

struct cpu_pool {
    _Alignas(64) _Atomic uint64_t ticket;    /* tasks of the open wave << 32 | next one */
    _Alignas(64) _Atomic uint32_t remaining; /* tasks of the open wave that are not finished */
    _Alignas(64) _Atomic uint32_t epoch;     /* the futex: changes when sleepers are woken */
    _Atomic uint32_t work_sleepers, done_sleepers;
    _Atomic uint32_t n_guests; /* threads inside cpu_pool_wait */
    _Atomic bool guest_seat; /* seat 0 is taken: by a waiting thread, or by the only worker of a pool of one */
    _Atomic bool stop;

    /* The run. Written by the one thread that starts it or has finished a wave; read after a claim. */
    _Alignas(64) struct cpu_submission *run;
    const struct cpu_list *list;
    const struct cpu_task *tasks; /* of the open wave */
    uint32_t wave;
    bool timed;

    pthread_mutex_t lock; /* queues, their submissions, and whether there is a run */
    struct cpu_queue *queues;
    uint64_t n_submitted;

    _Atomic uint32_t n_workers; /* grows while the first of them already run */
    uint32_t n_threads, n_cores;
    struct worker workers[];
};

/* Why and until when a guest computes. */
struct until {
    const struct cpu_queue *queue;
    uint64_t value, deadline_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool is_open(uint64_t ticket)
{
    return (uint32_t)ticket < ticket >> 32;
}

static bool has_work(struct cpu_pool *pool)
{
    return is_open(atomic_load(&pool->ticket));
}

static bool is_reached(const struct until *until)
{
    return atomic_load(&until->queue->reached) >= until->value;
}

static bool is_late(const struct until *until)
{
    return until->deadline_ns != NO_DEADLINE && now_ns() >= until->deadline_ns;
}

/* ---- sleeping and waking ---- */

static void wake(struct cpu_pool *pool, int n, uint32_t bits)
{
    atomic_fetch_add(&pool->epoch, 1);
    syscall(SYS_futex, &pool->epoch, FUTEX_WAKE_BITSET_PRIVATE, n, NULL, NULL, bits);
}

static bool worth_staying_awake(struct cpu_pool *pool, bool needs_guest_seat, const struct until *until)
{
    if (until ? is_reached(until) : atomic_load(&pool->stop))
        return true;
    return has_work(pool) && !(needs_guest_seat && atomic_load(&pool->guest_seat));
}

/* Threads that may be on a core now. */
static uint32_t n_awake(struct cpu_pool *pool)
{
    uint32_t all = pool->n_workers + atomic_load(&pool->n_guests), asleep = atomic_load(&pool->work_sleepers);
    return all > asleep ? all - asleep : 0;
}

/* Someone ought to look at the open tasks: wakes a thread unless one is awake, which will see them before it sleeps. */
static void kick(struct cpu_pool *pool)
{
    if (n_awake(pool) == 0)
        wake(pool, 1, BIT_WORK);
}

/* Returns when there may be something to do, or after the deadline of `until`. Sleepers register before they look for the last time, and
 * wakers look at the register after they have published: one of the two sees the other. */
static void rest(struct cpu_pool *pool, bool needs_guest_seat, const struct until *until)
{
    uint64_t start = 0;
    for (uint32_t i = 1;; i++) {
        if (worth_staying_awake(pool, needs_guest_seat, until))
            return;
        if (n_awake(pool) > pool->n_cores)
            break; /* a thread that only looks for work must not hold up one that has some */
        relax();
        if (i % 64 != 0)
            continue;
        uint64_t now = now_ns();
        if (until && now >= until->deadline_ns)
            return;
        if (!start)
            start = now;
        else if (now - start > SPIN_NS)
            break;
    }
    uint32_t epoch = atomic_load(&pool->epoch);
    atomic_fetch_add(&pool->work_sleepers, 1);
    if (until)
        atomic_fetch_add(&pool->done_sleepers, 1);
    if (!worth_staying_awake(pool, needs_guest_seat, until)) {
        struct timespec at, *deadline = NULL;
        if (until && until->deadline_ns != NO_DEADLINE) {
            at.tv_sec = (time_t)(until->deadline_ns / 1000000000u);
            at.tv_nsec = (long)(until->deadline_ns % 1000000000u);
            deadline = &at;
        }
        syscall(SYS_futex, &pool->epoch, FUTEX_WAIT_BITSET_PRIVATE, epoch, deadline, NULL, until ? BIT_WORK | BIT_DONE : BIT_WORK);
    }
    if (until)
        atomic_fetch_sub(&pool->done_sleepers, 1);
    atomic_fetch_sub(&pool->work_sleepers, 1);
}

/* ---- running ---- */

static void lower(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t old = atomic_load_explicit(value, memory_order_relaxed);
    while (to < old && !atomic_compare_exchange_weak_explicit(value, &old, to, memory_order_relaxed, memory_order_relaxed))
        ;
}

static void raise_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t old = atomic_load_explicit(value, memory_order_relaxed);
    while (to > old && !atomic_compare_exchange_weak_explicit(value, &old, to, memory_order_relaxed, memory_order_relaxed))
        ;
}

static void run_task(const struct cpu_pool *pool, const struct cpu_task *task, uint32_t seat)
{
    const struct cpu_list *list = pool->list;
    const struct cpu_node *node = &list->nodes[task->node];
    void *scratch = cpu_scratch_of(list->scratch, seat);
    if (!pool->timed) {
        node->fn(&node->call, task->first, task->last, scratch);
        return;
    }
    lower(&list->timings[task->node].begin_ns, now_ns());
    node->fn(&node->call, task->first, task->last, scratch);
    raise_to(&list->timings[task->node].end_ns, now_ns());
}

/* Opens the tasks of a wave to all. If the caller goes on to take one itself, others are woken for the rest where that pays. Once the tasks
 * are open the list may be gone: what is needed of it is read before. */
static void open_wave(struct cpu_pool *pool, const struct cpu_wave *wave, bool wake_others)
{
    uint32_t n_tasks = wave->n_tasks;
    wake_others &= wave->work >= WAKE_BYTES;
    pool->tasks = pool->list->tasks + wave->first_task;
    atomic_store_explicit(&pool->remaining, n_tasks, memory_order_relaxed);
    atomic_store(&pool->ticket, (uint64_t)n_tasks << 32);
    if (!wake_others)
        return;
    uint32_t asleep = atomic_load(&pool->work_sleepers), awake = n_awake(pool);
    uint32_t n = pool->n_cores > awake ? pool->n_cores - awake : 0;
    if (n > asleep)
        n = asleep;
    if (n > n_tasks - 1)
        n = n_tasks - 1;
    if (n)
        wake(pool, (int)n, BIT_WORK);
}

static bool is_ready(const struct cpu_submission *submission)
{
    for (uint32_t w = 0; w < submission->n_waits; w++)
        if (atomic_load(&submission->waits[w].queue->reached) < submission->waits[w].value)
            return false;
    return true;
}

/* The lock is held. Takes the submission off its queue and moves the queue's time line. */
static void complete(struct cpu_pool *pool, struct cpu_submission *submission)
{
    struct cpu_queue *queue = submission->queue;
    uint64_t value = submission->value;
    queue->first = submission->next;
    if (!queue->first)
        queue->last = NULL;
    free(submission);
    atomic_store(&queue->reached, value); /* from here on the list and the queue may be destroyed */
    if (atomic_load(&pool->done_sleepers))
        wake(pool, INT_MAX, BIT_DONE);
}

/* The lock is held: the first of those that may go, in order of submission; NULL when there is none. */
static struct cpu_submission *choose(const struct cpu_pool *pool)
{
    struct cpu_submission *chosen = NULL;
    for (struct cpu_queue *queue = pool->queues; queue; queue = queue->next)
        if (queue->first && (!chosen || queue->first->number < chosen->number) && is_ready(queue->first))
            chosen = queue->first;
    return chosen;
}

/* The lock is held and there is no run: begins the next. False when none may go. */
static bool begin_run(struct cpu_pool *pool)
{
    struct cpu_submission *chosen = choose(pool);
    while (chosen && chosen->list->n_waves == 0) {
        complete(pool, chosen); /* an empty list is done at once, and others may have waited for it */
        chosen = choose(pool);
    }
    pool->run = chosen;
    if (!chosen)
        return false;
    pool->list = chosen->list;
    pool->timed = chosen->timed;
    pool->wave = 0;
    if (pool->timed)
        for (uint32_t n = 0; n < pool->list->n_nodes; n++) {
            atomic_store_explicit(&pool->list->timings[n].begin_ns, UINT64_MAX, memory_order_relaxed);
            atomic_store_explicit(&pool->list->timings[n].end_ns, 0, memory_order_relaxed);
        }
    return true;
}

/* All waves are done. */
static bool next_run(struct cpu_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    complete(pool, pool->run);
    bool more = begin_run(pool);
    pthread_mutex_unlock(&pool->lock);
    return more;
}

/* The caller has finished the last task of a wave, so the run is its own: goes on until tasks are open or nothing is left. */
static void advance(struct cpu_pool *pool, uint32_t seat, const struct until *until)
{
    pool->wave++;
    for (;;) {
        for (; pool->wave < pool->list->n_waves; pool->wave++) {
            const struct cpu_wave *wave = &pool->list->waves[pool->wave];
            if (!wave->solo || (until && (is_late(until) || is_reached(until)))) {
                open_wave(pool, wave, true);
                return;
            }
            for (uint32_t t = 0; t < wave->n_tasks; t++)
                run_task(pool, &pool->list->tasks[wave->first_task + t], seat);
        }
        if (!next_run(pool))
            return;
    }
}

/* Claims and runs until nothing is open, or a guest has what it waits for. */
static void work(struct cpu_pool *pool, uint32_t seat, const struct until *until)
{
    while (is_open(atomic_load_explicit(&pool->ticket, memory_order_relaxed))) {
        uint64_t ticket = atomic_fetch_add(&pool->ticket, 1);
        if (!is_open(ticket))
            return;
        run_task(pool, &pool->tasks[(uint32_t)ticket], seat);
        if (atomic_fetch_sub(&pool->remaining, 1) == 1)
            advance(pool, seat, until);
        if (until && (is_reached(until) || is_late(until)))
            return;
    }
}

static void *worker_main(void *argument)
{
    const struct worker *worker = argument;
    struct cpu_pool *pool = worker->pool;
    bool guest = worker->seat == 0;
    while (!atomic_load(&pool->stop)) {
        if (!guest) {
            work(pool, worker->seat, NULL);
        } else if (!atomic_exchange(&pool->guest_seat, true)) {
            work(pool, 0, NULL);
            atomic_store(&pool->guest_seat, false);
        }
        rest(pool, guest, NULL);
    }
    return NULL;
}

/* ---- what the queues call ---- */

void cpu_pool_submit(struct cpu_pool *pool, struct cpu_submission *submission)
{
    struct cpu_queue *queue = submission->queue;
    bool large = submission->list->work >= WAKE_BYTES;
    pthread_mutex_lock(&pool->lock);
    submission->number = pool->n_submitted++;
    if (queue->last)
        queue->last->next = submission;
    else
        queue->first = submission;
    queue->last = submission;
    bool begun = !pool->run && begin_run(pool);
    if (begun)
        open_wave(pool, &pool->list->waves[0], false);
    pthread_mutex_unlock(&pool->lock);
    /* A small list waits for the thread that will wait for it: waking another would take longer than the list. In a pool of one the
     * waiting thread is the one that computes. */
    if (has_work(pool) && ((large && pool->n_threads > 1) || atomic_load(&pool->done_sleepers)))
        kick(pool);
}

bl_status cpu_pool_wait(struct cpu_pool *pool, struct cpu_queue *queue, uint64_t value, uint64_t timeout_ns)
{
    struct until until = {queue, value, NO_DEADLINE};
    if (is_reached(&until))
        return BL_OK;
    if (timeout_ns == 0 && pool->n_workers) {
        if (has_work(pool))
            kick(pool);
        return BL_ETIMEOUT;
    }
    if (timeout_ns != BL_WAIT_FOREVER) {
        uint64_t now = now_ns();
        until.deadline_ns = timeout_ns < NO_DEADLINE - 1 - now ? now + timeout_ns : NO_DEADLINE - 1;
    }
    bl_status status = BL_ETIMEOUT;
    atomic_fetch_add(&pool->n_guests, 1);
    do {
        if (!atomic_exchange(&pool->guest_seat, true)) {
            work(pool, 0, &until);
            atomic_store(&pool->guest_seat, false);
        }
        if (is_reached(&until)) {
            status = BL_OK;
            break;
        }
        rest(pool, true, &until);
    } while (!is_late(&until));
    if (is_reached(&until))
        status = BL_OK;
    atomic_fetch_sub(&pool->n_guests, 1);
    if (has_work(pool)) /* others may have relied on this thread */
        kick(pool);
    return status;
}

void cpu_pool_add(struct cpu_pool *pool, struct cpu_queue *queue)
{
    pthread_mutex_lock(&pool->lock);
    queue->next = pool->queues;
    pool->queues = queue;
    pthread_mutex_unlock(&pool->lock);
}

void cpu_pool_remove(struct cpu_pool *pool, struct cpu_queue *queue)
{
    pthread_mutex_lock(&pool->lock);
    struct cpu_queue **link = &pool->queues;
    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- the pool ---- */

uint32_t cpu_cores_allowed(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : (uint32_t)n > CPU_MAX_THREADS ? CPU_MAX_THREADS : (uint32_t)n;
}

uint32_t cpu_pool_threads(const struct cpu_pool *pool)
{
    return pool->n_threads;
}

/* Workers take no signals from the program, but those that a fault raises must reach the thread that caused them (base/file_map.h). */
static void block_signals(sigset_t *old)
{
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    pthread_sigmask(SIG_SETMASK, &set, old);
}

bl_status cpu_pool_create(uint32_t n_threads, struct cpu_pool **out)
{
    /* A pool of one has a worker too: work must go on while nobody waits. It shares the guests' seat, so one thread computes. */
    uint32_t wanted = n_threads > 1 ? n_threads - 1 : 1;
    size_t bytes = sizeof(struct cpu_pool) + wanted * sizeof(struct worker);
    struct cpu_pool *pool = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    *out = NULL;
    if (!pool)
        BL_FAIL(BL_ENOMEM, "cpu: out of memory for %u threads", n_threads);
    *pool = (struct cpu_pool){.n_cores = cpu_cores_allowed()};
    pthread_mutex_init(&pool->lock, NULL);
    sigset_t old;
    block_signals(&old);
    uint32_t n = 0;
    for (; n < wanted; n++) {
        struct worker *worker = &pool->workers[n];
        worker->pool = pool;
        worker->seat = n_threads > 1 ? n + 1 : 0;
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
            break;
        atomic_store(&pool->n_workers, n + 1);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pool->n_threads = n_threads > 1 ? n + 1 : 1;
    if (n < wanted)
        bl_log(BL_LOG_WARNING, "cpu: the system gave %u of %u threads", pool->n_threads, n_threads);
    *out = pool;
    return BL_OK;
}

void cpu_pool_destroy(struct cpu_pool *pool)
{
    atomic_store(&pool->stop, true);
    wake(pool, INT_MAX, BIT_WORK);
    for (uint32_t w = 0; w < pool->n_workers; w++)
        pthread_join(pool->workers[w].thread, NULL);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
