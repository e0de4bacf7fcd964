/* gguf.c: GGUF v2 and v3 (little endian) into struct bl_model_file. Owns the file grammar and every check of it; touches no tensor data and
 * knows no use of any key but general.alignment. All reads go through a cursor, all sums and products through base/checked.h. */
#include "base/checked.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/limits.h"
#include "model/model_file_parts.h"

#include <string.h>

#define ULL(x) ((unsigned long long)(x))
#define NAME_SHOWN "%.80s" /* names may be 64 KiB, error lines are 240 bytes */

/* The smallest directory entries there can be; a claimed count is compared with the bytes left in these units. */
#define META_BYTES_MIN 14u   /* name length 8, name 1, type 4, value 1 */
#define TENSOR_BYTES_MIN 33u /* name length 8, name 1, n_dims 4, one dim 8, type 4, offset 8 */

static bl_status short_read(const struct bl_model_file *file, const struct bl_cursor *c, const char *field, uint64_t want)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: needs %llu bytes, limit %llu left: the file is cut short", file->path, ULL(c->position), field,
            ULL(want), ULL(bl_cursor_left(c)));
}

static bl_status too_large(const struct bl_model_file *file, uint64_t offset, const char *field, uint64_t value, uint64_t limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: got %llu, limit %llu", file->path, ULL(offset), field, ULL(value), ULL(limit));
}

/* Before anything of a claimed size is allocated or walked: can the bytes that are left hold so many? */
static bl_status check_count(const struct bl_model_file *file, const struct bl_cursor *c, const char *field, uint64_t count, uint64_t smallest)
{
    uint64_t left = bl_cursor_left(c);
    if (count > left / smallest)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: " NAME_SHOWN ": got %llu of at least %llu bytes each, limit %llu bytes left: cut short, or no true count",
                file->path, ULL(c->position), field, ULL(count), ULL(smallest), ULL(left));
    return BL_OK;
}

static bl_status read_u32(const struct bl_model_file *file, struct bl_cursor *c, const char *field, uint32_t *out)
{
    return bl_cursor_u32(c, out) ? BL_OK : short_read(file, c, field, 4);
}

static bl_status read_u64(const struct bl_model_file *file, struct bl_cursor *c, const char *field, uint64_t *out)
{
    return bl_cursor_u64(c, out) ? BL_OK : short_read(file, c, field, 8);
}

/* A name: 1..BL_LIMIT_KEY_BYTES bytes without NUL, copied with one. */
static bl_status read_name(struct bl_model_file *file, struct bl_cursor *c, const char *field, const char **out)
{
    uint64_t bytes = 0, at = c->position;
    BL_TRY(read_u64(file, c, field, &bytes));
    if (bytes > BL_LIMIT_KEY_BYTES)
        return too_large(file, at, field, bytes, BL_LIMIT_KEY_BYTES);
    if (bytes == 0)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: got an empty name", file->path, ULL(at), field);
    const uint8_t *text = bl_cursor_take(c, bytes);
    if (!text)
        return short_read(file, c, field, bytes);
    if (memchr(text, 0, (size_t)bytes))
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: got a NUL byte inside a name", file->path, ULL(at), field);
    *out = bl_arena_string(&file->arena, text, bytes);
    if (!*out)
        BL_FAIL(BL_ENOMEM, "%s: offset %llu: %s: no memory for a name of %llu bytes", file->path, ULL(at), field, ULL(bytes));
    return BL_OK;
}

static bl_status skip_string(const struct bl_model_file *file, struct bl_cursor *c, const char *key)
{
    uint64_t bytes = 0, at = c->position;
    BL_TRY(read_u64(file, c, key, &bytes));
    if (bytes > BL_LIMIT_STRING_BYTES)
        return too_large(file, at, key, bytes, BL_LIMIT_STRING_BYTES);
    if (!bl_cursor_take(c, bytes))
        return short_read(file, c, key, bytes);
    return BL_OK;
}

