/* emit.c: records a planned graph into a list of the device, once per row bucket. The only file of this room that talks to hal. Knows no
 * back end: what a kernel can do is asked by key, grids come from the core. */
#include "base/error.h"
#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct emitter {
    const struct bl_graph *g;
    const struct bl_schedule *s;
    const struct bl_plan *plan;
    const struct bl_emit_target *t;
    uint32_t rows, out_rows;
    bl_list *list;
    uint32_t *node_of_launch; /* list node ids */
};

/* One dispatch being put together. */
struct draft {
    struct bl_kernel_key key;
    bl_binding bindings[2 + 4 * BL_LINEAR_SEGMENTS];
    uint32_t n_bindings;
    union {
        struct bl_params_embed embed;
        struct bl_params_linear linear;
        struct bl_params_stage stage;
        struct bl_params_quantize quantize;
        struct bl_params_norm norm;
        struct bl_params_rope_table rope_table;
        struct bl_params_rope rope;
        struct bl_params_kv_store kv_store;
        struct bl_params_rope_store rope_store;
        struct bl_params_attention attention;
        struct bl_params_unary unary;
        struct bl_params_binary binary;
        struct bl_params_glu glu;
        struct bl_params_select select;
    } push;
    uint32_t push_bytes;
    uint32_t size[3];
};

static void bind(struct draft *d, bl_buffer *buffer, uint64_t offset, uint64_t bytes, bl_access access)
{
    d->bindings[d->n_bindings++] = (bl_binding){buffer, offset, bytes, access};
}

static void bind_none(struct draft *d)
{
    d->bindings[d->n_bindings++] = (bl_binding){NULL, 0, 0, BL_READ};
}

static void bind_value(const struct emitter *e, struct draft *d, uint32_t value, bl_access access)
{
    const struct bl_value *v = &e->g->values[value];
    if (value == e->g->logits)
        bind(d, e->t->logits, 0, e->t->logits_bytes_per_row * e->out_rows, access);
    else
        bind(d, e->t->activations, e->plan->offset[value], bl_value_bytes(v, e->rows, e->out_rows), access);
}

static bl_status bind_weight(const struct emitter *e, struct draft *d, const struct bl_weight *weight, bool as_vector)
{
    if (weight->tensor == BL_NO_ID) {
        bind_none(d);
        return BL_OK;
    }
    bl_binding *binding = &d->bindings[d->n_bindings++];
    BL_TRY(e->t->weight(e->t->user, weight, as_vector, binding));
    binding->access = BL_READ;
    const uint64_t limit = bl_device_caps(e->t->device)->max_binding_bytes;
    if (limit && binding->bytes > limit)
        BL_FAIL(BL_ELIMIT, "%s: a tensor of %llu bytes does not fit the device's largest binding, %llu bytes", e->g->text_name,
                (unsigned long long)binding->bytes, (unsigned long long)limit);
    return BL_OK;
}

static void bind_pages(const struct emitter *e, struct draft *d, uint32_t layer, uint32_t part, bl_access access)
{
    const struct bl_kv_layer *kv = &e->g->kv_layers[layer];
    uint64_t element = e->t->kv_format == BL_FMT_F16 ? 2 : 4;
    uint64_t bytes = (uint64_t)e->t->n_pages * BL_KV_PAGE * kv->heads * (part ? kv->d_v : kv->d_k) * element;
    bind(d, e->t->kv, e->t->kv_offset[2 * layer + part], bytes, access);
}

static uint32_t rows_of(const struct emitter *e, uint32_t value)
{
    return e->g->values[value].rows == BL_ROWS_OF_OUTPUT ? e->out_rows : e->rows;
}

static uint8_t format_of(const struct emitter *e, uint32_t value)
{
    return (uint8_t)e->g->values[value].format;
}

static uint32_t round_up(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b * b;
}

