/* encode.c: text to token ids. Owns the order of things: special tokens first, then pieces, then merges inside a piece. All tables come
 * checked from tokenizer.c; the text is any bytes. */
#include "base/checked.h"
#include "base/error.h"
#include "text/merge.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

struct encoder {
    const bl_tokenizer *t;
    int32_t *out;
    size_t n_out;
    uint64_t n_found;
    struct bl_merger merger;
    char *escaped; /* the fragment with spaces as U+2581 */
    size_t escaped_room;
    uint32_t *chars;
    size_t chars_room;
    const char *word; /* what the symbols' positions refer to */
};

static void emit(struct encoder *e, int32_t id)
{
    if (e->n_found < e->n_out)
        e->out[e->n_found] = id;
    e->n_found++;
}

/* Characters that no token spells: their bytes, and where even those are missing the unknown token, once per character. */
static void emit_bytes(struct encoder *e, const char *text, size_t bytes)
{
    bool is_unknown = false;
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = e->t->byte_ids[(unsigned char)text[i]];
        if (id >= 0)
            emit(e, id);
        else
            is_unknown = true;
    }
    if (is_unknown && e->t->special[BL_SPECIAL_UNKNOWN] >= 0)
        emit(e, e->t->special[BL_SPECIAL_UNKNOWN]);
}

static int32_t text_token(const bl_tokenizer *t, const char *text, size_t bytes)
{
    int32_t id = bl_token_by_text(t, text, bytes);
    return id >= 0 && bl_token_is_text(t, id) ? id : -1;
}

/* ---- merging one word ---- */

static bool pair_by_rank(const void *user, const struct bl_symbol *left, const struct bl_symbol *right, uint32_t *priority, int32_t *id)
{
    const struct encoder *e = user;
    if (left->id < 0 || right->id < 0)
        return false;
    int64_t rank = bl_merge_rank(e->t, left->id, right->id);
    if (rank < 0 || !bl_token_is_text(e->t, e->t->merges[rank].joined))
        return false;
    *priority = (uint32_t)rank;
    *id = e->t->merges[rank].joined;
    return true;
}

static bool pair_by_score(const void *user, const struct bl_symbol *left, const struct bl_symbol *right, uint32_t *priority, int32_t *id)
{
    const struct encoder *e = user;
    *id = text_token(e->t, e->word + left->at, (size_t)left->bytes + right->bytes);
    if (*id < 0)
        return false;
    *priority = e->t->priorities[*id];
    return true;
}

static bl_status merge_and_emit(struct encoder *e, bl_pair_fn pair)
{
    BL_TRY(bl_merger_run(&e->merger, pair, e));
    for (uint32_t i = 0; i != BL_NO_SYMBOL; i = e->merger.symbols[i].next) {
        const struct bl_symbol *symbol = &e->merger.symbols[i];
        if (symbol->id >= 0)
            emit(e, symbol->id);
        else
            emit_bytes(e, e->word + symbol->at, symbol->bytes);
    }
    return BL_OK;
}

/* Symbols are the UTF-8 characters. */
static bl_status encode_characters(struct encoder *e, const char *word, size_t bytes, bl_pair_fn pair)
{
    e->word = word;
    BL_TRY(bl_merger_begin(&e->merger, bytes));
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        size_t length = bl_utf8_decode(word + at, bytes - at, &code);
        bl_merger_add(&e->merger, (uint32_t)at, (uint32_t)length, text_token(e->t, word + at, length));
        at += length;
    }
    return merge_and_emit(e, pair);
}

/* Symbols are the bytes. */
static bl_status encode_bytes(struct encoder *e, const char *word, size_t bytes)
{
    e->word = word;
    BL_TRY(bl_merger_begin(&e->merger, bytes));
    for (size_t at = 0; at < bytes; at++)
        bl_merger_add(&e->merger, (uint32_t)at, 1, e->t->byte_ids[(unsigned char)word[at]]);
    return merge_and_emit(e, pair_by_rank);
}

