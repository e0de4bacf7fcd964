/* device.c: opening a CUDA device, its facts, its buffers. Knows no kernel and no list. */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What says that the device or its context is of no more use: the driver answers the same to every later call. */
static bool is_fatal(cu_result result)
{
    static const cu_result fatal[] = {4 /* driver going away */, 214 /* ECC */, 220 /* NVLink */, 700 /* illegal address */,
                                      702 /* timeout */, 709 /* context destroyed */, 710 /* assert */, 714 /* hardware stack */,
                                      715 /* illegal instruction */, 716 /* misaligned */, 717 /* address space */, 718 /* program counter */,
                                      719 /* launch failed */, 721 /* contained */, 999 /* unknown */};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        if (result == fatal[i])
            return true;
    return false;
}

void cu_lose(struct cu_device *device, cu_result reason)
{
    cu_result none = CU_OK;
    atomic_compare_exchange_strong(&device->lost, &none, reason);
}

bl_status cu_answer(struct cu_device *device, cu_result result, const char *what)
{
    if (result == CU_OK)
        return BL_OK;
    const char *name = cu_result_name(&device->cu, result);
    if (is_fatal(result)) {
        cu_lose(device, result);
        BL_FAIL(BL_EDEVLOST, "%s: %s: %s: the device is lost", device->name, what, name);
    }
    if (result == CU_OUT_OF_MEMORY)
        BL_FAIL(BL_EDEVMEM, "%s: %s: out of memory", device->name, what);
    BL_FAIL(BL_EINTERNAL, "%s: %s: the CUDA driver answered %s (%d)", device->name, what, name, result);
}

bl_status cu_enter(struct cu_device *device)
{
    return cu_answer(device, device->cu.context_push(device->context), "cuCtxPushCurrent");
}

bl_status cu_leave(struct cu_device *device, bl_status status)
{
    cu_context popped;
    device->cu.context_pop(&popped); /* what it might answer, the next call answers too */
    return status;
}

bool cu_enter_quietly(struct cu_device *device)
{
    return device->cu.context_push(device->context) == CU_OK;
}

/* ---- buffers ----
 *
 * Memory comes from cuMemAlloc, not from a stream's pool (cuMemAllocAsync): the core asks for few large buffers, at load, and destroys one only
 * when nothing that was submitted uses it, so there is no wait that an order of the stream would save. What such a pool keeps for later would
 * be missing in cuMemGetInfo, by which layers are placed, and its addresses would have to be waited for on every stream that uses them, since
 * a buffer belongs to no queue. Scratch memory of a list is taken once, when the list is made. */

/* These answer what the driver answered; *what is the call. */
static cu_result take_pinned(struct cu_device *device, struct cu_buffer *buffer, uint64_t bytes, const char **what)
{
    *what = "cuMemHostAlloc";
    cu_result result = device->cu.mem_host_alloc(&buffer->pinned, bytes, CU_HOST_PORTABLE | CU_HOST_MAPPED);
    if (result != CU_OK)
        buffer->pinned = NULL;
    buffer->base.host = buffer->pinned;
    return result;
}

static cu_result take_card(struct cu_device *device, struct cu_buffer *buffer, uint64_t bytes, const char **what)
{
    *what = "cuMemAlloc";
    cu_result result = device->cu.mem_alloc(&buffer->address, bytes);
    buffer->on_card = result == CU_OK;
    return result;
}

static cu_result map_host(struct cu_device *device, struct cu_buffer *buffer, const char **what)
{
    *what = "cuMemHostGetDevicePointer";
    return device->cu.mem_host_address(&buffer->address, buffer->base.host, 0);
}

static cu_result register_host(struct cu_device *device, struct cu_buffer *buffer, const bl_buffer_params *params, const char **what)
{
    *what = "cuMemHostRegister";
    memcpy(&buffer->base.host, &params->host_memory, sizeof buffer->base.host); /* read only: it may be a mapped file */
    cu_result result = device->cu.mem_host_register(buffer->base.host, params->bytes,
                                                    CU_HOST_MAPPED | (device->read_only_import ? CU_HOST_READ_ONLY : 0));
    buffer->registered = result == CU_OK;
    return result;
}

static cu_result take_memory(struct cu_device *device, struct cu_buffer *buffer, const bl_buffer_params *params, const char **what)
{
    const uint64_t bytes = (params->bytes + 15) & ~UINT64_C(15);
    cu_result result;
    switch (params->kind) {
    case BL_MEM_DEVICE:
        return take_card(device, buffer, bytes, what);
    case BL_MEM_UPLOAD:
        result = take_pinned(device, buffer, bytes, what);
        if (result == CU_OK && !device->base.caps.unified)
            return take_card(device, buffer, bytes, what);
        break;
    case BL_MEM_IMPORT_HOST:
        result = register_host(device, buffer, params, what);
        break;
    default:
        result = take_pinned(device, buffer, bytes, what);
    }
    return result == CU_OK ? map_host(device, buffer, what) : result;
}