static bl_status draft_node(const struct emitter *e, const struct bl_node *n, struct draft *d)
{
    const struct bl_graph *g = e->g;
    uint8_t out_format = n->out == BL_NO_ID ? BL_FMT_F32 : format_of(e, n->out);
    uint32_t m = n->out == BL_NO_ID ? e->rows : rows_of(e, n->out);
    d->key = (struct bl_kernel_key){0, BL_FMT_NONE, out_format, BL_ROWS_ANY, 0};
    d->size[1] = m;
    for (uint32_t i = 0; i < n->n_in; i++)
        bind_value(e, d, n->in[i], BL_READ);
    switch (n->op) {
    case BL_NODE_QUANTIZE:
        d->key.op = BL_OP_QUANTIZE;
        d->push.quantize = (struct bl_params_quantize){g->values[n->out].columns, g->values[n->out].rows};
        d->push_bytes = sizeof d->push.quantize;
        d->size[0] = round_up(g->values[n->out].columns, BL_Q8_COLUMNS) / BL_Q8_COLUMNS;
        break;
    case BL_NODE_STAGE:
        d->key.op = BL_OP_STAGE;
        BL_TRY(bind_weight(e, d, &n->weight, false));
        d->push.stage = n->params.stage;
        d->push_bytes = sizeof d->push.stage;
        d->size[0] = n->params.stage.blocks;
        break;
    case BL_NODE_RMS_NORM:
    case BL_NODE_LAYER_NORM:
        d->key.op = n->op == BL_NODE_RMS_NORM ? BL_OP_RMS_NORM : BL_OP_LAYER_NORM;
        BL_TRY(bind_weight(e, d, &n->weight, true));
        BL_TRY(bind_weight(e, d, &n->bias, true));
        d->push.norm = n->params.norm;
        d->push_bytes = sizeof d->push.norm;
        d->size[0] = n->params.norm.groups;
        break;
    case BL_NODE_ROPE_TABLE:
        d->key.op = BL_OP_ROPE_TABLE;
        bind(d, e->t->constants, (uint64_t)n->constant * 4, (uint64_t)n->params.rope_table.n_rot * 4, BL_READ);
        d->push.rope_table = n->params.rope_table;
        d->push_bytes = sizeof d->push.rope_table;
        d->size[0] = n->params.rope_table.n_rot / 2;
        break;
    case BL_NODE_ROPE:
        d->key.op = BL_OP_ROPE;
        d->push.rope = n->params.rope;
        d->push_bytes = sizeof d->push.rope;
        d->size[0] = n->params.rope.heads;
        break;
    case BL_NODE_KV_STORE:
        d->key.op = BL_OP_KV_STORE;
        d->key.weight = (uint8_t)e->t->kv_format;
        bind_pages(e, d, n->layer, n->kv_part, BL_WRITE);
        d->push.kv_store = n->params.kv_store;
        d->push.kv_store.n_pages = e->t->n_pages;
        d->push_bytes = sizeof d->push.kv_store;
        d->size[0] = n->params.kv_store.heads;
        break;
    case BL_NODE_ROPE_STORE:
        d->key.op = BL_OP_ROPE_STORE;
        d->key.weight = (uint8_t)e->t->kv_format;
        bind_value(e, d, n->out, BL_WRITE);
        bind_pages(e, d, n->layer, 0, BL_WRITE);
        bind_pages(e, d, n->layer, 1, BL_WRITE);
        d->push.rope_store = n->params.rope_store;
        d->push.rope_store.n_pages = e->t->n_pages;
        d->push_bytes = sizeof d->push.rope_store;
        d->size[0] = n->params.rope_store.n_head + 2 * n->params.rope_store.n_head_kv;
        return BL_OK; /* its value is not the last binding */
    case BL_NODE_ATTENTION:
        d->key.op = BL_OP_ATTENTION;
        d->key.weight = (uint8_t)e->t->kv_format;
        bind_pages(e, d, n->layer, 0, BL_READ);
        bind_pages(e, d, n->layer, 1, BL_READ);
        d->push.attention = n->params.attention;
        d->push.attention.n_pages = e->t->n_pages;
        d->push_bytes = sizeof d->push.attention;
        d->size[0] = n->params.attention.n_head;
        break;
    case BL_NODE_UNARY:
        d->key.op = BL_OP_UNARY;
        d->push.unary = n->params.unary;
        d->push_bytes = sizeof d->push.unary;
        d->size[0] = n->params.unary.columns;
        break;
    case BL_NODE_BINARY:
        d->key.op = BL_OP_BINARY;
        if (n->params.binary.broadcast)
            BL_TRY(bind_weight(e, d, &n->weight, true));
        d->push.binary = n->params.binary;
        d->push_bytes = sizeof d->push.binary;
        d->size[0] = n->params.binary.columns;
        break;
    case BL_NODE_GLU:
        d->key.op = BL_OP_GLU;
        d->push.glu = n->params.glu;
        d->push_bytes = sizeof d->push.glu;
        d->size[0] = n->params.glu.columns;
        break;
    case BL_NODE_SELECT:
        d->key.op = BL_OP_SELECT;
        d->push.select.columns = g->values[n->out].columns;
        d->push_bytes = sizeof d->push.select;
        d->size[0] = g->values[n->out].columns;
        break;
    case BL_NODE_EMBED: /* these have emitters of their own */
    case BL_NODE_LINEAR:
    case BL_NODE_LINEAR_GLU:
    case BL_NODE_IMPORT:
    case BL_NODE_EXPORT:
    case BL_NODE_OP_COUNT:
        BL_FAIL(BL_EINTERNAL, "%s:%u: no emission for op %d", g->text_name, n->line, (int)n->op);
    }
    if (n->out != BL_NO_ID)
        bind_value(e, d, n->out, BL_WRITE);
    return BL_OK;
}

