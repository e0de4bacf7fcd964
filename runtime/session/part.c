/* part.c: a run of nodes on one device: its buffers, its lists, and one step of it. Knows hal and the graph; knows no op, and nothing of other
 * parts but what they export. With one device there is one part, and nothing crosses. */
#include "base/checked.h"
#include "base/error.h"
#include "session/session.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t bucket_of(uint32_t rows)
{
    uint32_t b = 0;
    while ((1u << b) < rows)
        b++;
    return b;
}

static bl_status create_buffer(const bl_model *m, const struct bl_part *p, uint64_t bytes, bl_memory_kind kind, const char *label, bl_buffer **out)
{
    bl_buffer_params params = {.bytes = bytes, .kind = kind, .label = label};
    bl_status status = bl_buffer_create(p->on->device, &params, out);
    if (status != BL_EDEVMEM && status != BL_ENOMEM)
        return status;
    uint64_t free_bytes = 0, total = 0;
    bl_errors_clear();
    if (bl_device_memory(p->on->device, &free_bytes, &total) != BL_OK)
        bl_errors_clear();
    BL_FAIL(BL_EDEVMEM, "%s: no memory for the %s of %u positions on %s: %llu MB, limit %llu MB free: give a smaller context", bl_model_file_path(m->file), label,
            m->context, p->on->id, (unsigned long long)(bytes >> 20), (unsigned long long)(free_bytes >> 20));
}

/* The page pools: K and V of every layer, each [n_pages][heads][32][d]. */
bl_status bl_part_kv_bytes(const bl_model *m, const struct bl_graph *g, uint32_t first, uint32_t end, uint64_t *offset, uint64_t *total)
{
    uint64_t element = m->kv_format == BL_FMT_F16 ? 2 : 4;
    *total = 0;
    for (uint32_t i = first; i < end; i++) {
        const struct bl_node *n = &g->nodes[i];
        if (n->op != BL_NODE_ATTENTION)
            continue;
        const struct bl_kv_layer *kv = &g->kv_layers[n->layer];
        for (uint32_t half = 0; half < 2; half++) {
            uint64_t bytes;
            if (offset)
                offset[2 * n->layer + half] = *total;
            if (!bl_ck_mul((uint64_t)kv->heads * (half ? kv->d_v : kv->d_k) * element * BL_KV_PAGE, m->n_pages, &bytes) ||
                !bl_ck_align(bytes, 256, &bytes) || !bl_ck_add(*total, bytes, total))
                BL_FAIL(BL_ELIMIT, "%s: the KV cache for %u positions does not fit the address space", bl_model_file_path(m->file), m->context);
        }
    }
    return BL_OK;
}

/* Untouched pages of the pool cost no memory on the CPU. */
static bl_status create_kv(const bl_model *m, struct bl_part *p)
{
    p->kv_offset = calloc(m->graph->n_kv_layers ? 2 * (size_t)m->graph->n_kv_layers : 1, sizeof *p->kv_offset);
    if (!p->kv_offset)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u layers", bl_model_file_path(m->file), m->graph->n_kv_layers);
    BL_TRY(bl_part_kv_bytes(m, p->graph, 0, p->graph->n_nodes, p->kv_offset, &p->kv_bytes));
    return create_buffer(m, p, p->kv_bytes ? p->kv_bytes : 64, BL_MEM_DEVICE, "KV cache", &p->kv);
}

static bl_status create_constants(const bl_model *m, struct bl_part *p)
{
    uint64_t bytes = (uint64_t)p->graph->n_constants * 4;
    if (!bytes)
        return BL_OK;
    BL_TRY(create_buffer(m, p, bytes, BL_MEM_UPLOAD, "constants", &p->constants));
    memcpy(bl_buffer_host(p->constants), p->graph->constants, (size_t)bytes);
    return bl_buffer_sync(p->constants, 0, bytes, true);
}

