/* list.c: a recorded list as waves of tasks. Owns how nodes are put into waves and cut into pieces; knows nothing of threads.
 *
 * A node's wave is one more than the latest wave of what it must follow (the node before it in its lane, and its waits), so the nodes of a
 * wave are free of each other. Each node of a wave is cut into tasks, runs of workgroups; which thread takes which task is decided while
 * running, and makes no difference: a kernel's answer does not depend on the partition (ops.h). */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of work below which another task, or a second thread, costs more than it brings; measured by bench/hal.c. */
#define TASK_BYTES (16u * 1024u)
#define SOLO_BYTES (32u * 1024u)
/* Tasks per thread and node: enough that a thread that is late leaves little to wait for. */
#define TASKS_PER_THREAD 8u
#define COPY_BYTES (64u * 1024u) /* one workgroup of a copy or fill */

/* ---- scratch ---- */

struct cpu_scratch {
    uint32_t refs;
    size_t bytes_each;
    unsigned char *base;
};

void *cpu_scratch_of(const struct cpu_scratch *scratch, uint32_t seat)
{
    return scratch ? scratch->base + seat * scratch->bytes_each : NULL;
}

void cpu_scratch_unref(struct cpu_device *device, struct cpu_scratch *scratch)
{
    pthread_mutex_lock(&device->scratch_lock);
    bool last = --scratch->refs == 0;
    pthread_mutex_unlock(&device->scratch_lock);
    if (last) {
        free(scratch->base);
        free(scratch);
    }
}

/* The device's newest scratch if it is large enough, else a larger one. Lists sealed earlier keep theirs, so none moves under a running
 * kernel; sharing is safe because the pool runs one list at a time. */
static bl_status take_scratch(struct cpu_device *device, size_t bytes, struct cpu_scratch **out)
{
    *out = NULL;
    if (bytes == 0)
        return BL_OK;
    bytes = (bytes + 63) & ~(size_t)63;
    struct cpu_scratch *old = NULL;
    pthread_mutex_lock(&device->scratch_lock);
    if (!device->scratch || device->scratch->bytes_each < bytes) {
        struct cpu_scratch *larger = calloc(1, sizeof *larger);
        if (larger)
            larger->base = aligned_alloc(64, bytes * device->base.caps.n_threads);
        if (!larger || !larger->base) {
            free(larger);
            pthread_mutex_unlock(&device->scratch_lock);
            BL_FAIL(BL_ENOMEM, "list: no %zu bytes of scratch for each of %u threads", bytes, device->base.caps.n_threads);
        }
        larger->refs = 1;
        larger->bytes_each = bytes;
        old = device->scratch;
        device->scratch = larger;
    }
    device->scratch->refs++;
    *out = device->scratch;
    pthread_mutex_unlock(&device->scratch_lock);
    if (old)
        cpu_scratch_unref(device, old);
    return BL_OK;
}

/* ---- recording ---- */

bl_status cpu_list_begin(bl_device *device, uint32_t flags, bl_list **out)
{
    (void)device;
    (void)flags;
    struct cpu_list *list = calloc(1, sizeof *list);
    if (!list)
        BL_FAIL(BL_ENOMEM, "list: out of memory");
    bl_arena_init(&list->arena, 0);
    *out = &list->base;
    return BL_OK;
}

void cpu_list_destroy(bl_list *base)
{
    struct cpu_list *list = (struct cpu_list *)base;
    if (list->scratch)
        cpu_scratch_unref((struct cpu_device *)base->device, list->scratch);
    bl_arena_finish(&list->arena);
    free(list->nodes);
    free(list->last_of_lane);
    free(list->waves);
    free(list->tasks);
    free(list->timings);
    free(list);
}

static bl_status grow_lanes(struct cpu_list *list, uint32_t n_lanes)
{
    uint32_t *lanes = realloc(list->last_of_lane, n_lanes * sizeof *lanes);
    if (!lanes)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u lanes", n_lanes);
    memset(lanes + list->n_lanes, 0, (n_lanes - list->n_lanes) * sizeof *lanes);
    list->last_of_lane = lanes;
    list->n_lanes = n_lanes;
    return BL_OK;
}

