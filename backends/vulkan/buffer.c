/* buffer.c: buffers of a Vulkan device, imported host memory included. Where their memory lies is memory.c's. */
#include "vk.h"

#include <stdlib.h>

#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

/* By kind: what the memory must have, and what it had better have. Every device has a type with VISIBLE. */
static const struct {
    VkMemoryPropertyFlags wanted, better;
} kinds[] = {
    [BL_MEM_DEVICE] = {0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
    [BL_MEM_UPLOAD] = {VISIBLE, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
    [BL_MEM_READBACK] = {VISIBLE, VK_MEMORY_PROPERTY_HOST_CACHED_BIT},
    [BL_MEM_SHARED] = {VISIBLE, VK_MEMORY_PROPERTY_HOST_CACHED_BIT},
    [BL_MEM_IMPORT_HOST] = {0, 0},
};

/* The first memory type of `allowed` with all of `flags`; UINT32_MAX when there is none. */
static uint32_t find_type(const struct vk_device *device, uint32_t allowed, VkMemoryPropertyFlags flags)
{
    for (uint32_t t = 0; t < device->memory.memoryTypeCount; t++)
        if ((allowed >> t & 1u) && (device->memory.memoryTypes[t].propertyFlags & flags) == flags)
            return t;
    return UINT32_MAX;
}

static bl_status create_handle(struct vk_device *device, struct vk_buffer *buffer, const void *next, VkMemoryRequirements *needs)
{
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .pNext = next, .size = buffer->bytes,
                                     .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                              VK_BUFFER_USAGE_TRANSFER_DST_BIT | (device->texels ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0u)};
    BL_TRY(vk_answer(device, device->fns.CreateBuffer(device->handle, &info, NULL, &buffer->handle), "vkCreateBuffer"));
    device->fns.GetBufferMemoryRequirements(device->handle, buffer->handle, needs);
    return BL_OK;
}

static bl_status bind(struct vk_device *device, struct vk_buffer *buffer)
{
    return vk_answer(device, device->fns.BindBufferMemory(device->handle, buffer->handle, buffer->place.memory, buffer->place.offset),
                     "vkBindBufferMemory");
}

static bl_status make(struct vk_device *device, struct vk_buffer *buffer, const bl_buffer_params *params)
{
    VkMemoryRequirements needs;
    buffer->bytes = (params->bytes + 15) & ~UINT64_C(15); /* shaders read whole words and texels */
    BL_TRY(create_handle(device, buffer, NULL, &needs));
    const VkMemoryPropertyFlags wanted = kinds[params->kind].wanted;
    const uint32_t best = find_type(device, needs.memoryTypeBits, wanted | kinds[params->kind].better),
                   plain = find_type(device, needs.memoryTypeBits, wanted);
    struct vk_wish wish = {.type = best != UINT32_MAX ? best : plain, .bytes = needs.size, .alignment = needs.alignment,
                           .map = params->kind != BL_MEM_DEVICE};
    if (wish.type == UINT32_MAX)
        BL_FAIL(BL_EDEVMEM, "%s: no memory type suits", device->name);
    bl_status status = vk_memory_take(device, &wish, &buffer->place);
    if (status == BL_EDEVMEM && wish.map && plain != wish.type) { /* the window to a card's memory is often small */
        wish.type = plain;
        status = vk_memory_take(device, &wish, &buffer->place);
        if (status == BL_OK)
            bl_errors_clear();
    }
    BL_TRY(status);
    buffer->base.host = buffer->place.host;
    return bind(device, buffer);
}

/* The pages around the caller's bytes; a binding adds `bias` to its offset. */
static bl_status import(struct vk_device *device, struct vk_buffer *buffer, const bl_buffer_params *params)
{
    const VkExternalMemoryHandleTypeFlagBits handle = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    const uintptr_t at = (uintptr_t)params->host_memory, low = at % device->import_alignment;
    buffer->bias = low;
    buffer->bytes = (low + params->bytes + device->import_alignment - 1) / device->import_alignment * device->import_alignment;
    void *pages = (void *)(at - low);
    VkMemoryHostPointerPropertiesEXT pointer = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    BL_TRY(vk_answer(device, device->fns.GetMemoryHostPointerPropertiesEXT(device->handle, handle, pages, &pointer),
                     "vkGetMemoryHostPointerPropertiesEXT"));
    const VkExternalMemoryBufferCreateInfo external = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = handle};
    VkMemoryRequirements needs;
    BL_TRY(create_handle(device, buffer, &external, &needs));
    const VkImportMemoryHostPointerInfoEXT info = {.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT, .handleType = handle,
                                                   .pHostPointer = pages};
    const struct vk_wish wish = {.type = find_type(device, needs.memoryTypeBits & pointer.memoryTypeBits, 0), .bytes = buffer->bytes,
                                 .alignment = 1, .import = &info};
    if (wish.type == UINT32_MAX || needs.size > buffer->bytes)
        BL_FAIL(BL_EUNSUPPORTED, "%s: cannot import this host memory", device->name);
    BL_TRY(vk_memory_take(device, &wish, &buffer->place));
    BL_TRY(bind(device, buffer));
    buffer->base.host = (char *)pages + low;
    return BL_OK;
}

static void release(struct vk_device *device, struct vk_buffer *buffer)
{
    if (buffer->handle)
        device->fns.DestroyBuffer(device->handle, buffer->handle, NULL);
    if (buffer->place.block)
        vk_memory_give(device, &buffer->place);
    free(buffer);
}

bl_status vk_buffer_create(bl_device *base, const bl_buffer_params *params, bl_buffer **out)
{
    struct vk_device *device = (struct vk_device *)base;
    const char *label = params->label ? params->label : "unnamed";
    uint64_t heap = 0;
    for (uint32_t h = 0; h < device->memory.memoryHeapCount; h++)
        heap = device->memory.memoryHeaps[h].size > heap ? device->memory.memoryHeaps[h].size : heap;
    if (params->kind != BL_MEM_IMPORT_HOST && params->bytes > heap) /* some drivers overflow instead of refusing */
        BL_FAIL(BL_EDEVMEM, "%s: buffer \"%s\": no %llu bytes of memory, the largest heap has %llu", device->name, label,
                (unsigned long long)params->bytes, (unsigned long long)heap);
    struct vk_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "buffer: out of memory");
    bl_status status = params->kind == BL_MEM_IMPORT_HOST ? import(device, buffer, params) : make(device, buffer, params);
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
