/* list.c: lists as CUDA graphs. Nodes are kept as they are recorded; list_end makes the graph, and a second one with an event on either side
 * of every node where timings are wanted. */
#include "cuda.h"
#include "cuda/shares.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bl_status cu_list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    (void)device;
    (void)flags;
    struct cu_list *list = calloc(1, sizeof *list);
    if (!list)
        BL_FAIL(BL_ENOMEM, "list: out of memory");
    *out = &list->base;
    return BL_OK;
}

static void destroy_events(struct cu_device *device, struct cu_list *list)
{
    for (uint32_t e = 0; list->events && e < 2 * list->n_nodes + 1; e++)
        if (list->events[e])
            device->cu.event_destroy(list->events[e]);
    free(list->events);
    list->events = NULL;
}

static void destroy_exec(struct cu_device *device, struct cu_exec *exec)
{
    if (exec->graph)
        device->cu.graph_exec_destroy(exec->graph);
    if (exec->scratch)
        device->cu.mem_free(exec->scratch);
    *exec = (struct cu_exec){0};
}

void cu_list_destroy(bl_list *base)
{
    struct cu_list *list = (struct cu_list *)base;
    struct cu_device *device = (struct cu_device *)base->device;
    if (list->exec.graph && cu_enter_quietly(device)) { /* without it there is nothing of the driver's */
        destroy_exec(device, &list->exec);
        destroy_exec(device, &list->timed);
        destroy_events(device, list);
        cu_leave(device, BL_OK);
    }
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        free(list->nodes[n].after);
        free(list->nodes[n].args);
    }
    free(list->nodes);
    free(list->events);
    free(list);
}

/* What a node follows: the node before it in its lane, and what it waits for, each once. */
static bl_status set_order(struct cu_list *list, struct cu_node *node, uint32_t lane, const uint32_t *waits, uint32_t n_waits)
{
    node->after = malloc(((size_t)n_waits + 1) * sizeof *node->after);
    if (!node->after)
        BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
    if (list->lanes[lane].last)
        node->after[node->n_after++] = list->lanes[lane].last - 1;
    for (uint32_t w = 0; w < n_waits; w++) {
        bool is_new = true;
        for (uint32_t a = 0; a < node->n_after && is_new; a++)
            is_new = node->after[a] != waits[w];
        if (is_new)
            node->after[node->n_after++] = waits[w];
    }
    return BL_OK;
}

static bl_status add_node(struct cu_list *list, enum cu_node_kind kind, uint32_t lane, const uint32_t *waits, uint32_t n_waits,
                          struct cu_node **out)
{
    if (list->n_nodes == list->capacity) {
        uint32_t larger = list->capacity ? 2 * list->capacity : 64;
        struct cu_node *nodes = realloc(list->nodes, larger * sizeof *nodes);
        if (!nodes)
            BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
        list->nodes = nodes;
        list->capacity = larger;
    }
    struct cu_node *node = &list->nodes[list->n_nodes];
    *node = (struct cu_node){.kind = kind, .lane = lane};
    BL_TRY(set_order(list, node, lane, waits, n_waits));
    list->lanes[lane].last = ++list->n_nodes;
    *out = node;
    return BL_OK;
}

static cu_address address_of(const bl_buffer *buffer, uint64_t offset)
{
    return ((const struct cu_buffer *)buffer)->address + offset;
}

