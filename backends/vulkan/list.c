/* list.c: lists as command buffers; one descriptor pool per list. A node's wave is one more than the latest wave of what it must follow,
 * so the nodes of a wave are free of each other: they are recorded together, with one barrier between waves. */
#include "vk.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define VK_GRID_MOST 65535u /* workgroups along an axis that every device has */

bl_status vk_list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    (void)device;
    (void)flags;
    struct vk_list *list = calloc(1, sizeof *list);
    if (!list)
        BL_FAIL(BL_ENOMEM, "list: out of memory");
    *out = &list->base;
    return BL_OK;
}

static void free_dispatches(const struct vk_device *device, struct vk_dispatch *dispatch)
{
    while (dispatch) {
        struct vk_dispatch *next = dispatch->next;
        for (uint32_t t = 0; t < VK_TEXELS; t++)
            device->fns.DestroyBufferView(device->handle, dispatch->texels[t], NULL); /* none: ignored */
        free(dispatch);
        dispatch = next;
    }
}

void vk_list_destroy(bl_list *base)
{
    struct vk_list *list = (struct vk_list *)base;
    struct vk_device *device = (struct vk_device *)base->device;
    if (list->queries)
        device->fns.DestroyQueryPool(device->handle, list->queries, NULL);
    free(list->plain.buffers);
    free(list->timed.buffers);
    if (list->pool)
        device->fns.DestroyCommandPool(device->handle, list->pool, NULL);
    if (list->sets)
        device->fns.DestroyDescriptorPool(device->handle, list->sets, NULL);
    if (list->scratch)
        vk_buffer_destroy(list->scratch);
    for (uint32_t n = 0; n < list->n_nodes; n++)
        free_dispatches(device, list->nodes[n].dispatches);
    free(list->nodes);
    free(list);
}

static bl_status add_node(struct vk_list *list, uint32_t lane, const uint32_t *waits, uint32_t n_waits, uint64_t scratch_bytes, struct vk_node **out)
{
    if (list->n_nodes == list->capacity) {
        uint32_t larger = list->capacity ? 2 * list->capacity : 64;
        struct vk_node *nodes = realloc(list->nodes, larger * sizeof *nodes);
        if (!nodes)
            BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
        list->nodes = nodes;
        list->capacity = larger;
    }
    uint32_t wave = list->wave_of_lane[lane]; /* waves count from 1 */
    for (uint32_t w = 0; w < n_waits; w++)
        wave = list->nodes[waits[w]].wave > wave ? list->nodes[waits[w]].wave : wave;
    if (scratch_bytes && list->scratch_wave > wave)
        wave = list->scratch_wave;
    *out = &list->nodes[list->n_nodes++];
    **out = (struct vk_node){.lane = lane, .wave = ++wave};
    list->wave_of_lane[lane] = wave;
    list->n_waves = wave > list->n_waves ? wave : list->n_waves;
    if (scratch_bytes) {
        list->scratch_wave = wave;
        list->scratch_bytes = scratch_bytes > list->scratch_bytes ? scratch_bytes : list->scratch_bytes;
    }
    return BL_OK;
}

/* A descriptor may begin only at multiples of the device's alignment; the shader adds what is missing. Absent bindings name the first
 * one's buffer: no shader touches them. */
static void describe_binding(const struct vk_device *device, const bl_binding *binding, VkDescriptorBufferInfo *out, uint32_t *at)
{
    const struct vk_buffer *buffer = (const struct vk_buffer *)binding->buffer;
    const uint64_t offset = buffer->bias + binding->offset, low = offset % device->offset_alignment;
    *out = (VkDescriptorBufferInfo){buffer->handle, offset - low,
                                    (low + binding->bytes + 3) & ~UINT64_C(3)};
    *at = (uint32_t)(low / 4);
}

