/* bench.c: the same kernels, measured. Kernels take turns (interleaved rounds, median of five), so a slow minute of the machine hits all of
 * them; the memory's read bandwidth is measured in the same rounds, because it is what decode kernels are compared with. */
#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, MAX_ITEMS = 128 };
#define STREAM_BYTES (96u << 20) /* well beyond any cache of the machines we know */
#define ROUND_SECONDS 0.01

/* One thing to measure: `copies` launches that differ in their weights, so that weights come from memory; 1 = they stay in cache. */
struct item {
    char name[96], shape[64];
    struct bl_cpu_kernel kernel;
    struct launch launch;
    uint8_t *pool; /* copies of binding 2, or NULL */
    size_t weight_bytes;
    double macs, elements, seconds[ROUNDS];
    uint32_t copies, threads, depth; /* depth: of X-bit weights, or XQ_MIXTURE */
    bool is_pool_shared; /* the item before owns it */
};

/* With one thread its own time: what other programs take from it does not count. */
static double now(uint32_t threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct item *items;
static uint32_t n_items;

struct work {
    const struct item *item;
    uint32_t part, passes;
};

static void *run_part(void *argument)
{
    const struct work *w = argument;
    const struct item *item = w->item;
    void *bindings[MAX_BINDINGS];
    memcpy(bindings, item->launch.bindings, sizeof bindings);
    const uint32_t *tile = item->kernel.tile;
    struct bl_cpu_call call = {bindings, &item->launch.push, {(item->launch.columns + tile[0] - 1) / tile[0],
                                                              (item->launch.rows + tile[1] - 1) / tile[1], 1}};
    const uint32_t total = call.grid[0] * call.grid[1];
    void *scratch = aligned_alloc(64, (item->kernel.scratch_bytes ? item->kernel.scratch_bytes(call.push) : 0) / 64 * 64 + 64);
    for (uint32_t pass = 0; pass < w->passes; pass++) {
        if (item->pool)
            bindings[2] = item->pool + (size_t)(pass % item->copies) * item->weight_bytes;
        item->kernel.fn(&call, total * w->part / item->threads, total * (w->part + 1) / item->threads, scratch);
    }
    free(scratch);
    return NULL;
}

static double measure(const struct item *item, uint32_t passes)
{
    struct work work[2] = {{item, 0, passes}, {item, 1, passes}};
    pthread_t second;
    const double start = now(item->threads);
    if (item->threads == 2 && pthread_create(&second, NULL, run_part, &work[1]))
        abort();
    run_part(&work[0]);
    if (item->threads == 2)
        pthread_join(second, NULL);
    return (now(item->threads) - start) / passes;
}

static uint64_t *scan_memory;
static volatile uint64_t scan_sink;

static void *scan(void *part)
{
    const uint64_t *p = scan_memory + (part ? STREAM_BYTES / 16 : 0);
    uint64_t sum = 0;
    for (size_t i = 0; i < STREAM_BYTES / 16; i++)
        sum += p[i];
    scan_sink = sum;
    return NULL;
}

/* Bytes per second of `threads` threads, each summing its half of a large block. */
static double read_bandwidth(uint32_t threads)
{
    pthread_t second;
    const double start = now(threads);
    if (threads == 2 && pthread_create(&second, NULL, scan, &items))
        abort();
    scan(NULL);
    if (threads == 2)
        pthread_join(second, NULL);
    return threads * (STREAM_BYTES / 2) / (now(threads) - start);
}

/* Cycles per second, from instructions that wait for one another. */
static double clock_rate(void)
{
    enum { STEPS = 300000, CYCLES = 6 };
    static volatile uint64_t sink;
    uint64_t x = sink + 1;
    const double start = now(1);
    for (int i = 0; i < STEPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    sink = x;
    return (double)STEPS * CYCLES / (now(1) - start);
}

static struct item *add_item(struct bl_kernel_key key, uint32_t level)
{
    struct item *item = &items[n_items];
    if (n_items == MAX_ITEMS || !wanted(key, (enum bl_cpu_level)level) || !bl_cpu_kernel_find(key, 1u << level, &item->kernel)
        || item->kernel.level != level)
        return NULL;
    *item = (struct item){.kernel = item->kernel, .copies = 1, .threads = 1};
    full_name(item->name, sizeof item->name, key, item->kernel.level);
    launch_init(&item->launch, key);
    n_items++;
    return item;
}

/* What a linear is measured with. depth: 0 except for X-bit weights. */
struct linear_shape {
    uint32_t n, k, m, threads, depth;
    bool stream, glu;
};

/* dominant: of nine blocks, how many are; about as many as in real models. */
static void random_q8(struct bl_q8_block *x, size_t n, uint32_t dominant)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (struct bl_q8_block){.d = i * 7 % 9 < dominant ? 0.04f : 0.01f};
        for (int c = 0; c < 32; c++) {
            x[i].coarse.q[c] = (int8_t)(random_below(255) - 127);
            x[i].fine.q[c] = (int8_t)(random_below(255) - 127);
        }
    }
}

