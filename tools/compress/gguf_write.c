/* gguf_write.c: the file in one pass, front to back. */
#include "compress/gguf_write.h"

#include "base/cursor.h"
#include "base/error.h"
#include "base/hash.h"
#include "compress/out_file.h"
#include "model/xq.h"

#include <stdlib.h>
#include <string.h>

struct xq_writer {
    struct xq_out_file file;
    uint64_t position, alignment;
    struct xq_out_tensor *tensors; /* the index included */
    uint32_t n, next;
    uint64_t *index;               /* what the index tensor will hold, in words of 64 bits */
    const struct bl_model_file *source;
    uint32_t n_keys;
};

/* Text of the head grows in memory: it is read again for its checksum. */
struct head {
    uint8_t *data;
    uint64_t bytes, room;
    bool failed;
};

static void put(struct head *h, const void *data, uint64_t bytes)
{
    if (h->bytes + bytes > h->room) {
        const uint64_t room = 2 * (h->bytes + bytes) + 4096;
        uint8_t *grown = h->failed ? NULL : realloc(h->data, (size_t)room);
        if (!grown) {
            h->failed = true;
            return;
        }
        h->data = grown;
        h->room = room;
    }
    memcpy(h->data + h->bytes, data, (size_t)bytes);
    h->bytes += bytes;
}

static void put_u32(struct head *h, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    put(h, b, sizeof b);
}

static void put_u64(struct head *h, uint64_t v)
{
    put_u32(h, (uint32_t)v);
    put_u32(h, (uint32_t)(v >> 32));
}

static void put_text(struct head *h, const char *text)
{
    put_u64(h, strlen(text));
    put(h, text, strlen(text));
}

/* The source's type of file is not this one's, and there is no number for "X-bit"; readers do without the key. */
static bool is_copied(const struct bl_meta *meta)
{
    return strncmp(meta->key, "xq.", 3) != 0 && strcmp(meta->key, "general.file_type") != 0;
}

static void put_meta(struct head *h, const struct bl_meta *meta)
{
    put_text(h, meta->key);
    if (meta->is_array) {
        put_u32(h, BL_META_ARRAY);
        put_u32(h, meta->type);
        put_u64(h, meta->count);
    } else {
        put_u32(h, meta->type);
    }
    put(h, meta->data, meta->data_bytes);
}

static void put_key(struct head *h, const struct xq_out_key *k)
{
    static const enum bl_meta_type types[] = {[XQ_KEY_TEXT] = BL_META_STRING, [XQ_KEY_WHOLE] = BL_META_U64, [XQ_KEY_REAL] = BL_META_F32};
    put_text(h, k->key);
    put_u32(h, types[k->kind]);
    if (k->kind == XQ_KEY_TEXT) {
        put_text(h, k->text);
    } else if (k->kind == XQ_KEY_WHOLE) {
        put_u64(h, k->whole);
    } else {
        const float real = (float)k->real;
        uint32_t bits;
        memcpy(&bits, &real, sizeof bits);
        put_u32(h, bits);
    }
}

static uint64_t index_bytes(uint32_t n)
{
    return sizeof(struct bl_xq_index) + 8 * (uint64_t)n;
}

static uint64_t align(uint64_t at, uint64_t alignment)
{
    return (at + alignment - 1) / alignment * alignment;
}

static void put_tensor(struct head *h, const struct xq_out_tensor *t, uint64_t offset)
{
    put_text(h, t->name);
    put_u32(h, t->n_dims);
    for (uint32_t d = 0; d < t->n_dims; d++)
        put_u64(h, t->dims[d]);
    put_u32(h, t->ggml_type);
    put_u64(h, offset);
}

/* The head with its padding, and in *end where the file ends. */
static void make_head(const struct bl_model_file *source, const struct xq_out_key *keys, uint32_t n_keys, const struct xq_out_tensor *tensors, uint32_t n,
                      struct head *h, uint64_t *end)
{
    const uint64_t alignment = bl_model_file_alignment(source);
    uint64_t n_meta = n_keys, offset = 0;
    for (uint32_t i = 0; i < bl_model_file_meta_count(source); i++)
        n_meta += is_copied(bl_model_file_meta_at(source, i));
    put(h, "GGUF", 4);
    put_u32(h, 3);
    put_u64(h, n + 1u);
    put_u64(h, n_meta);
    for (uint32_t i = 0; i < bl_model_file_meta_count(source); i++)
        if (is_copied(bl_model_file_meta_at(source, i)))
            put_meta(h, bl_model_file_meta_at(source, i));
    for (uint32_t i = 0; i < n_keys; i++)
        put_key(h, &keys[i]);
    for (uint32_t i = 0; i < n; i++) {
        put_tensor(h, &tensors[i], offset);
        offset = align(offset + tensors[i].bytes, alignment);
    }
    const struct xq_out_tensor index = {BL_XQ_INDEX_NAME, BL_GGML_I8, 1, {index_bytes(n)}, index_bytes(n)};
    put_tensor(h, &index, offset);
    static const uint8_t zeros[64];
    for (uint64_t fill = align(h->bytes, alignment) - h->bytes; fill;) {
        const uint64_t part = fill < sizeof zeros ? fill : sizeof zeros;
        put(h, zeros, part);
        fill -= part;
    }
    *end = h->bytes + offset + index.bytes;
}

