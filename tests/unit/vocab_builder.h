/* vocab_builder.h: tiny vocabularies for tests: byte-level with merges, and SentencePiece-like with scores. Header only. */
#ifndef BL_TEST_VOCAB_BUILDER_H
#define BL_TEST_VOCAB_BUILDER_H
#include "text/tokenizer_parts.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TOKENS = 600, MOST_MERGES = 64 };
struct tiny {
    struct bl_vocab vocab;
    struct bl_text tokens[MOST_TOKENS], merges[MOST_MERGES];
    float scores[MOST_TOKENS];
    uint8_t types[MOST_TOKENS];
    char names[256][8];
};

static inline struct bl_text text_of(const char *text)
{
    return (struct bl_text){text, (uint32_t)strlen(text)};
}

static inline int32_t add_token(struct tiny *v, const char *text, enum bl_token_type type, float score)
{
    uint32_t id = v->vocab.n_tokens++;
    v->tokens[id] = text_of(text);
    v->types[id] = (uint8_t)type;
    v->scores[id] = score;
    return (int32_t)id;
}

/* "left right" and the token that they make, which must be a constant too. */
static inline void add_merge_of(struct tiny *v, const char *merge, const char *joined)
{
    add_token(v, joined, BL_TOKEN_NORMAL, 0);
    v->merges[v->vocab.n_merges++] = text_of(merge);
}

static inline void start_tiny(struct tiny *v, const char *model, const char *pre)
{
    memset(v, 0, sizeof *v);
    v->vocab.source = "tiny";
    v->vocab.model = text_of(model);
    v->vocab.pre = text_of(pre);
    v->vocab.tokens = v->tokens;
    v->vocab.scores = v->scores;
    v->vocab.types = v->types;
    v->vocab.merges = v->merges;
    for (int i = 0; i < BL_SPECIAL_COUNT; i++)
        v->vocab.special[i] = -1;
    v->vocab.add_bos = v->vocab.add_eos = v->vocab.add_space_prefix = -1;
}

/* Ids 0..255 are the bytes; then joins of a and b, " a", "he", "hel", "hello"; then specials. */
static inline void make_byte_level(struct tiny *v, const char *pre)
{
    start_tiny(v, "gpt2", pre);
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t code = bl_byte_char((uint8_t)byte);
        if (code < 0x80)
            snprintf(v->names[byte], 8, "%c", (char)code);
        else
            snprintf(v->names[byte], 8, "%c%c", (char)(0xc0 | code >> 6), (char)(0x80 | (code & 0x3f)));
        add_token(v, v->names[byte], BL_TOKEN_NORMAL, 0);
    }
    add_merge_of(v, "a a", "aa");
    add_merge_of(v, "aa aa", "aaaa");
    add_merge_of(v, "a b", "ab");
    add_merge_of(v, "h e", "he");
    add_merge_of(v, "l l", "ll");
    add_merge_of(v, "he ll", "hell");
    add_merge_of(v, "hell o", "hello");
    add_merge_of(v, "\xc4\xa0 a", "\xc4\xa0" "a");
    v->vocab.special[BL_SPECIAL_BOS] = add_token(v, "<bos>", BL_TOKEN_CONTROL, 0);
    v->vocab.special[BL_SPECIAL_EOS] = add_token(v, "<|im_end|>", BL_TOKEN_CONTROL, 0);
    add_token(v, "<|im_end|>2", BL_TOKEN_CONTROL, 0);
    add_token(v, "  ", BL_TOKEN_USER_DEFINED, 0);
    add_token(v, "<ud>", BL_TOKEN_USER_DEFINED, 0);
}

/* 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, then pieces. */
static inline void make_scored(struct tiny *v)
{
    start_tiny(v, "llama", "");
    v->vocab.special[BL_SPECIAL_UNKNOWN] = add_token(v, "<unk>", BL_TOKEN_UNKNOWN, 0);
    v->vocab.special[BL_SPECIAL_BOS] = add_token(v, "<s>", BL_TOKEN_CONTROL, 0);
    v->vocab.special[BL_SPECIAL_EOS] = add_token(v, "</s>", BL_TOKEN_CONTROL, 0);
    for (int byte = 0; byte < 256; byte++) {
        snprintf(v->names[byte], 8, "<0x%02X>", (unsigned)byte);
        add_token(v, v->names[byte], BL_TOKEN_BYTE, 0);
    }
    static const char *const pieces[] = {"\xe2\x96\x81", "a", "b", "h", "e", "l", "o", "\xc3\xa9", "<", "/", "s", ">",
                                         "\342\226\201a", "ab", "aa", "aaaa", "he", "ll", "hell", "hello", "\342\226\201hello", "s>", "</"};
    for (uint32_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        add_token(v, pieces[i], BL_TOKEN_NORMAL, -(float)i);
    add_token(v, "<ud>", BL_TOKEN_USER_DEFINED, 0);
}
#endif
