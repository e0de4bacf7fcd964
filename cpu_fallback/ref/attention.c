/* ref/attention.c: the KV cache in pages: kv_store, rope_store and attention with an online softmax, one page at a time, in splits that are merged in order. */
#include "cpu_fallback/ref/math.h"
#include "cpu_fallback/ref/ref.h"

static float load_kv(const void *pages, size_t at, uint32_t format)
{
    return format == BL_FMT_F16 ? bl_f16_to_f32(((const uint16_t *)pages)[at]) : ((const float *)pages)[at];
}

static void store_kv(void *pages, size_t at, uint32_t format, float value)
{
    if (format == BL_FMT_F16)
        ((uint16_t *)pages)[at] = bl_f32_to_f16(value);
    else
        ((float *)pages)[at] = value;
}

/* Which of all heads' places in the pages is that of the row's position. */
static size_t page_place(const uint32_t *step, uint32_t row, uint32_t heads, uint32_t head)
{
    uint32_t position = step[(uint32_t)BL_STEP_POS + row];
    return ((size_t)page_of(step, row, position) * heads + head) * BL_KV_PAGE + position % BL_KV_PAGE;
}

static void kv_store(const struct bl_cpu_call *call, uint32_t first, uint32_t last, uint32_t format)
{
    const struct bl_params_kv_store *p = call->push;
    const uint32_t *step = step_of(call);
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, p->heads, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            for (uint32_t h = t.x0; h < t.x1; h++)
                for (uint32_t c = 0; c < p->d_head; c++)
                    store_kv(call->bindings[2], page_place(step, r, p->heads, h) * p->d_head + c, format,
                             ((const float *)call->bindings[1])[((size_t)r * p->heads + h) * p->d_head + c]);
        }
    }
}

size_t bl_rope_store_scratch_c(const void *push)
{
    return ((const struct bl_params_rope_store *)push)->d_k * sizeof(float);
}

static void rope_store(const struct bl_cpu_call *call, uint32_t first, uint32_t last, float *rotated, uint32_t format)
{
    const struct bl_params_rope_store *p = call->push;
    const uint32_t *step = step_of(call);
    const float *q = call->bindings[1], *k = call->bindings[2], *v = call->bindings[3];
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_HEADS_X, TILE_HEADS_Y, p->n_head + 2 * p->n_head_kv, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *table = (const float *)call->bindings[4] + (size_t)r * p->n_rot;
            for (uint32_t h = t.x0; h < t.x1; h++) {
                if (h < p->n_head) {
                    size_t at = ((size_t)r * p->n_head + h) * p->d_k;
                    bl_ref_rotate(q + at, table, p->d_k, p->n_rot, p->layout, (float *)call->bindings[5] + at);
                    continue;
                }
                const bool is_v = h - p->n_head >= p->n_head_kv;
                const uint32_t head = (h - p->n_head) % p->n_head_kv, d = is_v ? p->d_v : p->d_k;
                const float *x = (is_v ? v : k) + ((size_t)r * p->n_head_kv + head) * d;
                const size_t place = page_place(step, r, p->n_head_kv, head);
                if (!is_v)
                    bl_ref_rotate(x, table, d, p->n_rot, p->layout, rotated);
                for (uint32_t c = 0; c < d; c++)
                    store_kv(call->bindings[is_v ? 7 : 6], place * d + c, format, is_v ? x[c] : rotated[c]);
            }
        }
    }
}

void bl_kv_store_f32_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    kv_store(call, first, last, BL_FMT_F32);
}

void bl_kv_store_f16_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    kv_store(call, first, last, BL_FMT_F16);
}

void bl_rope_store_f32_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    rope_store(call, first, last, scratch, BL_FMT_F32);
}

void bl_rope_store_f16_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    rope_store(call, first, last, scratch, BL_FMT_F16);
}

static float score(const struct bl_params_attention *p, const float *q, const void *pages, size_t at, uint32_t format)
{
    struct ref_sum sum = {{0}};
    for (uint32_t c = 0; c < p->d_k; c++)
        ref_sum_add(&sum, c, q[c] * load_kv(pages, at + c, format));
    float s = ref_sum_total(&sum) * p->scale;
    return p->softcap > 0 ? p->softcap * tanh_f32(s / p->softcap) : s;
}

/* The running softmax of one row and one head: largest score, sum of weights, weighted sum of values. */
struct softmax {
    float m, l, *acc; /* [d_v] */
};

