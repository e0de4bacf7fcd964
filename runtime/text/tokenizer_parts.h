/* tokenizer_parts.h: the inside of bl_tokenizer, shared by creation, encoding and decoding. Nobody else includes it. */
#ifndef BL_TEXT_TOKENIZER_PARTS_H
#define BL_TEXT_TOKENIZER_PARTS_H
#include "base/arena.h"
#include "text/split.h"
#include "text/vocab.h"

#include <stdint.h>

#define BL_SPACE_MARK "\xe2\x96\x81" /* U+2581, SentencePiece's space */
#define BL_SPACE_MARK_BYTES 3u
#define BL_PRE_WORD_BYTES 1024u      /* longer words are never looked up whole */

struct bl_merge { int32_t left, right, joined; };

struct bl_tokenizer {
    struct bl_arena arena; /* everything below */
    void *owner;
    void (*release)(void *owner);

    const struct bl_splitter *splitter; /* NULL: SentencePiece */
    uint32_t pre_flags;
    bool add_bos, add_eos, add_space_prefix, strip_after_special;
    int32_t special[BL_SPECIAL_COUNT];

    uint32_t n_tokens, max_token_bytes;
    struct bl_text *tokens;
    uint8_t *types;       /* enum bl_token_type */
    uint8_t *is_end;
    uint32_t *priorities; /* from scores: smaller joins first; NULL for BPE */
    uint64_t hash_key;
    uint32_t *token_slots, token_mask; /* by text: id + 1, 0 = empty */
    struct bl_merge *merges;           /* by rank */
    uint32_t *merge_slots, merge_mask; /* by (left, right): rank + 1 */
    int32_t byte_ids[256];             /* -1: the vocabulary cannot write this byte */

    int32_t *specials; /* tokens that are matched as text before anything else, in byte order of their text */
    uint32_t n_specials;
    uint32_t special_first[257]; /* where those with a first byte begin */
};

/* The token with this text, -1 if there is none. */
int32_t bl_token_by_text(const bl_tokenizer *t, const char *text, size_t bytes);
/* Rank of a merge, -1 if there is none. */
int64_t bl_merge_rank(const bl_tokenizer *t, int32_t left, int32_t right);
/* May a merge make it? Control, unknown and byte tokens come from the outside only. */
static inline bool bl_token_is_text(const bl_tokenizer *t, int32_t id)
{
    return t->types[id] != BL_TOKEN_CONTROL && t->types[id] != BL_TOKEN_UNKNOWN && t->types[id] != BL_TOKEN_BYTE;
}
/* The character that stands for a byte in byte-level vocabularies, and back (-1: the character stands for none). */
uint32_t bl_byte_char(uint8_t byte);
int bl_char_byte(uint32_t code);
/* "<0xHH>" to its byte, -1 if the text is none. */
int bl_byte_token_value(struct bl_text text);

/* token_roles.c: which tokens end a generation, types that files get wrong; needs the tables above. */
void bl_token_roles_find(bl_tokenizer *t);
/* specials.c: fills `specials`; needs the types. */
bl_status bl_specials_build(bl_tokenizer *t) BL_MUST_USE;
/* The first special token at or after `from`: leftmost, then longest. False if there is none. */
bool bl_specials_find(const bl_tokenizer *t, const char *text, size_t bytes, size_t from, bool with_control, size_t *at, int32_t *id);
#endif
