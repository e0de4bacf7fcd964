/* rope_turns.c: frequencies of a rope. */
#include "graph/rope_turns.h"

#include <math.h>

#define TWO_PI 6.283185307179586

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* The pair whose wave turns `turns` times in the original context (YaRN's "correction dimension"). */
static double pair_of_turns(const struct bl_rope_scaling *s, double turns)
{
    return s->n_rot * log(s->n_ctx_orig / (turns * TWO_PI)) / (2.0 * log(s->base));
}

static double radians(const struct bl_rope_scaling *s, uint32_t pair, double factor)
{
    double theta = pow(s->base, -2.0 * pair / s->n_rot) / factor, interpolated = s->freq_scale * theta;
    if (s->ext_factor == 0)
        return interpolated;
    double low = fmax(0, floor(pair_of_turns(s, s->beta_fast))), high = fmin(s->n_rot - 1.0, ceil(pair_of_turns(s, s->beta_slow)));
    double mix = (1 - clamp((pair - low) / fmax(0.001, high - low), 0, 1)) * s->ext_factor;
    return interpolated * (1 - mix) + theta * mix;
}

bool bl_rope_turns(const struct bl_rope_scaling *scaling, uint32_t pair, double factor, uint64_t *turns)
{
    double turn = radians(scaling, pair, factor) / TWO_PI;
    *turns = 0;
    if (!isfinite(turn))
        return false;
    double high = ldexp(turn - floor(turn), 32); /* below 2^32: a double below 1 is at most 1 - 2^-53 */
    *turns = (uint64_t)high << 32 | (uint64_t)ldexp(high - floor(high), 32);
    return true;
}
