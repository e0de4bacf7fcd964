/* null.c: a back end that computes nothing: the skeleton of a new one, and the proof that the slots are enough. Each slot says what a real
 * back end must do there. It knows backend.h, the kernel headers and base/; nothing of the core, graphs or models.
 *
 * Threads: slots of different objects may run at the same time; one object is used by one thread at a time, except queue_wait. Arguments
 * are legal: the core has checked them. A slot answers BL_OK, or a status with one line of text (BL_FAIL). */
#include "base/error.h"
#include "hal/backend.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Every object begins with the common head; what the back end needs follows. */
struct null_device {
    bl_device base;
    bool kernels; /* bl_device_params.null_kernels */
};
struct null_buffer {
    bl_buffer base;
};
struct null_queue {
    bl_queue base;
    _Atomic uint64_t reached; /* the time line */
};
struct null_list {
    bl_list base;
};

/* ---- the device ---- */

/* Real: say what is there without starting a driver that is not needed for the answer (look for the library, ask for the number of
 * devices). Where the driver is missing, describe device 0 with the reason in why_missing. */
static bool describe(uint32_t index, bl_device_info *out)
{
    if (index > 0)
        return false;
    *out = (bl_device_info){.backend = "null", .name = "computes nothing", .id = "null"};
    return true;
}

/* Real: release the context. No child is alive. */
static void device_close(bl_device *device)
{
    free(device);
}

/* Real: free and total bytes of device memory now. */
static bl_status memory_info(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    (void)device;
    *free_bytes = *total_bytes = 0;
    return BL_OK;
}

/* ---- buffers ---- */

/* Real: memory of the kind; set base.host for the kinds that the host may touch. Out of memory is BL_EDEVMEM. */
static bl_status buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out)
{
    (void)device;
    struct null_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "buffer: out of memory");
    uintptr_t imported = (uintptr_t)params->host_memory;
    buffer->base.host = (void *)imported;
    if (params->kind != BL_MEM_IMPORT_HOST)
        buffer->base.host = params->bytes <= SIZE_MAX / 2 ? malloc((size_t)params->bytes) : NULL;
    if (!buffer->base.host) {
        free(buffer);
        BL_FAIL(BL_EDEVMEM, "buffer: no %llu bytes of memory", (unsigned long long)params->bytes);
    }
    *out = &buffer->base;
    return BL_OK;
}

/* Real: release at once; no submitted work uses it. */
static void buffer_destroy(bl_buffer *buffer)
{
    if (buffer->kind != BL_MEM_IMPORT_HOST)
        free(buffer->host);
    free(buffer);
}

/* Real: make host writes visible to the device, or device writes to the host. NULL in the table when caps.coherent. */
static bl_status buffer_sync(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device)
{
    (void)buffer;
    (void)offset;
    (void)bytes;
    (void)to_device;
    return BL_OK;
}

/* ---- kernels ---- */

/* Real: look the key up in the back end's own table; compile or load; fill tile (elements per workgroup and axis) and name (key name, "_",
 * ISA). Unknown keys are BL_EUNSUPPORTED without a text: a normal answer, and the only capability test. Called once per key. */
static bl_status kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out)
{
    if (!((struct null_device *)device)->kernels)
        return BL_EUNSUPPORTED;
    bl_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "kernel: out of memory");
    kernel->tile[0] = kernel->tile[1] = kernel->tile[2] = 1;
    memcpy(kernel->name + bl_kernel_key_name(key, kernel->name, sizeof kernel->name - 5), "_null", 6);
    *out = kernel;
    return BL_OK;
}

/* Real: release what kernel_create made. */
static void kernel_destroy(bl_kernel *kernel)
{
    free(kernel);
}

/* ---- queues ---- */

/* Real: a stream or hardware queue with a time line that starts at 0. */
static bl_status queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out)
{
    (void)device;
    (void)kind;
    struct null_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    *out = &queue->base;
    return BL_OK;
}

/* Real: the queue is idle; on a lost device first make sure that nothing touches memory any more. */
static void queue_destroy(bl_queue *queue)
{
    free(queue);
}

/* Real: hand the sealed list to the device without waiting: after `waits` are reached (also points that are not submitted yet) and after
 * everything submitted to this queue before; then the time line becomes `value`. list->timed: record time stamps. */
