/* ref/linear.c: matvec and matmul. One function per activation format serves every weight format and row class. */
#include "cpu_fallback/ref/ref.h"

static void store(const struct linear_tile *t, uint32_t row, uint32_t output, float acc)
{
    size_t at = (size_t)row * t->stride + output;
    float y = acc;
    if (t->bias)
        y = y + t->bias[output];
    if (t->residual)
        y = y + t->residual[at];
    t->y[at] = y;
}

/* Dequantises a piece of 256 columns at a time, so that no scratch is needed; the accumulators do not notice. */
static float dot_f32(const struct linear_tile *t, uint32_t i, const float *x)
{
    if (t->format == BL_FMT_BX)
        return bl_ref_xq_dot_f32(t, i, x);
    const uint8_t *weights = t->weights + (size_t)i * t->row_bytes;
    struct ref_sum sum = {{0}};
    float w[256];
    for (uint32_t c0 = 0; c0 < t->k; c0 += 256) {
        uint32_t n = min_u32(256, t->k - c0);
        bl_cpu_dequantize_row((enum bl_format)t->format, weights + row_bytes_of(t->format, c0), w, n);
        for (uint32_t c = 0; c < n; c++)
            ref_sum_add(&sum, c, x[c0 + c] * w[c]);
    }
    return ref_sum_total(&sum);
}

static float dot_plane(const struct ref_block *w, const struct bl_q8_plane *x)
{
    int32_t isum = 0, msum = 0;
    for (uint32_t c = 0; c < 32; c++) {
        isum += w->scale[c / 16] * w->q[c] * x->q[c];
        msum += w->min[c / 16] * x->q[c];
    }
    float value = w->d * (float)isum;
    if (w->has_min)
        value = value + w->e * (float)msum;
    return value;
}

static float dot_q8(const struct linear_tile *t, uint32_t i, const struct bl_q8_block *x)
{
    if (t->format == BL_FMT_BX)
        return bl_ref_xq_dot_q8(t, i, x);
    const uint8_t *weights = t->weights + (size_t)i * t->row_bytes;
    float acc = 0, threshold = q8_threshold(x, t->k / 32, BL_Q8_DOMINANT);
    for (uint32_t b = 0; b < t->k / 32; b++) {
        struct ref_block w;
        bl_ref_decode(t->format, weights, b, &w);
        acc = acc + x[b].d * dot_plane(&w, &x[b].coarse);
        if (x[b].d > threshold)
            acc = acc + (x[b].d * BL_Q8_FINE) * dot_plane(&w, &x[b].fine);
    }
    return acc;
}

static void linear_tile(const struct linear_tile *t, const void *x, bool from_q8)
{
    for (uint32_t i = t->n0; i < t->n1; i++) {
        for (uint32_t r = 0; r < t->m; r++)
            store(t, r, i, from_q8 ? dot_q8(t, i, (const struct bl_q8_block *)x + (size_t)r * (t->k / 32))
                                   : dot_f32(t, i, (const float *)x + (size_t)r * t->k));
    }
}

size_t bl_linear_scratch_c(const void *push)
{
    return ((const struct bl_params_linear *)push)->glu ? sizeof(float[2][BL_STEP_MAX_ROWS][TILE_LINEAR_X]) : 0;
}

static void linear(const struct bl_cpu_call *call, uint32_t first, uint32_t last, float (*scratch)[BL_STEP_MAX_ROWS][TILE_LINEAR_X], bool from_q8)
{
    const struct bl_params_linear *p = call->push;
    struct linear_tile t;
    for (uint32_t index = first; index < last; index++) {
        if (!linear_tile_at(call, index, &t))
            continue;
        if (!p->glu) {
            linear_tile(&t, call->bindings[1], from_q8);
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const struct linear_tile half = linear_glu_side(call, &t, side, scratch[side][0]);
            linear_tile(&half, call->bindings[1], from_q8);
        }
        const bool to_q8 = p->glu & BL_LINEAR_GLU_Q8;
        for (uint32_t r = 0; r < t.m; r++)
            bl_ref_glu(p->glu & BL_LINEAR_GLU_KIND, scratch[0][r], scratch[1][r], t.n1 - t.n0, linear_glu_out(&t, r, to_q8), to_q8);
    }
}

void bl_linear_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    linear(call, first, last, scratch, false);
}

void bl_linear_q8_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    linear(call, first, last, scratch, true);
}
