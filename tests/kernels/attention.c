/* attention.c: cases of kv_store, rope_store and attention: ragged steps over shuffled pages, windows, soft caps, head sizes that fill no vector. */
#include "check.h"

#include "base/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sequence_rows {
    uint32_t sequence, position;
};

/* A step of m rows over `n_sequences` page lists of `pages` pages each, in shuffled order. */
static void fill_step(uint32_t *step, const struct sequence_rows *rows, uint32_t m, uint32_t n_sequences, uint32_t pages)
{
    step[BL_STEP_PAGE_STRIDE] = pages;
    uint32_t *table = step + BL_STEP_PAGES;
    for (uint32_t i = 0; i < n_sequences * pages; i++) {
        const uint32_t j = random_below(i + 1);
        table[i] = table[j];
        table[j] = i;
    }
    for (uint32_t r = 0; r < m; r++) {
        step[(uint32_t)BL_STEP_SEQ + r] = rows[r].sequence;
        step[(uint32_t)BL_STEP_POS + r] = rows[r].position;
        if (rows[r].position > step[BL_STEP_MAX_POSITION])
            step[BL_STEP_MAX_POSITION] = rows[r].position;
    }
}

/* Runs of rows of one sequence at rising positions, as prefill and decode give them. */
static void fill_rows(struct sequence_rows *rows, uint32_t m, uint32_t n_sequences, uint32_t context)
{
    for (uint32_t r = 0; r < m;) {
        const uint32_t sequence = random_below(n_sequences), run = 1 + random_below(20), start = random_below(context);
        for (uint32_t i = 0; i < run && r < m && start + i < context; i++, r++)
            rows[r] = (struct sequence_rows){sequence, start + i};
    }
}

static double stored(const struct launch *l, uint32_t binding, size_t at)
{
    const uint8_t *data = l->buffers[binding].data;
    if (l->key.weight == BL_FMT_F16)
        return (double)bl_f16_to_f32(((const uint16_t *)(const void *)data)[at]);
    return (double)((const float *)(const void *)data)[at];
}

/* Softmax over all positions at once, in double. */
static bool attention_oracle(const struct launch *l)
{
    const struct bl_params_attention *p = &l->push.attention;
    const uint32_t *step = l->bindings[0], m = step[BL_STEP_N_ROWS];
    const size_t n = (size_t)m * p->n_head * p->d_v;
    double *truth = calloc(n, sizeof *truth), *score = malloc((step[BL_STEP_MAX_POSITION] + 1) * sizeof *score);
    for (uint32_t r = 0; r < m; r++) {
        const uint32_t position = step[(uint32_t)BL_STEP_POS + r];
        const uint32_t *pages = step + BL_STEP_PAGES + step[(uint32_t)BL_STEP_SEQ + r] * step[BL_STEP_PAGE_STRIDE];
        for (uint32_t h = 0; h < p->n_head; h++) {
            const uint32_t g = h * p->n_head_kv / p->n_head;
            const float *q = (const float *)l->bindings[1] + ((size_t)r * p->n_head + h) * p->d_k;
            double *y = truth + ((size_t)r * p->n_head + h) * p->d_v, sum = 0, largest = -INFINITY;
            for (uint32_t j = 0; j <= position; j++) {
                const size_t place = ((size_t)pages[j / 32] * p->n_head_kv + g) * 32 + j % 32;
                score[j] = 0;
                for (uint32_t c = 0; c < p->d_k; c++)
                    score[j] += (double)q[c] * stored(l, 2, place * p->d_k + c);
                score[j] *= (double)p->scale;
                if (p->softcap > 0)
                    score[j] = (double)p->softcap * tanh(score[j] / (double)p->softcap);
                if (p->window && j + p->window <= position)
                    score[j] = -INFINITY;
                largest = fmax(largest, score[j]);
            }
            for (uint32_t j = 0; j <= position; j++)
                sum += score[j] = exp(score[j] - largest);
            for (uint32_t j = 0; j <= position; j++)
                for (uint32_t c = 0; c < p->d_v; c++)
                    y[c] += score[j] / sum * stored(l, 3, (((size_t)pages[j / 32] * p->n_head_kv + g) * 32 + j % 32) * p->d_v + c);
        }
    }
    float *got = malloc(n * sizeof *got);
    const struct bl_q8_block *blocks = (const void *)l->buffers[4].expected;
    memcpy(got, l->key.activation == BL_FMT_Q8 ? (const void *)truth : blocks, n * sizeof *got);
    for (size_t i = 0; l->key.activation == BL_FMT_Q8 && i < n; i++)
        got[i] = ((float)blocks[i / 32].coarse.q[i % 32] + (float)blocks[i / 32].fine.q[i % 32] / 254) * blocks[i / 32].d;
    const bool ok = within_limit(l->key.activation == BL_FMT_Q8 ? LIMIT_QUANTIZE : LIMIT_ATTENTION, nmse(truth, got, n));
    free(got);
    free(truth);
    free(score);
    return ok;
}

