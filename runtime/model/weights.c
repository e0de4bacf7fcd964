/* weights.c: binding tensors to device memory. Knows the file and hal; knows no op. */
#include "model/weights.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* Copies go into few large buffers: drivers allow only some thousand, and none without limit. */
#define CHUNK_BYTES (UINT64_C(512) << 20)
#define STAGING_BYTES (UINT64_C(32) << 20) /* at most */
#define TENSOR_ALIGN UINT64_C(256)

struct place {
    uint32_t chunk; /* BL_NO_ID: not on this device */
    uint64_t offset;
};
struct bl_weights {
    const struct bl_model_file *file;
    bl_buffer **chunks;            /* the whole file, imported; or copies of the tensors that are used */
    uint32_t n_chunks;
    struct place *places;          /* [n_tensors] */
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

/* ---- matrices, and vectors that are read in place ---- */

static void use_tensor(const struct bl_weight *weight, bool *used)
{
    if (weight->tensor != BL_NO_ID)
        used[weight->tensor] = true;
}

/* Which tensors the nodes read; freed by the caller. NULL: no memory. */
static bool *used_tensors(const struct bl_model_file *file, const struct bl_graph *g, uint32_t first, uint32_t end)
{
    bool *used = calloc((size_t)bl_model_file_tensor_count(file) + 1, 1);
    for (uint32_t i = first; used && i < end; i++) {
        use_tensor(&g->nodes[i].weight, used);
        use_tensor(&g->nodes[i].bias, used);
    }
    return used;
}

static bool imports(bl_device *device)
{
    return (bl_device_caps(device)->memory_kinds & 1u << BL_MEM_IMPORT_HOST) != 0;
}

static bl_status import_file(struct bl_weights *w, bl_device *device)
{
    for (uint32_t i = 0; i < bl_model_file_tensor_count(w->file); i++)
        w->places[i] = (struct place){0, bl_model_file_tensor_at(w->file, i)->offset};
    bl_buffer_params params = {.bytes = bl_model_file_bytes(w->file), .kind = BL_MEM_IMPORT_HOST, .host_memory = bl_model_file_data(w->file),
                               .label = "weights"};
    w->n_chunks = 1;
    return bl_buffer_create(device, &params, &w->chunks[0]);
}

/* To memory that the host cannot address, piece by piece. */
static bl_status upload(bl_device *device, bl_queue *queue, bl_buffer *staging, bl_buffer *to, uint64_t to_offset, const uint8_t *from, uint64_t bytes)
{
    for (uint64_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < bl_buffer_bytes(staging) ? bytes - at : bl_buffer_bytes(staging);
        memcpy(bl_buffer_host(staging), from + at, (size_t)n);
        BL_TRY(bl_buffer_sync(staging, 0, n, true));
        bl_list *list;
        uint64_t value = 0;
        BL_TRY(bl_list_begin(device, 0, &list));
        bl_status status = bl_list_copy(list, to, to_offset + at, staging, 0, n, NULL, NULL);
        if (status == BL_OK)
            status = bl_list_end(list);
        if (status == BL_OK)
            status = bl_queue_submit(queue, list, NULL, 0, &value);
        if (status == BL_OK)
            status = bl_queue_wait(queue, value, BL_WAIT_FOREVER);
        bl_list_destroy(list);
        BL_TRY(status);
    }
    return BL_OK;
}

static bl_status fill_chunks(const struct bl_weights *w, bl_device *device, bl_queue *queue, bl_buffer *staging)
{
    for (uint32_t i = 0; i < bl_model_file_tensor_count(w->file); i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(w->file, i);
        if (w->places[i].chunk == BL_NO_ID)
            continue;
        bl_buffer *chunk = w->chunks[w->places[i].chunk];
        const uint8_t *from = (const uint8_t *)bl_model_file_data(w->file) + t->offset;
        if (staging)
            BL_TRY(upload(device, queue, staging, chunk, w->places[i].offset, from, t->bytes));
        else
            memcpy((uint8_t *)bl_buffer_host(chunk) + w->places[i].offset, from, (size_t)t->bytes);
    }
    for (uint32_t c = 0; !staging && c < w->n_chunks; c++)
        BL_TRY(bl_buffer_sync(w->chunks[c], 0, bl_buffer_bytes(w->chunks[c]), true));
    return BL_OK;
}

static bl_status copy_through_staging(const struct bl_weights *w, bl_device *device)
{
    bl_queue *queue = NULL;
    bl_buffer *staging = NULL;
    bl_buffer_params params = {.bytes = 1, .kind = BL_MEM_UPLOAD, .label = "staging"};
    for (uint32_t i = 0; i < bl_model_file_tensor_count(w->file); i++) {
        uint64_t bytes = bl_model_file_tensor_at(w->file, i)->bytes;
        if (w->places[i].chunk != BL_NO_ID && bytes > params.bytes)
            params.bytes = bytes < STAGING_BYTES ? bytes : STAGING_BYTES;
    }
    bl_status status = bl_queue_create(device, BL_QUEUE_COMPUTE, &queue);
    if (status == BL_OK)
        status = bl_buffer_create(device, &params, &staging);
    if (status == BL_OK)
        status = fill_chunks(w, device, queue, staging);
    bl_buffer_destroy(staging);
    bl_queue_destroy(queue);
    return status;
}

/* Only the tensors that are used, in the order of the file. */
static bl_status copy_tensors(struct bl_weights *w, bl_device *device, const bool *used)
{
    bool host = bl_device_caps(device)->unified;
    uint64_t bytes = 0;
    for (uint32_t i = 0, n = bl_model_file_tensor_count(w->file); i <= n; i++) {
        const struct bl_tensor *t = i < n ? bl_model_file_tensor_at(w->file, i) : NULL;
        bool wanted = t && used[i] && w->vector_offset[i] == UINT64_MAX;
        if (bytes && (!t || (wanted && bytes + t->bytes > CHUNK_BYTES))) {
            bl_buffer_params params = {.bytes = bytes, .kind = host ? BL_MEM_UPLOAD : BL_MEM_DEVICE, .label = "weights"};
            BL_TRY(bl_buffer_create(device, &params, &w->chunks[w->n_chunks]));
            w->n_chunks++;
            w->copied_bytes += bytes;
            bytes = 0;
        }
        if (wanted) {
            w->places[i] = (struct place){w->n_chunks, bytes};
            bytes += (t->bytes + TENSOR_ALIGN - 1) & ~(TENSOR_ALIGN - 1);
        }
    }
    return host ? fill_chunks(w, device, NULL, NULL) : copy_through_staging(w, device);
}

static bl_status create_data(struct bl_weights *w, bl_device *device, const struct bl_graph *graph)
{
    if (imports(device))
        return import_file(w, device);
    bool *used = used_tensors(w->file, graph, 0, graph->n_nodes);
    if (!used)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a list of tensors", bl_model_file_path(w->file));
    bl_status status = copy_tensors(w, device, used);
    free(used);
    return status;
}

uint64_t bl_weights_needed(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, uint32_t first, uint32_t end)
{
    bool *used = imports(device) ? NULL : used_tensors(file, graph, first, end);
    uint64_t bytes = 0;
    for (uint32_t i = 0; used && i < bl_model_file_tensor_count(file); i++)
        if (used[i])
            bytes += (bl_model_file_tensor_at(file, i)->bytes + TENSOR_ALIGN - 1) & ~(TENSOR_ALIGN - 1);
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
        w->places = malloc((n ? n : 1) * sizeof *w->places);
        w->chunks = calloc((size_t)n + 1, sizeof(bl_buffer *)); /* at most one for each tensor */
    }
    if (!w || !w->vector_offset || !w->places || !w->chunks) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %u tensors", bl_model_file_path(file), n);
        goto out;
    }
    w->file = file;
    memset(w->vector_offset, 0xff, n * sizeof *w->vector_offset);
    memset(w->places, 0xff, n * sizeof *w->places);
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
    for (uint32_t c = 0; w->chunks && c < w->n_chunks; c++)
        bl_buffer_destroy(w->chunks[c]);
    bl_buffer_destroy(w->vectors);
    free(w->vector_offset);
    free(w->places);
    free(w->chunks);
    free(w);
}

bl_status bl_weights_bind(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out)
{
    const struct bl_weights *w = user;
    const struct bl_tensor *t = bl_model_file_tensor_at(w->file, weight->tensor);
    const struct place *place = &w->places[weight->tensor];
    if (as_vector) { /* a slice of a vector is a range of its columns; first_row counts them */
        bool copy = w->vector_offset[weight->tensor] != UINT64_MAX;
        uint64_t start = copy ? w->vector_offset[weight->tensor] : place->offset;
        *out = (bl_binding){copy ? w->vectors : w->chunks[place->chunk], start + (uint64_t)weight->first_row * 4,
                            (uint64_t)weight->columns * weight->rows * 4, BL_READ};
        return BL_OK;
    }
    uint64_t row_bytes = t->bytes / t->rows;
    *out = (bl_binding){w->chunks[place->chunk], place->offset + weight->first_row * row_bytes, weight->rows * row_bytes, BL_READ};
    return BL_OK;
}

uint64_t bl_weights_copied_bytes(const struct bl_weights *w)
{
    return w->vector_bytes + w->copied_bytes;
}
