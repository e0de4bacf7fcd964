/* list.c: a list as single nodes with edges, and playing them in any legal order. Knows nothing of submissions and failures to come. */
#include "chaos.h"

#include <stdlib.h>
#include <string.h>

bl_status chaos_list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    (void)flags;
    CHAOS_TRY(device);
    struct chaos_list *list = calloc(1, sizeof *list);
    if (!list)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    *out = &list->base;
    return BL_OK;
}

void chaos_list_destroy(bl_list *base)
{
    struct chaos_list *list = (struct chaos_list *)base;
    for (uint32_t n = 0; n < list->n_nodes; n++)
        bl_list_destroy(list->nodes[n].inner);
    free(list->nodes);
    free(list->edges);
    free(list->after);
    free(list);
}

static bl_status add_edge(struct chaos_list *list, uint32_t before, uint32_t after)
{
    if (list->n_edges == list->edge_capacity) {
        uint32_t capacity = list->edge_capacity ? list->edge_capacity * 2 : 16;
        struct chaos_edge *edges = realloc(list->edges, capacity * sizeof *edges);
        if (!edges)
            BL_FAIL(BL_ENOMEM, "chaos: out of memory");
        list->edges = edges;
        list->edge_capacity = capacity;
    }
    list->edges[list->n_edges++] = (struct chaos_edge){before, after};
    return BL_OK;
}

/* Adds a node with its edges and begins its inner list. */
static bl_status add_node(struct chaos_list *list, uint32_t lane, const uint32_t *waits, uint32_t n_waits, bl_list **inner)
{
    uint32_t id = list->n_nodes;
    if (id == list->node_capacity) {
        uint32_t capacity = list->node_capacity ? list->node_capacity * 2 : 16;
        struct chaos_node *nodes = realloc(list->nodes, capacity * sizeof *nodes);
        if (!nodes)
            BL_FAIL(BL_ENOMEM, "chaos: out of memory");
        list->nodes = nodes;
        list->node_capacity = capacity;
    }
    list->nodes[list->n_nodes++] = (struct chaos_node){0};
    if (list->last_of_lane[lane])
        BL_TRY(add_edge(list, list->last_of_lane[lane] - 1, id));
    for (uint32_t w = 0; w < n_waits; w++)
        BL_TRY(add_edge(list, waits[w], id));
    list->last_of_lane[lane] = id + 1;
    BL_TRY(bl_list_begin(((struct chaos_device *)list->base.device)->inner, 0, &list->nodes[id].inner));
    *inner = list->nodes[id].inner;
    return BL_OK;
}

bl_status chaos_list_dispatch(bl_list *base, uint32_t node, const struct bl_recorded_dispatch *recorded)
{
    (void)node;
    bl_list *inner;
    const struct chaos_kernel *kernel = (const struct chaos_kernel *)recorded->kernel;
    CHAOS_TRY(base->device);
    BL_TRY(add_node((struct chaos_list *)base, recorded->lane, recorded->waits, recorded->n_waits, &inner));
    bl_binding *bindings = calloc(recorded->n_bindings ? recorded->n_bindings : 1, sizeof *bindings);
    if (!bindings)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    for (uint32_t b = 0; b < recorded->n_bindings; b++) {
        bindings[b] = recorded->bindings[b];
        if (bindings[b].buffer)
            bindings[b].buffer = ((struct chaos_buffer *)bindings[b].buffer)->inner;
    }
    bl_dispatch dispatch = {.kernel = kernel->inner,
                            .bindings = recorded->n_bindings ? bindings : NULL,
                            .n_bindings = recorded->n_bindings,
                            .push = recorded->push,
                            .push_bytes = recorded->push_bytes};
    for (int axis = 0; axis < 3; axis++) { /* back to elements: the inner core divides by the same tile */
        uint64_t size = (uint64_t)recorded->grid[axis] * recorded->kernel->tile[axis];
        dispatch.size[axis] = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    }
    const bl_order order = {.label = recorded->label};
    bl_status status = bl_list_dispatch(inner, &dispatch, &order, NULL);
    free(bindings);
    if (status != BL_OK)
        return bl_error_trace(status, __FILE__, __LINE__);
    BL_TRY(bl_list_end(inner));
    return BL_OK;
}

bl_status chaos_list_copy(bl_list *base, uint32_t node, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset,
                          uint64_t bytes, const struct bl_recorded_order *recorded)
{
    (void)node;
    bl_list *inner;
    const bl_order order = {.label = recorded->label};
    CHAOS_TRY(base->device);
    BL_TRY(add_node((struct chaos_list *)base, recorded->lane, recorded->waits, recorded->n_waits, &inner));
    BL_TRY(bl_list_copy(inner, ((struct chaos_buffer *)to)->inner, to_offset, ((struct chaos_buffer *)from)->inner, from_offset, bytes,
                        &order, NULL));
    BL_TRY(bl_list_end(inner));
    return BL_OK;
}

bl_status chaos_list_fill(bl_list *base, uint32_t node, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                          const struct bl_recorded_order *recorded)
{
    (void)node;
    bl_list *inner;
    const bl_order order = {.label = recorded->label};
    CHAOS_TRY(base->device);
    BL_TRY(add_node((struct chaos_list *)base, recorded->lane, recorded->waits, recorded->n_waits, &inner));
    BL_TRY(bl_list_fill(inner, ((struct chaos_buffer *)buffer)->inner, offset, bytes, pattern, &order, NULL));
    BL_TRY(bl_list_end(inner));
    return BL_OK;
}

bl_status chaos_list_end(bl_list *base)
{
    struct chaos_list *list = (struct chaos_list *)base;
    CHAOS_TRY(base->device);
    list->after = calloc(list->n_edges ? list->n_edges : 1, sizeof *list->after);
    if (!list->after)
        BL_FAIL(BL_ENOMEM, "chaos: out of memory");
    for (uint32_t e = 0; e < list->n_edges; e++) {
        list->nodes[list->edges[e].before].n_after++;
        list->nodes[list->edges[e].after].n_before++;
    }
    uint32_t first = 0;
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        list->nodes[n].first_after = first;
        first += list->nodes[n].n_after;
        list->nodes[n].n_after = 0; /* counts again below */
    }
    for (uint32_t e = 0; e < list->n_edges; e++) {
        struct chaos_node *before = &list->nodes[list->edges[e].before];
        list->after[before->first_after + before->n_after++] = list->edges[e].after;
    }
    free(list->edges);
    list->edges = NULL;
    return BL_OK;
}

bl_status chaos_list_play(const struct chaos_list *list, bl_queue *inner, uint64_t *state, uint32_t *ready, uint32_t *left)
{
    uint32_t n_ready = 0;
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        left[n] = list->nodes[n].n_before;
        if (left[n] == 0)
            ready[n_ready++] = n;
    }
    while (n_ready) {
        uint32_t pick = (uint32_t)(chaos_random(state) % n_ready);
        const struct chaos_node *node = &list->nodes[ready[pick]];
        uint64_t value;
        ready[pick] = ready[--n_ready];
        BL_TRY(bl_queue_submit(inner, node->inner, NULL, 0, &value));
        BL_TRY(bl_queue_wait(inner, value, BL_WAIT_FOREVER));
        for (uint32_t a = 0; a < node->n_after; a++) {
            uint32_t after = list->after[node->first_after + a];
            if (--left[after] == 0)
                ready[n_ready++] = after;
        }
    }
    return BL_OK;
}