static void fill_pages(uint8_t *data, uint32_t format, size_t n, enum style style)
{
    float *x = malloc(n * sizeof *x);
    fill_floats(x, n, style);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = bl_f32_to_f16(x[i]);
        if (format == BL_FMT_F16)
            memcpy(data + 2 * i, &half, 2);
        else
            memcpy(data + 4 * i, &x[i], 4);
    }
    free(x);
}

static void check_attention_case(struct bl_kernel_key key, uint32_t turn)
{
    static const uint32_t heads[][4] = {{3, 3, 64, 64}, {4, 2, 32, 32}, {9, 3, 64, 64}, {2, 1, 128, 128}, {2, 2, 96, 160}, {2, 1, 256, 192}, {3, 1, 20, 12}};
    static const uint32_t rows_list[] = {1, 2, 5, 17, 33, 70}, contexts[] = {1, 31, 33, 700, 300};
    const uint32_t shape = key.activation == BL_FMT_Q8 ? turn % 6 : turn % 7;
    const uint32_t *h = heads[shape], m = rows_list[turn / 2 % 6], context = contexts[turn % 5], n_sequences = 1 + turn % 3;
    const uint32_t pages = (context + BL_KV_PAGE - 1) / BL_KV_PAGE, bucket = m + 1;
    const bool q8 = key.activation == BL_FMT_Q8;
    const enum style style = turn % 4 == 3 ? SPARSE : UNIFORM;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "heads=%u/%u d=%u/%u m=%u context=%u turn=%u", h[0], h[1], h[2], h[3], m, context, turn);
    random_seed_for(l.label);
    struct sequence_rows rows[70];
    fill_rows(rows, m, n_sequences, context);
    fill_step(launch_step(&l, m, m, n_sequences * pages), rows, m, n_sequences, pages);
    l.push.attention = (struct bl_params_attention){.n_head = h[0], .n_head_kv = h[1], .d_k = h[2], .d_v = h[3], .n_pages = n_sequences * pages,
                                                    .window = turn % 3 == 1 ? 1 + random_below(turn % 2 ? 400 : 50) : 0, .scale = 1.0f / sqrtf((float)h[2]),
                                                    .softcap = turn % 5 == 2 ? 3.0f : 0.0f};
    const size_t q_n = (size_t)bucket * h[0] * h[2], out_n = (size_t)bucket * h[0] * h[3], element = key.weight == BL_FMT_F16 ? 2 : 4;
    float *q = launch_input(&l, q_n * sizeof(float), 4);
    fill_floats(q, q_n, style);
    for (size_t i = 0; i < q_n; i++)
        q[i] *= 4;
    for (uint32_t i = 0; i < 2; i++) {
        const size_t n = (size_t)n_sequences * pages * h[1] * BL_KV_PAGE * h[2 + i];
        fill_pages(launch_input(&l, n * element, element), key.weight, n, style);
    }
    launch_output(&l, q8 ? out_n / 32 * sizeof(struct bl_q8_block) : out_n * sizeof(float), 4);
    l.columns = h[0];
    l.rows = bucket;
    launch_check(&l, style == UNIFORM ? attention_oracle : NULL);
    launch_free(&l);
}

