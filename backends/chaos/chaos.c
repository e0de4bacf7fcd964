/* chaos.c: a device that does everything that the contract allows and programs do not expect: nodes in a random legal order, late
 * completion, queues that overtake each other, memory full of NaN before the first write and after the last use, and calls that fail.
 * A program that passes here relies on nothing that a GPU might do otherwise. It wraps another device and knows only the public API of it.
 *
 * Each queue has a thread of its own that plays its submissions. Equal seeds give equal orders within a submission. A call that is to fail
 * (chaos_fail_at) answers BL_EDEVMEM; a submission or a wait loses the device. Polls are not counted: how many there are is chance. */
#include "chaos.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POISON 0xffa5a5a5u /* NaN as f32 and, in its upper half, as f16; a large number as an integer */
#define LONGEST_DELAY_NS 200000u

struct chaos_submission {
    struct chaos_submission *next;
    struct chaos_list *list;
    uint64_t value;
    uint32_t n_waits;
    bl_fence waits[];
};

struct chaos_queue {
    bl_queue base;
    struct chaos_device *device; /* base.device is set when queue_create has returned, and the thread runs before */
    bl_queue *inner;
    pthread_t thread;
    uint64_t ordinal;
    uint64_t reached;                      /* from here: the device's lock */
    struct chaos_submission *first, *last;
    bool stop;
};

uint64_t chaos_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

bool chaos_fails(struct chaos_device *device)
{
    return atomic_fetch_add(&device->n_calls, 1) + 1 == device->fail_at;
}

/* The lock is held. */
static void lose(struct chaos_device *device)
{
    device->lost = true;
    pthread_cond_broadcast(&device->changed);
    bl_device_mark_lost(&device->base);
}

static bl_status lose_as_asked(struct chaos_device *device)
{
    pthread_mutex_lock(&device->lock);
    lose(device);
    pthread_mutex_unlock(&device->lock);
    BL_FAIL(BL_EDEVLOST, "chaos: call %llu loses the device as asked", (unsigned long long)device->fail_at);
}

/* ---- buffers and kernels ---- */

/* Where the host has no address (device memory of a GPU) the contents stay as they are. */
static void poison(const bl_buffer *buffer)
{
    unsigned char *bytes = buffer->host;
    uint32_t pattern = POISON;
    if (!bytes || buffer->kind == BL_MEM_IMPORT_HOST)
        return;
    uint64_t at = 0;
    for (; at + 4 <= buffer->bytes; at += 4)
        memcpy(bytes + at, &pattern, 4);
    memcpy(bytes + at, &pattern, (size_t)(buffer->bytes - at));
}

static bl_status memory_info(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    struct chaos_device *chaos = (struct chaos_device *)device;
    if (!chaos->memory)
        return bl_device_memory(chaos->inner, free_bytes, total_bytes);
    uint64_t used = atomic_load(&chaos->memory_used);
    *total_bytes = chaos->memory;
    *free_bytes = used < chaos->memory ? chaos->memory - used : 0;
    return BL_OK;
}

static bl_status buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out)
{
    CHAOS_TRY(device);
    struct chaos_device *chaos = (struct chaos_device *)device;
    struct chaos_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    bl_status status = BL_OK;
    if (atomic_fetch_add(&chaos->memory_used, params->bytes) + params->bytes > chaos->memory && chaos->memory)
        status = bl_error_push(BL_EDEVMEM, __FILE__, __LINE__, "chaos: %llu bytes: beyond its memory of %llu", (unsigned long long)params->bytes,
                               (unsigned long long)chaos->memory);
    if (status == BL_OK)
        status = bl_buffer_create(chaos->inner, params, &buffer->inner);
    if (status != BL_OK) {
        atomic_fetch_sub(&chaos->memory_used, params->bytes);
        free(buffer);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    buffer->base.host = bl_buffer_host(buffer->inner);
    poison(buffer->inner);
    *out = &buffer->base;
    return BL_OK;
}

static void buffer_destroy(bl_buffer *base)
{
    struct chaos_buffer *buffer = (struct chaos_buffer *)base;
    poison(buffer->inner);
    atomic_fetch_sub(&((struct chaos_device *)base->device)->memory_used, base->bytes);
    bl_buffer_destroy(buffer->inner);
    free(buffer);
}

static bl_status buffer_sync(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device)
{
    return bl_buffer_sync(((struct chaos_buffer *)buffer)->inner, offset, bytes, to_device);
}

static bl_status kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out)
{
    bl_kernel *inner;
    CHAOS_TRY(device);
    BL_TRY(bl_kernel_get(((struct chaos_device *)device)->inner, key, &inner));
    struct chaos_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    kernel->inner = inner;
    memcpy(kernel->base.tile, inner->tile, sizeof inner->tile);
    snprintf(kernel->base.name, sizeof kernel->base.name, "%s", bl_kernel_name(inner));
    *out = &kernel->base;
    return BL_OK;
}

