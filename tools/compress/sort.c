/* sort.c: which matrices make an input column by column, and the common order of their rows. */
#include "compress/sort.h"

#include "base/error.h"
#include "compress/rank.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 2 }; /* matrices that make one value: gate and up */

static bool is_read_once(const struct bl_graph *g, uint32_t value)
{
    uint32_t readers = value == g->logits;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            readers += g->nodes[i].in[k] == value;
    return readers == 1;
}

static struct xq_matrix *matrix_of(const struct xq_job *job, uint32_t tensor)
{
    const uint32_t i = xq_matrix_of(job, tensor);
    return i == BL_NO_ID ? NULL : &job->matrices[i];
}

static uint32_t readers_of_tensor(const struct bl_graph *g, uint32_t tensor)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i].weight.tensor == tensor;
    return n;
}

/* The matrix whose rows are the columns of a value, behind functions of one number. */
static struct xq_matrix *maker_of(const struct xq_job *job, uint32_t value)
{
    const struct bl_graph *g = job->graph;
    const struct bl_node *n = &g->nodes[g->values[value].producer];
    while (n->op == BL_NODE_UNARY && is_read_once(g, value)) {
        value = n->in[0];
        n = &g->nodes[g->values[value].producer];
    }
    if (n->op != BL_NODE_LINEAR || (n->n_in > 1 && n->in[1] != BL_NO_ID) || n->bias.tensor != BL_NO_ID || !is_read_once(g, value))
        return NULL;
    struct xq_matrix *m = matrix_of(job, n->weight.tensor);
    return m && !m->is_table && m->group == 1 && n->weight.rows == m->rows && readers_of_tensor(g, m->tensor) == 1 ? m : NULL;
}

/* Returns how many matrices make the input, 0 where it cannot be sorted. */
static uint32_t makers_of(const struct xq_job *job, uint32_t input, struct xq_matrix *makers[MOST])
{
    const struct bl_graph *g = job->graph;
    const uint32_t value = job->inputs[input].value;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++) {
            const struct xq_matrix *m = g->nodes[i].in[k] == value && g->nodes[i].op == BL_NODE_LINEAR && k == 0 ? matrix_of(job, g->nodes[i].weight.tensor) : NULL;
            if (g->nodes[i].in[k] == value && (!m || m->input != input))
                return 0;
        }
    }
    if (value == BL_NO_ID || value == g->logits)
        return 0;
    const struct bl_node *n = &g->nodes[g->values[value].producer];
    if (n->op == BL_NODE_UNARY) {
        makers[0] = maker_of(job, n->in[0]);
        return makers[0] ? 1 : 0;
    }
    if (n->op != BL_NODE_BINARY || n->params.binary.broadcast || n->in[0] == n->in[1])
        return 0;
    makers[0] = maker_of(job, n->in[0]);
    makers[1] = maker_of(job, n->in[1]);
    return makers[0] && makers[1] && makers[0] != makers[1] ? 2 : 0;
}

void xq_sort_find(struct xq_job *job)
{
    struct xq_matrix *makers[MOST];
    for (uint32_t i = 0; i < job->n_inputs; i++)
        for (uint32_t n = makers_of(job, i, makers); n-- > 0;)
            makers[n]->is_sorted = true;
}

static bl_status sort_makers(struct xq_input *input, struct xq_matrix *const makers[MOST], uint32_t n)
{
    const uint32_t rows = input->columns;
    struct xq_ranked *ranked = calloc(rows, sizeof *ranked);
    bool ok = ranked != NULL;
    for (uint32_t r = 0; r < rows && ok; r++)
        ranked[r].index = r;
    for (uint32_t k = 0; k < n && ok; k++) {
        double sum = 0;
        for (uint32_t r = 0; r < rows; r++)
            sum += (double)makers[k]->row_worth[r];
        for (uint32_t r = 0; r < rows && sum > 0; r++)
            ranked[r].worth += (double)makers[k]->row_worth[r] / sum;
    }
    if (ok)
        xq_rank(ranked, rows);
    for (uint32_t k = 0; k < n && ok; k++) {
        float *worth = malloc(rows * sizeof *worth);
        makers[k]->row_of = malloc(rows * sizeof *makers[k]->row_of);
        ok = worth && makers[k]->row_of;
        for (uint32_t r = 0; r < rows && ok; r++) {
            makers[k]->row_of[r] = ranked[r].index;
            worth[r] = makers[k]->row_worth[ranked[r].index];
        }
        if (ok)
            memcpy(makers[k]->row_worth, worth, rows * sizeof *worth);
        free(worth);
    }
    input->place_of = ok ? malloc(rows * sizeof *input->place_of) : NULL;
    for (uint32_t r = 0; r < rows && input->place_of; r++)
        input->place_of[ranked[r].index] = r;
    free(ranked);
    if (!input->place_of)
        BL_FAIL(BL_ENOMEM, "no memory to sort %u rows", rows);
    return BL_OK;
}

bl_status xq_sort(struct xq_job *job)
{
    struct xq_matrix *makers[MOST];
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        const uint32_t n = makers_of(job, i, makers);
        if (n)
            BL_TRY(sort_makers(&job->inputs[i], makers, n));
    }
    return BL_OK;
}
