/* queue.c: time lines over one or two VkQueues. A submission waits here until all that it waits for has gone to a VkQueue; from there on
 * those of one VkQueue complete in order. Knows no commands. */
#include "vk.h"

#include <stdlib.h>
#include <time.h>

/* One submission, and what tells its end. */
struct vk_flight {
    struct vk_flight *next;
    struct vk_queue *queue;
    uint64_t value, count; /* count: of its VkQueue's semaphore */
    const struct vk_commands *commands;
    VkFence fence;         /* or none */
    bl_fence *waits;
    uint32_t n_waits;
};

bl_status vk_tracks_init(struct vk_device *device)
{
    for (uint32_t t = 0; t < device->n_tracks; t++) {
        struct vk_track *track = &device->tracks[t];
        track->last = &track->flying;
        device->fns.GetDeviceQueue(device->handle, device->family, t, &track->handle);
        const VkSemaphoreTypeCreateInfoKHR type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO_KHR, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE_KHR};
        const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
        if (device->timeline)
            BL_TRY(vk_answer(device, device->fns.CreateSemaphore(device->handle, &info, NULL, &track->done), "vkCreateSemaphore"));
    }
    return BL_OK;
}

void vk_tracks_finish(struct vk_device *device)
{
    while (device->spare) {
        struct vk_flight *flight = device->spare;
        device->spare = flight->next;
        device->fns.DestroyFence(device->handle, flight->fence, NULL); /* none: ignored */
        free(flight);
    }
    for (uint32_t t = 0; t < device->n_tracks; t++)
        if (device->tracks[t].done)
            device->fns.DestroySemaphore(device->handle, device->tracks[t].done, NULL);
}

bl_status vk_queue_create(bl_device *base, bl_queue_kind kind, bl_queue **out)
{
    (void)kind; /* of one family, and that does both */
    struct vk_device *device = (struct vk_device *)base;
    struct vk_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    queue->last = &queue->pending;
    pthread_mutex_lock(&device->lock);
    queue->track = &device->tracks[device->n_queues++ % device->n_tracks];
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out = &queue->base;
    return BL_OK;
}

/* The lock is held: a flight that may be used again. */
static void put_back(struct vk_device *device, struct vk_flight *flight)
{
    free(flight->waits);
    flight->waits = NULL;
    flight->next = device->spare;
    device->spare = flight;
}

static VkResult wait_for(const struct vk_device *device, const struct vk_track *track, VkFence fence, uint64_t count, uint64_t ns)
{
    const VkSemaphoreWaitInfoKHR info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO_KHR, .semaphoreCount = 1, .pSemaphores = &track->done,
                                         .pValues = &count};
    return track->done ? device->fns.WaitSemaphoresKHR(device->handle, &info, ns)
                       : device->fns.WaitForFences(device->handle, 1, &fence, VK_TRUE, ns);
}

/* The lock is held: takes off what is complete, oldest first. Leaves alone what another thread sleeps on. */
static void collect(struct vk_device *device, struct vk_track *track)
{
    while (track->flying && !track->waiting) {
        struct vk_flight *flight = track->flying;
        VkResult result = wait_for(device, track, flight->fence, flight->count, 0);
        if (result == VK_TIMEOUT)
            return;
        if (result != VK_SUCCESS) {
            device->lost = true;
            pthread_cond_broadcast(&device->changed);
            return;
        }
        flight->queue->reached = flight->value;
        track->flying = flight->next;
        if (!track->flying)
            track->last = &track->flying;
        put_back(device, flight);
        pthread_cond_broadcast(&device->changed);
    }
}