static void kernel_destroy(bl_kernel *kernel)
{
    free(kernel);
}

/* ---- queues ---- */

static bool is_ready(const struct chaos_submission *submission)
{
    for (uint32_t w = 0; w < submission->n_waits; w++)
        if (((const struct chaos_queue *)submission->waits[w].queue)->reached < submission->waits[w].value)
            return false;
    return true;
}

static bl_status play(struct chaos_queue *queue, const struct chaos_submission *submission)
{
    struct chaos_device *device = queue->device;
    uint64_t state = device->seed ^ queue->ordinal << 48 ^ submission->value;
    uint32_t n_nodes = submission->list->n_nodes;
    uint32_t *words = calloc(n_nodes ? 2 * (size_t)n_nodes : 1, sizeof *words);
    if (!words)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    bl_status status = chaos_list_play(submission->list, queue->inner, &state, words, words + n_nodes);
    free(words);
    uint64_t chance = chaos_random(&state);
    if (chance % 4 == 0) {
        const struct timespec delay = {0, (long)(chance / 4 % LONGEST_DELAY_NS)};
        nanosleep(&delay, NULL);
    }
    return status;
}

static void *queue_main(void *argument)
{
    struct chaos_queue *queue = argument;
    struct chaos_device *device = queue->device;
    pthread_mutex_lock(&device->lock);
    while (!queue->stop) {
        struct chaos_submission *submission = queue->first;
        if (!submission || device->lost || !is_ready(submission)) {
            pthread_cond_wait(&device->changed, &device->lock);
            continue;
        }
        pthread_mutex_unlock(&device->lock);
        bl_status status = play(queue, submission);
        pthread_mutex_lock(&device->lock);
        if (status != BL_OK) {
            lose(device);
            continue;
        }
        queue->first = submission->next;
        if (!queue->first)
            queue->last = NULL;
        queue->reached = submission->value;
        free(submission);
        pthread_cond_broadcast(&device->changed);
    }
    pthread_mutex_unlock(&device->lock);
    return NULL;
}

static bl_status start_thread(struct chaos_queue *queue)
{
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* base/file_map.h: a fault must reach the thread that caused it */
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&queue->thread, NULL, queue_main, queue);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error)
        BL_FAIL(BL_ENOMEM, "chaos: no thread: %s", strerror(error));
    return BL_OK;
}

