/* device.c: opening a Vulkan device, its facts. Knows no kernel, no buffer and no list. */
#include "vk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bl_status vk_answer(struct vk_device *device, VkResult result, const char *what)
{
    if (result == VK_SUCCESS)
        return BL_OK;
    if (result == VK_ERROR_DEVICE_LOST) {
        pthread_mutex_lock(&device->lock);
        device->lost = true;
        pthread_cond_broadcast(&device->changed);
        pthread_mutex_unlock(&device->lock);
        BL_FAIL(BL_EDEVLOST, "%s: %s: the device is lost", device->name, what);
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_TOO_MANY_OBJECTS)
        BL_FAIL(BL_EDEVMEM, "%s: %s: %s, %llu bytes are in use", device->name, what, vk_result_name(result),
                (unsigned long long)device->allocated);
    BL_FAIL(BL_EINTERNAL, "%s: %s: Vulkan answered %s (%d)", device->name, what, vk_result_name(result), (int)result);
}

static void device_close(bl_device *base)
{
    struct vk_device *device = (struct vk_device *)base;
    if (device->handle && device->fns.DestroyDevice) {
        vk_cache_close(device);
        vk_tracks_finish(device);
        if (device->layout)
            device->fns.DestroyPipelineLayout(device->handle, device->layout, NULL);
        if (device->set_layout)
            device->fns.DestroyDescriptorSetLayout(device->handle, device->set_layout, NULL);
        device->fns.DestroyDevice(device->handle, NULL);
    }
    vk_instance_close(&device->instance);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    pthread_mutex_destroy(&device->memory_lock);
    free(device);
}

