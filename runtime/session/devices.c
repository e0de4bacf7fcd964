/* devices.c: the devices of a model: which may be used, what each takes, and what happens when one fails. Knows names, memory and speed of
 * devices; knows no back end but by the name of the CPU, which takes what the others do not. */
#include "base/error.h"
#include "base/log.h"
#include "hal/devices.h"
#include "session/cache.h"
#include "session/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
#define M(bytes) ((double)(bytes) / 1e6)

static bool is_cpu(const char *id)
{
    return strcmp(id, "cpu") == 0 || strcmp(id, "cpu:0") == 0;
}

/* What did not go as asked for: a warning, and a line in the model's info. */
static void BL_PRINTF(2, 3) fall_back(bl_model *m, const char *format, ...)
{
    char text[sizeof m->fallback];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bl_log(BL_LOG_WARNING, "%s", text);
    size_t n = strlen(m->fallback);
    snprintf(m->fallback + n, sizeof m->fallback - n, "%s%s", n ? "; " : "", text);
}

/* ---- which ---- */

/* What is measured of a device is remembered by this: by what it is, not by the name it was asked for. */
static void cache_key(const struct bl_model_device *d, const char *what, char key[static 320])
{
    const bl_caps *caps = bl_device_caps(d->device);
    snprintf(key, 320, "%s %s %.120s %.60s %u threads, %s", what, caps->backend, caps->name, caps->driver ? caps->driver : "-", caps->n_threads, bl_version());
    for (char *s = key; *s; s++)
        *s = (unsigned char)*s < 0x20 ? ' ' : *s;
}

/* Which way each class of kernels is made, where there are several and what is found can be kept. */
static bl_status find_ways(const bl_model *m, struct bl_model_device *d)
{
    char key[320], ways[BL_WAYS_TEXT], what[40];
    const bl_caps *caps = bl_device_caps(d->device);
    if (caps->n_ways < 2 || caps->software || !m->cache_dir)
        return BL_OK;
    snprintf(what, sizeof what, "%s of %u", m->deterministic ? "exact ways" : "ways", caps->n_ways); /* more ways: another race */
    cache_key(d, what, key);
    if (bl_cache_get(m->cache_dir, key, ways, sizeof ways) && bl_device_use_ways(d->device, m->deterministic, ways))
        return BL_OK;
    BL_TRY(bl_device_tune(d->device, m->deterministic, ways));
    bl_cache_put(m->cache_dir, key, ways);
    bl_log(BL_LOG_INFO, "%s: ways of the kernels, by class: %s", d->id, ways);
    (void)bl_device_use_ways(d->device, m->deterministic, ways); /* it is of that form */
    return BL_OK;
}

static bl_status open_device(bl_model *m, struct bl_model_device *d)
{
    bl_device_params params = m->device_params;
    params.device = d->id;
    params.cache_dir = m->cache_dir;
    if (d->device)
        return BL_OK;
    BL_TRY(bl_device_open(&params, &d->device));
    bl_status status = find_ways(m, d);
    if (status != BL_OK) {
        bl_device_close(d->device);
        d->device = NULL;
    }
    return status;
}

static bl_status add_device(bl_model *m, const char *id, size_t n)
{
    if (n == 0 || n >= sizeof m->devices[0].id)
        BL_FAIL(BL_EINVAL, "device list: a name of %zu bytes, limit 1 to %zu", n, sizeof m->devices[0].id - 1);
    if (m->n_devices == BL_MAX_DEVICES)
        BL_FAIL(BL_ELIMIT, "more than %u devices for one model", BL_MAX_DEVICES);
    struct bl_model_device *d = &m->devices[m->n_devices++];
    memcpy(d->id, id, n);
    d->is_cpu = is_cpu(d->id);
    d->speed = 1;
    return BL_OK;
}

