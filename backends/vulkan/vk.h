/* vk.h: the Vulkan back end's own objects. Private to backends/vulkan/.
 *
 * Order: the queues of a device feed one or two VkQueues, in turn. A submission goes there as soon as everything it waits for has gone to a
 * VkQueue before (queue.c), so waiting before signalling is legal and no VkQueue is ever blocked by what is not there yet. Within a VkQueue
 * every command buffer begins with a full barrier; between two of them timeline semaphores order, of which each VkQueue has one that counts
 * its submissions. A device without timeline semaphores has one VkQueue, and a fence per submission tells how far it is. */
#ifndef BL_VULKAN_VK_H
#define BL_VULKAN_VK_H
#include "base/error.h"
#include "hal/backend.h"

#define VK_NO_PROTOTYPES
#include <pthread.h>
#include <vulkan/vulkan.h>

/* The loader's and the instance's functions. */
struct vk_instance {
    void *library;
    VkInstance handle;
#define VK_GLOBAL(name) PFN_vk##name name;
#define VK_INSTANCE(name) PFN_vk##name name;
#include "vk_fns.def"
};

struct vk_device_fns {
#define VK_DEVICE(name) PFN_vk##name name;
#define VK_OPTIONAL(name) PFN_vk##name name;
#include "vk_fns.def"
};

#define VK_WAYS 8u /* kernel.c tells them */
#define VK_WAY_HALF 8u /* as a key's tuning: the way that is not exact */
#define VK_BINDINGS 6u /* storage buffers per shader: what every device has, and what every op but a grouped linear needs */
#define VK_TEXELS 2u /* more bindings of the way with texels: bindings 2 and 1 once more */
/* The push constants of every shader. */
struct vk_push {
    uint32_t params[16], at[VK_BINDINGS]; /* at: words from the descriptor's aligned offset to the binding */
};

#define VK_TRACKS 2u
struct vk_flight; /* queue.c: a submission */
/* A VkQueue. Device lock: all but the handles. */
struct vk_track {
    VkQueue handle;
    VkSemaphore done;                    /* a timeline: how many submissions are complete; none: each flight has a fence */
    uint64_t n_submitted;
    struct vk_flight *flying, **last;    /* in the VkQueue, oldest first */
    bool waiting;                        /* a thread sleeps until the oldest is complete */
};

struct vk_queue {
    bl_queue base;
    struct vk_track *track;
    uint64_t reached, flushed;           /* device lock: values that are complete, and that the VkQueue has */
    struct vk_flight *pending, **last;   /* device lock: not in the VkQueue yet, oldest first */
    struct vk_queue *next;
};

struct vk_device {
    bl_device base;
    struct vk_instance instance;
    struct vk_device_fns fns;
    VkPhysicalDevice physical;
    VkDevice handle;
    uint32_t family, n_tracks;
    bool timeline;                       /* VK_KHR_timeline_semaphore */
    struct vk_track tracks[VK_TRACKS];
    VkPhysicalDeviceMemoryProperties memory;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE], facts[1024], driver[16];
    bool budget;                         /* VK_EXT_memory_budget */
    uint64_t offset_alignment;           /* of descriptors */
    uint32_t subgroup;                   /* invocations of one; 0: they cannot shuffle */
    bool dot, texels, shorts, half;      /* packed bytes are multiplied; any binding may be read as texels, too; halves of words are read; half floats are
                                            computed with */
    double ns_per_tick;                  /* of time stamps; 0: there are none */
    uint64_t stamp_mask;
    uint64_t import_alignment;           /* of host memory; 0: without VK_EXT_external_memory_host */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipelineCache pipelines;           /* none: it could not be made, and is not needed */
    char *cache_dir;                     /* or NULL */
    size_t kept_bytes;                   /* of what the driver was given */

    pthread_mutex_t memory_lock;
    struct vk_block *blocks;             /* memory lock */
    _Atomic uint64_t allocated;          /* bytes of all blocks */

    pthread_mutex_t lock;
    pthread_cond_t changed;              /* a submission has gone to the VkQueue, one is complete, or the device is lost */
    bool lost;
    struct vk_queue *queues;
    uint32_t n_queues;                   /* ever made */
    struct vk_flight *spare;             /* to be used again, with their fences */
};

/* memory.c: what a buffer wants, and what it gets. */
struct vk_block;
struct vk_span;
struct vk_wish {
    uint32_t type;
    uint64_t bytes, alignment;
    bool map;
    const VkImportMemoryHostPointerInfoEXT *import; /* or NULL */
};
struct vk_place {
    struct vk_block *block;
    struct vk_span *span;
    VkDeviceMemory memory;
    uint64_t offset;
    void *host; /* NULL when not mapped */
};

struct vk_buffer {
    bl_buffer base;
    VkBuffer handle;
    struct vk_place place;
    uint64_t bytes, bias; /* bias: from the VkBuffer's first byte to the buffer's; imported memory begins at a page */
};

struct vk_kernel {
    bl_kernel base;
    uint32_t row, way;           /* of kernel.c's table */
    pthread_mutex_t lock;
    bl_kernel *with_glu;                /* lock: or NULL; vk_kernel_with_glu */
    VkPipeline pipelines[BL_FMT_COUNT]; /* lock: by weight format: all but mix have one, mix makes those that its segments name */
};

