/* graph_schedule.c: schedules and memory plans of random graphs and of the built-in families, against a closure by brute force. */
#include "graph_fake.h"

#include <stdlib.h>

enum { N_RANDOM = 200, MAX_LAUNCHES = 256 };

/* ---- order by brute force: reach[a][b] when a is before b by lanes and waits ---- */

static bool reach[MAX_LAUNCHES][MAX_LAUNCHES];

static uint32_t lane_predecessor(const struct bl_schedule *s, uint32_t l)
{
    for (uint32_t p = l; p-- > 0;)
        if (s->launches[p].lane == s->launches[l].lane)
            return p;
    return BL_NO_ID;
}

static void come_after(uint32_t p, uint32_t l)
{
    cr_assert_lt(p, l, "launch %u waits for the later %u", l, p);
    reach[p][l] = true;
    for (uint32_t a = 0; a < p; a++)
        reach[a][l] = reach[a][l] || reach[a][p];
}

static void find_reach(const struct bl_schedule *s)
{
    cr_assert_leq(s->n_launches, MAX_LAUNCHES);
    memset(reach, 0, sizeof reach);
    for (uint32_t l = 0; l < s->n_launches; l++) {
        uint32_t p = lane_predecessor(s, l);
        if (p != BL_NO_ID)
            come_after(p, l);
        for (uint32_t w = 0; w < s->launches[l].n_waits; w++)
            come_after(s->waits[s->launches[l].first_wait + w], l);
    }
}

/* ---- what the nodes say ---- */

static bool node_needs(const struct bl_node *n, const struct bl_node *earlier)
{
    for (uint32_t k = 0; k < n->n_in; k++)
        if (n->in[k] != BL_NO_ID && n->in[k] == earlier->out)
            return true;
    return n->op == BL_NODE_ATTENTION && (earlier->op == BL_NODE_KV_STORE || earlier->op == BL_NODE_ROPE_STORE) && n->layer == earlier->layer;
}

static bool launch_needs(const struct bl_graph *g, const struct bl_launch *l, const struct bl_launch *earlier)
{
    for (uint32_t i = 0; i < l->n_nodes; i++)
        for (uint32_t k = 0; k < earlier->n_nodes; k++)
            if (node_needs(&g->nodes[l->nodes[i]], &g->nodes[earlier->nodes[k]]))
                return true;
    return false;
}

static void check_launches(const struct bl_graph *g, const struct bl_schedule *s)
{
    bool grouped = s->kind == BL_SCHEDULE_GROUPED || s->kind == BL_SCHEDULE_GROUPED_STREAMS;
    bool *seen = calloc(g->n_nodes, 1);
    uint32_t n_seen = 0;
    for (uint32_t l = 0; l < s->n_launches; l++) {
        const struct bl_launch *launch = &s->launches[l];
        cr_assert(launch->n_nodes >= 1 && launch->n_nodes <= (grouped ? BL_LINEAR_SEGMENTS : 1u));
        const struct bl_node *first = &g->nodes[launch->nodes[0]];
        for (uint32_t k = 0; k < launch->n_nodes; k++) {
            const struct bl_node *n = &g->nodes[launch->nodes[k]];
            cr_assert_not(seen[launch->nodes[k]]);
            seen[launch->nodes[k]] = true;
            n_seen++;
            cr_assert_eq(s->launch_of_node[launch->nodes[k]], l);
            if (launch->n_nodes > 1) {
                cr_assert_eq(n->op, BL_NODE_LINEAR);
                cr_assert_eq(n->in[0], first->in[0]);
                cr_assert_eq(n->in[1], BL_NO_ID);
                cr_assert(n->weight.format == first->weight.format || (bl_formats[n->weight.format].is_quantized && bl_formats[first->weight.format].is_quantized));
            }
        }
    }
    cr_assert_eq(n_seen, g->n_nodes);
    free(seen);
}