/* How fast a device multiplies a matrix with a vector, in GB/s; from the cache where it is known. 0: it cannot. */
static bl_status find_speed(bl_model *m, struct bl_model_device *d)
{
    BL_TRY(open_device(m, d));
    char key[320], value[32], *end;
    cache_key(d, "speed", key);
    if (bl_cache_get(m->cache_dir, key, value, sizeof value)) {
        d->speed = strtod(value, &end);
        if (end != value && !*end && d->speed >= 0 && d->speed < 1e6)
            return BL_OK;
        bl_log(BL_LOG_WARNING, "%s: a remembered speed is left out: '%s'", m->cache_dir, value);
    }
    bl_measure measure;
    BL_TRY(bl_device_measure(d->device, &measure));
    d->speed = measure.matvec_bytes_per_s / 1e9;
    snprintf(value, sizeof value, "%.4g", d->speed);
    bl_cache_put(m->cache_dir, key, value);
    bl_log(BL_LOG_INFO, "%s: matrix times vector %s GB/s", d->id, value);
    return BL_OK;
}

/* A GPU that shares the processor's memory is not always faster than the processor. */
static bl_status compare_with_cpu(bl_model *m)
{
    BL_TRY(find_speed(m, &m->devices[0]));
    BL_TRY(find_speed(m, &m->devices[1]));
    if (m->devices[0].speed >= m->devices[1].speed)
        return BL_OK;
    bl_log(BL_LOG_INFO, "%s is slower than the CPU: %.3g and %.3g GB/s", m->devices[0].id, m->devices[0].speed, m->devices[1].speed);
    bl_device_close(m->devices[0].device);
    m->devices[0] = m->devices[1];
    m->n_devices = 1;
    return BL_OK;
}

/* The best device that opens, and the CPU behind it, opened when it is needed. */
static bl_status choose_auto(bl_model *m, bool *others)
{
    bl_device_info info = {.score = UINT32_MAX};
    while (bl_device_choose(info.score, &info)) {
        BL_TRY(add_device(m, info.id, strlen(info.id)));
        if (open_device(m, &m->devices[0]) == BL_OK) {
            if (!m->devices[0].is_cpu)
                BL_TRY(add_device(m, "cpu", 3));
            if (info.score == BL_SCORE_INTEGRATED)
                BL_TRY(compare_with_cpu(m));
            *others = !m->devices[0].is_cpu;
            char missing[256];
            bl_device_missing(info.score, missing);
            if (missing[0])
                fall_back(m, "auto takes %s: %s", m->devices[0].id, missing);
            return BL_OK;
        }
        fall_back(m, "device %s cannot be used: %s", info.id, bl_error_text());
        memset(&m->devices[--m->n_devices], 0, sizeof m->devices[0]);
    }
    BL_FAIL(BL_EUNSUPPORTED, "device \"auto\": no back end of this program can be opened here");
}

/* Names are separated by commas outside of parentheses. */
static bl_status read_list(bl_model *m, const char *list)
{
    for (const char *at = list;; at++) {
        size_t n = 0;
        for (int depth = 0; at[n] && (at[n] != ',' || depth > 0); n++)
            depth += (at[n] == '(') - (at[n] == ')');
        if (n == 4 && memcmp(at, "auto", 4) == 0)
            BL_FAIL(BL_EINVAL, "device \"%.80s\": auto stands alone, not in a list", list);
        size_t blanks = strspn(at, " "), length = n;
        while (length > blanks && at[length - 1] == ' ')
            length--;
        BL_TRY(add_device(m, at + blanks, length > blanks ? length - blanks : 0));
        at += n;
        if (!*at)
            return BL_OK;
    }
}

