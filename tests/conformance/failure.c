/* failure.c: calls that fail at every place, and a lost device: always a status, never a crash, nothing left behind. */
#include "conformance.h"

#include <pthread.h>

/* A small program on a device of its own: everything that can fail, once. Cleans up after itself whatever happens. */
static bl_status small_program(const bl_device_params *params, float *result)
{
    bl_device *device = NULL;
    bl_queue *queue = NULL, *second = NULL;
    bl_buffer *step = NULL, *x = NULL, *readback = NULL;
    bl_list *list = NULL, *copy = NULL;
    bl_kernel *kernel;
    uint64_t value = 0, copied = 0;
    const struct bl_kernel_key key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};
    const struct bl_params_binary push = {.columns = 8, .kind = BL_BINARY_ADD};
    bl_status status = bl_device_open(params, &device);
    if (status != BL_OK)
        return status;
#define STEP(expr)            \
    do {                      \
        status = (expr);      \
        if (status != BL_OK)  \
            goto out;         \
    } while (0)
    STEP(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue));
    STEP(bl_queue_create(device, BL_QUEUE_TRANSFER, &second));
    STEP(bl_buffer_create(device, &(bl_buffer_params){BL_STEP_PAGES * 4u, BL_MEM_UPLOAD, NULL, "step"}, &step));
    memset(bl_buffer_host(step), 0, BL_STEP_PAGES * 4u);
    ((uint32_t *)bl_buffer_host(step))[BL_STEP_N_ROWS] = 1;
    STEP(bl_buffer_create(device, &(bl_buffer_params){64, BL_MEM_DEVICE, NULL, "x"}, &x));
    STEP(bl_buffer_create(device, &(bl_buffer_params){64, BL_MEM_READBACK, NULL, "readback"}, &readback));
    STEP(bl_kernel_get(device, key, &kernel));
    STEP(bl_list_begin(device, 0, &list));
    STEP(bl_list_fill(list, x, 0, 64, 0x3f800000u, NULL, NULL));
    const bl_binding bindings[] = {{step, 0, BL_STEP_PAGES * 4u, BL_READ}, {x, 0, 32, BL_READ}, {x, 0, 32, BL_READ}, {x, 0, 32, BL_WRITE}};
    const bl_dispatch dispatch = {kernel, {8, 1, 1}, bindings, 4, &push, sizeof push};
    STEP(bl_list_dispatch(list, &dispatch, NULL, NULL));
    STEP(bl_list_end(list));
    STEP(bl_list_begin(device, 0, &copy));
    STEP(bl_list_copy(copy, readback, 0, x, 0, 64, NULL, NULL));
    STEP(bl_list_end(copy));
    STEP(bl_queue_submit(queue, list, NULL, 0, &value));
    STEP(bl_queue_submit(second, copy, &(bl_fence){queue, value}, 1, &copied));
    STEP(bl_queue_wait(second, copied, BL_WAIT_FOREVER));
    STEP(bl_queue_wait(queue, value, BL_WAIT_FOREVER));
    memcpy(result, bl_buffer_host(readback), 64);
#undef STEP
out:
    bl_list_destroy(copy); /* perhaps under way: the memory goes later */
    bl_list_destroy(list);
    bl_buffer_destroy(readback);
    bl_buffer_destroy(x);
    bl_buffer_destroy(step);
    if (status != BL_OK && value && bl_queue_wait(queue, value, BL_WAIT_FOREVER) != BL_OK) /* a queue is destroyed when idle */
        status = BL_EDEVLOST;
    bl_queue_destroy(second);
    bl_queue_destroy(queue);
    bl_device_close(device);
    return status;
}

static void fails_at_every_call(struct conf *conf)
{
    bl_device_params params = conf->params;
    float result[16];
    uint32_t n_memory = 0, n_lost = 0;
    for (params.chaos_fail_at = 1;; params.chaos_fail_at++) {
        uint32_t errors = conf_log_errors();
        bl_status status = small_program(&params, result);
        if (status == BL_OK)
            break;
        CHECK(params.chaos_fail_at < 100);
        CHECK(status == BL_EDEVMEM || status == BL_EDEVLOST);
        CHECK(bl_error_text()[0] != 0 || status == BL_EDEVLOST);
        CHECK(conf_log_errors() - errors == (status == BL_EDEVLOST)); /* "lost" is said once; nothing was left alive */
        conf->n_errors_expected += status == BL_EDEVLOST;
        status == BL_EDEVMEM ? n_memory++ : n_lost++;
    }
    CHECK(n_memory >= 12 && n_lost >= 4);
    for (uint32_t i = 0; i < 16; i++)
        CHECK(result[i] == (i < 8 ? 2.0f : 1.0f));
}

static void *wait_main(void *argument)
{
    bl_queue *queue = argument;
    bl_status status = bl_queue_wait(queue, 1000, BL_WAIT_FOREVER);
    return (void *)(intptr_t)status;
}