static size_t add_weights(struct launch *l, uint32_t format, uint32_t n, uint32_t k, uint32_t depth)
{
    size_t bytes = weight_bytes(format, n, k);
    if (format != BL_FMT_BX) {
        fill_weights(launch_input(l, bytes, 0), format, n, k, UNIFORM);
        return bytes;
    }
    uint8_t *blob = xq_typical(n, k, depth, &bytes);
    memcpy(launch_input(l, (bytes + 63) / 64 * 64, 0), blob, bytes);
    free(blob);
    return (bytes + 63) / 64 * 64;
}

static void add_linear(struct bl_kernel_key key, uint32_t level, struct linear_shape shape)
{
    const uint32_t n = shape.n, m = shape.m, k = shape.k / bl_formats[key.weight].block_elements * bl_formats[key.weight].block_elements;
    struct item *item = add_item(key, level);
    if (!item)
        return;
    struct launch *l = &item->launch;
    l->push.linear = (struct bl_params_linear){.k = k, .n_segments = 1, .segment = {{n, key.weight, 0, n}}};
    launch_step(l, m, m, 0);
    if (key.activation == BL_FMT_Q8)
        random_q8(launch_input(l, (size_t)m * (k / 32) * sizeof(struct bl_q8_block), 0), (size_t)m * (k / 32), shape.depth ? 1 : 4);
    else
        fill_floats(launch_input(l, (size_t)m * k * sizeof(float), 0), (size_t)m * k, UNIFORM);
    item->weight_bytes = add_weights(l, key.weight, shape.glu ? n / 2 : n, k, shape.depth);
    launch_none(l);
    launch_none(l);
    launch_output(l, (size_t)n * m * sizeof(float), 0);
    if (shape.glu) { /* two matrices of half the rows: as much work as without */
        l->push.linear.n_segments = 2;
        l->push.linear.glu = BL_LINEAR_GLU + BL_UNARY_SILU + BL_LINEAR_GLU_Q8;
        l->push.linear.segment[0].n = l->push.linear.segment[0].stride = n / 2;
        l->push.linear.segment[1] = l->push.linear.segment[0];
        item->weight_bytes += add_weights(l, key.weight, n / 2, k, shape.depth);
        for (uint32_t i = 0; i < 3; i++)
            launch_none(l);
    }
    l->columns = shape.glu ? n / 2 : (n + 31) / 32 * 32;
    l->rows = m;
    item->macs = (double)n * k * m;
    item->threads = shape.threads;
    item->depth = shape.depth;
    if (shape.stream) {
        item->copies = (uint32_t)(STREAM_BYTES / item->weight_bytes) + 1;
        item->is_pool_shared = shape.depth && shape.threads == 2;
        item->pool = item->is_pool_shared ? item[-1].pool : aligned_alloc(64, item->copies * item->weight_bytes / 64 * 64 + 64);
        for (uint32_t i = 0; item->pool && !item->is_pool_shared && i < item->copies; i++)
            memcpy(item->pool + i * item->weight_bytes, l->bindings[2], item->weight_bytes);
    }
    char depth[24] = "";
    if (shape.depth)
        snprintf(depth, sizeof depth, shape.depth == XQ_MIXTURE ? "mixed " : "b=%u ", shape.depth);
    snprintf(item->shape, sizeof item->shape, "%sn=%u k=%u m=%u%s %s %u thread%s", depth, n, k, m, shape.glu ? " glu" : "", shape.stream ? "memory" : "cache",
             shape.threads, shape.threads > 1 ? "s" : "");
}