/* Who made the values that this part imports: the last part before it that exports them is the only one. */
static bl_status find_crossings(bl_model *m, struct bl_part *p)
{
    p->crossings = calloc(p->graph->n_nodes, sizeof *p->crossings);
    if (!p->crossings)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a part of the graph", bl_model_file_path(m->file));
    for (uint32_t i = 0; i < p->graph->n_nodes; i++) {
        if (p->graph->nodes[i].op != BL_NODE_IMPORT)
            continue;
        struct bl_crossing *c = &p->crossings[p->n_crossings++];
        c->value = p->graph->nodes[i].out;
        uint32_t producer = m->graph->values[c->value].producer;
        while (producer < m->parts[c->from].first_node || producer >= m->parts[c->from].end_node)
            c->from++;
    }
    return BL_OK;
}

/* The schedules that may be used, their plans, and activations that hold the largest. */
static bl_status create_ways(const bl_model *m, struct bl_part *p)
{
    bool all = bl_race_wanted(m, p);
    uint64_t most = 0;
    p->chosen[BL_ONE_ROW] = p->chosen[BL_MORE_ROWS] = m->schedule;
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        struct bl_way *way = &p->ways[k];
        if (!all && k != (int)m->schedule)
            continue;
        BL_TRY(bl_schedule_create(p->graph, (enum bl_schedule_kind)k, &way->schedule));
        BL_TRY(bl_plan_create(p->graph, way->schedule, m->batch_rows, m->out_rows, bl_device_caps(p->on->device)->buffer_alignment, &way->plan));
        most = way->plan->bytes > most ? way->plan->bytes : most;
    }
    return create_buffer(m, p, most, BL_MEM_DEVICE, "activations", &p->activations);
}

bl_status bl_part_create(bl_model *m, struct bl_part *p)
{
    bl_device *device = p->on->device;
    BL_TRY(bl_graph_cut(m->graph, p->first_node, p->end_node, &p->graph));
    BL_TRY(find_crossings(m, p));
    BL_TRY(bl_weights_create(m->file, device, p->graph, &p->weights));
    BL_TRY(create_kv(m, p));
    BL_TRY(create_constants(m, p));
    BL_TRY(create_buffer(m, p, m->step_bytes, BL_MEM_UPLOAD, "step", &p->step));
    if (p->graph->logits != BL_NO_ID)
        BL_TRY(create_buffer(m, p, (uint64_t)m->out_rows * m->vocabulary * 4, BL_MEM_READBACK, "logits", &p->logits));
    BL_TRY(create_ways(m, p));
    const struct bl_plan *plan = p->ways[m->schedule].plan; /* borders are the same in all */
    if (plan->import_bytes)
        BL_TRY(create_buffer(m, p, plan->import_bytes, BL_MEM_UPLOAD, "imports", &p->imports));
    if (plan->export_bytes)
        BL_TRY(create_buffer(m, p, plan->export_bytes, BL_MEM_READBACK, "exports", &p->exports));
    BL_TRY(bl_queue_create(device, BL_QUEUE_COMPUTE, &p->queue));
    return bl_race_wanted(m, p) ? bl_race_run(m, p) : BL_OK;
}

void bl_part_destroy(struct bl_part *p)
{
    for (uint32_t r = 0; r < BL_BUCKETS; r++)
        for (uint32_t o = 0; o < BL_BUCKETS; o++)
            bl_list_destroy(p->lists[r][o]);
    bl_queue_destroy(p->queue);
    bl_buffer *const buffers[] = {p->step, p->activations, p->kv, p->constants, p->logits, p->imports, p->exports};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        bl_buffer_destroy(buffers[i]);
    bl_weights_destroy(p->weights);
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        bl_plan_destroy(p->ways[k].plan);
        bl_schedule_destroy(p->ways[k].schedule);
    }
    bl_graph_destroy(p->graph);
    free(p->crossings);
    free(p->kv_offset);
    memset(p, 0, sizeof *p);
}

/* ---- one step ---- */

