/* lists.c: copies, fills, recording mistakes, sealing, timings. */
#include "conformance.h"

static void copies_bytes(struct conf *conf)
{
    enum { BYTES = 300000 };
    unsigned char *reference = malloc(BYTES), *back = malloc(BYTES), *source = malloc(BYTES);
    bl_buffer *from, *to;
    bl_list *list;
    CHECK(reference && back && source);
    for (uint32_t i = 0; i < BYTES; i++) {
        source[i] = (unsigned char)conf_random(conf);
        reference[i] = (unsigned char)(i * 7);
    }
    CHECK_OK(conf_buffer(conf, BYTES, "from", &from));
    CHECK_OK(conf_buffer(conf, BYTES, "to", &to));
    CHECK_OK(conf_write(conf, from, 0, source, BYTES));
    CHECK_OK(conf_write(conf, to, 0, reference, BYTES));
    static const struct { uint32_t to, from, bytes; } copies[] = {
        {0, 0, 1}, {5, 3, 1}, {101, 7, 63}, {1000, 2000, 4096}, {10001, 5003, 100003}, {131072, 65536, 65536}, {199999, 1, 100001}};
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    for (uint32_t c = 0; c < sizeof copies / sizeof copies[0]; c++) {
        CHECK_OK(bl_list_copy(list, to, copies[c].to, from, copies[c].from, copies[c].bytes, NULL, NULL));
        memcpy(reference + copies[c].to, source + copies[c].from, copies[c].bytes);
    }
    CHECK_OK(bl_list_copy(list, to, 0, to, 150000, 150000, NULL, NULL)); /* within a buffer */
    memcpy(reference, reference + 150000, 150000);
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(conf_read(conf, to, 0, back, BYTES));
    CHECK(memcmp(back, reference, BYTES) == 0);
    bl_list_destroy(list);
    bl_buffer_destroy(from);
    bl_buffer_destroy(to);
    free(reference);
    free(back);
    free(source);
}

static void fills_words(struct conf *conf)
{
    enum { WORDS = 70000 };
    uint32_t *back = malloc(WORDS * 4);
    bl_buffer *buffer;
    bl_list *list;
    CHECK(back);
    CHECK_OK(conf_buffer(conf, WORDS * 4, "filled", &buffer));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_fill(list, buffer, 0, WORDS * 4, 0x01020304u, NULL, NULL));
    CHECK_OK(bl_list_fill(list, buffer, 4, 4, 0xdeadbeefu, NULL, NULL));
    CHECK_OK(bl_list_fill(list, buffer, 4000, 80000, 0x7fc00000u, NULL, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(conf_read(conf, buffer, 0, back, WORDS * 4));
    for (uint32_t i = 0; i < WORDS; i++)
        CHECK(back[i] == (i == 1 ? 0xdeadbeefu : i >= 1000 && i < 21000 ? 0x7fc00000u : 0x01020304u));
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
    free(back);
}

static void runs_empty_lists(struct conf *conf)
{
    bl_list *list;
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_end(list));
    for (int i = 0; i < 3; i++)
        CHECK_OK(conf_run(conf, list));
    bl_list_destroy(list);
}