/* X-bit weights: every depth and the mixture. Only one row of q8 is what decode does; the others are looked at for one depth. */
static void add_xq(struct bl_kernel_key key, uint32_t level)
{
    const bool decodes = key.op == BL_OP_MATVEC && key.row_class == BL_ROWS_1 && key.activation == BL_FMT_Q8;
    if (level == BL_CPU_C)
        return;
    for (uint32_t depth = decodes ? 1 : 4; depth <= (decodes ? XQ_MIXTURE : 4); depth++) {
        if (key.op == BL_OP_MATMUL) {
            add_linear(key, level, (struct linear_shape){.n = 1536, .k = 576, .m = 512, .threads = 1, .depth = depth});
            continue;
        }
        add_linear(key, level, (struct linear_shape){.n = 512, .k = 1024, .m = key.row_class == BL_ROWS_1 ? 1 : 4, .threads = 1, .depth = depth});
        for (uint32_t threads = 1; decodes && threads <= 2; threads++)
            add_linear(key, level, (struct linear_shape){.n = 4096, .k = 2048, .m = 1, .threads = threads, .depth = depth, .stream = true});
    }
}

/* An op along rows: 16 rows of 2048 columns, stated as elements per second. */
static void add_rows(struct bl_kernel_key key, uint32_t level)
{
    struct item *item = add_item(key, level);
    if (!item)
        return;
    const uint32_t columns = 2048, m = 16;
    struct launch *l = &item->launch;
    launch_step(l, m, m, 0);
    fill_floats(launch_input(l, columns * m * sizeof(float), 0), columns * m, UNIFORM);
    l->columns = columns;
    l->rows = m;
    switch (key.op) {
    case BL_OP_UNARY:
        l->push.unary = (struct bl_params_unary){.columns = columns, .kind = BL_UNARY_GELU};
        break;
    case BL_OP_GLU:
        l->push.glu = (struct bl_params_glu){.columns = columns, .kind = BL_UNARY_SILU};
        fill_floats(launch_input(l, columns * m * sizeof(float), 0), columns * m, UNIFORM);
        break;
    case BL_OP_BINARY:
        l->push.binary = (struct bl_params_binary){.columns = columns, .kind = BL_BINARY_ADD};
        fill_floats(launch_input(l, columns * m * sizeof(float), 0), columns * m, UNIFORM);
        break;
    case BL_OP_QUANTIZE:
        l->push.quantize = (struct bl_params_quantize){.columns = columns};
        l->columns = columns / 32;
        break;
    case BL_OP_RMS_NORM:
    case BL_OP_LAYER_NORM:
        l->push.norm = (struct bl_params_norm){.columns = columns, .groups = 1, .flags = BL_NORM_WEIGHT, .eps = 1e-5f};
        fill_floats(launch_input(l, columns * sizeof(float), 0), columns, UNIFORM);
        launch_none(l);
        l->columns = 1;
        break;
    default: /* BL_OP_ROPE */
        l->push.rope = (struct bl_params_rope){.heads = columns / 64, .d_head = 64, .n_rot = 64, .layout = BL_ROPE_NEOX};
        fill_floats(launch_input(l, 64 * m * sizeof(float), 0), 64 * m, UNIFORM);
        l->columns = columns / 64;
    }
    launch_output(l, columns * m * sizeof(float), 0);
    item->elements = columns * m;
    snprintf(item->shape, sizeof item->shape, "columns=%u m=%u", columns, m);
}

static void add_attention(struct bl_kernel_key key, uint32_t level, uint32_t m, uint32_t context)
{
    struct item *item = add_item(key, level);
    if (!item)
        return;
    const uint32_t n_head = 8, n_head_kv = 2, d = 64, pages = context / BL_KV_PAGE;
    struct launch *l = &item->launch;
    uint32_t *step = launch_step(l, m, m, pages);
    double seen = 0;
    for (uint32_t i = 0; i < pages; i++)
        step[(uint32_t)BL_STEP_PAGES + i] = i;
    for (uint32_t r = 0; r < m; r++) {
        step[(uint32_t)BL_STEP_POS + r] = context - m + r;
        seen += context - m + r + 1;
    }
    step[BL_STEP_PAGE_STRIDE] = pages;
    l->push.attention = (struct bl_params_attention){.n_head = n_head, .n_head_kv = n_head_kv, .d_k = d, .d_v = d, .n_pages = pages, .scale = 0.125f};
    fill_floats(launch_input(l, (size_t)m * n_head * d * sizeof(float), 0), (size_t)m * n_head * d, UNIFORM);
    launch_input(l, (size_t)context * n_head_kv * d * sizeof(float), 0); /* zeros: the arithmetic does not look at the values */
    launch_input(l, (size_t)context * n_head_kv * d * sizeof(float), 0);
    launch_output(l, (size_t)m * n_head * d * sizeof(float), 0);
    l->columns = n_head;
    l->rows = m;
    item->macs = seen * n_head * d * 2;
    snprintf(item->shape, sizeof item->shape, "heads=%u/%u d=%u m=%u context=%u", n_head, n_head_kv, d, m, context);
}

