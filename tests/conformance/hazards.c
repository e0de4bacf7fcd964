/* hazards.c: lists whose lanes touch the same bytes without a wait are refused, with both labels; others are taken. */
#include "random_list.h"

/* One list of fills and copies, given as rows, sealed: what is the answer? */
struct row {
    uint32_t lane, to, bytes; /* fills to .. to + bytes */
    int wait;                 /* node, or -1 */
    const char *label;
};

static bl_status seal(struct conf *conf, bl_buffer *buffer, const struct row *rows, uint32_t n)
{
    bl_list *list;
    bl_status status = bl_list_begin(conf->device, 0, &list);
    for (uint32_t i = 0; i < n && status == BL_OK; i++) {
        const uint32_t wait = (uint32_t)rows[i].wait;
        const bl_order order = {rows[i].lane, rows[i].wait < 0 ? NULL : &wait, rows[i].wait >= 0, rows[i].label};
        status = bl_list_fill(list, buffer, rows[i].to, rows[i].bytes, i, &order, NULL);
    }
    if (status == BL_OK)
        status = bl_list_end(list);
    bl_list_destroy(list);
    return status;
}

static void finds_two_writers(struct conf *conf)
{
    bl_buffer *buffer;
    CHECK_OK(conf_buffer(conf, 1024, "shared", &buffer));
    const struct row same[] = {{0, 0, 64, -1, "alpha"}, {1, 0, 64, -1, "beta"}};
    CHECK_REFUSED(seal(conf, buffer, same, 2), BL_EINVAL, "\"alpha\"");
    CHECK(strstr(bl_error_text(), "\"beta\"") && strstr(bl_error_text(), "\"shared\""));
    const struct row edge[] = {{0, 0, 64, -1, "alpha"}, {1, 60, 64, -1, "beta"}};
    CHECK_REFUSED(seal(conf, buffer, edge, 2), BL_EINVAL, "60..64");
    const struct row touching[] = {{0, 0, 64, -1, "alpha"}, {1, 64, 64, -1, "beta"}};
    CHECK_OK(seal(conf, buffer, touching, 2));
    const struct row one_lane[] = {{5, 0, 64, -1, "alpha"}, {5, 0, 64, -1, "beta"}};
    CHECK_OK(seal(conf, buffer, one_lane, 2));
    const struct row waited[] = {{0, 0, 64, -1, "alpha"}, {1, 0, 64, 0, "beta"}};
    CHECK_OK(seal(conf, buffer, waited, 2));
    /* lane 0 -> lane 1 -> lane 2 orders lane 0 before lane 2; a wait for an earlier node of the lane is not enough */
    const struct row through[] = {{0, 0, 64, -1, "a"}, {1, 256, 64, 0, "b"}, {2, 0, 64, 1, "c"}};
    CHECK_OK(seal(conf, buffer, through, 3));
    const struct row too_early[] = {{0, 512, 64, -1, "a"}, {0, 0, 64, -1, "b"}, {1, 0, 64, 0, "c"}};
    CHECK_REFUSED(seal(conf, buffer, too_early, 3), BL_EINVAL, "\"b\"");
    const struct row hidden[] = {{0, 0, 256, -1, "a"}, {0, 64, 64, -1, "b"}, {1, 128, 4, -1, "c"}};
    CHECK_REFUSED(seal(conf, buffer, hidden, 3), BL_EINVAL, "\"a\"");
    bl_buffer_destroy(buffer);
}

