/* chaos.h: the chaos back end's own objects. Private to backends/chaos/. It is a client of the public API on the device it wraps. */
#ifndef BL_CHAOS_H
#define BL_CHAOS_H
#include "base/error.h"
#include "hal/backend.h"
#include "hal/kernel.h"

#include <pthread.h>
#include <stdatomic.h>

struct chaos_device {
    bl_device base;
    bl_device *inner;
    char name[160];
    uint64_t seed, fail_at, memory; /* memory: 0 = that of the inner device */
    _Atomic uint64_t memory_used;
    _Atomic uint64_t n_calls; /* fallible ones so far */
    pthread_mutex_t lock;     /* time lines, submissions, `lost`, n_queues_made */
    pthread_cond_t changed;
    bool lost;
    uint64_t n_queues_made;
};

struct chaos_buffer {
    bl_buffer base;
    bl_buffer *inner;
};

struct chaos_kernel {
    bl_kernel base;
    bl_kernel *inner; /* owned by the inner device */
};

/* Each node is a list of its own on the inner device, so that any order can be played. */
struct chaos_node {
    bl_list *inner;
    uint32_t n_before;                 /* nodes that must come first */
    uint32_t first_after, n_after;     /* nodes that this one lets go, in chaos_list.after */
};

struct chaos_edge {
    uint32_t before, after;
};

struct chaos_list {
    bl_list base;
    struct chaos_node *nodes;
    uint32_t n_nodes, node_capacity;
    uint32_t last_of_lane[BL_MAX_LANES]; /* last node + 1, while recording */
    struct chaos_edge *edges;
    uint32_t n_edges, edge_capacity;
    uint32_t *after; /* since list_end */
};

/* Counts one fallible call: true when it is the one that fails. */
bool chaos_fails(struct chaos_device *device);
#define CHAOS_TRY(device)                                                                               \
    do {                                                                                                \
        if (chaos_fails((struct chaos_device *)(device)))                                               \
            BL_FAIL(BL_EDEVMEM, "chaos: call %llu fails as asked",                                      \
                    (unsigned long long)((struct chaos_device *)(device))->fail_at);                    \
    } while (0)

/* A reproducible number from a state that it advances. */
uint64_t chaos_random(uint64_t *state);

bl_status chaos_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
bl_status chaos_list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch) BL_MUST_USE;
bl_status chaos_list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                          uint64_t bytes, const struct bl_recorded_order *order) BL_MUST_USE;
bl_status chaos_list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                          const struct bl_recorded_order *order) BL_MUST_USE;
bl_status chaos_list_end(bl_list *list) BL_MUST_USE;
void chaos_list_destroy(bl_list *list);
/* Plays the nodes on the inner queue, in an order drawn from `state`. `order` and `left` are scratch of n_nodes words each. */
bl_status chaos_list_play(const struct chaos_list *list, bl_queue *inner, uint64_t *state, uint32_t *order, uint32_t *left) BL_MUST_USE;
#endif