static struct cu_place place_of(const bl_buffer *base, uint64_t offset)
{
    const struct cu_buffer *buffer = (const struct cu_buffer *)base;
    return (struct cu_place){buffer->on_card || !base->host ? NULL : (char *)base->host + offset, buffer->address + offset};
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* An attention over few rows goes to several blocks each, over many to the kernel that works on many at once. */
static void share(struct cu_list *list, struct cu_node *node, const struct cu_kernel *kernel)
{
    struct bl_params_attention p;
    memcpy(&p, node->args->push, sizeof p);
    if (node->grid[1] > BL_SHARES_ROWS)
        node->function = kernel->tile;
    node->grid[2] = bl_shares(&p, node->grid[1], list->base.device->caps.compute_units);
    node->is_shared = node->grid[2] > 1;
    if (!node->is_shared)
        return;
    struct cu_lane *lane = &list->lanes[node->lane];
    lane->counter_bytes = larger(lane->counter_bytes, bl_shares_counter_bytes(&p, node->grid[1]));
    lane->sum_bytes = larger(lane->sum_bytes, bl_shares_sum_bytes(&p, node->grid[1]));
}

/* With a GLU at the end a block has gate and up of its outputs. */
static void pair(struct cu_node *node, uint32_t tile)
{
    struct bl_params_linear p;
    memcpy(&p, node->args->push, sizeof p);
    if (p.glu)
        node->grid[0] = (p.segment[0].n + bl_glu_tile(tile) - 1) / bl_glu_tile(tile);
}

bl_status cu_list_dispatch(bl_list *base, uint32_t id, const struct bl_recorded_dispatch *recorded)
{
    struct cu_node *node = NULL;
    struct cu_list *list = (struct cu_list *)base;
    const struct cu_kernel *kernel = (const struct cu_kernel *)recorded->kernel;
    assert(id == list->n_nodes);
    (void)id;
    struct cu_args *args = calloc(1, sizeof *args);
    if (!args)
        BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
    bl_status status = add_node(list, CU_NODE_DISPATCH, recorded->lane, recorded->waits, recorded->n_waits, &node);
    if (status != BL_OK) {
        free(args);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    for (uint32_t b = 0; b < recorded->n_bindings; b++)
        if (recorded->bindings[b].buffer)
            args->binding[b] = address_of(recorded->bindings[b].buffer, recorded->bindings[b].offset);
    if (recorded->push_bytes)
        memcpy(args->push, recorded->push, recorded->push_bytes);
    node->args = args;
    node->function = kernel->function;
    node->threads = kernel->threads;
    memcpy(node->grid, recorded->grid, sizeof node->grid);
    if (recorded->kernel->key.op == BL_OP_ATTENTION)
        share(list, node, kernel);
    if (recorded->kernel->key.op == BL_OP_MATVEC || recorded->kernel->key.op == BL_OP_MATMUL)
        pair(node, kernel->base.tile[0]);
    return BL_OK;
}

/* What copies and fills have in common. */
static bl_status add_transfer(bl_list *base, enum cu_node_kind kind, uint32_t id, struct cu_place to, uint64_t bytes,
                              const struct bl_recorded_order *order, struct cu_node **out)
{
    struct cu_list *list = (struct cu_list *)base;
    assert(id == list->n_nodes);
    (void)id;
    BL_TRY(add_node(list, kind, order->lane, order->waits, order->n_waits, out));
    (*out)->to = to;
    (*out)->bytes = bytes;
    return BL_OK;
}

bl_status cu_list_copy(bl_list *list, uint32_t id, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes,
                       const struct bl_recorded_order *order)
{
    struct cu_node *node = NULL;
    BL_TRY(add_transfer(list, CU_NODE_COPY, id, place_of(to, to_offset), bytes, order, &node));
    node->from = place_of(from, from_offset);
    return BL_OK;
}

bl_status cu_list_fill(bl_list *list, uint32_t id, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                       const struct bl_recorded_order *order)
{
    struct cu_node *node = NULL;
    BL_TRY(add_transfer(list, CU_NODE_FILL, id, place_of(buffer, offset), bytes, order, &node));
    node->pattern = pattern;
    return BL_OK;
}

/* ---- the graph ---- */

static struct cu_copy_side side_of(const struct cu_place *place, uint64_t at, uint64_t bytes)
{
    return (struct cu_copy_side){.memory = place->host ? CU_MEMORY_HOST : CU_MEMORY_DEVICE, .host = place->host ? (char *)place->host + at : NULL,
                                 .device = place->address + at, .pitch = bytes, .height = 1};
}

/* A copy is one row of bytes, and a row has less than 2 GB: more is a chain of rows. */
static bl_status add_copy(struct cu_device *device, cu_graph graph, const struct cu_node *node, const cu_graph_node *after, size_t n_after,
                          cu_graph_node *out)
{
    const uint64_t most = UINT64_C(1) << 30;
    for (uint64_t at = 0; at < node->bytes; at += most) {
        const uint64_t bytes = node->bytes - at < most ? node->bytes - at : most;
        const struct cu_copy_params copy = {.from = side_of(&node->from, at, bytes), .to = side_of(&node->to, at, bytes), .width = bytes,
                                            .height = 1, .depth = 1};
        cu_graph_node before = *out;
        BL_TRY(cu_answer(device, device->cu.graph_add_copy(out, graph, at ? &before : after, at ? 1 : n_after, &copy, device->context),
                         "cuGraphAddMemcpyNode"));
    }
    return BL_OK;
}

/* All counters lie first, lane after lane, so that no node's sums get into another's counters. */
static uint64_t counter_bytes(const struct cu_list *list, uint32_t lanes)
{
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < lanes; l++)
        bytes += list->lanes[l].counter_bytes;
    return bytes;
}

static uint64_t sum_bytes(const struct cu_list *list, uint32_t lanes)
{
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < lanes; l++)
        bytes += list->lanes[l].sum_bytes;
    return bytes;
}

