/* graph_run.c: random graphs on f32 weights, run on the CPU and on its chaotic double under every schedule: one answer, bit for bit. */
#include "graph_fake.h"

#include "base/error.h"

#include <bitloom/device.h>
#include <stdlib.h>

enum { ROWS = 5, OUT_ROWS = 2, VOCABULARY = 16, N_SEEDS = 30, N_CHAOS = 3, LIST_ROWS = 8 };

static uint64_t max_binding_bytes; /* of the devices that run_graph opens; 0: no limit */

struct weights {
    bl_buffer *buffer;
    uint64_t offset[FAKE_TENSORS], bytes;
    const struct fake *f;
};

/* Eighths from -1/2 to 1/2: products and short sums of them are exact. */
static float weight_of(uint32_t tensor, uint64_t i)
{
    uint64_t state = (uint64_t)tensor << 32 ^ i;
    return (float)(random_next(&state) % 9) / 8.0f - 0.5f;
}

static uint64_t bytes_of(enum bl_format format, uint64_t n)
{
    return n / bl_formats[format].block_elements * bl_formats[format].block_bytes;
}

static void put_weight(enum bl_format format, uint8_t *matrix, uint64_t i, float value)
{
    if (format == BL_FMT_F32) {
        memcpy(matrix + 4 * i, &value, 4);
        return;
    }
    uint8_t *block = matrix + i / 32 * 34; /* q8_0: d = 1/8, then bytes */
    memcpy(block, "\x00\x30", 2);
    block[2 + i % 32] = (uint8_t)(int8_t)(value * 8);
}

static bl_status bind_weight(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out)
{
    const struct weights *w = user;
    const struct fake_tensor *t = &w->f->tensors[weight->tensor];
    uint64_t first = as_vector ? weight->first_row : weight->first_row * t->columns;
    *out = (bl_binding){w->buffer, w->offset[weight->tensor] + bytes_of(t->format, first), bytes_of(t->format, (uint64_t)weight->columns * weight->rows), BL_READ};
    return BL_OK;
}

static bl_buffer *new_buffer(bl_device *device, uint64_t bytes, bl_memory_kind kind, const char *label)
{
    bl_buffer *buffer;
    bl_buffer_params params = {bytes ? bytes : 4, kind, NULL, label};
    cr_assert_eq(bl_buffer_create(device, &params, &buffer), BL_OK, "%s", bl_error_text());
    return buffer;
}

static void make_weights(bl_device *device, const struct fake *f, struct weights *w)
{
    *w = (struct weights){.f = f};
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        w->offset[i] = w->bytes;
        w->bytes += (bytes_of(f->tensors[i].format, f->tensors[i].columns * f->tensors[i].rows) + 63) / 64 * 64;
    }
    w->buffer = new_buffer(device, w->bytes, BL_MEM_UPLOAD, "weights");
    for (uint32_t t = 0; t < f->n_tensors; t++)
        for (uint64_t i = 0; i < f->tensors[t].columns * f->tensors[t].rows; i++)
            put_weight(f->tensors[t].format, (uint8_t *)bl_buffer_host(w->buffer) + w->offset[t], i, weight_of(t, i));
    cr_assert_eq(bl_buffer_sync(w->buffer, 0, w->bytes, true), BL_OK);
}

static uint32_t token_of_row(uint32_t row)
{
    return 3 * row + 1;
}
static const uint32_t out_rows[OUT_ROWS] = {ROWS - 1, 1};

