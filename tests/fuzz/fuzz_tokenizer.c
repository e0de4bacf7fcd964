/* fuzz_tokenizer.c: a byte-complete vocabulary with more tokens and merges as the input says, and a text: whatever they are, decoding
 * what was encoded gives the text. Input: kind, splitter, flags, then tokens (type, score, length, text) until a length of 0, merges (two
 * token numbers) until two equal ones, then the text. */
#include "../unit/vocab_builder.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct input { const uint8_t *at, *end; };

static uint8_t next(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static struct tiny v;
static char merge_texts[MOST_MERGES][512], joined_texts[MOST_MERGES][512];

static void add_tokens(struct input *in)
{
    while (v.vocab.n_tokens < MOST_TOKENS - MOST_MERGES) {
        uint8_t type = next(in) % (BL_TOKEN_BYTE + 1), score = next(in), length = next(in);
        if (length == 0 || length > in->end - in->at)
            return;
        uint32_t id = (uint32_t)add_token(&v, "", (enum bl_token_type)type, (float)score);
        v.tokens[id] = (struct bl_text){(const char *)in->at, length};
        in->at += length;
    }
}

static void add_merges(struct input *in)
{
    while (v.vocab.n_merges < MOST_MERGES) {
        uint32_t left = next(in), right = next(in), n = v.vocab.n_merges;
        if (left == right)
            return;
        left = left * 7 % v.vocab.n_tokens;
        right = right * 7 % v.vocab.n_tokens;
        struct bl_text a = v.tokens[left], b = v.tokens[right];
        if (a.bytes + b.bytes + 1u > sizeof merge_texts[0])
            continue;
        memcpy(merge_texts[n], a.text, a.bytes);
        merge_texts[n][a.bytes] = ' ';
        memcpy(merge_texts[n] + a.bytes + 1, b.text, b.bytes);
        memcpy(joined_texts[n], a.text, a.bytes);
        memcpy(joined_texts[n] + a.bytes, b.text, b.bytes);
        uint32_t id = (uint32_t)add_token(&v, "", BL_TOKEN_NORMAL, 0);
        v.tokens[id] = (struct bl_text){joined_texts[n], a.bytes + b.bytes};
        v.merges[v.vocab.n_merges++] = (struct bl_text){merge_texts[n], a.bytes + b.bytes + 1};
    }
}

static bool contains_space_mark(const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i + BL_SPACE_MARK_BYTES <= bytes; i++)
        if (memcmp(text + i, BL_SPACE_MARK, BL_SPACE_MARK_BYTES) == 0)
            return true;
    return false;
}

static void check(const bl_tokenizer *tokenizer, const uint8_t *text, size_t bytes, uint32_t flags, bool is_exact)
{
    size_t n, at = 0, length;
    const char *piece;
    bl_decoder decoder = {0};
    if (bl_tokenizer_encode(tokenizer, (const char *)text, bytes, flags, NULL, 0, &n) != BL_OK)
        abort();
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids)
        return;
    if (bl_tokenizer_encode(tokenizer, (const char *)text, bytes, flags, ids, n, &n) != BL_OK)
        abort();
    for (size_t i = 0; i < n; i++) /* written out or standing for what has no token: the space after it is kept only in the second case */
        is_exact = is_exact && v.types[ids[i]] != BL_TOKEN_UNKNOWN;
    for (size_t i = 0; i <= n; i++) {
        if (i == n)
            bl_tokenizer_decode_finish(&decoder, &piece, &length);
        else if (bl_tokenizer_decode(tokenizer, &decoder, ids[i], BL_DETOKENIZE_SPECIAL, &piece, &length) != BL_OK)
            abort();
        if (!is_exact)
            continue;
        if (length > bytes - at || (length && memcmp(piece, text + at, length) != 0))
            abort();
        at += length;
    }
    if (is_exact && at != bytes)
        abort();
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input in = {data, data + bytes};
    uint8_t kind = next(&in), pre = next(&in), flags = next(&in);
    uint32_t n_pres = 0;
    while (bl_pre_at(n_pres))
        n_pres++;
    if (kind & 1)
        make_scored(&v);
    else
        make_byte_level(&v, bl_pre_at(pre % n_pres)->name);
    v.vocab.strip_after_special = (flags & 4) != 0;
    v.vocab.add_space_prefix = (int8_t)(flags & 8 ? 0 : 1);
    add_tokens(&in);
    add_merges(&in);
    bl_tokenizer *tokenizer;
    if (bl_tokenizer_create(&v.vocab, &tokenizer) != BL_OK)
        return 0;
    size_t left = (size_t)(in.end - in.at);
    bool is_raw = !(kind & 1) && (bl_pre_at(pre % n_pres)->flags & BL_PRE_RAW); /* this vocabulary cannot write every byte raw */
    bool is_exact = !is_raw && !(flags & 4) && (!(kind & 1) || !contains_space_mark(in.at, left));
    check(tokenizer, in.at, left, flags & BL_TOKENIZE_PARSE_SPECIAL, is_exact);
    check(tokenizer, in.at, left, BL_TOKENIZE_ADD_SPECIAL, false);
    bl_tokenizer_destroy(tokenizer);
    return 0;
}
