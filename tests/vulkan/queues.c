/* queues.c: what software drivers lack, linked in front of them. VULKAN_TEST_QUEUES=threads: a family with two queues, each a thread that works
 * off its submissions in order and late, having waited for what they wait for, and so finds every wait that is missing: the driver's one
 * queue does what arrives. =fences: a device without timeline semaphores. Knows the function tables, no back end. */
#include "backends/vulkan/vk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAITS 4u
struct job {
    struct job *next;
    VkCommandBuffer commands;
    VkSemaphore waits[WAITS], signal;
    uint64_t values[WAITS], value;
    uint32_t n_waits;
};

struct queue {
    struct queue *next;
    VkDevice device;
    VkQueue real;
    pthread_t thread;
    struct job *first, **last; /* lock; the first is being done */
    bool ends;
};

static struct vk_instance real_instance;
static struct vk_device_fns real;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, submitting = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct queue *queues; /* lock */

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "FAIL %s\n", what);
        abort();
    }
}

static void do_job(const struct queue *queue, const struct job *job, uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    nanosleep(&(struct timespec){0, (long)(*random >> 12)}, NULL); /* up to a millisecond */
    const VkSemaphoreWaitInfoKHR wait = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO_KHR, .semaphoreCount = job->n_waits,
                                         .pSemaphores = job->waits, .pValues = job->values};
    if (job->n_waits)
        real.WaitSemaphoresKHR(queue->device, &wait, UINT64_MAX);
    const VkTimelineSemaphoreSubmitInfoKHR timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO_KHR,
                                                       .signalSemaphoreValueCount = job->signal != VK_NULL_HANDLE, .pSignalSemaphoreValues = &job->value};
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .pNext = &timeline, .commandBufferCount = 1, .pCommandBuffers = &job->commands,
                               .signalSemaphoreCount = job->signal != VK_NULL_HANDLE, .pSignalSemaphores = &job->signal};
    pthread_mutex_lock(&submitting);
    real.QueueSubmit(queue->real, 1, &info, VK_NULL_HANDLE);
    pthread_mutex_unlock(&submitting);
}

static void *work(void *argument)
{
    struct queue *queue = argument;
    uint32_t random = (uint32_t)(uintptr_t)queue;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!queue->first && !queue->ends)
            pthread_cond_wait(&changed, &lock);
        struct job *job = queue->first;
        if (!job)
            break;
        pthread_mutex_unlock(&lock);
        do_job(queue, job, &random);
        pthread_mutex_lock(&lock);
        queue->first = job->next;
        if (!queue->first)
            queue->last = &queue->first;
        free(job);
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void VKAPI_CALL two_families(VkPhysicalDevice physical, uint32_t *n, VkQueueFamilyProperties *out)
{
    real_instance.GetPhysicalDeviceQueueFamilyProperties(physical, n, out);
    for (uint32_t f = 0; out && f < *n; f++)
        out[f].queueCount = 2;
}

static VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *c, VkDevice *out)
{
    VkDeviceQueueCreateInfo one = info->pQueueCreateInfos[0];
    VkDeviceCreateInfo changed_info = *info;
    must(one.queueCount == 2, "two queues are asked for");
    one.queueCount = 1;
    changed_info.pQueueCreateInfos = &one;
    return real_instance.CreateDevice(physical, &changed_info, c, out);
}

static void VKAPI_CALL get_queue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out)
{
    struct queue *queue = calloc(1, sizeof *queue);
    must(queue && index < 2, "one of two queues");
    queue->device = device;
    queue->last = &queue->first;
    real.GetDeviceQueue(device, family, 0, &queue->real);
    pthread_mutex_lock(&lock);
    queue->next = queues;
    queues = queue;
    pthread_mutex_unlock(&lock);
    must(pthread_create(&queue->thread, NULL, work, queue) == 0, "a thread");
    *out = (VkQueue)queue;
}

static VkResult VKAPI_CALL submit(VkQueue handle, uint32_t n, const VkSubmitInfo *info, VkFence fence)
{
    struct queue *queue = (struct queue *)handle;
    const VkTimelineSemaphoreSubmitInfoKHR *timeline = info->pNext;
    struct job *job = calloc(1, sizeof *job);
    must(job && n == 1 && !fence && info->commandBufferCount == 1 && info->waitSemaphoreCount <= WAITS && info->signalSemaphoreCount <= 1,
         "a submission of the known form");
    job->commands = info->pCommandBuffers[0];
    job->n_waits = info->waitSemaphoreCount;
    for (uint32_t w = 0; w < job->n_waits; w++) {
        job->waits[w] = info->pWaitSemaphores[w];
        job->values[w] = timeline->pWaitSemaphoreValues[w];
    }
    if (info->signalSemaphoreCount) {
        job->signal = info->pSignalSemaphores[0];
        job->value = timeline->pSignalSemaphoreValues[0];
    }
    pthread_mutex_lock(&lock);
    *queue->last = job;
    queue->last = &job->next;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return VK_SUCCESS;
}

static VkResult VKAPI_CALL wait_idle(VkDevice device)
{
    pthread_mutex_lock(&lock);
    for (struct queue *queue = queues; queue; queue = queue->next)
        while (queue->device == device && queue->first)
            pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&submitting);
    VkResult result = real.DeviceWaitIdle(device);
    pthread_mutex_unlock(&submitting);
    return result;
}

static void VKAPI_CALL destroy_device(VkDevice device, const VkAllocationCallbacks *c)
{
    pthread_mutex_lock(&lock);
    for (struct queue **link = &queues; *link;) {
        struct queue *queue = *link;
        if (queue->device != device) {
            link = &queue->next;
            continue;
        }
        *link = queue->next;
        queue->ends = true;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        pthread_join(queue->thread, NULL);
        free(queue);
        pthread_mutex_lock(&lock);
        link = &queues;
    }
    pthread_mutex_unlock(&lock);
    real.DestroyDevice(device, c);
}

static void VKAPI_CALL no_timelines(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *out)
{
    real_instance.GetPhysicalDeviceFeatures2(physical, out);
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)out; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES_KHR)
            ((VkPhysicalDeviceTimelineSemaphoreFeaturesKHR *)s)->timelineSemaphore = VK_FALSE;
}

static void wrap_two(struct vk_instance *instance, struct vk_device_fns *device)
{
    if (instance && instance->CreateDevice) {
        real_instance = *instance;
        instance->GetPhysicalDeviceQueueFamilyProperties = two_families;
        instance->CreateDevice = create_device;
    }
    if (device) {
        real = *device;
        device->GetDeviceQueue = get_queue;
        device->QueueSubmit = submit;
        device->DeviceWaitIdle = wait_idle;
        device->DestroyDevice = destroy_device;
    }
}

static void wrap_fences(struct vk_instance *instance, struct vk_device_fns *device)
{
    if (instance && instance->CreateDevice) {
        real_instance = *instance;
        instance->GetPhysicalDeviceFeatures2 = no_timelines;
    }
    if (device)
        device->WaitSemaphoresKHR = NULL;
}

__attribute__((constructor)) static void put_in_front(void)
{
    const char *asked = getenv("VULKAN_TEST_QUEUES");
    vk_wrap = !asked ? NULL : strcmp(asked, "threads") == 0 ? wrap_two : wrap_fences;
}