static bl_status add_node(struct cpu_list *list, uint32_t lane, const uint32_t *waits, uint32_t n_waits, struct cpu_node **out)
{
    if (list->n_nodes == list->capacity) {
        uint32_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct cpu_node *nodes = realloc(list->nodes, capacity * sizeof *nodes);
        if (!nodes)
            BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
        list->nodes = nodes;
        list->capacity = capacity;
    }
    if (lane >= list->n_lanes)
        BL_TRY(grow_lanes(list, lane + 1));
    struct cpu_node *node = &list->nodes[list->n_nodes];
    *node = (struct cpu_node){0};
    uint32_t before = list->last_of_lane[lane];
    if (before)
        node->wave = list->nodes[before - 1].wave + 1;
    for (uint32_t w = 0; w < n_waits; w++)
        if (list->nodes[waits[w]].wave >= node->wave)
            node->wave = list->nodes[waits[w]].wave + 1;
    list->last_of_lane[lane] = ++list->n_nodes;
    *out = node;
    return BL_OK;
}

static bl_status keep_call(struct cpu_list *list, struct cpu_node *node, uint32_t n_bindings, const void *push, uint32_t push_bytes,
                           void ***bindings)
{
    *bindings = bl_arena_alloc(&list->arena, n_bindings, sizeof **bindings);
    void *push_copy = bl_arena_alloc(&list->arena, 1, push_bytes);
    if (!*bindings || !push_copy)
        BL_FAIL(BL_ENOMEM, "list: out of memory after %u nodes", list->n_nodes);
    if (push_bytes)
        memcpy(push_copy, push, push_bytes);
    node->call.bindings = *bindings;
    node->call.push = push_copy;
    return BL_OK;
}

bl_status cpu_list_dispatch(bl_list *base, uint32_t id, const struct bl_recorded_dispatch *dispatch)
{
    (void)id;
    struct cpu_list *list = (struct cpu_list *)base;
    const struct bl_cpu_kernel *kernel = &((struct cpu_kernel *)dispatch->kernel)->cpu;
    struct cpu_node *node;
    void **bindings;
    BL_TRY(add_node(list, dispatch->lane, dispatch->waits, dispatch->n_waits, &node));
    BL_TRY(keep_call(list, node, dispatch->n_bindings, dispatch->push, dispatch->push_bytes, &bindings));
    for (uint32_t b = 0; b < dispatch->n_bindings; b++) {
        const bl_binding *binding = &dispatch->bindings[b];
        if (binding->buffer) {
            bindings[b] = (unsigned char *)binding->buffer->host + binding->offset;
            if (b > 0) /* binding 0 is the step buffer of every op: large, and hardly read */
                node->work += binding->bytes;
        }
    }
    node->fn = kernel->fn;
    memcpy(node->call.grid, dispatch->grid, sizeof node->call.grid);
    node->n_groups = dispatch->grid[0] * dispatch->grid[1] * dispatch->grid[2];
    size_t scratch = kernel->scratch_bytes ? kernel->scratch_bytes(node->call.push) : 0;
    if (scratch > list->scratch_bytes)
        list->scratch_bytes = scratch;
    return BL_OK;
}

struct copy_push {
    uint64_t bytes;
    uint32_t pattern;
};

static void run_copy(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct copy_push *push = call->push;
    uint64_t begin = (uint64_t)first * COPY_BYTES, end = (uint64_t)last * COPY_BYTES;
    if (end > push->bytes)
        end = push->bytes;
    memcpy((unsigned char *)call->bindings[0] + begin, (const unsigned char *)call->bindings[1] + begin, (size_t)(end - begin));
}

static void run_fill(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct copy_push *push = call->push;
    uint64_t begin = (uint64_t)first * COPY_BYTES, end = (uint64_t)last * COPY_BYTES;
    if (end > push->bytes)
        end = push->bytes;
    uint32_t *words = call->bindings[0];
    for (uint64_t w = begin / 4; w < end / 4; w++)
        words[w] = push->pattern;
}

static bl_status add_transfer(struct cpu_list *list, bl_cpu_fn fn, void *to, void *from, const struct copy_push *push,
                              const struct bl_recorded_order *order)
{
    struct cpu_node *node;
    void **bindings;
    uint64_t groups = (push->bytes + COPY_BYTES - 1) / COPY_BYTES;
    if (groups > UINT32_MAX)
        BL_FAIL(BL_EUNSUPPORTED, "list: a transfer of %llu bytes", (unsigned long long)push->bytes);
    BL_TRY(add_node(list, order->lane, order->waits, order->n_waits, &node));
    BL_TRY(keep_call(list, node, 2, push, sizeof *push, &bindings));
    bindings[0] = to;
    bindings[1] = from;
    node->fn = fn;
    node->call.grid[0] = node->n_groups = (uint32_t)groups;
    node->call.grid[1] = node->call.grid[2] = 1;
    node->work = push->bytes * (from ? 2 : 1);
    return BL_OK;
}

