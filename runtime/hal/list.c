/* list.c: recording lists: every argument is checked here, once, and what the hazard check needs is written down. Knows no back end. */
#include "hal/core.h"

#include <stdlib.h>
#include <string.h>

static const bl_order default_order = {0};

bl_status bl_list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    REQUIRE_OBJECT(device);
    REQUIRE(flags == 0, "bl_list_begin: flags = 0x%x, none is defined", flags);
    BL_TRY(bl_device_usable(device));
    struct bl_list_core *core = calloc(1, sizeof *core);
    if (!core)
        BL_FAIL(BL_ENOMEM, "list: out of memory");
    bl_status status = bl_device_answer(device, device->fns->list_begin(device, flags, out));
    if (status != BL_OK) {
        free(core);
        *out = NULL;
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    bl_arena_init(&core->labels, 0);
    (*out)->device = device;
    (*out)->core = core;
    (*out)->timed = false;
    pthread_mutex_lock(&device->core->lock);
    device->core->n_lists++;
    pthread_mutex_unlock(&device->core->lock);
    return BL_OK;
}

void bl_list_destroy(bl_list *list)
{
    if (!list)
        return;
    bl_device *device = list->device;
    struct bl_list_core *core = list->core;
    struct dead_objects dead = {0};
    pthread_mutex_lock(&device->core->lock);
    if (core->uses)
        bl_device_collect(device, &dead); /* before `destroyed`: what is collected here must not be released twice */
    core->destroyed = true;
    if (core->uses == 0) {
        core->next_dead = dead.lists;
        dead.lists = list;
    }
    pthread_mutex_unlock(&device->core->lock);
    bl_release_dead(device, &dead);
}

/* ---- which buffers a list names, each once ---- */

