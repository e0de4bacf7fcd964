/* xq.c: random X-bit matrices and inputs as cases, and the cases of stage and of embed of bx. What the bits of a matrix mean comes from two
 * sides: what was packed is remembered beside the blob, as plain numbers. */
#include "check.h"

#include "base/half.h"
#include "hal/xq.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <bitloom/status.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t random_segments(uint32_t blocks, uint32_t depth, enum style style, struct bl_xq_segment *out)
{
    uint32_t n = 0;
    for (uint32_t left = blocks; left;) {
        uint32_t take = n + 1 == BL_XQ_MAX_SEGMENTS || depth ? left : 1 + random_below(left < 5 ? left : 5);
        out[n++] = (struct bl_xq_segment){(uint16_t)take, (uint8_t)(depth ? depth : 1 + random_below(8)), random_below(2) ? BL_XQ_GROUPED : 0,
                                          style == ZEROS ? 0x1p-100f : (float)(0.01 * (1.5 + random_unit()))};
        left -= take;
    }
    return n;
}

static void random_levels(uint8_t *half, uint32_t n, uint32_t most, enum style style)
{
    for (uint32_t i = 0; i < n; i++)
        half[i] = (uint8_t)(style == LOUD ? most : 1 + (most - 1) * i / (n - 1));
    for (uint32_t i = 0; i + 1 < n && style != LOUD; i++) /* anywhere between its neighbours */
        half[i] = (uint8_t)(half[i] + random_below((uint32_t)(half[i + 1] - half[i]) + 1));
}

#define HALVES_MAX 3u

uint8_t *xq_random(uint32_t rows, uint32_t columns, uint32_t depth, enum style style, size_t *bytes)
{
    const uint32_t blocks = (columns + 31) / 32, n_row_blocks = rows >= 32 * HALVES_MAX ? 1 + random_below(HALVES_MAX) : 1;
    struct bl_xq_segment segments[HALVES_MAX][BL_XQ_MAX_SEGMENTS];
    struct bl_xq_rows row_blocks[HALVES_MAX];
    uint8_t half[4][16];
    random_levels(half[0], 2, BL_XQ_LEVEL2, style);
    random_levels(half[1], 4, BL_XQ_LEVEL3, style);
    random_levels(half[2], 8, BL_XQ_LEVEL4, style);
    random_levels(half[3], 16, BL_XQ_LEVEL5, style);
    struct bl_xq_shape shape = {rows, columns, 0, (int16_t)(style == EXTREMES ? -40 : -6), half[0], half[1], half[2], half[3], n_row_blocks, row_blocks, 0};
    for (uint32_t i = 0; i < n_row_blocks; i++) {
        row_blocks[i] = (struct bl_xq_rows){rows / n_row_blocks * i / 32 * 32, random_segments(blocks, depth, style, segments[i]), segments[i]};
    }
    struct bl_xq_outlier *outliers = malloc(rows * sizeof *outliers * 3);
    for (uint32_t i = 0; i < rows && style != ZEROS && style != LOUD; i++) {
        uint32_t column = 0;
        for (uint32_t k = random_below(4); k > 0 && column < 32 * blocks; k--) {
            column += random_below(32 * blocks / 2 + 1);
            if (column < 32 * blocks)
                outliers[shape.n_outliers++] = (struct bl_xq_outlier){i, (uint16_t)column++, bl_f32_to_f16((float)random_unit() * 4)};
        }
    }
    *bytes = (size_t)bl_xq_matrix_bytes(&shape);
    uint8_t *blob = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    bl_xq_matrix_begin(&shape, blob);
    for (uint32_t i = 0; i < rows; i++) {
        bl_xq_set_row_scale(blob, i, style == ZEROS || random_below(20) == 0 ? 0 : (uint8_t)(style == EXTREMES ? random_below(256) : 60 + random_below(60)));
        for (uint32_t b = 0; b < blocks; b++) {
            uint8_t codes[32];
            const uint32_t pick = random_below(8);
            for (uint32_t c = 0; c < 32; c++)
                codes[c] = (style == LOUD || style == EXTREMES) && pick < 4 ? (uint8_t)(pick % 2 ? 255 : 0) : (uint8_t)random_bits();
            bl_xq_set_codes(blob, i, b, codes, style == LOUD ? 15 : random_below(16));
        }
    }
    bl_xq_set_outliers(blob, outliers);
    bl_xq_matrix_end(blob, *bytes);
    free(outliers);
    if (bl_xq_check_matrix("kernel-check", 0, "a random matrix", blob, *bytes) != BL_OK) {
        printf("FAIL the reader refuses what was packed: %s\n", bl_error_text());
        counts.failed++;
    }
    return blob;
}

