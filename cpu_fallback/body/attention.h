/* body/attention.h: kv_store, rope_store and attention over pages (definition: ref/attention.c). A tile is one head and up to 16 rows; rows of the same
 * sequence walk the pages together, so an f16 page is widened once for all of them. What a row computes does not depend on its company.
 * Splits of positions are merged in order, as devices that compute them side by side must. */
#ifndef BL_CPU_BODY_ATTENTION_H
#define BL_CPU_BODY_ATTENTION_H
#include "cpu_fallback/body/math.h"
#include "cpu_fallback/body/parts.h"
#include "cpu_fallback/body/rotate.h"

/* A row's head into its place in the pages. */
static INLINE void store_head(const uint32_t *step, uint32_t row, uint32_t heads, uint32_t head, const float *x, uint32_t d_head, void *pages,
                              uint32_t format)
{
    const uint32_t position = step[(uint32_t)BL_STEP_POS + row];
    const size_t at = (((size_t)page_of(step, row, position) * heads + head) * BL_KV_PAGE + position % BL_KV_PAGE) * d_head;
    if (format == BL_FMT_F32) {
        memcpy((float *)pages + at, x, d_head * sizeof x[0]);
        return;
    }
    uint16_t *y = (uint16_t *)pages + at;
    for (uint32_t c = 0; c < d_head; c += 8) {
        const uint32_t n = min_u32(8, d_head - c);
        uint16_t halves[8];
        vf_store_f16(halves, vf_load_part(x + c, n));
        memcpy(y + c, halves, n * sizeof y[0]);
    }
}

static INLINE void kv_store(const struct bl_cpu_call *call, uint32_t first, uint32_t last, uint32_t format)
{
    const struct bl_params_kv_store *p = call->push;
    const uint32_t *step = step_of(call);
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, p->heads, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            for (uint32_t h = t.x0; h < t.x1; h++) {
                const float *x = (const float *)call->bindings[1] + ((size_t)r * p->heads + h) * p->d_head;
                store_head(step, r, p->heads, h, x, p->d_head, call->bindings[2], format);
            }
        }
    }
}

void LEVEL_NAME(kv_store_f32_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    kv_store(call, first, last, BL_FMT_F32);
}

void LEVEL_NAME(kv_store_f16_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    kv_store(call, first, last, BL_FMT_F16);
}

size_t LEVEL_NAME(rope_store_scratch)(const void *push)
{
    return ((const struct bl_params_rope_store *)push)->d_k * sizeof(float);
}

static INLINE void rope_store(const struct bl_cpu_call *call, uint32_t first, uint32_t last, float *rotated, uint32_t format)
{
    const struct bl_params_rope_store *p = call->push;
    const float *q = call->bindings[1], *k = call->bindings[2], *v = call->bindings[3];
    const uint32_t n_head = p->n_head, n_kv = p->n_head_kv;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, n_head + 2 * n_kv, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *table = (const float *)call->bindings[4] + (size_t)r * p->n_rot;
            for (uint32_t h = t.x0; h < t.x1; h++) {
                if (h < n_head) {
                    const size_t at = ((size_t)r * n_head + h) * p->d_k;
                    rotate_head(q + at, table, p->d_k, p->n_rot, p->layout, (float *)call->bindings[5] + at);
                } else if (h < n_head + n_kv) {
                    rotate_head(k + ((size_t)r * n_kv + h - n_head) * p->d_k, table, p->d_k, p->n_rot, p->layout, rotated);
                    store_head(step_of(call), r, n_kv, h - n_head, rotated, p->d_k, call->bindings[6], format);
                } else {
                    const uint32_t head = h - n_head - n_kv;
                    store_head(step_of(call), r, n_kv, head, v + ((size_t)r * n_kv + head) * p->d_v, p->d_v, call->bindings[7], format);
                }
            }
        }
    }
}

void LEVEL_NAME(rope_store_f32_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    rope_store(call, first, last, scratch, BL_FMT_F32);
}

