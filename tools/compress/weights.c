/* weights.c: dequantising, with a cache. X-bit rows come from the kernel that fetches embeddings: their definition stays in one place. */
#include "compress/weights.h"

#include "base/error.h"
#include "compress/parallel.h"
#include "cpu_fallback/ops.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 32 /* rows that one turn dequantises */, SCRATCH = 32768 /* bytes that a kernel may ask for while it does */ };

struct xq_weights {
    struct bl_model_file *file;
    uint32_t n_tensors;               /* of the job's file */
    const struct bl_tensor **tensor;  /* [n_tensors] in `file`; NULL: no node reads it */
    float **kept;                     /* [n_tensors]; NULL: not kept */
    uint64_t bytes;
    struct bl_cpu_kernel embed_bx;
};

static void dequantize_bx(const struct xq_weights *w, const struct bl_tensor *t, uint32_t first, uint32_t n, float *out)
{
    const uint8_t *data = bl_model_file_data(w->file);
    const void *tables = data + bl_model_file_tensor_at(w->file, t->input)->offset;
    const uint32_t columns = (uint32_t)t->dims[0], padded = (columns + 31) / 32 * 32;
    const struct bl_params_embed push = {columns, (uint32_t)t->rows, 0, 0, (uint32_t)t->rows};
    uint32_t step[BL_STEP_TOKEN + PIECE] = {[BL_STEP_N_ROWS] = n};
    for (uint32_t i = 0; i < n; i++)
        step[(uint32_t)BL_STEP_TOKEN + i] = first + i;
    void *const bindings[] = {step, (void *)(uintptr_t)(data + t->offset), (void *)(uintptr_t)tables, out};
    struct bl_cpu_call call = {.bindings = bindings, .push = &push};
    call.grid[0] = (padded + w->embed_bx.tile[0] - 1) / w->embed_bx.tile[0];
    call.grid[1] = (n + w->embed_bx.tile[1] - 1) / w->embed_bx.tile[1];
    call.grid[2] = 1;
    _Alignas(64) uint8_t scratch[SCRATCH];
    w->embed_bx.fn(&call, 0, call.grid[0] * call.grid[1], scratch);
}

/* At most PIECE rows, numbered in the whole tensor. */
static void dequantize(const struct xq_weights *w, const struct bl_tensor *t, uint32_t first, uint32_t n, float *out)
{
    const uint64_t row_bytes = t->bytes / t->rows;
    if (t->format == BL_FMT_BX) {
        dequantize_bx(w, t, first, n, out);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        bl_cpu_dequantize_row(t->format, bl_model_file_data(w->file) + t->offset + (first + i) * row_bytes, out + (size_t)i * t->dims[0], (uint32_t)t->dims[0]);
}

struct rows {
    const struct xq_weights *weights;
    const struct bl_tensor *tensor;
    uint32_t first, n;
    float *out;
};

static void rows_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct rows *r = user;
    const uint32_t at = i * PIECE, n = r->n - at < PIECE ? r->n - at : PIECE;
    dequantize(r->weights, r->tensor, r->first + at, n, r->out + (size_t)at * r->tensor->dims[0]);
}

static void all_rows(const struct xq_weights *w, const struct bl_tensor *t, uint32_t first, uint32_t n, uint32_t threads, float *out)
{
    struct rows r = {w, t, first, n, out};
    xq_parallel(threads, (n + PIECE - 1) / PIECE, rows_turn, &r);
}

/* The tensor of the other file that stands for one of the job's. */
static bl_status find(struct xq_weights *w, const struct xq_job *job, uint32_t id)
{
    if (id == BL_NO_ID || w->tensor[id])
        return BL_OK;
    const struct bl_tensor *own = bl_model_file_tensor_at(job->file, id), *t = bl_model_file_tensor(w->file, own->name);
    if (!t || t->dims[0] != own->dims[0] || t->rows != own->rows)
        BL_FAIL(BL_EFORMAT, "%s: tensor '%s' is %s: this is no version of %s", bl_model_file_path(w->file), own->name, t ? "of another shape" : "missing",
                bl_model_file_path(job->file));
    if (t->format == BL_FMT_NONE)
        BL_FAIL(BL_EUNSUPPORTED, "%s: tensor '%s': a type that is not computed with", bl_model_file_path(w->file), t->name);
    w->tensor[id] = t;
    return BL_OK;
}

