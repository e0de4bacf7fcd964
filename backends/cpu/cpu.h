/* cpu.h: the CPU back end's own objects. Private to backends/cpu/. */
#ifndef BL_CPU_H
#define BL_CPU_H
#include "base/arena.h"
#include "base/error.h"
#include "cpu_fallback/ops.h"
#include "hal/backend.h"

#include <pthread.h>
#include <stdatomic.h>

#define CPU_MAX_THREADS 256u

struct cpu_buffer {
    bl_buffer base;
    size_t mapped; /* bytes from mmap; 0: from aligned_alloc, or imported */
};

struct cpu_kernel {
    bl_kernel base;
    struct bl_cpu_kernel cpu;
};

/* ---- lists: nodes in waves; the nodes of a wave are cut into tasks that may run in any order ---- */

struct cpu_node {
    bl_cpu_fn fn;
    struct bl_cpu_call call;
    uint32_t wave;
    uint32_t n_groups; /* workgroups */
    uint64_t work;     /* bytes that it touches, as an estimate of its length */
};

struct cpu_task {
    uint32_t node, first, last; /* workgroups first .. last - 1 */
};

struct cpu_wave {
    uint32_t first_task, n_tasks;
    uint64_t work;
    bool solo; /* so little work that one thread is faster alone */
};

struct cpu_timing {
    _Atomic uint64_t begin_ns, end_ns;
};

struct cpu_scratch; /* one piece per thread, shared by the lists that were sealed since it last grew */

struct cpu_list {
    bl_list base;
    struct bl_arena arena; /* bindings and push bytes of the nodes */
    struct cpu_node *nodes;
    uint32_t n_nodes, capacity;
    uint32_t *last_of_lane; /* last node of each lane + 1, while recording */
    uint32_t n_lanes;
    size_t scratch_bytes;

    struct cpu_wave *waves; /* from here: since list_end */
    uint32_t n_waves;
    struct cpu_task *tasks;
    uint64_t work;
    struct cpu_scratch *scratch;
    struct cpu_timing *timings; /* once a submission was timed */
};

/* ---- queues and the pool ---- */

struct cpu_fence {
    struct cpu_queue *queue;
    uint64_t value;
};

struct cpu_submission {
    struct cpu_submission *next;
    struct cpu_queue *queue;
    struct cpu_list *list;
    uint64_t value;
    uint64_t number; /* order of submission over all queues */
    bool timed;
    uint32_t n_waits;
    struct cpu_fence waits[];
};

struct cpu_queue {
    bl_queue base;
    _Atomic uint64_t reached;
    struct cpu_submission *first, *last; /* pool's lock */
    struct cpu_queue *next;              /* pool's lock */
};

struct cpu_pool;
/* n_threads threads compute at most, a waiting one included. Fewer, with a warning, if the system does not give that many. */
bl_status cpu_pool_create(uint32_t n_threads, struct cpu_pool **out) BL_MUST_USE;
void cpu_pool_destroy(struct cpu_pool *pool);
uint32_t cpu_pool_threads(const struct cpu_pool *pool);
void cpu_pool_add(struct cpu_pool *pool, struct cpu_queue *queue);
void cpu_pool_remove(struct cpu_pool *pool, struct cpu_queue *queue);
void cpu_pool_submit(struct cpu_pool *pool, struct cpu_submission *submission);
bl_status cpu_pool_wait(struct cpu_pool *pool, struct cpu_queue *queue, uint64_t value, uint64_t timeout_ns) BL_MUST_USE;
/* Cores that this process may use. */
uint32_t cpu_cores_allowed(void);

struct cpu_device {
    bl_device base;
    uint32_t mask;
    char name[128], facts[128];
    struct cpu_pool *pool;
    pthread_mutex_t scratch_lock;
    struct cpu_scratch *scratch; /* the newest; a reference held */
};

bl_status cpu_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
bl_status cpu_list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch) BL_MUST_USE;
bl_status cpu_list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                        uint64_t bytes, const struct bl_recorded_order *order) BL_MUST_USE;
bl_status cpu_list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                        const struct bl_recorded_order *order) BL_MUST_USE;
bl_status cpu_list_end(bl_list *list) BL_MUST_USE;
void cpu_list_destroy(bl_list *list);
bl_status cpu_list_timings(bl_list *list, bl_node_timing *out) BL_MUST_USE;
/* Room for the timings of a submission; called before the first timed one. */
bl_status cpu_list_prepare_timings(struct cpu_list *list) BL_MUST_USE;

/* The piece of thread `seat`. */
void *cpu_scratch_of(const struct cpu_scratch *scratch, uint32_t seat);
void cpu_scratch_unref(struct cpu_device *device, struct cpu_scratch *scratch);
#endif
