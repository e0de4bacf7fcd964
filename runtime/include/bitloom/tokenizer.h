/* bitloom/tokenizer.h: text to token ids and back, from the data in a model file (tier 2 of the API).
 *
 * A tokenizer is immutable after creation and may be used from any number of threads. Text is bytes; it should be UTF-8 but any bytes are
 * taken, and decode(encode(text)) gives the bytes back for vocabularies that can represent them. Ids are int32, 0 <= id < vocabulary. */
#ifndef BITLOOM_TOKENIZER_H
#define BITLOOM_TOKENIZER_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bl_tokenizer bl_tokenizer;

/* Reads only the vocabulary of a model file (vocabulary-only files too). */
BL_API bl_status bl_tokenizer_open(const char *path, bl_tokenizer **out) BL_MUST_USE;
BL_API void bl_tokenizer_destroy(bl_tokenizer *tokenizer);

BL_API uint32_t bl_tokenizer_vocabulary(const bl_tokenizer *tokenizer);

enum {
    BL_TOKENIZE_ADD_SPECIAL = 1,   /* put the model's begin/end tokens where its metadata says they go */
    BL_TOKENIZE_PARSE_SPECIAL = 2  /* control tokens written out in the text ("<|im_end|>") become those tokens; else they are text */
};
/* Encodes `bytes` bytes. Writes at most `n_out` ids; *n_found is the number there are (call with n_out = 0 to size). Time grows about
 * linearly with the text. BL_ELIMIT above 2^31 - 1 ids. */
BL_API bl_status bl_tokenizer_encode(const bl_tokenizer *tokenizer, const char *text, size_t bytes, uint32_t flags, int32_t *out,
                                     size_t n_out, size_t *n_found) BL_MUST_USE;

enum { BL_DETOKENIZE_SPECIAL = 1 /* write control tokens as their text; else they give no bytes */ };

/* Streaming decoder: bytes come out only in whole UTF-8 sequences, so every piece can be printed. Bytes that can never become UTF-8 are
 * passed through as they are. Zero-initialise, one per stream. */
typedef struct bl_decoder {
    unsigned char pending[8];
    uint32_t n_pending;
    bool started; /* Where encoding puts a space before a text, decoding drops one at its start and after each special token. Set it to
                     true for a stream that goes on where other text ended, a generation after a prompt without a template. */
} bl_decoder;
/* Decodes one id after those before it. *text is valid until the next call with this decoder or tokenizer on this thread; not
 * NUL-terminated; *bytes may be 0. BL_EINVAL for an id outside the vocabulary. */
BL_API bl_status bl_tokenizer_decode(const bl_tokenizer *tokenizer, bl_decoder *decoder, int32_t id, uint32_t flags, const char **text,
                                     size_t *bytes) BL_MUST_USE;
/* What is still pending at the end of a stream (an unfinished sequence), as it is. */
BL_API void bl_tokenizer_decode_finish(bl_decoder *decoder, const char **text, size_t *bytes);

/* The token's own text as in the vocabulary (not decoded); NULL for an id outside. Not NUL-terminated. */
BL_API const char *bl_tokenizer_token_text(const bl_tokenizer *tokenizer, int32_t id, size_t *bytes);
/* The id of a token by its exact text; -1 if there is none. */
BL_API int32_t bl_tokenizer_find(const bl_tokenizer *tokenizer, const char *text, size_t bytes);

typedef enum bl_special { BL_SPECIAL_BOS = 0, BL_SPECIAL_EOS, BL_SPECIAL_EOT, BL_SPECIAL_UNKNOWN, BL_SPECIAL_PAD, BL_SPECIAL_COUNT } bl_special;
/* -1 when the model has none. */
BL_API int32_t bl_tokenizer_special(const bl_tokenizer *tokenizer, bl_special which);
/* True for every token that ends a generation: eos, eot, and control tokens that are known as ends of a turn. */
BL_API bool bl_tokenizer_is_end(const bl_tokenizer *tokenizer, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