static bl_status queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value)
{
    (void)list;
    (void)waits; /* a queue that computes nothing waits for nothing: see tests/conformance/register_null.c */
    (void)n_waits;
    atomic_store(&((struct null_queue *)queue)->reached, value);
    return BL_OK;
}

/* Real: sleep until the time line reaches `value`, the time is over (BL_ETIMEOUT, without a text) or the device is lost (BL_EDEVLOST).
 * 0 polls: it must not block and must not call the core. A point that is not submitted yet is legal. Any number of threads. */
static bl_status queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns)
{
    if (atomic_load(&((struct null_queue *)queue)->reached) >= value)
        return BL_OK;
    if (timeout_ns == BL_WAIT_FOREVER)
        BL_FAIL(BL_EUNSUPPORTED, "null: nothing was submitted that could reach %llu", (unsigned long long)value);
    return BL_ETIMEOUT;
}

/* ---- lists ---- */

/* Real: begin a command buffer or graph. */
static bl_status list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    (void)device;
    (void)flags;
    struct null_list *list = calloc(1, sizeof *list);
    if (!list)
        BL_FAIL(BL_ENOMEM, "list: out of memory");
    *out = &list->base;
    return BL_OK;
}

/* Real: record one kernel launch of grid[] workgroups. Copy bindings, push bytes and waits: they are valid during the call only. Nodes of
 * a lane are in order; others are ordered by `waits` alone; recorded order is always a legal order. */
static bl_status list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch)
{
    (void)list;
    (void)node;
    (void)dispatch;
    return BL_OK;
}

/* Real: record a copy between buffers; the ranges do not overlap, any alignment. */
static bl_status list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                           uint64_t bytes, const struct bl_recorded_order *order)
{
    (void)list;
    (void)node;
    (void)to;
    (void)to_offset;
    (void)from;
    (void)from_offset;
    (void)bytes;
    (void)order;
    return BL_OK;
}

/* Real: record filling with a 32-bit pattern; offset and bytes are multiples of 4. */
static bl_status list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                           const struct bl_recorded_order *order)
{
    (void)list;
    (void)node;
    (void)buffer;
    (void)offset;
    (void)bytes;
    (void)pattern;
    (void)order;
    return BL_OK;
}

/* Real: seal; the place to compile (instantiate a graph, end a command buffer). From here the list is submitted any number of times, also
 * while an earlier submission of it is under way. */
static bl_status list_end(bl_list *list)
{
    (void)list;
    return BL_OK;
}

/* Real: release; no submission of it is under way. Its buffers may be gone already: do not look at them. Also called for lists that were
 * never sealed. */
static void list_destroy(bl_list *list)
{
    free(list);
}

/* list_timings, real: begin and end of each node of the last completed submission. Left out with caps.timestamps = false. */
static const struct bl_device_fns fns = {
    .device_close = device_close,
    .memory_info = memory_info,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_sync = buffer_sync,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .queue_submit = queue_submit,
    .queue_wait = queue_wait,
    .list_begin = list_begin,
    .list_dispatch = list_dispatch,
    .list_copy = list_copy,
    .list_fill = list_fill,
    .list_end = list_end,
    .list_destroy = list_destroy,
};

/* Real: start the driver for device `index`; fill the table and all of caps; on failure release what was made. */
static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    (void)index;
    struct null_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "null: out of memory");
    device->kernels = params->null_kernels;
    device->base.fns = &fns;
    device->base.caps = (bl_caps){
        .backend = "null",
        .name = "computes nothing",
        .memory_kinds = 1u << BL_MEM_DEVICE | 1u << BL_MEM_UPLOAD | 1u << BL_MEM_READBACK | 1u << BL_MEM_SHARED | 1u << BL_MEM_IMPORT_HOST,
        .max_push_bytes = 128,
        .max_bindings = 18,
        .buffer_alignment = 4,
    };
    *out = &device->base;
    return BL_OK;
}

/* The core finds it by this name (backends/meson.build). BL_SCORE_NEVER: "auto" never takes it. */
const struct bl_backend bl_backend_null = {
    .name = "null",
    .abi = BL_BACKEND_ABI,
    .score = BL_SCORE_NEVER,
    .describe = describe,
    .open = open_device,
};
