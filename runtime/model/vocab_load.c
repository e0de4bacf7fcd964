/* vocab_load.c: reads the tokenizer.ggml.* keys into struct bl_vocab. Owns the keys' names, types and defaults; what the values mean is
 * text/'s. */
#include "model/vocab_load.h"

#include "base/error.h"
#include "base/limits.h"
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))

/* The arrays that live only while the tokenizer is made. */
struct lists {
    struct bl_text *tokens, *merges;
    float *scores;
    uint8_t *types;
};

static bl_status refuse(const struct bl_model_file *file, const struct bl_meta *meta, const char *what, uint64_t value, uint64_t limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s of %s: got %llu, limit %llu", bl_model_file_path(file), ULL(meta->offset), what, meta->key, ULL(value),
            ULL(limit));
}

static bl_status no_memory(const struct bl_model_file *file, const struct bl_meta *meta)
{
    BL_FAIL(BL_ENOMEM, "%s: offset %llu: %s: no memory for %llu elements", bl_model_file_path(file), ULL(meta->offset), meta->key, ULL(meta->count));
}

static bl_status read_texts(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t limit, struct bl_text **out, uint32_t *n_out)
{
    struct bl_meta_strings it;
    BL_TRY(bl_meta_strings_begin(file, meta, &it));
    if (meta->count > limit)
        return refuse(file, meta, "length", meta->count, limit);
    uint32_t n = (uint32_t)meta->count;
    struct bl_text *texts = *out = calloc(n ? n : 1, sizeof *texts);
    if (!texts)
        return no_memory(file, meta);
    for (uint32_t i = 0; i < n; i++) {
        const char *text;
        uint64_t bytes;
        if (!bl_meta_strings_next(&it, &text, &bytes))
            return refuse(file, meta, "strings", i, n);
        if (bytes > 2 * BL_LIMIT_TOKEN_BYTES + 1) /* a merge is two tokens and a space */
            return refuse(file, meta, "text length", bytes, 2 * BL_LIMIT_TOKEN_BYTES + 1);
        texts[i] = (struct bl_text){text, (uint32_t)bytes};
    }
    *n_out = n;
    return BL_OK;
}

static bl_status check_list(const struct bl_model_file *file, const struct bl_meta *meta, uint32_t n_tokens)
{
    if (!meta->is_array)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: got a single value, expected an array", bl_model_file_path(file), ULL(meta->offset), meta->key);
    return meta->count != n_tokens ? refuse(file, meta, "length", meta->count, n_tokens) : BL_OK;
}

static bl_status read_scores(const struct bl_model_file *file, uint32_t n_tokens, float **out)
{
    const struct bl_meta *meta = bl_model_file_meta(file, "tokenizer.ggml.scores");
    if (!meta)
        return BL_OK;
    BL_TRY(check_list(file, meta, n_tokens));
    float *scores = *out = calloc(n_tokens ? n_tokens : 1, sizeof *scores);
    if (!scores)
        return no_memory(file, meta);
    for (uint32_t i = 0; i < n_tokens; i++) {
        double score = 0;
        BL_TRY(bl_meta_f64(file, meta, i, &score));
        scores[i] = (float)score;
    }
    return BL_OK;
}

static bl_status read_types(const struct bl_model_file *file, uint32_t n_tokens, uint8_t **out)
{
    const struct bl_meta *meta = bl_model_file_meta(file, "tokenizer.ggml.token_type");
    if (!meta)
        return BL_OK;
    BL_TRY(check_list(file, meta, n_tokens));
    uint8_t *types = *out = calloc(n_tokens ? n_tokens : 1, 1);
    if (!types)
        return no_memory(file, meta);
    for (uint32_t i = 0; i < n_tokens; i++) {
        uint64_t type = 0;
        BL_TRY(bl_meta_u64(file, meta, i, &type));
        if (type > BL_TOKEN_BYTE)
            return refuse(file, meta, "value", type, BL_TOKEN_BYTE);
        types[i] = (uint8_t)type;
    }
    return BL_OK;
}

static bl_status read_scalar(const struct bl_model_file *file, const char *key, const struct bl_meta **meta, uint64_t *value)
{
    *meta = bl_model_file_meta(file, key);
    if (!*meta)
        return BL_OK;
    if ((*meta)->is_array)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: got an array, expected a number", bl_model_file_path(file), ULL((*meta)->offset), key);
    return bl_meta_u64(file, *meta, 0, value);
}

static bl_status read_special(const struct bl_model_file *file, const char *key, int32_t fallback, uint32_t n_tokens, int32_t *out)
{
    const struct bl_meta *meta;
    uint64_t id = 0;
    *out = -1;
    BL_TRY(read_scalar(file, key, &meta, &id));
    if (!meta)
        *out = fallback >= 0 && (uint32_t)fallback < n_tokens ? fallback : -1;
    if (!meta || id == UINT32_MAX) /* some writers say "none" with -1 as u32 */
        return BL_OK;
    if (id >= n_tokens)
        return refuse(file, meta, "token id", id, n_tokens);
    *out = (int32_t)id;
    return BL_OK;
}

static bl_status read_flag(const struct bl_model_file *file, const char *key, int8_t *out)
{
    const struct bl_meta *meta;
    uint64_t value = 0;
    *out = -1;
    BL_TRY(read_scalar(file, key, &meta, &value));
    if (meta && value > 1)
        return refuse(file, meta, "value", value, 1);
    if (meta)
        *out = (int8_t)value;
    return BL_OK;
}

