/* faults.c: the Vulkan back end when the driver fails. The function tables are wrapped: call number k answers "out of device memory" (once)
 * or "device lost" (and so does every later call), for every k of two small programs: buffers and lists, and, given a model, two steps of
 * the engine. Each time there is a status with a line of text or the right result, and every object that was made is destroyed.
 *   faults [--model FILE EVERY]     EVERY: of the model's calls, one in that many fails (a run of it takes a second or two) */
#include "backends/vulkan/vk.h"

#include <bitloom/bitloom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vk_instance real_instance;
static struct vk_device_fns real_device;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t n_calls, fail_at, n_calls_of_open;
static VkResult failure;
static int64_t alive;
static unsigned n_bad;

/* The answer of this call if it is to fail, else VK_SUCCESS. */
static VkResult next_answer(void)
{
    pthread_mutex_lock(&lock);
    n_calls++;
    const bool fails = fail_at && (n_calls == fail_at || (failure == VK_ERROR_DEVICE_LOST && n_calls > fail_at));
    pthread_mutex_unlock(&lock);
    return fails ? failure : VK_SUCCESS;
}

static VkResult count(VkResult result, int made)
{
    pthread_mutex_lock(&lock);
    alive += result == VK_SUCCESS ? made : 0;
    pthread_mutex_unlock(&lock);
    return result;
}

/* X(table, name, objects made, parameters, arguments): what answers a VkResult. */
#define ALLOCATION const VkAllocationCallbacks *c
#define FALLIBLE(X)                                                                                                                  \
    X(instance, CreateInstance, 1, (const VkInstanceCreateInfo *i, ALLOCATION, VkInstance *o), (i, c, o))                             \
    X(instance, EnumeratePhysicalDevices, 0, (VkInstance a, uint32_t *n, VkPhysicalDevice *o), (a, n, o))                              \
    X(instance, EnumerateDeviceExtensionProperties, 0, (VkPhysicalDevice a, const char *l, uint32_t *n, VkExtensionProperties *o),      \
      (a, l, n, o))                                                                                                                  \
    X(instance, CreateDevice, 1, (VkPhysicalDevice a, const VkDeviceCreateInfo *i, ALLOCATION, VkDevice *o), (a, i, c, o))             \
    X(device, AllocateMemory, 1, (VkDevice d, const VkMemoryAllocateInfo *i, ALLOCATION, VkDeviceMemory *o), (d, i, c, o))             \
    X(device, MapMemory, 0, (VkDevice d, VkDeviceMemory m, VkDeviceSize a, VkDeviceSize n, VkMemoryMapFlags f, void **o),              \
      (d, m, a, n, f, o))                                                                                                            \
    X(device, CreateBuffer, 1, (VkDevice d, const VkBufferCreateInfo *i, ALLOCATION, VkBuffer *o), (d, i, c, o))                       \
    X(device, CreateBufferView, 1, (VkDevice d, const VkBufferViewCreateInfo *i, ALLOCATION, VkBufferView *o), (d, i, c, o))          \
    X(device, BindBufferMemory, 0, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize a), (d, b, m, a))                           \
    X(device, CreateCommandPool, 1, (VkDevice d, const VkCommandPoolCreateInfo *i, ALLOCATION, VkCommandPool *o), (d, i, c, o))        \
    X(device, AllocateCommandBuffers, 0, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *o), (d, i, o))            \
    X(device, BeginCommandBuffer, 0, (VkCommandBuffer b, const VkCommandBufferBeginInfo *i), (b, i))                                   \
    X(device, EndCommandBuffer, 0, (VkCommandBuffer b), (b))                                                                           \
    X(device, CreateFence, 1, (VkDevice d, const VkFenceCreateInfo *i, ALLOCATION, VkFence *o), (d, i, c, o))                          \
    X(device, ResetFences, 0, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f))                                                   \
    X(device, WaitForFences, 0, (VkDevice d, uint32_t n, const VkFence *f, VkBool32 all, uint64_t ns), (d, n, f, all, ns))             \
    X(device, CreateSemaphore, 1, (VkDevice d, const VkSemaphoreCreateInfo *i, ALLOCATION, VkSemaphore *o), (d, i, c, o))              \
    X(device, WaitSemaphoresKHR, 0, (VkDevice d, const VkSemaphoreWaitInfoKHR *i, uint64_t ns), (d, i, ns))                            \
    X(device, QueueSubmit, 0, (VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f), (q, n, i, f))                                 \
    X(device, CreateDescriptorSetLayout, 1, (VkDevice d, const VkDescriptorSetLayoutCreateInfo *i, ALLOCATION,                        \
                                             VkDescriptorSetLayout *o), (d, i, c, o))                                                \
    X(device, CreatePipelineLayout, 1, (VkDevice d, const VkPipelineLayoutCreateInfo *i, ALLOCATION, VkPipelineLayout *o), (d, i, c, o)) \
    X(device, CreateShaderModule, 1, (VkDevice d, const VkShaderModuleCreateInfo *i, ALLOCATION, VkShaderModule *o), (d, i, c, o))     \
    X(device, CreateComputePipelines, 1, (VkDevice d, VkPipelineCache p, uint32_t n, const VkComputePipelineCreateInfo *i, ALLOCATION, \
                                          VkPipeline *o), (d, p, n, i, c, o))                                                        \
    X(device, CreatePipelineCache, 1, (VkDevice d, const VkPipelineCacheCreateInfo *i, ALLOCATION, VkPipelineCache *o), (d, i, c, o))  \
    X(device, CreateDescriptorPool, 1, (VkDevice d, const VkDescriptorPoolCreateInfo *i, ALLOCATION, VkDescriptorPool *o), (d, i, c, o)) \
    X(device, AllocateDescriptorSets, 0, (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *o), (d, i, o))            \
    X(device, CreateQueryPool, 1, (VkDevice d, const VkQueryPoolCreateInfo *i, ALLOCATION, VkQueryPool *o), (d, i, c, o))              \
    X(device, GetQueryPoolResults, 0, (VkDevice d, VkQueryPool p, uint32_t f, uint32_t n, size_t b, void *o, VkDeviceSize s,          \
                                       VkQueryResultFlags q), (d, p, f, n, b, o, s, q))                                              \
    X(device, GetMemoryHostPointerPropertiesEXT, 0, (VkDevice d, VkExternalMemoryHandleTypeFlagBits t, const void *p,                 \
                                                     VkMemoryHostPointerPropertiesEXT *o), (d, t, p, o))