void vk_queue_destroy(bl_queue *base)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_queue *queue = (struct vk_queue *)base;
    struct vk_track *track = queue->track;
    pthread_mutex_lock(&device->lock);
    while (track->waiting)
        pthread_cond_wait(&device->changed, &device->lock);
    if (track->flying)
        device->fns.DeviceWaitIdle(device->handle); /* only on a lost device: nothing may touch memory any more */
    for (struct vk_flight **link = &track->flying; *link;) {
        struct vk_flight *flight = *link;
        if (flight->queue == queue) {
            *link = flight->next;
            put_back(device, flight);
        } else {
            link = &flight->next;
        }
    }
    track->last = &track->flying;
    while (*track->last)
        track->last = &(*track->last)->next;
    while (queue->pending) {
        struct vk_flight *flight = queue->pending;
        queue->pending = flight->next;
        put_back(device, flight);
    }
    struct vk_queue **link = &device->queues;
    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    pthread_mutex_unlock(&device->lock);
    free(queue);
}

static bool may_go(const struct vk_flight *flight)
{
    for (uint32_t w = 0; w < flight->n_waits; w++)
        if (((const struct vk_queue *)flight->waits[w].queue)->flushed < flight->waits[w].value)
            return false;
    return true;
}

/* The submissions of other VkQueues that must be complete first; those not in flight are. */
static uint32_t foreign_waits(const struct vk_flight *flight, VkSemaphore semaphores[VK_TRACKS], uint64_t counts[VK_TRACKS])
{
    uint32_t n = 0;
    for (uint32_t w = 0; w < flight->n_waits; w++) {
        const struct vk_queue *queue = (const struct vk_queue *)flight->waits[w].queue;
        const struct vk_flight *other = queue->track == flight->queue->track ? NULL : queue->track->flying;
        while (other && (other->queue != queue || other->value != flight->waits[w].value))
            other = other->next;
        if (!other)
            continue;
        uint32_t s = 0;
        while (s < n && semaphores[s] != queue->track->done)
            s++;
        counts[s] = s < n && counts[s] > other->count ? counts[s] : other->count;
        semaphores[s] = queue->track->done;
        n = s < n ? n : s + 1;
    }
    return n;
}

/* One call per command buffer, the waits with the first and the signal with the last: a driver's watchdog looks at single submissions. */
static VkResult hand_over(struct vk_device *device, struct vk_flight *flight)
{
    static const VkPipelineStageFlags work[VK_TRACKS] = {VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT};
    struct vk_track *track = flight->queue->track;
    VkSemaphore semaphores[VK_TRACKS];
    uint64_t counts[VK_TRACKS];
    const uint32_t n_waits = foreign_waits(flight, semaphores, counts), n = flight->commands->n;
    VkResult result = VK_SUCCESS;
    flight->count = track->n_submitted + 1;
    for (uint32_t c = 0; result == VK_SUCCESS && c < n; c++) {
        const bool signals = track->done && c + 1 == n;
        const VkTimelineSemaphoreSubmitInfoKHR timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO_KHR,
                                                           .waitSemaphoreValueCount = c ? 0 : n_waits, .pWaitSemaphoreValues = counts,
                                                           .signalSemaphoreValueCount = signals, .pSignalSemaphoreValues = &flight->count};
        const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .pNext = track->done ? &timeline : NULL,
                                   .waitSemaphoreCount = c ? 0 : n_waits, .pWaitSemaphores = semaphores, .pWaitDstStageMask = work,
                                   .commandBufferCount = 1, .pCommandBuffers = &flight->commands->buffers[c],
                                   .signalSemaphoreCount = signals, .pSignalSemaphores = &track->done};
        result = device->fns.QueueSubmit(track->handle, 1, &info, c + 1 == n ? flight->fence : VK_NULL_HANDLE);
    }
    track->n_submitted++;
    return result;
}

/* The lock is held: hands over everything that may go. */
static bl_status flush(struct vk_device *device)
{
    for (struct vk_queue *queue = device->queues; queue;) {
        struct vk_flight *flight = queue->pending;
        if (!flight || !may_go(flight)) {
            queue = queue->next;
            continue;
        }
        VkResult result = hand_over(device, flight);
        if (result != VK_SUCCESS) {
            /* What was promised to others cannot be kept: the device is as good as lost. */
            device->lost = true;
            pthread_cond_broadcast(&device->changed);
            BL_FAIL(BL_EDEVLOST, "%s: vkQueueSubmit: %s", device->name, vk_result_name(result));
        }
        queue->pending = flight->next;
        if (!queue->pending)
            queue->last = &queue->pending;
        queue->flushed = flight->value;
        flight->next = NULL;
        *queue->track->last = flight;
        queue->track->last = &flight->next;
        pthread_cond_broadcast(&device->changed);
        queue = device->queues; /* others may have waited for this */
    }
    return BL_OK;
}

