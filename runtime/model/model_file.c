/* model_file.c: opening, closing and reading the directory of a model file. Owns the name tables and the typed access to metadata; knows
 * no file grammar (gguf.c). */
#include "model/model_file.h"

#include "base/checked.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/half.h"
#include "base/hash.h"
#include "model/model_file_parts.h"
#include "model/xq.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))
#define ARENA_SLACK (UINT64_C(32) << 20) /* a hostile file costs at most its own size and this */

const char *bl_name_of_meta(const struct bl_model_file *file, uint32_t index)
{
    return file->meta[index].key;
}

const char *bl_name_of_tensor(const struct bl_model_file *file, uint32_t index)
{
    return file->tensors[index].name;
}

bl_status bl_name_table_create(struct bl_model_file *file, struct bl_name_table *table, uint32_t capacity)
{
    uint32_t slots = 4; /* capacity <= 65536 (base/limits.h): no overflow */
    while (slots < 2 * capacity)
        slots *= 2;
    table->mask = slots - 1;
    table->slots = bl_arena_alloc(&file->arena, slots, sizeof *table->slots);
    if (!table->slots)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a table of %u names", file->path, capacity);
    return BL_OK;
}

/* The slot that holds `name`, or the empty one where it belongs. */
static uint32_t *find_slot(const struct bl_model_file *file, const struct bl_name_table *table, bl_name_of_fn name_of, const char *name)
{
    uint32_t at = (uint32_t)bl_hash_bytes(bl_hash_key(), name, strlen(name)) & table->mask;
    while (table->slots[at] != 0 && strcmp(name_of(file, table->slots[at] - 1), name) != 0)
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

uint32_t bl_name_table_find(const struct bl_model_file *file, const struct bl_name_table *table, bl_name_of_fn name_of, const char *name)
{
    return *find_slot(file, table, name_of, name) - 1; /* empty: 0 - 1 = UINT32_MAX */
}

bool bl_name_table_add(const struct bl_model_file *file, struct bl_name_table *table, bl_name_of_fn name_of, uint32_t index)
{
    uint32_t *slot = find_slot(file, table, name_of, name_of(file, index));
    if (*slot != 0)
        return false;
    *slot = index + 1;
    return true;
}

static const struct { const char *name; uint32_t bytes; } meta_types[BL_META_TYPE_COUNT] = {
    [BL_META_U8] = {"u8", 1},     [BL_META_I8] = {"i8", 1},   [BL_META_U16] = {"u16", 2},       [BL_META_I16] = {"i16", 2},
    [BL_META_U32] = {"u32", 4},   [BL_META_I32] = {"i32", 4}, [BL_META_F32] = {"f32", 4},       [BL_META_BOOL] = {"bool", 1},
    [BL_META_STRING] = {"string", 0}, [BL_META_ARRAY] = {"array", 0}, [BL_META_U64] = {"u64", 8}, [BL_META_I64] = {"i64", 8},
    [BL_META_F64] = {"f64", 8},
};

uint32_t bl_meta_type_bytes(enum bl_meta_type type)
{
    return meta_types[type].bytes;
}

const char *bl_meta_type_name(enum bl_meta_type type)
{
    return meta_types[type].name;
}

struct bl_block_shape bl_ggml_block_shape(uint32_t ggml_type)
{
    /* Types that no kernel of ours reads; their sizes still bound the tensors that hold them. */
    static const struct { uint32_t type; struct bl_block_shape shape; } others[] = {
        {9, {32, 36}},    {15, {256, 292}}, {16, {256, 66}},  {17, {256, 74}}, {18, {256, 98}}, {19, {256, 50}}, {20, {32, 18}},
        {21, {256, 110}}, {22, {256, 82}},  {23, {256, 136}}, {24, {1, 1}},    {25, {1, 2}},    {26, {1, 4}},    {27, {1, 8}},
        {28, {1, 8}},     {29, {256, 56}},  {34, {256, 54}},  {35, {256, 66}}, {39, {32, 17}},  {40, {64, 36}},  {41, {128, 18}},
        {42, {64, 18}},
    };
    enum bl_format format = bl_format_of_ggml(ggml_type);
    if (format != BL_FMT_NONE)
        return (struct bl_block_shape){bl_formats[format].block_elements, bl_formats[format].block_bytes};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].type == ggml_type)
            return others[i].shape;
    return (struct bl_block_shape){1, 0};
}