/* X(table, name, parameters, arguments): what ends an object. */
#define ENDING(X)                                                                             \
    X(instance, DestroyInstance, (VkInstance o, ALLOCATION), (o, c))                           \
    X(device, DestroyDevice, (VkDevice o, ALLOCATION), (o, c))                                 \
    X(device, FreeMemory, (VkDevice d, VkDeviceMemory o, ALLOCATION), (d, o, c))               \
    X(device, DestroyBufferView, (VkDevice d, VkBufferView o, ALLOCATION), (d, o, c))          \
    X(device, DestroyBuffer, (VkDevice d, VkBuffer o, ALLOCATION), (d, o, c))                  \
    X(device, DestroyCommandPool, (VkDevice d, VkCommandPool o, ALLOCATION), (d, o, c))        \
    X(device, DestroyQueryPool, (VkDevice d, VkQueryPool o, ALLOCATION), (d, o, c))            \
    X(device, DestroySemaphore, (VkDevice d, VkSemaphore o, ALLOCATION), (d, o, c))            \
    X(device, DestroyFence, (VkDevice d, VkFence o, ALLOCATION), (d, o, c))                    \
    X(device, DestroyDescriptorSetLayout, (VkDevice d, VkDescriptorSetLayout o, ALLOCATION), (d, o, c)) \
    X(device, DestroyPipelineLayout, (VkDevice d, VkPipelineLayout o, ALLOCATION), (d, o, c))  \
    X(device, DestroyShaderModule, (VkDevice d, VkShaderModule o, ALLOCATION), (d, o, c))      \
    X(device, DestroyPipeline, (VkDevice d, VkPipeline o, ALLOCATION), (d, o, c))              \
    X(device, DestroyPipelineCache, (VkDevice d, VkPipelineCache o, ALLOCATION), (d, o, c))    \
    X(device, DestroyDescriptorPool, (VkDevice d, VkDescriptorPool o, ALLOCATION), (d, o, c))

