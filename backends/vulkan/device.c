/* device.c: opening a Vulkan device, its facts, its buffers. Knows no kernel and no list. */
#include "vk.h"

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

/* ---- buffers ---- */

/* The memory type with all wanted flags, and with `better` where there is one; UINT32_MAX when there is none. */
static uint32_t memory_type(const struct vk_device *device, uint32_t allowed, VkMemoryPropertyFlags wanted, VkMemoryPropertyFlags better)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t t = 0; t < device->memory.memoryTypeCount; t++) {
        VkMemoryPropertyFlags flags = device->memory.memoryTypes[t].propertyFlags;
        if (!(allowed >> t & 1u) || (flags & wanted) != wanted)
            continue;
        if ((flags & better) == better)
            return t;
        if (best == UINT32_MAX)
            best = t;
    }
    return best;
}

static bl_status take_memory(struct vk_device *device, struct vk_buffer *buffer, const bl_buffer_params *params)
{
    const struct vk_device_fns *vk = &device->fns;
    const bool visible = params->kind != BL_MEM_DEVICE;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = buffer->bytes,
                                     .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                              VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    BL_TRY(vk_answer(device, vk->CreateBuffer(device->handle, &info, NULL, &buffer->handle), "vkCreateBuffer"));
    VkMemoryRequirements needs;
    vk->GetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
    uint32_t type = memory_type(device, needs.memoryTypeBits,
                                visible ? VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT : 0,
                                params->kind == BL_MEM_READBACK ? VK_MEMORY_PROPERTY_HOST_CACHED_BIT : VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    if (type == UINT32_MAX)
        BL_FAIL(BL_EDEVMEM, "%s: no memory type for buffer \"%s\"", device->name, params->label ? params->label : "unnamed");
    const VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size,
                                           .memoryTypeIndex = type};
    BL_TRY(vk_answer(device, vk->AllocateMemory(device->handle, &allocate, NULL, &buffer->memory), "vkAllocateMemory"));
    device->allocated += buffer->bytes;
    BL_TRY(vk_answer(device, vk->BindBufferMemory(device->handle, buffer->handle, buffer->memory, 0), "vkBindBufferMemory"));
    if (visible)
        BL_TRY(vk_answer(device, vk->MapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->base.host), "vkMapMemory"));
    return BL_OK;
}

static void release(struct vk_device *device, struct vk_buffer *buffer)
{
    if (buffer->handle)
        device->fns.DestroyBuffer(device->handle, buffer->handle, NULL);
    if (buffer->memory) {
        device->fns.FreeMemory(device->handle, buffer->memory, NULL); /* unmaps */
        device->allocated -= buffer->bytes;
    }
    free(buffer);
}

bl_status vk_buffer_create(bl_device *base, const bl_buffer_params *params, bl_buffer **out)
{
    struct vk_device *device = (struct vk_device *)base;
    const char *label = params->label ? params->label : "unnamed";
    uint64_t heap = 0;
    for (uint32_t h = 0; h < device->memory.memoryHeapCount; h++)
        heap = device->memory.memoryHeaps[h].size > heap ? device->memory.memoryHeaps[h].size : heap;
    if (params->bytes > heap) /* some drivers overflow instead of refusing */
        BL_FAIL(BL_EDEVMEM, "%s: buffer \"%s\": no %llu bytes of memory, the largest heap has %llu", device->name, label,
                (unsigned long long)params->bytes, (unsigned long long)heap);
    struct vk_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "buffer: out of memory");
    buffer->bytes = (params->bytes + 3) & ~UINT64_C(3); /* shaders read whole words */
    bl_status status = take_memory(device, buffer, params);
    if (status != BL_OK) {
        release(device, buffer);
        return bl_error_push(status, __FILE__, __LINE__, "buffer \"%s\": %llu bytes", label, (unsigned long long)params->bytes);
    }
    *out = &buffer->base;
    return BL_OK;
}

void vk_buffer_destroy(bl_buffer *base)
{
    release((struct vk_device *)base->device, (struct vk_buffer *)base);
}

/* ---- the device ---- */

