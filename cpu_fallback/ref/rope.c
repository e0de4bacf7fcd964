/* ref/rope.c: the table of angles and the rotation. The table is the only kernel in double precision: its angles grow with the position. */
#include "cpu_fallback/ref/ref.h"

#include <math.h>

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* The pair whose wave turns `turns` times in the original context (YaRN's "correction dimension"). */
static double pair_of_turns(const struct bl_params_rope_table *p, double turns)
{
    const double two_pi = 6.283185307179586;
    return (double)p->n_rot * log((double)p->n_ctx_orig / (turns * two_pi)) / (2.0 * log((double)p->base));
}

static double angle(const struct bl_params_rope_table *p, uint32_t pair, uint32_t position, double factor)
{
    double theta = (double)position * pow((double)p->base, -2.0 * (double)pair / (double)p->n_rot) / factor;
    double interpolated = (double)p->freq_scale * theta;
    if (p->ext_factor == 0)
        return interpolated;
    double low = fmax(0, floor(pair_of_turns(p, (double)p->beta_fast)));
    double high = fmin((double)p->n_rot - 1, ceil(pair_of_turns(p, (double)p->beta_slow)));
    double ramp = 1 - clamp(((double)pair - low) / fmax(0.001, high - low), 0, 1);
    double mix = ramp * (double)p->ext_factor;
    return interpolated * (1 - mix) + theta * mix;
}

void bl_rope_table_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_rope_table *p = call->push;
    const float *factors = p->has_factors ? call->bindings[1] : NULL;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_ROPE_TABLE_X, TILE_ROPE_TABLE_Y, p->n_rot / 2, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            float *y = (float *)call->bindings[2] + (size_t)r * p->n_rot;
            for (uint32_t j = t.x0; j < t.x1; j++) {
                double a = angle(p, j, step_of(call)[(uint32_t)BL_STEP_POS + r], factors ? (double)factors[j] : 1.0);
                y[2 * j] = (float)(cos(a) * (double)p->attn_factor);
                y[2 * j + 1] = (float)(sin(a) * (double)p->attn_factor);
            }
        }
    }
}

void bl_rope_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_rope *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, p->heads, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *table = (const float *)call->bindings[2] + (size_t)r * p->n_rot;
            for (uint32_t h = t.x0; h < t.x1; h++) {
                size_t at = ((size_t)r * p->heads + h) * p->d_head;
                const float *x = (const float *)call->bindings[1] + at;
                float *y = (float *)call->bindings[3] + at;
                for (uint32_t j = 0; j < p->n_rot / 2; j++) {
                    uint32_t c0 = p->layout == BL_ROPE_NORM ? 2 * j : j, c1 = p->layout == BL_ROPE_NORM ? 2 * j + 1 : j + p->n_rot / 2;
                    float a = x[c0], b = x[c1], cosine = table[2 * j], sine = table[2 * j + 1];
                    y[c0] = a * cosine - b * sine;
                    y[c1] = a * sine + b * cosine;
                }
                for (uint32_t c = p->n_rot; c < p->d_head; c++)
                    y[c] = x[c];
            }
        }
    }
}
