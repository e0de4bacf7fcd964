/* network.c: the order of a pass: what is computed when, what is kept, what is thrown away. Knows no op (network_ops.c). */
#include "compress/network_parts.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

uint32_t xq_node_inputs(const struct xq_network *n, const struct bl_node *node, uint32_t in[BL_NODE_MAX_IN])
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < node->n_in; k++)
        if (node->in[k] != BL_NO_ID)
            in[count++] = node->in[k];
    if (node->op == BL_NODE_ATTENTION) {
        in[count++] = n->kv[node->layer][0];
        in[count++] = n->kv[node->layer][1];
    }
    return count;
}

/* ---- opening ---- */

static bl_status check_ops(const struct xq_job *job)
{
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *node = &job->graph->nodes[i];
        if (!xq_network_op(node))
            BL_FAIL(BL_EUNSUPPORTED, "%s: line %u: the compressor cannot learn through the op '%s'", job->graph->text_name, node->line, bl_node_op_name(node->op));
    }
    if (job->graph->logits == BL_NO_ID)
        BL_FAIL(BL_EUNSUPPORTED, "%s: a graph without logits", job->graph->text_name);
    return BL_OK;
}

static void find_units(struct xq_network *n, uint32_t *unit_of_node)
{
    const struct bl_graph *g = n->graph;
    n->n_units = bl_graph_units(g, unit_of_node);
    for (uint32_t i = 0, unit = 0; i <= g->n_nodes; i++)
        while (unit <= (i < g->n_nodes ? unit_of_node[i] : n->n_units))
            n->first_node[unit++] = i;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == BL_NODE_KV_STORE)
            n->kv[g->nodes[i].layer][g->nodes[i].kv_part] = g->nodes[i].in[0];
    uint32_t in[BL_NODE_MAX_IN];
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = xq_node_inputs(n, &g->nodes[i], in); k-- > 0;) {
            if (unit_of_node[i] > unit_of_node[g->values[in[k]].producer])
                n->state[in[k]] |= XQ_VALUE_CROSSES;
            n->last_unit[in[k]] = unit_of_node[i];
        }
    }
}

/* What the backward pass will need, and what of it is kept: where computing it again would be costly, while there is room. Returns what is left. */
static uint64_t plan_values(struct xq_network *n, const uint32_t *unit_of_node, bool gains, uint64_t keep)
{
    const struct bl_graph *g = n->graph;
    uint32_t in[BL_NODE_MAX_IN];
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = xq_node_inputs(n, &g->nodes[i], in); k-- > 0;)
            if (xq_network_op(&g->nodes[i])->reads >> k & 1)
                n->state[in[k]] |= XQ_VALUE_NEEDED;
    for (uint32_t i = 0; i < g->n_nodes && gains; i++)
        if (g->nodes[i].op == BL_NODE_RMS_NORM || g->nodes[i].op == BL_NODE_LAYER_NORM || (g->nodes[i].op == BL_NODE_LINEAR && g->nodes[i].out != g->logits))
            n->state[g->nodes[i].out] |= XQ_VALUE_NEEDED;
    for (uint32_t i = g->n_nodes; i-- > 0;) {
        const uint32_t v = g->nodes[i].out;
        if (v == BL_NO_ID || !(n->state[v] & XQ_VALUE_NEEDED) || n->state[v] & XQ_VALUE_CROSSES)
            continue;
        const uint64_t bytes = unit_of_node[i] + 1 == n->n_units ? 0 : (uint64_t)xq_columns(n, v) * XQ_WINDOW * sizeof(float); /* the last unit's are still there */
        if ((xq_network_op(&g->nodes[i])->is_costly || !bytes) && bytes <= keep) {
            n->state[v] |= XQ_VALUE_KEPT;
            keep -= bytes;
            continue;
        }
        for (uint32_t k = xq_node_inputs(n, &g->nodes[i], in); k-- > 0;)
            n->state[in[k]] |= XQ_VALUE_NEEDED;
    }
    return keep;
}