static void label_launch(const struct emitter *e, const struct bl_launch *launch, char *out, size_t out_bytes)
{
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < launch->n_nodes && n < out_bytes; i++) {
        const struct bl_node *node = &e->g->nodes[launch->nodes[i]];
        const char *name = node->out != BL_NO_ID       ? e->g->values[node->out].name
                           : node->op == BL_NODE_EXPORT ? e->g->values[node->in[0]].name
                           : node->kv_part              ? "v"
                                                        : "k";
        int written = snprintf(out + n, out_bytes - n, "%s%s %s", i ? " + " : "", bl_node_op_name(node->op), name ? name : "");
        n += written > 0 ? (size_t)written : 0;
    }
    const struct bl_node *first = &e->g->nodes[launch->nodes[0]];
    if (first->block != BL_NO_ID && n < out_bytes)
        snprintf(out + n, out_bytes - n, " [%u]", first->block);
}

static void begin_draft(const struct emitter *e, struct draft *d)
{
    memset(d, 0, sizeof *d);
    d->size[2] = 1;
    bind(d, e->t->step, 0, e->t->step_bytes, BL_READ);
}

/* Where a launch stands: its lane, what it waits for, its label. */
struct place {
    uint32_t waits[BL_SCHEDULE_LANES * 4];
    char label[96];
    bl_order order;
};

static bl_status place_launch(const struct emitter *e, uint32_t index, struct place *p)
{
    const struct bl_launch *launch = &e->s->launches[index];
    if (launch->n_waits > sizeof p->waits / sizeof p->waits[0])
        BL_FAIL(BL_EINTERNAL, "%s:%u: %u waits", e->g->text_name, e->g->nodes[launch->nodes[0]].line, launch->n_waits);
    for (uint32_t i = 0; i < launch->n_waits; i++)
        p->waits[i] = e->node_of_launch[e->s->waits[launch->first_wait + i]];
    label_launch(e, launch, p->label, sizeof p->label);
    p->order = (bl_order){launch->lane, p->waits, launch->n_waits, p->label};
    return BL_OK;
}

