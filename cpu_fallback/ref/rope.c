/* ref/rope.c: the table of angles and the rotation. */
#include "cpu_fallback/ref/math.h"
#include "cpu_fallback/ref/ref.h"

static void angle(uint64_t turns, uint32_t position, float *cosine, float *sine)
{
    uint32_t phase = (uint32_t)(turns * position >> 32), quarter = (phase + (1u << 29)) >> 30;
    float a = (float)(int32_t)(phase - (quarter << 30)) * BL_ROPE_PHASE, s = sin_f32(a), c = cos_f32(a);
    *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
}

void bl_rope_table_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_rope_table *p = call->push;
    const uint32_t *turns = call->bindings[1];
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_ROPE_TABLE_X, TILE_ROPE_TABLE_Y, p->n_rot / 2, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            float *y = (float *)call->bindings[2] + (size_t)r * p->n_rot;
            for (uint32_t j = t.x0; j < t.x1; j++) {
                float cosine, sine;
                angle((uint64_t)turns[2 * j + 1] << 32 | turns[2 * j], step_of(call)[(uint32_t)BL_STEP_POS + r], &cosine, &sine);
                y[2 * j] = cosine * p->attn_factor;
                y[2 * j + 1] = sine * p->attn_factor;
            }
        }
    }
}

void bl_ref_rotate(const float *x, const float *table, uint32_t d_head, uint32_t n_rot, uint32_t layout, float *y)
{
    for (uint32_t j = 0; j < n_rot / 2; j++) {
        uint32_t c0 = layout == BL_ROPE_NORM ? 2 * j : j, c1 = layout == BL_ROPE_NORM ? 2 * j + 1 : j + n_rot / 2;
        float a = x[c0], b = x[c1], cosine = table[2 * j], sine = table[2 * j + 1];
        y[c0] = a * cosine - b * sine;
        y[c1] = a * sine + b * cosine;
    }
    for (uint32_t c = n_rot; c < d_head; c++)
        y[c] = x[c];
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
                bl_ref_rotate((const float *)call->bindings[1] + at, table, p->d_head, p->n_rot, p->layout, (float *)call->bindings[3] + at);
            }
        }
    }
}
