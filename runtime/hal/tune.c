/* tune.c: which of a device's ways of making a kernel is used. A back end may have several for a key (caps.n_ways), all with the same bits
 * but those of caps.ways_inexact. Each first computes a case whose answer is known; of those that are right the fastest is taken. Owns the
 * classes of kernels that are raced as one, and how near a way that is not exact must come; uses the device like any client and knows no
 * back end. */
#include "base/error.h"
#include "base/log.h"
#include "hal/core.h"
#include "hal/devices.h"
#include "hal/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A class is raced with one format and holds for all: formats differ in how a weight is unpacked, ways in how lanes share the work. */
static const struct kernel_class {
    uint16_t op, row_class;
    uint8_t activation;          /* BL_FMT_NONE: any */
    uint32_t rows, outputs, turns; /* of the case; turns: dispatches per submission */
} classes[BL_KERNEL_CLASSES] = {
    {BL_OP_MATVEC, BL_ROWS_1, BL_FMT_Q8, 1, 4096, 4},   {BL_OP_MATVEC, BL_ROWS_8, BL_FMT_Q8, 8, 1024, 2},
    {BL_OP_MATMUL, BL_ROWS_512, BL_FMT_Q8, 64, 512, 1}, {BL_OP_MATVEC, BL_ROWS_1, BL_FMT_F32, 1, 4096, 2},
    {BL_OP_MATVEC, BL_ROWS_8, BL_FMT_F32, 8, 1024, 1},  {BL_OP_MATMUL, BL_ROWS_512, BL_FMT_F32, 64, 512, 1},
    {BL_OP_ATTENTION, BL_ROWS_ANY, BL_FMT_NONE, 1, 0, 4},
};

uint32_t bl_kernel_class(struct bl_kernel_key key)
{
    uint32_t c = 0;
    while (c < BL_KERNEL_CLASSES && (classes[c].op != key.op || classes[c].row_class != key.row_class ||
                                     (classes[c].activation && classes[c].activation != key.activation)))
        c++;
    return c;
}

/* ---- the cases ---- */

#define COLUMNS 1024u
#define INEXACT_NMSE 1e-6 /* of what a way that is not exact computes: a rounding to half floats of both factors is 1e-7 */
#define MANY_UNITS 16u    /* a device of so many is not filled by the small case */
#define MANY_TIMES 8u
#define BLOCKS (COLUMNS / 32)
enum { HEADS = 8, KV_HEADS = 4, HEAD = 64, POSITIONS = 1024, PAGES = POSITIONS / BL_KV_PAGE };
struct q8_0 { /* f16 d, q[32] */
    uint8_t d[2];
    int8_t q[32];
};

static int32_t weight_at(uint32_t output, uint32_t column)
{
    return (int32_t)((output * 7 + column * 3 + column / 32) % 15) - 7;
}

static int32_t input_at(uint32_t row, uint32_t column)
{
    return (int32_t)((row * 5 + column + column / 64) % 9) - 4;
}

static int32_t fine_at(uint32_t row, uint32_t column)
{
    return (int32_t)((row + column) % 3) - 1;
}

static float scale_at(uint32_t row, uint32_t block)
{
    return 0.25f * (float)(1 + (row + block) % 4); /* some blocks dominate, some do not */
}

/* As kernel_params.h says; the f32 case is exact in any order. */
static float right_answer(bool q8, uint32_t row, uint32_t output)
{
    float acc = 0, mean = 0;
    for (uint32_t b = 0; b < BLOCKS; b++)
        mean = mean + scale_at(row, b);
    mean = mean / (float)BLOCKS;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        int32_t coarse = 0, fine = 0;
        for (uint32_t c = 32 * b; c < 32 * b + 32; c++) {
            coarse += weight_at(output, c) * input_at(row, c);
            fine += weight_at(output, c) * fine_at(row, c);
        }
        const float d = scale_at(row, b);
        if (!q8) {
            acc = acc + 0.5f * (float)coarse;
            continue;
        }
        acc = acc + d * (0.5f * (float)coarse);
        if (d > BL_Q8_DOMINANT * mean)
            acc = acc + (d * BL_Q8_FINE) * (0.5f * (float)fine);
    }
    return acc;
}

static void write_plane(struct bl_q8_plane *plane, uint32_t row, uint32_t first, int32_t (*at)(uint32_t, uint32_t))
{
    for (uint32_t i = 0; i < 32; i++) {
        plane->q[i] = (int8_t)at(row, first + i);
        plane->sum[i / 16] = (int16_t)(plane->sum[i / 16] + plane->q[i]);
    }
}

