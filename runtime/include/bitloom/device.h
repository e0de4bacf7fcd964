/* bitloom/device.h: devices, buffers, kernels, queues and lists: the thin interface that everything above runs on (tier 3 of the API).
 *
 * A device is one processor behind one back end (cpu, vulkan, cuda, null, chaos). Buffers are bytes. Kernels come from the back
 * end's own tables by key. Work is recorded once into a list and submitted to a queue any number of times; nothing is patched between
 * submissions: what changes per step is in a buffer that the kernels read.
 *
 * Ownership: create makes the caller the owner, destroy takes NULL and ends it. A child (buffer, kernel, queue, list) must be destroyed
 * before its device; a kernel not before the lists that use it. bl_buffer_destroy and bl_list_destroy never block and may be called while
 * submitted work still uses the object: the memory goes when that work is done.
 *
 * Threads: a device may be used from any thread. One object is used by one thread at a time, except that bl_queue_wait may be called from
 * any number of threads.
 *
 * Errors: a caller's mistake is found once, here, before a back end is called: BL_EINVAL. A lost device is a state that stays: every later
 * call on it, and every waiter, gets BL_EDEVLOST. */
#ifndef BITLOOM_DEVICE_H
#define BITLOOM_DEVICE_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bl_device bl_device;
typedef struct bl_buffer bl_buffer;
typedef struct bl_kernel bl_kernel;
typedef struct bl_queue bl_queue;
typedef struct bl_list bl_list;

/* ---- back ends and devices ---- */

/* What "auto" goes by before anything is measured. A processor that only plays a GPU is behind the CPU that it runs on; a GPU that shares the
 * processor's memory is ahead of it, but a model asks both how fast they are. */
enum { BL_SCORE_NEVER = 0, BL_SCORE_SOFTWARE = 10, BL_SCORE_CPU = 20, BL_SCORE_INTEGRATED = 30, BL_SCORE_DISCRETE = 40 };

typedef struct bl_device_info {
    char backend[16];     /* "cpu" */
    char name[128];       /* what a person would call it: the processor's name */
    char id[32];          /* how to ask for it: "cpu", "cuda:0" */
    char why_missing[160]; /* "" when it can be opened, else the reason in words */
    uint32_t score;       /* BL_SCORE_*; "auto" takes the largest that can be opened */
} bl_device_info;

/* Lists every device of every back end in this program, missing ones with their reason. Writes at most `n_out` entries, *n_found is the
 * number there are. Starts no driver that is not needed for the answer. */
BL_API bl_status bl_devices(bl_device_info *out, uint32_t n_out, uint32_t *n_found) BL_MUST_USE;

typedef struct bl_device_params {
    size_t struct_size;    /* sizeof(bl_device_params); set by bl_device_default_params */
    const char *device;    /* "cpu", "null:0", "auto"; "chaos(cpu)" wraps another; NULL = "auto" */
    uint32_t n_threads;    /* CPU: threads that compute, the caller's included; 0 = one per core that this process may use */
    uint32_t cpu_mask;     /* CPU: levels allowed, bits 1 << level; 0 = all */
    uint64_t chaos_seed;   /* chaos: which random order; equal seeds give equal orders */
    uint64_t max_binding_bytes; /* pretend that no binding may be larger, for tests; 0 = the device's own limit */
    uint64_t chaos_fail_at; /* chaos: the n-th fallible call (1 = first) fails; 0 = none */
    bool null_kernels;     /* null: it has every kernel, and each does nothing: what is left is what the host costs */
    uint64_t chaos_memory; /* chaos: bytes of device memory that it has, a memory of its own: nothing is imported; 0 = the inner device's */
    const char *cache_dir; /* folder where a driver that compiles keeps what it made, made if missing; NULL: nothing is kept */
} bl_device_params;
BL_API void bl_device_default_params(bl_device_params *params);
/* Comma separated names of CPU levels ("c,avx2") as bits for cpu_mask. An unknown name is BL_EINVAL listing the known ones. */
BL_API bl_status bl_cpu_mask_parse(const char *levels, uint32_t *mask) BL_MUST_USE;

/* A device named exactly is opened or refused (BL_EUNSUPPORTED with the reason), never replaced by another. */
BL_API bl_status bl_device_open(const bl_device_params *params, bl_device **out) BL_MUST_USE;
/* Children must be gone; waits for nothing (queues are idle once destroyed). With children alive it logs an error that counts them and
 * leaves the device as it is: a mistake leaks, it never pulls memory from under running work. */
BL_API void bl_device_close(bl_device *device);