/* For a slow device: 10 GB/s and 100 G multiply-adds/s. Only a linear's multiplications outweigh its bytes. */
static uint64_t guess_work(const struct bl_recorded_dispatch *recorded)
{
    uint64_t bytes = 0, products = 0;
    for (uint32_t b = 0; b < recorded->n_bindings; b++)
        bytes += recorded->bindings[b].bytes;
    const enum bl_op op = recorded->kernel->key.op;
    if (op == BL_OP_MATVEC || op == BL_OP_MATMUL)
        products = (uint64_t)((const struct bl_params_linear *)recorded->push)->k * recorded->grid[0] * recorded->kernel->tile[0] *
                   recorded->grid[1] * recorded->kernel->tile[1];
    return bytes / 10 + products / 100;
}

/* What bindings 2 and 1 have, as texels; the last one may end beyond the binding, but not beyond the buffer. */
static bl_status make_views(struct vk_device *device, struct vk_dispatch *dispatch)
{
    static const uint32_t viewed[VK_TEXELS] = {2, 1};
    for (uint32_t t = 0; t < VK_TEXELS; t++) {
        const VkDescriptorBufferInfo *binding = &dispatch->bindings[viewed[t]];
        const VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO, .buffer = binding->buffer,
                                             .format = VK_FORMAT_R32G32B32A32_UINT, .offset = binding->offset,
                                             .range = (binding->range + 15) & ~UINT64_C(15)};
        BL_TRY(vk_answer(device, device->fns.CreateBufferView(device->handle, &info, NULL, &dispatch->texels[t]), "vkCreateBufferView"));
    }
    return BL_OK;
}

/* Puts one dispatch behind *last: the recorded one itself, or a part of it. */
static bl_status add_dispatch(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, uint32_t format,
                              struct vk_dispatch **last)
{
    struct vk_device *device = (struct vk_device *)list->base.device;
    struct vk_dispatch *dispatch = NULL;
    VkPipeline pipeline = VK_NULL_HANDLE;
    if (recorded->n_bindings > VK_BINDINGS || recorded->push_bytes > sizeof dispatch->push.params)
        BL_FAIL(BL_EUNSUPPORTED, "vulkan: \"%s\": %u bindings and %u bytes of parameters, at most %u and %zu", recorded->label,
                recorded->n_bindings, recorded->push_bytes, VK_BINDINGS, sizeof dispatch->push.params);
    for (int axis = 0; axis < 3; axis++)
        if (recorded->grid[axis] > VK_GRID_MOST)
            BL_FAIL(BL_EUNSUPPORTED, "vulkan: \"%s\": %u workgroups along axis %d, at most %u", recorded->label, recorded->grid[axis], axis,
                    VK_GRID_MOST);
    BL_TRY(vk_kernel_pipeline(recorded->kernel, format, &pipeline));
    dispatch = calloc(1, sizeof *dispatch);
    if (!dispatch)
        BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
    dispatch->pipeline = pipeline;
    memcpy(dispatch->grid, recorded->grid, sizeof dispatch->grid);
    if (recorded->push_bytes)
        memcpy(dispatch->push.params, recorded->push, recorded->push_bytes);
    for (uint32_t b = 0; b < VK_BINDINGS; b++) {
        const bool there = b < recorded->n_bindings && recorded->bindings[b].buffer;
        if (there)
            describe_binding(device, &recorded->bindings[b], &dispatch->bindings[b], &dispatch->push.at[b]);
        else
            dispatch->bindings[b] = dispatch->bindings[0];
    }
    for (; *last; last = &(*last)->next)
        ;
    *last = dispatch;
    return vk_kernel_has_texels(recorded->kernel) ? make_views(device, dispatch) : BL_OK;
}

/* What a shader is told of a linear: one segment, and behind it where that begins in an X-bit matrix. */
struct part_of_linear {
    uint32_t k, n_segments, rows, glu;
    uint32_t n, format, flags, stride, first_row;
};

static struct part_of_linear part_of_linear(const struct bl_params_linear *p, uint32_t s)
{
    _Static_assert(offsetof(struct part_of_linear, first_row) == offsetof(struct bl_params_linear, segment[1]), "begins as the params do");
    return (struct part_of_linear){p->k, 1, p->rows, 0, p->segment[s].n, p->segment[s].format, p->segment[s].flags, p->segment[s].stride, p->first_row[s]};
}

