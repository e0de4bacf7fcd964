/* device.c: the kernels of an opened device, for kernel-check: every launch goes as a list of copies and one dispatch, guard zones included.
 * Knows no op and no back end. */
#include "check.h"

#include "hal/kernel.h"

#include <stdlib.h>
#include <string.h>

static bl_device *device;
static bl_queue *queue;
static struct {
    bl_buffer *buffer;
    bl_memory_kind kind;
} stages[] = {{NULL, BL_MEM_UPLOAD}, {NULL, BL_MEM_DEVICE}, {NULL, BL_MEM_READBACK}}; /* a launch's bindings lie at the same place in all three */
enum { UPLOAD, WORK, READBACK, N_STAGES };

static bl_kernel *find(struct bl_kernel_key key)
{
    bl_kernel *kernel = NULL;
    key.tuning = (uint16_t)options.tuning;
    return bl_kernel_get(device, key, &kernel) == BL_OK ? kernel : NULL;
}

static bool has(struct bl_kernel_key key)
{
    return find(key) != NULL;
}

static bl_status make_room(uint64_t bytes)
{
    if (stages[WORK].buffer && bl_buffer_bytes(stages[WORK].buffer) >= bytes)
        return BL_OK;
    for (int i = 0; i < N_STAGES; i++) {
        const bl_buffer_params params = {.bytes = bytes + bytes / 2, .kind = stages[i].kind, .label = "kernel-check"};
        bl_buffer_destroy(stages[i].buffer);
        stages[i].buffer = NULL;
        bl_status status = bl_buffer_create(device, &params, &stages[i].buffer);
        if (status != BL_OK)
            return status;
    }
    return BL_OK;
}

/* Where binding i begins: as far from a multiple of 64 as on the host, or a little less where the device wants more alignment. Absent ones
 * are 0, which no binding is because of its guard. Returns what all of them take. */
static uint64_t lay_out(const struct bound *bound, uint32_t n, uint64_t *at)
{
    const uint64_t alignment = bl_device_caps(device)->buffer_alignment, line = alignment > 64 ? alignment : 64;
    uint64_t end = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t same = 0;
        while (bound[same].data != bound[i].data)
            same++;
        at[i] = same < i ? at[same] : 0;
        if (same < i || !bound[i].data)
            continue;
        const uint64_t shift = (uintptr_t)bound[i].data % line / alignment * alignment;
        at[i] = (end + GUARD + line - 1) / line * line + shift;
        end = at[i] + bound[i].bytes + GUARD;
    }
    return end;
}

static bl_status record(bl_list *list, struct bl_kernel_key key, const struct bound *bound, uint32_t n, const uint64_t *at, const void *push,
                        const uint32_t size[2], uint64_t total)
{
    bl_binding bindings[MAX_BINDINGS];
    for (uint32_t i = 0; i < n; i++)
        bindings[i] = (bl_binding){at[i] ? stages[WORK].buffer : NULL, at[i], bound[i].bytes, bound[i].is_output ? BL_READ_WRITE : BL_READ};
    const bl_dispatch dispatch = {.kernel = find(key), .size = {size[0], size[1], 1}, .bindings = bindings, .n_bindings = n, .push = push,
                                  .push_bytes = push_bytes(key.op)};
    bl_status status = bl_list_copy(list, stages[WORK].buffer, 0, stages[UPLOAD].buffer, 0, total, NULL, NULL);
    if (status == BL_OK)
        status = bl_list_dispatch(list, &dispatch, NULL, NULL);
    if (status == BL_OK)
        status = bl_list_copy(list, stages[READBACK].buffer, 0, stages[WORK].buffer, 0, total, NULL, NULL);
    return status == BL_OK ? bl_list_end(list) : status;
}

static const char *run(struct bl_kernel_key key, const struct bound *bound, uint32_t n, const void *push, uint32_t columns, uint32_t rows)
{
    uint64_t at[MAX_BINDINGS], value;
    const uint64_t total = lay_out(bound, n, at);
    bl_list *list = NULL;
    bl_status status = make_room(total);
    for (uint32_t i = 0; status == BL_OK && i < n; i++)
        if (at[i])
            memcpy((uint8_t *)bl_buffer_host(stages[UPLOAD].buffer) + at[i] - GUARD, (const uint8_t *)bound[i].data - GUARD,
                   bound[i].bytes + 2 * GUARD);
    if (status == BL_OK)
        status = bl_buffer_sync(stages[UPLOAD].buffer, 0, total, true);
    if (status == BL_OK)
        status = bl_list_begin(device, 0, &list);
    if (status == BL_OK)
        status = record(list, key, bound, n, at, push, (const uint32_t[2]){columns, rows}, total);
    if (status == BL_OK)
        status = bl_queue_submit(queue, list, NULL, 0, &value);
    if (status == BL_OK)
        status = bl_queue_wait(queue, value, UINT64_C(300000000000));
    if (status == BL_OK)
        status = bl_buffer_sync(stages[READBACK].buffer, 0, total, false);
    for (uint32_t i = 0; status == BL_OK && i < n; i++)
        if (at[i])
            memcpy((uint8_t *)bound[i].data - GUARD, (const uint8_t *)bl_buffer_host(stages[READBACK].buffer) + at[i] - GUARD,
                   bound[i].bytes + 2 * GUARD);
    bl_list_destroy(list);
    return status == BL_OK ? NULL : bl_error_text();
}

const struct other_kernels *open_device(const char *name)
{
    static struct other_kernels kernels = {.has = has, .run = run};
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = name;
    if (bl_device_open(&params, &device) != BL_OK || bl_queue_create(device, BL_QUEUE_COMPUTE, &queue) != BL_OK)
        return NULL;
    kernels.name = bl_device_caps(device)->backend;
    kernels.ways_inexact = bl_device_caps(device)->ways_inexact;
    return &kernels;
}

void close_device(void)
{
    for (int i = 0; i < N_STAGES; i++)
        bl_buffer_destroy(stages[i].buffer);
    bl_queue_destroy(queue);
    bl_device_close(device);
}