/* The context is current. */
static void release(struct cu_device *device, struct cu_buffer *buffer)
{
    if (buffer->registered)
        device->cu.mem_host_unregister(buffer->base.host);
    if (buffer->on_card)
        device->cu.mem_free(buffer->address);
    if (buffer->pinned)
        device->cu.mem_free_host(buffer->pinned);
}

static bl_status fill_buffer(struct cu_device *device, struct cu_buffer *buffer, const bl_buffer_params *params)
{
    const char *what = "", *label = params->label ? params->label : "unnamed";
    size_t free_bytes = 0, total_bytes = 0;
    BL_TRY(cu_answer(device, device->cu.mem_get_info(&free_bytes, &total_bytes), "cuMemGetInfo"));
    const bool is_possible = params->bytes <= total_bytes || params->kind == BL_MEM_READBACK || params->kind == BL_MEM_IMPORT_HOST;
    cu_result result = is_possible ? take_memory(device, buffer, params, &what) : CU_OUT_OF_MEMORY;
    if (result == CU_OUT_OF_MEMORY)
        BL_FAIL(BL_EDEVMEM, "%s: no memory for the %llu bytes of \"%s\": %zu of %zu bytes are free", device->name,
                (unsigned long long)params->bytes, label, free_bytes, total_bytes);
    return cu_answer(device, result, what);
}

bl_status cu_buffer_create(bl_device *base, const bl_buffer_params *params, bl_buffer **out)
{
    struct cu_device *device = (struct cu_device *)base;
    struct cu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "buffer: out of memory");
    bl_status status = cu_enter(device);
    if (status == BL_OK) {
        status = fill_buffer(device, buffer, params);
        if (status != BL_OK)
            release(device, buffer);
        cu_leave(device, status);
    }
    if (status != BL_OK) {
        free(buffer);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &buffer->base;
    return BL_OK;
}

void cu_buffer_destroy(bl_buffer *base)
{
    struct cu_device *device = (struct cu_device *)base->device;
    if (cu_enter_quietly(device)) {
        release(device, (struct cu_buffer *)base);
        cu_leave(device, BL_OK);
    }
    free(base);
}

/* Only UPLOAD has a copy on the card. The memory is pinned, so the call returns when the card has it. */
bl_status cu_buffer_sync(bl_buffer *base, uint64_t offset, uint64_t bytes, bool to_device)
{
    struct cu_device *device = (struct cu_device *)base->device;
    struct cu_buffer *buffer = (struct cu_buffer *)base;
    if (!to_device || !buffer->on_card || bytes == 0)
        return BL_OK;
    BL_TRY(cu_enter(device));
    cu_result result = device->cu.copy_to_device(buffer->address + offset, (const char *)base->host + offset, bytes);
    return cu_leave(device, cu_answer(device, result, "cuMemcpyHtoD"));
}

/* ---- the device ---- */