/* Records one dispatch of a launch. Those of one launch are in one lane, so in order; others wait for the last. */
static bl_status record(struct emitter *e, uint32_t index, const struct draft *d)
{
    uint32_t line = e->g->nodes[e->s->launches[index].nodes[0]].line;
    bl_kernel *kernel;
    bl_status status = bl_kernel_get(e->t->device, d->key, &kernel);
    if (status == BL_EUNSUPPORTED) {
        char name[64];
        bl_kernel_key_name(d->key, name, sizeof name);
        BL_FAIL(BL_EUNSUPPORTED, "%s:%u: device %s has no kernel %s", e->g->text_name, line, bl_device_caps(e->t->device)->backend, name);
    }
    BL_TRY(status);
    struct place place;
    BL_TRY(place_launch(e, index, &place));
    bl_dispatch dispatch = {kernel, {d->size[0], d->size[1], d->size[2]}, d->bindings, d->n_bindings, &d->push, d->push_bytes};
    return bl_list_dispatch(e->list, &dispatch, &place.order, &e->node_of_launch[index]);
}

/* How many rows of a matrix one binding holds; matrices beyond it are worked on in pieces. */
static bl_status rows_per_binding(const struct emitter *e, const struct bl_weight *w, uint32_t line, uint32_t *rows)
{
    *rows = w->rows;
    if (w->format == BL_FMT_BX) /* one blob, one binding: bind_weight looks whether it fits */
        return BL_OK;
    const struct bl_format_info *format = &bl_formats[w->format];
    uint64_t limit = bl_device_caps(e->t->device)->max_binding_bytes;
    uint64_t row_bytes = (uint64_t)w->columns / format->block_elements * format->block_bytes, fit = limit / row_bytes;
    if (limit == 0 || fit >= w->rows)
        return BL_OK;
    *rows = (uint32_t)fit / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
    if (*rows == 0)
        BL_FAIL(BL_ELIMIT, "%s:%u: %u rows of %llu bytes do not fit the device's largest binding, %llu bytes", e->g->text_name, line, BL_LINEAR_ALIGN,
                (unsigned long long)row_bytes, (unsigned long long)limit);
    return BL_OK;
}

static bl_status emit_embed(struct emitter *e, uint32_t index)
{
    const struct bl_node *n = &e->g->nodes[e->s->launches[index].nodes[0]];
    uint32_t step;
    BL_TRY(rows_per_binding(e, &n->weight, n->line, &step));
    for (uint32_t first = 0, count; first < n->weight.rows; first += count) {
        count = n->weight.rows - first < step ? n->weight.rows - first : step;
        struct bl_weight piece = n->weight;
        piece.first_row += first;
        piece.rows = count;
        struct draft d;
        begin_draft(e, &d);
        d.key = (struct bl_kernel_key){BL_OP_EMBED, (uint8_t)n->weight.format, BL_FMT_F32, BL_ROWS_ANY, 0};
        BL_TRY(bind_weight(e, &d, &piece, false));
        d.size[0] = n->params.embed.columns;
        if (n->weight.format == BL_FMT_BX) {
            const struct bl_weight tables = {.tensor = n->weight.input, .rows = 1};
            BL_TRY(bind_weight(e, &d, &tables, false));
            d.size[0] = round_up(n->params.embed.columns, BL_Q8_COLUMNS);
        }
        bind_value(e, &d, n->out, BL_WRITE);
        d.push.embed = n->params.embed;
        d.push.embed.first = first;
        d.push.embed.count = count;
        d.push_bytes = sizeof d.push.embed;
        d.size[1] = rows_of(e, n->out);
        BL_TRY(record(e, index, &d));
    }
    return BL_OK;
}

static void begin_linear(const struct emitter *e, const struct bl_node *first, struct draft *d)
{
    uint32_t m = rows_of(e, first->in[0]);
    uint16_t row_class = m == 1 ? BL_ROWS_1 : m <= BL_ROWS_8 ? BL_ROWS_8 : BL_ROWS_512;
    begin_draft(e, d);
    bind_value(e, d, first->in[0], BL_READ);
    d->key = (struct bl_kernel_key){m <= BL_ROWS_8 ? BL_OP_MATVEC : BL_OP_MATMUL, BL_FMT_NONE, format_of(e, first->in[0]), row_class, 0};
    d->push.linear = (struct bl_params_linear){.k = e->g->values[first->in[0]].columns, .rows = e->g->values[first->in[0]].rows};
    d->push_bytes = sizeof d->push.linear;
    d->size[1] = m;
}