static bl_buffer *make_step(bl_device *device, uint64_t bytes)
{
    bl_buffer *buffer = new_buffer(device, bytes, BL_MEM_UPLOAD, "step");
    uint32_t *step = bl_buffer_host(buffer);
    memset(step, 0, bytes);
    step[BL_STEP_N_ROWS] = ROWS;
    step[BL_STEP_N_OUT] = OUT_ROWS;
    step[BL_STEP_PAGE_STRIDE] = 1;
    step[BL_STEP_MAX_POSITION] = ROWS - 1;
    for (uint32_t i = 0; i < ROWS; i++) {
        step[BL_STEP_TOKEN + (int)i] = token_of_row(i);
        step[BL_STEP_POS + (int)i] = i;
    }
    for (uint32_t i = 0; i < OUT_ROWS; i++)
        step[BL_STEP_OUT + (int)i] = out_rows[i];
    cr_assert_eq(bl_buffer_sync(buffer, 0, bytes, true), BL_OK);
    return buffer;
}

static bl_buffer *make_constants(bl_device *device, const struct bl_graph *g)
{
    bl_buffer *buffer = new_buffer(device, g->n_constants * 4, BL_MEM_UPLOAD, "constants");
    if (g->n_constants)
        memcpy(bl_buffer_host(buffer), g->constants, g->n_constants * 4);
    cr_assert_eq(bl_buffer_sync(buffer, 0, bl_buffer_bytes(buffer), true), BL_OK);
    return buffer;
}

/* One step of the graph on a device of its own; the logits of the output rows. */
static void run_graph(const struct bl_graph *g, const struct fake *f, const char *name, uint64_t chaos_seed, enum bl_schedule_kind kind, float *logits)
{
    bl_device_params params;
    bl_device *device;
    bl_device_default_params(&params);
    params.device = name;
    params.n_threads = 2;
    params.chaos_seed = chaos_seed;
    params.max_binding_bytes = max_binding_bytes;
    cr_assert_eq(bl_device_open(&params, &device), BL_OK, "%s", bl_error_text());

    struct weights weights;
    uint64_t kv_offset[128], kv_bytes = 0, step_bytes = 4 * (uint64_t)(BL_STEP_PAGES + 1);
    cr_assert_leq(2 * g->n_kv_layers, 128);
    for (uint32_t i = 0; i < 2 * g->n_kv_layers; i++) {
        kv_offset[i] = kv_bytes;
        kv_bytes += UINT64_C(4) * BL_KV_PAGE * g->kv_layers[i / 2].heads * (i % 2 ? g->kv_layers[i / 2].d_v : g->kv_layers[i / 2].d_k);
    }
    struct bl_schedule *schedule;
    struct bl_plan *plan;
    cr_assert_eq(bl_schedule_create(g, kind, &schedule), BL_OK);
    cr_assert_eq(bl_plan_create(g, schedule, LIST_ROWS, OUT_ROWS, bl_device_caps(device)->buffer_alignment, &plan), BL_OK);
    make_weights(device, f, &weights);
    struct bl_emit_target target = {.device = device,
                                    .activations = new_buffer(device, plan->bytes, BL_MEM_DEVICE, "activations"),
                                    .step = make_step(device, step_bytes),
                                    .logits = new_buffer(device, 4 * VOCABULARY * OUT_ROWS, BL_MEM_SHARED, "logits"),
                                    .constants = make_constants(device, g),
                                    .logits_bytes_per_row = 4 * VOCABULARY,
                                    .kv = new_buffer(device, kv_bytes, BL_MEM_DEVICE, "kv"),
                                    .kv_format = BL_FMT_F32,
                                    .n_pages = 1,
                                    .kv_offset = kv_offset,
                                    .step_bytes = step_bytes,
                                    .weight = bind_weight,
                                    .user = &weights};
    bl_list *list;
    cr_assert_eq(bl_emit_list(g, schedule, plan, &target, LIST_ROWS, OUT_ROWS, &list), BL_OK, "%s", bl_error_text());
    bl_queue *queue;
    uint64_t value;
    cr_assert_eq(bl_queue_create(device, BL_QUEUE_COMPUTE, &queue), BL_OK);
    cr_assert_eq(bl_queue_submit(queue, list, NULL, 0, &value), BL_OK, "%s", bl_error_text());
    cr_assert_eq(bl_queue_wait(queue, value, BL_WAIT_FOREVER), BL_OK, "%s", bl_error_text());
    cr_assert_eq(bl_buffer_sync(target.logits, 0, 4 * VOCABULARY * OUT_ROWS, false), BL_OK);
    memcpy(logits, bl_buffer_host(target.logits), 4 * VOCABULARY * OUT_ROWS);
    bl_queue_destroy(queue);
    bl_list_destroy(list);
    bl_buffer *const buffers[] = {target.activations, target.step, target.logits, target.constants, target.kv, weights.buffer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        bl_buffer_destroy(buffers[i]);
    bl_plan_destroy(plan);
    bl_schedule_destroy(schedule);
    bl_device_close(device);
}

Test(graph_run, every_schedule_gives_one_answer)
{
    static struct fake f;
    float expected[VOCABULARY * OUT_ROWS], got[VOCABULARY * OUT_ROWS], before[VOCABULARY * OUT_ROWS];
    uint32_t different = 0;
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct bl_graph *plain = random_graph(seed, RANDOM_SMALL, &f);
        run_graph(plain, &f, "cpu", 0, BL_SCHEDULE_SERIAL, before);
        bl_graph_destroy(plain);
        struct bl_graph *g = random_graph(seed, RANDOM_SMALL, &f);
        cr_assert_eq(bl_graph_fuse(g), BL_OK);
        run_graph(g, &f, "cpu", 0, BL_SCHEDULE_SERIAL, expected);
        for (uint32_t i = 0; i < VOCABULARY * OUT_ROWS; i++) {
            cr_assert(expected[i] - expected[i] == 0, "seed %u: logit %u is not finite", (unsigned)seed, i);
            different += expected[i] != expected[0];
        }
        cr_assert_eq(memcmp(expected, before, sizeof before), 0, "seed %u: the rewrites change the numbers", (unsigned)seed);
        for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
            run_graph(g, &f, "cpu", 0, (enum bl_schedule_kind)kind, got);
            cr_assert_eq(memcmp(got, expected, sizeof got), 0, "seed %u: %s", (unsigned)seed, bl_schedule_name((enum bl_schedule_kind)kind));
            for (uint64_t chaos = 1; chaos <= N_CHAOS; chaos++) {
                run_graph(g, &f, "chaos(cpu)", 100 * seed + chaos, (enum bl_schedule_kind)kind, got);
                cr_assert_eq(memcmp(got, expected, sizeof got), 0, "seed %u: chaos, %s", (unsigned)seed, bl_schedule_name((enum bl_schedule_kind)kind));
            }
        }
        bl_graph_destroy(g);
    }
    cr_assert_gt(different, N_SEEDS * VOCABULARY);
}

