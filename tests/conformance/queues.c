/* queues.c: time lines, fences between queues, waiting before signalling, time limits. */
#include "conformance.h"

/* A list that writes `value` to word `index`. */
static bl_status make_fill(struct conf *conf, bl_buffer *buffer, uint32_t index, uint32_t value, bl_list **out)
{
    bl_status status = bl_list_begin(conf->device, 0, out);
    if (status == BL_OK)
        status = bl_list_fill(*out, buffer, index * 4, 4, value, NULL, NULL);
    return status == BL_OK ? bl_list_end(*out) : status;
}

static bl_status make_copy(struct conf *conf, bl_buffer *buffer, uint32_t to, uint32_t from, bl_list **out)
{
    bl_status status = bl_list_begin(conf->device, 0, out);
    if (status == BL_OK)
        status = bl_list_copy(*out, buffer, to * 4, buffer, from * 4, 4, NULL, NULL);
    return status == BL_OK ? bl_list_end(*out) : status;
}

static void counts_submissions(struct conf *conf)
{
    bl_buffer *buffer;
    bl_list *list;
    uint64_t value;
    CHECK_OK(conf_buffer(conf, 16, "word", &buffer));
    CHECK_OK(make_fill(conf, buffer, 0, 1, &list));
    CHECK_OK(bl_queue_wait(conf->queue, 0, 0));
    for (uint64_t i = 1; i <= 100; i++) {
        CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, &value));
        CHECK(value == i);
    }
    CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, NULL));
    CHECK_OK(conf_wait(conf->queue, 50));
    CHECK_OK(bl_queue_wait(conf->queue, 50, 0));
    CHECK_OK(conf_wait(conf->queue, 101));
    CHECK_OK(bl_queue_wait(conf->queue, 101, 0));
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
}

static void keeps_time_limits(struct conf *conf)
{
    CHECK_REFUSED(bl_queue_wait(conf->queue, 1, 0), BL_ETIMEOUT, "");
    uint64_t begin = conf_now_ns();
    CHECK_REFUSED(bl_queue_wait(conf->queue, 1, 3000000), BL_ETIMEOUT, "value 1");
    CHECK(conf_now_ns() - begin >= 3000000);
    CHECK_REFUSED(bl_queue_wait(conf->queue, UINT64_MAX, 1), BL_ETIMEOUT, "");
}

static void goes_on_while_only_polled(struct conf *conf)
{
    bl_buffer *buffer;
    bl_list *list;
    uint64_t value, begin = conf_now_ns();
    CHECK_OK(conf_buffer(conf, 16, "word", &buffer));
    CHECK_OK(make_fill(conf, buffer, 0, 1, &list));
    for (uint32_t i = 0; i < 20; i++) {
        CHECK_OK(bl_queue_submit(conf->queue, list, NULL, 0, &value));
        while (bl_queue_wait(conf->queue, value, 0) != BL_OK)
            CHECK(conf_now_ns() - begin < UINT64_C(60000000000));
    }
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
}

static void waits_before_the_signal(struct conf *conf)
{
    bl_queue *second;
    bl_buffer *buffer;
    bl_list *fill, *copy;
    uint64_t copied, filled;
    uint32_t back[2];
    CHECK_OK(bl_queue_create(conf->device, BL_QUEUE_TRANSFER, &second));
    CHECK_OK(conf_buffer(conf, 8, "words", &buffer));
    CHECK_OK(make_fill(conf, buffer, 0, 42, &fill));
    CHECK_OK(make_copy(conf, buffer, 1, 0, &copy));
    CHECK_OK(bl_queue_submit(second, copy, &(bl_fence){conf->queue, 2}, 1, &copied)); /* nothing was submitted there yet */
    CHECK_REFUSED(bl_queue_wait(second, copied, 2000000), BL_ETIMEOUT, "");
    bl_list *empty;
    CHECK_OK(bl_list_begin(conf->device, 0, &empty));
    CHECK_OK(bl_list_end(empty));
    CHECK_OK(bl_queue_submit(conf->queue, empty, NULL, 0, NULL));
    CHECK_REFUSED(bl_queue_wait(second, copied, 2000000), BL_ETIMEOUT, "");
    CHECK_OK(bl_queue_submit(conf->queue, fill, NULL, 0, &filled));
    CHECK(filled == 2);
    CHECK_OK(conf_wait(second, copied));
    CHECK_OK(bl_queue_wait(conf->queue, filled, 0));
    CHECK_OK(conf_read(conf, buffer, 0, back, sizeof back));
    CHECK(back[0] == 42 && back[1] == 42);
    bl_list_destroy(empty);
    bl_list_destroy(copy);
    bl_list_destroy(fill);
    bl_buffer_destroy(buffer);
    bl_queue_destroy(second);
}

/* A chain through several queues, submitted backwards. */
static void chains_queues(struct conf *conf)
{
    enum { QUEUES = 6, ROUNDS = 10 };
    bl_queue *queues[QUEUES];
    bl_list *lists[QUEUES];
    bl_buffer *buffer;
    uint32_t back[QUEUES + 1];
    CHECK_OK(conf_buffer(conf, sizeof back, "chain", &buffer));
    for (uint32_t q = 0; q < QUEUES; q++) {
        CHECK_OK(bl_queue_create(conf->device, BL_QUEUE_COMPUTE, &queues[q]));
        CHECK_OK(make_copy(conf, buffer, q + 1, q, &lists[q]));
    }
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        CHECK_OK(conf_write(conf, buffer, 0, &round, sizeof round));
        for (uint32_t q = QUEUES; q-- > 0;)
            CHECK_OK(bl_queue_submit(queues[q], lists[q], q ? &(bl_fence){queues[q - 1], round} : NULL, q > 0, NULL));
        CHECK_OK(conf_wait(queues[QUEUES - 1], round));
        CHECK_OK(conf_read(conf, buffer, 0, back, sizeof back));
        CHECK(back[QUEUES] == round);
    }
    for (uint32_t q = 0; q < QUEUES; q++) {
        bl_list_destroy(lists[q]);
        bl_queue_destroy(queues[q]);
    }
    bl_buffer_destroy(buffer);
}