/* The same value from its column `first` on, a multiple of BL_Q8_COLUMNS; rows stay as far apart. */
static void bind_columns(const struct emitter *e, struct draft *d, uint32_t value, uint32_t first, bl_access access)
{
    uint64_t skipped = format_of(e, value) == BL_FMT_Q8 ? first / BL_Q8_COLUMNS * sizeof(struct bl_q8_block) : (uint64_t)first * 4;
    bind_value(e, d, value, access);
    d->bindings[d->n_bindings - 1].offset += skipped;
    d->bindings[d->n_bindings - 1].bytes -= skipped;
}

static void add_format(struct draft *d, enum bl_format format)
{
    bool same = d->key.weight == BL_FMT_NONE || d->key.weight == format;
    d->key.weight = (uint8_t)(same ? format : BL_FMT_MIX);
}

/* Outputs first .. first + count of one linear. */
static bl_status add_segment(const struct emitter *e, struct draft *d, const struct bl_node *n, uint32_t first, uint32_t count)
{
    struct bl_weight piece = n->weight, bias = n->bias;
    piece.first_row += first;
    piece.rows = count;
    bias.first_row += first;
    bias.columns = count;
    uint32_t flags = (n->bias.tensor != BL_NO_ID ? BL_LINEAR_BIAS : 0u) | (n->in[1] != BL_NO_ID ? BL_LINEAR_RESIDUAL : 0u);
    d->push.linear.first_row[d->push.linear.n_segments] = n->weight.format == BL_FMT_BX ? piece.first_row : 0;
    d->push.linear.segment[d->push.linear.n_segments].n = count;
    d->push.linear.segment[d->push.linear.n_segments].format = n->weight.format;
    d->push.linear.segment[d->push.linear.n_segments].flags = flags;
    d->push.linear.segment[d->push.linear.n_segments++].stride = n->weight.rows;
    BL_TRY(bind_weight(e, d, &piece, false));
    BL_TRY(bind_weight(e, d, &bias, true));
    if (n->in[1] != BL_NO_ID)
        bind_columns(e, d, n->in[1], first, BL_READ);
    else
        bind_none(d);
    bind_columns(e, d, n->out, first, BL_WRITE);
    d->size[0] += round_up(count, BL_LINEAR_ALIGN);
    add_format(d, n->weight.format);
    return BL_OK;
}

static bl_status emit_linear(struct emitter *e, uint32_t index)
{
    const struct bl_launch *launch = &e->s->launches[index];
    struct draft d;
    begin_linear(e, &e->g->nodes[launch->nodes[0]], &d);
    for (uint32_t i = 0; i < launch->n_nodes; i++) {
        const struct bl_node *n = &e->g->nodes[launch->nodes[i]];
        uint32_t step;
        BL_TRY(rows_per_binding(e, &n->weight, n->line, &step));
        for (uint32_t first = 0, count; first < n->weight.rows; first += count) {
            count = n->weight.rows - first < step ? n->weight.rows - first : step;
            if (d.push.linear.n_segments == BL_LINEAR_SEGMENTS) {
                BL_TRY(record(e, index, &d));
                begin_linear(e, n, &d);
            }
            BL_TRY(add_segment(e, &d, n, first, count));
        }
    }
    return record(e, index, &d);
}