/* y = b + sum of W[first + row] x, + residual. All numbers are exact, so the order of the sum does not matter. */
static void linear_by_hand(const float *x, uint32_t tensor, uint32_t first, uint32_t rows, const float *residual, float *y)
{
    for (uint32_t r = 0; r < rows; r++) {
        y[r] = weight_of(tensor + 1, first + r) + (residual ? residual[r] : 0);
        for (uint32_t c = 0; c < 64; c++)
            y[r] += x[c] * weight_of(tensor, (first + r) * UINT64_C(64) + c);
    }
}

/* Matrices that one binding cannot hold: the embedding in pieces, linears of more segments than a launch has, biases, residuals and glus
 * (to f32 and to q8) with them. 32 rows of 64 f32 are 8,192 bytes. */
Test(graph_run, matrices_beyond_the_largest_binding)
{
    static struct fake f;
    float expected[VOCABULARY * OUT_ROWS], got[VOCABULARY * OUT_ROWS];
    fake_init(&f, "test");
    fake_tensor(&f, "token_embd.weight", BL_FMT_F32, 64, 100);
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 64 * 5 + 8);
    fake_tensor(&f, "w.bias", BL_FMT_F32, 64 * 5 + 8, 1);
    fake_tensor(&f, "d.weight", BL_FMT_F32, 64 * 5 + 8, 64);
    fake_tensor(&f, "o.weight", BL_FMT_F32, 64, VOCABULARY);
    fake_tensor(&f, "gate.weight", BL_FMT_F32, 64, 64 * 5 + 32);
    fake_tensor(&f, "up.weight", BL_FMT_F32, 64, 64 * 5 + 32);
    fake_tensor(&f, "d8.weight", BL_FMT_Q8_0, 64 * 5 + 32, 64);
    fake_tensor(&f, "odd.weight", BL_FMT_F32, 64, 64 * 5 + 8);
    struct bl_graph *g = must_parse(&f, "x = embed(tokens, token_embd)\ny = x + linear(linear(x, w), d)\nz = y + linear(linear(x, w), d)\n"
                                        "z = z + linear(silu(linear(z, gate)) * linear(z, up), d8)\n"
                                        "z = z + linear(gelu(linear(z, odd)) * linear(z, odd), d)\nlogits = linear(select(z, outputs), o)\n");
    cr_assert_eq(bl_graph_lower(g, true), BL_OK);
    cr_assert_eq(bl_graph_fuse(g), BL_OK);
    cr_assert_eq(count_ops(g, BL_NODE_LINEAR_GLU), 2);
    for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
        run_graph(g, &f, "cpu", 0, (enum bl_schedule_kind)kind, expected);
        static const uint64_t limits[] = {45000, 60000, 84000};
        for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
            max_binding_bytes = limits[i];
            run_graph(g, &f, "chaos(cpu)", 1 + i, (enum bl_schedule_kind)kind, got);
            max_binding_bytes = 0;
            cr_assert_eq(memcmp(got, expected, sizeof got), 0, "%s, limit %llu", bl_schedule_name((enum bl_schedule_kind)kind), (unsigned long long)limits[i]);
        }
    }
    bl_graph_destroy(g);
}