static uint64_t input_bytes(const struct kernel_class *c)
{
    return c->activation == BL_FMT_Q8 ? (uint64_t)c->rows * BLOCKS * sizeof(struct bl_q8_block) : (uint64_t)c->rows * COLUMNS * 4;
}

static void make_input(const struct kernel_class *c, void *out)
{
    memset(out, 0, (size_t)input_bytes(c));
    for (uint32_t row = 0; row < c->rows; row++) {
        if (c->activation == BL_FMT_Q8)
            for (uint32_t b = 0; b < BLOCKS; b++) {
                struct bl_q8_block *block = (struct bl_q8_block *)out + (size_t)row * BLOCKS + b;
                block->d = scale_at(row, b);
                write_plane(&block->coarse, row, 32 * b, input_at);
                write_plane(&block->fine, row, 32 * b, fine_at);
            }
        else
            for (uint32_t i = 0; i < COLUMNS; i++)
                ((float *)out)[(size_t)row * COLUMNS + i] = (float)input_at(row, i);
    }
}

static void make_weights(const struct kernel_class *c, struct q8_0 *out)
{
    for (uint32_t o = 0; o < c->outputs; o++)
        for (uint32_t b = 0; b < BLOCKS; b++, out++) {
            out->d[0] = 0;
            out->d[1] = 0x38; /* 0.5 */
            for (uint32_t i = 0; i < 32; i++)
                out->q[i] = (int8_t)weight_at(o, 32 * b + i);
        }
}

/* All keys are 0, so every position counts alike, and the answer is the mean of the values: small whole numbers over a power of two. */
static int32_t value_at(uint32_t position, uint32_t column)
{
    return (int32_t)((position * 3 + column) % 17) - 8;
}

static uint16_t small_half(int32_t v) /* f16 of a whole number below 16 */
{
    uint32_t sign = v < 0 ? 0x8000u : 0, m = (uint32_t)(v < 0 ? -v : v), e = 0;
    if (!m)
        return 0;
    while (m >> (e + 1))
        e++;
    return (uint16_t)(sign | (15 + e) << 10 | (m << (10 - e) & 0x3ffu));
}

static void make_values(uint16_t *out)
{
    for (uint32_t p = 0; p < POSITIONS; p++)
        for (uint32_t h = 0; h < KV_HEADS; h++)
            for (uint32_t i = 0; i < HEAD; i++) /* pages stand in reverse order */
                out[(((size_t)(PAGES - 1 - p / BL_KV_PAGE) * KV_HEADS + h) * BL_KV_PAGE + p % BL_KV_PAGE) * HEAD + i] =
                    small_half(value_at(p, h * HEAD + i));
}

static float right_mean(uint32_t column) /* of the output: head and column of it */
{
    const uint32_t h = column / HEAD / (HEADS / KV_HEADS);
    float sum = 0;
    for (uint32_t p = 0; p < POSITIONS; p++)
        sum = sum + (float)value_at(p, h * HEAD + column % HEAD);
    return sum * (1.0f / POSITIONS);
}

/* ---- one class ---- */

enum { STEP, INPUT, FIRST, SECOND, OUTPUT, READBACK, BUFFERS }; /* first: weights or keys; second: values */
struct race {
    bl_device *device;
    bl_queue *queue;
    bl_buffer *buffers[BUFFERS];
    struct kernel_class *class;
    uint32_t columns; /* of the output */
};

static bl_status create(struct race *r, int which, uint64_t bytes, bl_memory_kind kind)
{
    return bl_buffer_create(r->device, &(bl_buffer_params){.bytes = bytes, .kind = kind, .label = "tune"}, &r->buffers[which]);
}

/* Takes the data over. */
static bl_status upload(struct race *r, int which, void *data, uint64_t bytes)
{
    bl_status status = data ? create(r, which, bytes, BL_MEM_DEVICE) : BL_ENOMEM;
    if (status == BL_OK)
        status = bl_buffer_write(r->buffers[which], 0, data, bytes);
    free(data);
    return status;
}

