/* queue.c: time lines over streams. A submission waits here until all that it waits for has gone to a stream; from there on it completes
 * without the host. Knows no nodes. */
#include "cuda.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

/* One submission, and the event that tells its end. */
struct cu_flight {
    struct cu_flight *next;
    struct cu_queue *queue;
    uint64_t value;
    cu_graph_exec exec; /* NULL: nothing to run */
    cu_event event;
    bl_fence *waits;
    uint32_t n_waits;
    uint32_t sleepers;  /* threads that wait for the event; while there are any it is not used again */
    bool over;          /* complete and off its queue */
};

bl_status cu_queue_create(bl_device *base, bl_queue_kind kind, bl_queue **out)
{
    (void)kind; /* the driver finds copy engines by itself */
    struct cu_device *device = (struct cu_device *)base;
    struct cu_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    bl_status status = cu_enter(device);
    if (status == BL_OK)
        status = cu_leave(device, cu_answer(device, device->cu.stream_create(&queue->stream, CU_STREAM_APART), "cuStreamCreate"));
    if (status != BL_OK) {
        free(queue);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    queue->last = &queue->pending;
    queue->last_flying = &queue->flying;
    pthread_mutex_lock(&device->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out = &queue->base;
    return BL_OK;
}

/* The lock is held: an event that may be used again, unless somebody still sleeps on it. */
static void put_back(struct cu_device *device, struct cu_flight *flight)
{
    free(flight->waits);
    flight->waits = NULL;
    flight->over = true;
    if (flight->sleepers)
        return;
    flight->next = device->spare;
    device->spare = flight;
}

/* The lock is held, the context current: takes off what is complete, oldest first. */
static void collect(struct cu_device *device, struct cu_queue *queue)
{
    while (queue->flying) {
        struct cu_flight *flight = queue->flying;
        cu_result result = device->cu.event_query(flight->event);
        if (result == CU_NOT_READY)
            return;
        if (result != CU_OK) {
            cu_lose(device, result);
            return;
        }
        queue->reached = flight->value;
        queue->flying = flight->next;
        if (!queue->flying)
            queue->last_flying = &queue->flying;
        put_back(device, flight);
    }
}

static void discard(struct cu_device *device, struct cu_flight **list)
{
    while (*list) {
        struct cu_flight *flight = *list;
        *list = flight->next;
        put_back(device, flight);
    }
}

/* The stream is waited for in any case: after a failure more may have gone there than is known. The driver answers when nothing of it runs
 * any more. */
void cu_queue_destroy(bl_queue *base)
{
    struct cu_device *device = (struct cu_device *)base->device;
    struct cu_queue *queue = (struct cu_queue *)base;
    const bool current = cu_enter_quietly(device);
    pthread_mutex_lock(&device->lock);
    if (current)
        device->cu.stream_synchronize(queue->stream);
    discard(device, &queue->flying);
    discard(device, &queue->pending);
    struct cu_queue **link = &device->queues;
    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    pthread_mutex_unlock(&device->lock);
    if (current) {
        device->cu.stream_destroy(queue->stream);
        cu_leave(device, BL_OK);
    }
    free(queue);
}

void cu_queue_free_spare(struct cu_device *device)
{
    while (device->spare) {
        struct cu_flight *flight = device->spare;
        device->spare = flight->next;
        device->cu.event_destroy(flight->event);
        free(flight);
    }
}

static bool may_go(const struct cu_flight *flight)
{
    for (uint32_t w = 0; w < flight->n_waits; w++)
        if (((const struct cu_queue *)flight->waits[w].queue)->flushed < flight->waits[w].value)
            return false;
    return true;
}

static bl_status launch(struct cu_device *device, struct cu_queue *queue, const struct cu_flight *flight)
{
    for (uint32_t w = 0; w < flight->n_waits; w++) {
        const struct cu_queue *other = (const struct cu_queue *)flight->waits[w].queue;
        const struct cu_flight *point = other->flying; /* what is complete needs no waiting */
        while (point && point->value < flight->waits[w].value)
            point = point->next;
        if (other != queue && other->reached < flight->waits[w].value && point)
            BL_TRY(cu_answer(device, device->cu.stream_wait_event(queue->stream, point->event, 0), "cuStreamWaitEvent"));
    }
    if (flight->exec)
        BL_TRY(cu_answer(device, device->cu.graph_launch(flight->exec, queue->stream), "cuGraphLaunch"));
    return cu_answer(device, device->cu.event_record(flight->event, queue->stream), "cuEventRecord");
}

/* The lock is held, the context current: hands over everything that may go. */
static bl_status flush(struct cu_device *device)
{
    for (struct cu_queue *queue = device->queues; queue;) {
        struct cu_flight *flight = queue->pending;
        if (!flight || !may_go(flight)) {
            queue = queue->next;
            continue;
        }
        if (launch(device, queue, flight) != BL_OK) {
            /* What was promised to others cannot be kept: the device is as good as lost. The caller counts on a refused submission not
             * to run, and its graph may have been launched. */
            cu_lose(device, CU_UNKNOWN);
            device->cu.stream_synchronize(queue->stream);
            BL_FAIL(BL_EDEVLOST, "%s: a submission cannot be handed over", device->name);
        }
        queue->pending = flight->next;
        if (!queue->pending)
            queue->last = &queue->pending;
        queue->flushed = flight->value;
        flight->next = NULL;
        *queue->last_flying = flight;
        queue->last_flying = &flight->next;
        queue = device->queues; /* others may have waited for this */
    }
    return BL_OK;
}

static bl_status take_flight(struct cu_device *device, struct cu_flight **out)
{
    pthread_mutex_lock(&device->lock);
    struct cu_flight *flight = device->spare;
    if (flight)
        device->spare = flight->next;
    pthread_mutex_unlock(&device->lock);
    if (!flight) {
        flight = calloc(1, sizeof *flight);
        if (!flight)
            BL_FAIL(BL_ENOMEM, "submission: out of memory");
        bl_status status = cu_answer(device, device->cu.event_create(&flight->event, CU_EVENT_NO_TIMING), "cuEventCreate");
        if (status != BL_OK) {
            free(flight);
            return status;
        }
    }
    *out = flight;
    return BL_OK;
}

static bl_status submit(struct cu_device *device, struct cu_queue *queue, struct cu_list *list, const bl_fence *waits, uint32_t n_waits,
                        uint64_t value)
{
    struct cu_flight *flight = NULL;
    if (list->base.timed)
        BL_TRY(cu_list_make_timed(list));
    bl_fence *kept = n_waits ? malloc(n_waits * sizeof *kept) : NULL;
    if (n_waits && !kept)
        BL_FAIL(BL_ENOMEM, "submission: out of memory");
    bl_status status = take_flight(device, &flight);
    if (status != BL_OK) {
        free(kept);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    for (uint32_t w = 0; w < n_waits; w++)
        kept[w] = waits[w];
    *flight = (struct cu_flight){.queue = queue, .value = value, .exec = list->base.timed ? list->timed.graph : list->exec.graph,
                                 .event = flight->event, .waits = kept, .n_waits = n_waits};
    pthread_mutex_lock(&device->lock);
    collect(device, queue);
    *queue->last = flight;
    queue->last = &flight->next;
    status = flush(device);
    pthread_mutex_unlock(&device->lock);
    return status;
}

bl_status cu_queue_submit(bl_queue *base, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value)
{
    struct cu_device *device = (struct cu_device *)base->device;
    BL_TRY(cu_enter(device));
    return cu_leave(device, submit(device, (struct cu_queue *)base, (struct cu_list *)list, waits, n_waits, value));
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The lock is held, the context current: sleeps in the driver until the submission with `value` is complete. */
static void sleep_in_driver(struct cu_device *device, struct cu_flight *flight)
{
    flight->sleepers++;
    pthread_mutex_unlock(&device->lock);
    cu_result result = device->cu.event_synchronize(flight->event);
    pthread_mutex_lock(&device->lock);
    if (result != CU_OK)
        cu_lose(device, result);
    if (--flight->sleepers == 0 && flight->over)
        put_back(device, flight);
}

/* The driver has no wait with a limit: with one, and for what is not in the stream yet, the event is asked again and again, at first
 * without a pause, then every 50 us. */
static bl_status wait(struct cu_device *device, struct cu_queue *queue, uint64_t value, uint64_t timeout_ns)
{
    const struct timespec pause = {0, 50000};
    const uint64_t start = timeout_ns ? now_ns() : 0;
    bl_status status = BL_OK;
    pthread_mutex_lock(&device->lock);
    for (uint32_t turn = 0;; turn++) {
        collect(device, queue);
        if (atomic_load(&device->lost) != CU_OK || queue->reached >= value)
            break;
        if (timeout_ns != BL_WAIT_FOREVER && (timeout_ns == 0 || now_ns() - start >= timeout_ns)) {
            status = BL_ETIMEOUT;
            break;
        }
        struct cu_flight *flight = queue->flying;
        while (flight && flight->value < value)
            flight = flight->next;
        if (flight && timeout_ns == BL_WAIT_FOREVER) {
            sleep_in_driver(device, flight);
            continue;
        }
        pthread_mutex_unlock(&device->lock);
        if (turn < 200)
            sched_yield();
        else
            nanosleep(&pause, NULL);
        pthread_mutex_lock(&device->lock);
    }
    pthread_mutex_unlock(&device->lock);
    const cu_result lost = atomic_load(&device->lost);
    if (lost != CU_OK)
        BL_FAIL(BL_EDEVLOST, "%s: the device is lost: %s", device->name, cu_result_name(&device->cu, lost));
    return status;
}

bl_status cu_queue_wait(bl_queue *base, uint64_t value, uint64_t timeout_ns)
{
    struct cu_device *device = (struct cu_device *)base->device;
    if (cu_enter(device) != BL_OK) {
        cu_lose(device, CU_UNKNOWN);
        BL_FAIL(BL_EDEVLOST, "%s: what is under way cannot be waited for", device->name);
    }
    return cu_leave(device, wait(device, (struct cu_queue *)base, value, timeout_ns));
}