/* ---- X-bit matrices ---- */

#define NAME_SHORT 256 /* bytes of the name of an X-bit matrix, with the NUL */

static const struct bl_tensor *input_tensor(const struct bl_model_file *file, uint32_t n)
{
    char name[32];
    snprintf(name, sizeof name, "xq.input.%u", n);
    return bl_model_file_tensor(file, name);
}

static bl_status adopt_matrix(struct bl_model_file *file, struct bl_tensor *t)
{
    const struct bl_xq_header *h = (const void *)(file->data + t->offset);
    BL_TRY(bl_xq_check_matrix(file->path, t->offset, t->name, h, t->bytes));
    const struct bl_tensor *input = input_tensor(file, h->input);
    const struct bl_xq_input *tables = input ? (const void *)(file->data + input->offset) : NULL;
    if (!input || !input->is_table || tables->columns != h->columns)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: input of '%.80s': got %u, limit: the number of a tensor xq.input.N of %u columns", file->path,
                (unsigned long long)t->offset, t->name, h->input, h->columns);
    t->format = BL_FMT_BX;
    t->n_dims = 2;
    t->dims[0] = h->columns;
    t->dims[1] = t->rows = h->rows;
    t->input = (uint32_t)(input - file->tensors);
    return BL_OK;
}

static bool ends_with(const char *s, const char *end)
{
    return strlen(s) > strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

/* Inputs first: matrices name them. */
static bl_status adopt_xq(struct bl_model_file *file)
{
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        struct bl_tensor *t = &file->tensors[i];
        if (t->ggml_type != BL_GGML_I8 || strncmp(t->name, "xq.", 3) != 0)
            continue;
        if (strcmp(t->name, BL_XQ_INDEX_NAME) == 0)
            BL_TRY(bl_xq_check_index(file->path, t->offset, file->data + t->offset, t->bytes, file->n_tensors - 1));
        else
            BL_TRY(bl_xq_check_input(file->path, t->offset, t->name, file->data + t->offset, t->bytes));
        t->is_table = true;
    }
    for (uint32_t i = 0; i < file->n_tensors; i++)
        if (file->tensors[i].ggml_type == BL_GGML_I8 && ends_with(file->tensors[i].name, ".xq"))
            BL_TRY(adopt_matrix(file, &file->tensors[i]));
    return BL_OK;
}