static bl_status skip_fixed(const struct bl_model_file *file, struct bl_cursor *c, const char *key, enum bl_meta_type type, uint64_t count)
{
    uint64_t bytes = 0, at = c->position;
    if (!bl_ck_mul(count, bl_meta_type_bytes(type), &bytes))
        bytes = UINT64_MAX;
    const uint8_t *p = bl_cursor_take(c, bytes);
    if (!p)
        return short_read(file, c, key, bytes);
    if (type == BL_META_BOOL)
        for (uint64_t i = 0; i < bytes; i++)
            if (p[i] > 1)
                return too_large(file, at, key, p[i], 1);
    return BL_OK;
}

static bl_status read_type(const struct bl_model_file *file, struct bl_cursor *c, const char *key, enum bl_meta_type *out)
{
    uint32_t type = 0;
    uint64_t at = c->position;
    BL_TRY(read_u32(file, c, key, &type));
    if (type >= BL_META_TYPE_COUNT)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: type of '" NAME_SHOWN "': got %u, limit %u", file->path, ULL(at), key, type, BL_META_TYPE_COUNT - 1u);
    *out = (enum bl_meta_type)type;
    return BL_OK;
}

/* The head of an array: element type and count, the count already possible for the bytes that are left. */
static bl_status read_array_head(const struct bl_model_file *file, struct bl_cursor *c, const char *key, enum bl_meta_type *type, uint64_t *count)
{
    BL_TRY(read_type(file, c, key, type));
    BL_TRY(read_u64(file, c, key, count));
    return check_count(file, c, key, *count, *type == BL_META_STRING ? 8 : *type == BL_META_ARRAY ? 12 : bl_meta_type_bytes(*type));
}

/* Moves past `count` elements. Arrays in arrays go on a stack of our own, so depth costs a refusal, not the program's stack. */
static bl_status skip_elements(const struct bl_model_file *file, struct bl_cursor *c, const char *key, enum bl_meta_type type, uint64_t count)
{
    uint64_t left[BL_LIMIT_ARRAY_DEPTH]; /* elements that the enclosing arrays still have to read */
    uint32_t depth = 1;
    left[0] = 0;
    for (;;) {
        if (type == BL_META_ARRAY && count > 0) {
            if (depth == BL_LIMIT_ARRAY_DEPTH)
                BL_FAIL(BL_EFORMAT, "%s: offset %llu: array depth of '" NAME_SHOWN "': got %u, limit %u", file->path, ULL(c->position), key, depth + 1,
                        BL_LIMIT_ARRAY_DEPTH);
            left[depth++] = count - 1;
            BL_TRY(read_array_head(file, c, key, &type, &count));
            continue;
        }
        if (type == BL_META_STRING) {
            for (uint64_t i = 0; i < count; i++)
                BL_TRY(skip_string(file, c, key));
        } else if (type != BL_META_ARRAY) {
            BL_TRY(skip_fixed(file, c, key, type, count));
        }
        while (depth > 1 && left[depth - 1] == 0)
            depth--;
        if (depth == 1)
            return BL_OK;
        left[depth - 1]--;
        BL_TRY(read_array_head(file, c, key, &type, &count));
    }
}

static bl_status read_meta(struct bl_model_file *file, struct bl_cursor *c, uint32_t index)
{
    struct bl_meta *meta = &file->meta[index];
    meta->offset = c->position;
    BL_TRY(read_name(file, c, "metadata key", &meta->key));
    BL_TRY(read_type(file, c, meta->key, &meta->type));
    meta->count = 1;
    if (meta->type == BL_META_ARRAY) {
        meta->is_array = true;
        BL_TRY(read_array_head(file, c, meta->key, &meta->type, &meta->count));
    }
    uint64_t begin = c->position;
    meta->data = c->data + begin;
    BL_TRY(skip_elements(file, c, meta->key, meta->type, meta->count));
    meta->data_bytes = c->position - begin;
    if (!bl_name_table_add(file, &file->meta_table, bl_name_of_meta, index))
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: metadata key: got '" NAME_SHOWN "' twice", file->path, ULL(meta->offset), meta->key);
    return BL_OK;
}

