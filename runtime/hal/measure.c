/* measure.c: how fast a device is, by three short runs of what steps are made of: a submission, a copy, a matrix times a vector. Uses the
 * device like any client; knows no back end. */
#include "base/error.h"
#include "hal/devices.h"
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define LEAST_BYTES (UINT64_C(16) << 20)  /* beyond the caches of a small processor */
#define MOST_BYTES (UINT64_C(256) << 20)  /* and of a large GPU */
#define LONG_ENOUGH 0.004                 /* seconds of a copy that needs no larger buffers */
#define COLUMNS 4096u
#define ROW_BYTES (COLUMNS / 32 * 18)     /* of q4_0 */
#define ROUNDS 4
#define PATTERN 0x2c112c11u               /* small numbers in f16 and f32 */

struct bench {
    bl_device *device;
    bl_queue *queue;
    bl_buffer *from, *to, *step, *x, *y;
    uint64_t bytes;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bl_status bl_time_list(bl_queue *queue, bl_list *list, bl_status status, double *best)
{
    uint64_t value = 0;
    *best = INFINITY;
    if (status == BL_OK)
        status = bl_list_end(list);
    for (int round = 0; status == BL_OK && round < ROUNDS; round++) {
        double start = seconds();
        status = bl_queue_submit(queue, list, NULL, 0, &value);
        if (status == BL_OK)
            status = bl_queue_wait(queue, value, BL_WAIT_FOREVER);
        double taken = seconds() - start;
        *best = taken < *best ? taken : *best;
    }
    bl_list_destroy(list);
    return status;
}

static bl_status time_fill(const struct bench *b, bl_buffer *buffer, uint64_t bytes, uint32_t pattern, double *best)
{
    bl_list *list;
    BL_TRY(bl_list_begin(b->device, 0, &list));
    return bl_time_list(b->queue, list, bl_list_fill(list, buffer, 0, bytes, pattern, NULL, NULL), best);
}

static bl_status time_copy(const struct bench *b, double *best)
{
    bl_list *list;
    BL_TRY(bl_list_begin(b->device, 0, &list));
    return bl_time_list(b->queue, list, bl_list_copy(list, b->to, 0, b->from, 0, b->bytes, NULL, NULL), best);
}

static bl_status time_matvec(const struct bench *b, bl_kernel *kernel, double *best, uint64_t *bytes)
{
    uint32_t n = (uint32_t)(b->bytes / ROW_BYTES) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
    struct bl_params_linear push = {.k = COLUMNS, .n_segments = 1};
    push.segment[0].n = push.segment[0].stride = n;
    push.segment[0].format = BL_FMT_Q4_0;
    *bytes = (uint64_t)n * ROW_BYTES;
    const bl_binding bindings[] = {{b->step, 0, bl_buffer_bytes(b->step), BL_READ},
                                   {b->x, 0, bl_buffer_bytes(b->x), BL_READ},
                                   {b->from, 0, *bytes, BL_READ},
                                   {NULL, 0, 0, BL_READ},
                                   {NULL, 0, 0, BL_READ},
                                   {b->y, 0, (uint64_t)n * 4, BL_WRITE}};
    const bl_dispatch dispatch = {kernel, {n, 1, 1}, bindings, 6, &push, sizeof push};
    bl_list *list;
    BL_TRY(bl_list_begin(b->device, 0, &list));
    return bl_time_list(b->queue, list, bl_list_dispatch(list, &dispatch, NULL, NULL), best);
}

static bl_status create(bl_device *device, uint64_t bytes, bl_memory_kind kind, bl_buffer **out)
{
    const bl_buffer_params params = {.bytes = bytes, .kind = kind, .label = "measure"};
    return bl_buffer_create(device, &params, out);
}

static void drop_large(struct bench *b)
{
    bl_buffer_destroy(b->from);
    bl_buffer_destroy(b->to);
    b->from = b->to = NULL;
}

/* Large buffers of such a size that a copy takes a while, as far as memory goes. */
static bl_status measure_copy(struct bench *b, bl_measure *out)
{
    uint64_t limit = bl_device_caps(b->device)->max_binding_bytes;
    for (uint64_t bytes = LEAST_BYTES; bytes <= MOST_BYTES; bytes *= 4) {
        double best;
        if (b->bytes && limit && bytes > limit)
            break;
        drop_large(b);
        b->bytes = limit && bytes > limit ? limit : bytes;
        BL_TRY(create(b->device, b->bytes, BL_MEM_DEVICE, &b->from));
        BL_TRY(create(b->device, b->bytes, BL_MEM_DEVICE, &b->to));
        BL_TRY(time_fill(b, b->from, b->bytes, PATTERN, &best));
        BL_TRY(time_copy(b, &best));
        out->copy_bytes_per_s = 2 * (double)b->bytes / best;
        if (best > LONG_ENOUGH)
            break;
    }
    return BL_OK;
}

static bl_status measure(struct bench *b, bl_measure *out)
{
    const struct bl_kernel_key key = {BL_OP_MATVEC, BL_FMT_Q4_0, BL_FMT_Q8, BL_ROWS_1, 0};
    bl_kernel *kernel;
    double best;
    BL_TRY(bl_queue_create(b->device, BL_QUEUE_COMPUTE, &b->queue));
    BL_TRY(create(b->device, 4 * BL_STEP_PAGES, BL_MEM_UPLOAD, &b->step));
    memset(bl_buffer_host(b->step), 0, 4 * BL_STEP_PAGES);
    ((uint32_t *)bl_buffer_host(b->step))[BL_STEP_N_ROWS] = 1;
    BL_TRY(bl_buffer_sync(b->step, 0, 4 * BL_STEP_PAGES, true));
    BL_TRY(create(b->device, COLUMNS / BL_Q8_COLUMNS * sizeof(struct bl_q8_block), BL_MEM_DEVICE, &b->x));
    BL_TRY(time_fill(b, b->x, bl_buffer_bytes(b->x), 0, &best));
    out->submit_us = best * 1e6;
    BL_TRY(measure_copy(b, out));
    bl_status status = bl_kernel_get(b->device, key, &kernel);
    if (status == BL_EUNSUPPORTED) {
        bl_errors_clear();
        return BL_OK;
    }
    BL_TRY(status);
    uint64_t bytes;
    BL_TRY(create(b->device, b->bytes / ROW_BYTES * 4, BL_MEM_DEVICE, &b->y));
    BL_TRY(time_matvec(b, kernel, &best, &bytes));
    out->matvec_bytes_per_s = (double)bytes / best;
    return BL_OK;
}

bl_status bl_device_measure(bl_device *device, bl_measure *out)
{
    bl_errors_clear();
    if (!device || !out)
        BL_FAIL(BL_EINVAL, "bl_device_measure: device or out is NULL");
    *out = (bl_measure){0};
    struct bench b = {.device = device};
    bl_status status = measure(&b, out);
    drop_large(&b);
    bl_buffer_destroy(b.step);
    bl_buffer_destroy(b.x);
    bl_buffer_destroy(b.y);
    bl_queue_destroy(b.queue);
    return status;
}
