/* graph_cut.c: parts of random graphs and of the built-in families, cut anywhere: together they are the whole, and what crosses is exactly
 * what is needed. That the numbers are the same is shown on models (tests/engine/placement.c). */
#include "graph_fake.h"

#include <stdlib.h>

enum { N_RANDOM = 100, MOST_PARTS = 5 };

/* Exported so far, by value. */
static void check_part(const struct bl_graph *g, const struct bl_graph *part, uint32_t first, uint32_t end, bool *exported)
{
    bool *there = calloc(g->n_values, 1), *read = calloc(g->n_values, 1);
    uint32_t next = first;
    for (uint32_t i = 0; i < part->n_nodes; i++) {
        const struct bl_node *n = &part->nodes[i];
        for (uint32_t k = 0; k < n->n_in; k++)
            if (n->in[k] != BL_NO_ID) {
                cr_assert(there[n->in[k]], "node %u reads %%%u before it is there", i, n->in[k]);
                read[n->in[k]] = true;
            }
        if (n->op == BL_NODE_EXPORT) {
            cr_assert_eq(n->out, BL_NO_ID);
            cr_assert_not(exported[n->in[0]], "%%%u leaves twice", n->in[0]);
            cr_assert(part->values[n->in[0]].producer != BL_NO_ID && part->nodes[part->values[n->in[0]].producer].op != BL_NODE_IMPORT);
            exported[n->in[0]] = true;
            continue;
        }
        if (n->op == BL_NODE_IMPORT)
            cr_assert(exported[n->out], "%%%u comes from nowhere", n->out);
        else
            cr_assert_eq(memcmp(n, &g->nodes[next++], sizeof *n), 0);
        if (n->out != BL_NO_ID) {
            cr_assert_eq(part->values[n->out].producer, i);
            there[n->out] = true;
        }
    }
    cr_assert_eq(next, end);
    for (uint32_t i = 0; i < part->n_nodes; i++)
        if (part->nodes[i].op == BL_NODE_IMPORT)
            cr_assert(read[part->nodes[i].out], "%%%u is carried for nothing", part->nodes[i].out);
    cr_assert_eq(part->logits, end == g->n_nodes ? g->logits : BL_NO_ID);
    free(there);
    free(read);
}

static void check_cuts(const struct bl_graph *g, const uint32_t *cuts, uint32_t n_parts)
{
    bool *exported = calloc(g->n_values, 1);
    uint32_t n_exports = 0, n_crossing = 0;
    for (uint32_t p = 0; p < n_parts; p++) {
        struct bl_graph *part;
        cr_assert_eq(bl_graph_cut(g, cuts[p], cuts[p + 1], &part), BL_OK);
        check_part(g, part, cuts[p], cuts[p + 1], exported);
        for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
            struct bl_schedule *s;
            struct bl_plan *plan;
            cr_assert_eq(bl_schedule_create(part, (enum bl_schedule_kind)kind, &s), BL_OK);
            cr_assert_eq(bl_plan_create(part, s, 4, 1, 64, &plan), BL_OK);
            cr_assert_eq(plan->import_bytes > 0, count_ops(part, BL_NODE_IMPORT) > 0);
            cr_assert_eq(plan->export_bytes > 0, count_ops(part, BL_NODE_EXPORT) > 0);
            double idle = bl_schedule_idle(part, s);
            cr_assert(idle >= 0 && idle < 1 && (s->n_lanes > 1 || idle < 1e-9), "%g", idle);
            bl_plan_destroy(plan);
            bl_schedule_destroy(s);
        }
        n_exports += count_ops(part, BL_NODE_EXPORT);
        bl_graph_destroy(part);
    }
    for (uint32_t v = 0; v < g->n_values; v++) { /* by hand: made in one part, read in a later one */
        bool crosses = false;
        for (uint32_t i = 0; i < g->n_nodes; i++)
            for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
                for (uint32_t p = 1; g->nodes[i].in[k] == v && p < n_parts; p++)
                    crosses = crosses || (g->values[v].producer < cuts[p] && i >= cuts[p]);
        n_crossing += crosses;
    }
    cr_assert_eq(n_exports, n_crossing);
    free(exported);
}

Test(graph_cut, random_graphs_anywhere)
{
    static struct fake f;
    for (uint64_t seed = 1; seed <= N_RANDOM; seed++) {
        struct bl_graph *g = random_graph(seed, seed % 2 ? RANDOM_QUANTIZED : 0, &f);
        cr_assert_eq(bl_graph_lower(g, true), BL_OK);
        cr_assert_eq(bl_graph_fuse(g), BL_OK);
        uint64_t state = seed;
        for (uint32_t n_parts = 1; n_parts <= MOST_PARTS && n_parts <= g->n_nodes; n_parts++) {
            uint32_t cuts[MOST_PARTS + 1] = {0};
            for (uint32_t p = 1; p < n_parts; p++) /* each part has a node at least */
                cuts[p] = cuts[p - 1] + 1 + (uint32_t)(random_next(&state) % (g->n_nodes - (n_parts - p) - cuts[p - 1]));
            cuts[n_parts] = g->n_nodes;
            check_cuts(g, cuts, n_parts);
        }
        bl_graph_destroy(g);
    }
}

/* Families have two layers: four units, in the order of nodes, and a border between layers crosses little. */
Test(graph_cut, units_of_families)
{
    static struct fake f;
    struct bl_graph *g;
    for (uint32_t n = 0; fake_family(n, &f, &g); n++) {
        cr_assert_eq(bl_graph_lower(g, true), BL_OK);
        cr_assert_eq(bl_graph_fuse(g), BL_OK);
        uint32_t *unit = malloc(g->n_nodes * sizeof *unit), cuts[MOST_PARTS + 1] = {0}, n_cuts = 0;
        cr_assert_eq(bl_graph_units(g, unit), 4, "%s has %u units", f.source.arch, bl_graph_units(g, NULL));
        for (uint32_t i = 0; i < g->n_nodes; i++) {
            cr_assert(i == 0 ? unit[i] == 0 : unit[i] == unit[i - 1] || unit[i] == unit[i - 1] + 1);
            cr_assert(g->nodes[i].block == BL_NO_ID || unit[i] == 1 + g->nodes[i].block);
            if (i && unit[i] != unit[i - 1])
                cuts[++n_cuts] = i;
        }
        cuts[++n_cuts] = g->n_nodes;
        check_cuts(g, cuts, n_cuts);
        struct bl_graph *last;
        cr_assert_eq(bl_graph_cut(g, cuts[2], cuts[3], &last), BL_OK);
        cr_assert_leq(count_ops(last, BL_NODE_IMPORT), 3, "%s: the stream, and tables of turns", f.source.arch);
        bl_graph_destroy(last);
        bl_graph_destroy(g);
        free(unit);
    }
}
