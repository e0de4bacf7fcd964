/* weights.c: binding tensors to device memory. Knows the file and hal; knows no op. */
#include "model/weights.h"

#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* Copies are runs of neighbours in the file, in few large buffers: drivers allow only some thousand, and none without limit. */
#define RUN_BYTES (UINT64_C(512) << 20)
#define GAP_BYTES (UINT64_C(1) << 20) /* copied along rather than beginning a new run */

struct run {
    bl_buffer *buffer;
    uint64_t offset, bytes;        /* in the file */
};
struct bl_weights {
    const struct bl_model_file *file;
    struct run *runs;              /* the whole file, imported; or copies of the tensors that are used */
    uint32_t n_runs;
    uint32_t *run_of_tensor;       /* [n_tensors]; BL_NO_ID: not on this device */
    bl_buffer *vectors;            /* f32 copies; NULL when none was needed */
    uint64_t *vector_offset;       /* [n_tensors] into `vectors`; UINT64_MAX: read in place */
    uint64_t vector_bytes, copied_bytes;
};

static bool convertible(const struct bl_tensor *t)
{
    return t->format == BL_FMT_F16 || t->format == BL_FMT_BF16;
}

static bl_status want_vector(struct bl_weights *w, const struct bl_weight *weight)
{
    if (weight->tensor == BL_NO_ID || w->vector_offset[weight->tensor] != UINT64_MAX)
        return BL_OK;
    const struct bl_tensor *t = bl_model_file_tensor_at(w->file, weight->tensor);
    if (t->format == BL_FMT_F32)
        return BL_OK;
    if (!convertible(t))
        BL_FAIL(BL_EUNSUPPORTED, "%s: tensor '%s': type %s is not supported for a vector", bl_model_file_path(w->file), t->name,
                t->format ? bl_formats[t->format].name : "unknown");
    w->vector_offset[weight->tensor] = w->vector_bytes;
    w->vector_bytes += (t->rows * t->dims[0] * 4 + 63) & ~UINT64_C(63);
    return BL_OK;
}

/* The vectors of a node, as emission will ask for them. */
static bl_status want_node(struct bl_weights *w, const struct bl_node *n)
{
    BL_TRY(want_vector(w, &n->bias));
    if (n->op != BL_NODE_LINEAR && n->op != BL_NODE_LINEAR_GLU && n->op != BL_NODE_EMBED && n->op != BL_NODE_STAGE)
        BL_TRY(want_vector(w, &n->weight));
    return BL_OK;
}

static bl_status create_vectors(struct bl_weights *w, bl_device *device)
{
    bl_buffer_params params = {.bytes = w->vector_bytes, .kind = BL_MEM_UPLOAD, .label = "vectors"};
    BL_TRY(bl_buffer_create(device, &params, &w->vectors));
    for (uint32_t i = 0; i < bl_model_file_tensor_count(w->file); i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(w->file, i);
        if (w->vector_offset[i] != UINT64_MAX)
            BL_TRY(bl_model_file_numbers(w->file, t, 0, t->rows * t->dims[0], (float *)((uint8_t *)bl_buffer_host(w->vectors) + w->vector_offset[i])));
    }
    return bl_buffer_sync(w->vectors, 0, w->vector_bytes, true);
}

/* ---- matrices, and vectors that are read in place ---- */

static void use_tensor(const struct bl_weight *weight, bool *used)
{
    if (weight->tensor != BL_NO_ID)
        used[weight->tensor] = true;
    if (weight->tensor != BL_NO_ID && weight->format == BL_FMT_BX)
        used[weight->input] = true;
}

/* Which tensors the nodes read; freed by the caller. NULL: no memory. */
static bool *used_tensors(const struct bl_model_file *file, const struct bl_graph *g, uint32_t first, uint32_t end)
{
    bool *used = calloc((size_t)bl_model_file_tensor_count(file) + 1, 1);
    for (uint32_t i = first; used && i < end; i++) {
        use_tensor(&g->nodes[i].weight, used);
        use_tensor(&g->nodes[i].bias, used);
        use_tensor(&g->nodes[i].up, used);
    }
    return used;
}

static bool imports(bl_device *device)
{
    return (bl_device_caps(device)->memory_kinds & 1u << BL_MEM_IMPORT_HOST) != 0;
}

static bl_status import_file(struct bl_weights *w, bl_device *device)
{
    bl_buffer_params params = {.bytes = bl_model_file_bytes(w->file), .kind = BL_MEM_IMPORT_HOST, .host_memory = bl_model_file_data(w->file),
                               .label = "weights"};
    BL_TRY(bl_buffer_create(device, &params, &w->runs[0].buffer));
    w->runs[0].bytes = params.bytes;
    w->n_runs = 1;
    memset(w->run_of_tensor, 0, bl_model_file_tensor_count(w->file) * sizeof *w->run_of_tensor);
    return BL_OK;
}