static bl_status prepare(struct race *r)
{
    const struct kernel_class *c = r->class;
    const bool attends = c->op == BL_OP_ATTENTION;
    const uint64_t step_bytes = 4 * (BL_STEP_PAGES + PAGES), pool = (uint64_t)PAGES * KV_HEADS * BL_KV_PAGE * HEAD * 2;
    BL_TRY(create(r, STEP, step_bytes, BL_MEM_UPLOAD));
    uint32_t *step = bl_buffer_host(r->buffers[STEP]);
    memset(step, 0, (size_t)step_bytes);
    step[BL_STEP_N_ROWS] = c->rows;
    step[BL_STEP_PAGE_STRIDE] = PAGES;
    step[BL_STEP_POS] = step[BL_STEP_MAX_POSITION] = POSITIONS - 1;
    for (uint32_t p = 0; p < PAGES; p++)
        step[BL_STEP_PAGES + p] = PAGES - 1 - p;
    BL_TRY(bl_buffer_sync(r->buffers[STEP], 0, step_bytes, true));
    r->columns = attends ? HEADS * HEAD : c->outputs;
    if (attends) {
        uint16_t *values = malloc((size_t)pool);
        if (values)
            make_values(values);
        BL_TRY(upload(r, SECOND, values, pool));
        BL_TRY(upload(r, FIRST, calloc(1, (size_t)pool), pool));
        BL_TRY(upload(r, INPUT, calloc(HEADS * HEAD, 4), HEADS * HEAD * 4));
    } else {
        void *input = malloc((size_t)input_bytes(c));
        struct q8_0 *weights = malloc((size_t)c->outputs * BLOCKS * sizeof *weights);
        if (input)
            make_input(c, input);
        if (weights)
            make_weights(c, weights);
        bl_status status = upload(r, INPUT, input, input_bytes(c)), second = upload(r, FIRST, weights, (uint64_t)c->outputs * BLOCKS * sizeof *weights);
        BL_TRY(status);
        BL_TRY(second);
    }
    BL_TRY(create(r, OUTPUT, (uint64_t)c->rows * r->columns * 4, BL_MEM_DEVICE));
    return create(r, READBACK, (uint64_t)c->rows * r->columns * 4, BL_MEM_READBACK);
}

static bl_binding all_of(const struct race *r, int which, bl_access access)
{
    return (bl_binding){r->buffers[which], 0, bl_buffer_bytes(r->buffers[which]), access};
}

static bl_status record_case(const struct race *r, bl_kernel *kernel, bl_list *list)
{
    const struct kernel_class *c = r->class;
    struct bl_params_linear linear = {.k = COLUMNS, .n_segments = 1, .segment = {{.n = c->outputs, .format = BL_FMT_Q8_0, .stride = c->outputs}}};
    const struct bl_params_attention attention = {.n_head = HEADS, .n_head_kv = KV_HEADS, .d_k = HEAD, .d_v = HEAD, .n_pages = PAGES, .scale = 1};
    const bl_binding none = {NULL, 0, 0, BL_READ}, out = all_of(r, OUTPUT, BL_WRITE);
    const bl_binding product[] = {all_of(r, STEP, BL_READ), all_of(r, INPUT, BL_READ), all_of(r, FIRST, BL_READ), none, none, out};
    const bl_binding attend[] = {product[0], product[1], product[2], r->buffers[SECOND] ? all_of(r, SECOND, BL_READ) : none, out};
    bl_dispatch dispatch = {kernel, {c->outputs, c->rows, 1}, product, 6, &linear, sizeof linear};
    if (c->op == BL_OP_ATTENTION)
        dispatch = (bl_dispatch){kernel, {HEADS, 1, 1}, attend, 5, &attention, sizeof attention};
    for (uint32_t turn = 0; turn < c->turns; turn++)
        BL_TRY(bl_list_dispatch(list, &dispatch, NULL, NULL));
    return bl_list_copy(list, r->buffers[READBACK], 0, r->buffers[OUTPUT], 0, bl_buffer_bytes(r->buffers[OUTPUT]), NULL, NULL);
}

static bool is_right(const struct race *r, bool is_inexact)
{
    const float *y = bl_buffer_host(r->buffers[READBACK]);
    const uint32_t n = r->class->rows * r->columns;
    double error = 0, power = 0;
    for (uint32_t i = 0; i < n; i += (i % 3 ? 37 : 2) + n / 8192) { /* some of all rows and places in a tile */
        const float right = r->class->op == BL_OP_ATTENTION ? right_mean(i)
                                                            : right_answer(r->class->activation == BL_FMT_Q8, i / r->columns, i % r->columns);
        const double difference = (double)y[i] - (double)right;
        error += difference * difference;
        power += (double)right * (double)right;
        if (!(y[i] == right) && !is_inexact) {
            bl_log(BL_LOG_WARNING, "element %u is %g, not %g", i, (double)y[i], (double)right);
            return false;
        }
    }
    if (error <= INEXACT_NMSE * power) /* not so where one is NaN */
        return true;
    bl_log(BL_LOG_WARNING, "the mean error is %.3g of the answer, not %.3g", sqrt(error / power), sqrt(INEXACT_NMSE));
    return false;
}

