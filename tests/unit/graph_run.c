/* graph_run.c: random graphs on f32 weights, run on the CPU and on its chaotic double under every schedule: one answer, bit for bit. */
#include "graph_fake.h"

#include "base/error.h"

#include <bitloom/device.h>
#include <stdlib.h>

enum { ROWS = 5, OUT_ROWS = 2, VOCABULARY = 16, N_SEEDS = 30, N_CHAOS = 3, LIST_ROWS = 8 };

struct weights {
    bl_buffer *buffer;
    uint64_t offset[FAKE_TENSORS], bytes;
    const struct fake *f;
};

static bl_status bind_weight(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out)
{
    const struct weights *w = user;
    const struct fake_tensor *t = &w->f->tensors[weight->tensor];
    uint64_t first = as_vector ? weight->first_row : weight->first_row * t->columns;
    *out = (bl_binding){w->buffer, w->offset[weight->tensor] + 4 * first, 4 * (uint64_t)weight->columns * weight->rows, BL_READ};
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
    uint64_t state = 7;
    *w = (struct weights){.f = f};
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        w->offset[i] = w->bytes;
        w->bytes += (4 * f->tensors[i].columns * f->tensors[i].rows + 63) / 64 * 64;
    }
    w->buffer = new_buffer(device, w->bytes, BL_MEM_UPLOAD, "weights");
    float *data = bl_buffer_host(w->buffer);
    for (uint64_t i = 0; i < w->bytes / 4; i++)
        data[i] = (float)(random_next(&state) % 2001) / 4000.0f - 0.25f;
    cr_assert_eq(bl_buffer_sync(w->buffer, 0, w->bytes, true), BL_OK);
}

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
        step[BL_STEP_TOKEN + (int)i] = 3 * i + 1;
        step[BL_STEP_POS + (int)i] = i;
    }
    step[BL_STEP_OUT] = ROWS - 1;
    step[BL_STEP_OUT + 1] = 1;
    cr_assert_eq(bl_buffer_sync(buffer, 0, bytes, true), BL_OK);
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
    bl_buffer *const buffers[] = {target.activations, target.step, target.logits, target.kv, weights.buffer};
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
