/* device.c: what a device does with single kernels: its copy bandwidth, the cost of a node and of a submission, products with every weight
 * format at one row, eight rows and many, attention over a long context. Weights of successive launches are different memory, so that no
 * cache holds them. One JSON object per line. Many rows are measured in every way that the device has. Uses the public API, and keys for
 * the ways.
 *
 *     bench-device DEVICE [--small] [--seconds N]      --small: sizes for an emulator; --seconds: leaves out what would begin after that */
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <bitloom/bitloom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };

static bl_device *device;
static bl_queue *queue;
static bl_buffer *step, *pool, *x, *y;
static uint64_t pool_bytes;
static double bandwidth; /* bytes per second, read and written */
static bool is_small;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(bl_status status, const char *what)
{
    if (status == BL_OK)
        return;
    fprintf(stderr, "bench-device: %s: %s\n", what, bl_error_text());
    exit(1);
}

static bl_buffer *buffer(uint64_t bytes, bl_memory_kind kind, const char *label)
{
    bl_buffer *b;
    check(bl_buffer_create(device, &(bl_buffer_params){.bytes = bytes, .kind = kind, .label = label}, &b), label);
    return b;
}

static int compare(const void *a, const void *b)
{
    const double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

/* Seconds of one submission, the median; *submit_seconds: what the call that hands it over takes. */
static double run(bl_list *list, double *submit_seconds)
{
    double all[ROUNDS], submit[ROUNDS];
    for (int r = -1; r < ROUNDS; r++) {
        uint64_t value;
        const double begin = now();
        check(bl_queue_submit(queue, list, NULL, 0, &value), "submit");
        const double submitted = now();
        check(bl_queue_wait(queue, value, BL_WAIT_FOREVER), "wait");
        if (r >= 0) { /* the first one warms up */
            all[r] = now() - begin;
            submit[r] = submitted - begin;
        }
    }
    qsort(all, ROUNDS, sizeof all[0], compare);
    qsort(submit, ROUNDS, sizeof submit[0], compare);
    if (submit_seconds)
        *submit_seconds = submit[ROUNDS / 2];
    return all[ROUNDS / 2];
}

static bl_list *begin(void)
{
    bl_list *list;
    check(bl_list_begin(device, 0, &list), "list");
    return list;
}

static double finish(bl_list *list, double *submit_seconds)
{
    check(bl_list_end(list), "list");
    const double seconds = run(list, submit_seconds);
    bl_list_destroy(list);
    return seconds;
}

static void set_step(uint32_t rows, uint32_t position)
{
    uint32_t *words = bl_buffer_host(step);
    memset(words, 0, bl_buffer_bytes(step));
    words[BL_STEP_N_ROWS] = words[BL_STEP_N_OUT] = rows;
    words[BL_STEP_PAGE_STRIDE] = (uint32_t)(bl_buffer_bytes(step) / 4) - (uint32_t)BL_STEP_PAGES;
    for (uint32_t i = 0; i < words[BL_STEP_PAGE_STRIDE]; i++)
        words[(uint32_t)BL_STEP_PAGES + i] = i;
    for (uint32_t r = 0; r < rows && r < BL_STEP_MAX_ROWS; r++)
        words[(uint32_t)BL_STEP_POS + r] = position;
    check(bl_buffer_sync(step, 0, bl_buffer_bytes(step), true), "step");
}

static void measure_bandwidth(void)
{
    const uint64_t half = pool_bytes / 2;
    bl_list *list = begin();
    const int times = is_small ? 1 : 10;
    for (int i = 0; i < times; i++)
        check(bl_list_copy(list, pool, half, pool, 0, half, NULL, NULL), "copy");
    bandwidth = 2.0 * (double)half * times / finish(list, NULL);
    printf("{\"what\": \"bandwidth\", \"copy_gb_s\": %.2f}\n", bandwidth * 1e-9);
}

/* A chain of the smallest kernels: what a node costs in a replay, and the host per submission. */
static void measure_nodes(void)
{
    const uint32_t n = is_small ? 20 : 300;
    const struct bl_params_binary push = {.columns = 32, .kind = BL_BINARY_ADD};
    bl_kernel *kernel;
    double submit_seconds;
    check(bl_kernel_find(device, "binary_f32", &kernel), "binary_f32");
    set_step(1, 0);
    bl_list *list = begin();
    const bl_binding bindings[] = {{step, 0, bl_buffer_bytes(step), BL_READ}, {y, 0, 128, BL_READ}, {y, 0, 128, BL_READ}, {y, 128, 128, BL_WRITE}};
    for (uint32_t i = 0; i < n; i++)
        check(bl_list_dispatch(list, &(bl_dispatch){kernel, {32, 1, 1}, bindings, 4, &push, sizeof push}, NULL, NULL), "dispatch");
    const double seconds = finish(list, &submit_seconds);
    printf("{\"what\": \"nodes\", \"nodes\": %u, \"us_per_node\": %.3f, \"host_us_per_submit\": %.3f}\n", n, seconds / n * 1e6, submit_seconds * 1e6);
}

/* q8 rows of which two blocks in five are dominant, as activations are; or floats. */
static void set_input(uint32_t k, uint32_t m, bool is_q8)
{
    const size_t bytes = is_q8 ? (size_t)m * (k / 32) * sizeof(struct bl_q8_block) : (size_t)m * k * 4;
    uint8_t *data = malloc(bytes);
    if (!data)
        exit(1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13 & 0x3f);
    for (size_t b = 0; is_q8 && b < (size_t)m * (k / 32); b++)
        ((struct bl_q8_block *)(void *)data)[b].d = b * 7 % 5 < 2 ? 0.04f : 0.01f;
    check(bl_buffer_write(x, 0, data, bytes), "input");
    free(data);
}

static void measure_linear(uint32_t format, bool is_q8, uint32_t n, uint32_t k, uint32_t m, uint32_t way)
{
    const struct bl_kernel_key key = {m > 8 ? BL_OP_MATMUL : BL_OP_MATVEC, (uint8_t)format, is_q8 ? BL_FMT_Q8 : BL_FMT_F32,
                                      m > 8 ? BL_ROWS_512 : m > 1 ? BL_ROWS_8 : BL_ROWS_1, (uint16_t)way};
    bl_kernel *kernel;
    if (bl_kernel_get(device, key, &kernel) != BL_OK)
        return;
    const uint64_t bytes = (uint64_t)n * (k / bl_formats[format].block_elements) * bl_formats[format].block_bytes, place = (bytes + 255) & ~UINT64_C(255);
    uint64_t copies = pool_bytes / place;
    copies = m > 8 && copies > 4 ? 4 : copies;
    const struct bl_params_linear push = {.k = k, .n_segments = 1, .segment = {{n, format, 0, n}}};
    const bool is_inexact = bl_device_caps(device)->ways_inexact >> way & 1u;
    set_step(m, 0);
    set_input(k, m, is_q8);
    bl_list *list = begin();
    for (uint64_t c = 0; c < copies; c++) {
        const bl_binding bindings[] = {{step, 0, bl_buffer_bytes(step), BL_READ}, {x, 0, bl_buffer_bytes(x), BL_READ},
                                       {pool, c * place, bytes, BL_READ}, {0}, {0}, {y, 0, (uint64_t)n * m * 4, BL_WRITE}};
        check(bl_list_dispatch(list, &(bl_dispatch){kernel, {(n + 31) / 32 * 32, m, 1}, bindings, 6, &push, sizeof push}, NULL, NULL), bl_kernel_name(kernel));
    }
    const double seconds = finish(list, NULL) / (double)copies;
    printf("{\"what\": \"linear\", \"kernel\": \"%s\", \"n\": %u, \"k\": %u, \"m\": %u, \"us\": %.3f, \"weights_gb_s\": %.3f, \"of_bandwidth\": %.3f, "
           "\"tmac_s\": %.3f, \"way\": %u, \"exact\": %s}\n",
           bl_kernel_name(kernel), n, k, m, seconds * 1e6, (double)bytes / seconds * 1e-9, (double)bytes / seconds / bandwidth,
           (double)n * k * m / seconds * 1e-12, way, is_inexact ? "false" : "true");
    fflush(stdout);
}

static void measure_attention(uint32_t context, uint32_t m)
{
    const uint32_t heads = 32, kv = 8, d = 128, pages = context / BL_KV_PAGE;
    const uint64_t bytes = (uint64_t)context * kv * d * 2;
    const struct bl_params_attention push = {.n_head = heads, .n_head_kv = kv, .d_k = d, .d_v = d, .n_pages = pages, .scale = 0.088f};
    bl_kernel *kernel;
    check(bl_kernel_find(device, "attention_f16_q8", &kernel), "attention_f16_q8");
    if (2 * bytes > pool_bytes)
        return;
    set_step(m, context - 1);
    set_input(heads * d, m, false);
    bl_list *list = begin();
    const bl_binding bindings[] = {{step, 0, bl_buffer_bytes(step), BL_READ}, {x, 0, (uint64_t)m * heads * d * 4, BL_READ}, {pool, 0, bytes, BL_READ},
                                   {pool, bytes, bytes, BL_READ}, {y, 0, (uint64_t)m * heads * d / 32 * sizeof(struct bl_q8_block), BL_WRITE}};
    const uint32_t times = is_small ? 1 : 8;
    for (uint32_t i = 0; i < times; i++)
        check(bl_list_dispatch(list, &(bl_dispatch){kernel, {heads, m, 1}, bindings, 5, &push, sizeof push}, NULL, NULL), "attention");
    const double seconds = finish(list, NULL) / times;
    printf("{\"what\": \"attention\", \"kernel\": \"%s\", \"context\": %u, \"m\": %u, \"us\": %.3f, \"kv_gb_s\": %.3f, \"of_bandwidth\": %.3f}\n",
           bl_kernel_name(kernel), context, m, seconds * 1e6, 2 * (double)bytes / seconds * 1e-9, 2 * (double)bytes / seconds / bandwidth);
}

int main(int argc, char **argv)
{
    double limit = 1e9;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--small") == 0)
            is_small = true;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            limit = strtod(argv[++i], NULL);
        else
            argc = 0;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: bench-device DEVICE [--small] [--seconds N]\n");
        return 2;
    }
    const double start = now();
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = argv[1];
    check(bl_device_open(&params, &device), "open");
    check(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue), "queue");
    const uint32_t n = is_small ? 64 : 4096, k = is_small ? 512 : 14336, many = is_small ? 16 : 512;
    const uint32_t rows[] = {1, many, 8, 2, 4};
    pool_bytes = is_small ? 1 << 20 : UINT64_C(512) << 20;
    step = buffer(4 * ((uint64_t)BL_STEP_PAGES + 4096), BL_MEM_UPLOAD, "step");
    pool = buffer(pool_bytes, BL_MEM_DEVICE, "weights");
    x = buffer((uint64_t)many * (k > 4096 ? k : 4096) * 4, BL_MEM_DEVICE, "input");
    y = buffer((uint64_t)many * (n > 4096 ? n : 4096) * 4, BL_MEM_DEVICE, "output");
    bl_list *list = begin();
    check(bl_list_fill(list, pool, 0, pool_bytes, 0x2c2c2c2cu, NULL, NULL), "fill"); /* half floats of 0.07 */
    (void)finish(list, NULL);
    printf("{\"what\": \"device\", \"name\": \"%s\"}\n", bl_device_caps(device)->name);
    measure_bandwidth();
    measure_nodes();
    for (uint32_t context = is_small ? 64 : 1024; context <= (is_small ? 64 : 65536); context *= 8)
        measure_attention(context, 1);
    measure_attention(is_small ? 64 : 1024, is_small ? 8 : 256);
    uint32_t left_out = 0;
    for (uint32_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (uint32_t f = BL_FMT_F32; f < BL_FMT_WEIGHT_COUNT; f++)
            for (uint32_t n_ways = rows[r] > 8 ? bl_device_caps(device)->n_ways : 0, way = n_ways > 0; way <= n_ways; way++) {
                if (now() - start >= limit) {
                    left_out++;
                    continue;
                }
                if (bl_formats[f].is_quantized)
                    measure_linear(f, true, n, k, rows[r], way);
                if (!bl_formats[f].is_quantized || f == BL_FMT_Q4_K)
                    measure_linear(f, false, n, k, rows[r], way);
            }
    if (left_out)
        printf("{\"what\": \"left out\", \"rows\": %u}\n", left_out);
    bl_buffer_destroy(y);
    bl_buffer_destroy(x);
    bl_buffer_destroy(pool);
    bl_buffer_destroy(step);
    bl_queue_destroy(queue);
    bl_device_close(device);
    return 0;
}
