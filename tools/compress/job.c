/* job.c: from a model file to the list of what can be compressed. */
#include "compress/job.h"

#include "base/error.h"
#include "compress/sort.h"
#include "cpu_fallback/ops.h"

#include <stdlib.h>
#include <string.h>

static bool is_compressible(const struct xq_job *job, const struct bl_node *n, const struct bl_tensor **out)
{
    if (n->op != BL_NODE_LINEAR && (n->op != BL_NODE_EMBED || n->params.embed.source))
        return false;
    const struct bl_tensor *t = bl_model_file_tensor_at(job->file, n->weight.tensor);
    *out = t;
    return t->n_dims == 2 && t->dims[0] >= 32 && t->dims[0] < UINT16_MAX && t->rows >= 32 && t->format != BL_FMT_NONE && t->format != BL_FMT_BX;
}

uint32_t xq_matrix_of(const struct xq_job *job, uint32_t tensor)
{
    for (uint32_t i = 0; i < job->n_matrices; i++)
        if (job->matrices[i].tensor == tensor)
            return i;
    return BL_NO_ID;
}

static uint32_t find_input(struct xq_job *job, uint32_t value, uint32_t columns)
{
    for (uint32_t i = 0; value != BL_NO_ID && i < job->n_inputs; i++)
        if (job->inputs[i].value == value)
            return i;
    job->inputs[job->n_inputs] = (struct xq_input){.value = value, .columns = columns};
    return job->n_inputs++;
}

/* A tensor that is read twice (slices of one matrix; embedding and head) has the input of its first linear. */
static bl_status find_all(struct xq_job *job)
{
    const struct bl_graph *g = job->graph;
    job->inputs = bl_arena_alloc(&job->arena, g->n_nodes, sizeof *job->inputs);
    job->matrices = bl_arena_alloc(&job->arena, g->n_nodes, sizeof *job->matrices);
    if (!job->inputs || !job->matrices)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a list of matrices", bl_model_file_path(job->file));
    for (uint32_t pass = 0; pass < 2; pass++) { /* linears, then embeddings */
        for (uint32_t i = 0; i < g->n_nodes; i++) {
            const struct bl_node *n = &g->nodes[i];
            const struct bl_tensor *t;
            if ((n->op == BL_NODE_LINEAR) != (pass == 0) || !is_compressible(job, n, &t))
                continue;
            const uint32_t known = xq_matrix_of(job, n->weight.tensor);
            const bool is_table = n->op == BL_NODE_EMBED || n->out == g->logits;
            if (known != BL_NO_ID) {
                job->matrices[known].is_table |= is_table;
                continue;
            }
            const uint32_t input = find_input(job, pass == 0 ? n->in[0] : BL_NO_ID, (uint32_t)t->dims[0]);
            job->inputs[input].n_matrices++;
            job->matrices[job->n_matrices++] = (struct xq_matrix){
                .tensor = n->weight.tensor, .name = t->name, .rows = (uint32_t)t->rows, .columns = (uint32_t)t->dims[0], .input = input, .is_table = is_table, .group = 1};
        }
    }
    for (uint32_t i = 0; !job->n_matrices && i < bl_model_file_tensor_count(job->file); i++)
        if (bl_model_file_tensor_at(job->file, i)->format == BL_FMT_BX)
            BL_FAIL(BL_EUNSUPPORTED, "%s: its weights are X-bit already: compress the file that it was made from", bl_model_file_path(job->file));
    if (!job->n_matrices)
        BL_FAIL(BL_EUNSUPPORTED, "%s: no tensor that could be compressed", bl_model_file_path(job->file));
    return BL_OK;
}

/* The rows of a matrix that makes queries or keys, of one head each; nothing but rotations, norms and biases may lie between. */
static void find_groups(struct xq_job *job)
{
    const struct bl_graph *g = job->graph;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct bl_node *n = &g->nodes[i];
        if (n->op != BL_NODE_ATTENTION && (n->op != BL_NODE_KV_STORE || n->kv_part))
            continue;
        const uint32_t rows = n->op == BL_NODE_ATTENTION ? n->params.attention.d_k : g->kv_layers[n->layer].d_k;
        uint32_t at = g->values[n->in[0]].producer;
        while (g->nodes[at].op == BL_NODE_ROPE || g->nodes[at].op == BL_NODE_RMS_NORM || g->nodes[at].op == BL_NODE_LAYER_NORM || g->nodes[at].op == BL_NODE_BINARY)
            at = g->values[g->nodes[at].in[0]].producer;
        const uint32_t m = g->nodes[at].op == BL_NODE_LINEAR ? xq_matrix_of(job, g->nodes[at].weight.tensor) : BL_NO_ID;
        if (m != BL_NO_ID && job->matrices[m].rows % rows == 0 && g->nodes[at].weight.first_row % rows == 0)
            job->matrices[m].group = rows;
    }
}

bl_status xq_job_open(struct xq_job *job, const char *path)
{
    *job = (struct xq_job){0};
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &job->file));
    bl_arena_init(&job->arena, 0);
    struct bl_graph_text text;
    BL_TRY(bl_graph_source_make(job->file, &job->arena, &job->source));
    BL_TRY(bl_graph_text_find(job->file, &job->source, NULL, &text));
    BL_TRY(bl_graph_parse(text.text, text.bytes, text.name, &job->source, false, &job->graph));
    BL_TRY(find_all(job));
    find_groups(job);
    xq_sort_find(job);
    return BL_OK;
}

void xq_job_close(struct xq_job *job)
{
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        free(job->inputs[i].h);
        free(job->inputs[i].place_of);
    }
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        free(job->matrices[i].row_worth);
        free(job->matrices[i].coupling);
        free(job->matrices[i].row_of);
    }
    bl_graph_destroy(job->graph);
    bl_arena_finish(&job->arena);
    bl_model_file_close(job->file);
}

void xq_matrix_rows(const struct xq_job *job, const struct xq_matrix *matrix, uint32_t first, uint32_t n, float *out)
{
    const struct bl_tensor *t = bl_model_file_tensor_at(job->file, matrix->tensor);
    const uint64_t row_bytes = t->bytes / t->rows;
    for (uint32_t i = 0; i < n; i++)
        bl_cpu_dequantize_row(t->format, bl_model_file_data(job->file) + t->offset + (matrix->row_of ? matrix->row_of[first + i] : first + i) * row_bytes,
                              out + (size_t)i * matrix->columns, matrix->columns);
}
