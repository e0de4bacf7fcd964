/* device.c: opening, closing and losing a device. Knows the core's state of a device; knows no back end. */
#include "base/log.h"
#include "hal/core.h"

#include <stdlib.h>
#include <string.h>

void bl_device_default_params(bl_device_params *params)
{
    *params = (bl_device_params){.struct_size = sizeof *params};
}

/* Programs built against an older header hand over a shorter struct. */
static bl_status read_params(const bl_device_params *params, bl_device_params *out)
{
    const size_t oldest = sizeof(bl_device_params);
    REQUIRE_OBJECT(params);
    REQUIRE(params->struct_size >= oldest && params->struct_size <= sizeof *out,
            "bl_device_open: params->struct_size = %zu, this library knows %zu to %zu (bl_device_default_params sets it)",
            params->struct_size, oldest, sizeof *out);
    bl_device_default_params(out);
    memcpy(out, params, params->struct_size);
    return BL_OK;
}

bl_status bl_device_open(const bl_device_params *params, bl_device **out)
{
    bl_device_params known;
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    BL_TRY(read_params(params, &known));
    BL_TRY(bl_backend_open(known.device, &known, out));
    bl_caps *caps = &(*out)->caps;
    if (known.max_binding_bytes && (!caps->max_binding_bytes || known.max_binding_bytes < caps->max_binding_bytes))
        caps->max_binding_bytes = known.max_binding_bytes;
    return BL_OK;
}

bl_status bl_device_open_inner(const char *inner, const bl_device_params *params, bl_device **out)
{
    bl_device_params known = *params;
    known.device = inner;
    return bl_backend_open(inner, &known, out);
}

void bl_device_close(bl_device *device)
{
    if (!device)
        return;
    struct bl_device_core *core = device->core;
    pthread_mutex_lock(&core->lock);
    uint32_t n_buffers = core->n_buffers, n_lists = core->n_lists, n_queues = core->n_queues;
    pthread_mutex_unlock(&core->lock);
    if (n_buffers || n_lists || n_queues) {
        bl_log(BL_LOG_ERROR, "device %s closed with %u buffers, %u lists and %u queues alive: left open", core->id, n_buffers, n_lists,
               n_queues);
        return;
    }
    for (uint32_t k = 0; k < core->n_kernels; k++)
        if (core->kernels[k].kernel)
            device->fns->kernel_destroy(core->kernels[k].kernel);
    free(core->kernels);
    device->fns->device_close(device);
    pthread_mutex_destroy(&core->lock);
    pthread_mutex_destroy(&core->kernel_lock);
    free(core);
}

const bl_caps *bl_device_caps(const bl_device *device)
{
    return &device->caps;
}

bl_status bl_device_memory(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    bl_errors_clear();
    REQUIRE_OBJECT(device);
    REQUIRE_OBJECT(free_bytes);
    REQUIRE_OBJECT(total_bytes);
    *free_bytes = *total_bytes = 0;
    BL_TRY(bl_device_usable(device));
    BL_TRY(bl_device_answer(device, device->fns->memory_info(device, free_bytes, total_bytes)));
    return BL_OK;
}

bl_status bl_device_usable(bl_device *device)
{
    if (atomic_load_explicit(&device->core->lost, memory_order_acquire))
        BL_FAIL(BL_EDEVLOST, "device %s was lost", device->core->id);
    return BL_OK;
}

bl_status bl_device_answer(bl_device *device, bl_status status)
{
    if (status == BL_EDEVLOST)
        bl_device_mark_lost(device);
    return status;
}

void bl_device_mark_lost(bl_device *device)
{
    if (!atomic_exchange(&device->core->lost, true))
        bl_log(BL_LOG_ERROR, "device %s is lost", device->core->id);
}

bl_status bl_grow(void *items, uint32_t *capacity, uint32_t count, size_t item_bytes)
{
    if (count < *capacity)
        return BL_OK;
    if (*capacity > UINT32_MAX / 4)
        BL_FAIL(BL_ENOMEM, "an array of %u items cannot grow", count);
    uint32_t larger = *capacity ? *capacity * 2 : 16;
    void *old, *grown;
    memcpy(&old, items, sizeof old);
    grown = realloc(old, larger * item_bytes);
    if (!grown)
        BL_FAIL(BL_ENOMEM, "out of memory: %zu bytes", larger * item_bytes);
    memcpy(items, &grown, sizeof grown);
    *capacity = larger;
    return BL_OK;
}