/* A grouped launch is one dispatch per segment, each with the six bindings that concern it. */
static bl_status add_segments(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, struct vk_dispatch **first)
{
    struct bl_params_linear all;
    assert(recorded->push_bytes == sizeof all);
    memcpy(&all, recorded->push, sizeof all);
    for (uint32_t s = 0; s < all.n_segments; s++) {
        const struct part_of_linear one = part_of_linear(&all, s);
        bl_binding bindings[VK_BINDINGS] = {recorded->bindings[0], recorded->bindings[1]};
        memcpy(bindings + 2, recorded->bindings + 2 + 4 * s, 4 * sizeof bindings[0]);
        struct bl_recorded_dispatch part = *recorded;
        part.bindings = bindings;
        part.n_bindings = VK_BINDINGS;
        part.push = &one;
        part.push_bytes = sizeof one;
        part.grid[0] = (one.n + recorded->kernel->tile[0] - 1) / recorded->kernel->tile[0];
        if (part.grid[0])
            BL_TRY(add_dispatch(list, &part, one.format, first));
    }
    return BL_OK;
}

/* A part of a launch that another kernel, or the same one, makes. */
static bl_status add_part(const struct vk_list *list, const struct bl_recorded_dispatch *whole, bl_kernel *kernel, uint32_t format,
                          const bl_binding *bindings, uint32_t n_bindings, const void *push, uint32_t push_bytes, uint32_t columns,
                          struct vk_dispatch **first)
{
    struct bl_recorded_dispatch part = *whole;
    part.kernel = kernel;
    part.bindings = bindings;
    part.n_bindings = n_bindings;
    part.push = push;
    part.push_bytes = push_bytes;
    part.grid[0] = (columns + kernel->tile[0] - 1) / kernel->tile[0];
    return add_dispatch(list, &part, format, first);
}

/* Queries, keys and values are a dispatch each, which need not wait for each other. */
static bl_status add_rope_store(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, struct vk_dispatch **first)
{
    struct bl_params_rope_store p;
    bl_kernel *rope, *store;
    const uint32_t format = recorded->kernel->key.weight;
    const bl_binding *b = recorded->bindings;
    memcpy(&p, recorded->push, sizeof p);
    const struct bl_params_rope q = {p.n_head, p.d_k, p.n_rot, p.layout}, k = {p.n_head_kv, p.d_k, p.n_rot, p.layout};
    const struct bl_params_kv_store v = {p.n_head_kv, p.d_v, p.n_pages};
    const bl_binding of_q[] = {b[0], b[1], b[4], b[5]}, of_k[] = {b[0], b[2], b[6], b[4]}, of_v[] = {b[0], b[3], b[7]};
    BL_TRY(bl_kernel_find(list->base.device, "rope_f32", &rope));
    BL_TRY(bl_kernel_find(list->base.device, format == BL_FMT_F16 ? "kv_store_f16_f32" : "kv_store_f32_f32", &store));
    BL_TRY(add_part(list, recorded, rope, BL_FMT_NONE, of_q, 4, &q, sizeof q, p.n_head, first));
    BL_TRY(add_part(list, recorded, recorded->kernel, format, of_k, 4, &k, sizeof k, p.n_head_kv, first));
    return add_part(list, recorded, store, format, of_v, 3, &v, sizeof v, p.n_head_kv, first);
}

/* The last one's binding becomes `bytes` of scratch. */
static void bind_scratch(struct vk_dispatch *dispatch, uint32_t binding, uint64_t offset, uint64_t bytes)
{
    while (dispatch->next)
        dispatch = dispatch->next;
    dispatch->bindings[binding] = (VkDescriptorBufferInfo){VK_NULL_HANDLE, offset, bytes};
    dispatch->push.at[binding] = 0;
}