/* 16 rows of one sequence, 32 heads of 64 columns. */
static void add_rope_store(struct bl_kernel_key key, uint32_t level)
{
    struct item *item = add_item(key, level);
    if (!item)
        return;
    const uint32_t n_head = 16, n_head_kv = 8, d = 64, m = 16;
    struct launch *l = &item->launch;
    uint32_t *step = launch_step(l, m, m, 1);
    step[BL_STEP_PAGE_STRIDE] = 1;
    for (uint32_t r = 0; r < m; r++)
        step[(uint32_t)BL_STEP_POS + r] = r;
    l->push.rope_store = (struct bl_params_rope_store){.n_head = n_head, .n_head_kv = n_head_kv, .d_k = d, .d_v = d, .n_rot = d, .layout = BL_ROPE_NEOX, .n_pages = 1};
    const uint32_t columns[] = {n_head * d, n_head_kv * d, n_head_kv * d, d};
    for (uint32_t i = 0; i < 4; i++)
        fill_floats(launch_input(l, (size_t)m * columns[i] * sizeof(float), 0), (size_t)m * columns[i], UNIFORM);
    launch_output(l, (size_t)m * n_head * d * sizeof(float), 0);
    for (uint32_t i = 0; i < 2; i++)
        launch_output(l, (size_t)n_head_kv * BL_KV_PAGE * d * sizeof(float), 0);
    l->columns = n_head + 2 * n_head_kv;
    l->rows = m;
    item->elements = l->columns * d * m;
    snprintf(item->shape, sizeof item->shape, "heads=%u/%u d=%u m=%u", n_head, n_head_kv, d, m);
}

static void add_matvec(struct bl_kernel_key key, uint32_t level)
{
    struct linear_shape shape = {.n = 512, .k = 1024, .m = key.row_class == BL_ROWS_1 ? 1 : 4, .threads = 1};
    add_linear(key, level, shape);
    if (shape.m > 1 || level == BL_CPU_C)
        return;
    shape.glu = true;
    add_linear(key, level, shape);
    for (uint32_t threads = 1; threads <= 2; threads++)
        add_linear(key, level, (struct linear_shape){.n = 4096, .k = 2048, .m = 1, .threads = threads, .stream = true});
}

static void add_matmul(struct bl_kernel_key key, uint32_t level)
{
    struct linear_shape shape = {.n = 1536, .k = 576, .m = BL_STEP_MAX_ROWS, .threads = 1};
    add_linear(key, level, shape);
    shape.glu = true;
    add_linear(key, level, shape);
    add_linear(key, level, (struct linear_shape){.n = 2048, .k = 2048, .m = BL_STEP_MAX_ROWS, .threads = 1});
}

static void add_key(struct bl_kernel_key key, uint32_t level)
{
    switch (key.op) {
    case BL_OP_MATVEC:
    case BL_OP_MATMUL:
        if (key.weight == BL_FMT_BX)
            add_xq(key, level);
        else if (key.weight != BL_FMT_MIX && key.op == BL_OP_MATVEC)
            add_matvec(key, level);
        else if (key.weight != BL_FMT_MIX && level != BL_CPU_C) /* minutes of plain C */
            add_matmul(key, level);
        return;
    case BL_OP_ATTENTION:
        add_attention(key, level, 1, 1024);
        if (level != BL_CPU_C)
            add_attention(key, level, 256, 512);
        return;
    case BL_OP_ROPE_STORE:
        add_rope_store(key, level);
        return;
    case BL_OP_EMBED:
    case BL_OP_STAGE:
    case BL_OP_SELECT:
    case BL_OP_KV_STORE:
    case BL_OP_ROPE_TABLE: /* copies, moves, and a table made once per step */
        return;
    default:
        add_rows(key, level);
    }
}

static int compare_seconds(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *seconds)
{
    qsort(seconds, ROUNDS, sizeof seconds[0], compare_seconds);
    return seconds[ROUNDS / 2];
}