static bl_status no_memory(const struct xq_network *n, const char *what)
{
    BL_FAIL(BL_ENOMEM, "%s: no memory for %s", n->graph->text_name, what);
}

static void *aligned(uint64_t bytes)
{
    return aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
}

static void scratch_sizes(const struct bl_graph *g, size_t *partial, size_t *room)
{
    *partial = *room = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *node = &g->nodes[i];
        const size_t heads = node->op == BL_NODE_ATTENTION ? xq_attention_partial(&node->params.attention, XQ_WINDOW) : 0;
        const size_t rows = node->op == BL_NODE_LINEAR ? (size_t)xq_matrix_chunk(node->weight.columns) * node->weight.columns : 0;
        *partial = heads > *partial ? heads : *partial;
        *room = rows > *room ? rows : *room;
    }
}

uint64_t xq_network_least_bytes(const struct xq_job *job, uint32_t threads, bool backward)
{
    const struct bl_graph *g = job->graph;
    uint64_t unit = 0, widest = 0, out = 0; /* columns: of one unit, of the largest; what units hand on, one value each */
    size_t partial, room;
    scratch_sizes(g, &partial, &room);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const bool border = !i || g->nodes[i].block != g->nodes[i - 1].block;
        const uint64_t columns = g->nodes[i].out == BL_NO_ID ? 0 : g->values[g->nodes[i].out].columns;
        unit = (border ? 0 : unit) + columns * (backward && g->nodes[i].out != g->logits ? 2 : 1); /* the gradient at the logits takes their place */
        widest = unit > widest ? unit : widest;
        out += border ? columns : 0;
    }
    return (XQ_WINDOW * (widest + out) + partial + room + threads * xq_attention_scratch(XQ_WINDOW)) * sizeof(float);
}

static bl_status make_scratch(struct xq_network *n)
{
    size_t partial, room;
    scratch_sizes(n->graph, &partial, &room);
    n->scratch_floats = xq_attention_scratch(XQ_WINDOW);
    n->fixed_bytes = (partial + room + n->threads * n->scratch_floats) * sizeof(float);
    n->scratch = aligned(n->threads * n->scratch_floats * sizeof(float));
    n->partial = aligned(partial * sizeof(float));
    n->weight_room = aligned(room * sizeof(float));
    return n->scratch && n->partial && n->weight_room ? BL_OK : no_memory(n, "scratch");
}

static bl_status open_all(struct xq_network *n, const struct xq_job *job, const struct xq_network_options *options)
{
    const struct bl_graph *g = n->graph;
    const size_t values = (size_t)g->n_values + 1;
    n->value = calloc(values, sizeof *n->value);
    n->gradient = calloc(values, sizeof *n->gradient);
    n->kv = calloc((size_t)g->n_kv_layers + 1, sizeof *n->kv);
    n->last_unit = calloc(values, sizeof *n->last_unit);
    n->state = calloc(values, 1);
    n->first_node = calloc((size_t)g->n_nodes + 2, sizeof *n->first_node);
    n->n_tensors = bl_model_file_tensor_count(job->file);
    n->gain = calloc((size_t)n->n_tensors + 1, sizeof *n->gain);
    uint32_t *unit_of_node = calloc((size_t)g->n_nodes + 1, sizeof *unit_of_node);
    uint64_t cache = options->memory;
    const bool have = n->value && n->gradient && n->kv && n->last_unit && n->state && n->first_node && n->gain && unit_of_node;
    if (have) {
        find_units(n, unit_of_node);
        if (options->backward)
            cache = plan_values(n, unit_of_node, options->gains, options->memory);
    }
    free(unit_of_node);
    if (!have)
        return no_memory(n, "lists");
    BL_TRY(make_scratch(n));
    return xq_weights_open(job, options->file, cache, n->threads, &n->weights);
}

