/* queue.c: submissions under way and waiting for them. Owns the count of uses of lists and buffers, and with it the moment when what was
 * destroyed early may really go. Knows no back end. */
#include "base/log.h"
#include "hal/core.h"

#include <stdlib.h>

bl_status bl_queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out)
{
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    REQUIRE_OBJECT(device);
    REQUIRE(kind == BL_QUEUE_COMPUTE || kind == BL_QUEUE_TRANSFER, "bl_queue_create: kind %u is none", (uint32_t)kind);
    BL_TRY(bl_device_usable(device));
    struct bl_device_core *device_core = device->core;
    struct bl_queue_core *core = calloc(1, sizeof *core);
    if (!core)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    pthread_mutex_lock(&device_core->lock);
    bool room = device->caps.max_queues == 0 || device_core->n_queues < device->caps.max_queues;
    device_core->n_queues += room;
    pthread_mutex_unlock(&device_core->lock);
    if (!room) {
        free(core);
        BL_FAIL(BL_EINVAL, "bl_queue_create: %s has %u queues, caps.max_queues", device_core->id, device->caps.max_queues);
    }
    bl_status status = bl_device_answer(device, device->fns->queue_create(device, kind, out));
    pthread_mutex_lock(&device_core->lock);
    if (status == BL_OK) {
        bl_queue *queue = *out;
        queue->device = device;
        queue->kind = kind;
        queue->submitted = 0;
        queue->core = core;
        core->next = device_core->queues;
        device_core->queues = queue;
    } else {
        device_core->n_queues--;
        *out = NULL;
        free(core);
    }
    pthread_mutex_unlock(&device_core->lock);
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}

/* The lock is held: one submission is over. */
static void end_use(bl_list *list, struct dead_objects *dead)
{
    struct bl_list_core *core = list->core;
    for (uint32_t b = 0; b < core->n_buffers; b++) {
        struct bl_buffer_core *buffer = core->buffers[b];
        if (--buffer->uses == 0 && buffer->destroyed) {
            buffer->next_dead = dead->buffers;
            dead->buffers = buffer;
        }
    }
    if (--core->uses == 0 && core->destroyed) {
        core->next_dead = dead->lists;
        dead->lists = list;
    }
}

/* The lock is held: takes off what is finished up to `value`. */
static void retire(struct bl_queue_core *core, uint64_t value, struct dead_objects *dead)
{
    while (core->count && core->ring[core->first].value <= value) {
        bl_list *list = core->ring[core->first].list;
        core->first = (core->first + 1) % core->capacity;
        core->count--;
        end_use(list, dead);
    }
}

/* The lock is held: asks the back end how far the queue is. */
static void poll_queue(bl_queue *queue, struct dead_objects *dead)
{
    struct bl_queue_core *core = queue->core;
    while (core->count) {
        uint64_t oldest = core->ring[core->first].value;
        if (queue->device->fns->queue_wait(queue, oldest, 0) != BL_OK)
            return;
        retire(core, oldest, dead);
    }
}

void bl_device_collect(bl_device *device, struct dead_objects *dead)
{
    for (bl_queue *queue = device->core->queues; queue; queue = queue->core->next)
        poll_queue(queue, dead);
}

void bl_release_dead(bl_device *device, struct dead_objects *dead)
{
    struct bl_device_core *device_core = device->core;
    while (dead->lists) {
        bl_list *list = dead->lists;
        struct bl_list_core *core = list->core;
        dead->lists = core->next_dead;
        device->fns->list_destroy(list);
        pthread_mutex_lock(&device_core->lock);
        for (uint32_t b = 0; b < core->n_buffers; b++)
            bl_buffer_core_unref(core->buffers[b]);
        device_core->n_lists--;
        pthread_mutex_unlock(&device_core->lock);
        free(core->buffers);
        free(core->buffer_slots);
        free(core->nodes);
        free(core->accesses);
        free(core->waits);
        bl_arena_finish(&core->labels);
        free(core);
    }
    while (dead->buffers) {
        struct bl_buffer_core *core = dead->buffers;
        dead->buffers = core->next_dead;
        device->fns->buffer_destroy(core->buffer);
        pthread_mutex_lock(&device_core->lock);
        core->buffer = NULL;
        bl_buffer_core_unref(core);
        device_core->n_buffers--;
        pthread_mutex_unlock(&device_core->lock);
    }
}

void bl_queue_destroy(bl_queue *queue)
{
    if (!queue)
        return;
    bl_device *device = queue->device;
    struct bl_device_core *device_core = device->core;
    struct bl_queue_core *core = queue->core;
    struct dead_objects dead = {0};
    pthread_mutex_lock(&device_core->lock);
    poll_queue(queue, &dead);
    bool idle = core->count == 0 || atomic_load(&device_core->lost);
    if (idle) {
        bl_queue **link = &device_core->queues;
        while (*link != queue)
            link = &(*link)->core->next;
        *link = core->next;
    }
    uint64_t left = core->count;
    pthread_mutex_unlock(&device_core->lock);
    if (idle) {
        device->fns->queue_destroy(queue);
        pthread_mutex_lock(&device_core->lock);
        retire(core, UINT64_MAX, &dead);
        device_core->n_queues--;
        pthread_mutex_unlock(&device_core->lock);
        free(core->ring);
        free(core);
    } else {
        bl_log(BL_LOG_ERROR, "bl_queue_destroy: %llu submissions are under way: left alive", (unsigned long long)left);
    }
    bl_release_dead(device, &dead);
}