/* Takes the map, also when it fails. */
static bl_status open_over(struct bl_file_map *map, const void *data, uint64_t bytes, const char *path, struct bl_model_file **out)
{
    struct bl_model_file *file = calloc(1, sizeof *file);
    if (!file) {
        bl_file_map_destroy(map);
        BL_FAIL(BL_ENOMEM, "%s: no memory for the model file's object", path);
    }
    file->map = map;
    file->data = data;
    file->bytes = bytes;
    uint64_t limit;
    bl_arena_init(&file->arena, bl_ck_add(bytes, ARENA_SLACK, &limit) ? limit : UINT64_MAX);
    bl_status status = BL_OK;
    file->path = bl_arena_string(&file->arena, path, strlen(path));
    if (!file->path)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the path", path);
    else
        status = bl_gguf_read(file);
    if (status == BL_OK)
        status = adopt_xq(file);
    if (status == BL_OK)
        status = bl_model_file_check(file);
    if (status != BL_OK) {
        bl_model_file_close(file);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = file;
    return BL_OK;
}

bl_status bl_model_file_open(const char *path, enum bl_file_mode mode, struct bl_model_file **out)
{
    *out = NULL;
    struct bl_file_map *map;
    BL_TRY(bl_file_map_create(path, mode, &map));
    return open_over(map, bl_file_map_data(map), bl_file_map_bytes(map), path, out);
}

bl_status bl_model_file_open_memory(const void *data, uint64_t bytes, const char *name, struct bl_model_file **out)
{
    *out = NULL;
    return open_over(NULL, data, bytes, name, out);
}

void bl_model_file_close(struct bl_model_file *file)
{
    if (!file)
        return;
    bl_file_map_destroy(file->map);
    bl_arena_finish(&file->arena);
    free(file);
}

const char *bl_model_file_path(const struct bl_model_file *file)
{
    return file->path;
}

const uint8_t *bl_model_file_data(const struct bl_model_file *file)
{
    return file->data;
}

uint64_t bl_model_file_bytes(const struct bl_model_file *file)
{
    return file->bytes;
}

uint32_t bl_model_file_version(const struct bl_model_file *file)
{
    return file->version;
}

uint64_t bl_model_file_alignment(const struct bl_model_file *file)
{
    return file->alignment;
}

uint64_t bl_model_file_data_offset(const struct bl_model_file *file)
{
    return file->data_offset;
}

bl_status bl_model_file_check(const struct bl_model_file *file)
{
    if (file->map)
        BL_TRY(bl_file_map_check(file->map));
    return BL_OK;
}

uint32_t bl_model_file_meta_count(const struct bl_model_file *file)
{
    return file->n_meta;
}

const struct bl_meta *bl_model_file_meta_at(const struct bl_model_file *file, uint32_t index)
{
    return index < file->n_meta ? &file->meta[index] : NULL;
}

const struct bl_meta *bl_model_file_meta(const struct bl_model_file *file, const char *key)
{
    return bl_model_file_meta_at(file, bl_name_table_find(file, &file->meta_table, bl_name_of_meta, key));
}

uint32_t bl_model_file_tensor_count(const struct bl_model_file *file)
{
    return file->n_tensors;
}

const struct bl_tensor *bl_model_file_tensor_at(const struct bl_model_file *file, uint32_t index)
{
    return index < file->n_tensors ? &file->tensors[index] : NULL;
}

const struct bl_tensor *bl_model_file_tensor(const struct bl_model_file *file, const char *name)
{
    uint32_t index = bl_name_table_find(file, &file->tensor_table, bl_name_of_tensor, name);
    char blob[NAME_SHORT];
    if (index == UINT32_MAX && snprintf(blob, sizeof blob, "%s.xq", name) < (int)sizeof blob)
        index = bl_name_table_find(file, &file->tensor_table, bl_name_of_tensor, blob);
    return bl_model_file_tensor_at(file, index);
}

/* ---- typed access ---- */

static bl_status wrong_type(const struct bl_model_file *file, const struct bl_meta *meta, const char *expected)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %.80s: got type %s%s, expected %s", file->path, ULL(meta->offset), meta->key,
            meta->is_array ? "array of " : "", meta_types[meta->type].name, expected);
}

static bl_status does_not_fit(const struct bl_model_file *file, const struct bl_meta *meta, const char *value, const char *limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %.80s (%s): got %s, limit %s", file->path, ULL(meta->offset), meta->key, meta_types[meta->type].name, value,
            limit);
}

/* The element's bytes. Only for types of fixed size, whose data was checked to hold `count` of them: the product cannot overflow. */
static bl_status locate(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, const uint8_t **out)
{
    if (index >= meta->count)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %.80s: got index %llu, limit %llu elements", file->path, ULL(meta->offset), meta->key, ULL(index),
                ULL(meta->count));
    uint64_t at;
    if (!bl_ck_mul(index, meta_types[meta->type].bytes, &at))
        BL_FAIL(BL_EINTERNAL, "%s: element offset overflows", file->path);
    *out = meta->data + at;
    return BL_OK;
}

/* Any integer as sign and magnitude-in-two's-complement: unsigned 64-bit values above INT64_MAX have is_negative false. */
static bl_status load_integer(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, uint64_t *bits, bool *is_negative)
{
    const uint8_t *p = NULL;
    if (meta->type == BL_META_F32 || meta->type == BL_META_F64 || meta->type == BL_META_STRING || meta->type == BL_META_ARRAY)
        return wrong_type(file, meta, "an integer");
    BL_TRY(locate(file, meta, index, &p));
    int64_t value = 0;
    switch (meta->type) {
    case BL_META_I8: value = (int8_t)p[0]; break;
    case BL_META_I16: value = (int16_t)bl_load_u16(p); break;
    case BL_META_I32: value = (int32_t)bl_load_u32(p); break;
    case BL_META_I64: value = (int64_t)bl_load_u64(p); break;
    case BL_META_U16: value = bl_load_u16(p); break;
    case BL_META_U32: value = bl_load_u32(p); break;
    case BL_META_U64:
        *bits = bl_load_u64(p);
        *is_negative = false;
        return BL_OK;
    default: value = p[0]; break; /* u8, bool */
    }
    *bits = (uint64_t)value;
    *is_negative = value < 0;
    return BL_OK;
}

