/* memory.c: device memory. Owns a few large blocks and gives out spans of them, because drivers allow few allocations (4096 by the
 * standard) and each costs a kernel call. Knows no buffer. */
#include "vk.h"

#include <stdlib.h>

/* A block of a memory type is as large as all blocks of that type before it together, between these bounds; larger wishes get a block of
 * their own. So a program with three small buffers pins 1 MiB, and one with thousands makes few blocks. */
#define SMALLEST_BLOCK (UINT64_C(1) << 20)
#define LARGEST_BLOCK (UINT64_C(64) << 20)

struct vk_span { /* neighbours in a list ordered by offset; two free ones never touch */
    struct vk_span *next;
    uint64_t offset, bytes;
    bool taken;
};
struct vk_block {
    struct vk_block *next;
    VkDeviceMemory memory;
    void *host;
    uint64_t bytes;
    uint32_t type;
    struct vk_span *spans;
};

static struct vk_span *new_span(struct vk_span *next, uint64_t offset, uint64_t bytes)
{
    struct vk_span *span = malloc(sizeof *span);
    if (span)
        *span = (struct vk_span){next, offset, bytes, false};
    return span;
}

/* Cuts a span at `offset`; what begins there is a span of its own. */
static bool cut(struct vk_span *span, uint64_t offset)
{
    if (offset == span->offset + span->bytes)
        return true;
    struct vk_span *rest = new_span(span->next, offset, span->offset + span->bytes - offset);
    if (!rest)
        return false;
    span->next = rest;
    span->bytes = offset - span->offset;
    return true;
}

/* First fit. A failed cut leaves two free neighbours: they join when one of them is given back. */
static struct vk_span *take_span(struct vk_block *block, uint64_t bytes, uint64_t alignment)
{
    for (struct vk_span *span = block->spans; span; span = span->next) {
        uint64_t low = (span->offset + alignment - 1) / alignment * alignment, lost = low - span->offset;
        if (span->taken || lost > span->bytes || span->bytes - lost < bytes)
            continue;
        if (lost) {
            if (!cut(span, low))
                return NULL;
            span = span->next;
        }
        if (!cut(span, low + bytes))
            return NULL;
        span->taken = true;
        return span;
    }
    return NULL;
}

static bl_status make_block(struct vk_device *device, const struct vk_wish *wish, struct vk_block **out)
{
    uint64_t bytes = 0;
    for (const struct vk_block *b = device->blocks; b; b = b->next)
        bytes += b->type == wish->type ? b->bytes : 0;
    bytes = bytes < SMALLEST_BLOCK ? SMALLEST_BLOCK : bytes > LARGEST_BLOCK ? LARGEST_BLOCK : bytes;
    if (wish->import || wish->bytes > bytes)
        bytes = wish->bytes;
    struct vk_block *block = calloc(1, sizeof *block);
    if (!block || !(block->spans = new_span(NULL, 0, bytes))) {
        free(block);
        BL_FAIL(BL_ENOMEM, "%s: out of memory", device->name);
    }
    const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = wish->import, .allocationSize = bytes,
                                       .memoryTypeIndex = wish->type};
    bl_status status = vk_answer(device, device->fns.AllocateMemory(device->handle, &info, NULL, &block->memory), "vkAllocateMemory");
    if (status == BL_OK && wish->map) {
        status = vk_answer(device, device->fns.MapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &block->host), "vkMapMemory");
        if (status != BL_OK)
            device->fns.FreeMemory(device->handle, block->memory, NULL);
    }
    if (status != BL_OK) {
        free(block->spans);
        free(block);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    block->bytes = bytes;
    block->type = wish->type;
    block->next = device->blocks;
    device->blocks = block;
    device->allocated += bytes;
    *out = block;
    return BL_OK;
}

bl_status vk_memory_take(struct vk_device *device, const struct vk_wish *wish, struct vk_place *out)
{
    struct vk_block *block = NULL;
    struct vk_span *span = NULL;
    bl_status status = BL_OK;
    pthread_mutex_lock(&device->memory_lock);
    for (struct vk_block *b = wish->import ? NULL : device->blocks; b && !span; b = b->next)
        if (b->type == wish->type && (b->host || !wish->map) && (span = take_span(b, wish->bytes, wish->alignment)))
            block = b;
    if (!span) {
        status = make_block(device, wish, &block);
        if (status == BL_OK && !(span = take_span(block, wish->bytes, wish->alignment)))
            status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: out of memory", device->name);
    }
    if (status == BL_OK)
        *out = (struct vk_place){block, span, block->memory, span->offset, block->host ? (char *)block->host + span->offset : NULL};
    pthread_mutex_unlock(&device->memory_lock);
    return status;
}

static void free_block(struct vk_device *device, struct vk_block *block)
{
    struct vk_block **link = &device->blocks;
    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
    device->allocated -= block->bytes;
    device->fns.FreeMemory(device->handle, block->memory, NULL); /* unmaps */
    free(block->spans);
    free(block);
}

void vk_memory_give(struct vk_device *device, const struct vk_place *place)
{
    struct vk_block *block = place->block;
    pthread_mutex_lock(&device->memory_lock);
    place->span->taken = false;
    for (struct vk_span *span = block->spans; span; span = span->next)
        while (!span->taken && span->next && !span->next->taken) {
            struct vk_span *gone = span->next;
            span->bytes += gone->bytes;
            span->next = gone->next;
            free(gone);
        }
    if (!block->spans->taken && !block->spans->next)
        free_block(device, block);
    pthread_mutex_unlock(&device->memory_lock);
}