static bl_status read_name(const struct bl_model_file *file, const char *key, struct bl_text *out)
{
    const struct bl_meta *meta = bl_model_file_meta(file, key);
    *out = (struct bl_text){"", 0};
    if (!meta)
        return BL_OK;
    const char *text;
    uint64_t bytes;
    BL_TRY(bl_meta_string(file, meta, &text, &bytes));
    if (bytes > 256)
        return refuse(file, meta, "text length", bytes, 256);
    *out = (struct bl_text){text, (uint32_t)bytes};
    return BL_OK;
}

/* Phi-3 was trained with white space after its special tokens removed; only the model's name tells. */
static bl_status read_strip(const struct bl_model_file *file, bool *out)
{
    struct bl_text name;
    *out = false;
    const struct bl_meta *meta = bl_model_file_meta(file, "general.name");
    if (!meta || meta->is_array || meta->type != BL_META_STRING || meta->data_bytes > 264)
        return BL_OK;
    BL_TRY(read_name(file, "general.name", &name));
    for (uint32_t i = 0; i + 4 <= name.bytes; i++) {
        bool is_phi = (name.text[i] | 0x20) == 'p' && (name.text[i + 1] | 0x20) == 'h' && (name.text[i + 2] | 0x20) == 'i';
        if (is_phi && (name.text[i + 3] == '3' || (name.text[i + 3] == '-' && i + 5 <= name.bytes && name.text[i + 4] == '3')))
            *out = true;
    }
    return BL_OK;
}

static bl_status fill(const struct bl_model_file *file, struct lists *lists, struct bl_vocab *v)
{
    v->source = bl_model_file_path(file);
    BL_TRY(read_name(file, "tokenizer.ggml.model", &v->model));
    BL_TRY(read_name(file, "tokenizer.ggml.pre", &v->pre));
    const struct bl_meta *tokens = bl_model_file_meta(file, "tokenizer.ggml.tokens"), *merges = bl_model_file_meta(file, "tokenizer.ggml.merges");
    if (!tokens)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.tokens is missing: the file has no vocabulary", v->source);
    BL_TRY(read_texts(file, tokens, BL_LIMIT_VOCABULARY, &lists->tokens, &v->n_tokens));
    if (merges)
        BL_TRY(read_texts(file, merges, 4 * BL_LIMIT_VOCABULARY, &lists->merges, &v->n_merges));
    BL_TRY(read_scores(file, v->n_tokens, &lists->scores));
    BL_TRY(read_types(file, v->n_tokens, &lists->types));
    bool is_llama = v->model.bytes == 5 && memcmp(v->model.text, "llama", 5) == 0; /* whose writers could leave these three out */
    BL_TRY(read_special(file, "tokenizer.ggml.bos_token_id", is_llama ? 1 : -1, v->n_tokens, &v->special[BL_SPECIAL_BOS]));
    BL_TRY(read_special(file, "tokenizer.ggml.eos_token_id", is_llama ? 2 : -1, v->n_tokens, &v->special[BL_SPECIAL_EOS]));
    BL_TRY(read_special(file, "tokenizer.ggml.unknown_token_id", is_llama ? 0 : -1, v->n_tokens, &v->special[BL_SPECIAL_UNKNOWN]));
    BL_TRY(read_special(file, "tokenizer.ggml.eot_token_id", -1, v->n_tokens, &v->special[BL_SPECIAL_EOT]));
    BL_TRY(read_special(file, "tokenizer.ggml.padding_token_id", -1, v->n_tokens, &v->special[BL_SPECIAL_PAD]));
    BL_TRY(read_flag(file, "tokenizer.ggml.add_bos_token", &v->add_bos));
    BL_TRY(read_flag(file, "tokenizer.ggml.add_eos_token", &v->add_eos));
    BL_TRY(read_flag(file, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix));
    BL_TRY(read_flag(file, "tokenizer.ggml.remove_extra_whitespaces", &v->remove_extra_whitespaces));
    BL_TRY(read_strip(file, &v->strip_after_special));
    v->tokens = lists->tokens;
    v->merges = lists->merges;
    v->scores = lists->scores;
    v->types = lists->types;
    return BL_OK;
}

bl_status bl_vocab_tokenizer_create(const struct bl_model_file *file, bl_tokenizer **out)
{
    *out = NULL;
    struct lists lists = {0};
    struct bl_vocab vocab = {0};
    bl_status status = fill(file, &lists, &vocab);
    if (status == BL_OK)
        status = bl_tokenizer_create(&vocab, out);
    free(lists.tokens);
    free(lists.merges);
    free(lists.scores);
    free(lists.types);
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}

static void close_file(void *file)
{
    bl_model_file_close(file);
}

bl_status bl_tokenizer_open(const char *path, bl_tokenizer **out)
{
    bl_errors_clear();
    if (!out)
        BL_FAIL(BL_EINVAL, "out is NULL");
    *out = NULL;
    if (!path)
        BL_FAIL(BL_EINVAL, "path is NULL");
    struct bl_model_file *file = NULL;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    bl_status status = bl_vocab_tokenizer_create(file, out);
    if (status == BL_OK && (status = bl_model_file_check(file)) != BL_OK) {
        bl_tokenizer_destroy(*out);
        *out = NULL;
    }
    if (status != BL_OK) {
        bl_model_file_close(file);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    bl_tokenizer_own(*out, file, close_file);
    return BL_OK;
}