static void refuses_mistakes(struct conf *conf)
{
    bl_buffer *a, *upload, *readback;
    bl_list *list = (bl_list *)1;
    uint32_t node = 9;
    uint64_t value;
    CHECK_REFUSED(bl_list_begin(conf->device, 1, &list), BL_EINVAL, "flags");
    CHECK(list == NULL);
    CHECK_REFUSED(bl_list_begin(NULL, 0, &list), BL_EINVAL, "device");
    CHECK_OK(conf_buffer(conf, 64, "apple", &a));
    CHECK_OK(bl_buffer_create(conf->device, &(bl_buffer_params){64, BL_MEM_UPLOAD, NULL, "plum"}, &upload));
    CHECK_OK(bl_buffer_create(conf->device, &(bl_buffer_params){64, BL_MEM_READBACK, NULL, "pear"}, &readback));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, NULL, 0, &value), BL_EINVAL, "sealed");

    bl_order order = {.label = "bad"};
    CHECK_REFUSED(bl_list_copy(list, a, 0, upload, 1, 64, &order, &node), BL_EINVAL, "plum");
    CHECK(strstr(bl_error_text(), "\"bad\"") && node == 0);
    CHECK_REFUSED(bl_list_copy(list, a, 60, upload, 0, 5, &order, NULL), BL_EINVAL, "apple");
    CHECK_REFUSED(bl_list_copy(list, a, UINT64_MAX, upload, 0, 2, &order, NULL), BL_EINVAL, "apple");
    CHECK_REFUSED(bl_list_copy(list, a, 0, upload, 0, 0, &order, NULL), BL_EINVAL, "0 bytes");
    CHECK_REFUSED(bl_list_copy(list, a, 0, a, 15, 16, &order, NULL), BL_EINVAL, "overlap");
    CHECK_REFUSED(bl_list_copy(list, upload, 0, a, 0, 4, &order, NULL), BL_EINVAL, "UPLOAD");
    CHECK_REFUSED(bl_list_copy(list, a, 0, readback, 0, 4, &order, NULL), BL_EINVAL, "READBACK");
    CHECK_REFUSED(bl_list_copy(list, NULL, 0, a, 0, 4, &order, NULL), BL_EINVAL, "to");
    CHECK_REFUSED(bl_list_fill(list, a, 2, 4, 0, &order, NULL), BL_EINVAL, "multiples of 4");
    CHECK_REFUSED(bl_list_fill(list, a, 0, 6, 0, &order, NULL), BL_EINVAL, "multiples of 4");
    CHECK_REFUSED(bl_list_fill(list, a, 64, 4, 0, &order, NULL), BL_EINVAL, "apple");
    const uint32_t later[] = {0};
    order.waits = later;
    order.n_waits = 1;
    CHECK_REFUSED(bl_list_fill(list, a, 0, 4, 0, &order, NULL), BL_EINVAL, "waits[0]");
    order.waits = NULL;
    CHECK_REFUSED(bl_list_fill(list, a, 0, 4, 0, &order, NULL), BL_EINVAL, "waits");
    order = (bl_order){.lane = BL_MAX_LANES, .label = "bad"};
    CHECK_REFUSED(bl_list_fill(list, a, 0, 4, 0, &order, NULL), BL_EINVAL, "lane");

    /* What was refused left no trace: the first node is node 0. */
    CHECK_OK(bl_list_fill(list, a, 0, 64, 5, NULL, &node));
    CHECK(node == 0);
    CHECK_OK(bl_list_copy(list, readback, 0, a, 0, 64, NULL, &node));
    CHECK(node == 1);
    CHECK_OK(bl_list_end(list));
    CHECK_REFUSED(bl_list_end(list), BL_EINVAL, "sealed");
    CHECK_REFUSED(bl_list_fill(list, a, 0, 4, 0, NULL, NULL), BL_EINVAL, "sealed");
    CHECK_OK(conf_run(conf, list));

    /* A buffer that is gone. */
    bl_buffer_destroy(a);
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, NULL, 0, &value), BL_EINVAL, "apple");
    CHECK(value == 0);
    bl_list_destroy(list);
    bl_buffer_destroy(upload);
    bl_buffer_destroy(readback);
}

static void refuses_other_devices(struct conf *conf)
{
    bl_device *other;
    bl_buffer *theirs, *ours;
    bl_list *list, *their_list;
    CHECK_OK(bl_device_open(&conf->params, &other));
    CHECK_OK(bl_buffer_create(other, &(bl_buffer_params){.bytes = 64, .label = "theirs"}, &theirs));
    CHECK_OK(conf_buffer(conf, 64, "ours", &ours));
    CHECK_OK(bl_list_begin(other, 0, &their_list));
    CHECK_OK(bl_list_end(their_list));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_REFUSED(bl_list_copy(list, ours, 0, theirs, 0, 4, NULL, NULL), BL_EINVAL, "theirs");
    CHECK_REFUSED(bl_queue_submit(conf->queue, their_list, NULL, 0, NULL), BL_EINVAL, "device");
    bl_list_destroy(their_list);
    bl_list_destroy(list);
    bl_buffer_destroy(ours);
    bl_buffer_destroy(theirs);
    bl_device_close(other);
}

static void times_nodes(struct conf *conf)
{
    bl_buffer *buffer;
    bl_list *list;
    bl_node_timing timings[4];
    uint32_t n = 7;
    CHECK_OK(conf_buffer(conf, 1 << 20, "timed", &buffer));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    for (uint32_t i = 0; i < 3; i++)
        CHECK_OK(bl_list_fill(list, buffer, 0, 1 << 20, i, &(bl_order){.lane = 2, .label = i == 1 ? "second" : NULL}, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_REFUSED(bl_list_timings(list, timings, 4, &n), BL_EUNSUPPORTED, "bl_list_enable_timings");
    CHECK(n == 0);
    CHECK_OK(bl_list_enable_timings(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(bl_list_timings(list, timings, 2, &n));
    CHECK(n == 3);
    CHECK_OK(bl_list_timings(list, timings, 4, &n));
    for (uint32_t i = 0; i < 3; i++)
        CHECK(timings[i].begin_ns <= timings[i].end_ns && timings[i].lane == 2 && (i == 0 || timings[i].begin_ns >= timings[i - 1].end_ns));
    CHECK(timings[0].begin_ns < timings[2].end_ns);
    CHECK(strcmp(timings[1].label, "second") == 0 && strcmp(timings[0].label, "fill") == 0);
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
}

const struct conf_case conf_lists[] = {
    {"lists.copy", copies_bytes, HAS_RESULTS},
    {"lists.fill", fills_words, HAS_RESULTS},
    {"lists.empty", runs_empty_lists, 0},
    {"lists.refusals", refuses_mistakes, 0},
    {"lists.devices", refuses_other_devices, 0},
    {"lists.timings", times_nodes, HAS_RESULTS | HAS_TIMINGS},
    {0},
};