uint64_t xq_file_bytes(const struct bl_model_file *source, const struct xq_out_key *keys, uint32_t n_keys, const struct xq_out_tensor *tensors, uint32_t n)
{
    struct head h = {0};
    uint64_t end;
    make_head(source, keys, n_keys, tensors, n, &h, &end);
    free(h.data);
    return h.failed ? UINT64_MAX : end;
}

static bl_status write_all(struct xq_writer *w, const void *data, uint64_t bytes)
{
    BL_TRY(xq_out_write(&w->file, data, bytes, w->position));
    w->position += bytes;
    return BL_OK;
}

bl_status xq_writer_create(const char *path, const struct bl_model_file *source, const struct xq_out_key *keys, uint32_t n_keys,
                           const struct xq_out_tensor *tensors, uint32_t n, struct xq_writer **out)
{
    *out = NULL;
    struct head head = {0};
    uint64_t end;
    make_head(source, keys, n_keys, tensors, n, &head, &end);
    struct xq_writer *w = calloc(1, sizeof *w);
    bl_status status = BL_OK;
    if (w) {
        w->tensors = malloc((n + 1u) * sizeof *w->tensors);
        w->index = calloc(1, (size_t)index_bytes(n));
    }
    if (!w || head.failed || !w->tensors || !w->index) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory to write %u tensors", path, n);
        goto out;
    }
    memcpy(w->tensors, tensors, n * sizeof *tensors);
    w->n = n;
    w->alignment = bl_model_file_alignment(source);
    w->source = source;
    w->n_keys = n_keys;
    status = xq_out_check_room(path, end);
    if (status == BL_OK)
        status = xq_out_open(&w->file, path);
    if (status == BL_OK)
        status = write_all(w, head.data, head.bytes);
    if (status == BL_OK) {
        *(struct bl_xq_index *)(void *)w->index = (struct bl_xq_index){.magic = BL_XQ_INDEX_MAGIC, .version = BL_XQ_VERSION, .head_bytes = head.bytes,
            .head_checksum = bl_hash_bytes(BL_XQ_INDEX_MAGIC, head.data, (size_t)head.bytes), .n_tensors = n};
    }
out:
    free(head.data);
    if (status != BL_OK) {
        xq_writer_destroy(w);
        return status;
    }
    *out = w;
    return BL_OK;
}

static bl_status write_padding(struct xq_writer *w)
{
    static const uint8_t zeros[4096];
    for (uint64_t fill = align(w->position, w->alignment) - w->position; fill;) {
        const uint64_t part = fill < sizeof zeros ? fill : sizeof zeros;
        BL_TRY(write_all(w, zeros, part));
        fill -= part;
    }
    return BL_OK;
}

bl_status xq_writer_add(struct xq_writer *w, const void *data)
{
    const uint64_t bytes = w->tensors[w->next].bytes;
    BL_TRY(write_padding(w));
    BL_TRY(write_all(w, data, bytes));
    w->index[sizeof(struct bl_xq_index) / 8 + w->next] = bl_hash_bytes(BL_XQ_INDEX_MAGIC, data, (size_t)bytes);
    w->next++;
    return BL_OK;
}

bl_status xq_writer_replace(struct xq_writer *w, uint32_t tensor, const void *data)
{
    uint64_t at = align(((const struct bl_xq_index *)(const void *)w->index)->head_bytes, w->alignment);
    for (uint32_t i = 0; i < tensor; i++)
        at = align(at + w->tensors[i].bytes, w->alignment);
    w->index[sizeof(struct bl_xq_index) / 8 + tensor] = bl_hash_bytes(BL_XQ_INDEX_MAGIC, data, (size_t)w->tensors[tensor].bytes);
    return xq_out_write(&w->file, data, w->tensors[tensor].bytes, at);
}

static bl_status write_index(struct xq_writer *w, uint64_t at)
{
    struct bl_xq_index *index = (void *)w->index;
    index->checksum = bl_xq_checksum(index, index_bytes(w->n));
    return xq_out_write(&w->file, index, index_bytes(w->n), at);
}

const char *xq_writer_seal(struct xq_writer *w)
{
    if (write_padding(w) != BL_OK || write_index(w, w->position) != BL_OK)
        return NULL;
    return w->file.temporary;
}

/* The head again: its length stays, for only numbers change. */
static bl_status write_keys(struct xq_writer *w, const struct xq_out_key *keys)
{
    struct head head = {0};
    uint64_t end;
    make_head(w->source, keys, w->n_keys, w->tensors, w->n, &head, &end);
    struct bl_xq_index *index = (void *)w->index;
    bl_status status = head.failed || head.bytes != index->head_bytes ? bl_error_push(BL_EINTERNAL, __FILE__, __LINE__, "%s: its head has changed its length", w->file.path) : BL_OK;
    if (status == BL_OK) {
        index->head_checksum = bl_hash_bytes(BL_XQ_INDEX_MAGIC, head.data, (size_t)head.bytes);
        status = xq_out_write(&w->file, head.data, head.bytes, 0);
    }
    free(head.data);
    return status == BL_OK ? write_index(w, w->position) : status;
}

bl_status xq_writer_finish(struct xq_writer *w, const struct xq_out_key *keys)
{
    if (keys)
        BL_TRY(write_keys(w, keys));
    return xq_out_finish(&w->file);
}

void xq_writer_destroy(struct xq_writer *w)
{
    if (!w)
        return;
    xq_out_discard(&w->file);
    free(w->tensors);
    free(w->index);
    free(w);
}
