/* plan.c: where values live. First fit over the partial order of the schedule, not over recorded order: values whose lives may overlap on
 * any legal timing never share a byte. Knows sizes and lives only. */
#include "base/checked.h"
#include "base/error.h"
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

uint64_t bl_value_bytes(const struct bl_value *value, uint32_t rows, uint32_t out_rows)
{
    uint64_t row = value->format == BL_FMT_Q8 ? (uint64_t)(value->columns + BL_Q8_COLUMNS - 1) / BL_Q8_COLUMNS * sizeof(struct bl_q8_block)
                                              : (uint64_t)value->columns * 4;
    return row * (value->rows == BL_ROWS_OF_OUTPUT ? out_rows : rows);
}

struct life {
    uint32_t value;
    uint64_t offset, bytes;
};
struct planner {
    const struct bl_graph *g;
    const struct bl_schedule *s;
    uint32_t *producer;                /* by value: launch or BL_NO_ID */
    uint32_t *first_use, *n_uses;      /* by value */
    uint32_t *uses;
    struct life *placed;               /* that may still be alive for launches to come */
    uint32_t n_placed;
    uint64_t alignment;
};

/* All uses of the value are over before `launch` starts. */
static bool over_before(const struct planner *p, uint32_t value, uint32_t launch)
{
    if (!bl_schedule_before(p->s, p->producer[value], launch))
        return false;
    for (uint32_t k = 0; k < p->n_uses[value]; k++)
        if (!bl_schedule_before(p->s, p->uses[p->first_use[value] + k], launch))
            return false;
    return true;
}

/* Values that are over for the last launch of every lane are over for everything that comes. */
static void forget_the_dead(struct planner *p, const uint32_t *tail, uint32_t n_lanes)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_placed; i++) {
        bool over = true;
        for (uint32_t lane = 0; over && lane < n_lanes; lane++)
            over = tail[lane] != BL_NO_ID && over_before(p, p->placed[i].value, tail[lane]);
        if (!over)
            p->placed[n++] = p->placed[i];
    }
    p->n_placed = n;
}

/* `placed` is kept in order of offset. */
static void place(struct planner *p, const struct life *life)
{
    uint32_t at = p->n_placed++;
    for (; at > 0 && p->placed[at - 1].offset > life->offset; at--)
        p->placed[at] = p->placed[at - 1];
    p->placed[at] = *life;
}

static uint64_t first_fit(struct planner *p, uint32_t launch, uint64_t bytes)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < p->n_placed; i++) {
        const struct life *other = &p->placed[i];
        if (over_before(p, other->value, launch))
            continue;
        if (other->offset >= at + bytes)
            break;
        uint64_t end = other->offset + other->bytes;
        if (end > at)
            at = (end + p->alignment - 1) & ~(p->alignment - 1);
    }
    return at;
}

static bl_status collect_uses(struct planner *p)
{
    const struct bl_graph *g = p->g;
    for (uint32_t v = 0; v < g->n_values; v++)
        p->producer[v] = BL_NO_ID;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].out != BL_NO_ID)
            p->producer[g->nodes[i].out] = p->s->launch_of_node[i];
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != BL_NO_ID)
                p->n_uses[g->nodes[i].in[k]]++;
    }
    uint32_t total = 0;
    for (uint32_t v = 0; v < g->n_values; v++) {
        p->first_use[v] = total;
        total += p->n_uses[v];
        p->n_uses[v] = 0;
    }
    p->uses = malloc((total ? total : 1) * sizeof *p->uses);
    if (!p->uses)
        BL_FAIL(BL_ENOMEM, "%s: no memory for the memory plan", g->text_name);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++) {
            uint32_t v = g->nodes[i].in[k];
            if (v != BL_NO_ID)
                p->uses[p->first_use[v] + p->n_uses[v]++] = p->s->launch_of_node[i];
        }
    return BL_OK;
}

/* What crosses a border lies one value after the other, in the order of nodes. */
static void place_borders(struct bl_plan *plan, const struct bl_graph *g, uint32_t rows, uint32_t out_rows)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        if (n->op != BL_NODE_IMPORT && n->op != BL_NODE_EXPORT)
            continue;
        uint32_t v = n->op == BL_NODE_IMPORT ? n->out : n->in[0];
        uint64_t *end = n->op == BL_NODE_IMPORT ? &plan->import_bytes : &plan->export_bytes;
        plan->border[v] = *end;
        *end += (bl_value_bytes(&g->values[v], rows, out_rows) + 63) & ~UINT64_C(63);
    }
}

bl_status bl_plan_create(const struct bl_graph *graph, const struct bl_schedule *schedule, uint32_t rows, uint32_t out_rows, uint64_t alignment,
                         struct bl_plan **out)
{
    *out = NULL;
    size_t n = graph->n_values;
    struct bl_plan *plan = calloc(1, sizeof *plan);
    struct planner p = {graph, schedule, malloc(n * 4), calloc(n, 4), calloc(n, 4), NULL, malloc(n * sizeof *p.placed), 0, alignment < 64 ? 64 : alignment};
    uint32_t tail[BL_SCHEDULE_LANES];
    memset(tail, 0xff, sizeof tail);
    bl_status status = BL_OK;
    if (plan)
        plan->offset = malloc(n * sizeof *plan->offset);
    if (plan)
        plan->border = malloc(n * sizeof *plan->border);
    if (!plan || !plan->offset || !plan->border || !p.producer || !p.first_use || !p.n_uses || !p.placed) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the memory plan", graph->text_name);
        goto out;
    }
    memset(plan->offset, 0xff, n * sizeof *plan->offset);
    memset(plan->border, 0xff, n * sizeof *plan->border);
    place_borders(plan, graph, rows, out_rows);
    status = collect_uses(&p);
    if (status != BL_OK)
        goto out;
    for (uint32_t l = 0; l < schedule->n_launches; l++) {
        const struct bl_launch *launch = &schedule->launches[l];
        for (uint32_t k = 0; k < launch->n_nodes; k++) {
            uint32_t v = graph->nodes[launch->nodes[k]].out;
            if (v == BL_NO_ID || v == graph->logits)
                continue;
            uint64_t bytes = bl_value_bytes(&graph->values[v], rows, out_rows), end;
            uint64_t at = first_fit(&p, l, bytes);
            if (!bl_ck_add(at, bytes, &end)) {
                status = bl_error_push(BL_ELIMIT, __FILE__, __LINE__, "%s: activations do not fit the address space", graph->text_name);
                goto out;
            }
            plan->offset[v] = at;
            if (end > plan->bytes)
                plan->bytes = end;
            place(&p, &(struct life){v, at, bytes});
        }
        tail[launch->lane] = l;
        forget_the_dead(&p, tail, schedule->n_lanes);
    }
    if (plan->bytes == 0)
        plan->bytes = 64;
out:
    free(p.producer);
    free(p.first_use);
    free(p.n_uses);
    free(p.uses);
    free(p.placed);
    if (status != BL_OK) {
        bl_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return BL_OK;
}

void bl_plan_destroy(struct bl_plan *plan)
{
    if (!plan)
        return;
    free(plan->offset);
    free(plan->border);
    free(plan);
}
