/* body/linear_f32.h: matvec and matmul with f32 activations: four rows of weights are dequantised, then multiplied with one or two rows of
 * activations at a time. Lane = column mod 8, as the definition asks, so a lane is never added to another before the end. */
#ifndef BL_CPU_BODY_LINEAR_F32_H
#define BL_CPU_BODY_LINEAR_F32_H
#include "cpu_fallback/body/dequantize.h"
#include "cpu_fallback/body/dot_rows.h"
#include "cpu_fallback/body/glu.h"

enum { GLU_FLOATS = 2 * (int)BL_STEP_MAX_ROWS * TILE_LINEAR_X };

static inline uint32_t padded8(uint32_t k)
{
    return (k + 7) / 8 * 8;
}

static INLINE void store_outputs(const struct linear_tile *t, uint32_t row, uint32_t n0, uint32_t n, const float *acc)
{
    for (uint32_t i = 0; i < n; i++) {
        const size_t at = (size_t)row * t->stride + n0 + i;
        float y = acc[i];
        if (t->bias)
            y = y + t->bias[n0 + i];
        if (t->residual)
            y = y + t->residual[at];
        t->y[at] = y;
    }
}

static INLINE void linear_rows_f32(uint32_t format, const struct linear_tile *t, const float *x, float *scratch)
{
    const uint32_t stride = padded8(t->k);
    for (uint32_t n0 = t->n0; n0 < t->n1; n0 += WEIGHT_ROWS) {
        const uint32_t n = min_u32(WEIGHT_ROWS, t->n1 - n0);
        for (uint32_t i = 0; i < WEIGHT_ROWS; i++) {
            float *w = scratch + (size_t)i * stride;
            dequantize_row(format, t->weights + (size_t)min_u32(n0 + i, t->n1 - 1) * t->row_bytes, w, t->k);
            for (uint32_t c = t->k; c < stride; c++)
                w[c] = 0;
        }
        float out[ACTIVATION_ROWS][WEIGHT_ROWS];
        uint32_t r = 0;
        for (; r + ACTIVATION_ROWS <= t->m; r += ACTIVATION_ROWS) {
            dot_rows(ACTIVATION_ROWS, scratch, stride, x + (size_t)r * t->k, t->k, out);
            for (uint32_t i = 0; i < ACTIVATION_ROWS; i++)
                store_outputs(t, r + i, n0, n, out[i]);
        }
        for (; r < t->m; r++) {
            dot_rows(1, scratch, stride, x + (size_t)r * t->k, t->k, out);
            store_outputs(t, r, n0, n, out[0]);
        }
    }
}

#define BL_FORMAT(NAME, name, id, elements, bytes, kind) \
    static void rows_##name(const struct linear_tile *t, const float *x, float *scratch) \
    { \
        linear_rows_f32(BL_FMT_##NAME, t, x, scratch); \
    }
#include "hal/formats.def"
#undef BL_FORMAT

static void (*const row_fns[BL_FMT_WEIGHT_COUNT])(const struct linear_tile *, const float *, float *) = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = rows_##name,
#include "hal/formats.def"
#undef BL_FORMAT
};

void LEVEL_NAME(linear_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    const struct bl_params_linear *p = call->push;
    float(*sides)[BL_STEP_MAX_ROWS][TILE_LINEAR_X] = scratch, *weights = (float *)scratch + (p->glu ? GLU_FLOATS : 0);
    struct linear_tile t;
    for (uint32_t index = first; index < last; index++) {
        if (!linear_tile_at(call, index, &t))
            continue;
        if (!p->glu) {
            row_fns[t.format](&t, call->bindings[1], weights);
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const struct linear_tile half = linear_glu_side(call, &t, side, sides[side][0]);
            row_fns[half.format](&half, call->bindings[1], weights);
        }
        glu_tile(p->glu, &t, sides);
    }
}

size_t LEVEL_NAME(linear_f32_scratch)(const void *push)
{
    const struct bl_params_linear *p = push;
    return ((size_t)padded8(p->k) * WEIGHT_ROWS + (p->glu ? GLU_FLOATS : 0)) * sizeof(float);
}
#endif
