/* sampler.c: from logits to a token id. Owns its random numbers and its exp, both of which give the same bits on every machine; knows no
 * model and no text. */
#include "base/error.h"
#include "base/limits.h"

#include <bitloom/sampler.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BIASES 1024u

struct choice { float logit; int32_t id; };

struct bl_sampler {
    bl_sampler_params params; /* logit_bias is NULL: `bias` has it */
    uint32_t vocabulary;
    uint64_t random[4];
    float *bias;            /* per token; NULL: none */
    uint32_t *counts;       /* per token, in the window; NULL: no penalties */
    int32_t *window;        /* ring of the last tokens; NULL: the window is everything */
    uint32_t window_room, window_used, window_at;
    struct choice *choices; /* [vocabulary] */
};

void bl_sampler_default_params(bl_sampler_params *params)
{
    *params = (bl_sampler_params){.struct_size = sizeof *params, .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f,
                                  .repeat_penalty = 1.0f, .repeat_last_n = 64};
}

/* ---- random numbers: xoshiro256**, seeded through splitmix64 ---- */

static void seed_random(uint64_t state[4], uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        state[i] = z ^ z >> 31;
    }
}

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* Uniform in [0, 1): 53 bits, so 1 itself cannot come out. */
static double draw_uniform(uint64_t state[4])
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

/* e^x for x <= 0 from additions and multiplications alone, which IEEE 754 fixes to the last bit; a C library's exp may differ from
 * machine to machine. Relative error below 1e-15; 0 below -708. */