/* Free: what the driver says, or what this process has not taken. */
static bl_status memory_info(bl_device *base, uint64_t *free_bytes, uint64_t *total_bytes)
{
    const struct vk_device *device = (const struct vk_device *)base;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 now = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                             .pNext = device->budget ? &budget : NULL};
    device->instance.GetPhysicalDeviceMemoryProperties2(device->physical, &now);
    const uint64_t taken = device->allocated;
    for (uint32_t h = 0; h < device->memory.memoryHeapCount; h++) {
        if (!(device->memory.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
            continue;
        const uint64_t size = device->memory.memoryHeaps[h].size;
        *total_bytes += size;
        if (device->budget) {
            const uint64_t may = budget.heapBudget[h] < size ? budget.heapBudget[h] : size;
            *free_bytes += may > budget.heapUsage[h] ? may - budget.heapUsage[h] : 0;
        }
    }
    if (!device->budget)
        *free_bytes = *total_bytes > taken ? *total_bytes - taken : 0;
    return BL_OK;
}

static const struct bl_device_fns fns = {
    .device_close = device_close,
    .memory_info = memory_info,
    .buffer_create = vk_buffer_create,
    .buffer_destroy = vk_buffer_destroy,
    .kernel_create = vk_kernel_create,
    .kernel_destroy = vk_kernel_destroy,
    .queue_create = vk_queue_create,
    .queue_destroy = vk_queue_destroy,
    .queue_submit = vk_queue_submit,
    .queue_wait = vk_queue_wait,
    .list_begin = vk_list_begin,
    .list_dispatch = vk_list_dispatch,
    .list_copy = vk_list_copy,
    .list_fill = vk_list_fill,
    .list_end = vk_list_end,
    .list_destroy = vk_list_destroy,
    .list_timings = vk_list_timings,
};

/* The first family that computes, its time stamps, how many of its queues are used. */
static bl_status choose_family(struct vk_device *device, const VkPhysicalDeviceLimits *limits)
{
    VkQueueFamilyProperties families[32];
    uint32_t n = 32, f = 0;
    device->instance.GetPhysicalDeviceQueueFamilyProperties(device->physical, &n, families);
    while (f < n && !(families[f].queueFlags & VK_QUEUE_COMPUTE_BIT))
        f++;
    if (f == n)
        BL_FAIL(BL_EUNSUPPORTED, "%s: no queue family computes", device->name);
    device->family = f;
    device->n_tracks = families[f].queueCount < VK_TRACKS || !device->timeline ? 1 : VK_TRACKS;
    const uint32_t bits = families[f].timestampValidBits;
    device->ns_per_tick = bits ? (double)limits->timestampPeriod : 0;
    device->stamp_mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
    return BL_OK;
}

/* Extensions that are used where the device has them. */
#define EXTENSIONS(X) X(import, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME) X(budget, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) \
    X(dot, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME) X(timeline, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME) \
    X(shorts, VK_KHR_16BIT_STORAGE_EXTENSION_NAME) X(half, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME)
/* And those that are not, with the reason. */
#define UNUSED(X)                                                                                                             \
    X(store8, VK_KHR_8BIT_STORAGE_EXTENSION_NAME, "storage of 8 bits (a word holds four weights, read once)")                    \
    X(matrix, "VK_KHR_cooperative_matrix", "cooperative matrices (their sums have no order)")
struct extensions {
#define EXTENSION(field, text) bool field;
    EXTENSIONS(EXTENSION)
#undef EXTENSION
#define EXTENSION(field, text, why) bool field;
    UNUSED(EXTENSION)
#undef EXTENSION
    const char *names[8]; /* as many as EXTENSIONS has, or more */
    uint32_t n;
};

static bl_status find_extensions(struct vk_device *device, struct extensions *out)
{
    uint32_t n = 0;
    const struct vk_instance *vk = &device->instance;
    BL_TRY(vk_answer(device, vk->EnumerateDeviceExtensionProperties(device->physical, NULL, &n, NULL), "vkEnumerateDeviceExtensionProperties"));
    VkExtensionProperties *all = calloc(n ? n : 1, sizeof *all);
    if (!all)
        BL_FAIL(BL_ENOMEM, "vulkan: out of memory");
    VkResult result = vk->EnumerateDeviceExtensionProperties(device->physical, NULL, &n, all);
    for (uint32_t e = 0; result == VK_SUCCESS && e < n; e++) {
#define EXTENSION(field, text)                                    \
    if (!out->field && strcmp(all[e].extensionName, text) == 0) { \
        out->field = true;                                        \
        out->names[out->n++] = text;                              \
    }
        EXTENSIONS(EXTENSION)
#undef EXTENSION
#define EXTENSION(field, text, why) out->field |= strcmp(all[e].extensionName, text) == 0;
        UNUSED(EXTENSION)
#undef EXTENSION
    }
    free(all);
    return vk_answer(device, result, "vkEnumerateDeviceExtensionProperties");
}

/* The features that are used where the device has them; an extension says nothing without its feature. */
struct features {
    VkPhysicalDeviceFeatures2 base;
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot;
    VkPhysicalDeviceTimelineSemaphoreFeaturesKHR timeline;
    VkPhysicalDevice16BitStorageFeatures shorts;
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR half;
};

/* Links the structs that the device knows. */
static void find_features(const struct vk_device *device, const struct extensions *extensions, struct features *out)
{
    *out = (struct features){.base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                             .dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
                             .timeline.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES_KHR,
                             .shorts.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
                             .half.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR};
    if (extensions->dot) {
        out->dot.pNext = out->base.pNext;
        out->base.pNext = &out->dot;
    }
    if (extensions->timeline) {
        out->timeline.pNext = out->base.pNext;
        out->base.pNext = &out->timeline;
    }
    if (extensions->shorts) {
        out->shorts.pNext = out->base.pNext;
        out->base.pNext = &out->shorts;
    }
    if (extensions->half) {
        out->half.pNext = out->base.pNext;
        out->base.pNext = &out->half;
    }
    device->instance.GetPhysicalDeviceFeatures2(device->physical, &out->base);
    out->base.features = (VkPhysicalDeviceFeatures){0}; /* none of these, and of those of 16 bits two */
    out->half.shaderInt8 = VK_FALSE;
    out->shorts.uniformAndStorageBuffer16BitAccess = out->shorts.storagePushConstant16 = out->shorts.storageInputOutput16 = VK_FALSE;
}

static bl_status create_device(struct vk_device *device, const struct extensions *extensions, const struct features *features)
{
    const float priorities[VK_TRACKS] = {1.0f, 1.0f};
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = device->family,
                                           .queueCount = device->n_tracks, .pQueuePriorities = priorities};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &features->base,
                                     .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = extensions->n, .ppEnabledExtensionNames = extensions->names};
    VkResult result = device->instance.CreateDevice(device->physical, &info, NULL, &device->handle);
    if (result != VK_SUCCESS)
        device->handle = VK_NULL_HANDLE;
    BL_TRY(vk_answer(device, result, "vkCreateDevice"));
    BL_TRY(vk_device_load(&device->instance, device->handle, &device->fns));
    return vk_tracks_init(device);
}