/* Gate and up in one format: one dispatch. */
static bl_status add_glu_at_once(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, bl_kernel *kernel,
                                 const struct bl_params_linear *p, struct vk_dispatch **first)
{
    const bl_binding *b = recorded->bindings, bindings[] = {b[0], b[1], b[2], b[6], b[3], b[5]};
    struct part_of_linear one = part_of_linear(p, 0);
    struct bl_recorded_dispatch all = *recorded;
    one.glu = p->glu;
    all.grid[1] = (recorded->grid[1] * recorded->kernel->tile[1] + kernel->tile[1] - 1) / kernel->tile[1];
    return add_part(list, &all, kernel, one.format, bindings, 6, &one, sizeof one, one.n, first);
}

/* Else gate and up are products of their own, into scratch; what is made of both follows. */
static bl_status add_glu(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, struct vk_dispatch **first, uint64_t *scratch_bytes)
{
    struct bl_params_linear p;
    bl_kernel *glu;
    const bl_binding *b = recorded->bindings;
    memcpy(&p, recorded->push, sizeof p);
    BL_TRY(vk_kernel_with_glu(recorded->kernel, &glu));
    if (glu && p.segment[0].format == p.segment[1].format)
        return add_glu_at_once(list, recorded, glu, &p, first);
    const uint32_t n = p.segment[0].n;
    const uint64_t rows = (uint64_t)recorded->grid[1] * recorded->kernel->tile[1], half = (rows * n * 4 + 255) & ~UINT64_C(255);
    for (uint32_t s = 0; s < 2; s++) {
        struct part_of_linear one = part_of_linear(&p, s);
        one.stride = n;
        const bl_binding bindings[] = {b[0], b[1], b[2 + 4 * s]};
        BL_TRY(add_part(list, recorded, recorded->kernel, one.format, bindings, 3, &one, sizeof one, n, first));
        bind_scratch(*first, 5, s * half, half);
    }
    const uint32_t last[] = {n, p.rows, p.glu & BL_LINEAR_GLU_KIND, p.segment[0].stride}; /* struct bl_params_glu, and what glu.comp adds */
    const bl_binding bindings[] = {b[0], b[0], b[0], b[5]};
    struct bl_recorded_dispatch all = *recorded;
    all.grid[1] = (uint32_t)rows;
    BL_TRY(bl_kernel_find(list->base.device, p.glu & BL_LINEAR_GLU_Q8 ? "glu_q8" : "glu_f32", &glu));
    BL_TRY(add_part(list, &all, glu, BL_FMT_NONE, bindings, 4, last, sizeof last, n, first));
    bind_scratch(*first, 1, 0, half);
    bind_scratch(*first, 2, half, half);
    (*first)->next->next->follows = true;
    *scratch_bytes = 2 * half;
    return BL_OK;
}

static bl_status add_dispatches(const struct vk_list *list, const struct bl_recorded_dispatch *recorded, struct vk_dispatch **first,
                                uint64_t *scratch_bytes)
{
    const struct bl_kernel_key key = recorded->kernel->key;
    if ((key.op == BL_OP_MATVEC || key.op == BL_OP_MATMUL) && ((const struct bl_params_linear *)recorded->push)->glu)
        return add_glu(list, recorded, first, scratch_bytes);
    if (key.op == BL_OP_MATVEC || key.op == BL_OP_MATMUL)
        return add_segments(list, recorded, first);
    if (key.op == BL_OP_ROPE_STORE)
        return add_rope_store(list, recorded, first);
    return add_dispatch(list, recorded, key.weight, first);
}