static double exp_of_negative(double x)
{
    if (!(x > -708.0))
        return 0.0;
    int64_t k = (int64_t)(x * 1.4426950408889634 - 0.5);
    double r = x - (double)k * 0.693147180369123816490; /* ln 2 in two parts: k times the first is exact */
    r -= (double)k * 1.90821492927058770002e-10;
    double sum = 1.0;
    for (int n = 13; n >= 1; n--) /* Taylor, |r| <= 0.35: the rest is below 2^-53 */
        sum = 1.0 + r * sum / n;
    uint64_t bits = (uint64_t)(1023 + k) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* ---- creation ---- */

static bl_status check_params(const bl_sampler_params *p, uint32_t vocabulary)
{
    if (vocabulary == 0 || vocabulary > BL_LIMIT_VOCABULARY)
        BL_FAIL(BL_EINVAL, "vocabulary: got %u, limit 1 to %u", vocabulary, BL_LIMIT_VOCABULARY);
    if (!isfinite(p->temperature))
        BL_FAIL(BL_EINVAL, "temperature: got %g, limit: a finite number", (double)p->temperature);
    if (!(p->top_p >= 0))
        BL_FAIL(BL_EINVAL, "top_p: got %g, limit 0 and above", (double)p->top_p);
    if (!(p->min_p <= 1))
        BL_FAIL(BL_EINVAL, "min_p: got %g, limit 1", (double)p->min_p);
    if (!(p->repeat_penalty > 0) || !isfinite(p->repeat_penalty))
        BL_FAIL(BL_EINVAL, "repeat_penalty: got %g, limit: above 0", (double)p->repeat_penalty);
    if (!isfinite(p->presence_penalty))
        BL_FAIL(BL_EINVAL, "presence_penalty: got %g, limit: a finite number", (double)p->presence_penalty);
    if (!isfinite(p->frequency_penalty))
        BL_FAIL(BL_EINVAL, "frequency_penalty: got %g, limit: a finite number", (double)p->frequency_penalty);
    if (p->repeat_last_n < -1 || p->repeat_last_n > (int32_t)BL_LIMIT_CONTEXT)
        BL_FAIL(BL_EINVAL, "repeat_last_n: got %d, limit -1 to %u", p->repeat_last_n, BL_LIMIT_CONTEXT);
    if (p->n_logit_bias > MOST_BIASES || (p->n_logit_bias > 0 && !p->logit_bias))
        BL_FAIL(BL_EINVAL, "logit_bias: got %u entries at %p, limit %u", p->n_logit_bias, (const void *)p->logit_bias, MOST_BIASES);
    for (uint32_t i = 0; i < p->n_logit_bias; i++) {
        bl_logit_bias bias = p->logit_bias[i];
        if (bias.token < 0 || (uint32_t)bias.token >= vocabulary)
            BL_FAIL(BL_EINVAL, "logit_bias[%u].token: got %d, limit 0 to %u", i, bias.token, vocabulary - 1);
        if (isnan(bias.bias) || bias.bias == INFINITY)
            BL_FAIL(BL_EINVAL, "logit_bias[%u].bias: got %g, limit: a finite number or -infinity", i, (double)bias.bias);
    }
    return BL_OK;
}

static bl_status fill(bl_sampler *s)
{
    bl_sampler_params *p = &s->params;
    bool has_penalties = p->repeat_last_n != 0 && (p->repeat_penalty != 1.0f || p->presence_penalty != 0 || p->frequency_penalty != 0);
    s->choices = calloc(s->vocabulary, sizeof *s->choices);
    if (p->n_logit_bias > 0)
        s->bias = calloc(s->vocabulary, sizeof *s->bias);
    if (has_penalties)
        s->counts = calloc(s->vocabulary, sizeof *s->counts);
    if (has_penalties && p->repeat_last_n > 0) {
        s->window_room = (uint32_t)p->repeat_last_n;
        s->window = calloc(s->window_room, sizeof *s->window);
    }
    if (!s->choices || (p->n_logit_bias > 0 && !s->bias) || (has_penalties && !s->counts) || (s->window_room && !s->window))
        BL_FAIL(BL_ENOMEM, "no memory for a sampler over %u tokens", s->vocabulary);
    for (uint32_t i = 0; i < p->n_logit_bias; i++)
        s->bias[p->logit_bias[i].token] += p->logit_bias[i].bias;
    p->logit_bias = NULL;
    seed_random(s->random, p->seed);
    return BL_OK;
}

bl_status bl_sampler_create(const bl_sampler_params *params, uint32_t vocabulary, bl_sampler **out)
{
    bl_errors_clear();
    if (!out)
        BL_FAIL(BL_EINVAL, "out is NULL");
    *out = NULL;
    if (!params)
        BL_FAIL(BL_EINVAL, "params is NULL");
    bl_sampler_params p;
    bl_sampler_default_params(&p);
    if (params->struct_size < offsetof(bl_sampler_params, temperature) + sizeof p.temperature || params->struct_size > sizeof p)
        BL_FAIL(BL_EINVAL, "struct_size: got %zu, limit %zu; use bl_sampler_default_params", params->struct_size, sizeof p);
    memcpy(&p, params, params->struct_size);
    BL_TRY(check_params(&p, vocabulary));
    bl_sampler *s = calloc(1, sizeof *s);
    if (!s)
        BL_FAIL(BL_ENOMEM, "no memory for a sampler");
    s->params = p;
    s->vocabulary = vocabulary;
    bl_status status = fill(s);
    if (status != BL_OK) {
        bl_sampler_destroy(s);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = s;
    return BL_OK;
}

void bl_sampler_destroy(bl_sampler *s)
{
    if (!s)
        return;
    free(s->bias);
    free(s->counts);
    free(s->window);
    free(s->choices);
    free(s);
}

void bl_sampler_accept(bl_sampler *s, int32_t token)
{
    if (!s || !s->counts || token < 0 || (uint32_t)token >= s->vocabulary)
        return;
    if (s->window) {
        if (s->window_used == s->window_room)
            s->counts[s->window[s->window_at]]--;
        else
            s->window_used++;
        s->window[s->window_at] = token;
        s->window_at = s->window_at + 1 == s->window_room ? 0 : s->window_at + 1;
    }
    if (s->counts[token] < UINT32_MAX)
        s->counts[token]++;
}

void bl_sampler_reset(bl_sampler *s)
{
    if (!s)
        return;
    if (s->counts)
        memset(s->counts, 0, s->vocabulary * sizeof *s->counts);
    s->window_used = s->window_at = 0;
    seed_random(s->random, s->params.seed);
}

/* ---- drawing ---- */

static float penalize(const bl_sampler *s, float logit, uint32_t count)
{
    logit = logit <= 0 ? logit * s->params.repeat_penalty : logit / s->params.repeat_penalty;
    return logit - (float)count * s->params.frequency_penalty - s->params.presence_penalty;
}

/* The tokens that are not forbidden, in the order of their ids. */
static bl_status collect(bl_sampler *s, const float *logits, uint32_t *n_out)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < s->vocabulary; id++) {
        float logit = logits[id];
        if (s->bias && !isnan(logit))
            logit += s->bias[id];
        if (s->counts && s->counts[id] > 0)
            logit = penalize(s, logit, s->counts[id]);
        if (isnan(logit) || logit == INFINITY)
            BL_FAIL(BL_EFORMAT, "logit of token %u: got %g, limit: a finite number or -infinity", id, (double)logits[id]);
        if (logit != -INFINITY)
            s->choices[n++] = (struct choice){logit, (int32_t)id};
    }
    if (n == 0)
        BL_FAIL(BL_EFORMAT, "all %u tokens are forbidden: nothing left to draw from", s->vocabulary);
    *n_out = n;
    return BL_OK;
}