/* Gate and up side by side; in pieces of as many rows as one binding holds of both. */
static bl_status emit_linear_glu(struct emitter *e, uint32_t index)
{
    const struct bl_node *n = &e->g->nodes[e->s->launches[index].nodes[0]];
    const struct bl_weight *sides[2] = {&n->weight, &n->up};
    uint32_t step, up_step;
    BL_TRY(rows_per_binding(e, sides[0], n->line, &step));
    BL_TRY(rows_per_binding(e, sides[1], n->line, &up_step));
    step = step < up_step ? step : up_step;
    for (uint32_t first = 0, count; first < n->weight.rows; first += count) {
        count = n->weight.rows - first < step ? n->weight.rows - first : step;
        struct draft d;
        begin_linear(e, n, &d);
        d.push.linear.n_segments = 2;
        d.push.linear.glu = BL_LINEAR_GLU | n->params.glu.kind | (format_of(e, n->out) == BL_FMT_Q8 ? BL_LINEAR_GLU_Q8 : 0u);
        d.push.linear.segment[0].stride = n->weight.rows;
        for (uint32_t s = 0; s < 2; s++) {
            struct bl_weight piece = *sides[s];
            piece.first_row += first;
            piece.rows = count;
            d.push.linear.first_row[s] = piece.format == BL_FMT_BX ? piece.first_row : 0;
            d.push.linear.segment[s].n = count;
            d.push.linear.segment[s].format = piece.format;
            BL_TRY(bind_weight(e, &d, &piece, false));
            bind_none(&d);
            bind_none(&d);
            if (s == 0)
                bind_columns(e, &d, n->out, first, BL_WRITE);
            else
                bind_none(&d);
            add_format(&d, piece.format);
        }
        d.size[0] = round_up(count, BL_LINEAR_ALIGN);
        BL_TRY(record(e, index, &d));
    }
    return BL_OK;
}

/* A value that crosses the border of a part. */
static bl_status emit_border(struct emitter *e, uint32_t index)
{
    const struct bl_node *n = &e->g->nodes[e->s->launches[index].nodes[0]];
    bool import = n->op == BL_NODE_IMPORT;
    uint32_t v = import ? n->out : n->in[0];
    uint64_t bytes = bl_value_bytes(&e->g->values[v], e->rows, e->out_rows), inside = e->plan->offset[v], outside = e->plan->border[v];
    struct place place;
    BL_TRY(place_launch(e, index, &place));
    if (import)
        return bl_list_copy(e->list, e->t->activations, inside, e->t->imports, outside, bytes, &place.order, &e->node_of_launch[index]);
    return bl_list_copy(e->list, e->t->exports, outside, e->t->activations, inside, bytes, &place.order, &e->node_of_launch[index]);
}

static bl_status emit_launch(struct emitter *e, uint32_t index)
{
    const struct bl_node *first = &e->g->nodes[e->s->launches[index].nodes[0]];
    if (first->op == BL_NODE_LINEAR)
        return emit_linear(e, index);
    if (first->op == BL_NODE_LINEAR_GLU)
        return emit_linear_glu(e, index);
    if (first->op == BL_NODE_EMBED)
        return emit_embed(e, index);
    if (first->op == BL_NODE_IMPORT || first->op == BL_NODE_EXPORT)
        return emit_border(e, index);
    struct draft d;
    begin_draft(e, &d);
    BL_TRY(draft_node(e, first, &d));
    return record(e, index, &d);
}

bl_status bl_emit_list(const struct bl_graph *graph, const struct bl_schedule *schedule, const struct bl_plan *plan,
                       const struct bl_emit_target *target, uint32_t rows, uint32_t out_rows, bl_list **out)
{
    *out = NULL;
    struct emitter e = {graph, schedule, plan, target, rows, out_rows, NULL, calloc(schedule->n_launches, sizeof(uint32_t))};
    if (!e.node_of_launch)
        BL_FAIL(BL_ENOMEM, "%s: no memory to record %u launches", graph->text_name, schedule->n_launches);
    bl_status status = bl_list_begin(target->device, 0, &e.list);
    for (uint32_t i = 0; status == BL_OK && i < schedule->n_launches; i++)
        status = emit_launch(&e, i);
    if (status == BL_OK)
        status = bl_list_end(e.list);
    free(e.node_of_launch);
    if (status != BL_OK) {
        bl_list_destroy(e.list);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = e.list;
    return BL_OK;
}