static void stays_lost(struct conf *conf)
{
    bl_device *device;
    bl_device_params params = conf->params;
    bl_queue *queue, *third;
    bl_buffer *buffer, *later;
    bl_list *list, *another;
    bl_kernel *kernel;
    uint64_t value = 9, total;
    pthread_t waiter;
    void *answer;
    /* fallible calls: 1 queue, 2 buffer, 3 begin, 4 fill, 5 end, 6 and 7 begin and end of another, 8 the waiter, 9 submit, 10 submit */
    params.chaos_fail_at = 10;
    CHECK_OK(bl_device_open(&params, &device));
    CHECK_OK(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue));
    CHECK_OK(bl_buffer_create(device, &(bl_buffer_params){.bytes = 64, .kind = BL_MEM_READBACK}, &buffer));
    CHECK_OK(bl_list_begin(device, 0, &list));
    CHECK_OK(bl_list_fill(list, buffer, 0, 64, 1, NULL, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(bl_list_begin(device, 0, &another));
    CHECK_OK(bl_list_end(another));
    CHECK(pthread_create(&waiter, NULL, wait_main, queue) == 0);
    const uint64_t until = conf_now_ns() + 5000000;
    while (conf_now_ns() < until) /* the waiter is counted before the submissions, nearly always */
        ;
    bl_status first = bl_queue_submit(queue, list, NULL, 0, &value);
    bl_status second = bl_queue_submit(queue, another, NULL, 0, &value);
    pthread_join(waiter, &answer);
    CHECK((bl_status)(intptr_t)answer == BL_EDEVLOST);
    CHECK((first == BL_OK || first == BL_EDEVLOST) && (second == BL_OK || second == BL_EDEVLOST));
    conf->n_errors_expected = 1;

    for (int i = 0; i < 2; i++) {
        CHECK_REFUSED(bl_queue_submit(queue, list, NULL, 0, NULL), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_queue_wait(queue, 0, 0), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_queue_wait(queue, 1, BL_WAIT_FOREVER), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_queue_create(device, BL_QUEUE_COMPUTE, &third), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_buffer_create(device, &(bl_buffer_params){.bytes = 4}, &later), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_buffer_sync(buffer, 0, 4, true), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_kernel_get(device, (struct bl_kernel_key){BL_OP_BINARY, 0, BL_FMT_F32, 0, 0}, &kernel), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_device_memory(device, &total, &total), BL_EDEVLOST, "lost");
        bl_list *third_list;
        CHECK_REFUSED(bl_list_begin(device, 0, &third_list), BL_EDEVLOST, "lost");
        CHECK_REFUSED(bl_list_enable_timings(list), BL_EDEVLOST, "lost");
    }
    bl_list_destroy(another);
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
    bl_queue_destroy(queue);
    bl_device_close(device);
}

/* Objects destroyed in every order while work on a device that is then lost was pending. */
static void cleans_up_after_loss(struct conf *conf)
{
    for (uint32_t fail_at = 8; fail_at < 11; fail_at++) {
        bl_device_params params = conf->params;
        bl_device *device;
        bl_queue *queue, *second;
        bl_buffer *buffer;
        bl_list *list;
        /* 1, 2 queues, 3 buffer, 4 begin, 5 fill, 6 end, 7 submit, 8 to 10 waits */
        params.chaos_fail_at = fail_at;
        CHECK_OK(bl_device_open(&params, &device));
        CHECK_OK(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue));
        CHECK_OK(bl_queue_create(device, BL_QUEUE_COMPUTE, &second));
        CHECK_OK(bl_buffer_create(device, &(bl_buffer_params){.bytes = 64}, &buffer));
        CHECK_OK(bl_list_begin(device, 0, &list));
        CHECK_OK(bl_list_fill(list, buffer, 0, 64, 1, NULL, NULL));
        CHECK_OK(bl_list_end(list));
        CHECK_OK(bl_queue_submit(queue, list, &(bl_fence){second, 1}, 1, NULL)); /* will never run */
        for (uint32_t i = 8; i < fail_at; i++)
            CHECK_REFUSED(bl_queue_wait(queue, 1, 1000), BL_ETIMEOUT, "");
        bl_buffer_destroy(buffer);
        CHECK_REFUSED(bl_queue_wait(queue, 1, BL_WAIT_FOREVER), BL_EDEVLOST, "");
        conf->n_errors_expected++;
        bl_list_destroy(list);
        bl_queue_destroy(second);
        bl_queue_destroy(queue);
        bl_device_close(device);
    }
}

/* New memory holds no zeros that a program could count on, and freed memory no old values. */
static void poisons_memory(struct conf *conf)
{
    bl_buffer *buffer;
    uint32_t words[4];
    float value;
    CHECK_OK(conf_buffer(conf, sizeof words, "fresh", &buffer));
    CHECK_OK(conf_read(conf, buffer, 0, words, sizeof words));
    for (uint32_t i = 0; i < 4; i++) {
        memcpy(&value, &words[i], 4);
        CHECK(value != value);
    }
    bl_buffer_destroy(buffer);
}

const struct conf_case conf_failure[] = {
    {"failure.every_call", fails_at_every_call, HAS_CHAOS},
    {"failure.sticky", stays_lost, HAS_CHAOS},
    {"failure.cleanup", cleans_up_after_loss, HAS_CHAOS},
    {"failure.poison", poisons_memory, HAS_CHAOS},
    {0},
};
