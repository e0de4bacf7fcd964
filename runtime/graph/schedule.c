/* schedule.c: from nodes to launches: grouping, dependencies, lanes. Dependencies come from what a launch reads and writes (last writer,
 * readers since), never from names. Knows no device and no sizes in rows. */
#include "base/error.h"
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool grouped;
    uint32_t lanes;
} kinds[BL_SCHEDULE_COUNT] = {
#define BL_SCHEDULE_ROW(NAME, name, grouped, lanes) {name, grouped, lanes},
    BL_SCHEDULES(BL_SCHEDULE_ROW)
#undef BL_SCHEDULE_ROW
};

const char *bl_schedule_name(enum bl_schedule_kind kind)
{
    return kinds[kind].name;
}

static bl_status no_memory(const struct bl_graph *g)
{
    BL_FAIL(BL_ENOMEM, "%s: no memory for the schedule of %u nodes", g->text_name, g->n_nodes);
}

/* ---- grouping ---- */

/* May `b` join the launch that begins with linear `a`? The launch runs where `a` stands, so `b` must need nothing later: no residual. */
static bool may_group(const struct bl_node *a, const struct bl_node *b)
{
    if (a->op != BL_NODE_LINEAR || b->op != BL_NODE_LINEAR || a->in[0] != b->in[0] || a->in[1] != BL_NO_ID || b->in[1] != BL_NO_ID)
        return false;
    return bl_formats_mix(a->weight.format, b->weight.format);
}

static bl_status make_launches(const struct bl_graph *g, struct bl_schedule *s)
{
    s->launches = bl_arena_alloc(&s->arena, g->n_nodes, sizeof *s->launches);
    s->launch_of_node = bl_arena_alloc(&s->arena, g->n_nodes, sizeof *s->launch_of_node);
    uint32_t *open = malloc((size_t)g->n_values * sizeof *open); /* by value: the last launch of linears that read it */
    if (!s->launches || !s->launch_of_node || !open) {
        free(open);
        return no_memory(g);
    }
    memset(open, 0xff, (size_t)g->n_values * sizeof *open);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        uint32_t launch = n->op == BL_NODE_LINEAR && kinds[s->kind].grouped ? open[n->in[0]] : BL_NO_ID;
        if (launch != BL_NO_ID && (s->launches[launch].n_nodes == BL_LINEAR_SEGMENTS || !may_group(&g->nodes[s->launches[launch].nodes[0]], n)))
            launch = BL_NO_ID;
        if (launch == BL_NO_ID) {
            launch = s->n_launches++;
            if (n->op == BL_NODE_LINEAR)
                open[n->in[0]] = launch;
        }
        struct bl_launch *l = &s->launches[launch];
        l->nodes[l->n_nodes++] = i;
        s->launch_of_node[i] = launch;
    }
    free(open);
    return BL_OK;
}

/* ---- dependencies ---- */

struct access_log { /* per resource: values, then K and V of every layer */
    uint32_t last_writer;
    uint32_t first_reader; /* list of readers since, newest first; index into links, BL_NO_ID ends */
};
struct link {
    uint32_t launch, next;
};
struct deps {
    struct access_log *log;
    struct link *links;
    uint32_t n_links;
    uint32_t *list; /* of the launch being looked at */
    uint32_t n_list;
};

static void add_dep(struct deps *d, uint32_t launch, uint32_t self)
{
    if (launch == BL_NO_ID || launch == self)
        return;
    for (uint32_t i = 0; i < d->n_list; i++)
        if (d->list[i] == launch)
            return;
    d->list[d->n_list++] = launch;
}

static void on_read(struct deps *d, uint32_t resource, uint32_t launch)
{
    struct access_log *log = &d->log[resource];
    add_dep(d, log->last_writer, launch);
    d->links[d->n_links] = (struct link){launch, log->first_reader};
    log->first_reader = d->n_links++;
}

static void on_write(struct deps *d, uint32_t resource, uint32_t launch)
{
    struct access_log *log = &d->log[resource];
    add_dep(d, log->last_writer, launch);
    for (uint32_t r = log->first_reader; r != BL_NO_ID; r = d->links[r].next)
        add_dep(d, d->links[r].launch, launch);
    log->last_writer = launch;
    log->first_reader = BL_NO_ID;
}