bl_status vk_list_dispatch(bl_list *base, uint32_t id, const struct bl_recorded_dispatch *recorded)
{
    struct vk_node *node = NULL;
    struct vk_list *list = (struct vk_list *)base;
    struct vk_dispatch *dispatches = NULL;
    assert(id == list->n_nodes);
    (void)id;
    uint64_t scratch_bytes = 0;
    bl_status status = add_dispatches(list, recorded, &dispatches, &scratch_bytes);
    if (status == BL_OK)
        status = add_node(list, recorded->lane, recorded->waits, recorded->n_waits, scratch_bytes, &node);
    if (status != BL_OK) {
        free_dispatches((struct vk_device *)base->device, dispatches);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    node->dispatches = dispatches;
    node->work_ns = guess_work(recorded);
    for (; dispatches; dispatches = dispatches->next)
        list->n_dispatches++;
    return BL_OK;
}

/* What copies and fills have in common. */
static bl_status add_transfer(bl_list *base, uint32_t id, bl_buffer *to, uint64_t offset, uint64_t bytes, const struct bl_recorded_order *order,
                              struct vk_node **out)
{
    struct vk_list *list = (struct vk_list *)base;
    assert(id == list->n_nodes);
    (void)id;
    BL_TRY(add_node(list, order->lane, order->waits, order->n_waits, 0, out));
    (*out)->to = ((struct vk_buffer *)to)->handle;
    (*out)->to_offset = offset;
    (*out)->bytes = bytes;
    (*out)->work_ns = bytes / 10;
    return BL_OK;
}

bl_status vk_list_copy(bl_list *list, uint32_t id, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes,
                       const struct bl_recorded_order *order)
{
    struct vk_node *node = NULL;
    BL_TRY(add_transfer(list, id, to, to_offset, bytes, order, &node));
    node->from = ((struct vk_buffer *)from)->handle;
    node->from_offset = ((struct vk_buffer *)from)->bias + from_offset;
    return BL_OK;
}

bl_status vk_list_fill(bl_list *list, uint32_t id, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                       const struct bl_recorded_order *order)
{
    struct vk_node *node = NULL;
    BL_TRY(add_transfer(list, id, buffer, offset, bytes, order, &node));
    node->pattern = pattern;
    return BL_OK;
}

static void barrier(const struct vk_device *device, VkCommandBuffer commands, VkPipelineStageFlags to, VkAccessFlags extra)
{
    const VkPipelineStageFlags work = VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkAccessFlags writes = VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_SHADER_WRITE_BIT,
                        reads = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_SHADER_READ_BIT;
    const VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = writes,
                                    .dstAccessMask = to == VK_PIPELINE_STAGE_HOST_BIT ? extra : writes | reads};
    device->fns.CmdPipelineBarrier(commands, work, to == VK_PIPELINE_STAGE_HOST_BIT ? to : work, 0, 1, &memory, 0, NULL, 0, NULL);
}

static bl_status make_pool(struct vk_device *device, struct vk_list *list)
{
    if (!list->n_dispatches)
        return BL_OK;
    const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, list->n_dispatches * VK_BINDINGS},
                                          {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, list->n_dispatches * VK_TEXELS}};
    const VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = list->n_dispatches,
                                             .poolSizeCount = device->texels ? 2 : 1, .pPoolSizes = sizes};
    return vk_answer(device, device->fns.CreateDescriptorPool(device->handle, &info, NULL, &list->sets), "vkCreateDescriptorPool");
}

static bl_status make_set(struct vk_device *device, const struct vk_list *list, struct vk_dispatch *dispatch)
{
    for (uint32_t b = 0; b < VK_BINDINGS; b++)
        if (!dispatch->bindings[b].buffer)
            dispatch->bindings[b].buffer = ((const struct vk_buffer *)list->scratch)->handle;
    const VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, .descriptorPool = list->sets,
                                                  .descriptorSetCount = 1, .pSetLayouts = &device->set_layout};
    BL_TRY(vk_answer(device, device->fns.AllocateDescriptorSets(device->handle, &allocate, &dispatch->set), "vkAllocateDescriptorSets"));
    const VkWriteDescriptorSet writes[] = {
        {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = dispatch->set, .descriptorCount = VK_BINDINGS,
         .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .pBufferInfo = dispatch->bindings},
        {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = dispatch->set, .dstBinding = VK_BINDINGS, .descriptorCount = VK_TEXELS,
         .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, .pTexelBufferView = dispatch->texels}};
    device->fns.UpdateDescriptorSets(device->handle, dispatch->texels[0] ? 2 : 1, writes, 0, NULL);
    return BL_OK;
}