void LEVEL_NAME(rope_store_f16_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    rope_store(call, first, last, scratch, BL_FMT_F16);
}

/* Columns c .. c + n of a row of keys or values, n <= 8. */
static INLINE vf load_kv(uint32_t format, const void *base, size_t at, uint32_t n)
{
    if (format == BL_FMT_F32)
        return vf_load_part((const float *)base + at, n);
    const uint16_t *h = (const uint16_t *)base + at;
    if (n == 8)
        return vf_load_f16(h);
    uint16_t halves[8] = {0};
    for (uint32_t i = 0; i < n; i++)
        halves[i] = h[i];
    return vf_load_f16(halves);
}

struct attended_row {
    const float *q;
    float *acc;   /* of the split under way: d_v floats, then padding to a whole vector */
    float *total; /* of the splits before it, as large */
    float m, l, total_m, total_l;
    bool has_total;
    uint32_t begin, position;
};

/* One page of one head: where its keys and values are, and which positions count. */
struct page_part {
    const void *k, *v;
    uint32_t j0, j1;
};

/* acc[c0 ..] = acc * f + sum over j of weight[j] * v[j], for n vectors of columns; the last one may be short. */
static INLINE void add_values(uint32_t format, int n, const struct page_part *page, uint32_t d_v, uint32_t c0, const float *weight, float f,
                              float *acc)
{
    const uint32_t short_n = min_u32(8, d_v - c0);
    vf sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        sum[i] = vf_mul(vf_load(acc + c0 + 8 * (uint32_t)i), vf_set1(f));
    for (uint32_t j = page->j0; j < page->j1; j++) {
        const vf w = vf_set1(weight[j]);
#pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            sum[i] = vf_add(sum[i], vf_mul(w, load_kv(format, page->v, (size_t)j * d_v + c0 + 8 * (uint32_t)i, n == 1 ? short_n : 8)));
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        vf_store(acc + c0 + 8 * (uint32_t)i, sum[i]);
}

/* sum[i] += columns c .. c + n of q * the key of position g + i. */
static INLINE void add_keys(uint32_t format, const struct page_part *page, uint32_t d_k, uint32_t g, const float *q, uint32_t c, uint32_t n,
                            vf sum[8])
{
    const vf a = vf_load_part(q + c, n);
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; i++)
        sum[i] = vf_add(sum[i], vf_mul(a, load_kv(format, page->k, (size_t)(g + i) * d_k + c, n)));
}

