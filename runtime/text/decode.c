/* decode.c: token ids back to text, one at a time, in whole UTF-8 sequences. Knows what each token's text means in its kind of vocabulary. */
#include "base/error.h"
#include "base/limits.h"
#include "text/tokenizer_parts.h"

#include <string.h>

/* The piece of the last call on this thread: what was pending, then the token. No token grows when it is decoded. */
static _Thread_local char piece[sizeof((bl_decoder){0}).pending + BL_LIMIT_TOKEN_BYTES];

static size_t copy_unescaped(char *out, struct bl_text text)
{
    size_t n = 0;
    for (uint32_t i = 0; i < text.bytes;) {
        if (text.bytes - i >= BL_SPACE_MARK_BYTES && memcmp(text.text + i, BL_SPACE_MARK, BL_SPACE_MARK_BYTES) == 0) {
            out[n++] = ' ';
            i += BL_SPACE_MARK_BYTES;
        } else {
            out[n++] = text.text[i++];
        }
    }
    return n;
}

/* Characters that stand for bytes become those; others, which a well-made vocabulary has not, stay. */
static size_t copy_from_byte_chars(char *out, struct bl_text text)
{
    size_t n = 0;
    for (uint32_t i = 0; i < text.bytes;) {
        uint32_t code;
        size_t length = bl_utf8_decode(text.text + i, text.bytes - i, &code);
        int byte = bl_char_byte(code);
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else {
            memcpy(out + n, text.text + i, length);
            n += length;
        }
        i += (uint32_t)length;
    }
    return n;
}

static size_t copy_token(const bl_tokenizer *t, char *out, int32_t id)
{
    struct bl_text text = t->tokens[id];
    switch (t->types[id]) {
    case BL_TOKEN_CONTROL:
    case BL_TOKEN_UNKNOWN:
    case BL_TOKEN_USER_DEFINED:
        if (text.bytes)
            memcpy(out, text.text, text.bytes);
        return text.bytes;
    case BL_TOKEN_BYTE:
        out[0] = (char)bl_byte_token_value(text);
        return 1;
    default:
        return t->splitter && !(t->pre_flags & BL_PRE_RAW) ? copy_from_byte_chars(out, text) : copy_unescaped(out, text);
    }
}

bl_status bl_tokenizer_decode(const bl_tokenizer *tokenizer, bl_decoder *decoder, int32_t id, uint32_t flags, const char **text, size_t *bytes)
{
    bl_errors_clear();
    if (!text || !bytes)
        BL_FAIL(BL_EINVAL, "%s is NULL", text ? "bytes" : "text");
    *text = "";
    *bytes = 0;
    if (!tokenizer || !decoder)
        BL_FAIL(BL_EINVAL, "%s is NULL", tokenizer ? "decoder" : "tokenizer");
    if (flags & ~(uint32_t)BL_DETOKENIZE_SPECIAL)
        BL_FAIL(BL_EINVAL, "flags: got %u, limit 1", flags);
    if (id < 0 || (uint32_t)id >= tokenizer->n_tokens)
        BL_FAIL(BL_EINVAL, "token: got %d, limit %u", id, tokenizer->n_tokens);
    if (decoder->n_pending >= sizeof decoder->pending)
        BL_FAIL(BL_EINVAL, "decoder: got %u pending bytes, limit %zu", decoder->n_pending, sizeof decoder->pending);

    uint8_t type = tokenizer->types[id];
    bool is_special = type == BL_TOKEN_CONTROL || type == BL_TOKEN_UNKNOWN || type == BL_TOKEN_USER_DEFINED;
    if (is_special && type != BL_TOKEN_USER_DEFINED && !(flags & BL_DETOKENIZE_SPECIAL)) {
        decoder->started = type == BL_TOKEN_UNKNOWN;
        return BL_OK;
    }
    size_t n = decoder->n_pending;
    memcpy(piece, decoder->pending, n);
    size_t length = copy_token(tokenizer, piece + n, id);
    /* Encoding puts one space before the first text and before text that follows a special token; this takes it away again. */
    if (tokenizer->add_space_prefix && !decoder->started && !is_special && length > 0 && piece[n] == ' ')
        memmove(piece + n, piece + n + 1, --length);
    if (is_special)
        decoder->started = type == BL_TOKEN_UNKNOWN; /* which stood for text */
    else if (tokenizer->tokens[id].bytes > 0)
        decoder->started = true;
    n += length;
    size_t pending = bl_utf8_pending(piece, n);
    memcpy(decoder->pending, piece + n - pending, pending);
    decoder->n_pending = (uint32_t)pending;
    *text = piece;
    *bytes = n - pending;
    return BL_OK;
}

void bl_tokenizer_decode_finish(bl_decoder *decoder, const char **text, size_t *bytes)
{
    size_t n = decoder->n_pending < sizeof decoder->pending ? decoder->n_pending : 0;
    memcpy(piece, decoder->pending, n);
    decoder->n_pending = 0;
    *text = piece;
    *bytes = n;
}