struct vk_dispatch {
    struct vk_dispatch *next;    /* of the same node: the parts of a launch */
    bool follows;                /* those that come before it in the node; else it is free of them */
    VkPipeline pipeline;
    VkDescriptorSet set;
    VkDescriptorBufferInfo bindings[VK_BINDINGS]; /* no buffer: the list's scratch */
    VkBufferView texels[VK_TEXELS]; /* or none */
    uint32_t grid[3];
    struct vk_push push;
};

struct vk_node {
    struct vk_dispatch *dispatches; /* or NULL: a copy or a fill */
    uint32_t lane, wave;
    VkBuffer to, from; /* from VK_NULL_HANDLE: a fill */
    uint64_t to_offset, from_offset, bytes;
    uint32_t pattern;
    uint64_t work_ns; /* a pessimist's guess */
};

/* What one submission hands over, in order; several where one would keep a slow device busy for longer than watchdogs bear. */
struct vk_commands {
    VkCommandBuffer *buffers;
    uint32_t n;
};

struct vk_list {
    bl_list base;
    struct vk_node *nodes;
    uint32_t n_nodes, capacity, n_waves, n_dispatches;
    VkDescriptorPool sets;
    uint32_t wave_of_lane[BL_MAX_LANES];
    bl_buffer *scratch;          /* or NULL; one for all nodes that want some, so each of these has a wave of its own */
    uint64_t scratch_bytes;
    uint32_t scratch_wave;
    VkCommandPool pool;
    struct vk_commands plain, timed; /* timed: recorded when the first submission with timings comes */
    VkQueryPool queries;             /* two time stamps per node */
};

/* NULL but in tests, which put functions of their own into the tables: called when the table of the loader and the instance (then `device`
 * is NULL) or that of a device is complete. */
extern void (*vk_wrap)(struct vk_instance *instance, struct vk_device_fns *device);
/* Opens the loader and makes an instance; on failure nothing is left and the error says what is missing. */
bl_status vk_instance_open(struct vk_instance *out) BL_MUST_USE;
void vk_instance_close(struct vk_instance *instance);
bl_status vk_device_load(const struct vk_instance *instance, VkDevice device, struct vk_device_fns *out) BL_MUST_USE;
/* The physical devices, at most `n_out`. */
bl_status vk_instance_devices(const struct vk_instance *instance, VkPhysicalDevice *out, uint32_t n_out, uint32_t *n) BL_MUST_USE;
/* Describes device `index`, as found by a child process once per process; false past the last. */
bool vk_probe(uint32_t index, bl_device_info *out);
/* False: no GPU in sight, so nothing that auto could take. */
bool vk_hopeful(void);
/* Turns an answer of Vulkan into a status with a line of text; remembers a lost device. */
bl_status vk_answer(struct vk_device *device, VkResult result, const char *what) BL_MUST_USE;
const char *vk_result_name(VkResult result);

/* modules.c: where a module is among the packed: in the row that begins at byte `row`, behind `first` words. */
struct vk_code {
    uint32_t row, first, words;
};
/* The module's SPIR-V; the caller frees it. */
bl_status vk_module_unpack(const struct vk_code *code, uint32_t **out) BL_MUST_USE;
/* What the driver has compiled, kept between runs in params->cache_dir. Nothing fails without. */
void vk_cache_open(struct vk_device *device, const char *folder);
void vk_cache_close(struct vk_device *device);

/* Thread safe. */
bl_status vk_memory_take(struct vk_device *device, const struct vk_wish *wish, struct vk_place *out) BL_MUST_USE;
void vk_memory_give(struct vk_device *device, const struct vk_place *place);
bl_status vk_buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out) BL_MUST_USE;
void vk_buffer_destroy(bl_buffer *buffer);

/* The set and pipeline layout of all kernels; device_close destroys them. */
bl_status vk_layout_create(struct vk_device *device) BL_MUST_USE;
bl_status vk_kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out) BL_MUST_USE;
void vk_kernel_destroy(bl_kernel *kernel);
/* What makes a linear that ends in a GLU at once, gate and up in one format; NULL: nothing does, in this way. The kernel keeps it. */
bl_status vk_kernel_with_glu(bl_kernel *kernel, bl_kernel **out) BL_MUST_USE;
/* Whether its products read weights and activations as texels, too. */
bool vk_kernel_has_texels(const bl_kernel *kernel);
/* The kernel's pipeline for weights of this format. Any thread. */
bl_status vk_kernel_pipeline(bl_kernel *kernel, uint32_t format, VkPipeline *out) BL_MUST_USE;

bl_status vk_queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out) BL_MUST_USE;
void vk_queue_destroy(bl_queue *queue);
bl_status vk_queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value) BL_MUST_USE;
bl_status vk_queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns) BL_MUST_USE;
/* The VkQueues and what tells how far they are; tracks_finish takes half of it, too. */
bl_status vk_tracks_init(struct vk_device *device) BL_MUST_USE;
void vk_tracks_finish(struct vk_device *device);

bl_status vk_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
bl_status vk_list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch) BL_MUST_USE;
bl_status vk_list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                       uint64_t bytes, const struct bl_recorded_order *order) BL_MUST_USE;
bl_status vk_list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                       const struct bl_recorded_order *order) BL_MUST_USE;
bl_status vk_list_end(bl_list *list) BL_MUST_USE;
void vk_list_destroy(bl_list *list);
bl_status vk_list_timings(bl_list *list, bl_node_timing *out) BL_MUST_USE;
/* What a submission of the list hands over, with time stamps if the list is timed. */
bl_status vk_list_commands(struct vk_list *list, const struct vk_commands **out) BL_MUST_USE;
#endif
