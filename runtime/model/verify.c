/* verify.c: what `bitloom verify` does: every finding about a file that opened. Owns the checks that opening leaves out because they touch
 * tensor data; changes nothing and needs no memory that grows with the file. */
#include "base/cursor.h"
#include "base/error.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/limits.h"
#include "model/model_file_parts.h"
#include "model/xq.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ULL(x) ((unsigned long long)(x))
#define MOST_LINES 100u

struct walk {
    const struct bl_model_file *file;
    bl_report_fn report;
    void *user;
    uint64_t n_findings;
};

BL_PRINTF(2, 3)
static void found(struct walk *w, const char *format, ...)
{
    if (w->n_findings++ >= MOST_LINES || !w->report)
        return;
    char line[512];
    int used = snprintf(line, sizeof line, "%.200s: ", w->file->path);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    va_end(args);
    w->report(w->user, line);
}

/* ---- layout ---- */

static int by_offset(const void *a, const void *b)
{
    const struct bl_tensor *x = *(const struct bl_tensor *const *)a, *y = *(const struct bl_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool is_zero(const uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i] != 0)
            return false;
    return true;
}

/* Tensors follow each other in directory order, each padded with zeros to the alignment. */
static bl_status verify_layout(struct walk *w)
{
    const struct bl_model_file *file = w->file;
    if (file->n_tensors == 0)
        return BL_OK;
    const struct bl_tensor **sorted = malloc(file->n_tensors * sizeof *sorted);
    if (!sorted)
        BL_FAIL(BL_ENOMEM, "%s: no memory to sort %u tensors", file->path, file->n_tensors);
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        sorted[i] = &file->tensors[i];
        if (i > 0 && sorted[i]->offset < sorted[i - 1]->offset)
            found(w, "offset %llu: tensor '%.80s': data at %llu lies before its predecessor's", ULL(sorted[i]->entry_offset), sorted[i]->name,
                  ULL(sorted[i]->offset));
    }
    qsort(sorted, file->n_tensors, sizeof *sorted, by_offset);
    uint64_t end = file->data_offset;
    bool is_end_known = true;
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct bl_tensor *t = sorted[i];
        if (t->offset < end)
            found(w, "offset %llu: tensor '%.80s': data at %llu overlaps what ends at %llu", ULL(t->entry_offset), t->name, ULL(t->offset), ULL(end));
        else if (is_end_known && t->offset - end >= file->alignment)
            found(w, "offset %llu: tensor '%.80s': got a gap of %llu bytes, limit %llu", ULL(end), t->name, ULL(t->offset - end),
                  ULL(file->alignment - 1));
        else if (is_end_known && !is_zero(file->data + end, t->offset - end))
            found(w, "offset %llu: padding before tensor '%.80s' is not zero", ULL(end), t->name);
        if (t->offset + t->bytes > end) /* inside the file, so no overflow */
            end = t->offset + t->bytes;
        is_end_known = t->bytes != 0;
        if (!is_end_known)
            found(w, "offset %llu: tensor '%.80s': unknown type %u, its data cannot be checked", ULL(t->entry_offset), t->name, t->ggml_type);
    }
    free(sorted);
    return BL_OK;
}

/* ---- values ---- */

/* Where a block holds half floats that scale everything else in it. */
struct scale_places { uint8_t n, at[2]; };
static const struct scale_places scales_of[BL_FMT_WEIGHT_COUNT] = {
    [BL_FMT_F16] = {1, {0}},      [BL_FMT_Q4_0] = {1, {0}},   [BL_FMT_Q4_1] = {2, {0, 2}}, [BL_FMT_Q5_0] = {1, {0}},   [BL_FMT_Q5_1] = {2, {0, 2}},
    [BL_FMT_Q8_0] = {1, {0}},     [BL_FMT_Q2_K] = {2, {80, 82}}, [BL_FMT_Q3_K] = {1, {108}}, [BL_FMT_Q4_K] = {2, {0, 2}}, [BL_FMT_Q5_K] = {2, {0, 2}},
    [BL_FMT_Q6_K] = {1, {208}},
};

