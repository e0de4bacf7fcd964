/* bitloom/sampler.h: from logits to a token id (tier 2 of the API).
 *
 * A sampler belongs to one sequence and one thread at a time. Same parameters, seed, history and logits give the same id on every machine
 * (own random numbers, own exp). Order of the stages: logit bias, repeat/presence/frequency penalties over the last n tokens, then
 * greedy if temperature <= 0, else top-k, top-p, min-p, temperature, and a draw. Meanings and defaults are llama.cpp's. */
#ifndef BITLOOM_SAMPLER_H
#define BITLOOM_SAMPLER_H
#include <bitloom/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bl_sampler bl_sampler;
typedef struct bl_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids the token */
} bl_logit_bias;

typedef struct bl_sampler_params {
    size_t struct_size;
    float temperature;       /* default 0.8; <= 0 is greedy: the largest logit, the lowest id among equals */
    int32_t top_k;           /* default 40; <= 0: off */
    float top_p;             /* default 0.95; >= 1: off */
    float min_p;             /* default 0.05; <= 0: off */
    float repeat_penalty;    /* default 1.0: off */
    float presence_penalty;  /* default 0 */
    float frequency_penalty; /* default 0 */
    int32_t repeat_last_n;   /* default 64; 0: off; -1: the whole context */
    uint64_t seed;
    const bl_logit_bias *logit_bias; /* copied */
    uint32_t n_logit_bias;           /* at most 1024 */
} bl_sampler_params;
BL_API void bl_sampler_default_params(bl_sampler_params *params);

/* Values out of range (NaN, negative top_p, bias for a token outside the vocabulary) are BL_EINVAL naming the field. */
BL_API bl_status bl_sampler_create(const bl_sampler_params *params, uint32_t vocabulary, bl_sampler **out) BL_MUST_USE;
BL_API void bl_sampler_destroy(bl_sampler *sampler);
/* Tells the sampler of a token that is now part of the sequence (prompt tokens too), for the penalties. */
BL_API void bl_sampler_accept(bl_sampler *sampler, int32_t token);
/* Forgets the history and starts the random numbers again from the seed. */
BL_API void bl_sampler_reset(bl_sampler *sampler);
/* Draws an id from logits[vocabulary]; the logits are not changed. A NaN among them, or nothing left to draw from, is BL_EFORMAT. Does not
 * call bl_sampler_accept. */
BL_API bl_status bl_sampler_sample(bl_sampler *sampler, const float *logits, int32_t *token) BL_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
