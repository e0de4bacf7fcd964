/* body/rows.h: ops along a row: embed, unary, binary, glu, quantize, the norms, rope. Definitions: ref/rows.c, ref/norm.c, ref/rope.c. */
#ifndef BL_CPU_BODY_ROWS_H
#define BL_CPU_BODY_ROWS_H
#include "cpu_fallback/body/dequantize.h"
#include "cpu_fallback/body/glu.h"
#include "cpu_fallback/body/math.h"
#include "cpu_fallback/body/parts.h"
#include "cpu_fallback/body/rotate.h"

#include <math.h>

#define UNUSED_SCRATCH (void)scratch

static INLINE void embed(const struct bl_cpu_call *call, uint32_t first, uint32_t last, uint32_t format)
{
    const struct bl_params_embed *p = call->push;
    const uint32_t *ids = step_of(call) + (p->source ? BL_STEP_POS : BL_STEP_TOKEN);
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_EMBED_X, TILE_EMBED_Y, p->columns, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1 && t.x0 < t.x1; r++) {
            float *y = (float *)call->bindings[2] + (size_t)r * p->columns + t.x0;
            const uint32_t id = ids[r] - p->first;
            const uint8_t *row = (const uint8_t *)call->bindings[1] + (size_t)id * row_bytes_of(format, p->columns);
            if (ids[r] < p->n_ids && id < p->count)
                dequantize_row(format, row + row_bytes_of(format, t.x0), y, t.x1 - t.x0);
            else if (ids[r] >= p->n_ids && p->first == 0)
                memset(y, 0, (t.x1 - t.x0) * sizeof y[0]);
        }
    }
}

#define BL_FORMAT(NAME, name, id, elements, bytes, kind) \
    void LEVEL_NAME(embed_##name##_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        UNUSED_SCRATCH; \
        embed(call, first, last, BL_FMT_##NAME); \
    }
#include "hal/formats.def"
#undef BL_FORMAT

void LEVEL_NAME(unary_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    const struct bl_params_unary *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            float *y = (float *)call->bindings[2] + (size_t)r * p->columns;
            for (uint32_t c = t.x0; c < t.x1; c += 8) {
                const uint32_t n = min_u32(8, t.x1 - c);
                vf_store_part(y + c, vf_unary(p->kind, p->a, vf_load_part(x + c, n)), n);
            }
        }
    }
}

void LEVEL_NAME(binary_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    const struct bl_params_binary *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            const float *z = (const float *)call->bindings[2] + (p->broadcast ? 0 : (size_t)r * p->columns);
            float *y = (float *)call->bindings[3] + (size_t)r * p->columns;
            for (uint32_t c = t.x0; c < t.x1; c += 8) {
                const uint32_t n = min_u32(8, t.x1 - c);
                vf a = vf_load_part(x + c, n), b = vf_load_part(z + c, n);
                vf_store_part(y + c, p->kind == BL_BINARY_ADD ? vf_add(a, b) : p->kind == BL_BINARY_MUL ? vf_mul(a, b) : vf_sub(a, b), n);
            }
        }
    }
}

static INLINE void glu(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool to_q8)
{
    const struct bl_params_glu *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const size_t at = (size_t)r * p->columns + t.x0;
            void *y = (uint8_t *)call->bindings[3] + (to_q8 ? at / 32 * sizeof(struct bl_q8_block) : at * sizeof(float));
            if (t.x0 < t.x1)
                glu_columns(p->kind, (const float *)call->bindings[1] + at, (const float *)call->bindings[2] + at, t.x1 - t.x0, y, to_q8);
        }
    }
}

void LEVEL_NAME(glu_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    glu(call, first, last, false);
}

void LEVEL_NAME(glu_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    glu(call, first, last, true);
}

