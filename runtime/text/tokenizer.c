/* tokenizer.c: making a tokenizer from a vocabulary, its tables and getters. Everything in the vocabulary is hostile; what passes here is
 * used without another look by encode.c and decode.c. Knows no file. */
#include "base/error.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "text/tokenizer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes written as characters ---- */

/* Printable Latin-1 stands for itself; the other bytes, in order, are U+0100 and up. */
static bool is_plain_byte(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

uint32_t bl_byte_char(uint8_t byte)
{
    if (is_plain_byte(byte))
        return byte;
    return byte <= 0x20 ? 0x100u + byte : byte == 0xad ? 0x143 : 0x121u + (byte - 0x7fu);
}

int bl_char_byte(uint32_t code)
{
    if (code < 0x100)
        return is_plain_byte(code) ? (int)code : -1;
    if (code <= 0x120)
        return (int)(code - 0x100);
    return code <= 0x142 ? (int)(code - 0x121 + 0x7f) : code == 0x143 ? 0xad : -1;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int bl_byte_token_value(struct bl_text text)
{
    if (text.bytes != 6 || memcmp(text.text, "<0x", 3) != 0 || text.text[5] != '>')
        return -1;
    int high = hex_digit(text.text[3]), low = hex_digit(text.text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ---- tables ---- */

static uint32_t *new_slots(bl_tokenizer *t, uint32_t n_entries, uint32_t *mask)
{
    uint32_t slots = 16; /* entries are at most 2^23, see check_counts; three quarters full at most */
    while (slots / 4 * 3 < n_entries)
        slots *= 2;
    *mask = slots - 1;
    return bl_arena_alloc(&t->arena, slots, sizeof(uint32_t));
}

static uint32_t *token_slot(const bl_tokenizer *t, const char *text, size_t bytes)
{
    uint32_t at = (uint32_t)bl_hash_bytes(t->hash_key, text, bytes) & t->token_mask;
    for (;; at = (at + 1) & t->token_mask) {
        uint32_t id = t->token_slots[at];
        if (id == 0 || (t->tokens[id - 1].bytes == bytes && memcmp(t->tokens[id - 1].text, text, bytes) == 0))
            return &t->token_slots[at];
    }
}

int32_t bl_token_by_text(const bl_tokenizer *t, const char *text, size_t bytes)
{
    return bytes == 0 || bytes > t->max_token_bytes ? -1 : (int32_t)*token_slot(t, text, bytes) - 1;
}

static uint32_t *merge_slot(const bl_tokenizer *t, int32_t left, int32_t right)
{
    uint32_t at = (uint32_t)bl_hash_u64(t->hash_key, (uint64_t)(uint32_t)left << 32 | (uint32_t)right) & t->merge_mask;
    for (;; at = (at + 1) & t->merge_mask) {
        uint32_t rank = t->merge_slots[at];
        if (rank == 0 || (t->merges[rank - 1].left == left && t->merges[rank - 1].right == right))
            return &t->merge_slots[at];
    }
}

int64_t bl_merge_rank(const bl_tokenizer *t, int32_t left, int32_t right)
{
    return (int64_t)*merge_slot(t, left, right) - 1;
}

/* ---- creation ---- */

#define LIMIT_MERGES (4u * BL_LIMIT_VOCABULARY)

static bl_status check_counts(const struct bl_vocab *vocab)
{
    if (vocab->n_tokens == 0)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.tokens: got 0 tokens", vocab->source);
    if (vocab->n_tokens > BL_LIMIT_VOCABULARY)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.tokens: got %u, limit %u", vocab->source, vocab->n_tokens, BL_LIMIT_VOCABULARY);
    if (vocab->n_merges > LIMIT_MERGES)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.merges: got %u, limit %u", vocab->source, vocab->n_merges, LIMIT_MERGES);
    return BL_OK;
}

static bl_status copy_tokens(bl_tokenizer *t, const struct bl_vocab *vocab)
{
    t->n_tokens = vocab->n_tokens;
    t->tokens = bl_arena_alloc(&t->arena, t->n_tokens, sizeof *t->tokens);
    t->types = bl_arena_alloc(&t->arena, t->n_tokens, 1);
    t->is_end = bl_arena_alloc(&t->arena, t->n_tokens, 1);
    t->token_slots = new_slots(t, t->n_tokens, &t->token_mask);
    if (!t->tokens || !t->types || !t->is_end || !t->token_slots)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a vocabulary of %u tokens", vocab->source, t->n_tokens);
    memcpy(t->tokens, vocab->tokens, t->n_tokens * sizeof *t->tokens);
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        struct bl_text text = t->tokens[id];
        if (text.bytes > BL_LIMIT_TOKEN_BYTES)
            BL_FAIL(BL_EFORMAT, "%s: length of token %u: got %u, limit %u", vocab->source, id, text.bytes, BL_LIMIT_TOKEN_BYTES);
        t->types[id] = vocab->types ? vocab->types[id] : BL_TOKEN_NORMAL;
        if (t->types[id] > BL_TOKEN_BYTE)
            BL_FAIL(BL_EFORMAT, "%s: type of token %u: got %u, limit %u", vocab->source, id, t->types[id], (unsigned)BL_TOKEN_BYTE);
        if (t->types[id] == BL_TOKEN_BYTE && bl_byte_token_value(text) < 0)
            BL_FAIL(BL_EFORMAT, "%s: text of byte token %u: got '%.*s', limit: <0x00> to <0xFF>", vocab->source, id,
                    (int)(text.bytes < 32 ? text.bytes : 32), text.text);
        if (text.bytes == 0) /* some files pad with nameless tokens; they cannot be written and stand for nothing */
            continue;
        uint32_t *slot = token_slot(t, text.text, text.bytes);
        if (*slot != 0)
            BL_FAIL(BL_EFORMAT, "%s: token %u: got '%.*s' again, it is token %u", vocab->source, id, (int)(text.bytes < 64 ? text.bytes : 64),
                    text.text, *slot - 1);
        *slot = id + 1;
        if (text.bytes > t->max_token_bytes)
            t->max_token_bytes = text.bytes;
    }
    return BL_OK;
}

/* Turns scores into numbers that a merge sorts by: larger scores become smaller numbers, equal ones stay equal. */
static bl_status copy_scores(bl_tokenizer *t, const struct bl_vocab *vocab)
{
    t->priorities = bl_arena_alloc(&t->arena, t->n_tokens, sizeof *t->priorities);
    if (!t->priorities)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u scores", vocab->source, t->n_tokens);
    for (uint32_t id = 0; vocab->scores && id < t->n_tokens; id++) {
        if (isnan(vocab->scores[id]))
            BL_FAIL(BL_EFORMAT, "%s: score of token %u: got NaN", vocab->source, id);
        uint32_t bits = bl_f32_bits(vocab->scores[id] + 0.0f); /* -0 becomes 0 */
        t->priorities[id] = bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
    }
    return BL_OK;
}

static bl_status add_merge(bl_tokenizer *t, const struct bl_vocab *vocab, uint32_t rank)
{
    struct bl_text text = vocab->merges[rank];
    const char *space = text.bytes > 1 ? memchr(text.text + 1, ' ', text.bytes - 1) : NULL;
    size_t left_bytes = space ? (size_t)(space - text.text) : 0, right_bytes = space ? text.bytes - left_bytes - 1 : 0;
    char joined[2 * BL_LIMIT_TOKEN_BYTES];
    if (!space || left_bytes + right_bytes > t->max_token_bytes)
        BL_FAIL(BL_EFORMAT, "%s: merge %u: got '%.*s', limit: two tokens that make a third", vocab->source, rank,
                (int)(text.bytes < 64 ? text.bytes : 64), text.text);
    memcpy(joined, text.text, left_bytes);
    memcpy(joined + left_bytes, space + 1, right_bytes);
    struct bl_merge merge = {bl_token_by_text(t, text.text, left_bytes), bl_token_by_text(t, space + 1, right_bytes),
                             bl_token_by_text(t, joined, left_bytes + right_bytes)};
    if (merge.left < 0 || merge.right < 0 || merge.joined < 0)
        BL_FAIL(BL_EFORMAT, "%s: merge %u: got '%.*s', limit: two tokens that make a third", vocab->source, rank,
                (int)(text.bytes < 64 ? text.bytes : 64), text.text);
    t->merges[rank] = merge;
    uint32_t *slot = merge_slot(t, merge.left, merge.right);
    if (*slot == 0) /* the first of equal merges counts */
        *slot = rank + 1;
    return BL_OK;
}

static bl_status copy_merges(bl_tokenizer *t, const struct bl_vocab *vocab)
{
    t->merges = bl_arena_alloc(&t->arena, vocab->n_merges, sizeof *t->merges);
    t->merge_slots = new_slots(t, vocab->n_merges, &t->merge_mask);
    if (!t->merges || !t->merge_slots)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u merges", vocab->source, vocab->n_merges);
    for (uint32_t rank = 0; rank < vocab->n_merges; rank++)
        BL_TRY(add_merge(t, vocab, rank));
    return BL_OK;
}

static void find_byte_tokens(bl_tokenizer *t)
{
    static const char hex[] = "0123456789ABCDEF";
    bool is_encoded = t->splitter && !(t->pre_flags & BL_PRE_RAW);
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[6] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
        size_t bytes = 6;
        if (is_encoded) {
            uint32_t code = bl_byte_char((uint8_t)byte);
            bytes = bl_utf8_length(code);
            text[0] = (char)(bytes == 1 ? code : 0xc0 | code >> 6);
            text[1] = (char)(0x80 | (code & 0x3f));
        }
        t->byte_ids[byte] = bl_token_by_text(t, text, bytes);
        if (t->byte_ids[byte] < 0 && !is_encoded) {
            text[0] = (char)byte;
            t->byte_ids[byte] = bl_token_by_text(t, text, 1);
        }
        if (t->byte_ids[byte] >= 0 && (t->types[t->byte_ids[byte]] == BL_TOKEN_CONTROL || t->types[t->byte_ids[byte]] == BL_TOKEN_UNKNOWN))
            t->byte_ids[byte] = -1;
    }
}

static bool is_text(struct bl_text a, const char *b)
{
    return a.bytes == strlen(b) && memcmp(a.text, b, a.bytes) == 0;
}

static bl_status choose_kind(bl_tokenizer *t, const struct bl_vocab *vocab, bool *add_bos)
{
    struct bl_text pre_name = vocab->pre;
    if (is_text(vocab->model, "llama")) {
        *add_bos = true;
        return BL_OK;
    }
    if (is_text(vocab->model, "gemma4"))
        pre_name = (struct bl_text){"gemma4", 6};
    else if (!is_text(vocab->model, "gpt2"))
        BL_FAIL(BL_EUNSUPPORTED, "%s: tokenizer.ggml.model: got '%.*s', limit: llama, gpt2 and gemma4 are known", vocab->source,
                (int)(vocab->model.bytes < 64 ? vocab->model.bytes : 64), vocab->model.text);
    if (pre_name.bytes == 0) {
        bl_log(BL_LOG_WARNING, "%s: tokenizer.ggml.pre is missing, 'default' is assumed: words may be cut otherwise than in training", vocab->source);
        pre_name = (struct bl_text){"default", 7};
    }
    const struct bl_pre *pre = bl_pre_find(pre_name);
    if (!pre)
        BL_FAIL(BL_EUNSUPPORTED, "%s: tokenizer.ggml.pre: got '%.*s', which is not known", vocab->source,
                (int)(pre_name.bytes < 64 ? pre_name.bytes : 64), pre_name.text);
    t->splitter = pre->splitter;
    t->pre_flags = pre->flags;
    *add_bos = (pre->flags & BL_PRE_ADD_BOS) != 0;
    return BL_OK;
}

static bl_status choose_special(bl_tokenizer *t, const struct bl_vocab *vocab, bool add_bos)
{
    for (int i = 0; i < BL_SPECIAL_COUNT; i++) {
        t->special[i] = vocab->special[i] < 0 ? -1 : vocab->special[i];
        if (t->special[i] >= 0 && (uint32_t)t->special[i] >= t->n_tokens)
            BL_FAIL(BL_EFORMAT, "%s: special token %d: got %d, limit %u", vocab->source, i, t->special[i], t->n_tokens);
    }
    if (vocab->add_bos == 1 && t->special[BL_SPECIAL_BOS] < 0)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.add_bos_token is set, but there is no begin token", vocab->source);
    if (vocab->add_eos == 1 && t->special[BL_SPECIAL_EOS] < 0)
        BL_FAIL(BL_EFORMAT, "%s: tokenizer.ggml.add_eos_token is set, but there is no end token", vocab->source);
    t->add_bos = (vocab->add_bos < 0 ? add_bos : vocab->add_bos == 1) && t->special[BL_SPECIAL_BOS] >= 0;
    t->add_eos = vocab->add_eos == 1;
    t->add_space_prefix = !t->splitter && vocab->add_space_prefix != 0;
    t->strip_after_special = vocab->strip_after_special;
    return BL_OK;
}

static bl_status fill(bl_tokenizer *t, const struct bl_vocab *vocab)
{
    bool add_bos = false;
    BL_TRY(check_counts(vocab));
    BL_TRY(choose_kind(t, vocab, &add_bos));
    BL_TRY(copy_tokens(t, vocab));
    BL_TRY(choose_special(t, vocab, add_bos));
    if (t->splitter)
        BL_TRY(copy_merges(t, vocab));
    else
        BL_TRY(copy_scores(t, vocab));
    bl_token_roles_find(t);
    find_byte_tokens(t);
    return bl_specials_build(t);
}

bl_status bl_tokenizer_create(const struct bl_vocab *vocab, bl_tokenizer **out)
{
    *out = NULL;
    bl_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a tokenizer", vocab->source);
    bl_arena_init(&t->arena, 0);
    t->hash_key = bl_hash_key();
    bl_status status = fill(t, vocab);
    if (status != BL_OK) {
        bl_tokenizer_destroy(t);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = t;
    return BL_OK;
}

void bl_tokenizer_own(bl_tokenizer *tokenizer, void *owner, void (*release)(void *owner))
{
    tokenizer->owner = owner;
    tokenizer->release = release;
}

void bl_tokenizer_destroy(bl_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    if (tokenizer->release)
        tokenizer->release(tokenizer->owner);
    bl_arena_finish(&tokenizer->arena);
    free(tokenizer);
}

/* ---- getters ---- */

uint32_t bl_tokenizer_vocabulary(const bl_tokenizer *tokenizer)
{
    return tokenizer->n_tokens;
}

const char *bl_tokenizer_token_text(const bl_tokenizer *tokenizer, int32_t id, size_t *bytes)
{
    bool is_known = id >= 0 && (uint32_t)id < tokenizer->n_tokens;
    *bytes = is_known ? tokenizer->tokens[id].bytes : 0;
    return is_known ? tokenizer->tokens[id].text : NULL;
}

int32_t bl_tokenizer_find(const bl_tokenizer *tokenizer, const char *text, size_t bytes)
{
    return bl_token_by_text(tokenizer, text, bytes);
}

int32_t bl_tokenizer_special(const bl_tokenizer *tokenizer, bl_special which)
{
    return which >= 0 && which < BL_SPECIAL_COUNT ? tokenizer->special[which] : -1;
}

bool bl_tokenizer_is_end(const bl_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->n_tokens && tokenizer->is_end[id];
}
