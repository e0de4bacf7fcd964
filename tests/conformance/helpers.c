/* helpers.c: moving data to and from a device, small dispatches, a random sequence. */
#include "conformance.h"

#include <time.h>

uint64_t conf_random(struct conf *conf)
{
    uint64_t z = conf->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t conf_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bl_status conf_buffer(struct conf *conf, uint64_t bytes, const char *label, bl_buffer **out)
{
    const bl_buffer_params params = {.bytes = bytes, .kind = BL_MEM_DEVICE, .label = label};
    return bl_buffer_create(conf->device, &params, out);
}

bl_status conf_wait(bl_queue *queue, uint64_t value)
{
    return bl_queue_wait(queue, value, UINT64_C(60000000000));
}

bl_status conf_run(struct conf *conf, bl_list *list)
{
    uint64_t value;
    bl_status status = bl_queue_submit(conf->queue, list, NULL, 0, &value);
    return status == BL_OK ? conf_wait(conf->queue, value) : status;
}

static bl_status copy_now(struct conf *conf, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes)
{
    bl_list *list;
    bl_status status = bl_list_begin(conf->device, 0, &list);
    if (status == BL_OK)
        status = bl_list_copy(list, to, to_offset, from, from_offset, bytes, NULL, NULL);
    if (status == BL_OK)
        status = bl_list_end(list);
    if (status == BL_OK)
        status = conf_run(conf, list);
    bl_list_destroy(list);
    return status;
}

bl_status conf_write(struct conf *conf, bl_buffer *to, uint64_t offset, const void *from, uint64_t bytes)
{
    bl_buffer *stage;
    const bl_buffer_params params = {.bytes = bytes, .kind = BL_MEM_UPLOAD, .label = "upload"};
    bl_status status = bl_buffer_create(conf->device, &params, &stage);
    if (status != BL_OK)
        return status;
    memcpy(bl_buffer_host(stage), from, (size_t)bytes);
    status = bl_buffer_sync(stage, 0, bytes, true);
    if (status == BL_OK)
        status = copy_now(conf, to, offset, stage, 0, bytes);
    bl_buffer_destroy(stage);
    return status;
}

bl_status conf_read(struct conf *conf, bl_buffer *from, uint64_t offset, void *to, uint64_t bytes)
{
    bl_buffer *stage;
    const bl_buffer_params params = {.bytes = bytes, .kind = BL_MEM_READBACK, .label = "readback"};
    bl_status status = bl_buffer_create(conf->device, &params, &stage);
    if (status != BL_OK)
        return status;
    status = copy_now(conf, stage, 0, from, offset, bytes);
    if (status == BL_OK)
        status = bl_buffer_sync(stage, 0, bytes, false);
    if (status == BL_OK)
        memcpy(to, bl_buffer_host(stage), (size_t)bytes);
    bl_buffer_destroy(stage);
    return status;
}

bl_status conf_binary(struct conf *conf, bl_list *list, uint32_t kind, struct conf_range x, struct conf_range z, struct conf_range y,
                      uint32_t n, const bl_order *order, uint32_t *node)
{
    bl_kernel *kernel;
    const struct bl_kernel_key key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};
    bl_status status = bl_kernel_get(conf->device, key, &kernel);
    if (status != BL_OK)
        return status;
    const uint64_t bytes = n * sizeof(float);
    const bl_binding bindings[] = {{conf->step, 0, bl_buffer_bytes(conf->step), BL_READ},
                                   {x.buffer, x.first * 4, bytes, BL_READ},
                                   {z.buffer, z.first * 4, bytes, BL_READ},
                                   {y.buffer, y.first * 4, bytes, BL_WRITE}};
    const struct bl_params_binary push = {.columns = n, .rows = BL_ROWS_OF_STEP, .kind = kind};
    const bl_dispatch dispatch = {kernel, {n, 1, 1}, bindings, 4, &push, sizeof push};
    return bl_list_dispatch(list, &dispatch, order, node);
}