static INLINE void attend_page(uint32_t format, const struct bl_params_attention *p, const struct page_part *page, struct attended_row *row)
{
    const float infinity = bl_bits_f32(0x7f800000u);
    const uint32_t g0 = page->j0 / 8 * 8, g1 = (page->j1 + 7) / 8 * 8;
    float s[BL_KV_PAGE];
    for (uint32_t g = g0; g < g1; g += 8) {
        vf sum[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            sum[i] = vf_set1(0);
        uint32_t c = 0;
        for (; c + 8 <= p->d_k; c += 8)
            add_keys(format, page, p->d_k, g, row->q, c, 8, sum);
        if (c < p->d_k)
            add_keys(format, page, p->d_k, g, row->q, c, p->d_k - c, sum);
        vf score = vf_mul(vf_sum8(sum), vf_set1(p->scale));
        if (p->softcap > 0)
            score = vf_mul(vf_set1(p->softcap), vf_tanh(vf_div(score, vf_set1(p->softcap))));
        vf_store(s + g, score);
    }
    for (uint32_t j = g0; j < page->j0; j++) /* positions out of range: weight 0 */
        s[j] = -infinity;
    for (uint32_t j = page->j1; j < g1; j++)
        s[j] = -infinity;
    vf largest = vf_set1(row->m);
    for (uint32_t g = g0; g < g1; g += 8)
        largest = vf_max(vf_load(s + g), largest);
    const float m = vf_largest(largest);
    vf sum = vf_set1(0);
    for (uint32_t g = g0; g < g1; g += 8) {
        vf e = vf_exp(vf_sub(vf_load(s + g), vf_set1(m)));
        vf_store(s + g, e);
        sum = vf_add(sum, e);
    }
    const float f = exp_f32(row->m - m);
    row->l = row->l * f + vf_sum(sum);
    row->m = m;
    uint32_t c = 0;
    for (; c + 64 <= p->d_v; c += 64)
        add_values(format, 8, page, p->d_v, c, s, f, row->acc);
    for (; c + 32 <= p->d_v; c += 32)
        add_values(format, 4, page, p->d_v, c, s, f, row->acc);
    for (; c < p->d_v; c += 8)
        add_values(format, 1, page, p->d_v, c, s, f, row->acc);
}

static inline uint32_t padded_columns(uint32_t d_v)
{
    return (d_v + 7) / 8 * 8;
}

struct attention_scratch {
    struct attended_row rows[TILE_ATTENTION_Y];
    float floats[]; /* acc and total of each row; a widened page of keys; of values */
};

size_t LEVEL_NAME(attention_scratch)(const void *push)
{
    const struct bl_params_attention *p = push;
    return sizeof(struct attention_scratch)
           + sizeof(float) * ((size_t)TILE_ATTENTION_Y * 2 * padded_columns(p->d_v) + (size_t)BL_KV_PAGE * (p->d_k + p->d_v));
}

/* A split is complete: into the total, which the first one becomes. Leaves an empty split. */
static INLINE void end_split(struct attended_row *row, uint32_t columns)
{
    if (row->has_total) {
        const float m = max_f32(row->m, row->total_m), f = exp_f32(row->total_m - m), g = exp_f32(row->m - m);
        row->total_l = row->total_l * f + row->l * g;
        row->total_m = m;
        for (uint32_t c = 0; c < columns; c += 8)
            vf_store(row->total + c, vf_add(vf_mul(vf_load(row->total + c), vf_set1(f)), vf_mul(vf_load(row->acc + c), vf_set1(g))));
    } else {
        float *acc = row->acc;
        row->acc = row->total;
        row->total = acc;
        row->total_m = row->m;
        row->total_l = row->l;
        row->has_total = true;
    }
    row->m = -bl_bits_f32(0x7f800000u);
    row->l = 0;
    memset(row->acc, 0, columns * sizeof(float));
}

/* Rows r0 .. r0 + n of one sequence, one head, over all pages that any of them sees. */
static INLINE void attend_rows(const struct bl_cpu_call *call, uint32_t format, uint32_t r0, uint32_t n, uint32_t head,
                               struct attention_scratch *s)
{
    const struct bl_params_attention *p = call->push;
    const uint32_t *step = step_of(call);
    const uint32_t group = head / (p->n_head / p->n_head_kv), stride = padded_columns(p->d_v);
    uint32_t begin = UINT32_MAX, end = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct attended_row *row = &s->rows[i];
        const uint32_t position = step[(uint32_t)BL_STEP_POS + r0 + i];
        *row = (struct attended_row){
            .q = (const float *)call->bindings[1] + ((size_t)(r0 + i) * p->n_head + head) * p->d_k,
            .acc = s->floats + (size_t)i * 2 * stride,
            .total = s->floats + ((size_t)i * 2 + 1) * stride,
            .m = -bl_bits_f32(0x7f800000u),
            .begin = p->window && position + 1 > p->window ? position + 1 - p->window : 0,
            .position = position,
        };
        memset(row->acc, 0, stride * sizeof(float));
        begin = min_u32(begin, row->begin);
        end = position > end ? position : end;
    }
    float *wide_k = s->floats + (size_t)TILE_ATTENTION_Y * 2 * stride, *wide_v = wide_k + (size_t)BL_KV_PAGE * p->d_k;
    const size_t element = format == BL_FMT_F16 ? sizeof(uint16_t) : sizeof(float);
    for (uint32_t page = begin / BL_KV_PAGE; page <= end / BL_KV_PAGE; page++) {
        const uint32_t start = page * BL_KV_PAGE;
        const size_t place = ((size_t)page_of(step, r0, start) * p->n_head_kv + group) * BL_KV_PAGE;
        struct page_part part = {.k = (const uint8_t *)call->bindings[2] + place * p->d_k * element,
                                 .v = (const uint8_t *)call->bindings[3] + place * p->d_v * element};
        const bool widen = format == BL_FMT_F16 && n > 1;
        if (widen) {
            for (uint32_t c = 0; c < BL_KV_PAGE * p->d_k; c += 8)
                vf_store(wide_k + c, vf_load_f16((const uint16_t *)part.k + c));
            for (uint32_t c = 0; c < BL_KV_PAGE * p->d_v; c += 8)
                vf_store(wide_v + c, vf_load_f16((const uint16_t *)part.v + c));
            part.k = wide_k;
            part.v = wide_v;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct attended_row *row = &s->rows[i];
            part.j0 = row->begin > start ? row->begin - start : 0;
            part.j1 = min_u32(BL_KV_PAGE, row->position >= start ? row->position + 1 - start : 0);
            if (part.j0 >= part.j1)
                continue;
            if (start % BL_ATTENTION_SPLIT == 0 && start > row->begin)
                end_split(row, stride);
            if (widen)
                attend_page(BL_FMT_F32, p, &part, row);
            else
                attend_page(format, p, &part, row);
        }
    }
    for (uint32_t i = 0; i < n; i++)
        if (s->rows[i].has_total)
            end_split(&s->rows[i], stride);
}