/* A flight; with an unsignalled fence, where fences are used. */
static bl_status take_flight(struct vk_device *device, struct vk_flight **out)
{
    pthread_mutex_lock(&device->lock);
    struct vk_flight *flight = device->spare;
    if (flight)
        device->spare = flight->next;
    pthread_mutex_unlock(&device->lock);
    if (flight) {
        *out = flight;
        if (device->timeline)
            return BL_OK;
        return vk_answer(device, device->fns.ResetFences(device->handle, 1, &flight->fence), "vkResetFences");
    }
    flight = *out = calloc(1, sizeof *flight);
    if (!flight)
        BL_FAIL(BL_ENOMEM, "submission: out of memory");
    if (device->timeline)
        return BL_OK;
    const VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return vk_answer(device, device->fns.CreateFence(device->handle, &info, NULL, &flight->fence), "vkCreateFence");
}

bl_status vk_queue_submit(bl_queue *base, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_queue *queue = (struct vk_queue *)base;
    struct vk_flight *flight = NULL;
    const struct vk_commands *commands = NULL;
    BL_TRY(vk_list_commands((struct vk_list *)list, &commands));
    bl_status status = take_flight(device, &flight);
    bl_fence *kept = n_waits ? malloc(n_waits * sizeof *kept) : NULL;
    if (status == BL_OK && n_waits && !kept)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "submission: out of memory");
    if (status != BL_OK) {
        free(kept);
        if (flight) {
            device->fns.DestroyFence(device->handle, flight->fence, NULL); /* none: ignored */
            free(flight);
        }
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    for (uint32_t w = 0; w < n_waits; w++)
        kept[w] = waits[w];
    *flight = (struct vk_flight){.queue = queue, .value = value, .commands = commands, .fence = flight->fence,
                                 .waits = kept, .n_waits = n_waits};
    pthread_mutex_lock(&device->lock);
    collect(device, queue->track);
    *queue->last = flight;
    queue->last = &flight->next;
    status = flush(device);
    pthread_mutex_unlock(&device->lock);
    return status;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Of each VkQueue one thread at a time sleeps on the oldest submission; the others on the condition, which every completed submission raises. */
bl_status vk_queue_wait(bl_queue *base, uint64_t value, uint64_t timeout_ns)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_queue *queue = (struct vk_queue *)base;
    struct vk_track *track = queue->track;
    const uint64_t slice = 100000000u, start = timeout_ns ? now_ns() : 0; /* a lost device is noticed between slices */
    bl_status status = BL_OK;
    pthread_mutex_lock(&device->lock);
    for (;;) {
        collect(device, track);
        if (device->lost || queue->reached >= value)
            break;
        uint64_t passed = timeout_ns ? now_ns() - start : 0;
        if (passed >= timeout_ns) {
            status = BL_ETIMEOUT;
            break;
        }
        uint64_t left = timeout_ns - passed < slice ? timeout_ns - passed : slice;
        if (track->flying && !track->waiting) {
            const VkFence fence = track->flying->fence;
            const uint64_t count = track->flying->count;
            track->waiting = true;
            pthread_mutex_unlock(&device->lock);
            VkResult result = wait_for(device, track, fence, count, left);
            pthread_mutex_lock(&device->lock);
            track->waiting = false;
            if (result != VK_SUCCESS && result != VK_TIMEOUT)
                device->lost = true;
            pthread_cond_broadcast(&device->changed);
        } else {
            uint64_t until = now_ns() + left;
            const struct timespec t = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
            pthread_cond_timedwait(&device->changed, &device->lock, &t);
        }
    }
    bool lost = device->lost;
    pthread_mutex_unlock(&device->lock);
    if (lost)
        BL_FAIL(BL_EDEVLOST, "%s: the device is lost", device->name);
    return status;
}
