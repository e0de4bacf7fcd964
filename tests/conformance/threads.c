/* threads.c: a device used from several threads at once: waiters of one queue, queues of their own, objects made and destroyed. */
#include "conformance.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4 };

struct job {
    struct conf *conf;
    bl_queue *queue;
    uint64_t value;
    uint32_t index;
    bool passed;
};

static bool run_jobs(struct job *jobs, void *(*main)(void *))
{
    pthread_t threads[THREADS];
    bool passed = true;
    for (uint32_t t = 0; t < THREADS; t++)
        if (pthread_create(&threads[t], NULL, main, &jobs[t]) != 0)
            abort();
    for (uint32_t t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        passed &= jobs[t].passed;
    }
    return passed;
}

static void *wait_main(void *argument)
{
    struct job *job = argument;
    job->passed = conf_wait(job->queue, job->value) == BL_OK;
    return NULL;
}

static bl_status make_work(struct conf *conf, bl_buffer *buffer, uint32_t n, bl_list **out)
{
    bl_status status = bl_list_begin(conf->device, 0, out);
    for (uint32_t i = 0; i < 10 && status == BL_OK; i++)
        status = conf_binary(conf, *out, BL_BINARY_ADD, (struct conf_range){buffer, 0}, (struct conf_range){buffer, n},
                             (struct conf_range){buffer, 0}, n, NULL, NULL);
    return status == BL_OK ? bl_list_end(*out) : status;
}

static void lets_many_wait(struct conf *conf)
{
    enum { N = 20000 };
    static float x[2 * N];
    bl_buffer *buffer;
    bl_list *list;
    struct job jobs[THREADS];
    for (uint32_t i = 0; i < 2 * N; i++)
        x[i] = i < N ? 0.0f : 1.0f;
    CHECK_OK(conf_buffer(conf, sizeof x, "sum", &buffer));
    CHECK_OK(conf_write(conf, buffer, 0, x, sizeof x));
    CHECK_OK(make_work(conf, buffer, N, &list));
    for (uint32_t round = 1; round <= 20; round++) {
        uint64_t value;
        CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, NULL));
        CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, &value));
        for (uint32_t t = 0; t < THREADS; t++)
            jobs[t] = (struct job){.conf = conf, .queue = conf->queue, .value = value - t % 2};
        CHECK(run_jobs(jobs, wait_main));
        CHECK_OK(conf_read(conf, buffer, 0, x, 4));
        CHECK(x[0] == (float)(20 * round));
    }
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
}

/* Waits for what another thread submits later. */
static void wakes_early_waiters(struct conf *conf)
{
    bl_list *empty;
    pthread_t thread;
    struct job job = {.conf = conf, .queue = conf->queue};
    CHECK_OK(bl_list_begin(conf->device, 0, &empty));
    CHECK_OK(bl_list_end(empty));
    for (uint32_t round = 1; round <= 20; round++) {
        job.value = round;
        CHECK(pthread_create(&thread, NULL, wait_main, &job) == 0);
        uint64_t until = conf_now_ns() + round * 20000;
        while (conf_now_ns() < until)
            ;
        CHECK_OK(bl_queue_submit(conf->queue, empty, NULL, 0, NULL));
        pthread_join(thread, NULL);
        CHECK(job.passed);
    }
    CHECK_OK(conf_wait(conf->queue, 20));
    bl_list_destroy(empty);
}

static void *queue_main(void *argument)
{
    enum { N = 600 };
    struct job *job = argument;
    struct conf own = *job->conf; /* helpers use a queue: each thread has its own */
    float x[2 * N];
    bl_buffer *buffer = NULL;
    bl_list *list = NULL;
    bool passed = true;
    job->passed = false;
    if (bl_queue_create(own.device, BL_QUEUE_COMPUTE, &own.queue) != BL_OK)
        return NULL;
    for (uint32_t round = 0; round < 5 && passed; round++) {
        for (uint32_t i = 0; i < 2 * N; i++)
            x[i] = i < N ? 0.0f : (float)(job->index + 1);
        passed = conf_buffer(&own, sizeof x, "own", &buffer) == BL_OK && conf_write(&own, buffer, 0, x, sizeof x) == BL_OK &&
                 make_work(&own, buffer, N, &list) == BL_OK;
        for (uint32_t i = 0; i < 20 && passed; i++)
            passed = conf_run(&own, list) == BL_OK;
        passed = passed && conf_read(&own, buffer, 0, x, sizeof x) == BL_OK;
        for (uint32_t i = 0; i < N && passed; i++)
            passed = x[i] == (float)(200 * (job->index + 1));
        bl_list_destroy(list);
        bl_buffer_destroy(buffer);
        list = NULL;
    }
    bl_queue_destroy(own.queue);
    job->passed = passed;
    return NULL;
}

static void serves_many_queues(struct conf *conf)
{
    struct job jobs[THREADS];
    for (uint32_t t = 0; t < THREADS; t++)
        jobs[t] = (struct job){.conf = conf, .index = t};
    CHECK(run_jobs(jobs, queue_main));
}

const struct conf_case conf_threads[] = {
    {"threads.waiters", lets_many_wait, HAS_RESULTS | HAS_KERNELS},
    {"threads.early_waiters", wakes_early_waiters, HAS_RESULTS},
    {"threads.queues", serves_many_queues, HAS_RESULTS | HAS_KERNELS},
    {0},
};