bl_status xq_network_open(const struct xq_job *job, const struct xq_blas *blas, const struct xq_network_options *options, struct xq_network **out)
{
    *out = NULL;
    BL_TRY(check_ops(job));
    struct xq_network *n = calloc(1, sizeof *n);
    if (!n)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a network", job->graph->text_name);
    n->blas = blas;
    n->graph = job->graph;
    n->threads = options->threads ? options->threads : 1;
    const bl_status status = open_all(n, job, options);
    if (status != BL_OK)
        xq_network_close(n);
    else
        *out = n;
    return status;
}

/* ---- values ---- */

static bl_status take(struct xq_network *n, float **where, uint32_t value)
{
    if (*where)
        return BL_OK;
    const uint64_t bytes = (uint64_t)n->rows * xq_columns(n, value) * sizeof(float);
    for (uint32_t i = n->n_spare; i-- > 0;) {
        if (n->spare[i].bytes == bytes) {
            *where = n->spare[i].data;
            n->spare[i] = n->spare[--n->n_spare];
            return BL_OK;
        }
    }
    *where = aligned(bytes);
    if (!*where)
        return no_memory(n, "a value");
    n->bytes += bytes;
    return BL_OK;
}

/* The memory serves the next value of its size: fresh pages cost more than the sums of a small op. */
static void drop(struct xq_network *n, float **where, uint32_t value)
{
    const uint64_t bytes = (uint64_t)n->rows * xq_columns(n, value) * sizeof(float);
    if (*where && n->n_spare < XQ_SPARE) {
        n->spare[n->n_spare++] = (struct xq_spare){*where, bytes};
    } else if (*where) {
        n->bytes -= bytes;
        free(*where);
    }
    *where = NULL;
}

static void drop_all(struct xq_network *n)
{
    for (uint32_t v = 0; v < n->graph->n_values; v++) {
        drop(n, &n->value[v], v);
        drop(n, &n->gradient[v], v);
    }
}

void xq_network_close(struct xq_network *n)
{
    if (!n)
        return;
    if (n->value && n->gradient)
        drop_all(n);
    for (uint32_t i = 0; i < n->n_spare; i++)
        free(n->spare[i].data);
    for (uint32_t i = 0; n->gain && i < n->n_tensors; i++)
        free(n->gain[i]);
    free(n->gain);
    free(n->value);
    free(n->gradient);
    free(n->kv);
    free(n->last_unit);
    free(n->state);
    free(n->first_node);
    free(n->scratch);
    free(n->partial);
    free(n->weight_room);
    xq_weights_close(n->weights);
    free(n);
}

/* ---- passes ---- */

static bl_status check_window(const struct xq_network *n, const int32_t *tokens, uint32_t rows)
{
    if (!rows || rows > XQ_WINDOW)
        BL_FAIL(BL_EINVAL, "a window of %u tokens, limit 1 to %u", rows, XQ_WINDOW);
    for (uint32_t i = 0; i < n->graph->n_nodes; i++) {
        const struct bl_node *node = &n->graph->nodes[i];
        if (node->op != BL_NODE_EMBED)
            continue;
        if (node->params.embed.source && rows > node->weight.rows)
            BL_FAIL(BL_EINVAL, "%s: a window of %u tokens, the model has %u positions", n->graph->text_name, rows, node->weight.rows);
        for (uint32_t r = 0; r < rows && !node->params.embed.source; r++)
            if (tokens[r] < 0 || (uint32_t)tokens[r] >= node->weight.rows)
                BL_FAIL(BL_EINVAL, "%s: token %d, the model has %u", n->graph->text_name, tokens[r], node->weight.rows);
    }
    return BL_OK;
}

static bl_status make(struct xq_network *n, const struct bl_node *node)
{
    if (node->out == BL_NO_ID)
        return BL_OK;
    BL_TRY(take(n, &n->value[node->out], node->out));
    xq_network_op(node)->forward(n, node);
    return BL_OK;
}

