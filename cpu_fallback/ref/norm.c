/* ref/norm.c: rms_norm and layer_norm over groups of a row. */
#include "cpu_fallback/ref/ref.h"

#include <math.h>

struct norm {
    const float *x, *w, *b;
    float mean, scale;
};

static float normed(const struct norm *n, uint32_t c)
{
    float y = (n->x[c] - n->mean) * n->scale;
    if (n->w)
        y = y * n->w[c];
    if (n->b)
        y = y + n->b[c];
    return y;
}

static void measure(struct norm *n, const struct bl_params_norm *p, bool centred)
{
    struct ref_sum sum = {{0}}, squares = {{0}};
    n->mean = 0;
    if (centred) {
        for (uint32_t c = 0; c < p->columns; c++)
            ref_sum_add(&sum, c, n->x[c]);
        n->mean = ref_sum_total(&sum) / (float)p->columns;
    }
    for (uint32_t c = 0; c < p->columns; c++)
        ref_sum_add(&squares, c, (n->x[c] - n->mean) * (n->x[c] - n->mean));
    n->scale = 1.0f / sqrtf(ref_sum_total(&squares) / (float)p->columns + p->eps);
}

static void norm(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool centred, bool to_q8)
{
    const struct bl_params_norm *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_NORM_X, TILE_NORM_Y, p->groups, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            for (uint32_t g = t.x0; g < t.x1; g++) {
                size_t at = ((size_t)r * p->groups + g) * p->columns;
                struct norm n = {.x = (const float *)call->bindings[1] + at,
                                 .w = p->flags & BL_NORM_WEIGHT ? call->bindings[2] : NULL,
                                 .b = p->flags & BL_NORM_BIAS ? call->bindings[3] : NULL};
                measure(&n, p, centred);
                for (uint32_t c0 = 0; c0 < p->columns; c0 += 32) {
                    float y[32];
                    uint32_t count = min_u32(32, p->columns - c0);
                    for (uint32_t i = 0; i < count; i++)
                        y[i] = normed(&n, c0 + i);
                    if (to_q8)
                        bl_ref_quantize_block(y, count, (struct bl_q8_block *)call->bindings[4] + (at + c0) / 32);
                    else
                        memcpy((float *)call->bindings[4] + at + c0, y, count * sizeof y[0]);
                }
            }
        }
    }
}

#define NORM_KERNEL(name, centred, to_q8) \
    void bl_##name##_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        (void)scratch; \
        norm(call, first, last, centred, to_q8); \
    }
NORM_KERNEL(rms_norm_f32, false, false)
NORM_KERNEL(rms_norm_q8, false, true)
NORM_KERNEL(layer_norm_f32, true, false)
NORM_KERNEL(layer_norm_q8, true, true)