static void print_item(struct item *item, const double *bandwidth, double cycles)
{
    const double s = median(item->seconds), gb = (double)item->weight_bytes / s * 1e-9, gmac = item->macs / s * 1e-9;
    const double fraction = item->pool ? gb / bandwidth[item->threads - 1] : 0;
    if (options.json) {
        printf("{\"kernel\": \"%s\", \"shape\": \"%s\", \"us\": %.3f, \"weights_gb_s\": %.3f, \"gmac_s\": %.3f, \"mac_cycle\": %.2f, \"gelement_s\": %.3f, "
               "\"of_read_bandwidth\": %.3f}\n",
               item->name, item->shape, s * 1e6, gb, gmac, item->macs / s / cycles, item->elements / s * 1e-9, fraction);
        return;
    }
    printf("%-28s %-42s %10.1f us", item->name, item->shape, s * 1e6);
    if (item->weight_bytes)
        printf(" %7.2f GB/s", gb);
    if (item->macs > 0)
        printf(" %7.2f GMAC/s %6.2f MAC/cycle", gmac, item->macs / s / cycles);
    if (item->elements > 0)
        printf(" %7.3f Gelement/s", item->elements / s * 1e-9);
    if (item->pool)
        printf(" %4.0f %% of read bandwidth", 100 * fraction);
    putchar('\n');
}

/* How much a matrix of several depths costs beyond what its parts cost on their own. */
static void print_mixture(struct item *mixed)
{
    double parts = 0;
    for (struct item *i = items; i < items + n_items; i++)
        if (i->depth && i->depth != XQ_MIXTURE && (i->copies > 1) == (mixed->copies > 1) && i->threads == mixed->threads &&
            !strcmp(strchr(i->shape, ' '), strchr(mixed->shape, ' ')))
            parts += xq_mixture[i->depth] * median(i->seconds);
    const double share = parts / median(mixed->seconds);
    printf(options.json ? "{\"kernel\": \"%s\", \"shape\": \"%s\", \"parts_of_mixture\": %.3f}\n" : "%-28s %-42s %10.3f of the time are the parts' times\n", mixed->name,
           mixed->shape, share);
}

int bench(void)
{
    struct bl_kernel_key keys[512];
    const size_t n_keys = bl_kernel_keys(keys, sizeof keys / sizeof keys[0]);
    double bandwidth_seconds[2][ROUNDS], cycle_seconds[ROUNDS], bandwidth[2] = {0};
    items = calloc(MAX_ITEMS, sizeof *items);
    scan_memory = malloc(STREAM_BYTES);
    if (!items || !scan_memory)
        return 1;
    memset(scan_memory, 1, STREAM_BYTES);
    random_seed(options.seed);
    for (size_t i = 0; i < n_keys; i++) {
        n_items = 0;
        for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++)
            add_key(keys[i], level);
        if (!n_items)
            continue;
        uint32_t passes[MAX_ITEMS];
        for (uint32_t j = 0; j < n_items; j++) {
            const double once = measure(&items[j], items[j].copies);
            const double wanted_passes = ROUND_SECONDS / once;
            passes[j] = wanted_passes > items[j].copies ? (uint32_t)wanted_passes : items[j].copies;
        }
        for (uint32_t round = 0; round < ROUNDS; round++) {
            for (uint32_t j = 0; j < n_items; j++)
                items[j].seconds[round] = measure(&items[j], passes[j]);
            for (uint32_t t = 0; t < 2; t++)
                bandwidth_seconds[t][round] = 1 / read_bandwidth(t + 1);
            cycle_seconds[round] = 1 / clock_rate();
        }
        for (uint32_t t = 0; t < 2; t++)
            bandwidth[t] = 1e-9 / median(bandwidth_seconds[t]);
        const double cycles = 1 / median(cycle_seconds);
        for (uint32_t j = 0; j < n_items; j++)
            print_item(&items[j], bandwidth, cycles);
        for (uint32_t j = 0; j < n_items; j++)
            if (items[j].depth == XQ_MIXTURE)
                print_mixture(&items[j]);
        for (uint32_t j = 0; j < n_items; j++) {
            if (!items[j].is_pool_shared)
                free(items[j].pool);
            launch_free(&items[j].launch);
        }
    }
    printf("read bandwidth: %.2f GB/s with 1 thread, %.2f GB/s with 2\n", bandwidth[0], bandwidth[1]);
    free(items);
    free(scan_memory);
    return 0;
}