static bl_status add_work(struct cu_device *device, cu_graph graph, const struct cu_list *list, const struct cu_node *node, cu_address scratch,
                          const cu_graph_node *after, size_t n_after, cu_graph_node *out)
{
    struct cu_args args = {0};
    if (node->args)
        args = *node->args;
    if (node->is_shared)
        args.binding[BL_SHARES_COUNTERS] = scratch + counter_bytes(list, node->lane);
    if (node->is_shared)
        args.binding[BL_SHARES_SUMS] = scratch + counter_bytes(list, BL_MAX_LANES) + sum_bytes(list, node->lane);
    void *arguments[1] = {&args};
    const struct cu_kernel_params kernel = {.function = node->function, .grid = {node->grid[0], node->grid[1], node->grid[2]},
                                            .block = {node->threads, 1, 1}, .arguments = arguments};
    const struct cu_fill_params fill = {.to = node->to.address, .value = node->pattern, .element_bytes = 4, .width = node->bytes / 4,
                                        .height = 1};
    switch (node->kind) {
    case CU_NODE_DISPATCH:
        return cu_answer(device, device->cu.graph_add_kernel(out, graph, after, n_after, &kernel), "cuGraphAddKernelNode");
    case CU_NODE_COPY:
        return add_copy(device, graph, node, after, n_after, out);
    default:
        return cu_answer(device, device->cu.graph_add_fill(out, graph, after, n_after, &fill, device->context), "cuGraphAddMemsetNode");
    }
}

static bl_status add_event(struct cu_device *device, cu_graph graph, cu_event *event, const cu_graph_node *after, size_t n_after,
                           cu_graph_node *out)
{
    cu_result result = device->cu.event_create(event, 0);
    if (result != CU_OK)
        *event = NULL;
    BL_TRY(cu_answer(device, result, "cuEventCreate"));
    return cu_answer(device, device->cu.graph_add_event(out, graph, after, n_after, *event), "cuGraphAddEventRecordNode");
}

/* events NULL: only the work. done[n]: what must be over before node n is. */
static bl_status add_nodes(struct cu_device *device, const struct cu_list *list, cu_graph graph, cu_address scratch, cu_event *events,
                           cu_graph_node *done, cu_graph_node *after)
{
    cu_graph_node start = NULL;
    if (events)
        BL_TRY(add_event(device, graph, &events[0], NULL, 0, &start));
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        const struct cu_node *node = &list->nodes[n];
        size_t n_after = node->n_after;
        for (uint32_t a = 0; a < node->n_after; a++)
            after[a] = done[node->after[a]];
        if (events) {
            if (n_after == 0)
                after[n_after++] = start;
            BL_TRY(add_event(device, graph, &events[2 * n + 1], after, n_after, &after[0]));
            n_after = 1;
        }
        BL_TRY(add_work(device, graph, list, node, scratch, after, n_after, &done[n]));
        if (events)
            BL_TRY(add_event(device, graph, &events[2 * n + 2], &done[n], 1, &done[n]));
    }
    return BL_OK;
}

