/* buffer.c: buffers, and when a destroyed one's memory may go. Knows no back end. */
#include "base/error.h"
#include "hal/core.h"

#include <stdlib.h>
#include <string.h>

bl_status bl_buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out)
{
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    REQUIRE_OBJECT(device);
    REQUIRE_OBJECT(params);
    const char *label = params->label ? params->label : "unnamed";
    REQUIRE(params->bytes >= 1, "bl_buffer_create: bytes of \"%s\" is 0", label);
    REQUIRE((uint32_t)params->kind < 32 && (device->caps.memory_kinds >> (uint32_t)params->kind & 1u),
            "bl_buffer_create: kind %u of \"%s\" is not in caps.memory_kinds 0x%x of %s", (uint32_t)params->kind, label,
            device->caps.memory_kinds, device->core->id);
    if (params->kind == BL_MEM_IMPORT_HOST) {
        REQUIRE(params->host_memory != NULL, "bl_buffer_create: host_memory of \"%s\" is NULL", label);
        REQUIRE(((uintptr_t)params->host_memory & (device->caps.buffer_alignment - 1)) == 0,
                "bl_buffer_create: host_memory %p of \"%s\" is not a multiple of caps.buffer_alignment %llu", params->host_memory, label,
                (unsigned long long)device->caps.buffer_alignment);
    } else {
        REQUIRE(params->host_memory == NULL, "bl_buffer_create: host_memory of \"%s\" is set, but kind is %u and not IMPORT_HOST", label,
                (uint32_t)params->kind);
    }
    BL_TRY(bl_device_usable(device));

    size_t label_bytes = strlen(label) + 1;
    struct bl_buffer_core *core = calloc(1, sizeof *core + label_bytes);
    if (!core)
        BL_FAIL(BL_ENOMEM, "buffer \"%s\": out of memory", label);
    memcpy(core->label, label, label_bytes);
    core->refs = 1;
    bl_status status = bl_device_answer(device, device->fns->buffer_create(device, params, out));
    if (status != BL_OK) {
        free(core);
        *out = NULL;
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    core->buffer = *out;
    (*out)->device = device;
    (*out)->bytes = params->bytes;
    (*out)->kind = params->kind;
    (*out)->core = core;
    pthread_mutex_lock(&device->core->lock);
    device->core->n_buffers++;
    pthread_mutex_unlock(&device->core->lock);
    return BL_OK;
}

void bl_buffer_destroy(bl_buffer *buffer)
{
    if (!buffer)
        return;
    bl_device *device = buffer->device;
    struct bl_buffer_core *core = buffer->core;
    struct dead_objects dead = {0};
    pthread_mutex_lock(&device->core->lock);
    if (core->uses)
        bl_device_collect(device, &dead); /* before `destroyed`: what is collected here must not be released twice */
    core->destroyed = true;
    if (core->uses == 0) {
        core->next_dead = dead.buffers;
        dead.buffers = core;
    }
    pthread_mutex_unlock(&device->core->lock);
    bl_release_dead(device, &dead);
}

void bl_buffer_core_unref(struct bl_buffer_core *core)
{
    if (--core->refs == 0)
        free(core);
}

void *bl_buffer_host(const bl_buffer *buffer)
{
    return buffer->host;
}

uint64_t bl_buffer_bytes(const bl_buffer *buffer)
{
    return buffer->bytes;
}

bl_status bl_buffer_sync(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device)
{
    bl_errors_clear();
    REQUIRE_OBJECT(buffer);
    REQUIRE(offset <= buffer->bytes && bytes <= buffer->bytes - offset,
            "bl_buffer_sync: offset %llu + bytes %llu > %llu, the size of \"%s\"", (unsigned long long)offset, (unsigned long long)bytes,
            (unsigned long long)buffer->bytes, buffer->core->label);
    REQUIRE(buffer->host != NULL, "bl_buffer_sync: \"%s\" has no host address", buffer->core->label);
    BL_TRY(bl_device_usable(buffer->device));
    if (buffer->device->fns->buffer_sync)
        BL_TRY(bl_device_answer(buffer->device, buffer->device->fns->buffer_sync(buffer, offset, bytes, to_device)));
    return BL_OK;
}