/* Facts about an open device, plain data, constant for its life. 0 = none or unlimited, as said. */
typedef struct bl_caps {
    const char *backend;          /* "cpu" */
    const char *name;
    const char *driver;           /* version of what drives it; NULL: the program itself */
    const char *facts;            /* what it offers, what of its options is used and what is missing, in words; NULL: nothing to say */
    uint32_t memory_kinds;        /* bits 1 << enum bl_memory_kind that buffer_create accepts */
    uint32_t max_push_bytes;      /* at least 128 */
    uint32_t max_bindings;        /* per dispatch, at least 18 */
    uint64_t max_binding_bytes;   /* largest range of one binding; larger matrices are worked on in pieces. 0 = unlimited */
    uint64_t buffer_alignment;    /* of binding offsets, a power of two; 1 = any */
    uint32_t max_queues;
    uint32_t n_threads;           /* CPU: threads that compute */
    uint32_t compute_units;       /* processors of the device that kernels are spread over; 0: not known */
    uint32_t n_ways;              /* ways that the kernels of some classes come in; 0: one */
    uint32_t ways_inexact;        /* bit 1 << way: its kernels round otherwise than the definition; all others give the same bits */
    bool coherent;                /* host writes need no bl_buffer_sync */
    bool timestamps;              /* bl_list_timings works */
    bool software;                /* a processor plays this device: a kernel takes seconds to make, and no race is worth it */
    bool unified;                 /* device memory is host memory: IMPORT_HOST costs nothing */
} bl_caps;
BL_API const bl_caps *bl_device_caps(const bl_device *device);
/* Bytes of device memory now; advisory. */
BL_API bl_status bl_device_memory(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes) BL_MUST_USE;

typedef struct bl_measure {
    double copy_bytes_per_s;   /* bytes read and written */
    double matvec_bytes_per_s; /* bytes of a 4-bit matrix (q4_0, 8-bit activations) times one vector; 0: no such kernel */
    double submit_us;          /* from a submission of next to nothing to the end of the wait for it */
} bl_measure;
/* Measures for a fraction of a second, in up to 512 MiB of the device's memory. */
BL_API bl_status bl_device_measure(bl_device *device, bl_measure *out) BL_MUST_USE;
/* The id that "auto" stands for, and in words why. BL_EUNSUPPORTED when no device can be opened. */
BL_API bl_status bl_device_auto(bl_device_info *out, char why[256]) BL_MUST_USE;

/* ---- buffers ---- */

typedef enum bl_memory_kind {
    BL_MEM_DEVICE = 0,   /* fast for kernels; no host pointer */
    BL_MEM_UPLOAD,       /* host writes, device reads */
    BL_MEM_READBACK,     /* device writes, host reads */
    BL_MEM_SHARED,       /* both, where memory is unified */
    BL_MEM_IMPORT_HOST   /* the caller's memory, read only, alive until the buffer's last use */
} bl_memory_kind;

typedef struct bl_buffer_params {
    uint64_t bytes;          /* at least 1 */
    bl_memory_kind kind;
    const void *host_memory; /* IMPORT_HOST: the memory, its address a multiple of caps.buffer_alignment; else NULL */
    const char *label;       /* for messages; copied; may be NULL */
} bl_buffer_params;

/* Contents are undefined (IMPORT_HOST: the caller's). BL_EDEVMEM when memory is out. */
BL_API bl_status bl_buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out) BL_MUST_USE;
BL_API void bl_buffer_destroy(bl_buffer *buffer);
/* Host address for UPLOAD, READBACK, SHARED and IMPORT_HOST, for the buffer's life; NULL for DEVICE (the CPU gives one there too). The
 * host may touch a range only while no submitted work uses it in conflict. */
BL_API void *bl_buffer_host(const bl_buffer *buffer);
BL_API uint64_t bl_buffer_bytes(const bl_buffer *buffer);
/* After host writes (to_device) or before host reads; does nothing on coherent devices. */
BL_API bl_status bl_buffer_sync(bl_buffer *buffer, uint64_t offset, uint64_t bytes, bool to_device) BL_MUST_USE;
/* Copies host bytes into a buffer of kind DEVICE, UPLOAD or SHARED and returns when they are there. No submitted work may use the range.
 * Where the buffer has no host address they go through two staging buffers of at most 8 MiB. */
BL_API bl_status bl_buffer_write(bl_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes) BL_MUST_USE;

/* ---- queues: one growing timeline each ---- */

typedef enum bl_queue_kind { BL_QUEUE_COMPUTE = 0, BL_QUEUE_TRANSFER } bl_queue_kind;
typedef struct bl_fence {
    bl_queue *queue;
    uint64_t value; /* reached when the queue's timeline is >= value; 0 is always reached */
} bl_fence;

BL_API bl_status bl_queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out) BL_MUST_USE;
/* The queue must be idle (every submitted value reached, or the device lost) and no submitted work may wait for it. A queue that is not
 * idle is left alive and an error is logged. */