static bl_status make_scratch(struct cu_device *device, const struct cu_list *list, cu_address *out)
{
    const uint64_t counters = counter_bytes(list, BL_MAX_LANES);
    if (!counters)
        return BL_OK;
    cu_result result = device->cu.mem_alloc(out, counters + sum_bytes(list, BL_MAX_LANES));
    if (result != CU_OK)
        *out = 0;
    BL_TRY(cu_answer(device, result, "cuMemAlloc"));
    BL_TRY(cu_answer(device, device->cu.mem_set(*out, 0, counters), "cuMemset"));
    return cu_answer(device, device->cu.stream_synchronize(NULL), "cuStreamSynchronize"); /* no stream of ours waits for that one */
}

static bl_status make_graph(struct cu_device *device, const struct cu_list *list, cu_event *events, cu_graph_node *nodes, struct cu_exec *out)
{
    cu_graph graph = NULL;
    BL_TRY(make_scratch(device, list, &out->scratch));
    BL_TRY(cu_answer(device, device->cu.graph_create(&graph, 0), "cuGraphCreate"));
    bl_status status = add_nodes(device, list, graph, out->scratch, events, nodes, nodes + list->n_nodes);
    cu_graph_exec exec = NULL;
    if (status == BL_OK)
        status = cu_answer(device, device->cu.graph_instantiate(&exec, graph, 0), "cuGraphInstantiate");
    out->graph = status == BL_OK ? exec : NULL;
    device->cu.graph_destroy(graph);
    return status;
}

static bl_status make_exec(struct cu_device *device, const struct cu_list *list, cu_event *events, struct cu_exec *out)
{
    cu_graph_node *nodes = malloc((2 * (size_t)list->n_nodes + 1) * sizeof *nodes); /* done, and what one node follows */
    if (!nodes)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u nodes", list->n_nodes);
    bl_status status = make_graph(device, list, events, nodes, out);
    free(nodes);
    if (status != BL_OK)
        destroy_exec(device, out);
    return status;
}

bl_status cu_list_end(bl_list *base)
{
    struct cu_list *list = (struct cu_list *)base;
    struct cu_device *device = (struct cu_device *)base->device;
    if (list->n_nodes == 0)
        return BL_OK;
    BL_TRY(cu_enter(device));
    return cu_leave(device, make_exec(device, list, NULL, &list->exec));
}

/* ---- timings ---- */

bl_status cu_list_make_timed(struct cu_list *list)
{
    struct cu_device *device = (struct cu_device *)list->base.device;
    if (list->timed.graph || list->n_nodes == 0)
        return BL_OK;
    list->events = calloc(2 * (size_t)list->n_nodes + 1, sizeof *list->events);
    if (!list->events)
        BL_FAIL(BL_ENOMEM, "timings of %u nodes: out of memory", list->n_nodes);
    bl_status status = make_exec(device, list, list->events, &list->timed);
    if (status != BL_OK)
        destroy_events(device, list);
    return status;
}

static bl_status read_event(struct cu_device *device, const struct cu_list *list, uint32_t event, uint64_t *ns)
{
    float milliseconds = 0;
    BL_TRY(cu_answer(device, device->cu.event_elapsed(&milliseconds, list->events[0], list->events[event]), "cuEventElapsedTime"));
    *ns = milliseconds > 0 ? (uint64_t)((double)milliseconds * 1e6) : 0;
    return BL_OK;
}

static bl_status read_timings(struct cu_device *device, const struct cu_list *list, bl_node_timing *out)
{
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        BL_TRY(read_event(device, list, 2 * n + 1, &out[n].begin_ns));
        BL_TRY(read_event(device, list, 2 * n + 2, &out[n].end_ns));
    }
    return BL_OK;
}

bl_status cu_list_timings(bl_list *base, bl_node_timing *out)
{
    struct cu_device *device = (struct cu_device *)base->device;
    BL_TRY(cu_enter(device));
    return cu_leave(device, read_timings(device, (const struct cu_list *)base, out));
}
