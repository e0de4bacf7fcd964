/* conformance.h: what a conformance case sees: an opened device, a queue, a step buffer, and helpers that move data in ways that every
 * back end must support. A case is a function in the table of its area; which device it runs on is not its business. */
#ifndef BL_CONFORMANCE_H
#define BL_CONFORMANCE_H
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <bitloom/device.h>
#include <bitloom/log.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a case needs, and a registration has. */
enum {
    HAS_RESULTS = 1,    /* lists really move bytes, fences really wait */
    HAS_KERNELS = 2,    /* binary and select */
    HAS_ALL_KERNELS = 4, /* every row of kernels.def */
    HAS_TIMINGS = 8,
    HAS_CHAOS = 16,     /* random orders, chaos_fail_at */
    HAS_LAZY_MEMORY = 32, /* untouched pages of large buffers cost nothing */
    HAS_THREADS = 64    /* n_threads says how many compute */
};

struct conf {
    bl_device *device;
    bl_queue *queue;
    bl_buffer *step;     /* UPLOAD; 1 row, 1 output row */
    bl_device_params params; /* as opened */
    uint64_t random;
    uint32_t n_errors_expected; /* error lines in the log that the case provokes */
    bool failed;
    char skip[160];      /* set by a case that finds out it cannot run here */
};

struct conf_case {
    const char *name;
    void (*run)(struct conf *conf);
    uint32_t needs;
};

struct conf_exception {
    const char *glob, *reason;
};
/* One per back end, in register_NAME.c. Both lists end with {0}. */
struct conf_registration {
    const char *device; /* the default of --device */
    uint32_t has;
    const struct conf_exception *unsupported;       /* for good */
    const struct conf_exception *expected_failures; /* until mended; with BL_VERIFY_XFAIL=1 one that passes is a failure */
};

void conf_fail(struct conf *conf, const char *file, int line, const char *text);
#define CHECK(condition)                                         \
    do {                                                         \
        if (!(condition)) {                                      \
            conf_fail(conf, __FILE__, __LINE__, #condition);     \
            return;                                              \
        }                                                        \
    } while (0)
#define CHECK_OK(expr) CHECK((expr) == BL_OK)
/* The call is refused with this status, and the text names what is wrong. */
#define CHECK_REFUSED(expr, status, word)                        \
    do {                                                         \
        CHECK((expr) == (status));                               \
        CHECK(strstr(bl_error_text(), (word)) != NULL);          \
    } while (0)

uint64_t conf_random(struct conf *conf);
uint64_t conf_now_ns(void);
uint32_t conf_log_errors(void);

bl_status conf_buffer(struct conf *conf, uint64_t bytes, const char *label, bl_buffer **out); /* DEVICE */
/* Through UPLOAD and READBACK memory and a copy, waited for. */
bl_status conf_write(struct conf *conf, bl_buffer *to, uint64_t offset, const void *from, uint64_t bytes);
bl_status conf_read(struct conf *conf, bl_buffer *from, uint64_t offset, void *to, uint64_t bytes);
/* Submits and waits; a minute at most. */
bl_status conf_run(struct conf *conf, bl_list *list);
bl_status conf_wait(bl_queue *queue, uint64_t value);

/* y = x kind z over n floats; offsets in floats. */
struct conf_range {
    bl_buffer *buffer;
    uint64_t first;
};
bl_status conf_binary(struct conf *conf, bl_list *list, uint32_t kind, struct conf_range x, struct conf_range z, struct conf_range y,
                      uint32_t n, const bl_order *order, uint32_t *node);

extern const struct conf_case conf_buffers[], conf_devices[], conf_failure[], conf_hazards[], conf_kernels[], conf_lanes[], conf_lists[],
    conf_queues[], conf_replay[], conf_threads[];
#endif
