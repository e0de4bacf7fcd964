/* bitloom/generate.h: from a prompt to a text, piece by piece (tier 1 of the API). */
#ifndef BITLOOM_GENERATE_H
#define BITLOOM_GENERATE_H
#include <bitloom/model.h>
#include <bitloom/sampler.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bl_end {
    BL_END_TOKEN = 0,   /* the model ended its text */
    BL_END_LENGTH,      /* max_tokens, or the context is full */
    BL_END_STOP,        /* a stop string */
    BL_END_CALLBACK     /* on_text returned false */
} bl_end;

typedef struct bl_generate_params {
    size_t struct_size;
    const char *prompt;         /* appended to the sequence; may be empty when the sequence is not */
    size_t prompt_bytes;
    uint32_t tokenize_flags;    /* BL_TOKENIZE_*; default: both for an empty sequence */
    int32_t max_tokens;         /* at most this many new tokens; < 0: until the end or the context is full (default) */
    bl_sampler_params sampler;
    const char *const *stop;    /* texts that end the generation; not part of the output */
    uint32_t n_stop;            /* at most 16 */
    bool ignore_end;            /* go on after end tokens */
    bool special;               /* write control tokens as text */
    /* A piece of text in whole UTF-8 characters; return false to stop. Called on the caller's thread. May be NULL. */
    bool (*on_text)(void *user, const char *text, size_t bytes);
    /* While the prompt is read: rows done of rows to do. May be NULL. */
    void (*on_prompt)(void *user, uint32_t done, uint32_t total);
    void *user;
} bl_generate_params;
BL_API void bl_generate_default_params(bl_generate_params *params);

typedef struct bl_generate_result {
    uint32_t n_prompt, n_generated;
    uint32_t n_steps;   /* steps of the model after the prompt's: the first token comes from the prompt's logits */
    uint64_t prompt_ns, generate_ns; /* generate_ns covers these steps */
    bl_end end;
} bl_generate_result;

/* Blocks until the end. The generated tokens, without an end token, are part of the sequence afterwards. `result` may be NULL; it is also
 * filled on failure with what was done. A prompt that does not fit the context is BL_ELIMIT with numbers and changes nothing. */
BL_API bl_status bl_generate(bl_sequence *sequence, const bl_generate_params *params, bl_generate_result *result) BL_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