/* Biases, slices of both, residuals and groups of linears: against plain loops. */
Test(graph_run, linears_by_hand)
{
    static struct fake f;
    float expected[VOCABULARY * OUT_ROWS], got[VOCABULARY * OUT_ROWS];
    fake_least(&f); /* tensor 0 */
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 128);
    fake_tensor(&f, "w.bias", BL_FMT_F32, 128, 1);
    fake_tensor(&f, "o.weight", BL_FMT_F32, 64, 40);
    fake_tensor(&f, "o.bias", BL_FMT_F32, 40, 1);
    struct bl_graph *g = must_parse(&f, "x = embed(tokens, token_embd)\na = linear(x, w[0:64])   b = linear(x, w[48:112])\ny = a - b + linear(x, w[64:128])\n"
                                        "logits = linear(select(y, outputs), o[8:24])\n");
    cr_assert_eq(bl_graph_fuse(g), BL_OK);
    for (uint32_t i = 0; i < OUT_ROWS; i++) {
        float x[64], a[64], b[64], y[64];
        for (uint32_t c = 0; c < 64; c++)
            x[c] = weight_of(0, token_of_row(out_rows[i]) * UINT64_C(64) + c);
        linear_by_hand(x, 1, 0, 64, NULL, a);
        linear_by_hand(x, 1, 48, 64, NULL, b);
        for (uint32_t c = 0; c < 64; c++)
            a[c] -= b[c];
        linear_by_hand(x, 1, 64, 64, a, y);
        linear_by_hand(y, 3, 8, VOCABULARY, NULL, expected + VOCABULARY * i);
    }
    for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
        run_graph(g, &f, "cpu", 0, (enum bl_schedule_kind)kind, got);
        for (uint32_t i = 0; i < VOCABULARY * OUT_ROWS; i++)
            cr_assert_eq(got[i], expected[i], "%s: logit %u is %g, not %g", bl_schedule_name((enum bl_schedule_kind)kind), i, (double)got[i], (double)expected[i]);
    }
    bl_graph_destroy(g);
}
