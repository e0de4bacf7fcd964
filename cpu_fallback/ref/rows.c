/* ref/rows.c: ops that walk a row of columns: embed, select, unary, binary, glu, quantize. */
#include "cpu_fallback/ref/math.h"
#include "cpu_fallback/ref/ref.h"

static void embed(const struct bl_cpu_call *call, uint32_t first, uint32_t last, enum bl_format format)
{
    const struct bl_params_embed *p = call->push;
    const uint32_t *step = step_of(call), *ids = step + (p->source ? BL_STEP_POS : BL_STEP_TOKEN);
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_EMBED_X, TILE_EMBED_Y, p->columns, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1 && t.x0 < t.x1; r++) {
            float *y = (float *)call->bindings[2] + (size_t)r * p->columns;
            for (uint32_t c = t.x0; ids[r] >= p->n_ids && p->first == 0 && c < t.x1; c++)
                y[c] = 0;
            if (ids[r] >= p->n_ids || ids[r] - p->first >= p->count) /* below first: wraps to far above count */
                continue;
            const uint8_t *row = (const uint8_t *)call->bindings[1] + (size_t)(ids[r] - p->first) * row_bytes_of(format, p->columns);
            bl_cpu_dequantize_row(format, row + row_bytes_of(format, t.x0), y + t.x0, t.x1 - t.x0);
        }
    }
}

#define BL_FORMAT(NAME, name, id, elements, bytes, kind) \
    void bl_embed_##name##_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        (void)scratch; \
        embed(call, first, last, BL_FMT_##NAME); \
    }
#include "hal/formats.def"
#undef BL_FORMAT

void bl_select_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_select *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, BL_ROWS_OF_OUTPUT));
        for (uint32_t i = t.y0; i < t.y1; i++) {
            const float *x = (const float *)call->bindings[1] + (size_t)step_of(call)[(uint32_t)BL_STEP_OUT + i] * p->columns;
            float *y = (float *)call->bindings[2] + (size_t)i * p->columns;
            for (uint32_t c = t.x0; c < t.x1; c++)
                y[c] = x[c];
        }
    }
}

void bl_unary_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_unary *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            float *y = (float *)call->bindings[2] + (size_t)r * p->columns;
            for (uint32_t c = t.x0; c < t.x1; c++)
                y[c] = unary_value(p->kind, p->a, x[c]);
        }
    }
}

void bl_binary_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_binary *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            const float *z = (const float *)call->bindings[2] + (p->broadcast ? 0 : (size_t)r * p->columns);
            float *y = (float *)call->bindings[3] + (size_t)r * p->columns;
            for (uint32_t c = t.x0; c < t.x1; c++)
                y[c] = p->kind == BL_BINARY_ADD ? x[c] + z[c] : p->kind == BL_BINARY_MUL ? x[c] * z[c] : x[c] - z[c];
        }
    }
}

void bl_ref_glu(uint32_t kind, const float *gate, const float *up, uint32_t n, void *y, bool to_q8)
{
    for (uint32_t c0 = 0; c0 < n; c0 += 32) {
        float value[32];
        uint32_t count = min_u32(32, n - c0);
        for (uint32_t i = 0; i < count; i++)
            value[i] = unary_value(kind, 0, gate[c0 + i]) * up[c0 + i];
        if (to_q8)
            bl_ref_quantize_block(value, count, (struct bl_q8_block *)y + c0 / 32);
        else
            memcpy((float *)y + c0, value, count * sizeof value[0]);
    }
}

static void glu(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool to_q8)
{
    const struct bl_params_glu *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_COLUMNS_X, TILE_COLUMNS_Y, p->columns, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            size_t at = (size_t)r * p->columns + t.x0;
            void *y = (uint8_t *)call->bindings[3] + (to_q8 ? at / 32 * sizeof(struct bl_q8_block) : at * sizeof(float));
            if (t.x0 < t.x1)
                bl_ref_glu(p->kind, (const float *)call->bindings[1] + at, (const float *)call->bindings[2] + at, t.x1 - t.x0, y, to_q8);
        }
    }
}

void bl_glu_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    glu(call, first, last, false);
}

void bl_glu_q8_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    glu(call, first, last, true);
}

void bl_ref_quantize_block(const float *x, uint32_t n, struct bl_q8_block *out)
{
    *out = (struct bl_q8_block){0};
    uint32_t largest = 0; /* compared as bits: NaN is above infinity */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = bl_f32_bits(x[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    if (largest >= 0x7f800000u) {
        out->d = bl_bits_f32(0x7fc00000u);
        return;
    }
    if (bl_bits_f32(largest) < BL_Q8_MIN)
        return;
    out->d = bl_bits_f32(largest) / 127.0f;
    float inverse = 1.0f / out->d;
    for (uint32_t i = 0; i < n; i++) {
        float coarse = (x[i] * inverse + ROUND_MAGIC) - ROUND_MAGIC;
        float left = x[i] - out->d * coarse;
        float fine = (left * (254.0f * inverse) + ROUND_MAGIC) - ROUND_MAGIC;
        out->coarse.q[i] = (int8_t)coarse;
        out->fine.q[i] = (int8_t)fine;
        out->coarse.sum[i / 16] = (int16_t)(out->coarse.sum[i / 16] + out->coarse.q[i]);
        out->fine.sum[i / 16] = (int16_t)(out->fine.sum[i / 16] + out->fine.q[i]);
    }
}

void bl_quantize_q8_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_quantize *p = call->push;
    const uint32_t blocks = (p->columns + 31) / 32;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_QUANTIZE_X, TILE_QUANTIZE_Y, blocks, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++)
            for (uint32_t b = t.x0; b < t.x1; b++)
                bl_ref_quantize_block((const float *)call->bindings[1] + (size_t)r * p->columns + 32 * b, min_u32(32, p->columns - 32 * b),
                                      (struct bl_q8_block *)call->bindings[2] + (size_t)r * blocks + b);
    }
}