bl_status bl_devices_choose(bl_model *m, const bl_device_params *params)
{
    m->device_params = *params;
    m->most_offloaded = UINT32_MAX;
    bool automatic = !params->device || strcmp(params->device, "auto") == 0, cpu = automatic, others = false;
    BL_TRY(automatic ? choose_auto(m, &others) : read_list(m, params->device));
    for (uint32_t i = 0; !automatic && i < m->n_devices; i++) {
        BL_TRY(open_device(m, &m->devices[i]));
        cpu = cpu || m->devices[i].is_cpu;
        others = others || !m->devices[i].is_cpu;
    }
    if (m->gpu_layers >= 0 && !others)
        fall_back(m, "layers for other devices (-ngl) are ignored: no device but the CPU is used");
    if (m->gpu_layers >= 0 && others && !cpu) /* the other layers have to go somewhere */
        BL_TRY(add_device(m, "cpu", 3));
    return BL_OK;
}

void bl_devices_close(bl_model *m)
{
    for (uint32_t i = 0; i < m->n_parts; i++)
        bl_part_destroy(&m->parts[i]);
    free(m->parts);
    free(m->unit_of_node);
    m->parts = NULL;
    m->n_parts = 0;
    for (uint32_t i = 0; i < m->n_devices; i++)
        bl_device_close(m->devices[i].device);
}

/* ---- what goes where ---- */

/* The devices that are left, in two kinds. */
struct plan {
    bl_model *model;
    struct bl_model_device *takers[BL_MAX_DEVICES], *rest; /* rest: NULL if none */
    struct bl_place_device rooms[BL_MAX_DEVICES];
    uint64_t free_bytes, margin, scratch; /* of the last device that counts its memory */
    uint32_t n_takers;
    uint32_t *first_node; /* [n_units + 1] */
    uint64_t *size;       /* [n_units] */
    uint32_t *device_of_unit;
};

static bl_status who_is_left(struct plan *p)
{
    bl_model *m = p->model;
    for (uint32_t i = 0; i < m->n_devices; i++)
        if (!m->devices[i].gone && !m->devices[i].is_cpu)
            p->takers[p->n_takers++] = &m->devices[i];
    bool share = p->n_takers == 0; /* CPUs only: they are devices like others */
    for (uint32_t i = 0; i < m->n_devices; i++) {
        if (m->devices[i].gone || !m->devices[i].is_cpu)
            continue;
        if (share)
            p->takers[p->n_takers++] = &m->devices[i];
        else if (!p->rest)
            p->rest = &m->devices[i];
    }
    if (!p->n_takers)
        BL_FAIL(BL_EDEVLOST, "%s: no device is left", bl_model_file_path(m->file));
    return BL_OK;
}

static uint64_t unit_cost(void *user, uint32_t device, uint32_t first, uint32_t end)
{
    const struct plan *p = user;
    const bl_model *m = p->model;
    uint64_t kv = 0;
    if (p->rooms[device].room == UINT64_MAX)
        return 0;
    if (bl_part_kv_bytes(m, m->graph, p->first_node[first], p->first_node[end], NULL, &kv) != BL_OK)
        kv = UINT64_MAX / 2; /* building the part says the same */
    return kv + bl_weights_needed(m->file, p->takers[device]->device, m->graph, p->first_node[first], p->first_node[end]);
}

/* What a part needs beside weights and keys and values, at most: as if it were all of the model. */
static bl_status scratch_bytes(const bl_model *m, uint64_t *bytes)
{
    struct bl_schedule *schedule;
    struct bl_plan *plan;
    BL_TRY(bl_schedule_create(m->graph, m->schedule, &schedule));
    bl_status status = bl_plan_create(m->graph, schedule, m->batch_rows, m->out_rows, 256, &plan);
    bl_schedule_destroy(schedule);
    BL_TRY(status);
    *bytes = plan->bytes + (uint64_t)m->out_rows * m->vocabulary * 4 + m->step_bytes + (uint64_t)m->graph->n_constants * 4;
    bl_plan_destroy(plan);
    return BL_OK;
}

