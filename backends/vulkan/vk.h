/* vk.h: the Vulkan back end's own objects. Private to backends/vulkan/.
 *
 * Order: all queues of a device feed one VkQueue. A submission goes there as soon as everything it waits for has gone there before
 * (queue.c), and every command buffer begins with a full barrier: so one VkQueue is enough for any number of time lines, waiting before
 * signalling included. How far the device is tells one fence per submission, which Vulkan 1.0 has. */
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
#define VK_DEVICE(name)
#include "vk_fns.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_DEVICE
};

struct vk_device_fns {
#define VK_GLOBAL(name)
#define VK_INSTANCE(name)
#define VK_DEVICE(name) PFN_vk##name name;
#include "vk_fns.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_DEVICE
};

#define VK_BINDINGS 6u /* storage buffers per shader: what every device has, and what every op but a grouped linear needs */
/* The push constants of every shader. */
struct vk_push {
    uint32_t params[16], at[VK_BINDINGS]; /* at: words from the descriptor's aligned offset to the binding */
};

struct vk_flight; /* queue.c: a submission */
struct vk_queue {
    bl_queue base;
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
    VkQueue queue;
    uint32_t family;
    VkPhysicalDeviceMemoryProperties memory;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    _Atomic uint64_t allocated;
    uint64_t offset_alignment;           /* of descriptors */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;

    pthread_mutex_t lock;
    pthread_cond_t changed;              /* a submission has gone to the VkQueue, one is complete, or the device is lost */
    bool lost, waiting;                  /* waiting: a thread is inside vkWaitForFences */
    struct vk_queue *queues;
    struct vk_flight *flying, **last_flying; /* in the VkQueue, oldest first */
    struct vk_flight *spare;             /* fences to be used again */
};

struct vk_buffer {
    bl_buffer base;
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t bytes;
};

struct vk_kernel {
    bl_kernel base;
    VkPipeline pipeline;
};

struct vk_dispatch {
    VkPipeline pipeline;
    VkDescriptorBufferInfo bindings[VK_BINDINGS];
    uint32_t grid[3];
    struct vk_push push;
};

struct vk_node {
    struct vk_dispatch *dispatch; /* or NULL: a copy or a fill */
    uint32_t lane, wave;
    VkBuffer to, from; /* from VK_NULL_HANDLE: a fill */
    uint64_t to_offset, from_offset, bytes;
    uint32_t pattern;
};

struct vk_list {
    bl_list base;
    struct vk_node *nodes;
    uint32_t n_nodes, capacity, n_waves, n_dispatches;
    VkDescriptorPool sets;
    uint32_t wave_of_lane[BL_MAX_LANES];
    VkCommandPool pool;
    VkCommandBuffer commands;
};

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

bl_status vk_buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out) BL_MUST_USE;
void vk_buffer_destroy(bl_buffer *buffer);

/* The set and pipeline layout of all kernels; device_close destroys them. */
bl_status vk_layout_create(struct vk_device *device) BL_MUST_USE;
bl_status vk_kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out) BL_MUST_USE;
void vk_kernel_destroy(bl_kernel *kernel);

bl_status vk_queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out) BL_MUST_USE;
void vk_queue_destroy(bl_queue *queue);
bl_status vk_queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value) BL_MUST_USE;
bl_status vk_queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns) BL_MUST_USE;
void vk_queue_free_spare(struct vk_device *device);

bl_status vk_list_begin(bl_device *device, uint32_t flags, bl_list **out) BL_MUST_USE;
bl_status vk_list_dispatch(bl_list *list, uint32_t node, const struct bl_recorded_dispatch *dispatch) BL_MUST_USE;
bl_status vk_list_copy(bl_list *list, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                       uint64_t bytes, const struct bl_recorded_order *order) BL_MUST_USE;
bl_status vk_list_fill(bl_list *list, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                       const struct bl_recorded_order *order) BL_MUST_USE;
bl_status vk_list_end(bl_list *list) BL_MUST_USE;
void vk_list_destroy(bl_list *list);
#endif