/* The lock is held: room for one more submission. What is finished goes first: a queue that nobody waits for must not grow for ever. */
static bl_status make_room(bl_queue *queue, struct dead_objects *dead)
{
    struct bl_queue_core *core = queue->core;
    if (core->count < core->capacity)
        return BL_OK;
    poll_queue(queue, dead);
    if (core->count < core->capacity)
        return BL_OK;
    uint32_t larger = core->capacity ? core->capacity * 2 : 16;
    struct submission *ring = larger > core->capacity ? malloc(larger * sizeof *ring) : NULL;
    if (!ring)
        BL_FAIL(BL_ENOMEM, "queue: out of memory after %u submissions", core->count);
    for (uint32_t i = 0; i < core->count; i++)
        ring[i] = core->ring[(core->first + i) % core->capacity];
    free(core->ring);
    core->ring = ring;
    core->first = 0;
    core->capacity = larger;
    return BL_OK;
}

/* The lock is held. */
static bl_status begin_use(bl_queue *queue, bl_list *list, uint64_t value, struct dead_objects *dead)
{
    struct bl_queue_core *core = queue->core;
    struct bl_list_core *list_core = list->core;
    for (uint32_t b = 0; b < list_core->n_buffers; b++)
        REQUIRE(!list_core->buffers[b]->destroyed, "bl_queue_submit: buffer \"%s\" of the list was destroyed",
                list_core->buffers[b]->label);
    BL_TRY(make_room(queue, dead));
    for (uint32_t b = 0; b < list_core->n_buffers; b++)
        list_core->buffers[b]->uses++;
    list_core->uses++;
    core->ring[(core->first + core->count++) % core->capacity] = (struct submission){value, list};
    return BL_OK;
}

/* The lock is held: the back end refused the newest submission. */
static void undo_use(bl_queue *queue, struct dead_objects *dead)
{
    struct bl_queue_core *core = queue->core;
    core->count--;
    end_use(core->ring[(core->first + core->count) % core->capacity].list, dead);
}

bl_status bl_queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t *value)
{
    bl_errors_clear();
    if (value)
        *value = 0;
    REQUIRE_OBJECT(queue);
    REQUIRE_OBJECT(list);
    bl_device *device = queue->device;
    REQUIRE(list->device == device, "bl_queue_submit: the list is of device %s, the queue of %s", list->device->core->id, device->core->id);
    REQUIRE(list->core->state == LIST_SEALED, "bl_queue_submit: the list is not sealed by bl_list_end");
    REQUIRE(waits != NULL || n_waits == 0, "bl_queue_submit: waits is NULL and n_waits is %u", n_waits);
    for (uint32_t w = 0; w < n_waits; w++) {
        REQUIRE(waits[w].queue != NULL, "bl_queue_submit: waits[%u].queue is NULL", w);
        REQUIRE(waits[w].queue->device == device, "bl_queue_submit: waits[%u].queue is of device %s, the queue of %s", w,
                waits[w].queue->device->core->id, device->core->id);
        REQUIRE(waits[w].queue != queue || waits[w].value <= queue->submitted,
                "bl_queue_submit: waits[%u].value %llu is a point of this queue after this submission: it would wait for ever", w,
                (unsigned long long)waits[w].value);
    }
    BL_TRY(bl_device_usable(device));

    struct dead_objects dead = {0};
    uint64_t next = queue->submitted + 1;
    pthread_mutex_lock(&device->core->lock);
    bl_status status = begin_use(queue, list, next, &dead);
    pthread_mutex_unlock(&device->core->lock);
    if (status == BL_OK) {
        if (list->timed)
            list->core->timed_once = true;
        status = bl_device_answer(device, device->fns->queue_submit(queue, list, waits, n_waits, next));
        if (status == BL_OK) {
            queue->submitted = next;
            if (value)
                *value = next;
        } else {
            pthread_mutex_lock(&device->core->lock);
            undo_use(queue, &dead);
            pthread_mutex_unlock(&device->core->lock);
        }
    }
    bl_release_dead(device, &dead);
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}

bl_status bl_queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns)
{
    bl_errors_clear();
    REQUIRE_OBJECT(queue);
    bl_device *device = queue->device;
    BL_TRY(bl_device_usable(device));
    bl_status status = bl_device_answer(device, device->fns->queue_wait(queue, value, timeout_ns));
    if (status == BL_ETIMEOUT)
        BL_FAIL(BL_ETIMEOUT, "value %llu not reached in %llu ns", (unsigned long long)value, (unsigned long long)timeout_ns);
    if (status != BL_OK)
        return bl_error_trace(status, __FILE__, __LINE__);
    /* Reached, but the device may have been lost meanwhile: then the contents are not to be trusted. */
    BL_TRY(bl_device_usable(device));
    struct dead_objects dead = {0};
    pthread_mutex_lock(&device->core->lock);
    retire(queue->core, value, &dead);
    pthread_mutex_unlock(&device->core->lock);
    bl_release_dead(device, &dead);
    return BL_OK;
}
