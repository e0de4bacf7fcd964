/* dump.c: a graph and its schedule as text, DOT, JSON or statistics. Reads only; knows no device. */
#include "base/error.h"
#include "base/print.h"
#include "graph/graph.h"

#include <string.h>

struct printer {
    const struct bl_graph *g;
    const struct bl_schedule *s;
    const struct bl_graph_source *source;
    struct bl_printer out;
};

static void print_quoted(const struct printer *p, const char *text)
{
    bl_print_quoted(&p->out, text, strlen(text), UINT64_MAX);
}

static const char *value_name(const struct bl_graph *g, uint32_t value)
{
    return g->values[value].name ? g->values[value].name : "";
}

static void print_value(const struct printer *p, uint32_t value)
{
    bl_print(&p->out, "%%%u", value);
    if (*value_name(p->g, value))
        bl_print(&p->out, ":%s", value_name(p->g, value));
}

static void print_weight(const struct printer *p, const struct bl_weight *w)
{
    bl_print(&p->out, ", %s", p->source->tensor_name(p->source->user, w->tensor));
    if (w->first_row)
        bl_print(&p->out, "[%u:]", w->first_row);
}

static void print_node(const struct printer *p, const struct bl_node *n)
{
    const struct bl_graph *g = p->g;
    if (n->out != BL_NO_ID) {
        print_value(p, n->out);
        bl_print(&p->out, " [%s, %u] %s = ", g->values[n->out].rows == BL_ROWS_OF_OUTPUT ? "out" : "rows", g->values[n->out].columns,
              bl_formats[g->values[n->out].format].name);
    } else {
        bl_print(&p->out, "%s cache %u = ", n->kv_part ? "v" : "k", n->layer);
    }
    bl_print(&p->out, "%s(", bl_node_op_name(n->op));
    const char *separator = "";
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (n->in[i] == BL_NO_ID)
            continue;
        bl_print(&p->out, "%s%s", separator, n->op == BL_NODE_LINEAR && i == 1 ? "+ " : "");
        print_value(p, n->in[i]);
        separator = ", ";
    }
    if (n->weight.tensor != BL_NO_ID)
        print_weight(p, &n->weight);
    if (n->up.tensor != BL_NO_ID)
        print_weight(p, &n->up);
    if (n->bias.tensor != BL_NO_ID)
        print_weight(p, &n->bias);
    if (n->op == BL_NODE_ATTENTION && n->params.attention.window)
        bl_print(&p->out, ", window=%u", n->params.attention.window);
    bl_print(&p->out, ")");
}

static void dump_text(const struct printer *p)
{
    for (uint32_t i = 0; i < p->g->n_params; i++) {
        const struct bl_graph_param *param = &p->g->params[i];
        if (param->is_text)
            bl_print(&p->out, "param %s = \"%s\"\n", param->name, param->text);
        else
            bl_print(&p->out, "param %s = %.10g\n", param->name, param->number);
    }
    bl_print(&p->out, "schedule %s: %u launches on %u lanes, %u steps\n", bl_schedule_name(p->s->kind), p->s->n_launches, p->s->n_lanes, p->s->n_steps);
    for (uint32_t l = 0; l < p->s->n_launches; l++) {
        const struct bl_launch *launch = &p->s->launches[l];
        for (uint32_t k = 0; k < launch->n_nodes; k++) {
            if (k == 0)
                bl_print(&p->out, "%5u step %4u lane %u  ", l, launch->step, launch->lane);
            else
                bl_print(&p->out, "%*s", 26, "+ ");
            print_node(p, &p->g->nodes[launch->nodes[k]]);
            for (uint32_t w = 0; k + 1 == launch->n_nodes && w < launch->n_waits; w++)
                bl_print(&p->out, "%s%u", w ? " " : "   after ", p->s->waits[launch->first_wait + w]);
            bl_print(&p->out, "\n");
        }
    }
}

static void dump_dot(const struct printer *p)
{
    bl_print(&p->out, "digraph bitloom {\n  rankdir=TB; node [shape=box, fontname=\"monospace\"];\n");
    for (uint32_t l = 0; l < p->s->n_launches; l++) {
        const struct bl_launch *launch = &p->s->launches[l];
        bl_print(&p->out, "  n%u [label=\"", l);
        for (uint32_t k = 0; k < launch->n_nodes; k++) {
            const struct bl_node *n = &p->g->nodes[launch->nodes[k]];
            bl_print(&p->out, "%s%s %s", k ? "\\n" : "", bl_node_op_name(n->op), n->out == BL_NO_ID ? (n->kv_part ? "v" : "k") : value_name(p->g, n->out));
        }
        bl_print(&p->out, "\\nlane %u, step %u\"];\n", launch->lane, launch->step);
        for (uint32_t d = 0; d < launch->n_deps; d++)
            bl_print(&p->out, "  n%u -> n%u;\n", p->s->deps[launch->first_dep + d], l);
    }
    bl_print(&p->out, "}\n");
}