static bl_status find_rooms(struct plan *p)
{
    bl_model *m = p->model;
    for (uint32_t i = 0; i < p->n_takers; i++) {
        struct bl_model_device *d = p->takers[i];
        uint64_t total;
        m->failed = d;
        p->rooms[i] = (struct bl_place_device){UINT64_MAX, d->speed > 0 ? d->speed : 1e-3};
        if (!m->fit || d->is_cpu)
            continue;
        BL_TRY(bl_device_memory(d->device, &p->free_bytes, &total));
        if (!total) /* it does not know */
            continue;
        if (!p->scratch)
            BL_TRY(scratch_bytes(m, &p->scratch));
        p->margin = m->fit_margin ? m->fit_margin : total / 8 < GIB ? total / 8 : GIB;
        p->rooms[i].room = p->free_bytes > p->margin + p->scratch ? p->free_bytes - p->margin - p->scratch : 0;
    }
    return BL_OK;
}

static bool has_cpu(const bl_model *m)
{
    for (uint32_t i = 0; i < m->n_devices; i++)
        if (m->devices[i].is_cpu)
            return true;
    return false;
}

static bl_status does_not_fit(const struct plan *p)
{
    const bl_model *m = p->model;
    uint64_t needed = 0;
    for (uint32_t i = 0; i < p->n_takers; i++) {
        uint64_t cost = unit_cost((void *)(uintptr_t)p, i, 0, m->n_units);
        needed = cost > needed ? cost : needed;
    }
    BL_FAIL(BL_EDEVMEM, "%.60s: weights and KV need %.1f MB, activations %.1f MB; %s%s %.1f MB free, margin %.1f MB: %sgive fewer layers (-ngl) or a smaller context",
            m->name, M(needed), M(p->scratch), p->takers[0]->id, p->n_takers > 1 ? " and others: the last has" : ":", M(p->free_bytes), M(p->margin), has_cpu(m) ? "" : "add cpu, or ");
}

static uint64_t matrix_bytes(const struct bl_weight *w)
{
    return (uint64_t)w->rows * w->columns / bl_formats[w->format].block_elements * bl_formats[w->format].block_bytes;
}

static bl_status measure_units(struct plan *p)
{
    const bl_model *m = p->model;
    const struct bl_graph *g = m->graph;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (i == 0 || m->unit_of_node[i] != m->unit_of_node[i - 1])
            p->first_node[m->unit_of_node[i]] = i;
        if (g->nodes[i].op == BL_NODE_LINEAR || g->nodes[i].op == BL_NODE_LINEAR_GLU)
            p->size[m->unit_of_node[i]] += matrix_bytes(&g->nodes[i].weight);
        if (g->nodes[i].op == BL_NODE_LINEAR_GLU)
            p->size[m->unit_of_node[i]] += matrix_bytes(&g->nodes[i].up);
    }
    p->first_node[m->n_units] = g->n_nodes;
    return BL_OK;
}

static struct bl_model_device *device_of(const struct plan *p, uint32_t unit)
{
    return p->device_of_unit[unit] < p->n_takers ? p->takers[p->device_of_unit[unit]] : p->rest;
}

static void say_part(bl_model *m, const struct bl_part *p)
{
    uint32_t layers = m->n_units > 2 ? m->n_units - 2 : 0, first = p->first_unit ? p->first_unit - 1 : 0;
    uint32_t end = p->end_unit > layers ? layers : p->end_unit - 1; /* of layers */
    char range[40] = "";
    if (p->end_unit - p->first_unit == m->n_units)
        snprintf(range, sizeof range, "everything");
    else if (end == first + 1)
        snprintf(range, sizeof range, "layer %u", first);
    else if (end > first)
        snprintf(range, sizeof range, "layers %u-%u", first, end - 1);
    bool whole = p->end_unit - p->first_unit == m->n_units, head = !whole && p->first_unit == 0, tail = !whole && p->end_unit == m->n_units;
    size_t n = strlen(m->placement);
    snprintf(m->placement + n, sizeof m->placement - n, "%s%s: %s%s%s%s%s", n ? "; " : "", p->on->id, head ? "embedding" : "", head && *range ? ", " : "", range,
             tail && (head || *range) ? ", " : "", tail ? "output" : "");
}