static void node_accesses(const struct bl_graph *g, const struct bl_node *n, struct deps *d, uint32_t launch)
{
    for (uint32_t k = 0; k < n->n_in; k++)
        if (n->in[k] != BL_NO_ID)
            on_read(d, n->in[k], launch);
    if (n->op == BL_NODE_ATTENTION) {
        on_read(d, g->n_values + 2 * n->layer, launch);
        on_read(d, g->n_values + 2 * n->layer + 1, launch);
    }
    if (n->op == BL_NODE_KV_STORE)
        on_write(d, g->n_values + 2 * n->layer + n->kv_part, launch);
    if (n->op == BL_NODE_ROPE_STORE) {
        on_write(d, g->n_values + 2 * n->layer, launch);
        on_write(d, g->n_values + 2 * n->layer + 1, launch);
    }
    if (n->out != BL_NO_ID)
        on_write(d, n->out, launch);
}

static bl_status find_deps(const struct bl_graph *g, struct bl_schedule *s)
{
    uint32_t n_resources = g->n_values + 2 * g->n_kv_layers;
    /* Each node reads at most BL_NODE_MAX_IN values and two caches, so this bounds links, and dependencies with them. */
    uint64_t max_links = (uint64_t)g->n_nodes * (BL_NODE_MAX_IN + 2) + 1;
    struct deps d = {malloc(n_resources * sizeof *d.log), malloc(max_links * sizeof *d.links), 0, NULL, 0};
    bl_status status = BL_OK;
    s->deps = bl_arena_alloc(&s->arena, 2 * max_links, sizeof *s->deps);
    if (!d.log || !d.links || !s->deps) {
        status = no_memory(g);
        goto out;
    }
    for (uint32_t i = 0; i < n_resources; i++)
        d.log[i] = (struct access_log){BL_NO_ID, BL_NO_ID};
    for (uint32_t l = 0; l < s->n_launches; l++) {
        struct bl_launch *launch = &s->launches[l];
        d.list = s->deps + s->n_deps;
        d.n_list = 0;
        for (uint32_t k = 0; k < launch->n_nodes; k++)
            node_accesses(g, &g->nodes[launch->nodes[k]], &d, l);
        launch->first_dep = s->n_deps;
        launch->n_deps = d.n_list;
        s->n_deps += d.n_list;
        launch->step = 1;
        for (uint32_t k = 0; k < d.n_list; k++)
            if (s->launches[d.list[k]].step >= launch->step)
                launch->step = s->launches[d.list[k]].step + 1;
    }
out:
    free(d.log);
    free(d.links);
    return status;
}

/* ---- lanes ---- */

/* What a launch costs, in bytes read: enough to tell a matrix from a norm. */
static uint64_t launch_cost(const struct bl_graph *g, const struct bl_launch *l)
{
    uint64_t cost = 1;
    for (uint32_t k = 0; k < l->n_nodes; k++) {
        const struct bl_node *n = &g->nodes[l->nodes[k]];
        cost += n->out == BL_NO_ID ? 0 : g->values[n->out].columns;
        if (n->op == BL_NODE_LINEAR || n->op == BL_NODE_LINEAR_GLU)
            cost += (uint64_t)n->weight.rows * n->weight.columns / (n->op == BL_NODE_LINEAR ? 2 : 1);
    }
    return cost;
}

/* Lane choice: stay behind the dependency that ends a lane and has the longest way to go from the start (the critical one); else take a
 * lane that is over already; else a new one; else the lane whose end is cheapest to wait for. */
static uint32_t choose_lane(const struct bl_schedule *s, uint32_t l, const uint32_t *tail, const uint64_t *finish, const uint32_t *clock)
{
    const struct bl_launch *launch = &s->launches[l];
    uint32_t best = BL_NO_ID;
    for (uint32_t k = 0; k < launch->n_deps; k++) {
        uint32_t dep = s->deps[launch->first_dep + k], lane = s->launches[dep].lane;
        if (tail[lane] == dep && (best == BL_NO_ID || finish[dep] > finish[tail[best]]))
            best = lane;
    }
    if (best != BL_NO_ID)
        return best;
    uint32_t max_lanes = kinds[s->kind].lanes;
    for (uint32_t lane = 0; lane < s->n_lanes; lane++)
        if (clock[lane] == s->launches[tail[lane]].index_in_lane + 1)
            return lane;
    if (s->n_lanes < max_lanes)
        return s->n_lanes;
    best = 0;
    for (uint32_t lane = 1; lane < s->n_lanes; lane++)
        if (finish[tail[lane]] < finish[tail[best]])
            best = lane;
    return best;
}