static INLINE void store_row(const struct bl_params_attention *p, const struct attended_row *row, void *out, size_t at, bool to_q8)
{
    const float *acc = row->has_total ? row->total : row->acc;
    const vf scale = vf_set1(1.0f / (row->has_total ? row->total_l : row->l));
    for (uint32_t c = 0; to_q8 && c < p->d_v; c += 32) {
        vf block[4];
        for (uint32_t i = 0; i < 4; i++)
            block[i] = vf_mul(vf_load(acc + c + 8 * i), scale);
        store_q8_block(block, (struct bl_q8_block *)out + (at + c) / 32);
    }
    for (uint32_t c = 0; !to_q8 && c < p->d_v; c += 8)
        vf_store_part((float *)out + at + c, vf_mul(vf_load(acc + c), scale), min_u32(8, p->d_v - c));
}

static INLINE void attention(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch, uint32_t format, bool to_q8)
{
    const struct bl_params_attention *p = call->push;
    const uint32_t *sequence = step_of(call) + BL_STEP_SEQ;
    struct attention_scratch *s = scratch;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_ATTENTION_X, TILE_ATTENTION_Y, p->n_head, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r0 = t.y0, n; r0 < t.y1; r0 += n) {
            for (n = 1; r0 + n < t.y1 && sequence[r0 + n] == sequence[r0];)
                n++;
            attend_rows(call, format, r0, n, t.x0, s);
            for (uint32_t i = 0; i < n; i++)
                store_row(p, &s->rows[i], call->bindings[4], ((size_t)(r0 + i) * p->n_head + t.x0) * p->d_v, to_q8);
        }
    }
}
_Static_assert(TILE_ATTENTION_X == 1, "attention takes one head per tile");

#define ATTENTION_KERNEL(name, format, to_q8) \
    void LEVEL_NAME(attention_##name)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        attention(call, first, last, scratch, format, to_q8); \
    }
ATTENTION_KERNEL(f32_f32, BL_FMT_F32, false)
ATTENTION_KERNEL(f32_q8, BL_FMT_F32, true)
ATTENTION_KERNEL(f16_f32, BL_FMT_F16, false)
ATTENTION_KERNEL(f16_q8, BL_FMT_F16, true)
#endif