static void record_dispatch(const struct vk_device *device, VkCommandBuffer commands, const struct vk_dispatch *dispatch)
{
    device->fns.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch->pipeline);
    device->fns.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->layout, 0, 1, &dispatch->set, 0, NULL);
    device->fns.CmdPushConstants(commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof dispatch->push, &dispatch->push);
    device->fns.CmdDispatch(commands, dispatch->grid[0], dispatch->grid[1], dispatch->grid[2]);
}

static void record(const struct vk_device *device, VkCommandBuffer commands, const struct vk_node *node)
{
    if (node->dispatches) {
        for (const struct vk_dispatch *dispatch = node->dispatches; dispatch; dispatch = dispatch->next) {
            if (dispatch->follows)
                barrier(device, commands, VK_PIPELINE_STAGE_TRANSFER_BIT, 0);
            record_dispatch(device, commands, dispatch);
        }
    } else if (!node->from) {
        device->fns.CmdFillBuffer(commands, node->to, node->to_offset, node->bytes, node->pattern);
    } else {
        const VkBufferCopy region = {.srcOffset = node->from_offset, .dstOffset = node->to_offset, .size = node->bytes};
        device->fns.CmdCopyBuffer(commands, node->from, node->to, 1, &region);
    }
}

/* Node ids in order of waves, recorded order within one. */
static bl_status sort_nodes(const struct vk_list *list, uint32_t **out)
{
    uint32_t *first = calloc((size_t)list->n_waves + 2, sizeof *first), *sorted = malloc(((size_t)list->n_nodes + 1) * sizeof *sorted);
    if (!first || !sorted) {
        free(first);
        free(sorted);
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u nodes", list->n_nodes);
    }
    for (uint32_t n = 0; n < list->n_nodes; n++)
        first[list->nodes[n].wave + 1]++;
    for (uint32_t w = 1; w < list->n_waves + 2; w++)
        first[w] += first[w - 1];
    for (uint32_t n = 0; n < list->n_nodes; n++)
        sorted[first[list->nodes[n].wave]++] = n;
    free(first);
    *out = sorted;
    return BL_OK;
}

#define MOST_WORK_NS 100000000u /* of one command buffer; the watchdogs of phones and desktops wait for one to ten seconds */

/* One more command buffer, which begins after all that was submitted before it. */
static bl_status begin_buffer(struct vk_device *device, const struct vk_list *list, struct vk_commands *out)
{
    VkCommandBuffer *grown = realloc(out->buffers, (out->n + 1) * sizeof(VkCommandBuffer));
    if (!grown)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u command buffers", out->n + 1);
    out->buffers = grown;
    const VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = list->pool,
                                                  .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1};
    BL_TRY(vk_answer(device, device->fns.AllocateCommandBuffers(device->handle, &allocate, &out->buffers[out->n]), "vkAllocateCommandBuffers"));
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    BL_TRY(vk_answer(device, device->fns.BeginCommandBuffer(out->buffers[out->n], &begin), "vkBeginCommandBuffer"));
    barrier(device, out->buffers[out->n++], VK_PIPELINE_STAGE_TRANSFER_BIT, 0);
    return BL_OK;
}

static bl_status end_buffer(struct vk_device *device, const struct vk_commands *out)
{
    return vk_answer(device, device->fns.EndCommandBuffer(out->buffers[out->n - 1]), "vkEndCommandBuffer");
}