static void merge_clock(const struct bl_schedule *s, uint32_t *clock, uint32_t l)
{
    const uint32_t *other = s->clocks + (size_t)l * BL_SCHEDULE_LANES;
    for (uint32_t lane = 0; lane < BL_SCHEDULE_LANES; lane++)
        if (other[lane] > clock[lane])
            clock[lane] = other[lane];
    const struct bl_launch *launch = &s->launches[l];
    if (launch->index_in_lane + 1 > clock[launch->lane])
        clock[launch->lane] = launch->index_in_lane + 1;
}

static int descending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Waits: the dependencies on other lanes that the lane's own past does not imply. Later launches know more, so they are looked at first. */
static void find_waits(struct bl_schedule *s, uint32_t l, uint32_t *clock)
{
    struct bl_launch *launch = &s->launches[l];
    uint32_t *deps = s->deps + launch->first_dep;
    qsort(deps, launch->n_deps, sizeof *deps, descending);
    launch->first_wait = s->n_waits;
    for (uint32_t k = 0; k < launch->n_deps; k++) {
        const struct bl_launch *dep = &s->launches[deps[k]];
        if (clock[dep->lane] > dep->index_in_lane)
            continue;
        s->waits[s->n_waits++] = deps[k];
        launch->n_waits++;
        merge_clock(s, clock, deps[k]);
    }
}

static bl_status make_lanes(const struct bl_graph *g, struct bl_schedule *s)
{
    s->clocks = bl_arena_alloc(&s->arena, (uint64_t)s->n_launches * BL_SCHEDULE_LANES, sizeof *s->clocks);
    s->waits = bl_arena_alloc(&s->arena, s->n_deps, sizeof *s->waits);
    uint64_t *finish = calloc(s->n_launches ? s->n_launches : 1, sizeof *finish); /* cost of the longest way from the start */
    if (!s->clocks || !s->waits || !finish) {
        free(finish);
        return no_memory(g);
    }
    uint32_t tail[BL_SCHEDULE_LANES] = {0}, known[BL_SCHEDULE_LANES];
    for (uint32_t l = 0; l < s->n_launches; l++) {
        struct bl_launch *launch = &s->launches[l];
        memset(known, 0, sizeof known);
        for (uint32_t k = 0; k < launch->n_deps; k++) {
            uint32_t dep = s->deps[launch->first_dep + k];
            merge_clock(s, known, dep);
            if (finish[dep] > finish[l])
                finish[l] = finish[dep];
        }
        finish[l] += launch_cost(g, launch);
        uint32_t lane = s->n_lanes ? choose_lane(s, l, tail, finish, known) : 0;
        uint32_t *clock = s->clocks + (size_t)l * BL_SCHEDULE_LANES;
        launch->lane = lane;
        if (lane == s->n_lanes) {
            s->n_lanes++;
        } else {
            launch->index_in_lane = s->launches[tail[lane]].index_in_lane + 1;
            merge_clock(s, clock, tail[lane]);
            /* A lane is in order: its last launch is a predecessor even where no data says so. */
            if (s->launches[tail[lane]].step >= launch->step)
                launch->step = s->launches[tail[lane]].step + 1;
        }
        find_waits(s, l, clock);
        for (uint32_t k = 0; k < launch->n_waits; k++)
            if (s->launches[s->waits[launch->first_wait + k]].step >= launch->step)
                launch->step = s->launches[s->waits[launch->first_wait + k]].step + 1;
        tail[lane] = l;
        if (launch->step > s->n_steps)
            s->n_steps = launch->step;
    }
    free(finish);
    return BL_OK;
}