static void check_schedule(const struct bl_graph *g, const struct bl_schedule *s)
{
    bool streams = s->kind == BL_SCHEDULE_STREAMS || s->kind == BL_SCHEDULE_GROUPED_STREAMS;
    uint32_t steps = 0, in_lane[BL_SCHEDULE_LANES] = {0};
    check_launches(g, s);
    find_reach(s);
    cr_assert(s->n_lanes >= 1 && s->n_lanes <= (streams ? 8u : 1u));
    for (uint32_t l = 0; l < s->n_launches; l++) {
        const struct bl_launch *launch = &s->launches[l];
        cr_assert_lt(launch->lane, s->n_lanes);
        cr_assert_eq(launch->index_in_lane, in_lane[launch->lane]++);
        uint32_t step = 1, predecessor = lane_predecessor(s, l);
        for (uint32_t p = 0; p < s->n_launches; p++) {
            cr_assert_eq(bl_schedule_before(s, p, l), reach[p][l], "%s: %u before %u", bl_schedule_name(s->kind), p, l);
            if (launch_needs(g, launch, &s->launches[p]))
                cr_assert(reach[p][l], "%s: launch %u does not wait for %u", bl_schedule_name(s->kind), l, p);
            if (reach[p][l] && s->launches[p].step >= step)
                step = s->launches[p].step + 1;
        }
        cr_assert_eq(launch->step, step);
        steps = step > steps ? step : steps;
        for (uint32_t w = 0; w < launch->n_waits; w++) {
            uint32_t wait = s->waits[launch->first_wait + w];
            cr_assert_neq(s->launches[wait].lane, launch->lane);
            cr_assert(launch_needs(g, launch, &s->launches[wait]), "launch %u waits for %u without need", l, wait);
            cr_assert(predecessor == BL_NO_ID || !reach[wait][predecessor], "the lane implies the wait of %u for %u", l, wait);
            for (uint32_t o = 0; o < launch->n_waits; o++)
                cr_assert(!reach[wait][s->waits[launch->first_wait + o]], "another wait implies that of %u for %u", l, wait);
        }
    }
    for (uint32_t lane = 0; lane < s->n_lanes; lane++)
        cr_assert(in_lane[lane]);
    cr_assert_eq(s->n_steps, steps);
    if (!streams)
        cr_assert_eq(steps, s->n_launches);
}

/* ---- plans; reach is that of the schedule ---- */

static bool over_before(const struct bl_graph *g, const struct bl_schedule *s, uint32_t value, uint32_t launch)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        bool touches = g->nodes[i].out == value;
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            touches = touches || g->nodes[i].in[k] == value;
        if (touches && !reach[s->launch_of_node[i]][launch])
            return false;
    }
    return true;
}

static void check_plan(const struct bl_graph *g, const struct bl_schedule *s, uint32_t rows, uint32_t out_rows, uint64_t alignment)
{
    struct bl_plan *plan;
    uint64_t sum = 0, padded = alignment > 64 ? alignment : 64;
    cr_assert_eq(bl_plan_create(g, s, rows, out_rows, alignment, &plan), BL_OK);
    for (uint32_t v = 0; v < g->n_values; v++) {
        uint32_t producer = g->values[v].producer;
        bool lives = producer != BL_NO_ID && producer < g->n_nodes && g->nodes[producer].out == v && v != g->logits;
        cr_assert_eq(plan->offset[v] != UINT64_MAX, lives);
        if (!lives)
            continue;
        const struct bl_value *value = &g->values[v];
        uint64_t bytes = bl_value_bytes(value, rows, out_rows), m = value->rows == BL_ROWS_OF_OUTPUT ? out_rows : rows;
        cr_assert_eq(bytes, m * (value->format == BL_FMT_Q8 ? (value->columns + 31) / 32 * sizeof(struct bl_q8_block) : value->columns * UINT64_C(4)));
        cr_assert_eq(plan->offset[v] % padded, 0);
        cr_assert_leq(plan->offset[v] + bytes, plan->bytes);
        sum += (bytes + padded - 1) / padded * padded;
        for (uint32_t o = 0; o < v; o++) {
            if (plan->offset[o] == UINT64_MAX || plan->offset[o] >= plan->offset[v] + bytes ||
                plan->offset[v] >= plan->offset[o] + bl_value_bytes(&g->values[o], rows, out_rows))
                continue;
            cr_assert(over_before(g, s, o, s->launch_of_node[g->values[v].producer]) || over_before(g, s, v, s->launch_of_node[g->values[o].producer]),
                      "%s: %%%u and %%%u share bytes", bl_schedule_name(s->kind), o, v);
        }
    }
    cr_assert_leq(plan->bytes, sum);
    bl_plan_destroy(plan);
}

