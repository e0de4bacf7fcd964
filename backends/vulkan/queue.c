/* queue.c: time lines over one VkQueue. A submission waits here until all that it waits for has gone to the VkQueue; from there on it
 * completes in order. Knows no commands. */
#include "vk.h"

#include <stdlib.h>
#include <time.h>

/* One submission, and the fence that tells its end. */
struct vk_flight {
    struct vk_flight *next;
    struct vk_queue *queue;
    uint64_t value;
    const struct vk_commands *commands;
    VkFence fence;
    bl_fence *waits;
    uint32_t n_waits;
};

bl_status vk_queue_create(bl_device *base, bl_queue_kind kind, bl_queue **out)
{
    (void)kind; /* one VkQueue for all */
    struct vk_device *device = (struct vk_device *)base;
    struct vk_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    queue->last = &queue->pending;
    pthread_mutex_lock(&device->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out = &queue->base;
    return BL_OK;
}

/* The lock is held: a fence that may be used again. */
static void put_back(struct vk_device *device, struct vk_flight *flight)
{
    free(flight->waits);
    flight->waits = NULL;
    flight->next = device->spare;
    device->spare = flight;
}

/* The lock is held: takes off what is complete, oldest first. Leaves fences alone that another thread sleeps on. */
static void collect(struct vk_device *device)
{
    while (device->flying && !device->waiting) {
        struct vk_flight *flight = device->flying;
        VkResult result = device->fns.WaitForFences(device->handle, 1, &flight->fence, VK_TRUE, 0);
        if (result == VK_TIMEOUT)
            return;
        if (result != VK_SUCCESS) {
            device->lost = true;
            pthread_cond_broadcast(&device->changed);
            return;
        }
        flight->queue->reached = flight->value;
        device->flying = flight->next;
        if (!device->flying)
            device->last_flying = &device->flying;
        put_back(device, flight);
        pthread_cond_broadcast(&device->changed);
    }
}

void vk_queue_destroy(bl_queue *base)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_queue *queue = (struct vk_queue *)base;
    pthread_mutex_lock(&device->lock);
    while (device->waiting)
        pthread_cond_wait(&device->changed, &device->lock);
    if (device->flying)
        device->fns.DeviceWaitIdle(device->handle); /* only on a lost device: nothing may touch memory any more */
    for (struct vk_flight **link = &device->flying; *link;) {
        struct vk_flight *flight = *link;
        if (flight->queue == queue) {
            *link = flight->next;
            put_back(device, flight);
        } else {
            link = &flight->next;
        }
    }
    device->last_flying = &device->flying;
    while (*device->last_flying)
        device->last_flying = &(*device->last_flying)->next;
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

void vk_queue_free_spare(struct vk_device *device)
{
    while (device->spare) {
        struct vk_flight *flight = device->spare;
        device->spare = flight->next;
        device->fns.DestroyFence(device->handle, flight->fence, NULL);
        free(flight);
    }
}

static bool may_go(const struct vk_flight *flight)
{
    for (uint32_t w = 0; w < flight->n_waits; w++)
        if (((const struct vk_queue *)flight->waits[w].queue)->flushed < flight->waits[w].value)
            return false;
    return true;
}

/* One call per command buffer, the fence with the last: a driver's watchdog looks at single submissions. */
static VkResult hand_over(struct vk_device *device, const struct vk_flight *flight)
{
    VkResult result = VK_SUCCESS;
    for (uint32_t c = 0; result == VK_SUCCESS && c < flight->commands->n; c++) {
        const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1,
                                   .pCommandBuffers = &flight->commands->buffers[c]};
        result = device->fns.QueueSubmit(device->queue, 1, &info, c + 1 == flight->commands->n ? flight->fence : VK_NULL_HANDLE);
    }
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
        *device->last_flying = flight;
        device->last_flying = &flight->next;
        pthread_cond_broadcast(&device->changed);
        queue = device->queues; /* others may have waited for this */
    }
    return BL_OK;
}

/* A flight with an unsignalled fence. */
static bl_status take_flight(struct vk_device *device, struct vk_flight **out)
{
    pthread_mutex_lock(&device->lock);
    struct vk_flight *flight = device->spare;
    if (flight)
        device->spare = flight->next;
    pthread_mutex_unlock(&device->lock);
    if (flight) {
        *out = flight;
        return vk_answer(device, device->fns.ResetFences(device->handle, 1, &flight->fence), "vkResetFences");
    }
    flight = *out = calloc(1, sizeof *flight);
    if (!flight)
        BL_FAIL(BL_ENOMEM, "submission: out of memory");
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
            if (flight->fence)
                device->fns.DestroyFence(device->handle, flight->fence, NULL);
            free(flight);
        }
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    for (uint32_t w = 0; w < n_waits; w++)
        kept[w] = waits[w];
    *flight = (struct vk_flight){.queue = queue, .value = value, .commands = commands, .fence = flight->fence,
                                 .waits = kept, .n_waits = n_waits};
    pthread_mutex_lock(&device->lock);
    collect(device);
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

/* One thread at a time sleeps on the oldest fence; the others on the condition, which every completed submission raises. */
bl_status vk_queue_wait(bl_queue *base, uint64_t value, uint64_t timeout_ns)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_queue *queue = (struct vk_queue *)base;
    const uint64_t slice = 100000000u, start = timeout_ns ? now_ns() : 0; /* a lost device is noticed between slices */
    bl_status status = BL_OK;
    pthread_mutex_lock(&device->lock);
    for (;;) {
        collect(device);
        if (device->lost || queue->reached >= value)
            break;
        uint64_t passed = timeout_ns ? now_ns() - start : 0;
        if (passed >= timeout_ns) {
            status = BL_ETIMEOUT;
            break;
        }
        uint64_t left = timeout_ns - passed < slice ? timeout_ns - passed : slice;
        if (device->flying && !device->waiting) {
            VkFence fence = device->flying->fence;
            device->waiting = true;
            pthread_mutex_unlock(&device->lock);
            VkResult result = device->fns.WaitForFences(device->handle, 1, &fence, VK_TRUE, left);
            pthread_mutex_lock(&device->lock);
            device->waiting = false;
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
