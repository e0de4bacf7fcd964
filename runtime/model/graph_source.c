/* graph_source.c: the model file as the graph room sees it. */
#include "model/graph_source.h"

#include "base/error.h"
#include "model/families.h"

#include <string.h>

static bl_status source_key(void *user, const char *key, uint64_t index, struct bl_graph_key *out)
{
    const struct bl_model_file *file = user;
    const struct bl_meta *meta = bl_model_file_meta(file, key);
    *out = (struct bl_graph_key){.kind = BL_KEY_ABSENT};
    if (!meta)
        return BL_OK;
    if (meta->is_array ? index == UINT64_MAX : false)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: key '%s' is an array, expected a single value", bl_model_file_path(file),
                (unsigned long long)meta->offset, key);
    if (meta->type == BL_META_STRING && !meta->is_array) {
        out->kind = BL_KEY_STRING;
        return bl_meta_string(file, meta, &out->text, &out->text_bytes);
    }
    out->kind = BL_KEY_NUMBER;
    return bl_meta_f64(file, meta, meta->is_array ? index : 0, &out->number);
}

static bool source_tensor(void *user, const char *name, struct bl_graph_tensor *out)
{
    const struct bl_model_file *file = user;
    const struct bl_tensor *tensor = bl_model_file_tensor(file, name);
    if (!tensor)
        return false;
    *out = (struct bl_graph_tensor){(uint32_t)(tensor - bl_model_file_tensor_at(file, 0)), tensor->format, tensor->ggml_type, tensor->n_dims,
                                    tensor->dims[0], tensor->rows, tensor->format == BL_FMT_BX ? tensor->input : BL_NO_ID};
    return true;
}

static const char *source_tensor_name(void *user, uint32_t id)
{
    return bl_model_file_tensor_at(user, id)->name;
}

static bl_status source_numbers(void *user, uint32_t id, uint64_t first, uint32_t n, float *out)
{
    return bl_model_file_numbers(user, bl_model_file_tensor_at(user, id), first, n, out);
}

static bool source_is_table(void *user, uint32_t id)
{
    return bl_model_file_tensor_at(user, id)->is_table;
}

bl_status bl_graph_source_make(const struct bl_model_file *file, struct bl_arena *arena, struct bl_graph_source *out)
{
    const struct bl_meta *meta = bl_model_file_meta(file, "general.architecture");
    const char *text;
    uint64_t bytes;
    if (!meta)
        BL_FAIL(BL_EFORMAT, "%s: key 'general.architecture' is missing: not a language model", bl_model_file_path(file));
    BL_TRY(bl_meta_string(file, meta, &text, &bytes));
    if (bytes == 0 || bytes > 64)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: general.architecture: %llu bytes, limit 64", bl_model_file_path(file),
                (unsigned long long)meta->offset, (unsigned long long)bytes);
    *out = (struct bl_graph_source){(void *)(uintptr_t)file, bl_model_file_path(file), bl_arena_string(arena, text, bytes), source_key,
                                    source_tensor, bl_model_file_tensor_count(file), source_tensor_name, source_numbers, source_is_table};
    if (!out->arch)
        BL_FAIL(BL_ENOMEM, "%s: no memory", bl_model_file_path(file));
    return BL_OK;
}

bl_status bl_graph_text_find(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_graph_text *override,
                             struct bl_graph_text *out)
{
    if (override) {
        *out = *override;
        return BL_OK;
    }
    const struct bl_meta *meta = bl_model_file_meta(file, "bitloom.graph");
    if (meta) {
        out->name = "bitloom.graph";
        return bl_meta_string(file, meta, &out->text, &out->bytes);
    }
    for (uint32_t i = 0; i < bl_n_families; i++) {
        if (strcmp(bl_families[i].name, source->arch) == 0) {
            *out = (struct bl_graph_text){bl_families[i].name, bl_families[i].text, bl_families[i].bytes};
            return BL_OK;
        }
    }
    BL_FAIL(BL_EUNSUPPORTED, "%s: architecture '%s' has no built-in graph; give one with --graph FILE", bl_model_file_path(file), source->arch);
}