static void check_all(struct bl_graph *g)
{
    uint32_t steps[BL_SCHEDULE_COUNT];
    for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
        struct bl_schedule *s;
        cr_assert_eq(bl_schedule_create(g, (enum bl_schedule_kind)kind, &s), BL_OK);
        check_schedule(g, s);
        check_plan(g, s, 1, 1, 64);
        check_plan(g, s, 8, 2, 1);
        check_plan(g, s, 512, 1, 256);
        steps[kind] = s->n_steps;
        bl_schedule_destroy(s);
    }
    cr_assert_leq(steps[BL_SCHEDULE_STREAMS], steps[BL_SCHEDULE_SERIAL]);
    cr_assert_leq(steps[BL_SCHEDULE_GROUPED], steps[BL_SCHEDULE_SERIAL]);
}

Test(graph_schedule, random_graphs)
{
    static struct fake f;
    uint32_t most_lanes = 0, q8_values = 0, grouped = 0, glus = 0, stores = 0;
    for (uint64_t seed = 1; seed <= N_RANDOM; seed++) {
        struct bl_graph *g = random_graph(seed, RANDOM_QUANTIZED, &f);
        if (seed % 4) { /* also graphs as they are before the rewrites */
            cr_assert_eq(bl_graph_lower(g, seed % 4 != 1), BL_OK);
            cr_assert_eq(bl_graph_fuse(g), BL_OK);
            check_serial_order(g);
        }
        check_all(g);
        for (uint32_t v = 0; v < g->n_values; v++)
            q8_values += g->values[v].format == BL_FMT_Q8;
        glus += count_ops(g, BL_NODE_LINEAR_GLU);
        stores += count_ops(g, BL_NODE_ROPE_STORE);
        struct bl_schedule *s;
        cr_assert_eq(bl_schedule_create(g, BL_SCHEDULE_GROUPED_STREAMS, &s), BL_OK);
        most_lanes = s->n_lanes > most_lanes ? s->n_lanes : most_lanes;
        grouped += g->n_nodes - s->n_launches;
        bl_schedule_destroy(s);
        bl_graph_destroy(g);
    }
    /* The graphs must be of a kind that tests something. */
    cr_assert_gt(most_lanes, 4, "%u lanes", most_lanes);
    cr_assert_gt(q8_values, N_RANDOM);
    cr_assert_gt(grouped, N_RANDOM / 4);
    cr_assert_gt(glus, N_RANDOM / 8, "%u linears with a glu", glus);
    cr_assert_gt(stores, N_RANDOM / 8, "%u rope_stores", stores);
}

Test(graph_schedule, families)
{
    static struct fake f;
    struct bl_graph *g;
    for (uint32_t n = 0; fake_family(n / 2, &f, &g); n++) { /* each without and with q8 */
        cr_assert_eq(bl_graph_lower(g, n % 2), BL_OK);
        cr_assert_eq(bl_graph_fuse(g), BL_OK);
        check_serial_order(g);
        check_all(g);
        bl_graph_destroy(g);
    }
}

/* More independent chains than lanes: the lanes fill up and are shared. */
Test(graph_schedule, lanes_are_limited)
{
    static struct fake f;
    char text[4096] = "x = embed(tokens, token_embd)\n", line[64];
    fake_least(&f);
    for (int i = 0; i < 12; i++) {
        snprintf(line, sizeof line, "a%d = silu(x)\n", i);
        strcat(text, line);
    }
    strcat(text, "y = a0");
    for (int i = 1; i < 12; i++) {
        snprintf(line, sizeof line, " + a%d", i);
        strcat(text, line);
    }
    strcat(text, "\nlogits = linear(select(y, outputs), token_embd)\n");
    struct bl_graph *g = must_parse(&f, text);
    check_all(g);
    struct bl_schedule *s;
    cr_assert_eq(bl_schedule_create(g, BL_SCHEDULE_STREAMS, &s), BL_OK);
    cr_assert_eq(s->n_lanes, BL_SCHEDULE_LANES);
    bl_schedule_destroy(s);
    bl_graph_destroy(g);
}