static bl_status read_alignment(struct bl_model_file *file)
{
    file->alignment = 32;
    const struct bl_meta *meta = bl_model_file_meta(file, "general.alignment");
    if (!meta)
        return BL_OK;
    uint64_t value = 0;
    if (meta->is_array)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: general.alignment: got an array, expected a number", file->path, ULL(meta->offset));
    BL_TRY(bl_meta_u64(file, meta, 0, &value));
    if (value > BL_LIMIT_ALIGNMENT_MAX)
        return too_large(file, meta->offset, "general.alignment", value, BL_LIMIT_ALIGNMENT_MAX);
    if (value < BL_LIMIT_ALIGNMENT_MIN || (value & (value - 1)) != 0)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: general.alignment: got %llu, limit: a power of two, %u to %u", file->path, ULL(meta->offset), ULL(value),
                BL_LIMIT_ALIGNMENT_MIN, BL_LIMIT_ALIGNMENT_MAX);
    file->alignment = value;
    return BL_OK;
}

static bl_status tensor_fault(const struct bl_model_file *file, const struct bl_tensor *t, const char *field, uint64_t value, uint64_t limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s of tensor '" NAME_SHOWN "': got %llu, limit %llu", file->path, ULL(t->entry_offset), field, t->name,
            ULL(value), ULL(limit));
}

static bl_status read_shape(const struct bl_model_file *file, struct bl_cursor *c, struct bl_tensor *t)
{
    BL_TRY(read_u32(file, c, "n_dims", &t->n_dims));
    if (t->n_dims < 1 || t->n_dims > BL_LIMIT_DIMS)
        return tensor_fault(file, t, "n_dims", t->n_dims, BL_LIMIT_DIMS);
    uint64_t elements = 1;
    for (uint32_t d = 0; d < BL_LIMIT_DIMS; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims)
            BL_TRY(read_u64(file, c, "dimension", &t->dims[d]));
        if (t->dims[d] == 0)
            BL_FAIL(BL_EFORMAT, "%s: offset %llu: dimension %u of tensor '" NAME_SHOWN "': got 0, limit: at least 1", file->path, ULL(t->entry_offset),
                    d, t->name);
        if (!bl_ck_mul(elements, t->dims[d], &elements) || elements > BL_LIMIT_ELEMENTS)
            return tensor_fault(file, t, "elements", UINT64_MAX / t->dims[d] < elements ? UINT64_MAX : elements, BL_LIMIT_ELEMENTS);
    }
    t->rows = elements / t->dims[0];
    return BL_OK;
}

static bl_status read_tensor(struct bl_model_file *file, struct bl_cursor *c, uint32_t index)
{
    struct bl_tensor *t = &file->tensors[index];
    t->entry_offset = c->position;
    BL_TRY(read_name(file, c, "tensor name", &t->name));
    BL_TRY(read_shape(file, c, t));
    BL_TRY(read_u32(file, c, "tensor type", &t->ggml_type));
    BL_TRY(read_u64(file, c, "tensor offset", &t->offset)); /* made absolute by place_tensor */
    t->format = bl_format_of_ggml(t->ggml_type);
    struct bl_block_shape block = bl_ggml_block_shape(t->ggml_type);
    if (block.bytes != 0) {
        if (t->dims[0] % block.elements != 0)
            BL_FAIL(BL_EFORMAT, "%s: offset %llu: columns of tensor '" NAME_SHOWN "': got %llu, limit: a multiple of %u for this type", file->path,
                    ULL(t->entry_offset), t->name, ULL(t->dims[0]), block.elements);
        if (!bl_ck_mul(t->dims[0] / block.elements, block.bytes, &t->bytes) || !bl_ck_mul(t->bytes, t->rows, &t->bytes))
            return tensor_fault(file, t, "bytes", UINT64_MAX, file->bytes);
    }
    if (!bl_name_table_add(file, &file->tensor_table, bl_name_of_tensor, index))
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: tensor name: got '" NAME_SHOWN "' twice", file->path, ULL(t->entry_offset), t->name);
    return BL_OK;
}

