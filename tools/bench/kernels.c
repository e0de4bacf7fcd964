/* kernels.c: bitloom bench --kernels: one row of 8-bit activations (f32 where the format has no other) times a matrix, for each depth of X-bit
 * weights and each plain format, as the engine launches it on the device: with weights that stay in caches, and with weights that come from
 * memory, beside the speed at which memory is read. Rounds in turns, medians. Knows no back end; the CPU's clock and reading are measured here. */
#include "bench/bench.h"
#include "base/error.h"
#include "bench/random_model.h"
#include "compress/parallel.h"
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CACHE, MEMORY, PLACES };
enum { MOST_ROWS = 40, TIMES_IN_CACHE = 64 };
#define POOL_BYTES (UINT64_C(96) << 20)      /* beyond the caches of a processor */
#define POOL_BYTES_GPU (UINT64_C(512) << 20) /* and of a GPU */
#define PATTERN 0x2c                         /* bytes of it are small numbers in f16, bf16 and f32 */
#define DOMINANT 9u                          /* one block of the activations in so many, as in compressed models */

static const uint32_t shapes[PLACES][2] = {{1024, 1024}, {4096, 2048}}; /* rows, columns */

struct machine {
    bl_device *device;
    bl_queue *queue;
    bl_buffer *step, *x[2], *y, *pool; /* x: f32, q8 */
    uint64_t pool_bytes;
    uint32_t threads, repetitions;
    bool is_cpu;
    uint64_t *memory; /* CPU: what is read for the bandwidth */
    double copy;      /* others: bytes per second, read and written */
    double clock[BENCH_MOST], read[BENCH_MOST]; /* cycles and bytes per second of each round at hand */
};

/* One line of the table. */
struct row {
    char name[16], kernel[64];
    uint32_t format, depth; /* depth: of X-bit weights */
    double bits;
    bool is_there;
    struct {
        double us, gmac_s, gb_s, of_read, mac_cycle;
    } at[PLACES];
};

/* ---- the machine ---- */