static bool kv_store_oracle(const struct launch *l)
{
    const struct bl_params_kv_store *p = &l->push.kv_store;
    const uint32_t *step = l->bindings[0];
    bool ok = true;
    for (uint32_t r = 0; r < step[BL_STEP_N_ROWS]; r++) {
        const uint32_t position = step[(uint32_t)BL_STEP_POS + r];
        const uint32_t page = step[BL_STEP_PAGES + step[(uint32_t)BL_STEP_SEQ + r] * step[BL_STEP_PAGE_STRIDE] + position / 32];
        for (uint32_t i = 0; i < p->heads * p->d_head; i++) {
            const size_t at = (((size_t)page * p->heads + i / p->d_head) * 32 + position % 32) * p->d_head + i % p->d_head;
            const float x = ((const float *)l->bindings[1])[(size_t)r * p->heads * p->d_head + i];
            const uint8_t *data = l->buffers[2].expected;
            if (l->key.weight == BL_FMT_F16)
                ok &= ((const uint16_t *)(const void *)data)[at] == bl_f32_to_f16(x);
            else
                ok &= bl_f32_bits(((const float *)(const void *)data)[at]) == bl_f32_bits(x);
        }
    }
    return ok;
}

static void check_kv_store_case(struct bl_kernel_key key, uint32_t turn)
{
    static const uint32_t shapes[][2] = {{3, 64}, {1, 128}, {9, 20}, {2, 7}};
    const uint32_t heads = shapes[turn % 4][0], d_head = shapes[turn % 4][1], m = 1 + 7 * (turn % 5), pages = 4, n_sequences = 2;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "heads=%u d_head=%u m=%u turn=%u", heads, d_head, m, turn);
    random_seed_for(l.label);
    struct sequence_rows rows[64];
    for (uint32_t r = 0; r < m; r++) /* every row its own place */
        rows[r] = (struct sequence_rows){r % 2, 17 + r * 3};
    fill_step(launch_step(&l, m, m, n_sequences * pages), rows, m, n_sequences, pages);
    l.push.kv_store = (struct bl_params_kv_store){.heads = heads, .d_head = d_head, .n_pages = n_sequences * pages};
    const size_t n = (size_t)(m + 1) * heads * d_head, element = key.weight == BL_FMT_F16 ? 2 : 4;
    fill_floats(launch_input(&l, n * sizeof(float), 4), n, (enum style)(turn % 3));
    launch_output(&l, (size_t)n_sequences * pages * heads * BL_KV_PAGE * d_head * element, element);
    l.columns = heads;
    l.rows = m + 1;
    launch_check(&l, kv_store_oracle);
    launch_free(&l);
}

/* rope, rope, kv_store and kv_store by level C: the same bits. */
static bool rope_store_oracle(const struct launch *l)
{
    const struct bl_params_rope_store *p = &l->push.rope_store;
    void *const *b = l->bindings;
    const uint32_t bucket = l->rows;
    const uint32_t q_of = l->buffers[5].is_alias ? 1 : 5; /* which binding holds what was written as q */
    const size_t q_n = (size_t)bucket * p->n_head * p->d_k, k_n = (size_t)bucket * p->n_head_kv * p->d_k;
    const struct bl_kernel_key rope = {.op = BL_OP_ROPE, .activation = BL_FMT_F32};
    const struct bl_kernel_key store = {.op = BL_OP_KV_STORE, .weight = l->key.weight, .activation = BL_FMT_F32};
    uint8_t *got[3] = {malloc(q_n * sizeof(float)), malloc(l->buffers[6].bytes), malloc(l->buffers[7].bytes)};
    float *k = malloc(k_n * sizeof *k);
    const struct bl_params_rope rope_q = {p->n_head, p->d_k, p->n_rot, p->layout}, rope_k = {p->n_head_kv, p->d_k, p->n_rot, p->layout};
    const struct bl_params_kv_store store_k = {p->n_head_kv, p->d_k, p->n_pages}, store_v = {p->n_head_kv, p->d_v, p->n_pages};
    memcpy(got[0], l->buffers[q_of].initial, l->buffers[q_of].bytes);
    memcpy(got[1], l->buffers[6].initial, l->buffers[6].bytes);
    memcpy(got[2], l->buffers[7].initial, l->buffers[7].bytes);
    run_level_c(rope, (void *[]){b[0], l->buffers[1].initial, b[4], got[0]}, &rope_q, p->n_head, bucket);
    run_level_c(rope, (void *[]){b[0], b[2], b[4], k}, &rope_k, p->n_head_kv, bucket);
    run_level_c(store, (void *[]){b[0], k, got[1]}, &store_k, p->n_head_kv, bucket);
    run_level_c(store, (void *[]){b[0], b[3], got[2]}, &store_v, p->n_head_kv, bucket);
    const bool ok = !memcmp(got[0], l->buffers[q_of].expected, l->buffers[q_of].bytes) && !memcmp(got[1], l->buffers[6].expected, l->buffers[6].bytes) &&
                    !memcmp(got[2], l->buffers[7].expected, l->buffers[7].bytes);
    for (uint32_t i = 0; i < 3; i++)
        free(got[i]);
    free(k);
    return ok;
}