/* After a unit: what no later one reads and no backward pass needs. */
static void release(struct xq_network *n, uint32_t unit, bool keep)
{
    for (uint32_t i = 0; i < n->first_node[unit + 1]; i++) {
        const uint32_t v = n->graph->nodes[i].out;
        if (v == BL_NO_ID || v == n->graph->logits || n->last_unit[v] > unit)
            continue;
        if (!keep || !(n->state[v] & (XQ_VALUE_CROSSES | XQ_VALUE_KEPT)))
            drop(n, &n->value[v], v);
    }
}

bl_status xq_network_forward(struct xq_network *n, const int32_t *tokens, uint32_t rows, bool keep, const struct xq_network_hooks *hooks)
{
    drop_all(n); /* of the last window, which may have been shorter */
    BL_TRY(check_window(n, tokens, rows));
    n->tokens = tokens;
    n->rows = rows;
    for (uint32_t u = 0; u < n->n_units; u++) {
        for (uint32_t i = n->first_node[u]; i < n->first_node[u + 1]; i++) {
            const struct bl_node *node = &n->graph->nodes[i];
            BL_TRY(make(n, node));
            if (hooks && hooks->made && node->out != BL_NO_ID)
                hooks->made(hooks->user, node->out, n->value[node->out], rows);
        }
        release(n, u, keep);
    }
    return BL_OK;
}

float *xq_network_logits(struct xq_network *n)
{
    return n->value[n->graph->logits];
}

uint32_t xq_network_vocabulary(const struct xq_network *n)
{
    return xq_columns(n, n->graph->logits);
}

const float *xq_network_value(const struct xq_network *n, uint32_t value)
{
    return n->value[value];
}

bl_status xq_network_gain(struct xq_network *n, uint32_t tensor, uint32_t count, float **out)
{
    float *gain = n->gain[tensor];
    if (!gain && !(gain = malloc((count + 1u) * sizeof *gain)))
        return no_memory(n, "gains");
    for (uint32_t i = 0; !n->gain[tensor] && i < count; i++)
        gain[i] = 1;
    *out = n->gain[tensor] = gain;
    return BL_OK;
}

static bl_status back(struct xq_network *n, uint32_t i, const struct xq_network_hooks *hooks)
{
    const struct bl_node *node = &n->graph->nodes[i];
    if (node->out == BL_NO_ID)
        return BL_OK;
    if (n->gradient[node->out]) {
        if (hooks && hooks->graded)
            hooks->graded(hooks->user, i, n->gradient[node->out], n->rows);
        uint32_t in[BL_NODE_MAX_IN];
        for (uint32_t k = xq_node_inputs(n, node, in); k-- > 0;) {
            if (!(xq_network_op(node)->gradients >> k & 1) || n->gradient[in[k]])
                continue;
            BL_TRY(take(n, &n->gradient[in[k]], in[k]));
            memset(n->gradient[in[k]], 0, (size_t)n->rows * xq_columns(n, in[k]) * sizeof(float));
        }
        xq_network_op(node)->backward(n, node);
    }
    drop(n, &n->gradient[node->out], node->out);
    drop(n, &n->value[node->out], node->out);
    return BL_OK;
}

bl_status xq_network_backward(struct xq_network *n, const struct xq_network_hooks *hooks)
{
    n->gradient[n->graph->logits] = n->value[n->graph->logits];
    n->value[n->graph->logits] = NULL;
    for (uint32_t u = n->n_units; u-- > 0;) {
        for (uint32_t i = n->first_node[u]; i < n->first_node[u + 1]; i++) {
            const uint32_t v = n->graph->nodes[i].out;
            if (v != BL_NO_ID && n->state[v] & XQ_VALUE_NEEDED && !n->value[v])
                BL_TRY(make(n, &n->graph->nodes[i]));
        }
        for (uint32_t i = n->first_node[u + 1]; i-- > n->first_node[u];)
            BL_TRY(back(n, i, hooks));
    }
    return BL_OK;
}

void xq_network_bytes(const struct xq_network *n, uint64_t *weights, uint64_t *values)
{
    *weights = xq_weights_bytes(n->weights);
    *values = n->fixed_bytes + n->bytes;
}