/* Unified: every memory that is near the device can be mapped. */
static bool is_unified(const VkPhysicalDeviceMemoryProperties *memory)
{
    for (uint32_t t = 0; t < memory->memoryTypeCount; t++) {
        VkMemoryPropertyFlags flags = memory->memoryTypes[t].propertyFlags;
        if ((flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) && !(flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT))
            return false;
    }
    return true;
}

static void BL_PRINTF(2, 3) tell(struct vk_device *device, const char *format, ...)
{
    const size_t n = strlen(device->facts);
    va_list args;
    va_start(args, format);
    vsnprintf(device->facts + n, sizeof device->facts - n, format, args);
    va_end(args);
}

/* What it offers; then what is used, what is there and not used, what is missing. */
static void describe_facts(struct vk_device *device, const VkPhysicalDeviceProperties *p, const struct extensions *extensions)
{
    const bl_caps *caps = &device->base.caps;
    tell(device, "Vulkan %u.%u, bindings of %llu MB, %s; used: %u queue%s", VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion),
         (unsigned long long)caps->max_binding_bytes / 1000000, caps->unified ? "the host's memory" : "memory of its own", device->n_tracks,
         device->n_tracks > 1 ? "s" : "");
    char shuffles[80];
    snprintf(shuffles, sizeof shuffles, "shuffles within subgroups of %u where they win", device->subgroup);
    const struct {
        bool there;
        const char *what, *without;
    } used[] = {{device->timeline, "timeline semaphores", "timeline semaphores (fences, one queue)"},
                {device->import_alignment != 0, "files in place", "VK_EXT_external_memory_host on the host's memory (files are copied)"},
                {extensions->budget, "its word on free memory", "VK_EXT_memory_budget (free memory is guessed)"},
                {caps->timestamps, "time stamps", "time stamps"},
                {device->dot, "dots of packed bytes where they win the race", "dots of packed bytes"},
                {device->subgroup != 0, shuffles, "shuffles within subgroups"},
                {device->shorts, "halves of words where they win", "storage of 16 bits"},
                {device->half, "half floats for many rows where they win (not with --deterministic)", "arithmetic of half floats"},
                {device->texels || !caps->software, device->texels ? "texels" : NULL, "texels of whole matrices (weights are read by the word)"}};
    for (size_t u = 0; u < sizeof used / sizeof used[0]; u++)
        if (used[u].there && used[u].what)
            tell(device, ", %s", used[u].what);
    const char *before = "; not used: ";
#define EXTENSION(field, text, why)            \
    if (extensions->field) {                   \
        tell(device, "%s%s", before, why);     \
        before = ", ";                         \
    }
    UNUSED(EXTENSION)
#undef EXTENSION
    before = "; missing: ";
    for (size_t u = 0; u < sizeof used / sizeof used[0]; u++)
        if (!used[u].there) {
            tell(device, "%s%s", before, used[u].without);
            before = ", ";
        }
}