static uint32_t *buffer_slot(const struct bl_list_core *core, const struct bl_buffer_core *buffer)
{
    uint32_t mask = 2 * core->buffer_capacity - 1; /* capacities are powers of two, the table is never more than half full */
    uint32_t at = (uint32_t)(((uintptr_t)buffer >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
    while (core->buffer_slots[at] && core->buffers[core->buffer_slots[at] - 1] != buffer)
        at = (at + 1) & mask;
    return &core->buffer_slots[at];
}

static bl_status name_buffer(bl_list *list, bl_buffer *buffer, uint32_t *index)
{
    struct bl_list_core *core = list->core;
    uint32_t *slot = core->buffer_capacity ? buffer_slot(core, buffer->core) : NULL;
    if (!slot || !*slot) {
        uint32_t capacity = core->buffer_capacity;
        if (core->n_buffers == capacity) {
            uint32_t *slots = calloc(capacity ? 4 * (size_t)capacity : 32, sizeof *slots);
            if (!slots)
                BL_FAIL(BL_ENOMEM, "list: out of memory after %u buffers", core->n_buffers);
            bl_status status = bl_grow(&core->buffers, &core->buffer_capacity, core->n_buffers, sizeof(struct bl_buffer_core *));
            if (status != BL_OK) {
                free(slots);
                return bl_error_trace(status, __FILE__, __LINE__);
            }
            free(core->buffer_slots);
            core->buffer_slots = slots;
            for (uint32_t b = 0; b < core->n_buffers; b++)
                *buffer_slot(core, core->buffers[b]) = b + 1;
            slot = buffer_slot(core, buffer->core);
        }
        pthread_mutex_lock(&list->device->core->lock);
        buffer->core->refs++;
        pthread_mutex_unlock(&list->device->core->lock);
        core->buffers[core->n_buffers++] = buffer->core;
        *slot = core->n_buffers;
    }
    *index = *slot - 1;
    return BL_OK;
}

/* ---- checks ---- */

/* What a node is called in messages, before it has an id of its own. */
struct subject {
    const char *function, *label;
};

static bl_status check_recording(bl_list *list, const bl_order *order, const struct subject *who)
{
    REQUIRE(list->core->state == LIST_RECORDING, "%s: the list is %s", who->function,
            list->core->state == LIST_SEALED ? "sealed" : "failed, it can only be destroyed");
    REQUIRE(order->lane < BL_MAX_LANES, "%s \"%s\": order->lane %u, lanes are below %u", who->function, who->label, order->lane,
            BL_MAX_LANES);
    REQUIRE(order->waits != NULL || order->n_waits == 0, "%s \"%s\": order->waits is NULL and n_waits is %u", who->function, who->label,
            order->n_waits);
    for (uint32_t w = 0; w < order->n_waits; w++)
        REQUIRE(order->waits[w] < list->core->n_nodes, "%s \"%s\": waits[%u] is node %u, only %u nodes are recorded", who->function,
                who->label, w, order->waits[w], list->core->n_nodes);
    BL_TRY(bl_device_usable(list->device));
    return BL_OK;
}

static bl_status check_range(bl_list *list, const struct subject *who, const char *what, uint32_t index, const bl_binding *b)
{
    bl_buffer *buffer = b->buffer;
    REQUIRE(buffer->device == list->device, "%s \"%s\": %s[%u] is \"%s\" of device %s, the list is of %s", who->function, who->label, what,
            index, buffer->core->label, buffer->device->core->id, list->device->core->id);
    REQUIRE(b->bytes >= 1 && b->offset <= buffer->bytes && b->bytes <= buffer->bytes - b->offset,
            "%s \"%s\": %s[%u] is %llu bytes at offset %llu of \"%s\", which has %llu", who->function, who->label, what, index,
            (unsigned long long)b->bytes, (unsigned long long)b->offset, buffer->core->label, (unsigned long long)buffer->bytes);
    REQUIRE(b->access >= BL_READ && b->access <= BL_READ_WRITE, "%s \"%s\": %s[%u].access is %u", who->function, who->label, what, index,
            (uint32_t)b->access);
    REQUIRE(!(b->access & BL_WRITE) || (buffer->kind != BL_MEM_UPLOAD && buffer->kind != BL_MEM_IMPORT_HOST),
            "%s \"%s\": %s[%u] writes to \"%s\", which the device only reads (kind %s)", who->function, who->label, what, index,
            buffer->core->label, buffer->kind == BL_MEM_UPLOAD ? "UPLOAD" : "IMPORT_HOST");
    REQUIRE(!(b->access & BL_READ) || buffer->kind != BL_MEM_READBACK, "%s \"%s\": %s[%u] reads \"%s\", which the device only writes "
            "(kind READBACK)", who->function, who->label, what, index, buffer->core->label);
    return BL_OK;
}

static bl_status check_binding(bl_list *list, const struct subject *who, uint32_t index, const bl_binding *b)
{
    const bl_caps *caps = &list->device->caps;
    BL_TRY(check_range(list, who, "bindings", index, b));
    REQUIRE((b->offset & (caps->buffer_alignment - 1)) == 0, "%s \"%s\": bindings[%u].offset %llu is not a multiple of %llu", who->function,
            who->label, index, (unsigned long long)b->offset, (unsigned long long)caps->buffer_alignment);
    REQUIRE(caps->max_binding_bytes == 0 || b->bytes <= caps->max_binding_bytes, "%s \"%s\": bindings[%u].bytes %llu > %llu",
            who->function, who->label, index, (unsigned long long)b->bytes, (unsigned long long)caps->max_binding_bytes);
    return BL_OK;
}

/* ---- recording ---- */

/* Writes a node down: order, label and what it touches. From here a failure leaves the list half recorded: the caller marks it failed. */
static bl_status add_node(bl_list *list, const bl_order *order, const char *label, const bl_binding *touched, uint32_t n_touched,
                          const char **kept_label)
{
    struct bl_list_core *core = list->core;
    BL_TRY(bl_grow(&core->nodes, &core->node_capacity, core->n_nodes, sizeof *core->nodes));
    struct list_node *node = &core->nodes[core->n_nodes];
    *node = (struct list_node){.lane = order->lane, .first_wait = core->n_waits, .n_waits = order->n_waits};
    node->label = bl_arena_string(&core->labels, label, strlen(label));
    if (!node->label)
        BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", core->n_nodes);
    *kept_label = node->label;
    for (uint32_t w = 0; w < order->n_waits; w++) {
        BL_TRY(bl_grow(&core->waits, &core->wait_capacity, core->n_waits, sizeof *core->waits));
        core->waits[core->n_waits++] = order->waits[w];
    }
    for (uint32_t t = 0; t < n_touched; t++) {
        if (!touched[t].buffer)
            continue;
        BL_TRY(bl_grow(&core->accesses, &core->access_capacity, core->n_accesses, sizeof *core->accesses));
        struct list_access *access = &core->accesses[core->n_accesses];
        *access = (struct list_access){.node = core->n_nodes,
                                       .access = touched[t].access,
                                       .begin = touched[t].offset,
                                       .end = touched[t].offset + touched[t].bytes};
        BL_TRY(name_buffer(list, touched[t].buffer, &access->buffer));
        core->n_accesses++;
    }
    return BL_OK;
}

static bl_status finish_node(bl_list *list, bl_status status, uint32_t *node)
{
    status = bl_device_answer(list->device, status);
    if (status != BL_OK) {
        list->core->state = LIST_FAILED;
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    if (node)
        *node = list->core->n_nodes;
    list->core->n_nodes++;
    return BL_OK;
}

/* Elements to workgroups; their number must fit 32 bits. */
static bl_status grid_of(const struct subject *who, const bl_dispatch *dispatch, uint32_t grid[3])
{
    uint64_t count = 1;
    for (int axis = 0; axis < 3; axis++) {
        uint32_t size = dispatch->size[axis] ? dispatch->size[axis] : 1, tile = dispatch->kernel->tile[axis];
        grid[axis] = size / tile + (size % tile != 0);
        REQUIRE(grid[axis] <= UINT32_MAX / count, "%s \"%s\": size %u x %u x %u makes more than 2^32 - 1 workgroups", who->function,
                who->label, dispatch->size[0], dispatch->size[1], dispatch->size[2]);
        count *= grid[axis];
    }
    return BL_OK;
}

bl_status bl_list_dispatch(bl_list *list, const bl_dispatch *dispatch, const bl_order *order, uint32_t *node)
{
    bl_errors_clear();
    if (node)
        *node = 0;
    REQUIRE_OBJECT(list);
    REQUIRE_OBJECT(dispatch);
    REQUIRE_OBJECT(dispatch->kernel);
    if (!order)
        order = &default_order;
    const bl_caps *caps = &list->device->caps;
    struct subject who = {__func__, order->label ? order->label : dispatch->kernel->name};
    BL_TRY(check_recording(list, order, &who));
    REQUIRE(dispatch->kernel->device == list->device, "%s \"%s\": kernel %s is of device %s, the list is of %s", who.function, who.label,
            dispatch->kernel->name, dispatch->kernel->device->core->id, list->device->core->id);
    REQUIRE(dispatch->bindings != NULL || dispatch->n_bindings == 0, "%s \"%s\": bindings is NULL and n_bindings is %u", who.function,
            who.label, dispatch->n_bindings);
    REQUIRE(dispatch->n_bindings <= caps->max_bindings, "%s \"%s\": n_bindings %u > caps.max_bindings %u", who.function, who.label,
            dispatch->n_bindings, caps->max_bindings);
    REQUIRE(dispatch->push_bytes <= caps->max_push_bytes, "%s \"%s\": push_bytes %u > caps.max_push_bytes %u", who.function, who.label,
            dispatch->push_bytes, caps->max_push_bytes);
    REQUIRE((dispatch->push != NULL) == (dispatch->push_bytes != 0), "%s \"%s\": push is %s, push_bytes is %u", who.function, who.label,
            dispatch->push ? "set" : "NULL", dispatch->push_bytes);
    for (uint32_t b = 0; b < dispatch->n_bindings; b++)
        if (dispatch->bindings[b].buffer)
            BL_TRY(check_binding(list, &who, b, &dispatch->bindings[b]));
    struct bl_recorded_dispatch recorded = {.kernel = dispatch->kernel,
                                            .bindings = dispatch->bindings,
                                            .n_bindings = dispatch->n_bindings,
                                            .push = dispatch->push,
                                            .push_bytes = dispatch->push_bytes,
                                            .lane = order->lane,
                                            .waits = order->waits,
                                            .n_waits = order->n_waits};
    BL_TRY(grid_of(&who, dispatch, recorded.grid));

    bl_status status = add_node(list, order, who.label, dispatch->bindings, dispatch->n_bindings, &recorded.label);
    if (status == BL_OK)
        status = list->device->fns->list_dispatch(list, list->core->n_nodes, &recorded);
    return finish_node(list, status, node);
}

bl_status bl_list_copy(bl_list *list, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes,
                       const bl_order *order, uint32_t *node)
{
    bl_errors_clear();
    if (node)
        *node = 0;
    REQUIRE_OBJECT(list);
    REQUIRE_OBJECT(to);
    REQUIRE_OBJECT(from);
    if (!order)
        order = &default_order;
    struct subject who = {__func__, order->label ? order->label : "copy"};
    const bl_binding touched[2] = {{from, from_offset, bytes, BL_READ}, {to, to_offset, bytes, BL_WRITE}};
    BL_TRY(check_recording(list, order, &who));
    BL_TRY(check_range(list, &who, "from", 0, &touched[0]));
    BL_TRY(check_range(list, &who, "to", 0, &touched[1]));
    REQUIRE(to != from || to_offset >= from_offset + bytes || from_offset >= to_offset + bytes,
            "%s \"%s\": %llu bytes from %llu to %llu of \"%s\" overlap", who.function, who.label, (unsigned long long)bytes,
            (unsigned long long)from_offset, (unsigned long long)to_offset, to->core->label);

    struct bl_recorded_order recorded = {order->lane, order->waits, order->n_waits, NULL};
    bl_status status = add_node(list, order, who.label, touched, 2, &recorded.label);
    if (status == BL_OK)
        status = list->device->fns->list_copy(list, list->core->n_nodes, to, to_offset, from, from_offset, bytes, &recorded);
    return finish_node(list, status, node);
}

bl_status bl_list_fill(bl_list *list, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern, const bl_order *order,
                       uint32_t *node)
{
    bl_errors_clear();
    if (node)
        *node = 0;
    REQUIRE_OBJECT(list);
    REQUIRE_OBJECT(buffer);
    if (!order)
        order = &default_order;
    struct subject who = {__func__, order->label ? order->label : "fill"};
    const bl_binding touched = {buffer, offset, bytes, BL_WRITE};
    BL_TRY(check_recording(list, order, &who));
    BL_TRY(check_range(list, &who, "buffer", 0, &touched));
    REQUIRE(offset % 4 == 0 && bytes % 4 == 0, "%s \"%s\": offset %llu and bytes %llu must be multiples of 4", who.function, who.label,
            (unsigned long long)offset, (unsigned long long)bytes);

    struct bl_recorded_order recorded = {order->lane, order->waits, order->n_waits, NULL};
    bl_status status = add_node(list, order, who.label, &touched, 1, &recorded.label);
    if (status == BL_OK)
        status = list->device->fns->list_fill(list, list->core->n_nodes, buffer, offset, bytes, pattern, &recorded);
    return finish_node(list, status, node);
}

bl_status bl_list_end(bl_list *list)
{
    bl_errors_clear();
    REQUIRE_OBJECT(list);
    struct bl_list_core *core = list->core;
    REQUIRE(core->state == LIST_RECORDING, "bl_list_end: the list is %s", core->state == LIST_SEALED ? "sealed" : "failed");
    core->state = LIST_FAILED;
    BL_TRY(bl_device_usable(list->device));
    BL_TRY(bl_list_check_hazards(core));
    BL_TRY(bl_device_answer(list->device, list->device->fns->list_end(list)));
    free(core->accesses);
    free(core->waits);
    free(core->buffer_slots);
    core->accesses = NULL;
    core->waits = NULL;
    core->buffer_slots = NULL;
    core->state = LIST_SEALED;
    return BL_OK;
}

/* ---- timings ---- */

bl_status bl_list_enable_timings(bl_list *list)
{
    bl_errors_clear();
    REQUIRE_OBJECT(list);
    BL_TRY(bl_device_usable(list->device));
    if (!list->device->caps.timestamps)
        BL_FAIL(BL_EUNSUPPORTED, "device %s has no time stamps", list->device->core->id);
    list->timed = true;
    return BL_OK;
}

bl_status bl_list_timings(bl_list *list, bl_node_timing *out, uint32_t n_out, uint32_t *n_nodes)
{
    bl_errors_clear();
    REQUIRE_OBJECT(n_nodes);
    *n_nodes = 0;
    REQUIRE_OBJECT(list);
    REQUIRE(out != NULL || n_out == 0, "bl_list_timings: out is NULL and n_out is %u", n_out);
    struct bl_list_core *core = list->core;
    BL_TRY(bl_device_usable(list->device));
    if (!core->timed_once)
        BL_FAIL(BL_EUNSUPPORTED, "bl_list_timings: no submission of this list was timed (bl_list_enable_timings)");
    struct dead_objects dead = {0};
    pthread_mutex_lock(&list->device->core->lock);
    bl_device_collect(list->device, &dead);
    uint32_t uses = core->uses;
    pthread_mutex_unlock(&list->device->core->lock);
    bl_release_dead(list->device, &dead);
    REQUIRE(uses == 0, "bl_list_timings: %u submissions of the list are under way", uses);

    bl_node_timing *all = calloc(core->n_nodes ? core->n_nodes : 1, sizeof *all);
    if (!all)
        BL_FAIL(BL_ENOMEM, "timings of %u nodes: out of memory", core->n_nodes);
    bl_status status = bl_device_answer(list->device, list->device->fns->list_timings(list, all));
    if (status == BL_OK) {
        *n_nodes = core->n_nodes;
        for (uint32_t n = 0; n < core->n_nodes && n < n_out; n++) {
            out[n] = all[n];
            out[n].lane = core->nodes[n].lane;
            out[n].label = core->nodes[n].label;
        }
    }
    free(all);
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}