/* INFINITY: this way is not there, or wrong. */
static bl_status time_way(struct race *r, uint32_t way, double *seconds)
{
    const bool attends = r->class->op == BL_OP_ATTENTION;
    const struct bl_kernel_key key = {r->class->op, attends ? BL_FMT_F16 : BL_FMT_Q8_0, attends ? BL_FMT_F32 : r->class->activation, r->class->row_class,
                                      (uint16_t)way};
    bl_kernel *kernel;
    bl_list *list;
    *seconds = INFINITY;
    bl_status status = bl_kernel_get(r->device, key, &kernel);
    if (status == BL_EUNSUPPORTED) {
        bl_errors_clear();
        return BL_OK;
    }
    BL_TRY(status);
    BL_TRY(bl_list_begin(r->device, 0, &list));
    BL_TRY(bl_time_list(r->queue, list, record_case(r, kernel, list), seconds));
    BL_TRY(bl_buffer_sync(r->buffers[READBACK], 0, bl_buffer_bytes(r->buffers[READBACK]), false));
    if (is_right(r, r->device->caps.ways_inexact >> way & 1u))
        return BL_OK;
    *seconds = INFINITY;
    bl_log(BL_LOG_WARNING, "%s: %s in way %u computes a known case wrongly and is not used", r->device->core->id, kernel->name, way);
    return BL_OK;
}

static bool may_use(const bl_device *device, uint32_t way, bool exact)
{
    return way <= device->caps.n_ways && !(exact && way < 32 && device->caps.ways_inexact >> way & 1u);
}

static bl_status race_class(struct race *r, bool exact, uint32_t *best_way)
{
    double best = INFINITY, seconds;
    BL_TRY(prepare(r));
    *best_way = 0;
    for (uint32_t way = 1; way <= r->device->caps.n_ways; way++) {
        if (!may_use(r->device, way, exact))
            continue;
        BL_TRY(time_way(r, way, &seconds));
        if (seconds < best) {
            best = seconds;
            *best_way = way;
        }
    }
    return BL_OK;
}

static bl_status run_race(bl_device *device, uint32_t c, bool exact, uint32_t *way)
{
    struct kernel_class class = classes[c];
    struct race r = {.device = device, .class = &class};
    if (class.row_class == BL_ROWS_512 && device->caps.compute_units >= MANY_UNITS) {
        class.rows *= MANY_TIMES;
        class.outputs *= MANY_TIMES;
    }
    bl_status status = bl_queue_create(device, BL_QUEUE_COMPUTE, &r.queue);
    if (status == BL_OK)
        status = race_class(&r, exact, way);
    for (int b = 0; b < BUFFERS; b++)
        bl_buffer_destroy(r.buffers[b]);
    bl_queue_destroy(r.queue);
    return status;
}

bl_status bl_device_tune(bl_device *device, bool exact, char out[static BL_WAYS_TEXT])
{
    for (uint32_t c = 0; c < BL_KERNEL_CLASSES; c++) {
        uint32_t way = 0;
        BL_TRY(run_race(device, c, exact, &way));
        if (!way)
            BL_FAIL(BL_EUNSUPPORTED, "%s: no kernel for class %u computes a known case rightly", device->core->id, c);
        out[c] = (char)('0' + way);
    }
    out[BL_KERNEL_CLASSES] = 0;
    return BL_OK;
}

bool bl_device_use_ways(bl_device *device, bool exact, const char *ways)
{
    if (strlen(ways) != BL_KERNEL_CLASSES)
        return false;
    for (uint32_t c = 0; c < BL_KERNEL_CLASSES; c++)
        if (ways[c] < '0' || ways[c] > '9' || !may_use(device, (uint32_t)(ways[c] - '0'), exact))
            return false;
    pthread_mutex_lock(&device->core->kernel_lock);
    for (uint32_t c = 0; c < BL_KERNEL_CLASSES; c++)
        device->core->ways[c] = (uint16_t)(ways[c] - '0');
    pthread_mutex_unlock(&device->core->kernel_lock);
    return true;
}

bool bl_device_is_inexact(const bl_device *device)
{
    bool is_inexact = false;
    pthread_mutex_lock(&device->core->kernel_lock);
    for (uint32_t c = 0; c < BL_KERNEL_CLASSES; c++)
        is_inexact = is_inexact || (device->caps.ways_inexact >> device->core->ways[c] & 1u);
    pthread_mutex_unlock(&device->core->kernel_lock);
    return is_inexact;
}