static bl_status record_sorted(struct vk_device *device, struct vk_list *list, const uint32_t *sorted, bool timed, struct vk_commands *out)
{
    uint32_t wave = 1;
    uint64_t work = 0;
    BL_TRY(begin_buffer(device, list, out));
    if (timed && list->n_nodes)
        device->fns.CmdResetQueryPool(out->buffers[0], list->queries, 0, 2 * list->n_nodes);
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        struct vk_node *node = &list->nodes[sorted[n]];
        for (struct vk_dispatch *dispatch = node->dispatches; dispatch; dispatch = dispatch->next)
            if (!dispatch->set)
                BL_TRY(make_set(device, list, dispatch));
        if (node->wave != wave && work + node->work_ns > MOST_WORK_NS) {
            BL_TRY(end_buffer(device, out));
            BL_TRY(begin_buffer(device, list, out));
            work = 0;
        } else if (node->wave != wave) {
            barrier(device, out->buffers[out->n - 1], VK_PIPELINE_STAGE_TRANSFER_BIT, 0);
        }
        wave = node->wave;
        work += node->work_ns;
        const VkCommandBuffer commands = out->buffers[out->n - 1];
        if (timed)
            device->fns.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, list->queries, 2 * sorted[n]);
        record(device, commands, node);
        if (timed)
            device->fns.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, list->queries, 2 * sorted[n] + 1);
    }
    barrier(device, out->buffers[out->n - 1], VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    return end_buffer(device, out);
}

static bl_status record_all(struct vk_list *list, bool timed, struct vk_commands *out)
{
    uint32_t *sorted = NULL;
    BL_TRY(sort_nodes(list, &sorted));
    bl_status status = record_sorted((struct vk_device *)list->base.device, list, sorted, timed, out);
    free(sorted);
    return status;
}

bl_status vk_list_end(bl_list *base)
{
    struct vk_list *list = (struct vk_list *)base;
    struct vk_device *device = (struct vk_device *)base->device;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->family};
    BL_TRY(vk_answer(device, device->fns.CreateCommandPool(device->handle, &pool, NULL, &list->pool), "vkCreateCommandPool"));
    BL_TRY(make_pool(device, list));
    const bl_buffer_params scratch = {.bytes = list->scratch_bytes, .kind = BL_MEM_DEVICE, .label = "scratch"};
    if (scratch.bytes) {
        BL_TRY(vk_buffer_create(base->device, &scratch, &list->scratch));
        list->scratch->device = base->device;
    }
    return record_all(list, false, &list->plain);
}

bl_status vk_list_commands(struct vk_list *list, const struct vk_commands **out)
{
    struct vk_device *device = (struct vk_device *)list->base.device;
    *out = list->base.timed ? &list->timed : &list->plain;
    if ((*out)->n)
        return BL_OK;
    struct vk_commands made = {0};
    bl_status status = BL_OK;
    const VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                        .queryCount = 2 * list->n_nodes};
    if (!list->queries && list->n_nodes)
        status = vk_answer(device, device->fns.CreateQueryPool(device->handle, &info, NULL, &list->queries), "vkCreateQueryPool");
    if (status == BL_OK)
        status = record_all(list, true, &made);
    if (status != BL_OK) {
        free(made.buffers); /* the pool keeps the command buffers */
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    list->timed = made;
    return BL_OK;
}

bl_status vk_list_timings(bl_list *base, bl_node_timing *out)
{
    struct vk_list *list = (struct vk_list *)base;
    struct vk_device *device = (struct vk_device *)base->device;
    uint64_t *stamps = malloc((2 * (size_t)list->n_nodes + 1) * sizeof *stamps);
    if (!stamps)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u time stamps", 2 * list->n_nodes);
    bl_status status = BL_OK;
    if (list->n_nodes)
        status = vk_answer(device,
                           device->fns.GetQueryPoolResults(device->handle, list->queries, 0, 2 * list->n_nodes, 2 * list->n_nodes * sizeof *stamps,
                                                           stamps, sizeof *stamps, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                           "vkGetQueryPoolResults");
    uint64_t first = UINT64_MAX;
    for (uint32_t n = 0; n < 2 * list->n_nodes; n++)
        if ((stamps[n] &= device->stamp_mask) < first)
            first = stamps[n];
    for (uint32_t n = 0; status == BL_OK && n < list->n_nodes; n++) {
        out[n].begin_ns = (uint64_t)((double)(stamps[2 * n] - first) * device->ns_per_tick);
        out[n].end_ns = (uint64_t)((double)(stamps[2 * n + 1] - first) * device->ns_per_tick);
    }
    free(stamps);
    return status;
}