static bl_status queue_create(bl_device *base, bl_queue_kind kind, bl_queue **out)
{
    struct chaos_device *device = (struct chaos_device *)base;
    CHAOS_TRY(device);
    struct chaos_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    bl_status status = bl_queue_create(device->inner, kind, &queue->inner);
    queue->device = device;
    pthread_mutex_lock(&device->lock);
    queue->ordinal = device->n_queues_made++;
    pthread_mutex_unlock(&device->lock);
    if (status == BL_OK)
        status = start_thread(queue);
    if (status != BL_OK) {
        bl_queue_destroy(queue->inner);
        free(queue);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &queue->base;
    return BL_OK;
}

static void queue_destroy(bl_queue *base)
{
    struct chaos_queue *queue = (struct chaos_queue *)base;
    struct chaos_device *device = (struct chaos_device *)base->device;
    pthread_mutex_lock(&device->lock);
    queue->stop = true;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    pthread_join(queue->thread, NULL);
    while (queue->first) { /* the device was lost */
        struct chaos_submission *next = queue->first->next;
        free(queue->first);
        queue->first = next;
    }
    bl_queue_destroy(queue->inner);
    free(queue);
}

static bl_status queue_submit(bl_queue *base, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value)
{
    struct chaos_queue *queue = (struct chaos_queue *)base;
    struct chaos_device *device = (struct chaos_device *)base->device;
    if (chaos_fails(device))
        return lose_as_asked(device);
    struct chaos_submission *submission = malloc(sizeof *submission + n_waits * sizeof submission->waits[0]);
    if (!submission)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    *submission = (struct chaos_submission){.list = (struct chaos_list *)list, .value = value, .n_waits = n_waits};
    if (n_waits)
        memcpy(submission->waits, waits, n_waits * sizeof *waits);
    pthread_mutex_lock(&device->lock);
    if (queue->last)
        queue->last->next = submission;
    else
        queue->first = submission;
    queue->last = submission;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    return BL_OK;
}

static bl_status queue_wait(bl_queue *base, uint64_t value, uint64_t timeout_ns)
{
    struct chaos_queue *queue = (struct chaos_queue *)base;
    struct chaos_device *device = (struct chaos_device *)base->device;
    struct timespec until;
    if (timeout_ns > 0 && chaos_fails(device))
        return lose_as_asked(device);
    bool forever = timeout_ns > UINT64_C(1) << 60;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (!forever) {
        uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000u;
        until.tv_sec += (time_t)(timeout_ns / 1000000000u + ns / 1000000000u);
        until.tv_nsec = (long)(ns % 1000000000u);
    }
    int error = 0;
    pthread_mutex_lock(&device->lock);
    while (queue->reached < value && !device->lost && timeout_ns > 0 && error != ETIMEDOUT)
        error = forever ? pthread_cond_wait(&device->changed, &device->lock)
                        : pthread_cond_timedwait(&device->changed, &device->lock, &until);
    bool reached = queue->reached >= value, lost = device->lost;
    pthread_mutex_unlock(&device->lock);
    if (reached)
        return BL_OK;
    if (lost)
        BL_FAIL(BL_EDEVLOST, "chaos: the device was lost before %llu was reached", (unsigned long long)value);
    return BL_ETIMEOUT;
}

/* ---- the device ---- */

static bool describe(uint32_t index, bl_device_info *out)
{
    if (index > 0)
        return false;
    *out = (bl_device_info){.backend = "chaos", .name = "random legal orders, for tests; wraps any device", .id = "chaos(cpu)"};
    return true;
}

static void device_close(bl_device *base)
{
    struct chaos_device *device = (struct chaos_device *)base;
    bl_device_close(device->inner);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

static const struct bl_device_fns fns = {
    .device_close = device_close,
    .memory_info = memory_info,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_sync = buffer_sync,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .queue_submit = queue_submit,
    .queue_wait = queue_wait,
    .list_begin = chaos_list_begin,
    .list_dispatch = chaos_list_dispatch,
    .list_copy = chaos_list_copy,
    .list_fill = chaos_list_fill,
    .list_end = chaos_list_end,
    .list_destroy = chaos_list_destroy,
};

static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    if (index > 0)
        BL_FAIL(BL_EUNSUPPORTED, "chaos has no device %u", index);
    struct chaos_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    bl_device_params inner_params = *params;
    inner_params.chaos_fail_at = 0;
    bl_status status = bl_device_open_inner(params->device, &inner_params, &device->inner);
    if (status != BL_OK) {
        free(device);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    device->seed = params->chaos_seed;
    device->fail_at = params->chaos_fail_at;
    device->memory = params->chaos_memory;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&device->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&device->lock, NULL);
    device->base.fns = &fns;
    device->base.caps = *bl_device_caps(device->inner);
    snprintf(device->name, sizeof device->name, "chaos on %s", device->base.caps.name);
    device->base.caps.backend = "chaos";
    device->base.caps.name = device->name;
    device->base.caps.timestamps = false;
    if (device->memory) {
        device->base.caps.memory_kinds &= ~(1u << BL_MEM_IMPORT_HOST);
        device->base.caps.unified = false;
    }
    *out = &device->base;
    return BL_OK;
}

const struct bl_backend bl_backend_chaos = {
    .name = "chaos",
    .abi = BL_BACKEND_ABI,
    .score = BL_SCORE_NEVER,
    .wraps = true,
    .describe = describe,
    .open = open_device,
};