/* The token that spells the whole word, -1 if there is none. */
static int32_t whole_word(const bl_tokenizer *t, const char *word, size_t bytes)
{
    char text[BL_PRE_WORD_BYTES * 2];
    if (t->pre_flags & BL_PRE_RAW)
        return text_token(t, word, bytes);
    if (bytes > BL_PRE_WORD_BYTES)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t code = bl_byte_char((uint8_t)word[i]);
        if (code >= 0x80)
            text[n++] = (char)(0xc0 | code >> 6);
        text[n++] = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
    }
    return text_token(t, text, n);
}

static bool is_newlines(const char *word, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (word[i] != '\n')
            return false;
    return true;
}

static bl_status encode_piece(struct encoder *e, const char *word, size_t bytes)
{
    uint32_t flags = e->t->pre_flags;
    if ((flags & BL_PRE_IGNORE_MERGES) || ((flags & BL_PRE_NEWLINES) && is_newlines(word, bytes))) {
        int32_t id = whole_word(e->t, word, bytes);
        if (id >= 0) {
            emit(e, id);
            return BL_OK;
        }
    }
    return flags & BL_PRE_RAW ? encode_characters(e, word, bytes, pair_by_rank) : encode_bytes(e, word, bytes);
}

/* ---- one fragment: text between special tokens ---- */

static bl_status make_room(void **buffer, size_t *room, uint64_t count, uint64_t size)
{
    uint64_t bytes;
    if (!bl_ck_mul(count, size, &bytes) || bytes > SIZE_MAX)
        bytes = UINT64_MAX;
    if (bytes <= *room)
        return BL_OK;
    void *grown = bytes == UINT64_MAX ? NULL : realloc(*buffer, (size_t)bytes);
    if (!grown)
        BL_FAIL(BL_ENOMEM, "no memory to tokenize a text: %llu bytes", (unsigned long long)bytes);
    *buffer = grown;
    *room = (size_t)bytes;
    return BL_OK;
}

/* Writes spaces as U+2581, with one more in front if asked. The text becomes at most three times as long. */
static bl_status escape(struct encoder *e, const char **text, size_t *bytes, bool with_prefix)
{
    size_t n_spaces = with_prefix;
    for (size_t i = 0; i < *bytes; i++)
        n_spaces += (*text)[i] == ' ';
    uint64_t total = (uint64_t)*bytes + (BL_SPACE_MARK_BYTES - 1) * (uint64_t)n_spaces + with_prefix;
    if (total > INT32_MAX)
        BL_FAIL(BL_ELIMIT, "text of %llu bytes with its spaces written out, limit %d", (unsigned long long)total, INT32_MAX);
    void *buffer = e->escaped;
    BL_TRY(make_room(&buffer, &e->escaped_room, total, 1));
    char *out = e->escaped = buffer;
    if (with_prefix) {
        memcpy(out, BL_SPACE_MARK, BL_SPACE_MARK_BYTES);
        out += BL_SPACE_MARK_BYTES;
    }
    for (size_t i = 0; i < *bytes; i++) {
        if ((*text)[i] == ' ') {
            memcpy(out, BL_SPACE_MARK, BL_SPACE_MARK_BYTES);
            out += BL_SPACE_MARK_BYTES;
        } else {
            *out++ = (*text)[i];
        }
    }
    *text = e->escaped;
    *bytes = (size_t)total;
    return BL_OK;
}

