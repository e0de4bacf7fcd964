/* vocab.h: what a tokenizer is made from: the vocabulary as plain arrays, borrowed from whoever read the file. This room knows no file
 * format; model/vocab_load.c fills this from a model file. The texts must outlive the tokenizer. */
#ifndef BL_TEXT_VOCAB_H
#define BL_TEXT_VOCAB_H
#include <bitloom/tokenizer.h>
#include <stdbool.h>

enum bl_token_type { /* GGUF's numbers */
    BL_TOKEN_UNDEFINED = 0, BL_TOKEN_NORMAL, BL_TOKEN_UNKNOWN, BL_TOKEN_CONTROL, BL_TOKEN_USER_DEFINED, BL_TOKEN_UNUSED, BL_TOKEN_BYTE
};

struct bl_text { const char *text; uint32_t bytes; };

struct bl_vocab {
    const char *source;            /* file name for messages */
    struct bl_text model;          /* tokenizer.ggml.model: "llama", "gpt2", "gemma4" */
    struct bl_text pre;            /* tokenizer.ggml.pre; bytes 0 when the key is absent */
    uint32_t n_tokens;
    const struct bl_text *tokens;  /* [n_tokens] */
    const float *scores;           /* [n_tokens] or NULL */
    const uint8_t *types;          /* [n_tokens] enum bl_token_type, or NULL: all normal */
    uint32_t n_merges;
    const struct bl_text *merges;  /* [n_merges] "left right" */
    int32_t special[BL_SPECIAL_COUNT]; /* already checked: -1 or inside the vocabulary */
    int8_t add_bos, add_eos, add_space_prefix; /* 1, 0, or -1: the file does not say */
    int8_t remove_extra_whitespaces; /* read for completeness: neither "llama" nor "gpt2" normalises spaces */
    bool strip_after_special;      /* white space after a written-out special token belongs to it (Phi-3) */
};

/* Copies what it needs except the texts themselves. Unknown model or pre: BL_EUNSUPPORTED naming it. Merges that name no token, types out
 * of range, duplicate tokens and the like never crash: refused with BL_EFORMAT where they would make a wrong answer. */
bl_status bl_tokenizer_create(const struct bl_vocab *vocab, bl_tokenizer **out) BL_MUST_USE;
/* Hands the tokenizer what its borrowed texts live in: release(owner) is called when it is destroyed. */
void bl_tokenizer_own(bl_tokenizer *tokenizer, void *owner, void (*release)(void *owner));
#endif
