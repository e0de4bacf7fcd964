/* lanes.c: order within and between lanes: whatever a device runs at the same time, the answer is that of the recorded order. */
#include "random_list.h"

static void forks_and_joins(struct conf *conf)
{
    enum { LANES = 16, N = 64 };
    float values[N], back[LANES * N];
    bl_buffer *x, *y, *sum;
    bl_list *list;
    uint32_t root, branch[LANES];
    for (uint32_t i = 0; i < N; i++)
        values[i] = (float)i;
    CHECK_OK(conf_buffer(conf, sizeof values, "x", &x));
    CHECK_OK(conf_buffer(conf, sizeof back, "y", &y));
    CHECK_OK(conf_buffer(conf, sizeof values, "sum", &sum));
    CHECK_OK(conf_write(conf, x, 0, values, sizeof values));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    /* x += x; in each lane y[lane] = x + x, then y[lane] += x; then sum = y[0] + ... in lane 0 */
    CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){x, 0}, (struct conf_range){x, 0}, (struct conf_range){x, 0}, N, NULL,
                         &root));
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const bl_order order = {.lane = lane, .waits = &root, .n_waits = 1};
        CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){x, 0}, (struct conf_range){x, 0},
                             (struct conf_range){y, lane * N}, N, &order, NULL));
        CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){y, lane * N}, (struct conf_range){x, 0},
                             (struct conf_range){y, lane * N}, N, &(bl_order){.lane = lane}, &branch[lane]));
    }
    const bl_order join = {.lane = 0, .waits = branch, .n_waits = LANES};
    CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){y, 0}, (struct conf_range){y, N}, (struct conf_range){sum, 0}, N,
                         &join, NULL));
    for (uint32_t lane = 2; lane < LANES; lane++)
        CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){sum, 0}, (struct conf_range){y, lane * N},
                             (struct conf_range){sum, 0}, N, NULL, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(conf_read(conf, sum, 0, back, sizeof values));
    for (uint32_t i = 0; i < N; i++)
        CHECK(back[i] == (float)(2 * 3 * LANES) * values[i]);
    bl_list_destroy(list);
    bl_buffer_destroy(sum);
    bl_buffer_destroy(y);
    bl_buffer_destroy(x);
}

/* Equal, or both no number. */
static bool same(float a, float b)
{
    return a == b || (a != a && b != b);
}

static void runs_random_orders(struct conf *conf)
{
    static struct random_list random;
    for (uint32_t round = 0; round < 24; round++) { /* every third with ranges that are worth several threads */
        float *model[RANDOM_BUFFERS], *back;
        bl_buffer *buffers[RANDOM_BUFFERS];
        bl_list *list;
        random_list_make(conf, &random, 60 + round * 4, 1 + round % 9, 0, true, round % 3 == 2 ? 2048 : 1);
        uint32_t n = random_list_floats(&random);
        CHECK(back = malloc(n * sizeof(float)));
        for (uint32_t b = 0; b < RANDOM_BUFFERS; b++) {
            CHECK(model[b] = malloc(n * sizeof(float)));
            for (uint32_t i = 0; i < n; i++)
                model[b][i] = (float)(conf_random(conf) % 1000);
            CHECK_OK(conf_buffer(conf, n * sizeof(float), "random", &buffers[b]));
            CHECK_OK(conf_write(conf, buffers[b], 0, model[b], n * sizeof(float)));
        }
        CHECK_OK(random_list_record(conf, &random, buffers, &list));
        CHECK_OK(bl_list_end(list));
        for (uint32_t replay = 0; replay < 3; replay++) {
            CHECK_OK(conf_run(conf, list));
            random_list_model(&random, model);
            for (uint32_t b = 0; b < RANDOM_BUFFERS; b++) {
                CHECK_OK(conf_read(conf, buffers[b], 0, back, n * sizeof(float)));
                for (uint32_t i = 0; i < n; i++)
                    CHECK(same(back[i], model[b][i]));
            }
        }
        bl_list_destroy(list);
        for (uint32_t b = 0; b < RANDOM_BUFFERS; b++) {
            bl_buffer_destroy(buffers[b]);
            free(model[b]);
        }
        free(back);
    }
}