static void dump_json(const struct printer *p)
{
    bl_print(&p->out, "{\"params\": {");
    for (uint32_t i = 0; i < p->g->n_params; i++) {
        bl_print(&p->out, "%s", i ? ", " : "");
        print_quoted(p, p->g->params[i].name);
        bl_print(&p->out, ": ");
        if (p->g->params[i].is_text)
            print_quoted(p, p->g->params[i].text);
        else
            bl_print(&p->out, "%.17g", p->g->params[i].number);
    }
    bl_print(&p->out, "}, \"schedule\": \"%s\", \"lanes\": %u, \"steps\": %u, \"launches\": [", bl_schedule_name(p->s->kind), p->s->n_lanes, p->s->n_steps);
    for (uint32_t l = 0; l < p->s->n_launches; l++) {
        const struct bl_launch *launch = &p->s->launches[l];
        bl_print(&p->out, "%s\n  {\"id\": %u, \"lane\": %u, \"step\": %u, \"waits\": [", l ? "," : "", l, launch->lane, launch->step);
        for (uint32_t w = 0; w < launch->n_waits; w++)
            bl_print(&p->out, "%s%u", w ? ", " : "", p->s->waits[launch->first_wait + w]);
        bl_print(&p->out, "], \"nodes\": [");
        for (uint32_t k = 0; k < launch->n_nodes; k++) {
            const struct bl_node *n = &p->g->nodes[launch->nodes[k]];
            bl_print(&p->out, "%s{\"op\": \"%s\", \"line\": %u", k ? ", " : "", bl_node_op_name(n->op), n->line);
            if (n->block != BL_NO_ID)
                bl_print(&p->out, ", \"block\": %u", n->block);
            bl_print(&p->out, ", \"in\": [");
            const char *separator = "";
            for (uint32_t i = 0; i < n->n_in; i++) {
                if (n->in[i] == BL_NO_ID)
                    continue;
                bl_print(&p->out, "%s%u", separator, n->in[i]);
                separator = ", ";
            }
            bl_print(&p->out, "]");
            if (n->weight.tensor != BL_NO_ID) {
                bl_print(&p->out, ", \"weight\": ");
                print_quoted(p, p->source->tensor_name(p->source->user, n->weight.tensor));
            }
            if (n->up.tensor != BL_NO_ID) {
                bl_print(&p->out, ", \"up\": ");
                print_quoted(p, p->source->tensor_name(p->source->user, n->up.tensor));
            }
            if (n->out != BL_NO_ID)
                bl_print(&p->out, ", \"out\": %u, \"columns\": %u, \"format\": \"%s\"", n->out, p->g->values[n->out].columns,
                      bl_formats[p->g->values[n->out].format].name);
            bl_print(&p->out, "}");
        }
        bl_print(&p->out, "]}");
    }
    bl_print(&p->out, "\n]}\n");
}

/* The same graph under every schedule: what grouping and lanes save, for one token and for one attention block. */
static bl_status dump_schedules(const struct bl_graph *g, enum bl_schedule_kind chosen, const struct bl_printer *out)
{
    bl_print(out, "%-16s %9s %6s %7s %6s   attention block of layer 0\n", "schedule", "launches", "lanes", "steps", "idle");
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        struct bl_schedule *s;
        BL_TRY(bl_schedule_create(g, (enum bl_schedule_kind)k, &s));
        uint32_t launches, steps;
        bl_schedule_block_steps(g, s, 0, &launches, &steps);
        bl_print(out, "%-16s %9u %6u %7u %4.0f %%   %u launches, %u steps%s\n", bl_schedule_name(s->kind), s->n_launches, s->n_lanes, s->n_steps,
                 100 * bl_schedule_idle(g, s), launches, steps, s->kind == chosen ? "   (chosen)" : "");
        bl_schedule_destroy(s);
    }
    return BL_OK;
}

bl_status bl_graph_dump_schedules(const struct bl_graph *graph, enum bl_schedule_kind chosen, bl_text_fn write, void *user)
{
    const struct bl_printer out = {write, user};
    return dump_schedules(graph, chosen, &out);
}

static bl_status dump_stats(const struct printer *p)
{
    bl_print(&p->out, "graph %s: %u nodes, %u values, %u KV layers\n", p->g->text_name, p->g->n_nodes, p->g->n_values, p->g->n_kv_layers);
    BL_TRY(dump_schedules(p->g, p->s->kind, &p->out));
    uint32_t count[BL_NODE_OP_COUNT] = {0};
    for (uint32_t i = 0; i < p->g->n_nodes; i++)
        count[p->g->nodes[i].op]++;
    for (int op = 0; op < BL_NODE_OP_COUNT; op++)
        if (count[op])
            bl_print(&p->out, "%-12s %5u\n", bl_node_op_name((enum bl_node_op)op), count[op]);
    for (uint32_t rows = 1; rows <= BL_STEP_MAX_ROWS; rows *= 8) {
        struct bl_plan *plan;
        BL_TRY(bl_plan_create(p->g, p->s, rows, 1, 64, &plan));
        uint64_t sum = 0;
        for (uint32_t v = 0; v < p->g->n_values; v++)
            if (plan->offset[v] != UINT64_MAX)
                sum += bl_value_bytes(&p->g->values[v], rows, 1);
        bl_print(&p->out, "activations of %3u rows: %llu bytes planned, %llu if nothing were shared\n", rows, (unsigned long long)plan->bytes, (unsigned long long)sum);
        bl_plan_destroy(plan);
    }
    return BL_OK;
}

bl_status bl_graph_dump(const struct bl_graph *graph, const struct bl_schedule *schedule, const struct bl_graph_source *source,
                        enum bl_dump_kind kind, bl_text_fn write, void *user)
{
    struct printer p = {graph, schedule, source, {write, user}};
    switch (kind) {
    case BL_DUMP_TEXT: dump_text(&p); break;
    case BL_DUMP_DOT: dump_dot(&p); break;
    case BL_DUMP_JSON: dump_json(&p); break;
    case BL_DUMP_STATS: return dump_stats(&p);
    }
    return BL_OK;
}
