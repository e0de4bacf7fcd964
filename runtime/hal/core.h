/* core.h: what the core keeps behind each object. Private to runtime/hal/: back ends and everything above see only backend.h and
 * bitloom/device.h. */
#ifndef BL_HAL_CORE_H
#define BL_HAL_CORE_H
#include "base/arena.h"
#include "base/error.h"
#include "hal/backend.h"
#include "hal/devices.h"

#include <pthread.h>
#include <stdatomic.h>

/* A caller's mistake: found here, once. */
#define REQUIRE(condition, ...)                                                     \
    do {                                                                            \
        if (!(condition))                                                           \
            return bl_error_push(BL_EINVAL, __FILE__, __LINE__, __VA_ARGS__);       \
    } while (0)
#define REQUIRE_OBJECT(expr) REQUIRE((expr) != NULL, "%s: " #expr " is NULL", __func__)

struct kernel_entry {
    struct bl_kernel_key key;
    bl_kernel *kernel; /* NULL: unsupported */
};

struct bl_device_core {
    const struct bl_backend *backend;
    char id[80]; /* as asked for: "chaos(cpu)" */
    _Atomic bool lost;

    pthread_mutex_t lock; /* counts, queues, submissions, uses */
    uint32_t n_buffers, n_lists, n_queues; /* alive, destroyed ones whose memory is still in use included */
    bl_queue *queues;

    pthread_mutex_t kernel_lock; /* kernels; held while a back end makes one */
    struct kernel_entry *kernels;
    uint32_t n_kernels, kernel_capacity;
    uint16_t ways[BL_KERNEL_CLASSES]; /* tune.c: key.tuning of each class where the key says 0 */
};

/* Outlives its buffer while a list names it, so that submitting such a list is a refusal and not a crash. */
struct bl_buffer_core {
    bl_buffer *buffer; /* NULL once the back end has destroyed it */
    uint32_t refs;     /* the buffer and each list that names it */
    uint32_t uses;     /* submissions under way */
    bool destroyed;    /* by the caller */
    struct bl_buffer_core *next_dead;
    char label[];
};

struct submission {
    uint64_t value;
    bl_list *list;
};

struct bl_queue_core {
    bl_queue *next;
    struct submission *ring; /* under way, oldest first */
    uint32_t first, count, capacity;
};

struct list_node {
    uint32_t lane;
    uint32_t sequence; /* place within its lane */
    uint32_t first_wait, n_waits;
    const char *label;
    uint32_t *clock;   /* hazard.c */
};

struct list_access {
    uint32_t node, buffer; /* buffer: index in bl_list_core.buffers */
    bl_access access;
    uint64_t begin, end;
};

enum list_state { LIST_RECORDING = 0, LIST_FAILED, LIST_SEALED };

struct bl_list_core {
    enum list_state state;
    uint32_t uses;  /* submissions under way */
    bool destroyed; /* by the caller */
    bool timed_once;
    bl_list *next_dead;
    struct bl_buffer_core **buffers; /* each once; a reference held on each */
    uint32_t n_buffers, buffer_capacity;
    uint32_t *buffer_slots; /* open addressing: index + 1, 0 = free; capacity 2 * buffer_capacity */
    struct bl_arena labels; /* lives as long as the list */
    struct list_node *nodes;
    uint32_t n_nodes, node_capacity;

    /* until bl_list_end */
    struct list_access *accesses;
    uint32_t n_accesses, access_capacity;
    uint32_t *waits;
    uint32_t n_waits, wait_capacity;
};

/* BL_EDEVLOST once the device is lost. */
bl_status bl_device_usable(bl_device *device) BL_MUST_USE;
/* Passes on what a slot answered; remembers a lost device. */
bl_status bl_device_answer(bl_device *device, bl_status status) BL_MUST_USE;

/* Grows an array to hold one more: BL_ENOMEM with the array unchanged. `items` points at the pointer. */
bl_status bl_grow(void *items, uint32_t *capacity, uint32_t count, size_t item_bytes) BL_MUST_USE;

/* The device lock is held: takes finished submissions off every queue. The objects whose last use that was and which their owner has
 * destroyed are handed back, to be released by bl_release_dead without the lock. */
struct dead_objects {
    bl_list *lists;
    struct bl_buffer_core *buffers;
};
void bl_device_collect(bl_device *device, struct dead_objects *dead);
void bl_release_dead(bl_device *device, struct dead_objects *dead);
/* The device lock is held. */
void bl_buffer_core_unref(struct bl_buffer_core *core);

/* Every unordered pair of nodes with a conflicting overlap is BL_EINVAL naming both. */
bl_status bl_list_check_hazards(struct bl_list_core *core) BL_MUST_USE;

bl_status bl_backend_open(const char *id, const bl_device_params *params, bl_device **out) BL_MUST_USE;
#endif