/* Once the start of the data section is known. */
static bl_status place_tensor(const struct bl_model_file *file, struct bl_tensor *t)
{
    uint64_t end;
    if ((t->offset & (file->alignment - 1)) != 0)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: offset of tensor '" NAME_SHOWN "': got %llu, limit: a multiple of %llu", file->path, ULL(t->entry_offset),
                t->name, ULL(t->offset), ULL(file->alignment));
    if (!bl_ck_add(file->data_offset, t->offset, &t->offset) || !bl_ck_add(t->offset, t->bytes, &end))
        end = UINT64_MAX;
    if (end > file->bytes)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: end of tensor '" NAME_SHOWN "': got %llu, limit %llu, where the file ends: cut short", file->path,
                ULL(t->entry_offset), t->name, ULL(end), ULL(file->bytes));
    return BL_OK;
}

static bl_status read_count(const struct bl_model_file *file, struct bl_cursor *c, const char *field, uint64_t limit, uint32_t *out)
{
    uint64_t count = 0, at = c->position;
    BL_TRY(read_u64(file, c, field, &count));
    if (count > limit)
        return too_large(file, at, field, count, limit);
    *out = (uint32_t)count;
    return BL_OK;
}

bl_status bl_gguf_read(struct bl_model_file *file)
{
    struct bl_cursor cursor = bl_cursor_make(file->data, file->bytes), *c = &cursor;
    const uint8_t *magic = bl_cursor_take(c, 4);
    if (!magic)
        return short_read(file, c, "magic", 4);
    if (memcmp(magic, "GGUF", 4) != 0)
        BL_FAIL(BL_EFORMAT, "%s: offset 0: magic: got %02x %02x %02x %02x, expected 47 47 55 46 (GGUF)", file->path, magic[0], magic[1], magic[2],
                magic[3]);
    BL_TRY(read_u32(file, c, "version", &file->version));
    if (file->version == 1)
        BL_FAIL(BL_EUNSUPPORTED, "%s: offset 4: version: got GGUF version 1, limit: 2 and 3 are read", file->path);
    if (file->version != 0 && (file->version & 0xffffu) == 0)
        BL_FAIL(BL_EUNSUPPORTED, "%s: offset 4: version: got a big-endian GGUF file, limit: little endian is read", file->path);
    if (file->version != 2 && file->version != 3)
        BL_FAIL(BL_EUNSUPPORTED, "%s: offset 4: version: got GGUF version %u, limit: 2 and 3 are read", file->path, file->version);
    BL_TRY(read_count(file, c, "tensor count", BL_LIMIT_TENSORS, &file->n_tensors));
    BL_TRY(read_count(file, c, "metadata count", BL_LIMIT_KEYS, &file->n_meta));
    BL_TRY(check_count(file, c, "metadata count", file->n_meta, META_BYTES_MIN));
    BL_TRY(check_count(file, c, "tensor count", file->n_tensors, TENSOR_BYTES_MIN));

    file->meta = bl_arena_alloc(&file->arena, file->n_meta, sizeof *file->meta);
    file->tensors = bl_arena_alloc(&file->arena, file->n_tensors, sizeof *file->tensors);
    if (!file->meta || !file->tensors)
        BL_FAIL(BL_ENOMEM, "%s: no memory for the directory", file->path);
    BL_TRY(bl_name_table_create(file, &file->meta_table, file->n_meta));
    BL_TRY(bl_name_table_create(file, &file->tensor_table, file->n_tensors));
    for (uint32_t i = 0; i < file->n_meta; i++)
        BL_TRY(read_meta(file, c, i));
    BL_TRY(read_alignment(file));
    BL_TRY(check_count(file, c, "tensor count", file->n_tensors, TENSOR_BYTES_MIN));
    for (uint32_t i = 0; i < file->n_tensors; i++)
        BL_TRY(read_tensor(file, c, i));
    if (!bl_ck_align(c->position, file->alignment, &file->data_offset))
        return short_read(file, c, "padding", file->alignment);
    for (uint32_t i = 0; i < file->n_tensors; i++)
        BL_TRY(place_tensor(file, &file->tensors[i]));
    return BL_OK;
}