bl_status cpu_list_copy(bl_list *list, uint32_t id, bl_buffer *to, uint64_t to_offset, bl_buffer *from, uint64_t from_offset, uint64_t bytes,
                        const struct bl_recorded_order *order)
{
    (void)id;
    const struct copy_push push = {bytes, 0};
    return add_transfer((struct cpu_list *)list, run_copy, (unsigned char *)to->host + to_offset, (unsigned char *)from->host + from_offset,
                        &push, order);
}

bl_status cpu_list_fill(bl_list *list, uint32_t id, bl_buffer *buffer, uint64_t offset, uint64_t bytes, uint32_t pattern,
                        const struct bl_recorded_order *order)
{
    (void)id;
    const struct copy_push push = {bytes, pattern};
    return add_transfer((struct cpu_list *)list, run_fill, (unsigned char *)buffer->host + offset, NULL, &push, order);
}

/* ---- sealing ---- */

static uint32_t tasks_of(const struct cpu_node *node, uint32_t n_threads)
{
    uint64_t tasks = node->work / TASK_BYTES;
    if (n_threads == 1 || tasks < 1)
        return 1;
    if (tasks > (uint64_t)n_threads * TASKS_PER_THREAD)
        tasks = (uint64_t)n_threads * TASKS_PER_THREAD;
    return tasks > node->n_groups ? node->n_groups : (uint32_t)tasks;
}

bl_status cpu_list_end(bl_list *base)
{
    struct cpu_list *list = (struct cpu_list *)base;
    struct cpu_device *device = (struct cpu_device *)base->device;
    uint32_t n_threads = device->base.caps.n_threads, n_tasks = 0;
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        if (list->nodes[n].wave >= list->n_waves)
            list->n_waves = list->nodes[n].wave + 1;
        n_tasks += tasks_of(&list->nodes[n], n_threads);
    }
    list->waves = calloc(list->n_waves ? list->n_waves : 1, sizeof *list->waves);
    list->tasks = calloc(n_tasks ? n_tasks : 1, sizeof *list->tasks);
    if (!list->waves || !list->tasks)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u tasks", n_tasks);
    BL_TRY(take_scratch(device, list->scratch_bytes, &list->scratch));

    for (uint32_t n = 0; n < list->n_nodes; n++) {
        struct cpu_wave *wave = &list->waves[list->nodes[n].wave];
        wave->n_tasks += tasks_of(&list->nodes[n], n_threads);
        wave->work += list->nodes[n].work;
        list->work += list->nodes[n].work;
    }
    uint32_t first = 0;
    for (uint32_t w = 0; w < list->n_waves; w++) {
        struct cpu_wave *wave = &list->waves[w];
        wave->first_task = first;
        wave->solo = wave->n_tasks == 1 || wave->work <= SOLO_BYTES;
        first += wave->n_tasks;
        wave->n_tasks = 0; /* counts again below */
    }
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        const struct cpu_node *node = &list->nodes[n];
        struct cpu_wave *wave = &list->waves[node->wave];
        uint32_t pieces = tasks_of(node, n_threads);
        for (uint32_t t = 0; t < pieces; t++)
            list->tasks[wave->first_task + wave->n_tasks++] = (struct cpu_task){n, (uint32_t)((uint64_t)node->n_groups * t / pieces),
                                                                               (uint32_t)((uint64_t)node->n_groups * (t + 1) / pieces)};
    }
    free(list->last_of_lane);
    list->last_of_lane = NULL;
    return BL_OK;
}

/* ---- timings ---- */

bl_status cpu_list_prepare_timings(struct cpu_list *list)
{
    if (list->timings)
        return BL_OK;
    struct cpu_timing *timings = malloc((list->n_nodes ? list->n_nodes : 1) * sizeof *timings);
    if (!timings)
        BL_FAIL(BL_ENOMEM, "timings of %u nodes: out of memory", list->n_nodes);
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        atomic_init(&timings[n].begin_ns, 0);
        atomic_init(&timings[n].end_ns, 0);
    }
    list->timings = timings;
    return BL_OK;
}

bl_status cpu_list_timings(bl_list *base, bl_node_timing *out)
{
    const struct cpu_list *list = (const struct cpu_list *)base;
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        out[n].begin_ns = atomic_load(&list->timings[n].begin_ns);
        out[n].end_ns = atomic_load(&list->timings[n].end_ns);
    }
    return BL_OK;
}