bl_status bl_part_record(const bl_model *m, const struct bl_part *p, enum bl_schedule_kind kind, uint32_t r, uint32_t o, bl_list **out)
{
    struct bl_emit_target target = {.device = p->on->device,
                                    .activations = p->activations,
                                    .step = p->step,
                                    .logits = p->logits,
                                    .constants = p->constants,
                                    .imports = p->imports,
                                    .exports = p->exports,
                                    .logits_bytes_per_row = (uint64_t)m->vocabulary * 4,
                                    .kv = p->kv,
                                    .kv_format = m->kv_format,
                                    .n_pages = m->n_pages,
                                    .kv_offset = p->kv_offset,
                                    .step_bytes = m->step_bytes,
                                    .weight = bl_weights_bind,
                                    .user = p->weights};
    return bl_emit_list(p->graph, p->ways[kind].schedule, p->ways[kind].plan, &target, 1u << r, 1u << o, out);
}

static bl_status get_list(bl_model *m, struct bl_part *p, uint32_t r, uint32_t o, bl_list **out)
{
    if (!p->lists[r][o])
        BL_TRY(bl_part_record(m, p, p->chosen[r ? BL_MORE_ROWS : BL_ONE_ROW], r, o, &p->lists[r][o]));
    *out = p->lists[r][o];
    return BL_OK;
}

/* From what the parts before it exported to what this one imports. */
static bl_status carry(const bl_model *m, const struct bl_part *p, uint32_t rows, uint32_t out_rows)
{
    for (uint32_t i = 0; i < p->n_crossings; i++) {
        const struct bl_part *from = &m->parts[p->crossings[i].from];
        uint32_t v = p->crossings[i].value;
        uint64_t to_offset = p->ways[m->schedule].plan->border[v], from_offset = from->ways[m->schedule].plan->border[v];
        uint64_t bytes = bl_value_bytes(&m->graph->values[v], rows, out_rows);
        BL_TRY(bl_buffer_sync(from->exports, from_offset, bytes, false));
        memcpy((uint8_t *)bl_buffer_host(p->imports) + to_offset, (const uint8_t *)bl_buffer_host(from->exports) + from_offset, (size_t)bytes);
        BL_TRY(bl_buffer_sync(p->imports, to_offset, bytes, true));
    }
    return BL_OK;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* submitted: when, by the host's clock. A device counts from a start of its own: its first node is put there. */
static bl_status report_trace(bl_model *m, const struct bl_part *p, bl_list *list, uint32_t rows, uint64_t submitted)
{
    uint32_t n;
    BL_TRY(bl_list_timings(list, m->timings, m->n_timings, &n));
    if (n > m->n_timings) { /* the first step, or a list of more nodes */
        bl_node_timing *grown = realloc(m->timings, n * sizeof *grown);
        if (!grown)
            BL_FAIL(BL_ENOMEM, "%s: no memory for %u timings", bl_model_file_path(m->file), n);
        m->timings = grown;
        m->n_timings = n;
        BL_TRY(bl_list_timings(list, m->timings, m->n_timings, &n));
    }
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++)
        first = m->timings[i].begin_ns < first ? m->timings[i].begin_ns : first;
    for (uint32_t i = 0; i < n; i++) {
        m->timings[i].begin_ns = m->timings[i].begin_ns - first + submitted;
        m->timings[i].end_ns = m->timings[i].end_ns - first + submitted;
        m->timings[i].lane += (uint32_t)(p - m->parts) * BL_MAX_LANES;
    }
    m->trace(m->trace_user, rows, m->timings, n);
    return BL_OK;
}

bl_status bl_part_run(bl_model *m, struct bl_part *p, uint32_t n, uint32_t n_out)
{
    uint32_t r = bucket_of(n), o = bucket_of(n_out ? n_out : 1);
    bl_list *list = NULL;
    uint64_t value = 0;
    BL_TRY(get_list(m, p, r, o, &list));
    if (m->trace)
        BL_TRY(bl_list_enable_timings(list));
    memcpy(bl_buffer_host(p->step), m->step, (size_t)m->step_bytes);
    BL_TRY(bl_buffer_sync(p->step, 0, m->step_bytes, true));
    BL_TRY(carry(m, p, 1u << r, 1u << o));
    const uint64_t submitted = m->trace ? now_ns() : 0;
    BL_TRY(bl_queue_submit(p->queue, list, NULL, 0, &value));
    BL_TRY(bl_queue_wait(p->queue, value, BL_WAIT_FOREVER));
    if (m->trace)
        BL_TRY(report_trace(m, p, list, n, submitted));
    return BL_OK;
}
