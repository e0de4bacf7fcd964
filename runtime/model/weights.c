/* weights.c: binding tensors to device memory. Knows the file and hal; knows no op. */
#include "model/weights.h"

#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

struct bl_weights {
    const struct bl_model_file *file;
    bl_buffer *data;               /* the whole file */
    bl_buffer *vectors;            /* f32 copies; NULL when none was needed */
    uint64_t *vector_offset;       /* [n_tensors] into `vectors`; UINT64_MAX: read in place */
    uint64_t vector_bytes;
    bool copied;                   /* the device could not import: `data` is a copy */
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
    if (n->op != BL_NODE_LINEAR && n->op != BL_NODE_EMBED)
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

static bl_status create_data(struct bl_weights *w, bl_device *device)
{
    uint64_t bytes = bl_model_file_bytes(w->file);
    bl_buffer_params params = {.bytes = bytes, .kind = BL_MEM_IMPORT_HOST, .host_memory = bl_model_file_data(w->file), .label = "weights"};
    const bl_caps *caps = bl_device_caps(device);
    if (caps->memory_kinds & 1u << BL_MEM_IMPORT_HOST) {
        if (bl_buffer_create(device, &params, &w->data) == BL_OK)
            return BL_OK;
        bl_log(BL_LOG_INFO, "%s: %s cannot read the file in place and gets a copy: %s", bl_model_file_path(w->file), caps->name, bl_error_text());
    }
    params = (bl_buffer_params){.bytes = bytes, .kind = BL_MEM_DEVICE, .label = "weights"};
    BL_TRY(bl_buffer_create(device, &params, &w->data));
    w->copied = true;
    return bl_buffer_write(w->data, 0, bl_model_file_data(w->file), bytes);
}

bl_status bl_weights_create(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, struct bl_weights **out)
{
    *out = NULL;
    uint32_t n = bl_model_file_tensor_count(file);
    struct bl_weights *w = calloc(1, sizeof *w);
    bl_status status = BL_OK;
    if (w)
        w->vector_offset = malloc((n ? n : 1) * sizeof *w->vector_offset);
    if (!w || !w->vector_offset) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %u tensors", bl_model_file_path(file), n);
        goto out;
    }
    w->file = file;
    memset(w->vector_offset, 0xff, n * sizeof *w->vector_offset);
    for (uint32_t i = 0; status == BL_OK && i < graph->n_nodes; i++)
        status = want_node(w, &graph->nodes[i]);
    if (status == BL_OK)
        status = create_data(w, device);
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
    bl_buffer_destroy(w->data);
    bl_buffer_destroy(w->vectors);
    free(w->vector_offset);
    free(w);
}

bl_status bl_weights_bind(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out)
{
    const struct bl_weights *w = user;
    const struct bl_tensor *t = bl_model_file_tensor_at(w->file, weight->tensor);
    if (as_vector) { /* a slice of a vector is a range of its columns; first_row counts them */
        bool copy = w->vector_offset[weight->tensor] != UINT64_MAX;
        uint64_t start = copy ? w->vector_offset[weight->tensor] : t->offset;
        *out = (bl_binding){copy ? w->vectors : w->data, start + (uint64_t)weight->first_row * 4, (uint64_t)weight->columns * weight->rows * 4, BL_READ};
        return BL_OK;
    }
    uint64_t row_bytes = t->bytes / t->rows;
    *out = (bl_binding){w->data, t->offset + weight->first_row * row_bytes, weight->rows * row_bytes, BL_READ};
    return BL_OK;
}

uint64_t bl_weights_copied_bytes(const struct bl_weights *w)
{
    return w->vector_bytes + (w->copied ? bl_model_file_bytes(w->file) : 0);
}