static bl_status start(struct vk_device *device, uint32_t index, const char *cache_dir)
{
    VkPhysicalDevice devices[64];
    uint32_t n;
    struct extensions extensions = {0};
    struct features features;
    BL_TRY(vk_instance_open(&device->instance));
    BL_TRY(vk_instance_devices(&device->instance, devices, 64, &n));
    if (index >= n)
        BL_FAIL(BL_EUNSUPPORTED, "vulkan:%u is gone, %u devices are there", index, n);
    device->physical = devices[index];
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    BL_TRY(find_extensions(device, &extensions));
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    properties.pNext = &subgroup;
    if (extensions.import)
        subgroup.pNext = &host;
    device->instance.GetPhysicalDeviceProperties2(device->physical, &properties);
    device->instance.GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    const VkPhysicalDeviceLimits *limits = &properties.properties.limits;
    device->memory = memory.memoryProperties;
    device->budget = extensions.budget;
    snprintf(device->name, sizeof device->name, "%s", properties.properties.deviceName);
    if ((subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) && (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT))
        device->subgroup = subgroup.subgroupSize;
    find_features(device, &extensions, &features);
    device->dot = features.dot.shaderIntegerDotProduct;
    device->timeline = features.timeline.timelineSemaphore;
    device->half = features.half.shaderFloat16;
    device->shorts = features.shorts.storageBuffer16BitAccess;
    BL_TRY(choose_family(device, limits));
    BL_TRY(create_device(device, &extensions, &features));
    device->base.fns = &fns;
    device->offset_alignment = limits->minStorageBufferOffsetAlignment < 4 ? 4 : limits->minStorageBufferOffsetAlignment;
    const bool software = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    device->texels = software && limits->maxTexelBufferElements >= limits->maxStorageBufferRange / 16;
    if (device->texels && device->offset_alignment < limits->minTexelBufferOffsetAlignment)
        device->offset_alignment = limits->minTexelBufferOffsetAlignment;
    if (device->texels && device->offset_alignment < 16)
        device->offset_alignment = 16;
    const bool unified = is_unified(&device->memory);
    if (extensions.import && unified && device->fns.GetMemoryHostPointerPropertiesEXT)
        device->import_alignment = host.minImportedHostPointerAlignment;
    BL_TRY(vk_layout_create(device));
    vk_cache_open(device, cache_dir);
    /* A descriptor begins at most offset_alignment before its binding. */
    uint64_t most = limits->maxStorageBufferRange - device->offset_alignment;
    device->base.caps = (bl_caps){
        .backend = "vulkan",
        .name = device->name,
        .driver = device->driver,
        .facts = device->facts,
        .memory_kinds = 1u << BL_MEM_DEVICE | 1u << BL_MEM_UPLOAD | 1u << BL_MEM_READBACK | 1u << BL_MEM_SHARED |
                        (device->import_alignment ? 1u << BL_MEM_IMPORT_HOST : 0),
        .max_push_bytes = 128,
        .max_bindings = 2 + 4 * BL_LINEAR_SEGMENTS,
        .max_binding_bytes = most,
        .buffer_alignment = 4,
        .n_ways = VK_WAYS,
        .ways_inexact = 1u << VK_WAY_HALF,
        .coherent = true,
        .timestamps = device->ns_per_tick > 0,
        .software = software,
        .unified = unified,
    };
    snprintf(device->driver, sizeof device->driver, "%08x", properties.properties.driverVersion);
    describe_facts(device, &properties.properties, &extensions);
    return BL_OK;
}

static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    struct vk_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "vulkan: out of memory");
    pthread_mutex_init(&device->lock, NULL);
    pthread_mutex_init(&device->memory_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&device->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    bl_status status = start(device, index, params->cache_dir);
    if (status != BL_OK) {
        device_close(&device->base);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &device->base;
    return BL_OK;
}

const struct bl_backend bl_backend_vulkan = {
    .name = "vulkan",
    .abi = BL_BACKEND_ABI,
    .score = BL_SCORE_DISCRETE,
    .describe = vk_probe,
    .hopeful = vk_hopeful,
    .open = open_device,
};