static void device_close(bl_device *base)
{
    struct vk_device *device = (struct vk_device *)base;
    if (device->handle) {
        vk_queue_free_spare(device);
        if (device->layout)
            device->fns.DestroyPipelineLayout(device->handle, device->layout, NULL);
        if (device->set_layout)
            device->fns.DestroyDescriptorSetLayout(device->handle, device->set_layout, NULL);
        device->fns.DestroyDevice(device->handle, NULL);
    }
    vk_instance_close(&device->instance);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

/* Free is what this process has not taken: others are not seen. */
static bl_status memory_info(bl_device *base, uint64_t *free_bytes, uint64_t *total_bytes)
{
    const struct vk_device *device = (const struct vk_device *)base;
    uint64_t taken = device->allocated;
    for (uint32_t h = 0; h < device->memory.memoryHeapCount; h++)
        if (device->memory.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            *total_bytes += device->memory.memoryHeaps[h].size;
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
};

static uint32_t compute_family(const struct vk_device *device)
{
    VkQueueFamilyProperties families[32];
    uint32_t n = 32;
    device->instance.GetPhysicalDeviceQueueFamilyProperties(device->physical, &n, families);
    for (uint32_t f = 0; f < n; f++)
        if (families[f].queueFlags & VK_QUEUE_COMPUTE_BIT)
            return f;
    return UINT32_MAX;
}

static bl_status start(struct vk_device *device, uint32_t index)
{
    VkPhysicalDevice devices[64];
    uint32_t n;
    BL_TRY(vk_instance_open(&device->instance));
    BL_TRY(vk_instance_devices(&device->instance, devices, 64, &n));
    if (index >= n)
        BL_FAIL(BL_EUNSUPPORTED, "vulkan:%u is gone, %u devices are there", index, n);
    device->physical = devices[index];
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    device->instance.GetPhysicalDeviceProperties2(device->physical, &properties);
    device->instance.GetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
    const VkPhysicalDeviceLimits *limits = &properties.properties.limits;
    snprintf(device->name, sizeof device->name, "%s", properties.properties.deviceName);
    device->family = compute_family(device);
    if (device->family == UINT32_MAX)
        BL_FAIL(BL_EUNSUPPORTED, "%s: no queue family computes", device->name);
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = device->family,
                                           .queueCount = 1, .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue};
    VkResult result = device->instance.CreateDevice(device->physical, &info, NULL, &device->handle);
    if (result != VK_SUCCESS)
        device->handle = VK_NULL_HANDLE;
    BL_TRY(vk_answer(device, result, "vkCreateDevice"));
    bl_status status = vk_device_load(&device->instance, device->handle, &device->fns);
    if (status != BL_OK) {
        device->handle = VK_NULL_HANDLE; /* nothing to destroy it with */
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    device->fns.GetDeviceQueue(device->handle, device->family, 0, &device->queue);
    device->base.fns = &fns;
    device->offset_alignment = limits->minStorageBufferOffsetAlignment < 4 ? 4 : limits->minStorageBufferOffsetAlignment;
    BL_TRY(vk_layout_create(device));
    /* A descriptor begins at most minStorageBufferOffsetAlignment before its binding. */
    uint64_t most = limits->maxStorageBufferRange - limits->minStorageBufferOffsetAlignment;
    device->base.caps = (bl_caps){
        .backend = "vulkan",
        .name = device->name,
        .memory_kinds = 1u << BL_MEM_DEVICE | 1u << BL_MEM_UPLOAD | 1u << BL_MEM_READBACK | 1u << BL_MEM_SHARED,
        .max_push_bytes = 128,
        .max_bindings = 2 + 4 * BL_LINEAR_SEGMENTS,
        .max_binding_bytes = most,
        .buffer_alignment = 4,
        .coherent = true,
        .unified = properties.properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    };
    return BL_OK;
}

static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    (void)params; /* what is in it is for others, or the core's */
    struct vk_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "vulkan: out of memory");
    pthread_mutex_init(&device->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&device->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    device->last_flying = &device->flying;
    bl_status status = start(device, index);
    if (status != BL_OK) {
        device_close(&device->base);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &device->base;
    return BL_OK;
}

/* score 0: "auto" never takes it while kernels are missing. */
const struct bl_backend bl_backend_vulkan = {
    .name = "vulkan",
    .abi = BL_BACKEND_ABI,
    .score = 0,
    .describe = vk_probe,
    .hopeful = vk_hopeful,
    .open = open_device,
};