/* Every lane there can be, two nodes each, and one that waits for all. */
static void takes_all_lanes(struct conf *conf)
{
    static uint32_t last[BL_MAX_LANES], back[BL_MAX_LANES];
    bl_buffer *buffer, *copy;
    bl_list *list;
    CHECK_OK(conf_buffer(conf, sizeof back, "lanes", &buffer));
    CHECK_OK(conf_buffer(conf, sizeof back, "copy", &copy));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    for (uint32_t i = 0; i < 2 * BL_MAX_LANES; i++) {
        uint32_t lane = i % BL_MAX_LANES;
        CHECK_OK(bl_list_fill(list, buffer, lane * 4, 4, i, &(bl_order){.lane = lane}, &last[lane]));
    }
    CHECK_OK(bl_list_copy(list, copy, 0, buffer, 0, sizeof back, &(bl_order){.lane = 3, .waits = last, .n_waits = BL_MAX_LANES}, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(conf_read(conf, copy, 0, back, sizeof back));
    for (uint32_t lane = 0; lane < BL_MAX_LANES; lane++)
        CHECK(back[lane] == lane + BL_MAX_LANES);
    bl_list_destroy(list);
    bl_buffer_destroy(copy);
    bl_buffer_destroy(buffer);
}

/* A kernel that writes where its access says READ: the core cannot see it, another order shows it. */
static void shows_a_lie_about_access(struct conf *conf)
{
    enum { N = 4 };
    const uint32_t ones[N] = {0x3f800000u, 0x3f800000u, 0x3f800000u, 0x3f800000u};
    float back[N], first = 0;
    bool differs = false;
    bl_kernel *kernel;
    bl_buffer *x;
    bl_list *list;
    const struct bl_kernel_key key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};
    const struct bl_params_binary double_it = {.columns = N, .kind = BL_BINARY_ADD}, square_it = {.columns = N, .kind = BL_BINARY_MUL};
    CHECK_OK(bl_kernel_get(conf->device, key, &kernel));
    CHECK_OK(conf_buffer(conf, sizeof ones, "x", &x));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    const bl_binding lie[] = {{conf->step, 0, bl_buffer_bytes(conf->step), BL_READ},
                              {x, 0, sizeof ones, BL_READ},
                              {x, 0, sizeof ones, BL_READ},
                              {x, 0, sizeof ones, BL_READ}};
    const bl_dispatch doubles = {kernel, {N, 1, 1}, lie, 4, &double_it, sizeof double_it};
    const bl_dispatch squares = {kernel, {N, 1, 1}, lie, 4, &square_it, sizeof square_it};
    CHECK_OK(bl_list_dispatch(list, &doubles, &(bl_order){.lane = 0}, NULL));
    CHECK_OK(bl_list_dispatch(list, &squares, &(bl_order){.lane = 1}, NULL));
    CHECK_OK(bl_list_end(list));
    for (uint32_t i = 0; i < 32; i++) {
        CHECK_OK(conf_write(conf, x, 0, ones, sizeof ones));
        CHECK_OK(conf_run(conf, list));
        CHECK_OK(conf_read(conf, x, 0, back, sizeof back));
        CHECK(back[0] == 2.0f || back[0] == 4.0f);
        differs |= i > 0 && back[0] != first;
        first = back[0];
    }
    CHECK(differs);
    bl_list_destroy(list);
    bl_buffer_destroy(x);
}

const struct conf_case conf_lanes[] = {
    {"lanes.fork_join", forks_and_joins, HAS_RESULTS | HAS_KERNELS},
    {"lanes.random", runs_random_orders, HAS_RESULTS | HAS_KERNELS},
    {"lanes.all", takes_all_lanes, HAS_RESULTS},
    {"lanes.lie_shows", shows_a_lie_about_access, HAS_RESULTS | HAS_KERNELS | HAS_CHAOS},
    {0},
};