bl_status bl_schedule_create(const struct bl_graph *graph, enum bl_schedule_kind kind, struct bl_schedule **out)
{
    *out = NULL;
    struct bl_schedule *s = calloc(1, sizeof *s);
    if (!s)
        return no_memory(graph);
    s->kind = kind;
    bl_arena_init(&s->arena, 0);
    bl_status status = make_launches(graph, s);
    if (status == BL_OK)
        status = find_deps(graph, s);
    if (status == BL_OK)
        status = make_lanes(graph, s);
    if (status != BL_OK) {
        bl_schedule_destroy(s);
        return status;
    }
    *out = s;
    return BL_OK;
}

void bl_schedule_destroy(struct bl_schedule *schedule)
{
    if (!schedule)
        return;
    bl_arena_finish(&schedule->arena);
    free(schedule);
}

bool bl_schedule_before(const struct bl_schedule *s, uint32_t a, uint32_t b)
{
    return s->clocks[(size_t)b * BL_SCHEDULE_LANES + s->launches[a].lane] > s->launches[a].index_in_lane;
}

double bl_schedule_idle(const struct bl_graph *g, const struct bl_schedule *s)
{
    double free_at[BL_SCHEDULE_LANES] = {0}, busy = 0, end = 0;
    double *finish = calloc(s->n_launches ? s->n_launches : 1, sizeof *finish);
    for (uint32_t l = 0; finish && l < s->n_launches; l++) {
        const struct bl_launch *launch = &s->launches[l];
        double start = free_at[launch->lane], cost = (double)launch_cost(g, launch);
        for (uint32_t k = 0; k < launch->n_waits; k++)
            if (finish[s->waits[launch->first_wait + k]] > start)
                start = finish[s->waits[launch->first_wait + k]];
        finish[l] = free_at[launch->lane] = start + cost;
        busy += cost;
        end = finish[l] > end ? finish[l] : end;
    }
    free(finish);
    return end > 0 ? 1 - busy / (end * s->n_lanes) : 0;
}

/* ---- the attention block of a layer ---- */

void bl_schedule_block_steps(const struct bl_graph *g, const struct bl_schedule *s, uint32_t layer, uint32_t *n_launches, uint32_t *n_steps)
{
    *n_launches = *n_steps = 0;
    uint32_t attention = 0;
    while (attention < g->n_nodes && !(g->nodes[attention].op == BL_NODE_ATTENTION && g->nodes[attention].layer == layer))
        attention++;
    if (attention == g->n_nodes)
        return;
    bool *member = calloc(g->n_nodes, 1);
    bool *wanted = calloc(g->n_values, 1); /* values that a member reads and that are made inside the block */
    bool *counted = calloc(s->n_launches, 1);
    uint32_t *depth = calloc(s->n_launches, sizeof *depth); /* steps counted from the block's start */
    if (member && wanted && counted && depth) {
        member[attention] = true;
        wanted[g->nodes[attention].in[0]] = true;
        for (uint32_t i = attention; i-- > 0;) { /* backwards, up to and with the linears */
            const struct bl_node *n = &g->nodes[i];
            bool store = n->op == BL_NODE_KV_STORE && n->layer == layer;
            if (!store && (n->out == BL_NO_ID || !wanted[n->out] || n->op == BL_NODE_ROPE_TABLE))
                continue;
            member[i] = true;
            for (uint32_t k = 0; n->op != BL_NODE_LINEAR && k < n->n_in; k++)
                wanted[n->in[k]] = true;
        }
        uint32_t end = g->nodes[attention].out;
        for (uint32_t i = attention + 1; i < g->n_nodes; i++) { /* forwards: a quantize of its own, and the linear that reads the result */
            const struct bl_node *n = &g->nodes[i];
            if ((n->op != BL_NODE_LINEAR && n->op != BL_NODE_QUANTIZE) || n->in[0] != end)
                continue;
            member[i] = true;
            if (n->op == BL_NODE_LINEAR)
                break;
            end = n->out;
        }
        for (uint32_t i = 0; i < g->n_nodes; i++) {
            uint32_t l = s->launch_of_node[i];
            if (!member[i] || counted[l])
                continue;
            counted[l] = true;
            (*n_launches)++;
            depth[l] = 1;
            for (uint32_t p = 0; p < l; p++)
                if (counted[p] && bl_schedule_before(s, p, l) && depth[p] >= depth[l])
                    depth[l] = depth[p] + 1;
            if (depth[l] > *n_steps)
                *n_steps = depth[l];
        }
    }
    free(member);
    free(wanted);
    free(counted);
    free(depth);
}