const double xq_mixture[9] = {[1] = 0.03, [2] = 0.33, [3] = 0.61, [4] = 0.03};

uint8_t *xq_typical(uint32_t rows, uint32_t columns, uint32_t depth, size_t *bytes)
{
    static const uint8_t half2[] = {4, 15}, half3[] = {3, 11, 19, 31}, half4[] = {3, 9, 15, 22, 29, 37, 48, 63};
    static const uint8_t half5[] = {3, 8, 13, 18, 24, 29, 35, 41, 47, 54, 61, 70, 79, 90, 105, 127};
    const uint32_t blocks = columns / 32;
    struct bl_xq_segment segments[8];
    struct bl_xq_rows all = {0, 0, segments};
    double share = 0;
    for (uint32_t d = 8, done = 0; d >= 1; d--) { /* the deepest first, as compressed models have them */
        share += depth == XQ_MIXTURE ? xq_mixture[d] : d == depth ? 1 : 0;
        const uint32_t end = (uint32_t)(share * blocks + 0.5);
        if (end > done)
            segments[all.n_segments++] = (struct bl_xq_segment){(uint16_t)(end - done), (uint8_t)d, d > 1 && d < 8 ? BL_XQ_GROUPED : 0, 0.01f};
        done = end;
    }
    const uint32_t n_outliers = rows * (columns / 32) / 64; /* one in 2048 weights */
    struct bl_xq_outlier *outliers = malloc(n_outliers * sizeof *outliers + 1);
    for (uint32_t i = 0; i < n_outliers; i++) {
        const uint32_t at = i * 2048;
        outliers[i] = (struct bl_xq_outlier){at / columns, (uint16_t)(at % columns), bl_f32_to_f16((float)random_unit() * 4)};
    }
    const struct bl_xq_shape shape = {rows, columns, 0, -6, half2, half3, half4, half5, 1, &all, n_outliers};
    *bytes = (size_t)bl_xq_matrix_bytes(&shape);
    uint8_t *blob = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    bl_xq_matrix_begin(&shape, blob);
    for (uint32_t i = 0; i < rows; i++) {
        bl_xq_set_row_scale(blob, i, (uint8_t)(60 + random_below(60)));
        for (uint32_t b = 0; b < blocks; b++) {
            uint8_t codes[32];
            for (uint32_t c = 0; c < 32; c++)
                codes[c] = (uint8_t)random_bits();
            bl_xq_set_codes(blob, i, b, codes, random_below(16));
        }
    }
    bl_xq_set_outliers(blob, outliers);
    bl_xq_matrix_end(blob, *bytes);
    free(outliers);
    return blob;
}

static void random_input(uint32_t columns, bool identity, uint8_t *out)
{
    const uint32_t n = (columns + 31) / 32 * 32;
    uint16_t *perm = malloc(n * sizeof *perm);
    uint8_t *scale = malloc(n);
    for (uint32_t c = 0; c < n; c++) {
        perm[c] = c < columns ? (uint16_t)c : BL_XQ_NO_COLUMN;
        scale[c] = identity ? 32 : (uint8_t)(random_below(30) ? 32 + random_below(40) : 0);
    }
    for (uint32_t c = n; !identity && c > 1; c--) {
        const uint32_t other = random_below(c);
        const uint16_t keep = perm[c - 1];
        perm[c - 1] = perm[other];
        perm[other] = keep;
    }
    bl_xq_input_make(columns, -2, perm, scale, out);
    free(perm);
    free(scale);
    if (bl_xq_check_input("kernel-check", 0, "a random input", out, bl_xq_input_bytes(columns)) != BL_OK) {
        printf("FAIL the reader refuses what was packed: %s\n", bl_error_text());
        counts.failed++;
    }
}

void xq_row(void *blob, uint32_t row, bool outliers, float *w)
{
    struct bl_xq_header *h = blob;
    const uint32_t n_outliers = h->n_outliers;
    h->n_outliers = outliers ? n_outliers : 0;
    static uint32_t step[BL_STEP_PAGES];
    step[BL_STEP_N_ROWS] = 1;
    step[BL_STEP_TOKEN] = row;
    uint8_t *input = aligned_alloc(8, (size_t)bl_xq_input_bytes(32 * h->blocks));
    random_input(32 * h->blocks, true, input);
    const struct bl_params_embed push = {.columns = 32 * h->blocks, .n_ids = h->rows, .count = h->rows};
    run_level_c((struct bl_kernel_key){BL_OP_EMBED, BL_FMT_BX, BL_FMT_F32, BL_ROWS_ANY, 0}, (void *[]){step, blob, input, w}, &push,
                32 * h->blocks, 1);
    h->n_outliers = n_outliers;
    free(input);
}