bl_status bl_meta_u64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, uint64_t *out)
{
    *out = 0;
    uint64_t bits = 0;
    bool is_negative = false;
    BL_TRY(load_integer(file, meta, index, &bits, &is_negative));
    if (is_negative)
        return does_not_fit(file, meta, "a negative number", "0 and above");
    *out = bits;
    return BL_OK;
}

bl_status bl_meta_i64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, int64_t *out)
{
    *out = 0;
    uint64_t bits = 0;
    bool is_negative = false;
    BL_TRY(load_integer(file, meta, index, &bits, &is_negative));
    if (!is_negative && bits > INT64_MAX)
        return does_not_fit(file, meta, "2^63 or more", "2^63 - 1");
    *out = (int64_t)bits;
    return BL_OK;
}

bl_status bl_meta_f64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, double *out)
{
    *out = 0;
    if (meta->type == BL_META_F32 || meta->type == BL_META_F64) {
        const uint8_t *p = NULL;
        BL_TRY(locate(file, meta, index, &p));
        if (meta->type == BL_META_F32) {
            *out = (double)bl_bits_f32(bl_load_u32(p));
        } else {
            uint64_t bits = bl_load_u64(p);
            memcpy(out, &bits, sizeof bits);
        }
        return BL_OK;
    }
    uint64_t bits = 0;
    bool is_negative = false;
    BL_TRY(load_integer(file, meta, index, &bits, &is_negative));
    *out = is_negative ? (double)(int64_t)bits : (double)bits;
    return BL_OK;
}

bl_status bl_meta_string(const struct bl_model_file *file, const struct bl_meta *meta, const char **text, uint64_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    if (meta->type != BL_META_STRING || meta->is_array)
        return wrong_type(file, meta, "a string");
    *bytes = bl_load_u64(meta->data);
    *text = (const char *)meta->data + 8;
    return BL_OK;
}

bl_status bl_meta_strings_begin(const struct bl_model_file *file, const struct bl_meta *meta, struct bl_meta_strings *out)
{
    *out = (struct bl_meta_strings){NULL, NULL, 0};
    if (meta->type != BL_META_STRING || !meta->is_array)
        return wrong_type(file, meta, "an array of strings");
    *out = (struct bl_meta_strings){meta->data, meta->data + meta->data_bytes, meta->count};
    return BL_OK;
}

bool bl_meta_strings_next(struct bl_meta_strings *it, const char **text, uint64_t *bytes)
{
    /* Opening walked these very strings, but a file can change under its map: a length is believed again only after a look at the end. */
    if (it->left == 0 || (uint64_t)(it->end - it->at) < 8)
        return false;
    uint64_t length = bl_load_u64(it->at);
    if (length > (uint64_t)(it->end - it->at) - 8)
        return false;
    *text = (const char *)it->at + 8;
    *bytes = length;
    it->at += 8 + length;
    it->left--;
    return true;
}

bl_status bl_model_file_numbers(const struct bl_model_file *file, const struct bl_tensor *tensor, uint64_t first, uint64_t n, float *out)
{
    const uint8_t *p = bl_model_file_data(file) + tensor->offset;
    switch (tensor->format) {
    case BL_FMT_F32:
        memcpy(out, p + 4 * first, (size_t)n * 4);
        return BL_OK;
    case BL_FMT_F16:
    case BL_FMT_BF16:
        for (uint64_t i = 0; i < n; i++) {
            uint16_t h = (uint16_t)(p[2 * (first + i)] | p[2 * (first + i) + 1] << 8);
            out[i] = tensor->format == BL_FMT_F16 ? bl_f16_to_f32(h) : bl_bf16_to_f32(h);
        }
        return BL_OK;
    default:
        BL_FAIL(BL_EUNSUPPORTED, "%s: tensor '%s': type %s is not supported for a vector", bl_model_file_path(file), tensor->name,
                tensor->format ? bl_formats[tensor->format].name : "unknown");
    }
}