static void say_schedule(bl_model *m, const struct bl_part *p)
{
    const char *one = bl_schedule_name(p->chosen[BL_ONE_ROW]), *more = bl_schedule_name(p->chosen[BL_MORE_ROWS]);
    char text[sizeof m->schedule_text];
    if (p->gain[BL_ONE_ROW] > 0)
        snprintf(text, sizeof text, "%s (%.2f times serial), %s for more rows (%.2f)", one, p->gain[BL_ONE_ROW], more, p->gain[BL_MORE_ROWS]);
    else
        snprintf(text, sizeof text, "%s", one);
    size_t n = strlen(m->schedule_text);
    if (!strstr(m->schedule_text, text))
        snprintf(m->schedule_text + n, sizeof m->schedule_text - n, "%s%s", n ? "; " : "", text);
}

/* Where answers are not the same bits for every way of cutting a prompt. */
static void say_inexact(bl_model *m, const struct bl_part *p)
{
    if (!bl_device_is_inexact(p->on->device) || strstr(m->inexact, p->on->id))
        return;
    size_t n = strlen(m->inexact);
    snprintf(m->inexact + n, sizeof m->inexact - n, "%s%s multiplies many rows in half floats", n ? "; " : "", p->on->id);
}

static bl_status build_parts(struct plan *p)
{
    bl_model *m = p->model;
    free(m->parts);
    m->parts = calloc(m->n_units, sizeof *m->parts);
    if (!m->parts)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u parts", bl_model_file_path(m->file), m->n_units);
    m->placement[0] = m->schedule_text[0] = m->inexact[0] = 0;
    for (uint32_t u = 0, end; u < m->n_units; u = end) {
        for (end = u + 1; end < m->n_units && device_of(p, end) == device_of(p, u);)
            end++;
        struct bl_part *part = &m->parts[m->n_parts++];
        *part = (struct bl_part){.on = device_of(p, u), .first_unit = u, .end_unit = end, .first_node = p->first_node[u], .end_node = p->first_node[end]};
        m->failed = part->on;
        BL_TRY(open_device(m, part->on));
        BL_TRY(bl_part_create(m, part));
        say_part(m, part);
        say_schedule(m, part);
        say_inexact(m, part);
        const struct bl_way *way = &part->ways[part->chosen[BL_ONE_ROW]];
        bl_log(BL_LOG_INFO, "%s: units %u to %u of %u, %u nodes in %u launches, schedule %s of %u steps on %u lanes, %u threads; weights copied %.1f MB, KV %.1f MB, activations %.1f MB",
               part->on->id, u, end - 1, m->n_units, part->graph->n_nodes, way->schedule->n_launches, bl_schedule_name(way->schedule->kind), way->schedule->n_steps,
               way->schedule->n_lanes, bl_device_caps(part->on->device)->n_threads, M(bl_weights_copied_bytes(part->weights)), M(part->kv_bytes), M(way->plan->bytes));
    }
    return BL_OK;
}

/* Only where there is something to share, between devices that differ. */
static bl_status find_speeds(struct plan *p)
{
    bool differ = false;
    for (uint32_t i = 1; i < p->n_takers; i++)
        differ = differ || strcmp(p->takers[i]->id, p->takers[0]->id) != 0;
    for (uint32_t i = 0; differ && i < p->n_takers; i++) {
        p->model->failed = p->takers[i];
        BL_TRY(find_speed(p->model, p->takers[i]));
    }
    return BL_OK;
}

static uint32_t count_offloaded(const struct plan *p)
{
    uint32_t n = 0;
    for (uint32_t u = 0; u < p->model->n_units; u++)
        n += p->device_of_unit[u] < p->n_takers;
    return n;
}