static bl_status keep_vector(struct xq_weights *w, uint32_t id)
{
    if (id == BL_NO_ID || w->kept[id])
        return BL_OK;
    const struct bl_tensor *t = w->tensor[id];
    const uint64_t n = t->rows * t->dims[0];
    w->kept[id] = malloc((size_t)n * sizeof(float));
    if (!w->kept[id])
        BL_FAIL(BL_ENOMEM, "%s: tensor '%s': no memory for %llu numbers", bl_model_file_path(w->file), t->name, (unsigned long long)n);
    w->bytes += n * sizeof(float);
    return bl_model_file_numbers(w->file, t, 0, n, w->kept[id]);
}

static bl_status keep_matrix(struct xq_weights *w, uint32_t id, uint64_t cache, uint32_t threads)
{
    const struct bl_tensor *t = w->tensor[id];
    const uint64_t bytes = t->rows * t->dims[0] * sizeof(float);
    if (w->kept[id] || bytes > cache || w->bytes > cache - bytes)
        return BL_OK;
    w->kept[id] = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
    if (!w->kept[id])
        BL_FAIL(BL_ENOMEM, "%s: tensor '%s': no memory for %llu bytes", bl_model_file_path(w->file), t->name, (unsigned long long)bytes);
    w->bytes += bytes;
    all_rows(w, t, 0, (uint32_t)t->rows, threads, w->kept[id]);
    return BL_OK;
}

static bool reads_matrix(const struct bl_node *n)
{
    return n->op == BL_NODE_LINEAR || n->op == BL_NODE_EMBED;
}

static bl_status open_all(struct xq_weights *w, const struct xq_job *job, uint64_t cache, uint32_t threads)
{
    const struct bl_params_embed push = {0}; /* the scratch of this op is the same for all */
    if (!bl_cpu_kernel_find((struct bl_kernel_key){BL_OP_EMBED, BL_FMT_BX, BL_FMT_F32, BL_ROWS_ANY, 0}, bl_cpu_levels_present(), &w->embed_bx) ||
        (w->embed_bx.scratch_bytes && w->embed_bx.scratch_bytes(&push) > SCRATCH))
        BL_FAIL(BL_EUNSUPPORTED, "no kernel reads X-bit rows");
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *n = &job->graph->nodes[i];
        BL_TRY(find(w, job, n->weight.tensor));
        BL_TRY(find(w, job, n->bias.tensor));
        BL_TRY(keep_vector(w, n->bias.tensor));
        if (!reads_matrix(n))
            BL_TRY(keep_vector(w, n->weight.tensor));
    }
    for (uint32_t i = 0; i < job->graph->n_nodes; i++)
        if (reads_matrix(&job->graph->nodes[i]))
            BL_TRY(keep_matrix(w, job->graph->nodes[i].weight.tensor, cache, threads));
    return bl_model_file_check(w->file);
}

bl_status xq_weights_open(const struct xq_job *job, struct bl_model_file *file, uint64_t cache, uint32_t threads, struct xq_weights **out)
{
    *out = NULL;
    const uint32_t n = bl_model_file_tensor_count(job->file);
    struct xq_weights *w = calloc(1, sizeof *w);
    if (w) {
        w->file = file ? file : job->file;
        w->n_tensors = n;
        w->tensor = calloc((size_t)n + 1, sizeof *w->tensor);
        w->kept = calloc((size_t)n + 1, sizeof *w->kept);
    }
    bl_status status = w && w->tensor && w->kept ? open_all(w, job, cache, threads)
                                                 : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %u tensors", bl_model_file_path(job->file), n);
    if (status != BL_OK)
        xq_weights_close(w);
    else
        *out = w;
    return status;
}

void xq_weights_close(struct xq_weights *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; w->kept && i < w->n_tensors; i++)
        free(w->kept[i]);
    free(w->kept);
    free(w->tensor);
    free(w);
}

const float *xq_weights_vector(const struct xq_weights *w, const struct bl_weight *weight)
{
    return w->kept[weight->tensor] + weight->first_row; /* a slice of a vector counts its columns */
}

const float *xq_weights_rows(const struct xq_weights *w, const struct bl_weight *weight, uint32_t first, uint32_t n, uint32_t threads, float *room)
{
    first += weight->first_row;
    if (w->kept[weight->tensor])
        return w->kept[weight->tensor] + (size_t)first * weight->columns;
    all_rows(w, w->tensor[weight->tensor], first, n, threads, room);
    return room;
}

void xq_weights_row(const struct xq_weights *w, const struct bl_weight *weight, uint32_t row, float *out)
{
    row += weight->first_row;
    if (w->kept[weight->tensor])
        memcpy(out, w->kept[weight->tensor] + (size_t)row * weight->columns, weight->columns * sizeof *out);
    else
        dequantize(w, w->tensor[weight->tensor], row, 1, out);
}

uint64_t xq_weights_bytes(const struct xq_weights *w)
{
    return w->bytes;
}
