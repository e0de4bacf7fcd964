/* backend.h: what a back end implements. The only header of the runtime that a back end must read besides kernel_key.h and
 * kernel_params.h (and base).
 *
 * A back end exports one `const struct bl_backend`. `open` makes a bl_device whose first member is struct bl_device (below): a static
 * function table and caps as plain data. The core (runtime/hal/) has already checked every argument against bitloom/device.h when a slot
 * is called: live objects of this device, ranges inside buffers, legal access, push size, grid > 0, waits on earlier nodes, no unordered
 * hazards, no call on a lost device except destroy. A slot may assert that; it must not check again.
 *
 * Not in the table, because the core does it once: validation, the kernel cache, grids from tiles, deferred destruction of buffers and
 * lists that are still in use (the core counts uses per submission and calls the destroy slot when the last one is complete), labels,
 * handling of "auto", wrapping.
 *
 * Threads: slots may be called from any thread, several at once for different objects of a device; one object is used by one thread at a
 * time, except queue_wait. queue_wait with timeout 0 may be called while the core holds a lock: it must not block and must not call back.
 * A device that is lost: the back end calls bl_device_mark_lost or answers BL_EDEVLOST from any slot, and wakes its own waiters with
 * BL_EDEVLOST; from then on only destroy slots, device_close and polls are called.
 *
 * Adding a slot needs: a null implementation, a conformance case, a line here. Slots are never reordered silently: bump BL_BACKEND_ABI. */
#ifndef BL_HAL_BACKEND_H
#define BL_HAL_BACKEND_H
#include "hal/kernel_key.h"
#include "hal/kernel_params.h"

#include <bitloom/device.h>

#define BL_BACKEND_ABI 1u

struct bl_recorded_dispatch {
    bl_kernel *kernel;
    uint32_t grid[3];            /* workgroups */
    const bl_binding *bindings;  /* valid during the call only */
    uint32_t n_bindings;
    const void *push;            /* valid during the call only */
    uint32_t push_bytes;
    uint32_t lane;
    const uint32_t *waits;       /* ids of earlier nodes of the list */
    uint32_t n_waits;
    const char *label;           /* lives as long as the list */
};

struct bl_recorded_order {
    uint32_t lane;
    const uint32_t *waits;
    uint32_t n_waits;
    const char *label;
};

/* Slots return BL_OK or a status with an error frame. "optional": NULL is allowed and means what is said. */
struct bl_device_fns {
    /* 1 */ void (*device_close)(bl_device *device);
    /* 2 */ bl_status (*memory_info)(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes);
    /* 3  sets buffer->host for host-visible kinds; the CPU sets it for all */
    bl_status (*buffer_create)(bl_device *device, const bl_buffer_params *params, bl_buffer **out);
    /* 4  no submitted work uses the buffer; a sealed list may still name it, so list_destroy must not look at its buffers */
    void (*buffer_destroy)(bl_buffer *buffer);
    /* 5  optional, NULL = coherent */
    bl_status (*buffer_sync)(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device);
    /* 6  fills kernel->tile and kernel->name; BL_EUNSUPPORTED without an error frame is a normal answer */
    bl_status (*kernel_create)(bl_device *device, struct bl_kernel_key key, bl_kernel **out);
    /* 7 */ void (*kernel_destroy)(bl_kernel *kernel);
    /* 8 */ bl_status (*queue_create)(bl_device *device, bl_queue_kind kind, bl_queue **out);
    /* 9  idle; or the device is lost: then returns when nothing that was submitted touches memory any more */
    void (*queue_destroy)(bl_queue *queue);
    /* 10  asynchronous; value is what this queue's timeline will reach, previous value + 1 */
    bl_status (*queue_submit)(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value);
    /* 11  BL_ETIMEOUT comes without an error frame */
    bl_status (*queue_wait)(bl_queue *queue, uint64_t value, uint64_t timeout_ns);
    /* 12 */ bl_status (*list_begin)(bl_device *device, uint32_t flags, bl_list **out);
    /* 13  node ids are 0, 1, 2 ... in order of recording; the core passes the id it gave */
    bl_status (*list_dispatch)(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch);
    /* 14 */ bl_status (*list_copy)(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                                    uint64_t bytes, const struct bl_recorded_order *order);
    /* 15 */ bl_status (*list_fill)(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                                    const struct bl_recorded_order *order);
    /* 16 */ bl_status (*list_end)(bl_list *list);
    /* 17  nothing submitted uses the list any more */
    void (*list_destroy)(bl_list *list);
    /* 18  optional, with caps.timestamps: begin and end of each node of the last completed submission; out has one entry per node */
    bl_status (*list_timings)(bl_list *list, bl_node_timing *out);
};

/* Common heads. A back end's own struct begins with one of these; the core fills what is not said to be the back end's. */
struct bl_device {
    const struct bl_device_fns *fns; /* back end */
    bl_caps caps;                    /* back end */
    struct bl_device_core *core;     /* core: kernel cache, live children, lost state */
};
struct bl_buffer {
    bl_device *device;
    uint64_t bytes;
    bl_memory_kind kind;
    void *host;                      /* back end */
    struct bl_buffer_core *core;
};
struct bl_kernel {
    bl_device *device;
    struct bl_kernel_key key;
    uint32_t tile[3];                /* back end */
    char name[64];                   /* back end: the full name with ISA */
};
struct bl_queue {
    bl_device *device;
    bl_queue_kind kind;
    uint64_t submitted;              /* core: last value given out */
    struct bl_queue_core *core;
};
struct bl_list {
    bl_device *device;
    struct bl_list_core *core;       /* core: recorded ranges for the hazard check, labels, uses */
    bool timed;                      /* core: record timings from the next submission on */
};

struct bl_backend {
    const char *name;
    uint32_t abi;
    uint32_t score;                  /* the largest score that describe gives any device; 0: "auto" never takes one, nor asks */
    bool wraps;                      /* opened as "name(inner)": params->device of open is then "inner" */
    /* Describes device `index` (0, 1, ...), with its score. Returns false past the last. A back end that cannot work here describes device 0 with
     * why_missing filled. */
    bool (*describe)(uint32_t index, bl_device_info *out);
    /* optional: false where no driver need be started to know that none of its devices would score above the CPU; at most some file look-ups */
    bool (*hopeful)(void);
    bl_status (*open)(uint32_t index, const bl_device_params *params, bl_device **out);
};

/* For wrapping back ends (chaos): opens the device that `inner` names, as bl_device_open would. */
bl_status bl_device_open_inner(const char *inner, const bl_device_params *params, bl_device **out) BL_MUST_USE;
/* A device-level failure seen by a back end: from now on the core answers BL_EDEVLOST for the device. Any thread. */
void bl_device_mark_lost(bl_device *device);
#endif
