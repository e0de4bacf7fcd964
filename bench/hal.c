/* hal.c: what submitting a list costs: nanoseconds per replay of lists whose nodes do next to nothing, for several numbers of threads, on
 * an idle machine and beside busy loops, one per core. Prints a table (medians). Usage: bench-hal [device]. */
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <bitloom/device.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9u
#define ROUND_NS 12000000u

static const struct shape {
    const char *name;
    uint32_t waves, nodes, rows, columns; /* nodes of a wave are in lanes of their own; rows x columns: floats per node */
} shapes[] = {
    {"1 wave of 1 node of 256 B", 1, 1, 1, 64},
    {"300 waves of 1 node of 256 B", 300, 1, 1, 64},
    {"300 waves of 4 nodes of 256 B", 300, 4, 1, 64},
    {"300 waves of 4 nodes of 16 KiB", 300, 4, 16, 256},
    {"300 waves of 1 node of 128 KiB", 300, 1, 128, 256},
};
static const uint32_t threads[] = {1, 2, 4, 8};
enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0], THREADS_COUNT = sizeof threads / sizeof threads[0] };

static void check(bl_status status)
{
    if (status == BL_OK)
        return;
    fprintf(stderr, "bench-hal: %s: %s\n", bl_status_text(status), bl_error_text());
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bl_list *record(bl_device *device, const struct shape *shape, bl_buffer *step, bl_buffer *data)
{
    bl_kernel *add;
    bl_list *list;
    const struct bl_params_binary params = {.columns = shape->columns, .kind = BL_BINARY_ADD};
    const struct bl_kernel_key key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};
    uint64_t bytes = (uint64_t)shape->rows * shape->columns * sizeof(float);
    check(bl_kernel_get(device, key, &add));
    check(bl_list_begin(device, 0, &list));
    uint32_t before[8] = {0}, now[8];
    for (uint32_t w = 0; w < shape->waves; w++) {
        for (uint32_t n = 0; n < shape->nodes; n++) {
            const bl_binding bindings[] = {{step, 0, BL_STEP_PAGES * 4u, BL_READ},
                                           {data, n * bytes, bytes, BL_READ},
                                           {data, n * bytes, bytes, BL_READ},
                                           {data, n * bytes, bytes, BL_WRITE}};
            const bl_dispatch dispatch = {add, {shape->columns, shape->rows, 1}, bindings, 4, &params, sizeof params};
            const bl_order order = {.lane = n, .waits = before, .n_waits = w ? shape->nodes : 0};
            check(bl_list_dispatch(list, &dispatch, &order, &now[n]));
        }
        memcpy(before, now, sizeof before);
    }
    check(bl_list_end(list));
    return list;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double measure(const char *name, uint32_t n_threads, const struct shape *shape)
{
    bl_device_params params;
    bl_device *device;
    bl_buffer *step, *data;
    bl_queue *queue;
    double ns[ROUNDS];
    bl_device_default_params(&params);
    params.device = name;
    params.n_threads = n_threads;
    check(bl_device_open(&params, &device));
    check(bl_buffer_create(device, &(bl_buffer_params){.bytes = BL_STEP_PAGES * 4u, .kind = BL_MEM_UPLOAD, .label = "step"}, &step));
    check(bl_buffer_create(device, &(bl_buffer_params){.bytes = (uint64_t)shape->nodes * shape->rows * shape->columns * 4, .label = "data"}, &data));
    memset(bl_buffer_host(step), 0, BL_STEP_PAGES * 4u);
    ((uint32_t *)bl_buffer_host(step))[BL_STEP_N_ROWS] = shape->rows;
    if (bl_buffer_host(data))
        memset(bl_buffer_host(data), 0, (size_t)bl_buffer_bytes(data));
    check(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue));
    bl_list *list = record(device, shape, step, data);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns(), end, replays = 0;
        do {
            uint64_t value;
            check(bl_queue_submit(queue, list, NULL, 0, &value));
            check(bl_queue_wait(queue, value, BL_WAIT_FOREVER));
            replays++;
            end = now_ns();
        } while (end - begin < ROUND_NS);
        ns[round] = (double)(end - begin) / (double)replays;
    }
    qsort(ns, ROUNDS, sizeof ns[0], by_value);
    bl_list_destroy(list);
    bl_queue_destroy(queue);
    bl_buffer_destroy(data);
    bl_buffer_destroy(step);
    bl_device_close(device);
    return ns[ROUNDS / 2];
}

static _Atomic bool stop_busy;

static void *busy_loop(void *unused)
{
    (void)unused;
    volatile uint64_t n = 0;
    while (!atomic_load_explicit(&stop_busy, memory_order_relaxed))
        n = n + 1;
    return NULL;
}

static void print_table(const char *device, const char *beside)
{
    printf("\n| ns per replay, %s, %-28s |", device, beside);
    for (uint32_t t = 0; t < THREADS_COUNT; t++)
        printf(" %u thread%s |", threads[t], threads[t] > 1 ? "s" : " ");
    printf("\n|---|---:|---:|---:|---:|\n");
    for (uint32_t s = 0; s < SHAPE_COUNT; s++) {
        printf("| %-48s |", shapes[s].name);
        for (uint32_t t = 0; t < THREADS_COUNT; t++) {
            printf(" %9.0f |", measure(device, threads[t], &shapes[s]));
            fflush(stdout);
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    print_table(device, "alone");
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t busy[64];
    int n_busy = 0;
    while (n_busy < n_cores && n_busy < 64 && pthread_create(&busy[n_busy], NULL, busy_loop, NULL) == 0)
        n_busy++;
    print_table(device, "beside a busy loop per core");
    atomic_store(&stop_busy, true);
    for (int b = 0; b < n_busy; b++)
        pthread_join(busy[b], NULL);
    return 0;
}