/* ---- stage ---- */

static bool stage_oracle(const struct launch *l)
{
    const struct bl_params_stage *p = &l->push.stage;
    const uint32_t m = ((const uint32_t *)l->bindings[0])[BL_STEP_N_ROWS];
    const uint16_t *perm = (const uint16_t *)(const void *)(l->buffers[2].data + sizeof(struct bl_xq_input));
    const uint8_t *scale = (const uint8_t *)(perm + 32 * p->blocks);
    const float *x = (const float *)(const void *)l->buffers[1].data;
    for (uint32_t r = 0; r < m; r++) {
        for (uint32_t c = 0; c < 32 * p->blocks; c++) {
            const double want = perm[c] == BL_XQ_NO_COLUMN || !scale[c] ? 0 : (double)x[(size_t)r * p->columns + perm[c]] * exp2(-2 + scale[c] / 16.0);
            const struct bl_q8_block *b = (const struct bl_q8_block *)(const void *)l->buffers[3].expected + ((size_t)r * p->blocks + c / 32);
            const double got = l->key.activation == BL_FMT_Q8 ? (double)b->d * (b->coarse.q[c % 32] + b->fine.q[c % 32] / 254.0)
                                                              : (double)((const float *)(const void *)l->buffers[3].expected)[(size_t)r * 32 * p->blocks + c];
            const double room = l->key.activation == BL_FMT_Q8 ? (double)b->d / 254 : 0;
            if (fabs(got - want) > room + 1e-6 * fabs(want) + 1e-36)
                return false;
        }
    }
    return true;
}

void check_stage(struct bl_kernel_key key)
{
    static const uint32_t columns[] = {1, 31, 32, 33, 576, 1000, 4128};
    for (uint32_t i = 0; i < 14; i++) {
        const uint32_t k = columns[i % 7], blocks = (k + 31) / 32, m = 1 + i % 5;
        struct launch l;
        launch_init(&l, key);
        snprintf(l.label, sizeof l.label, "k=%u m=%u", k, m);
        random_seed_for(l.label);
        launch_step(&l, m, m, 0);
        fill_floats(launch_input(&l, (size_t)k * m * sizeof(float), 4 * random_below(16)), (size_t)k * m, (enum style)(i % 3));
        random_input(k, false, launch_input(&l, (size_t)bl_xq_input_bytes(k), 8 * random_below(8)));
        launch_output(&l, (size_t)(m + 1) * blocks * (key.activation == BL_FMT_Q8 ? sizeof(struct bl_q8_block) : 32 * sizeof(float)), 4 * random_below(16));
        l.push.stage = (struct bl_params_stage){k, blocks, BL_ROWS_OF_STEP};
        l.columns = blocks;
        l.rows = m + 1;
        launch_check(&l, i % 3 == UNIFORM ? stage_oracle : NULL);
        launch_free(&l);
    }
}

/* ---- embed ---- */

void check_embed_xq(struct bl_kernel_key key)
{
    static const uint32_t columns[] = {32, 33, 576, 1000, 4128};
    for (uint32_t i = 0; i < 10; i++) {
        const uint32_t k = columns[i % 5], n_ids = i % 2 ? 200 : 9, m = 1 + i;
        struct launch l;
        launch_init(&l, key);
        snprintf(l.label, sizeof l.label, "k=%u m=%u ids=%u", k, m, n_ids);
        random_seed_for(l.label);
        uint32_t *step = launch_step(&l, m, m, 0);
        for (uint32_t r = 0; r < m; r++) {
            step[(uint32_t)BL_STEP_TOKEN + r] = random_below(n_ids + n_ids / 5 + 1); /* some out of range */
            step[(uint32_t)BL_STEP_POS + r] = r == 2 ? UINT32_MAX : random_below(n_ids);
        }
        l.push.embed = (struct bl_params_embed){.columns = k, .n_ids = n_ids, .source = i % 2, .count = n_ids};
        launch_weights(&l, BL_FMT_BX, n_ids, k, i % 9, (enum style)(i % 3));
        random_input(k, false, launch_input(&l, (size_t)bl_xq_input_bytes(k), 8 * random_below(8)));
        launch_output(&l, (size_t)k * (m + 1) * sizeof(float), 4 * i);
        l.columns = (k + 31) / 32 * 32;
        l.rows = m + 1;
        launch_check(&l, NULL);
        launch_free(&l);
    }
}