#define DEFINE(table, name, made, parameters, arguments)          \
    static VkResult VKAPI_CALL my_##name parameters               \
    {                                                             \
        VkResult answer = next_answer();                          \
        return answer ? answer : count(real_##table.name arguments, made); \
    }
FALLIBLE(DEFINE)
#undef DEFINE
#define DEFINE(table, name, parameters, arguments) \
    static void VKAPI_CALL my_##name parameters    \
    {                                              \
        real_##table.name arguments;               \
        count(VK_SUCCESS, o == VK_NULL_HANDLE ? 0 : -1); \
    }
ENDING(DEFINE)
#undef DEFINE

/* The device really finishes, whatever it says. */
static VkResult VKAPI_CALL my_DeviceWaitIdle(VkDevice d)
{
    VkResult answer = next_answer(), real = real_device.DeviceWaitIdle(d);
    return answer ? answer : real;
}

static void wrap(struct vk_instance *instance, struct vk_device_fns *device)
{
#define PUT(table, name)                                  \
    if (table && table->name && table->name != my_##name) { \
        real_##table.name = table->name;                  \
        table->name = my_##name;                          \
    }
#define PUT_FALLIBLE(table, name, made, parameters, arguments) PUT(table, name)
#define PUT_ENDING(table, name, parameters, arguments) PUT(table, name)
    FALLIBLE(PUT_FALLIBLE)
    ENDING(PUT_ENDING)
    PUT(device, DeviceWaitIdle)
}

/* ---- the programs: BL_OK with a result that does not depend on k, or a status ---- */

struct objects {
    bl_device *device;
    bl_queue *queue;
    bl_buffer *step, *x, *readback;
    bl_list *list;
};

static bl_status use_device(struct objects *o, float *result)
{
    static const float ones[4096] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct bl_params_binary push = {.columns = 8, .kind = BL_BINARY_ADD};
    bl_kernel *kernel;
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    BL_TRY(bl_device_open(&params, &o->device));
    BL_TRY(bl_queue_create(o->device, BL_QUEUE_COMPUTE, &o->queue));
    BL_TRY(bl_buffer_create(o->device, &(bl_buffer_params){BL_STEP_PAGES * 4u, BL_MEM_UPLOAD, NULL, "step"}, &o->step));
    memset(bl_buffer_host(o->step), 0, BL_STEP_PAGES * 4u);
    ((uint32_t *)bl_buffer_host(o->step))[BL_STEP_N_ROWS] = 1;
    BL_TRY(bl_buffer_create(o->device, &(bl_buffer_params){sizeof ones, BL_MEM_DEVICE, NULL, "x"}, &o->x));
    BL_TRY(bl_buffer_create(o->device, &(bl_buffer_params){64, BL_MEM_READBACK, NULL, "readback"}, &o->readback));
    BL_TRY(bl_buffer_write(o->x, 0, ones, sizeof ones));
    BL_TRY(bl_kernel_find(o->device, "binary_f32", &kernel));
    BL_TRY(bl_list_begin(o->device, 0, &o->list));
    const bl_binding bindings[] = {
        {o->step, 0, BL_STEP_PAGES * 4u, BL_READ}, {o->x, 0, 32, BL_READ}, {o->x, 0, 32, BL_READ}, {o->x, 0, 32, BL_WRITE}};
    const bl_dispatch dispatch = {kernel, {8, 1, 1}, bindings, 4, &push, sizeof push};
    BL_TRY(bl_list_dispatch(o->list, &dispatch, NULL, NULL));
    BL_TRY(bl_list_copy(o->list, o->readback, 0, o->x, 0, 64, NULL, NULL));
    BL_TRY(bl_list_end(o->list));
    uint64_t value;
    for (int n = 0; n < 2; n++) {
        BL_TRY(bl_queue_submit(o->queue, o->list, NULL, 0, &value));
        BL_TRY(bl_queue_wait(o->queue, value, BL_WAIT_FOREVER));
    }
    bl_node_timing timings[2];
    BL_TRY(bl_list_enable_timings(o->list));
    BL_TRY(bl_queue_submit(o->queue, o->list, NULL, 0, &value));
    BL_TRY(bl_queue_wait(o->queue, value, BL_WAIT_FOREVER));
    BL_TRY(bl_list_timings(o->list, timings, 2, &(uint32_t){0}));
    memcpy(result, bl_buffer_host(o->readback), 64);
    return BL_OK;
}

static bl_status device_program(const char *model, float *result)
{
    (void)model;
    struct objects o = {0};
    bl_status status = use_device(&o, result);
    bl_list_destroy(o.list);
    bl_buffer_destroy(o.readback);
    bl_buffer_destroy(o.x);
    bl_buffer_destroy(o.step);
    bl_queue_destroy(o.queue);
    bl_device_close(o.device);
    return status;
}

static bl_status use_model(bl_model *model, bl_sequence **sequence, float *result)
{
    BL_TRY(bl_sequence_create(model, sequence));
    const bl_row rows[] = {{*sequence, 1, false}, {*sequence, 2, false}, {*sequence, 3, true}};
    BL_TRY(bl_forward(model, rows, 3));
    BL_TRY(bl_forward(model, &rows[2], 1));
    memcpy(result, bl_logits(model, 0), 64);
    return BL_OK;
}

static bl_status run_model(const char *path, const char *devices, float *result)
{
    bl_model_params params;
    bl_model *model = NULL;
    bl_sequence *sequence = NULL;
    bl_model_default_params(&params);
    params.device.device = devices;
    params.context = 64;
    bl_status status = bl_model_open(path, &params, &model);
    if (status == BL_OK)
        status = use_model(model, &sequence, result);
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return status;
}

static bl_status model_program(const char *path, float *result)
{
    return run_model(path, "vulkan:0", result);
}

/* With the CPU behind it. A named device that does not open is an error; once it is open, the answer comes. */
static bl_status model_with_cpu(const char *path, float *result)
{
    bl_status status = run_model(path, "vulkan:0,cpu", result);
    if (status != BL_OK && fail_at > n_calls_of_open)
        status = bl_error_push(BL_EIO, __FILE__, __LINE__, "the CPU did not take over");
    return status;
}

static void count_calls_of_open(void)
{
    bl_device_params params;
    bl_device *device;
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    fail_at = n_calls = 0;
    if (bl_device_open(&params, &device) == BL_OK)
        bl_device_close(device);
    n_calls_of_open = n_calls;
}

/* ---- every k ---- */

static void bad(const char *program, const char *what)
{
    printf("FAIL %s, call %llu, %s: %s: %s\n", program, (unsigned long long)fail_at, failure == VK_ERROR_DEVICE_LOST ? "lost" : "memory", what,
           bl_error_text());
    n_bad++;
}

static bool try_calls(const char *name, bl_status (*program)(const char *, float *), const char *model, uint64_t every)
{
    float right[16], result[16];
    fail_at = n_calls = 0;
    bl_status status = program(model, right);
    if (status == BL_EUNSUPPORTED) {
        printf("SKIP %s: %s\n", name, bl_error_text());
        return false;
    }
    if (status != BL_OK || alive)
        bad(name, "fails, or leaks, with nothing failing");
    static const VkResult failures[] = {VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST};
    for (int f = 0; f < 2; f++) {
        uint64_t n_failed = 0;
        failure = failures[f];
        for (fail_at = 1;; fail_at += every) {
            n_calls = 0;
            status = program(model, result);
            if (n_calls < fail_at)
                break;
            n_failed += status != BL_OK;
            if (status == BL_OK ? memcmp(right, result, sizeof right) != 0 : bl_error_text()[0] == 0)
                bad(name, "a wrong result, or no line");
            if (status != BL_OK && status != BL_EDEVMEM && status != BL_EDEVLOST && status != BL_EUNSUPPORTED && status != BL_EINTERNAL)
                bad(name, "an unexpected status");
            if (alive) {
                bad(name, "objects are left");
                alive = 0;
            }
        }
        printf("ok   %s, %s at one in %llu of %llu calls: %llu refused\n", name, f ? "device lost" : "out of memory",
               (unsigned long long)every, (unsigned long long)n_calls, (unsigned long long)n_failed);
        if (n_failed < (program == model_with_cpu ? 1 : n_calls / every / 2))
            bad(name, "too few calls failed");
    }
    return true;
}

int main(int argc, char **argv)
{
    vk_wrap = wrap;
    if (!try_calls("device", device_program, NULL, 1))
        return 77;
    if (argc == 4 && strcmp(argv[1], "--model") == 0) {
        const uint64_t every = strtoull(argv[3], NULL, 10);
        count_calls_of_open();
        if (!try_calls("model", model_program, argv[2], every) || !try_calls("model with the CPU behind it", model_with_cpu, argv[2], every))
            bad("model", "a kernel is missing");
    }
    return n_bad != 0;
}