void LEVEL_NAME(quantize_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    const struct bl_params_quantize *p = call->push;
    const uint32_t blocks = (p->columns + 31) / 32;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_QUANTIZE_X, TILE_QUANTIZE_Y, blocks, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            for (uint32_t b = t.x0; b < t.x1; b++) {
                vf v[4];
                for (uint32_t i = 0; i < 4; i++) {
                    const uint32_t c = min_u32(32 * b + 8 * i, p->columns);
                    v[i] = vf_load_part(x + c, min_u32(8, p->columns - c));
                }
                store_q8_block(v, (struct bl_q8_block *)call->bindings[2] + (size_t)r * blocks + b);
            }
        }
    }
}

static INLINE vf normed(const float *x, const float *w, const float *b, uint32_t c, uint32_t n, vf mean, vf scale)
{
    vf y = vf_mul(vf_sub(vf_load_part(x + c, n), mean), scale);
    if (w)
        y = vf_mul(y, vf_load_part(w + c, n));
    if (b)
        y = vf_add(y, vf_load_part(b + c, n));
    return y;
}

static INLINE void norm(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool centred, bool to_q8)
{
    const struct bl_params_norm *p = call->push;
    const float *w = p->flags & BL_NORM_WEIGHT ? call->bindings[2] : NULL, *b = p->flags & BL_NORM_BIAS ? call->bindings[3] : NULL;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_NORM_X, TILE_NORM_Y, p->groups, rows_of(call, p->rows));
        for (uint32_t g = t.x0; g < t.x1 && t.y0 < t.y1; g++) {
            const size_t at = ((size_t)t.y0 * p->groups + g) * p->columns;
            const float *x = (const float *)call->bindings[1] + at;
            vf sum = vf_set1(0), mean = vf_set1(0), squares = vf_set1(0);
            if (centred) {
                for (uint32_t c = 0; c < p->columns; c += 8)
                    sum = vf_add(sum, vf_load_part(x + c, min_u32(8, p->columns - c)));
                mean = vf_set1(vf_sum(sum) / (float)p->columns);
            }
            for (uint32_t c = 0; c < p->columns; c += 8) {
                const uint32_t n = min_u32(8, p->columns - c);
                vf v = vf_sub(vf_load_part(x + c, n), mean);
                if (centred && n < 8)
                    v = vf_first(v, n);
                squares = vf_add(squares, vf_mul(v, v));
            }
            const vf scale = vf_set1(1.0f / sqrtf(vf_sum(squares) / (float)p->columns + p->eps));
            for (uint32_t c = 0; to_q8 && c < p->columns; c += 32) {
                vf block[4];
                for (uint32_t i = 0; i < 4; i++)
                    block[i] = normed(x, w, b, c + 8 * i, 8, mean, scale);
                store_q8_block(block, (struct bl_q8_block *)call->bindings[4] + (at + c) / 32);
            }
            for (uint32_t c = 0; !to_q8 && c < p->columns; c += 8) {
                const uint32_t n = min_u32(8, p->columns - c);
                vf_store_part((float *)call->bindings[4] + at + c, normed(x, w, b, c, n, mean, scale), n);
            }
        }
    }
}
_Static_assert(TILE_NORM_Y == 1, "norm takes one row per tile");

#define NORM_KERNEL(name, centred, to_q8) \
    void LEVEL_NAME(name)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        UNUSED_SCRATCH; \
        norm(call, first, last, centred, to_q8); \
    }
NORM_KERNEL(rms_norm_f32, false, false)
NORM_KERNEL(rms_norm_q8, false, true)
NORM_KERNEL(layer_norm_f32, true, false)
NORM_KERNEL(layer_norm_q8, true, true)

void LEVEL_NAME(rope_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    UNUSED_SCRATCH;
    const struct bl_params_rope *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, p->heads, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            for (uint32_t h = t.x0; h < t.x1; h++) {
                const size_t at = ((size_t)r * p->heads + h) * p->d_head;
                rotate_head((const float *)call->bindings[1] + at, (const float *)call->bindings[2] + (size_t)r * p->n_rot, p->d_head, p->n_rot,
                            p->layout, (float *)call->bindings[3] + at);
            }
        }
    }
}
#endif