static void device_close(bl_device *base)
{
    struct cu_device *device = (struct cu_device *)base;
    if (device->context) {
        if (cu_enter_quietly(device)) {
            cu_queue_free_spare(device);
            if (device->module)
                device->cu.module_unload(device->module);
            cu_leave(device, BL_OK);
        }
        device->cu.context_release(device->ordinal);
    }
    cu_driver_close(&device->cu);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

static bl_status memory_info(bl_device *base, uint64_t *free_bytes, uint64_t *total_bytes)
{
    struct cu_device *device = (struct cu_device *)base;
    size_t free_now = 0, total = 0;
    BL_TRY(cu_enter(device));
    BL_TRY(cu_leave(device, cu_answer(device, device->cu.mem_get_info(&free_now, &total), "cuMemGetInfo")));
    *free_bytes = free_now;
    *total_bytes = total;
    return BL_OK;
}

static const struct bl_device_fns fns = {
    .device_close = device_close,
    .memory_info = memory_info,
    .buffer_create = cu_buffer_create,
    .buffer_destroy = cu_buffer_destroy,
    .buffer_sync = cu_buffer_sync,
    .kernel_create = cu_kernel_create,
    .kernel_destroy = cu_kernel_destroy,
    .queue_create = cu_queue_create,
    .queue_destroy = cu_queue_destroy,
    .queue_submit = cu_queue_submit,
    .queue_wait = cu_queue_wait,
    .list_begin = cu_list_begin,
    .list_dispatch = cu_list_dispatch,
    .list_copy = cu_list_copy,
    .list_fill = cu_list_fill,
    .list_end = cu_list_end,
    .list_destroy = cu_list_destroy,
    .list_timings = cu_list_timings,
};

static bl_status ask(struct cu_device *device, int attribute, int *value)
{
    return cu_answer(device, device->cu.device_get_attribute(value, attribute, device->ordinal), "cuDeviceGetAttribute");
}

static bl_status start(struct cu_device *device, uint32_t index)
{
    int count = 0, version = 0, processors = 0, integrated = 0, registers = 0, read_only = 0, major = 0, minor = 0;
    char reason[160];
    BL_TRY(cu_driver_open(&device->cu));
    snprintf(device->name, sizeof device->name, "cuda:%u", index);
    BL_TRY(cu_answer(device, device->cu.device_get_count(&count), "cuDeviceGetCount"));
    if (index >= (uint32_t)count)
        BL_FAIL(BL_EUNSUPPORTED, "cuda:%u is gone, %d devices are there", index, count);
    BL_TRY(cu_answer(device, device->cu.device_get(&device->ordinal, (int)index), "cuDeviceGet"));
    BL_TRY(cu_answer(device, device->cu.device_get_name(device->name, (int)sizeof device->name, device->ordinal), "cuDeviceGetName"));
    if (!cu_device_fits(&device->cu, device->ordinal, reason, sizeof reason))
        BL_FAIL(BL_EUNSUPPORTED, "%s: %s", device->name, reason);
    BL_TRY(cu_answer(device, device->cu.driver_get_version(&version), "cuDriverGetVersion"));
    BL_TRY(ask(device, CU_ATTRIBUTE_MAJOR, &major));
    BL_TRY(ask(device, CU_ATTRIBUTE_MINOR, &minor));
    BL_TRY(ask(device, CU_ATTRIBUTE_PROCESSORS, &processors));
    BL_TRY(ask(device, CU_ATTRIBUTE_INTEGRATED, &integrated));
    BL_TRY(ask(device, CU_ATTRIBUTE_HOST_REGISTER, &registers));
    BL_TRY(ask(device, CU_ATTRIBUTE_READ_ONLY_HOST_REGISTER, &read_only));
    device->capability = (uint32_t)(10 * major + minor);
    device->read_only_import = read_only != 0;
    cu_result result = device->cu.context_retain(&device->context, device->ordinal);
    if (result != CU_OK)
        device->context = NULL;
    BL_TRY(cu_answer(device, result, "cuDevicePrimaryCtxRetain"));
    BL_TRY(cu_enter(device));
    BL_TRY(cu_leave(device, cu_module_open(device)));
    uint32_t kinds = 1u << BL_MEM_DEVICE | 1u << BL_MEM_UPLOAD | 1u << BL_MEM_READBACK;
    if (integrated)
        kinds |= 1u << BL_MEM_SHARED | (registers ? 1u << BL_MEM_IMPORT_HOST : 0);
    snprintf(device->driver, sizeof device->driver, "%d", version);
    snprintf(device->facts, sizeof device->facts, "driver for CUDA %d.%d, compute capability %d.%d, %d multiprocessors, %s", version / 1000, version % 1000 / 10, major, minor, processors,
             !integrated ? "memory of its own" : registers ? "the host's memory; reads files in place" : "the host's memory; cannot read files in place");
    device->base.fns = &fns;
    device->base.caps = (bl_caps){
        .backend = "cuda",
        .name = device->name,
        .driver = device->driver,
        .facts = device->facts,
        .memory_kinds = kinds,
        .max_push_bytes = sizeof((struct cu_args *)NULL)->push,
        .max_bindings = CU_BINDINGS,
        .buffer_alignment = 4,
        .coherent = integrated != 0,
        .compute_units = (uint32_t)processors,
        .n_ways = CU_WAYS,
        .ways_inexact = 1u << CU_WAY_HALF,
        .timestamps = true,
        .unified = integrated != 0,
    };
    return BL_OK;
}

static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    (void)params; /* what is in it is for others, or the core's */
    struct cu_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "cuda: out of memory");
    pthread_mutex_init(&device->lock, NULL);
    bl_status status = start(device, index);
    if (status != BL_OK) {
        device_close(&device->base);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &device->base;
    return BL_OK;
}

/* One more than other back ends give: of the same card this one is taken. */
const struct bl_backend bl_backend_cuda = {
    .name = "cuda",
    .abi = BL_BACKEND_ABI,
    .score = BL_SCORE_DISCRETE + 1,
    .describe = cu_probe,
    .hopeful = cu_hopeful,
    .open = open_device,
};