/* Everything that a pending submission uses is destroyed before it may run. */
static void destroys_late(struct conf *conf)
{
    bl_queue *second;
    bl_buffer *source, *middle, *kept;
    bl_list *fill, *copies, *empty;
    uint64_t value;
    uint32_t back = 0;
    const uint32_t seven = 7;
    CHECK_OK(bl_queue_create(conf->device, BL_QUEUE_COMPUTE, &second));
    CHECK_OK(conf_buffer(conf, 4, "source", &source));
    CHECK_OK(conf_buffer(conf, 1 << 20, "middle", &middle));
    CHECK_OK(conf_buffer(conf, 4, "kept", &kept));
    CHECK_OK(conf_write(conf, source, 0, &seven, 4));
    CHECK_OK(bl_list_begin(conf->device, 0, &copies));
    CHECK_OK(bl_list_copy(copies, middle, 4096, source, 0, 4, NULL, NULL));
    CHECK_OK(bl_list_copy(copies, kept, 0, middle, 4096, 4, NULL, NULL));
    CHECK_OK(bl_list_end(copies));
    CHECK_OK(make_fill(conf, kept, 0, 1, &fill));
    CHECK_OK(bl_list_begin(conf->device, 0, &empty));
    CHECK_OK(bl_list_end(empty));
    CHECK_OK(bl_queue_submit(second, copies, &(bl_fence){conf->queue, 3}, 1, NULL)); /* conf_write was 1 */
    CHECK_OK(bl_queue_submit(second, copies, NULL, 0, &value));
    bl_list_destroy(copies);
    bl_buffer_destroy(source);
    bl_buffer_destroy(middle);
    CHECK_OK(bl_queue_submit(conf->queue, fill, NULL, 0, NULL));
    bl_list_destroy(fill);
    CHECK_OK(bl_queue_submit(conf->queue, empty, NULL, 0, NULL));
    bl_list_destroy(empty);
    CHECK_OK(conf_wait(second, value));
    CHECK_OK(conf_read(conf, kept, 0, &back, 4));
    CHECK(back == 7);
    bl_buffer_destroy(kept);
    bl_queue_destroy(second);
}

static void refuses_mistakes(struct conf *conf)
{
    bl_list *list;
    bl_queue *queue;
    uint64_t value = 5;
    CHECK_REFUSED(bl_queue_create(NULL, BL_QUEUE_COMPUTE, &queue), BL_EINVAL, "device");
    CHECK_REFUSED(bl_queue_create(conf->device, (bl_queue_kind)7, &queue), BL_EINVAL, "kind 7");
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_end(list));
    CHECK_REFUSED(bl_queue_submit(NULL, list, NULL, 0, &value), BL_EINVAL, "queue");
    CHECK(value == 0);
    CHECK_REFUSED(bl_queue_submit(conf->queue, NULL, NULL, 0, NULL), BL_EINVAL, "list");
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, NULL, 2, NULL), BL_EINVAL, "waits");
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, &(bl_fence){NULL, 1}, 1, NULL), BL_EINVAL, "waits[0].queue");
    CHECK_REFUSED(bl_queue_submit(conf->queue, list, &(bl_fence){conf->queue, 1}, 1, NULL), BL_EINVAL, "for ever");
    CHECK_OK(bl_queue_submit(conf->queue, list, &(bl_fence){conf->queue, 0}, 1, &value));
    CHECK(value == 1);
    CHECK_OK(conf_wait(conf->queue, value));
    bl_list_destroy(list);
}

static void stays_alive_while_busy(struct conf *conf)
{
    bl_queue *second;
    bl_list *empty;
    uint64_t value;
    CHECK_OK(bl_queue_create(conf->device, BL_QUEUE_COMPUTE, &second));
    CHECK_OK(bl_list_begin(conf->device, 0, &empty));
    CHECK_OK(bl_list_end(empty));
    CHECK_OK(bl_queue_submit(second, empty, &(bl_fence){conf->queue, 1}, 1, &value));
    conf->n_errors_expected = 1;
    bl_queue_destroy(second); /* a mistake: refused, and said in the log */
    CHECK_OK(bl_queue_submit(conf->queue, empty, NULL, 0, NULL));
    CHECK_OK(conf_wait(second, value));
    bl_list_destroy(empty);
    bl_queue_destroy(second);
}

const struct conf_case conf_queues[] = {
    {"queues.values", counts_submissions, 0},
    {"queues.timeout", keeps_time_limits, 0},
    {"queues.poll", goes_on_while_only_polled, 0},
    {"queues.wait_before_signal", waits_before_the_signal, HAS_RESULTS},
    {"queues.chain", chains_queues, HAS_RESULTS},
    {"queues.destroy_late", destroys_late, HAS_RESULTS},
    {"queues.refusals", refuses_mistakes, 0},
    {"queues.busy", stays_alive_while_busy, HAS_RESULTS},
    {0},
};