static bl_status place_and_build(struct plan *p)
{
    bl_model *m = p->model;
    BL_TRY(measure_units(p));
    BL_TRY(find_speeds(p));
    BL_TRY(find_rooms(p));
    struct bl_place_request request = {.n_units = m->n_units, .size = p->size, .devices = p->rooms, .n_devices = p->n_takers, .rest = p->rest != NULL,
                                       .gpu_layers = p->rest ? m->gpu_layers : BL_LAYERS_AUTO, .most = m->most_offloaded, .cost = unit_cost, .user = p};
    if (!bl_place(&request, p->device_of_unit))
        return does_not_fit(p);
    uint32_t layers = m->n_units > 2 ? m->n_units - 2 : 0, offloaded = count_offloaded(p);
    bool less = m->gpu_layers < 0 && p->rest && offloaded < m->n_units && m->most_offloaded > layers;
    if (less)
        fall_back(m, "%s has room for %u of %u layers: the others go to %s", p->takers[0]->id, offloaded, layers, p->rest->id);
    bl_status status = build_parts(p);
    if (status == BL_EDEVMEM && m->failed != p->rest && p->rest && m->gpu_layers < 0 && offloaded) {
        m->most_offloaded = (offloaded > layers ? layers + 1 : offloaded) * 3 / 4;
        fall_back(m, "%s: trying with %u of %u layers", bl_error_text(), m->most_offloaded, layers);
    }
    return status;
}

static void drop_parts(bl_model *m)
{
    for (uint32_t i = 0; i < m->n_parts; i++)
        bl_part_destroy(&m->parts[i]);
    m->n_parts = 0;
}

static bl_status try_to_build(bl_model *m)
{
    struct plan p = {.model = m};
    m->n_units = bl_graph_units(m->graph, NULL);
    m->failed = NULL;
    free(m->unit_of_node);
    m->unit_of_node = malloc(m->graph->n_nodes * sizeof *m->unit_of_node);
    p.first_node = malloc(((size_t)m->n_units + 1) * sizeof *p.first_node);
    p.size = calloc(m->n_units, sizeof *p.size);
    p.device_of_unit = calloc(m->n_units, sizeof *p.device_of_unit);
    bl_status status = BL_OK;
    if (!m->unit_of_node || !p.first_node || !p.size || !p.device_of_unit)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory to place %u units", bl_model_file_path(m->file), m->n_units);
    if (status == BL_OK) {
        bl_graph_units(m->graph, m->unit_of_node);
        status = who_is_left(&p);
    }
    if (status == BL_OK)
        status = place_and_build(&p);
    free(p.first_node);
    free(p.size);
    free(p.device_of_unit);
    return status;
}

/* Takes the device that failed out, if others are left; its parts are gone already or go now. */
static bool give_up_on(bl_model *m, struct bl_model_device *failed)
{
    uint32_t n_left = 0;
    for (uint32_t i = 0; i < m->n_devices; i++)
        n_left += !m->devices[i].gone && &m->devices[i] != failed;
    if (!failed || !n_left)
        return false;
    fall_back(m, "device %s failed: %s: its layers go to other devices", failed->id, bl_error_text());
    drop_parts(m);
    bl_device_close(failed->device);
    failed->device = NULL;
    failed->gone = true;
    return true;
}

bl_status bl_devices_build(bl_model *m)
{
    for (;;) {
        uint32_t most = m->most_offloaded;
        bl_status status = try_to_build(m);
        if (status == BL_OK)
            return BL_OK;
        bool fewer = m->most_offloaded < most;
        drop_parts(m);
        if (!fewer && !((status == BL_EDEVLOST || status == BL_EUNSUPPORTED) && give_up_on(m, m->failed)))
            return bl_error_trace(status, __FILE__, __LINE__);
    }
}

bool bl_devices_replace(bl_model *m)
{
    if (!give_up_on(m, m->failed))
        return false;
    m->stale = true;
    return bl_devices_build(m) == BL_OK;
}