/* A launch holds at most BL_LINEAR_SEGMENTS matrices: the fifth begins another. */
Test(graph_schedule, groups_are_limited)
{
    static struct fake f;
    fake_least(&f);
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 64);
    struct bl_graph *g = must_parse(&f, "x = embed(tokens, token_embd)\ny = linear(x, w) * linear(x, w) * linear(x, w) * linear(x, w) * linear(x, w)\n"
                                        "logits = linear(select(y, outputs), token_embd)\n");
    check_all(g);
    struct bl_schedule *s;
    cr_assert_eq(bl_schedule_create(g, BL_SCHEDULE_GROUPED, &s), BL_OK);
    cr_assert_eq(s->n_launches, g->n_nodes - 3);
    cr_assert_eq(s->launches[1].n_nodes, BL_LINEAR_SEGMENTS);
    bl_schedule_destroy(s);
    bl_graph_destroy(g);
}

/* norm, q + k + v, rope_store, attention, output, norm, gate + up, down; and the embedding, the table, the selection, a norm, the head. */
Test(graph_schedule, eight_launches_per_layer_of_llama)
{
    static struct fake f;
    struct bl_graph *g;
    for (uint32_t n = 0; fake_family(n, &f, &g); n++) {
        const bool is_llama = strcmp(f.source.arch, "llama") == 0;
        cr_assert_eq(bl_graph_lower(g, true), BL_OK);
        cr_assert_eq(bl_graph_fuse(g), BL_OK);
        struct bl_schedule *s;
        cr_assert_eq(bl_schedule_create(g, BL_SCHEDULE_GROUPED, &s), BL_OK);
        if (is_llama)
            cr_assert_eq(s->n_launches, 8 * g->n_kv_layers + 5, "%u launches of %u layers", s->n_launches, g->n_kv_layers);
        bl_schedule_destroy(s);
        bl_graph_destroy(g);
        if (is_llama)
            return;
    }
    cr_assert_fail("no family is llama");
}

/* The published numbers of the attention block: Q, K, V, two ropes, two stores, attention, output; and what the rewrites make of them. */
Test(graph_schedule, attention_block_of_llama)
{
    static const struct {
        enum bl_schedule_kind kind;
        struct { uint32_t launches, steps; } written, rewritten;
    } expected[] = {{BL_SCHEDULE_SERIAL, {9, 9}, {6, 6}}, {BL_SCHEDULE_GROUPED, {7, 7}, {4, 4}}, {BL_SCHEDULE_STREAMS, {9, 5}, {6, 4}},
                    {BL_SCHEDULE_GROUPED_STREAMS, {7, 5}, {4, 4}}};
    static struct fake f;
    struct bl_graph *g;
    uint32_t n = 0;
    for (const char *name; (name = fake_family(n, &f, &g)) && strcmp(name, "llama") != 0; n++)
        bl_graph_destroy(g);
    cr_assert_not_null(g);
    for (int i = 0; i < 2 * BL_SCHEDULE_COUNT; i++) {
        if (i == BL_SCHEDULE_COUNT) {
            cr_assert_eq(bl_graph_lower(g, true), BL_OK);
            cr_assert_eq(bl_graph_fuse(g), BL_OK);
        }
        const int kind = i % BL_SCHEDULE_COUNT;
        const uint32_t want_launches = i < BL_SCHEDULE_COUNT ? expected[kind].written.launches : expected[kind].rewritten.launches;
        const uint32_t want_steps = i < BL_SCHEDULE_COUNT ? expected[kind].written.steps : expected[kind].rewritten.steps;
        for (uint32_t layer = 0; layer < 2; layer++) {
            struct bl_schedule *s;
            uint32_t launches, steps;
            cr_assert_eq(bl_schedule_create(g, expected[kind].kind, &s), BL_OK);
            bl_schedule_block_steps(g, s, layer, &launches, &steps);
            cr_assert_eq(launches, want_launches, "%s: %u launches", bl_schedule_name(s->kind), launches);
            cr_assert_eq(steps, want_steps, "%s: %u steps", bl_schedule_name(s->kind), steps);
            bl_schedule_destroy(s);
        }
    }
    bl_graph_destroy(g);
}