static bl_status encode_pieces(struct encoder *e, const char *text, size_t bytes)
{
    void *buffer = e->chars;
    BL_TRY(make_room(&buffer, &e->chars_room, bytes, sizeof *e->chars));
    e->chars = buffer;
    size_t n_chars = 0;
    for (size_t at = 0; at < bytes; n_chars++) {
        uint32_t code;
        at += bl_utf8_decode(text + at, bytes - at, &code);
        e->chars[n_chars] = bl_char_pack(code);
    }
    bl_split(e->t->splitter, e->chars, n_chars);
    size_t begin = 0, end = 0;
    for (size_t i = 0; i < n_chars; i++) {
        if (i > 0 && (e->chars[i] & BL_CHAR_STARTS)) {
            BL_TRY(encode_piece(e, text + begin, end - begin));
            begin = end;
        }
        end += bl_utf8_length(BL_CHAR_CODE(e->chars[i]));
    }
    return encode_piece(e, text + begin, end - begin);
}

static bl_status encode_fragment(struct encoder *e, const char *text, size_t bytes)
{
    const bl_tokenizer *t = e->t;
    if (bytes == 0)
        return BL_OK;
    if (!t->splitter || (t->pre_flags & BL_PRE_ESCAPE))
        BL_TRY(escape(e, &text, &bytes, t->add_space_prefix));
    return t->splitter ? encode_pieces(e, text, bytes) : encode_characters(e, text, bytes, pair_by_score);
}

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bl_status encode_all(struct encoder *e, const char *text, size_t bytes, uint32_t flags)
{
    const bl_tokenizer *t = e->t;
    bool with_control = (flags & BL_TOKENIZE_PARSE_SPECIAL) != 0;
    if ((flags & BL_TOKENIZE_ADD_SPECIAL) && t->add_bos)
        emit(e, t->special[BL_SPECIAL_BOS]);
    size_t from = 0, at;
    int32_t id;
    while (bl_specials_find(t, text, bytes, from, with_control, &at, &id)) {
        BL_TRY(encode_fragment(e, text + from, at - from));
        emit(e, id);
        from = at + t->tokens[id].bytes;
        bool is_strip = t->strip_after_special && id != t->special[BL_SPECIAL_BOS] && id != t->special[BL_SPECIAL_UNKNOWN] &&
                        id != t->special[BL_SPECIAL_PAD];
        while (is_strip && from < bytes && is_white(text[from]))
            from++;
    }
    BL_TRY(encode_fragment(e, text + from, bytes - from));
    if ((flags & BL_TOKENIZE_ADD_SPECIAL) && t->add_eos)
        emit(e, t->special[BL_SPECIAL_EOS]);
    return BL_OK;
}

bl_status bl_tokenizer_encode(const bl_tokenizer *tokenizer, const char *text, size_t bytes, uint32_t flags, int32_t *out, size_t n_out,
                              size_t *n_found)
{
    bl_errors_clear();
    if (!n_found)
        BL_FAIL(BL_EINVAL, "n_found is NULL");
    *n_found = 0;
    if (!tokenizer || (!text && bytes > 0) || (!out && n_out > 0))
        BL_FAIL(BL_EINVAL, "%s is NULL", !tokenizer ? "tokenizer" : !text && bytes > 0 ? "text" : "out");
    if (flags & ~(uint32_t)(BL_TOKENIZE_ADD_SPECIAL | BL_TOKENIZE_PARSE_SPECIAL))
        BL_FAIL(BL_EINVAL, "flags: got %u, limit 3", flags);
    if (bytes > INT32_MAX)
        BL_FAIL(BL_ELIMIT, "text: got %llu bytes, limit %d", (unsigned long long)bytes, INT32_MAX);
    struct encoder e = {.t = tokenizer, .out = out, .n_out = n_out};
    bl_status status = encode_all(&e, bytes ? text : "", bytes, flags);
    bl_merger_finish(&e.merger);
    free(e.escaped);
    free(e.chars);
    if (status != BL_OK)
        return bl_error_trace(status, __FILE__, __LINE__);
    if (e.n_found > INT32_MAX)
        BL_FAIL(BL_ELIMIT, "text: got %llu tokens, limit %d", (unsigned long long)e.n_found, INT32_MAX);
    *n_found = (size_t)e.n_found;
    return BL_OK;
}