static bool is_f32_finite(uint32_t bits)
{
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static bool is_block_finite(enum bl_format format, const uint8_t *block)
{
    if (format == BL_FMT_F32)
        return is_f32_finite(bl_load_u32(block));
    if (format == BL_FMT_BF16)
        return is_f32_finite((uint32_t)bl_load_u16(block) << 16);
    const struct scale_places *places = &scales_of[format];
    for (uint32_t i = 0; i < places->n; i++)
        if ((bl_load_u16(block + places->at[i]) & 0x7c00u) == 0x7c00u)
            return false;
    return true;
}

/* Whether a tensor holds its own checksum. */
static bool has_checksum(const struct bl_tensor *t)
{
    return t->format == BL_FMT_BX || t->is_table;
}

/* A blob whose checksum is right holds what its writer meant; opening has checked the rest. */
static bool is_as_written(const struct bl_model_file *file, const struct bl_tensor *t)
{
    const uint8_t *data = file->data + t->offset;
    return bl_load_u64(data + 8) == bl_xq_checksum(data, t->bytes);
}

/* What the writer knew of the whole file, in an index that is itself as it was written. What a tensor's own checksum finds is not said twice. */
static void verify_index(struct walk *w, const struct bl_tensor *t)
{
    const struct bl_model_file *file = w->file;
    const struct bl_xq_index *index = (const void *)(file->data + t->offset);
    const uint64_t *sums = (const uint64_t *)(index + 1);
    if (index->head_bytes != file->data_offset)
        found(w, "offset %llu: the head had %llu bytes when it was written, now %llu: it was written anew", ULL(t->offset + 16), ULL(index->head_bytes), ULL(file->data_offset));
    else if (bl_hash_bytes(BL_XQ_INDEX_MAGIC, file->data, (size_t)file->data_offset) != index->head_checksum)
        found(w, "offset %llu: checksum of the first %llu bytes: not what was written", ULL(t->offset + 24), ULL(index->head_bytes));
    for (uint32_t i = 0, at = 0; i < file->n_tensors; i++) {
        const struct bl_tensor *other = &file->tensors[i];
        if (other != t && bl_hash_bytes(BL_XQ_INDEX_MAGIC, file->data + other->offset, (size_t)other->bytes) != sums[at++] && (!has_checksum(other) || is_as_written(file, other)))
            found(w, "offset %llu: tensor '%.80s': its data is not what was written", ULL(other->offset), other->name);
    }
}

static void verify_values(struct walk *w, const struct bl_tensor *t)
{
    const bool is_changed = has_checksum(t) && !is_as_written(w->file, t);
    if (is_changed)
        found(w, "offset %llu: tensor '%.80s': its data is not what was written: the checksum in it is %016llx, that of its data %016llx", ULL(t->offset), t->name,
              ULL(bl_load_u64(w->file->data + t->offset + 8)), ULL(bl_xq_checksum(w->file->data + t->offset, t->bytes)));
    if (t->is_table && strcmp(t->name, BL_XQ_INDEX_NAME) == 0 && !is_changed)
        verify_index(w, t);
    if (t->format == BL_FMT_NONE || t->format == BL_FMT_BX)
        return;
    const uint32_t block_bytes = bl_formats[t->format].block_bytes;
    const uint8_t *data = w->file->data + t->offset;
    uint64_t n_bad = 0, first = 0;
    for (uint64_t at = 0; at < t->bytes; at += block_bytes) {
        if (is_block_finite(t->format, data + at))
            continue;
        if (n_bad++ == 0)
            first = at;
    }
    if (n_bad)
        found(w, "offset %llu: tensor '%.80s' (%s): got %llu blocks with a scale or value that is not finite, limit 0", ULL(t->offset + first),
              t->name, bl_formats[t->format].name, ULL(n_bad));
}

/* ---- vocabulary ---- */

static void verify_vocabulary(struct walk *w)
{
    static const char *const lists[] = {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"};
    static const char suffix[] = "_token_id", prefix[] = "tokenizer.ggml.";
    const struct bl_model_file *file = w->file;
    const struct bl_meta *tokens = bl_model_file_meta(file, "tokenizer.ggml.tokens");
    if (tokens && (!tokens->is_array || tokens->type != BL_META_STRING)) {
        found(w, "offset %llu: tokenizer.ggml.tokens is no array of strings", ULL(tokens->offset));
        return;
    }
    uint64_t n_tokens = tokens ? tokens->count : 0;
    if (n_tokens > BL_LIMIT_VOCABULARY)
        found(w, "offset %llu: tokenizer.ggml.tokens: got %llu, limit %u", ULL(tokens->offset), ULL(n_tokens), BL_LIMIT_VOCABULARY);
    for (size_t i = 0; tokens && i < sizeof lists / sizeof lists[0]; i++) {
        const struct bl_meta *list = bl_model_file_meta(file, lists[i]);
        if (list && (!list->is_array || list->count != n_tokens))
            found(w, "offset %llu: %s: got %llu elements, limit %llu (the vocabulary)", ULL(list->offset), lists[i], ULL(list->count), ULL(n_tokens));
    }
    for (uint32_t i = 0; i < file->n_meta; i++) {
        const struct bl_meta *meta = &file->meta[i];
        size_t length = strlen(meta->key);
        if (strncmp(meta->key, prefix, sizeof prefix - 1) != 0 || length < sizeof suffix || strcmp(meta->key + length - (sizeof suffix - 1), suffix) != 0)
            continue;
        uint64_t id;
        if (bl_meta_u64(file, meta, 0, &id) != BL_OK || meta->is_array)
            found(w, "offset %llu: %.80s: got type %s, expected a token id", ULL(meta->offset), meta->key, bl_meta_type_name(meta->type));
        else if (id >= n_tokens && id != UINT32_MAX) /* which says "none" */
            found(w, "offset %llu: %.80s: got %llu, limit %llu (the vocabulary)", ULL(meta->offset), meta->key, ULL(id), ULL(n_tokens));
    }
    bl_errors_clear(); /* a failed look was a finding, not our failure */
}

bl_status bl_model_file_verify(struct bl_model_file *file, bl_report_fn report, void *user, uint64_t *n_findings)
{
    struct walk w = {file, report, user, 0};
    verify_vocabulary(&w);
    BL_TRY(verify_layout(&w));
    bool has_xq = false;
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        verify_values(&w, &file->tensors[i]);
        has_xq |= file->tensors[i].format == BL_FMT_BX;
    }
    if (has_xq && !bl_model_file_tensor(file, BL_XQ_INDEX_NAME))
        found(&w, "tensor '%s' is missing: the checksums of the file", BL_XQ_INDEX_NAME);
    BL_TRY(bl_model_file_check(file));
    if (w.n_findings > MOST_LINES && report) {
        char line[64];
        snprintf(line, sizeof line, "and %llu findings more", ULL(w.n_findings - MOST_LINES));
        report(user, line);
    }
    *n_findings = w.n_findings;
    return BL_OK;
}