/* Cycles per second, from instructions that wait for one another: six cycles a step. On the thread's own time. */
static double clock_rate(void)
{
    enum { STEPS = 300000, CYCLES = 6 };
    static volatile uint64_t sink;
    struct timespec begin, end;
    uint64_t x = sink + 1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (int i = 0; i < STEPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    sink = x;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return STEPS * (double)CYCLES / ((double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
}

static volatile uint64_t read_sink;

static void read_part(void *user, uint32_t i, uint32_t worker)
{
    const struct machine *m = user;
    const size_t words = POOL_BYTES / 8 / m->threads;
    uint64_t sum = 0;
    for (const uint64_t *p = m->memory + i * words, *end = p + words; p < end; p++)
        sum += *p;
    (void)worker;
    __atomic_store_n(&read_sink, sum, __ATOMIC_RELAXED);
}

/* With one thread of the CPU the time that the program computes: what other programs take from it does not count. */
static double seconds_now(const struct machine *m)
{
    struct timespec t;
    clock_gettime(m->is_cpu && m->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes per second: the CPU's threads read a large block. */
static double read_rate(struct machine *m)
{
    const double begun = seconds_now(m);
    xq_parallel(m->threads, m->threads, read_part, m);
    return (double)POOL_BYTES / (seconds_now(m) - begun);
}

static bl_status run(struct machine *m, bl_list *list, double *seconds)
{
    uint64_t value;
    const double begun = seconds_now(m);
    bl_status status = bl_queue_submit(m->queue, list, NULL, 0, &value);
    if (status == BL_OK)
        status = bl_queue_wait(m->queue, value, BL_WAIT_FOREVER);
    *seconds = seconds_now(m) - begun;
    return status;
}

/* Another device copies half of the pool onto the other half. */
static bl_status measure_copy(struct machine *m)
{
    const uint64_t half = m->pool_bytes / 2;
    double seconds = 1;
    bl_list *list;
    bl_status status = bl_list_begin(m->device, 0, &list);
    if (status == BL_OK)
        status = bl_list_fill(list, m->pool, 0, half, PATTERN, NULL, NULL);
    if (status == BL_OK)
        status = bl_list_end(list);
    if (status == BL_OK)
        status = run(m, list, &seconds);
    bl_list_destroy(list);
    if (status == BL_OK)
        status = bl_list_begin(m->device, 0, &list);
    if (status != BL_OK)
        return status;
    status = bl_list_copy(list, m->pool, half, m->pool, 0, half, NULL, NULL);
    if (status == BL_OK)
        status = bl_list_end(list);
    for (uint32_t r = 0; status == BL_OK && r <= m->repetitions; r++) {
        status = run(m, list, &seconds);
        m->read[r ? r - 1 : 0] = 2 * (double)half / seconds;
    }
    bl_list_destroy(list);
    m->copy = bench_spread(m->read, m->repetitions).median;
    return status;
}

static bl_status create(struct machine *m, uint64_t bytes, bl_memory_kind kind, bl_buffer **out)
{
    return bl_buffer_create(m->device, &(bl_buffer_params){.bytes = bytes, .kind = kind, .label = "bench"}, out);
}

/* One row of the step, and inputs. */
static bl_status set_inputs(struct machine *m, uint32_t columns)
{
    struct bl_q8_block blocks[64];
    float floats[2048];
    uint32_t *words = bl_buffer_host(m->step);
    memset(words, 0, 4 * BL_STEP_PAGES);
    words[BL_STEP_N_ROWS] = words[BL_STEP_N_OUT] = 1;
    for (uint32_t c = 0; c < columns; c++)
        floats[c] = (float)(c * 2654435761u >> 24) / 128 - 1;
    for (uint32_t b = 0; b < columns / 32; b++) {
        blocks[b] = (struct bl_q8_block){.d = b % DOMINANT ? 0.01f : 0.05f};
        for (uint32_t c = 0; c < 32; c++) {
            blocks[b].coarse.q[c] = (int8_t)((b * 32 + c) * 2654435761u >> 25);
            blocks[b].fine.q[c] = (int8_t)((b * 32 + c) * 2246822519u >> 25);
        }
    }
    bl_status status = bl_buffer_sync(m->step, 0, 4 * BL_STEP_PAGES, true);
    if (status == BL_OK)
        status = bl_buffer_write(m->x[0], 0, floats, columns * sizeof floats[0]);
    return status == BL_OK ? bl_buffer_write(m->x[1], 0, blocks, columns / 32 * sizeof blocks[0]) : status;
}

static bl_status open_machine(const struct options *o, struct machine *m)
{
    bl_device_params p;
    bl_device_default_params(&p);
    p.device = o->device && strcmp(o->device, "none") == 0 ? "cpu" : o->device;
    p.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    bl_status status = o->cpu_mask ? bl_cpu_mask_parse(o->cpu_mask, &p.cpu_mask) : BL_OK;
    if (status == BL_OK)
        status = bl_device_open(&p, &m->device);
    if (status != BL_OK)
        return status;
    const bl_caps *caps = bl_device_caps(m->device);
    m->is_cpu = strcmp(caps->backend, "cpu") == 0;
    m->threads = caps->n_threads ? caps->n_threads : 1;
    m->repetitions = (uint32_t)o->repetitions;
    m->pool_bytes = m->is_cpu ? POOL_BYTES : POOL_BYTES_GPU;
    if (caps->max_binding_bytes && m->pool_bytes > caps->max_binding_bytes)
        m->pool_bytes = caps->max_binding_bytes;
    m->memory = m->is_cpu ? malloc(POOL_BYTES) : NULL;
    if (m->memory)
        memset(m->memory, 1, POOL_BYTES);
    else if (m->is_cpu)
        BL_FAIL(BL_ENOMEM, "no memory for %llu bytes to read", (unsigned long long)POOL_BYTES);
    status = bl_queue_create(m->device, BL_QUEUE_COMPUTE, &m->queue);
    const uint64_t bytes[] = {4 * BL_STEP_PAGES, 2048 * sizeof(float), 64 * sizeof(struct bl_q8_block), 4096 * sizeof(float), m->pool_bytes};
    bl_buffer **buffers[] = {&m->step, &m->x[0], &m->x[1], &m->y, &m->pool};
    for (uint32_t i = 0; status == BL_OK && i < 5; i++)
        status = create(m, bytes[i], i ? BL_MEM_DEVICE : BL_MEM_UPLOAD, buffers[i]);
    return status == BL_OK && !m->is_cpu ? measure_copy(m) : status;
}

static void close_machine(struct machine *m)
{
    bl_buffer *const buffers[] = {m->step, m->x[0], m->x[1], m->y, m->pool};
    for (uint32_t i = 0; i < 5; i++)
        bl_buffer_destroy(buffers[i]);
    bl_queue_destroy(m->queue);
    bl_device_close(m->device);
    free(m->memory);
}

/* ---- a kernel ---- */

/* Weights into the pool, as often as they fit or once; *place: bytes from one to the next. */
static bl_status fill_pool(struct machine *m, const struct row *row, int where, uint64_t *bytes, uint64_t *place, uint32_t *copies)
{
    const uint32_t n = shapes[where][0], k = shapes[where][1];
    uint8_t *weights;
    if (row->depth) {
        weights = bench_random_matrix(n, k, 0, 0, row->depth, bytes);
    } else {
        *bytes = (uint64_t)n * k / bl_formats[row->format].block_elements * bl_formats[row->format].block_bytes;
        weights = malloc((size_t)*bytes);
        if (weights)
            memset(weights, PATTERN, (size_t)*bytes);
    }
    *place = (*bytes + 255) / 256 * 256;
    *copies = where == CACHE ? 1 : (uint32_t)(m->pool_bytes / *place);
    if (!weights)
        BL_FAIL(BL_ENOMEM, "no memory for %llu bytes of weights", (unsigned long long)*bytes);
    bl_status status = BL_OK;
    for (uint32_t i = 0; status == BL_OK && i < *copies; i++)
        status = bl_buffer_write(m->pool, i * *place, weights, *bytes);
    free(weights);
    return status;
}

static bl_status record(struct machine *m, const struct row *row, bl_kernel *kernel, bool is_q8, int where, uint64_t bytes, uint64_t place, uint32_t copies, bl_list **list)
{
    const uint32_t n = shapes[where][0], k = shapes[where][1], times = where == CACHE ? TIMES_IN_CACHE : copies;
    const struct bl_params_linear push = {.k = k, .n_segments = 1, .segment = {{n, row->format, 0, n}}};
    bl_buffer *x = m->x[is_q8];
    bl_status status = bl_list_begin(m->device, 0, list);
    for (uint32_t i = 0; status == BL_OK && i < times; i++) {
        const bl_binding bindings[] = {{m->step, 0, 4 * BL_STEP_PAGES, BL_READ}, {x, 0, bl_buffer_bytes(x), BL_READ}, {m->pool, i % copies * place, bytes, BL_READ},
                                       {NULL, 0, 0, BL_READ}, {NULL, 0, 0, BL_READ}, {m->y, 0, n * sizeof(float), BL_WRITE}};
        status = bl_list_dispatch(*list, &(bl_dispatch){kernel, {n, 1, 1}, bindings, 6, &push, sizeof push}, NULL, NULL);
    }
    return status == BL_OK ? bl_list_end(*list) : status;
}

static bl_status time_rounds(struct machine *m, bl_list *list, double *seconds)
{
    bl_status status = BL_OK;
    for (uint32_t r = 0; status == BL_OK && r <= m->repetitions; r++) { /* the first one warms up */
        const uint32_t at = r ? r - 1 : 0;
        m->clock[at] = m->is_cpu ? clock_rate() : 0;
        m->read[at] = m->is_cpu ? read_rate(m) : m->copy;
        for (int again = 0; status == BL_OK && again < 2; again++) /* what was read has emptied the caches */
            status = run(m, list, &seconds[at]);
    }
    return status;
}

static bl_status measure_at(struct machine *m, struct row *row, bl_kernel *kernel, bool is_q8, int where)
{
    const uint32_t n = shapes[where][0], k = shapes[where][1];
    double seconds[BENCH_MOST];
    uint64_t bytes, place;
    uint32_t copies;
    bl_list *list = NULL;
    bl_status status = set_inputs(m, k);
    if (status == BL_OK)
        status = fill_pool(m, row, where, &bytes, &place, &copies);
    if (status == BL_OK)
        status = record(m, row, kernel, is_q8, where, bytes, place, copies, &list);
    if (status == BL_OK)
        status = time_rounds(m, list, seconds);
    bl_list_destroy(list);
    if (status != BL_OK)
        return status;
    const double s = bench_spread(seconds, m->repetitions).median / (where == CACHE ? TIMES_IN_CACHE : copies), macs = (double)n * k;
    const double clock = bench_spread(m->clock, m->repetitions).median, read = bench_spread(m->read, m->repetitions).median;
    row->at[where].us = s * 1e6;
    row->at[where].gmac_s = macs / s * 1e-9;
    row->at[where].gb_s = (double)bytes / s * 1e-9;
    row->at[where].of_read = (double)bytes / s / read;
    row->at[where].mac_cycle = clock > 0 ? macs / s / clock / m->threads : 0;
    row->bits = 8 * (double)bytes / macs;
    return BL_OK;
}

/* A device without the kernel leaves the row out. */
static bl_status measure(struct machine *m, struct row *row)
{
    const bool is_q8 = row->depth || bl_formats[row->format].is_quantized;
    bl_kernel *kernel;
    bl_status status = bl_kernel_get(m->device, (struct bl_kernel_key){BL_OP_MATVEC, (uint8_t)row->format, is_q8 ? BL_FMT_Q8 : BL_FMT_F32, BL_ROWS_1, 0}, &kernel);
    if (status == BL_EUNSUPPORTED)
        return BL_OK;
    if (status == BL_OK) {
        snprintf(row->kernel, sizeof row->kernel, "%s", bl_kernel_name(kernel));
        row->is_there = true;
        status = measure_at(m, row, kernel, is_q8, CACHE);
    }
    return status == BL_OK ? measure_at(m, row, kernel, is_q8, MEMORY) : status;
}

/* ---- what is printed ---- */

static void print_json(const struct machine *m, const struct row *rows, uint32_t n, double read, double clock)
{
    static const char *const names[PLACES] = {"cache", "memory"};
    bool is_first = true;
    printf("{\"device\": ");
    print_json_string(stdout, bl_device_caps(m->device)->name);
    printf(", \"threads\": %u, \"clock_ghz\": %.3f, \"%s\": %.3f, \"load_average\": %.2f, \"kernels\": [", m->threads, clock * 1e-9, m->is_cpu ? "read_gb_s" : "copy_gb_s",
           read * 1e-9, bench_load());
    for (uint32_t i = 0; i < n; i++) {
        if (!rows[i].is_there)
            continue;
        printf("%s\n  {\"weights\": \"%s\", \"depth\": %u, \"bits\": %.3f, \"kernel\": \"%s\"", is_first ? "" : ",", rows[i].name, rows[i].depth, rows[i].bits, rows[i].kernel);
        is_first = false;
        for (int w = 0; w < PLACES; w++)
            printf(", \"%s\": {\"us\": %.2f, \"gmac_s\": %.3f, \"mac_cycle\": %.3f, \"gb_s\": %.3f, \"of_read\": %.3f}", names[w], rows[i].at[w].us, rows[i].at[w].gmac_s,
                   rows[i].at[w].mac_cycle, rows[i].at[w].gb_s, rows[i].at[w].of_read);
        printf("}");
    }
    printf("\n]}\n");
}

static void print_table(const struct machine *m, const struct row *rows, uint32_t n, double read, double clock)
{
    printf("%s, %u thread%s", bl_device_caps(m->device)->name, m->threads, m->threads > 1 ? "s" : "");
    if (clock > 0)
        printf(", clock %.2f GHz", clock * 1e-9);
    printf(", memory %s at %.1f GB/s, load average %.1f\n", m->is_cpu ? "read" : "copied", read * 1e-9, bench_load());
    printf("%-10s %6s | %-31s | %s\n", "", "", "weights in caches", "weights from memory");
    printf("%-10s %6s | %10s %10s %9s | %10s %9s %9s\n", "weights", "bits", m->is_cpu ? "MAC/cycle" : "", "GMAC/s", "GB/s", "GMAC/s", "GB/s", "of memory");
    for (uint32_t i = 0; i < n; i++) {
        char cycle[16] = "";
        if (!rows[i].is_there)
            continue;
        if (clock > 0)
            snprintf(cycle, sizeof cycle, "%.2f", rows[i].at[CACHE].mac_cycle);
        printf("%-10s %6.2f | %10s %10.2f %9.2f | %10.2f %9.2f %7.0f %%\n", rows[i].name, rows[i].bits, cycle, rows[i].at[CACHE].gmac_s, rows[i].at[CACHE].gb_s,
               rows[i].at[MEMORY].gmac_s, rows[i].at[MEMORY].gb_s, 100 * rows[i].at[MEMORY].of_read);
    }
    if (clock > 0)
        printf("MAC/cycle: of each thread%s; of memory: GB/s over the speed at which the same threads read memory\n", m->threads > 1 ? ", by the clock on the wall" : "");
}

/* The rows that are asked for: the depths, and without a list the plain formats too. */
static bool list_rows(const char *bits, struct row *rows, uint32_t *n)
{
    double depths[BENCH_LIST] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t n_depths = 8;
    if (bits && *bits && !bench_list(bits, depths, &n_depths))
        return false;
    *n = 0;
    for (uint32_t i = 0; i < n_depths; i++) {
        struct row *row = &rows[(*n)++];
        *row = (struct row){.format = BL_FMT_BX, .depth = (uint32_t)depths[i]};
        if (row->depth < depths[i]) {
            fprintf(stderr, "%s bench: --bits %g: a kernel's depth is a whole number\n", program_name, depths[i]);
            return false;
        }
        snprintf(row->name, sizeof row->name, "%u-bit", row->depth);
    }
    for (uint32_t f = BL_FMT_NONE + 1; !bits && f < BL_FMT_WEIGHT_COUNT; f++) {
        struct row *row = &rows[(*n)++];
        *row = (struct row){.format = f};
        snprintf(row->name, sizeof row->name, "%s", bl_formats[f].name);
    }
    return true;
}

int bench_kernels(const struct options *o)
{
    struct row rows[MOST_ROWS];
    uint32_t n;
    struct machine m = {0};
    if (!list_rows(o->bench_bits, rows, &n))
        return EXIT_USAGE;
    bl_status status = open_machine(o, &m);
    double read = 0, clock = 0;
    for (uint32_t i = 0; status == BL_OK && i < n; i++) {
        status = measure(&m, &rows[i]);
        read = rows[i].is_there ? m.read[m.repetitions / 2] : read; /* sorted */
        clock = rows[i].is_there ? m.clock[m.repetitions / 2] : clock;
    }
    const int code = status == BL_OK ? EXIT_OK : report_error();
    if (status == BL_OK && o->json)
        print_json(&m, rows, n, read, clock);
    else if (status == BL_OK)
        print_table(&m, rows, n, read, clock);
    close_machine(&m);
    return code;
}
