/* replay.c: a list is submitted any number of times and gives the same every time; what changes is in buffers. */
#include "conformance.h"

static struct conf_range at(bl_buffer *buffer, uint64_t first)
{
    return (struct conf_range){buffer, first};
}

/* count += 1, then scratch work beside it in other lanes. */
static void repeats_itself(struct conf *conf)
{
    enum { N = 3000, REPLAYS = 1000 };
    static float ones[N], back[N];
    bl_buffer *one, *count, *twice;
    bl_list *list;
    uint32_t added;
    uint64_t value = 0;
    for (uint32_t i = 0; i < N; i++)
        ones[i] = 1.0f;
    CHECK_OK(conf_buffer(conf, sizeof ones, "one", &one));
    CHECK_OK(conf_buffer(conf, sizeof ones, "count", &count));
    CHECK_OK(conf_buffer(conf, sizeof ones, "twice", &twice));
    CHECK_OK(conf_write(conf, one, 0, ones, sizeof ones));
    memset(back, 0, sizeof back);
    CHECK_OK(conf_write(conf, count, 0, back, sizeof back));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, at(count, 0), at(one, 0), at(count, 0), N, NULL, &added));
    const bl_order half = {.lane = 1, .waits = &added, .n_waits = 1}, other_half = {.lane = 2, .waits = &added, .n_waits = 1};
    CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, at(count, 0), at(count, 0), at(twice, 0), N / 2, &half, NULL));
    CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, at(count, N / 2), at(count, N / 2), at(twice, N / 2), N / 2, &other_half, NULL));
    CHECK_OK(bl_list_end(list));
    for (uint32_t i = 0; i < REPLAYS; i++) {
        CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, &value));
        if (i % 3 == 0)
            CHECK_OK(conf_wait(conf->queue, value));
    }
    CHECK_OK(conf_wait(conf->queue, value));
    CHECK_OK(conf_read(conf, count, 0, back, sizeof back));
    for (uint32_t i = 0; i < N; i++)
        CHECK(back[i] == (float)REPLAYS);
    CHECK_OK(conf_read(conf, twice, 0, back, sizeof back));
    for (uint32_t i = 0; i < N; i++)
        CHECK(back[i] == 2.0f * (float)REPLAYS);
    bl_list_destroy(list);
    bl_buffer_destroy(twice);
    bl_buffer_destroy(count);
    bl_buffer_destroy(one);
}

/* Rounding makes the value depend on the order of operations: 1000 runs from the same start give the same bits. */
static void gives_the_same_bits(struct conf *conf)
{
    enum { N = 512, REPLAYS = 1000 };
    static float x[N], first[N], back[N];
    bl_buffer *start, *work;
    bl_list *list;
    for (uint32_t i = 0; i < N; i++)
        x[i] = 1.0f / (float)(i + 3);
    CHECK_OK(conf_buffer(conf, sizeof x, "start", &start));
    CHECK_OK(conf_buffer(conf, 4 * sizeof x, "work", &work));
    CHECK_OK(conf_write(conf, start, 0, x, sizeof x));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    uint32_t last[4];
    for (uint32_t lane = 0; lane < 4; lane++) {
        const bl_order order = {.lane = lane};
        CHECK_OK(bl_list_copy(list, work, lane * sizeof x, start, 0, sizeof x, &order, NULL));
        for (uint32_t i = 0; i < 5 + lane; i++)
            CHECK_OK(conf_binary(conf, list, i % 2 ? BL_BINARY_MUL : BL_BINARY_ADD, at(work, lane * N), at(start, 0), at(work, lane * N), N,
                                 &order, &last[lane]));
    }
    for (uint32_t lane = 1; lane < 4; lane++)
        CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, at(work, 0), at(work, lane * N), at(work, 0), N,
                             &(bl_order){.lane = 0, .waits = &last[lane], .n_waits = 1}, NULL));
    CHECK_OK(bl_list_end(list));
    for (uint32_t i = 0; i < REPLAYS; i++) {
        CHECK_OK(conf_run(conf, list));
        if (i % 100 == 0 || i == REPLAYS - 1) {
            CHECK_OK(conf_read(conf, work, 0, i ? back : first, sizeof x));
            CHECK(i == 0 || memcmp(back, first, sizeof x) == 0);
        }
    }
    bl_list_destroy(list);
    bl_buffer_destroy(work);
    bl_buffer_destroy(start);
}

static void reads_the_step_buffer_anew(struct conf *conf)
{
    enum { ROWS = 8, COLUMNS = 40 };
    static float x[ROWS * COLUMNS], zero[ROWS * COLUMNS], back[ROWS * COLUMNS];
    const struct bl_kernel_key key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};
    const struct bl_params_binary push = {.columns = COLUMNS, .kind = BL_BINARY_ADD};
    bl_kernel *kernel;
    bl_buffer *from, *to;
    bl_list *list;
    for (uint32_t i = 0; i < ROWS * COLUMNS; i++)
        x[i] = (float)i + 1;
    CHECK_OK(bl_kernel_get(conf->device, key, &kernel));
    CHECK_OK(conf_buffer(conf, sizeof x, "x", &from));
    CHECK_OK(conf_buffer(conf, sizeof x, "y", &to));
    CHECK_OK(conf_write(conf, from, 0, x, sizeof x));
    const bl_binding bindings[] = {{conf->step, 0, bl_buffer_bytes(conf->step), BL_READ},
                                   {from, 0, sizeof x, BL_READ},
                                   {from, 0, sizeof x, BL_READ},
                                   {to, 0, sizeof x, BL_WRITE}};
    const bl_dispatch dispatch = {kernel, {COLUMNS, ROWS, 1}, bindings, 4, &push, sizeof push};
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_dispatch(list, &dispatch, NULL, NULL));
    CHECK_OK(bl_list_end(list));
    for (uint32_t rows = 1; rows <= ROWS; rows++) {
        ((uint32_t *)bl_buffer_host(conf->step))[BL_STEP_N_ROWS] = rows;
        CHECK_OK(bl_buffer_sync(conf->step, 0, bl_buffer_bytes(conf->step), true));
        CHECK_OK(conf_write(conf, to, 0, zero, sizeof zero));
        CHECK_OK(conf_run(conf, list));
        CHECK_OK(conf_read(conf, to, 0, back, sizeof back));
        for (uint32_t i = 0; i < ROWS * COLUMNS; i++)
            CHECK(back[i] == (i < rows * COLUMNS ? 2 * x[i] : 0.0f));
    }
    bl_list_destroy(list);
    bl_buffer_destroy(to);
    bl_buffer_destroy(from);
}

const struct conf_case conf_replay[] = {
    {"replay.counts", repeats_itself, HAS_RESULTS | HAS_KERNELS},
    {"replay.same_bits", gives_the_same_bits, HAS_RESULTS | HAS_KERNELS},
    {"replay.step", reads_the_step_buffer_anew, HAS_RESULTS | HAS_KERNELS},
    {0},
};