static void check_rope_store_case(struct bl_kernel_key key, uint32_t turn)
{
    static const struct bl_params_rope_store shapes[] = {{9, 3, 64, 64, 64}, {4, 2, 80, 48, 20}, {1, 1, 8, 7, 2}, {3, 1, 96, 96, 96}, {8, 8, 20, 33, 18}, {16, 2, 128, 128, 64}};
    struct bl_params_rope_store p = shapes[turn % 6];
    const uint32_t m = 1 + 7 * (turn % 5), bucket = m + 1, pages = 4, n_sequences = 2;
    struct launch l;
    launch_init(&l, key);
    p.layout = turn / 6 % 2;
    p.n_pages = n_sequences * pages;
    l.push.rope_store = p;
    snprintf(l.label, sizeof l.label, "heads=%u/%u d=%u/%u n_rot=%u layout=%u m=%u turn=%u", p.n_head, p.n_head_kv, p.d_k, p.d_v, p.n_rot, p.layout, m, turn);
    random_seed_for(l.label);
    struct sequence_rows rows[64];
    for (uint32_t r = 0; r < m; r++) /* every row its own place */
        rows[r] = (struct sequence_rows){r % 2, 17 + r * 3};
    fill_step(launch_step(&l, m, m, n_sequences * pages), rows, m, n_sequences, pages);
    const size_t n[] = {(size_t)bucket * p.n_head * p.d_k, (size_t)bucket * p.n_head_kv * p.d_k, (size_t)bucket * p.n_head_kv * p.d_v, (size_t)bucket * p.n_rot};
    for (uint32_t i = 0; i < 4; i++) /* v is only moved, so it may be anything */
        fill_floats(launch_input(&l, n[i] * sizeof(float), 4 * random_below(16)), n[i], i == 2 ? (enum style)(turn % 3) : UNIFORM);
    if (turn % 4 == 3) {
        launch_in_place(&l, 1);
        launch_alias(&l, 1);
    } else {
        launch_output(&l, n[0] * sizeof(float), 4 * random_below(16));
    }
    const size_t element = key.weight == BL_FMT_F16 ? 2 : 4, places = (size_t)p.n_pages * p.n_head_kv * BL_KV_PAGE;
    launch_output(&l, places * p.d_k * element, element);
    launch_output(&l, places * p.d_v * element, 3 * element);
    l.columns = p.n_head + 2 * p.n_head_kv;
    l.rows = bucket;
    launch_check(&l, rope_store_oracle);
    launch_free(&l);
}

void check_attention(struct bl_kernel_key key)
{
    const uint32_t turns = options.quick ? 12 : 60;
    for (uint32_t turn = 0; turn < turns; turn++) {
        if (key.op == BL_OP_ATTENTION)
            check_attention_case(key, turn);
        else if (key.op == BL_OP_ROPE_STORE)
            check_rope_store_case(key, turn);
        else if (turn < 20)
            check_kv_store_case(key, turn);
    }
}
