/* cuda.h: the CUDA back end's own objects. Private to backends/cuda/.
 *
 * Memory: DEVICE is the card's. UPLOAD is pinned host memory with a copy on the card that bl_buffer_sync brings up to date: kernels read
 * parameters of a step many times, and across the bus every read costs more than the kernel. READBACK is pinned host memory that kernels
 * write across the bus. Where the processor and the card share memory (Jetson), host-visible kinds are one piece of pinned memory, and
 * IMPORT_HOST registers the caller's.
 *
 * Order: a queue is a stream. A submission goes there as soon as everything it waits for has gone to its own stream before (queue.c), so a
 * stream never waits for what may never come; how far it is tells one event per submission. A list is a CUDA graph (list.c).
 *
 * The device's primary context is made current for the length of a call and taken off again, so a host program's own context stays. */
#ifndef BL_CUDA_CUDA_H
#define BL_CUDA_CUDA_H
#include "base/error.h"
#include "driver.h"
#include "hal/backend.h"

#include <pthread.h>
#include <stdatomic.h>

#define CU_WAYS 3u     /* kernel.c: dp4a, the int8 matrix units, the half float matrix units */
#define CU_WAY_HALF 3u /* other sums than the others' */
#define CU_BINDINGS (2u + 4u * BL_LINEAR_SEGMENTS)
/* What every kernel takes, by value; as in cuda/device.cuh. */
struct cu_args {
    cu_address binding[CU_BINDINGS];
    uint32_t push[32];
};

struct cu_flight; /* queue.c: a submission */
struct cu_queue {
    bl_queue base;
    cu_stream stream;
    uint64_t reached, flushed;                /* device lock: values that are complete, and that the stream has */
    struct cu_flight *pending, **last;        /* device lock: not in the stream yet, oldest first */
    struct cu_flight *flying, **last_flying;  /* device lock: in the stream, oldest first */
    struct cu_queue *next;
};

struct cu_device {
    bl_device base;
    struct cu_driver cu;
    cu_ordinal ordinal;
    cu_context context;
    cu_module module;
    char name[128], facts[128], driver[16];
    uint32_t capability; /* 90 = 9.0 */
    bool read_only_import;
    _Atomic cu_result lost; /* what the driver answered when it was; CU_OK: it is not */

    pthread_mutex_t lock;
    struct cu_queue *queues;
    struct cu_flight *spare; /* events to be used again */
};

struct cu_buffer {
    bl_buffer base;
    cu_address address;  /* what kernels are given */
    void *pinned;        /* host memory of the driver's */
    bool on_card, registered; /* address is the card's memory; base.host was registered */
};

struct cu_kernel {
    bl_kernel base;
    cu_function function, tile; /* tile: attention of many rows; else 0 */
    uint32_t threads;
};

/* One end of a copy. */
struct cu_place {
    void *host; /* or NULL: on the card */
    cu_address address;
};

enum cu_node_kind { CU_NODE_DISPATCH, CU_NODE_COPY, CU_NODE_FILL };
struct cu_node {
    enum cu_node_kind kind;
    uint32_t n_after, *after; /* ids of earlier nodes, each once */
    struct cu_args *args;
    cu_function function;
    uint32_t grid[3], threads, lane;
    bool is_shared; /* among blocks along z, with scratch memory (cuda/shares.h) */
    struct cu_place to, from;
    uint64_t bytes;
    uint32_t pattern;
};

struct cu_lane {
    uint32_t last;                          /* its last node's id + 1 */
    uint64_t counter_bytes, sum_bytes;      /* scratch memory of its largest node: nodes of a lane do not overlap */
};
/* A graph that can be launched, and the scratch memory of its nodes. */
struct cu_exec {
    cu_graph_exec graph; /* NULL: not made */
    cu_address scratch;  /* 0: none */
};
struct cu_list {
    bl_list base;
    struct cu_node *nodes;
    uint32_t n_nodes, capacity;
    struct cu_lane lanes[BL_MAX_LANES];
    struct cu_exec exec;
    struct cu_exec timed; /* the same with events around every node; made when first asked for */
    cu_event *events;     /* start, then begin and end of each node */
};

/* Opens the driver; on failure nothing is left and the error says what is missing. */
bl_status cu_driver_open(struct cu_driver *out) BL_MUST_USE;
void cu_driver_close(struct cu_driver *driver);
const char *cu_result_name(const struct cu_driver *driver, cu_result result);
/* What a device must be; false with the reason. */
bool cu_device_fits(const struct cu_driver *driver, cu_ordinal ordinal, char *reason, size_t bytes);
/* Describes device `index`, as found by a child process once per process; false past the last. */
bool cu_probe(uint32_t index, bl_device_info *out);
/* False where no driver need be asked. */
bool cu_hopeful(void);

/* Turns an answer of the driver into a status with a line of text; remembers a lost device. */
bl_status cu_answer(struct cu_device *device, cu_result result, const char *what) BL_MUST_USE;
/* Remembers the first reason. */
void cu_lose(struct cu_device *device, cu_result reason);
/* The context is current from enter to leave, which passes `status` on. */
bl_status cu_enter(struct cu_device *device) BL_MUST_USE;
bl_status cu_leave(struct cu_device *device, bl_status status);
/* For what cannot fail: false when the context cannot be had; then there is nothing to release either. */
bool cu_enter_quietly(struct cu_device *device);

/* image.c or its stand-in: the kernels as a fat binary, or a text that says why there are none. */
extern const unsigned char cu_image[];
extern const bool cu_image_has_kernels;
bl_status cu_module_open(struct cu_device *device) BL_MUST_USE;

bl_status cu_buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out) BL_MUST_USE;
void cu_buffer_destroy(bl_buffer *buffer);
bl_status cu_buffer_sync(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device) BL_MUST_USE;

bl_status cu_kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out) BL_MUST_USE;
void cu_kernel_destroy(bl_kernel *kernel);

bl_status cu_queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out) BL_MUST_USE;
void cu_queue_destroy(bl_queue *queue);
bl_status cu_queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value) BL_MUST_USE;
bl_status cu_queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns) BL_MUST_USE;
void cu_queue_free_spare(struct cu_device *device);

bl_status cu_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
bl_status cu_list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch) BL_MUST_USE;
bl_status cu_list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                       uint64_t bytes, const struct bl_recorded_order *order) BL_MUST_USE;
bl_status cu_list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                       const struct bl_recorded_order *order) BL_MUST_USE;
bl_status cu_list_end(bl_list *list) BL_MUST_USE;
void cu_list_destroy(bl_list *list);
bl_status cu_list_timings(bl_list *list, bl_node_timing *out) BL_MUST_USE;
/* The graph with events; makes it at the first call. The context is current. */
bl_status cu_list_make_timed(struct cu_list *list) BL_MUST_USE;
#endif