BL_API void bl_queue_destroy(bl_queue *queue);
/* Asynchronous. Lists of one queue complete in order of submission. `waits` are points of queues of the same device; a point not yet
 * submitted is legal. *value is what the timeline will reach (may be NULL). A list whose buffers were destroyed is refused. A list may be
 * submitted again while an earlier submission of it is under way. */
BL_API bl_status bl_queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t *value) BL_MUST_USE;
#define BL_WAIT_FOREVER UINT64_MAX
/* timeout_ns 0 polls. BL_OK, BL_ETIMEOUT or BL_EDEVLOST. */
BL_API bl_status bl_queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns) BL_MUST_USE;

/* ---- lists: recorded once, replayed ---- */

/* Kernels, copies and fills may read every kind but READBACK and write every kind but UPLOAD and IMPORT_HOST. */
typedef enum bl_access { BL_READ = 1, BL_WRITE = 2, BL_READ_WRITE = 3 } bl_access;
typedef struct bl_binding {
    bl_buffer *buffer; /* NULL: this optional binding is absent */
    uint64_t offset, bytes;
    bl_access access;
} bl_binding;

/* A kernel by its name, which is made of op, row class, weight format and activation (or output) format: "binary_f32", "rms_norm_q8",
 * "embed_q8_0_f32", "attention_f16_f32", "matvec_q4_1_q8", "matvec8_q4_1_q8" (2 to 8 rows), "matmul_q4_1_q8"; bl_kernel_table lists them. What it reads, what it writes, its push constants and
 * its size are said in bitloom/kernel_params.h. Borrowed: the device owns it and keeps it until it is closed. A name that no kernel has is
 * BL_EINVAL; one that this device cannot run BL_EUNSUPPORTED. Any thread. */
BL_API bl_status bl_kernel_find(bl_device *device, const char *name, bl_kernel **out) BL_MUST_USE;
/* Names 0, 1, 2 ... of the table; NULL past the last. `buffer` holds the answer and has room for 64 bytes. */
BL_API const char *bl_kernel_table(uint32_t index, char *buffer);
/* The name with what runs it behind, for messages: "matvec_q4_k_q8_avx2". */
BL_API const char *bl_kernel_name(const bl_kernel *kernel);

#define BL_MAX_LANES 1024u
/* Order: nodes of one lane run in recorded order. Nodes of different lanes are unordered unless `waits` names earlier nodes of the list.
 * Recorded order is a legal serial order. A write that another lane's node could see without a wait is a mistake that bl_list_end finds
 * and reports with both labels (BL_EINVAL). */
typedef struct bl_order {
    uint32_t lane;         /* below BL_MAX_LANES */
    const uint32_t *waits; /* node ids */
    uint32_t n_waits;
    const char *label;     /* for traces and messages; copied; may be NULL */
} bl_order;

typedef struct bl_dispatch {
    bl_kernel *kernel;
    uint32_t size[3];            /* elements per axis; the core divides by the kernel's tile, rounding up; 0 counts as 1 */
    const bl_binding *bindings;
    uint32_t n_bindings;
    const void *push;            /* copied */
    uint32_t push_bytes;
} bl_dispatch;

/* A list is recorded by one thread. flags: 0. order may be NULL: lane 0, no waits. node may be NULL. A call refused with BL_EINVAL recorded
 * nothing, and recording may go on. */
BL_API bl_status bl_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
BL_API bl_status bl_list_dispatch(bl_list *list, const bl_dispatch *dispatch, const bl_order *order, uint32_t *node) BL_MUST_USE;
/* The ranges must not overlap. */
BL_API bl_status bl_list_copy(bl_list *list, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes,
                              const bl_order *order, uint32_t *node) BL_MUST_USE;
/* offset and bytes are multiples of 4. */
BL_API bl_status bl_list_fill(bl_list *list, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                              const bl_order *order, uint32_t *node) BL_MUST_USE;
/* Seals the list: from here it is immutable and may be submitted. On failure the list can only be destroyed. */
BL_API bl_status bl_list_end(bl_list *list) BL_MUST_USE;
BL_API void bl_list_destroy(bl_list *list);

typedef struct bl_node_timing {
    uint64_t begin_ns, end_ns; /* since an arbitrary start, the same for all nodes of a submission */
    uint32_t lane;
    const char *label;         /* the list's own copy */
} bl_node_timing;
/* Real start and end of every node of the list's last completed submission. BL_EUNSUPPORTED where caps.timestamps is false or no
 * submission was timed; BL_EINVAL while one is under way. Writes at most n_out; *n_nodes is the number of nodes. */
BL_API bl_status bl_list_timings(bl_list *list, bl_node_timing *out, uint32_t n_out, uint32_t *n_nodes) BL_MUST_USE;
/* Turns the recording of timings on for later submissions. */
BL_API bl_status bl_list_enable_timings(bl_list *list) BL_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