static inline bool is_better(struct choice a, struct choice b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(struct choice *heap, uint32_t n, uint32_t at)
{
    if (n == 0)
        return;
    struct choice moved = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_better(heap[child + 1], heap[child]))
            child++;
        if (!is_better(heap[child], moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static double sum_weights(const struct choice *choices, uint32_t n, double largest)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp_of_negative((double)choices[i].logit - largest);
    return sum;
}

/* Takes the best ones off a heap, best first, until top-k or top-p is satisfied; they end up, worst first, behind the shrunken heap. Only
 * as many are sorted as top-k keeps, or as are kept at all where top-k is off. Returns where they begin. */
static uint32_t keep_best(struct choice *choices, uint32_t n, uint32_t top_k, double top_p)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(choices, n, i);
    double largest = (double)choices[0].logit, kept = 0;
    double goal = top_k < n ? (double)INFINITY : top_p * sum_weights(choices, n, largest);
    uint32_t left = n;
    while (left > 0 && n - left < top_k && !(n > left && kept >= goal)) {
        struct choice best = choices[0];
        choices[0] = choices[--left];
        choices[left] = best;
        sift_down(choices, left, 0);
        kept += exp_of_negative((double)best.logit - largest);
    }
    if (top_k == n || !(top_p < 1))
        return left;
    goal = top_p * kept; /* top-p of what top-k left */
    kept = 0;
    uint32_t begin = n;
    do {
        kept += exp_of_negative((double)choices[--begin].logit - largest);
    } while (begin > left && kept < goal);
    return begin;
}

static int32_t draw(bl_sampler *s, uint32_t begin, uint32_t end)
{
    const bl_sampler_params *p = &s->params;
    double largest = (double)s->choices[begin].logit;
    for (uint32_t i = begin; i < end; i++)
        if ((double)s->choices[i].logit > largest)
            largest = (double)s->choices[i].logit;
    uint32_t n = 0; /* those that stay, at the front; min-p looks at probabilities before temperature */
    double total = 0;
    for (uint32_t i = begin; i < end; i++) {
        double below = (double)s->choices[i].logit - largest;
        if (p->min_p > 0 && exp_of_negative(below) < (double)p->min_p)
            continue;
        s->choices[n++] = s->choices[i];
        total += exp_of_negative(below / (double)p->temperature);
    }
    double goal = draw_uniform(s->random) * total, sum = 0;
    uint32_t drawn = 0;
    for (uint32_t i = 0; i < n; i++) {
        double weight = exp_of_negative(((double)s->choices[i].logit - largest) / (double)p->temperature);
        if (weight > 0)
            drawn = i; /* should rounding leave the sum short of the goal, the last possible one */
        sum += weight;
        if (sum > goal)
            break;
    }
    return s->choices[drawn].id;
}

bl_status bl_sampler_sample(bl_sampler *s, const float *logits, int32_t *token)
{
    bl_errors_clear();
    if (!token)
        BL_FAIL(BL_EINVAL, "token is NULL");
    *token = -1;
    if (!s || !logits)
        BL_FAIL(BL_EINVAL, "%s is NULL", s ? "logits" : "sampler");
    uint32_t n = 0, begin = 0;
    BL_TRY(collect(s, logits, &n));
    if (!(s->params.temperature > 0)) {
        struct choice best = s->choices[0];
        for (uint32_t i = 1; i < n; i++)
            if (s->choices[i].logit > best.logit)
                best = s->choices[i];
        *token = best.id;
        return BL_OK;
    }
    uint32_t top_k = s->params.top_k <= 0 || (uint32_t)s->params.top_k > n ? n : (uint32_t)s->params.top_k;
    if (top_k < n || s->params.top_p < 1)
        begin = keep_best(s->choices, n, top_k, (double)s->params.top_p);
    *token = draw(s, begin, n);
    return BL_OK;
}