static void tells_readers_from_writers(struct conf *conf)
{
    bl_buffer *from, *to;
    bl_list *list;
    CHECK_OK(conf_buffer(conf, 256, "from", &from));
    CHECK_OK(conf_buffer(conf, 256, "to", &to));
    /* many readers need no order */
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    for (uint32_t lane = 0; lane < 8; lane++)
        CHECK_OK(bl_list_copy(list, to, lane * 32, from, 0, 32, &(bl_order){.lane = lane}, NULL));
    CHECK_OK(bl_list_end(list));
    bl_list_destroy(list);
    /* a write after a read */
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_copy(list, to, 0, from, 0, 32, &(bl_order){.lane = 0, .label = "reader"}, NULL));
    CHECK_OK(bl_list_copy(list, to, 32, from, 0, 32, &(bl_order){.lane = 1, .label = "other reader"}, NULL));
    CHECK_OK(bl_list_fill(list, from, 28, 4, 0, &(bl_order){.lane = 1, .label = "writer"}, NULL));
    CHECK_REFUSED(bl_list_end(list), BL_EINVAL, "\"reader\" (lane 0) reads");
    CHECK(strstr(bl_error_text(), "\"writer\" (lane 1) writes"));
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, NULL, 0, NULL), BL_EINVAL, "sealed");
    CHECK_REFUSED(bl_list_end(list), BL_EINVAL, "failed");
    bl_list_destroy(list);
    /* a read after a write */
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_fill(list, from, 0, 256, 0, &(bl_order){.lane = 0, .label = "writer"}, NULL));
    CHECK_OK(bl_list_copy(list, to, 0, from, 0, 32, &(bl_order){.lane = 1, .label = "reader"}, NULL));
    CHECK_REFUSED(bl_list_end(list), BL_EINVAL, "\"writer\" (lane 0) writes");
    bl_list_destroy(list);
    bl_buffer_destroy(to);
    bl_buffer_destroy(from);
}

/* The answer is that of trying all pairs. */
static void agrees_with_all_pairs(struct conf *conf)
{
    static struct random_list random;
    bl_buffer *buffers[RANDOM_BUFFERS];
    uint32_t n_refused = 0, n_taken = 0;
    random_list_make(conf, &random, 1, 1, 0, false, 1);
    for (uint32_t b = 0; b < RANDOM_BUFFERS; b++)
        CHECK_OK(conf_buffer(conf, random_list_floats(&random) * sizeof(float), "random", &buffers[b]));
    for (uint32_t round = 0; round < 400; round++) {
        bl_list *list;
        random_list_make(conf, &random, 2 + (uint32_t)(conf_random(conf) % 60), 2 + round % 5, round % 4, false, 1);
        CHECK_OK(random_list_record(conf, &random, buffers, &list));
        CHECK(bl_list_end(list) == (random.is_ordered ? BL_OK : BL_EINVAL));
        random.is_ordered ? n_taken++ : n_refused++;
        bl_list_destroy(list);
    }
    CHECK(n_taken > 40 && n_refused > 40);
    for (uint32_t b = 0; b < RANDOM_BUFFERS; b++)
        bl_buffer_destroy(buffers[b]);
}

/* As long as a large model's step: 1600 nodes over many ranges, recorded and sealed in time that nobody notices. */
static void is_fast(struct conf *conf)
{
    enum { NODES = 1600, RANGES = 400 };
    bl_buffer *work, *weights;
    bl_list *list;
    uint32_t last[4] = {0};
    CHECK_OK(conf_buffer(conf, RANGES * 1024, "work", &work));
    CHECK_OK(conf_buffer(conf, NODES * 256, "weights", &weights));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    for (uint32_t n = 0; n < NODES; n++) {
        const uint32_t *waits = last;
        const bl_order order = {.lane = n % 4, .waits = n >= 4 ? waits : NULL, .n_waits = n >= 4 ? 4 : 0};
        uint32_t range = n * 37 % RANGES;
        CHECK_OK(bl_list_copy(list, work, range * 1024 + n % 3 * 64, weights, n * 256, 256, &order, &last[n % 4]));
    }
    uint64_t begin = conf_now_ns();
    CHECK_OK(bl_list_end(list));
    uint64_t ns = conf_now_ns() - begin;
    printf("    bl_list_end of %u nodes: %.2f ms\n", (unsigned)NODES, (double)ns / 1e6);
    CHECK(ns < 1000000000u);
    bl_list_destroy(list);
    bl_buffer_destroy(weights);
    bl_buffer_destroy(work);
}

const struct conf_case conf_hazards[] = {
    {"hazards.writers", finds_two_writers, 0},
    {"hazards.readers", tells_readers_from_writers, 0},
    {"hazards.random", agrees_with_all_pairs, 0},
    {"hazards.speed", is_fast, 0},
    {0},
};