/* The positions of one page that lie in begin .. position. */
static void attend_page(const struct bl_cpu_call *call, uint32_t row, uint32_t head, uint32_t format, uint32_t page, uint32_t begin,
                        struct softmax *t)
{
    const struct bl_params_attention *p = call->push;
    const uint32_t *step = step_of(call);
    const uint32_t group = head / (p->n_head / p->n_head_kv), position = step[(uint32_t)BL_STEP_POS + row];
    const float *q = (const float *)call->bindings[1] + ((size_t)row * p->n_head + head) * p->d_k;
    const size_t place = ((size_t)page_of(step, row, page * BL_KV_PAGE) * p->n_head_kv + group) * BL_KV_PAGE;
    const uint32_t j0 = page == begin / BL_KV_PAGE ? begin % BL_KV_PAGE : 0;
    const uint32_t j1 = page == position / BL_KV_PAGE ? position % BL_KV_PAGE + 1 : BL_KV_PAGE;
    float s[BL_KV_PAGE], m = t->m;
    for (uint32_t j = j0; j < j1; j++) {
        s[j] = score(p, q, call->bindings[2], (place + j) * p->d_k, format);
        m = max_f32(s[j], m);
    }
    struct ref_sum sum = {{0}};
    for (uint32_t j = j0; j < j1; j++) {
        s[j] = exp_f32(s[j] - m);
        ref_sum_add(&sum, j, s[j]);
    }
    float f = exp_f32(t->m - m);
    t->l = t->l * f + ref_sum_total(&sum);
    t->m = m;
    for (uint32_t c = 0; c < p->d_v; c++) {
        t->acc[c] = t->acc[c] * f;
        for (uint32_t j = j0; j < j1; j++)
            t->acc[c] = t->acc[c] + s[j] * load_kv(call->bindings[3], (place + j) * p->d_v + c, format);
    }
}

static void merge(struct softmax *t, const struct softmax *split, uint32_t d_v)
{
    float m = max_f32(split->m, t->m), f = exp_f32(t->m - m), g = exp_f32(split->m - m);
    t->l = t->l * f + split->l * g;
    t->m = m;
    for (uint32_t c = 0; c < d_v; c++)
        t->acc[c] = t->acc[c] * f + split->acc[c] * g;
}

/* y[d_v] of one row and one head; `spare` as large. */
static void attend(const struct bl_cpu_call *call, uint32_t row, uint32_t head, uint32_t format, float *y, float *spare)
{
    const struct bl_params_attention *p = call->push;
    const uint32_t position = step_of(call)[(uint32_t)BL_STEP_POS + row], split_pages = BL_ATTENTION_SPLIT / BL_KV_PAGE;
    const uint32_t begin = p->window && position + 1 > p->window ? position + 1 - p->window : 0;
    struct softmax total = {.acc = y};
    for (uint32_t page = begin / BL_KV_PAGE, first = page; page <= position / BL_KV_PAGE; first = page) {
        struct softmax split = {-bl_bits_f32(0x7f800000u), 0, first == begin / BL_KV_PAGE ? y : spare};
        memset(split.acc, 0, p->d_v * sizeof split.acc[0]);
        for (; page <= position / BL_KV_PAGE && page / split_pages == first / split_pages; page++)
            attend_page(call, row, head, format, page, begin, &split);
        if (split.acc == y)
            total = split;
        else
            merge(&total, &split, p->d_v);
    }
    for (uint32_t c = 0; c < p->d_v; c++)
        y[c] = y[c] * (1.0f / total.l);
}

size_t bl_attention_scratch_c(const void *push)
{
    return ((const struct bl_params_attention *)push)->d_v * 2 * sizeof(float);
}

static void attention(const struct bl_cpu_call *call, uint32_t first, uint32_t last, float *scratch, uint32_t format, bool to_q8)
{
    const struct bl_params_attention *p = call->push;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_ATTENTION_X, TILE_ATTENTION_Y, p->n_head, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            for (uint32_t h = t.x0; h < t.x1; h++) {
                size_t at = ((size_t)r * p->n_head + h) * p->d_v;
                attend(call, r, h, format, scratch, scratch + p->d_v);
                if (!to_q8)
                    memcpy((float *)call->bindings[4] + at, scratch, p->d_v * sizeof scratch[0]);
                for (uint32_t c = 0; to_q8 && c < p->d_v; c += 32)
                    bl_ref_quantize_block(scratch + c, 32, (struct bl_q8_block *)call->bindings[4] + (at + c) / 32);
            }
        }
    }
}

#define ATTENTION_KERNEL(name, format, to_q8) \
    void bl_attention_##name##_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch) \
    { \
        attention(call, first, last, scratch, format, to_q8); \
    }
ATTENTION_KERNEL(f32_f32, BL_FMT_F32, false)
ATTENTION_KERNEL(f32_q8, BL_FMT_F32, true)
ATTENTION_KERNEL(f16_f32, BL_FMT_F16, false)
ATTENTION_KERNEL(f16_q8, BL_FMT_F16, true)