/* Only the tensors that are used, and what little lies between them. */
static void find_runs(struct bl_weights *w, const bool *used)
{
    struct run *run = NULL;
    for (uint32_t i = 0; i < bl_model_file_tensor_count(w->file); i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(w->file, i);
        if (!used[i] || w->vector_offset[i] != UINT64_MAX)
            continue;
        uint64_t end = run ? run->offset + run->bytes : 0;
        if (!run || t->offset < end || t->offset - end > GAP_BYTES || t->offset + t->bytes - run->offset > RUN_BYTES) {
            run = &w->runs[w->n_runs++];
            run->offset = t->offset;
        }
        run->bytes = t->offset + t->bytes - run->offset;
        w->run_of_tensor[i] = w->n_runs - 1;
    }
}

static bl_status copy_runs(struct bl_weights *w, bl_device *device)
{
    for (uint32_t r = 0; r < w->n_runs; r++) {
        struct run *run = &w->runs[r];
        bl_buffer_params params = {.bytes = run->bytes, .kind = BL_MEM_DEVICE, .label = "weights"};
        BL_TRY(bl_buffer_create(device, &params, &run->buffer));
        BL_TRY(bl_buffer_write(run->buffer, 0, (const uint8_t *)bl_model_file_data(w->file) + run->offset, run->bytes));
        w->copied_bytes += run->bytes;
    }
    return BL_OK;
}

static bl_status create_data(struct bl_weights *w, bl_device *device, const struct bl_graph *graph)
{
    if (imports(device)) {
        bl_status status = import_file(w, device);
        if (status == BL_OK || status == BL_EDEVLOST)
            return status;
        bl_log(BL_LOG_INFO, "%s: %s cannot read the file in place and gets a copy: %s", bl_model_file_path(w->file), bl_device_caps(device)->name, bl_error_text());
    }
    bool *used = used_tensors(w->file, graph, 0, graph->n_nodes);
    if (!used)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a list of tensors", bl_model_file_path(w->file));
    find_runs(w, used);
    free(used);
    return copy_runs(w, device);
}

uint64_t bl_weights_needed(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, uint32_t first, uint32_t end)
{
    bool *used = imports(device) ? NULL : used_tensors(file, graph, first, end);
    uint64_t bytes = 0;
    for (uint32_t i = 0; used && i < bl_model_file_tensor_count(file); i++)
        if (used[i])
            bytes += bl_model_file_tensor_at(file, i)->bytes;
    free(used);
    return bytes;
}

bl_status bl_weights_create(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, struct bl_weights **out)
{
    *out = NULL;
    uint32_t n = bl_model_file_tensor_count(file);
    struct bl_weights *w = calloc(1, sizeof *w);
    bl_status status = BL_OK;
    if (w) {
        w->vector_offset = malloc((n ? n : 1) * sizeof *w->vector_offset);
        w->run_of_tensor = malloc((n ? n : 1) * sizeof *w->run_of_tensor);
        w->runs = calloc((size_t)n + 1, sizeof *w->runs); /* at most one for each tensor */
    }
    if (!w || !w->vector_offset || !w->run_of_tensor || !w->runs) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %u tensors", bl_model_file_path(file), n);
        goto out;
    }
    w->file = file;
    memset(w->vector_offset, 0xff, n * sizeof *w->vector_offset);
    memset(w->run_of_tensor, 0xff, n * sizeof *w->run_of_tensor);
    for (uint32_t i = 0; status == BL_OK && i < graph->n_nodes; i++)
        status = want_node(w, &graph->nodes[i]);
    if (status == BL_OK)
        status = create_data(w, device, graph);
    if (status == BL_OK && w->vector_bytes)
        status = create_vectors(w, device);
out:
    if (status != BL_OK) {
        bl_weights_destroy(w);
        return status;
    }
    *out = w;
    return BL_OK;
}

void bl_weights_destroy(struct bl_weights *w)
{
    if (!w)
        return;
    for (uint32_t r = 0; r < w->n_runs; r++)
        bl_buffer_destroy(w->runs[r].buffer);
    bl_buffer_destroy(w->vectors);
    free(w->vector_offset);
    free(w->run_of_tensor);
    free(w->runs);
    free(w);
}

bl_status bl_weights_bind(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out)
{
    const struct bl_weights *w = user;
    const struct bl_tensor *t = bl_model_file_tensor_at(w->file, weight->tensor);
    const struct run *run = w->run_of_tensor[weight->tensor] == BL_NO_ID ? NULL : &w->runs[w->run_of_tensor[weight->tensor]];
    if (as_vector) { /* a slice of a vector is a range of its columns; first_row counts them */
        bool copy = w->vector_offset[weight->tensor] != UINT64_MAX;
        uint64_t start = copy ? w->vector_offset[weight->tensor] : t->offset - run->offset;
        *out = (bl_binding){copy ? w->vectors : run->buffer, start + (uint64_t)weight->first_row * 4, (uint64_t)weight->columns * weight->rows * 4, BL_READ};
        return BL_OK;
    }
    if (weight->format == BL_FMT_BX) {
        *out = (bl_binding){run->buffer, t->offset - run->offset, t->bytes, BL_READ};
        return BL_OK;
    }
    uint64_t row_bytes = t->bytes / t->rows;
    *out = (bl_binding){run->buffer, t->offset - run->offset + weight->first_row * row_bytes, weight->rows * row_bytes, BL_READ};
    return BL_OK;
}

uint64_t bl_weights_copied_bytes(const struct bl_weights *w)
{
    return w->vector_bytes + w->copied_bytes;
}
