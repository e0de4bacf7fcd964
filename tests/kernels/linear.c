/* linear.c: cases of matvec and matmul: every format, odd shapes, grouped launches, all row classes against each other. */
#include "check.h"

#include "base/half.h"
#include "cpu_fallback/call.h"

#include <stdlib.h>
#include <string.h>

struct shape {
    uint32_t n_segments, n[BL_LINEAR_SEGMENTS], k, m, depth; /* depth: of X-bit weights, 0 is a mixture */
    enum style style;
    bool is_apart; /* rows of activations differ by powers of two */
};

static void quantize(const float *x, uint32_t k, uint32_t m, struct bl_q8_block *y)
{
    static uint32_t step[BL_STEP_PAGES];
    step[BL_STEP_N_ROWS] = m;
    struct bl_params_quantize push = {.columns = k};
    void *bindings[] = {step, (void *)(uintptr_t)x, y};
    run_level_c((struct bl_kernel_key){.op = BL_OP_QUANTIZE, .activation = BL_FMT_Q8}, bindings, &push, (k + 31) / 32, m);
}

static float *original_x; /* the f32 activations behind the q8 input of the case */

/* With both planes, or with what a dot of the format reads. */
static double activation(const struct launch *l, uint32_t format, bool both, uint32_t row, uint32_t c)
{
    const uint32_t k = l->push.linear.k;
    if (l->key.activation == BL_FMT_F32)
        return (double)((const float *)l->bindings[1])[(size_t)row * k + c];
    const struct bl_q8_block *b = (const struct bl_q8_block *)l->bindings[1] + (size_t)row * (k / 32) + c / 32;
    const float threshold = q8_threshold(b - c / 32, k / 32, format == BL_FMT_BX ? BL_XQ_DOMINANT : BL_Q8_DOMINANT);
    const double fine = both || b->d > threshold ? (double)b->fine.q[c % 32] / 254 : 0;
    return (double)b->d * (b->coarse.q[c % 32] + fine);
}

/* Plain sums in double over the dequantised weights. For q8 activations twice: with the activations as given (only arithmetic differs) and
 * with the f32 ones before quantisation (what the 8 bits cost), the latter also per output. */
static bool linear_oracle(const struct launch *l)
{
    const struct bl_params_linear *p = &l->push.linear;
    const uint32_t m = ((const uint32_t *)l->bindings[0])[BL_STEP_N_ROWS];
    const bool q8 = l->key.activation == BL_FMT_Q8;
    bool ok = true;
    float *w = malloc(p->k * sizeof *w), *plain = malloc(p->k * sizeof *plain); /* plain: without outliers, which are multiplied with both planes */
    for (uint32_t s = 0; s < p->n_segments; s++) {
        const uint32_t n = p->segment[s].n, format = p->segment[s].format, stride = p->segment[s].stride;
        const struct buffer *weights = &l->buffers[2 + 4 * s];
        const float *bias = l->bindings[3 + 4 * s];
        const struct buffer *residual = &l->buffers[4 + 4 * s], *y = &l->buffers[5 + 4 * s];
        const float *before = l->bindings[4 + 4 * s] ? (const float *)(const void *)(y->is_alias ? residual->initial : residual->data) : NULL;
        const float *got = (const float *)(const void *)(y->is_alias ? residual->expected : y->expected);
        double *given = malloc((size_t)n * m * sizeof *given), *first = malloc((size_t)n * m * sizeof *first);
        double *column = malloc(m * sizeof *column);
        float *got_column = malloc(m * sizeof *got_column), *packed = malloc((size_t)n * m * sizeof *packed);
        for (uint32_t i = 0; i < n; i++) {
            if (format == BL_FMT_BX) {
                xq_row(weights->data, p->first_row[s] + i, true, w);
                xq_row(weights->data, p->first_row[s] + i, false, plain);
            } else {
                bl_cpu_dequantize_row((enum bl_format)format, weights->data + i * (weights->bytes / n), w, p->k);
                memcpy(plain, w, p->k * sizeof *plain);
            }
            for (uint32_t r = 0; r < m; r++) {
                double a = 0, b = 0, rest = 0;
                for (uint32_t c = 0; c < p->k; c++) {
                    a += activation(l, format, false, r, c) * (double)plain[c] + activation(l, format, true, r, c) * ((double)w[c] - (double)plain[c]);
                    b += (double)original_x[(size_t)r * p->k + c] * (double)w[c];
                }
                if (bias)
                    rest += (double)bias[i];
                if (before)
                    rest += (double)before[(size_t)r * stride + i];
                given[(size_t)r * n + i] = a + rest;
                first[(size_t)r * n + i] = column[r] = b + rest;
                got_column[r] = packed[(size_t)r * n + i] = got[(size_t)r * stride + i];
            }
            if (q8 && m >= 8) /* fewer numbers can cancel by chance */
                ok &= within_limit(format == BL_FMT_BX ? LIMIT_LINEAR_XQ_ROW : LIMIT_LINEAR_Q8_ROW, nmse(column, got_column, m));
        }
        ok &= within_limit(q8 ? LIMIT_LINEAR_Q8_EXACT : LIMIT_LINEAR_F32, nmse(given, packed, (size_t)n * m));
        if (q8 && (size_t)n * m >= 256 && p->k * m >= 512) /* a mean needs numbers */
            ok &= within_limit(format == BL_FMT_BX ? LIMIT_LINEAR_XQ : LIMIT_LINEAR_Q8, nmse(first, packed, (size_t)n * m));
        free(given);
        free(first);
        free(column);
        free(got_column);
        free(packed);
    }
    free(w);
    free(plain);
    return ok;
}

/* Each row alone, by the one-row class, gives the bits that all rows together gave. */
static void check_single_rows(const struct launch *all, uint32_t m)
{
    struct bl_kernel_key key = all->key;
    key.op = BL_OP_MATVEC;
    key.row_class = BL_ROWS_1;
    random_seed_for(all->label); /* how often chance was asked until now depends on the number of levels */
    const size_t row_bytes = all->buffers[1].bytes / m;
    const uint32_t r = random_below(m);
    struct launch one;
    launch_init(&one, key);
    one.push = all->push;
    launch_step(&one, 1, 1, 0);
    memcpy(launch_input(&one, row_bytes, 0), (const uint8_t *)all->bindings[1] + r * row_bytes, row_bytes);
    for (uint32_t s = 0; s < one.push.linear.n_segments; s++) {
        one.push.linear.segment[s].flags = 0;
        const struct buffer *w = &all->buffers[2 + 4 * s];
        memcpy(launch_input(&one, w->bytes, 0), w->data, w->bytes);
        launch_none(&one);
        launch_none(&one);
        launch_output(&one, one.push.linear.segment[s].n * sizeof(float), 0);
    }
    one.columns = all->columns;
    one.rows = 1;
    snprintf(one.label, sizeof one.label, "row %u of %.120s", r, all->label);
    launch_check(&one, NULL);
    for (uint32_t s = 0; s < one.push.linear.n_segments; s++) {
        if (all->push.linear.segment[s].flags)
            continue;
        const size_t bytes = one.push.linear.segment[s].n * sizeof(float);
        const bool same = !memcmp(one.buffers[5 + 4 * s].expected, all->buffers[5 + 4 * s].expected + r * all->push.linear.segment[s].stride * sizeof(float), bytes);
        if (!same)
            report_failure(&one, "matvec", "a row alone differs from the row in company");
        counts.passed += same;
        counts.failed += !same;
    }
    launch_free(&one);
}

/* For mix, any format that fits k and the activations. */
static uint32_t pick_format(struct bl_kernel_key key, uint32_t k)
{
    uint32_t format = key.weight;
    while (format == BL_FMT_MIX || k % bl_formats[format].block_elements || (key.activation == BL_FMT_Q8 && !bl_formats[format].is_quantized))
        format = 1 + random_below(BL_FMT_WEIGHT_COUNT - 1);
    return format;
}

static void check_shape(struct bl_kernel_key key, const struct shape *shape)
{
    static const char *const style_names[] = {"uniform", "extremes", "sparse", "loud", "zeros"};
    struct launch l;
    launch_init(&l, key);
    uint32_t columns = 0, formats[BL_LINEAR_SEGMENTS];
    const uint32_t spare = 2, k = shape->k, m = shape->m; /* rows of the bucket that the step does not have */
    bool plain = true;
    char depth[16] = "";
    if (shape->depth)
        snprintf(depth, sizeof depth, "b=%u ", shape->depth);
    snprintf(l.label, sizeof l.label, "n=%u,%u,%u k=%u m=%u %s%s%s", shape->n[0], shape->n[1], shape->n[2], k, m, depth, style_names[shape->style],
             shape->is_apart ? ", rows apart" : "");
    l.is_extreme = shape->style == EXTREMES;
    random_seed_for(l.label);
    launch_step(&l, m, m, 0);
    original_x = malloc((size_t)k * m * sizeof *original_x);
    fill_floats(original_x, (size_t)k * m, shape->style);
    for (size_t i = 0; shape->is_apart && i < (size_t)k * m; i++)
        original_x[i] *= i / k % 3 == 0 ? 0x1p-20f : i / k % 3 == 1 ? 0x1p20f : 1.0f;
    if (key.activation == BL_FMT_Q8)
        quantize(original_x, k, m, launch_input(&l, (size_t)m * (k / 32) * sizeof(struct bl_q8_block), 4 * random_below(16)));
    else
        memcpy(launch_input(&l, (size_t)k * m * sizeof(float), 4 * random_below(16)), original_x, (size_t)k * m * sizeof(float));
    l.push.linear = (struct bl_params_linear){.k = k, .n_segments = shape->n_segments};
    for (uint32_t s = 0; s < shape->n_segments; s++) {
        const uint32_t n = shape->n[s], flags = random_below(4), stride = n + 3 * random_below(2);
        formats[s] = pick_format(key, k);
        l.push.linear.segment[s].n = n;
        l.push.linear.segment[s].format = formats[s];
        l.push.linear.segment[s].flags = flags;
        l.push.linear.segment[s].stride = stride;
        plain = plain && !flags;
        l.push.linear.first_row[s] = launch_weights(&l, formats[s], n, k, shape->depth, shape->style);
        if (flags & BL_LINEAR_BIAS)
            fill_floats(launch_input(&l, n * sizeof(float), 4), n, shape->style);
        else
            launch_none(&l);
        const size_t y_n = (size_t)stride * (m + spare), y_bytes = y_n * sizeof(float);
        if (flags & BL_LINEAR_RESIDUAL) {
            fill_floats(launch_input(&l, y_bytes, 4 * random_below(16)), y_n, shape->style);
            if (random_below(2)) {
                launch_in_place(&l, l.n - 1);
                launch_alias(&l, l.n - 1);
            } else {
                launch_output(&l, y_bytes, 4);
            }
        } else {
            launch_none(&l);
            launch_output(&l, y_bytes, 4 * random_below(16));
        }
        columns += (n + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
    }
    l.columns = columns;
    l.rows = m + spare < BL_STEP_MAX_ROWS ? m + spare : BL_STEP_MAX_ROWS;
    const bool small = (uint64_t)columns * k * m < 3000000;
    launch_check(&l, shape->style == UNIFORM && small ? linear_oracle : NULL);
    if (m > 1 && small)
        check_single_rows(&l, m);
    free(original_x);
    launch_free(&l);
}

/* ---- with a GLU ---- */

/* linear, linear and glu by level C: the same bits. */
static bool glu_oracle(const struct launch *l)
{
    struct bl_params_linear linear = l->push.linear;
    const uint32_t n = linear.segment[0].n, stride = linear.segment[0].stride, m = ((const uint32_t *)l->bindings[0])[BL_STEP_N_ROWS];
    const bool q8 = linear.glu & BL_LINEAR_GLU_Q8;
    const size_t row_bytes = q8 ? n / 32 * sizeof(struct bl_q8_block) : n * sizeof(float);
    const size_t stride_bytes = q8 ? stride / 32 * sizeof(struct bl_q8_block) : stride * sizeof(float);
    float *gate = malloc((size_t)n * m * sizeof *gate), *up = malloc((size_t)n * m * sizeof *up);
    uint8_t *y = malloc(row_bytes * m);
    const struct bl_params_glu glu = {.columns = n, .rows = linear.rows, .kind = linear.glu & BL_LINEAR_GLU_KIND};
    linear.glu = 0;
    linear.segment[0].stride = linear.segment[1].stride = n;
    void *of_linear[] = {l->bindings[0], l->bindings[1], l->bindings[2], NULL, NULL, gate, l->bindings[6], NULL, NULL, up};
    run_level_c(l->key, of_linear, &linear, 2 * ((n + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN), m);
    run_level_c((struct bl_kernel_key){.op = BL_OP_GLU, .activation = q8 ? BL_FMT_Q8 : BL_FMT_F32}, (void *[]){l->bindings[0], gate, up, y}, &glu, n, m);
    bool ok = true;
    for (uint32_t r = 0; r < m; r++)
        ok &= !memcmp(y + r * row_bytes, l->buffers[5].expected + r * stride_bytes, row_bytes);
    free(gate);
    free(up);
    free(y);
    return ok;
}

static void check_glu(struct bl_kernel_key key, uint32_t n, uint32_t k, uint32_t m, uint32_t kind, bool q8)
{
    struct launch l;
    launch_init(&l, key);
    const uint32_t bucket = m + 2 < BL_STEP_MAX_ROWS ? m + 2 : BL_STEP_MAX_ROWS;
    const enum style style = (enum style)(kind % 3 == 2 ? SPARSE : UNIFORM);
    snprintf(l.label, sizeof l.label, "glu kind=%u n=%u k=%u m=%u%s", kind, n, k, m, q8 ? " to q8" : "");
    random_seed_for(l.label);
    launch_step(&l, m, m, 0);
    float *x = malloc((size_t)k * m * sizeof *x);
    fill_floats(x, (size_t)k * m, style);
    if (key.activation == BL_FMT_Q8)
        quantize(x, k, m, launch_input(&l, (size_t)m * (k / 32) * sizeof(struct bl_q8_block), 4 * random_below(16)));
    else
        memcpy(launch_input(&l, (size_t)k * m * sizeof(float), 4 * random_below(16)), x, (size_t)k * m * sizeof(float));
    const uint32_t stride = n + (q8 ? 32 : 3) * random_below(2);
    l.push.linear = (struct bl_params_linear){.k = k, .n_segments = 2, .glu = BL_LINEAR_GLU + kind + (q8 ? BL_LINEAR_GLU_Q8 : 0u)};
    for (uint32_t s = 0; s < 2; s++) {
        const uint32_t format = pick_format(key, k);
        l.push.linear.segment[s].n = n;
        l.push.linear.segment[s].format = format;
        l.push.linear.first_row[s] = launch_weights(&l, format, n, k, 0, style);
        launch_none(&l);
        launch_none(&l);
        if (s == 0)
            launch_output(&l, (size_t)bucket * stride / (q8 ? 32 : 1) * (q8 ? sizeof(struct bl_q8_block) : sizeof(float)), 4 * random_below(16));
        else
            launch_none(&l);
    }
    l.push.linear.segment[0].stride = stride;
    l.columns = (n + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN;
    l.rows = bucket;
    launch_check(&l, glu_oracle);
    free(x);
    launch_free(&l);
}

static void check_glus(struct bl_kernel_key key)
{
    static const uint32_t n_list[] = {1, 31, 32, 33, 64, 96, 160}, m_small[] = {2, 3, 5, 7, 8}, m_large[] = {9, 17, 2, 33, 70};
    const uint32_t elements = bl_formats[key.weight].block_elements;
    for (uint32_t kind = 0; kind < BL_UNARY_SCALE; kind++) {
        const uint32_t k = key.weight == BL_FMT_MIX || elements == 256 ? 256 * (1 + kind % 2) : elements == 32 ? 96 + 64 * (kind % 3) : 7 + 31 * kind;
        const uint32_t m = key.row_class == BL_ROWS_1 ? 1 : key.row_class == BL_ROWS_8 ? m_small[kind % 5] : m_large[kind % 5];
        check_glu(key, n_list[kind % 7], k, m, kind, false);
        check_glu(key, 32 * (1 + kind % 4), k, m, kind, true);
    }
    if (key.row_class == BL_ROWS_512 && !options.quick)
        check_glu(key, 64, elements == 256 ? 256 : 64, BL_STEP_MAX_ROWS, BL_UNARY_SILU, true);
}

void check_linear(struct bl_kernel_key key)
{
    static const uint32_t k_blocks32[] = {32, 96, 1056}, k_blocks256[] = {256, 512, 2304}, k_floats[] = {1, 7, 31, 172, 512};
    static const uint32_t n_list[] = {1, 31, 33, 64, 257}, m_small[] = {2, 3, 4, 5, 6, 7, 8}, m_large[] = {1, 2, 4, 7, 9, 17, 33};
    const uint32_t elements = bl_formats[key.weight].block_elements;
    const bool is_mix = key.weight == BL_FMT_MIX, is_float = !bl_formats[key.weight].is_quantized;
    const uint32_t *k_list = is_float ? k_floats : elements == 32 || is_mix ? k_blocks32 : k_blocks256, n_k = is_float ? 5 : 3;
    uint32_t turn = 0;
    for (uint32_t i = 0; i < n_k; i++) {
        for (uint32_t j = 0; j < 5; j++, turn++) {
            const uint32_t k = is_mix && i == 2 ? 768 : k_list[i], n = n_list[j];
            struct shape shape = {.n_segments = 1, .n = {n}, .k = k, .style = (enum style)(turn % 4)};
            shape.m = key.row_class == BL_ROWS_1 ? 1 : key.row_class == BL_ROWS_8 ? m_small[turn % 7] : m_large[turn % 7];
            if (n == 257 && k > 1000 && shape.m > 9)
                shape.m = 9;
            if (options.quick && turn % 5 == 2)
                continue;
            check_shape(key, &shape);
            if (j == 2 || is_mix) {
                shape = (struct shape){.n_segments = 3, .n = {n, 40, 5}, .k = k, .m = shape.m, .style = UNIFORM};
                check_shape(key, &shape);
            }
        }
    }
    struct shape zeros = {.n_segments = 1, .n = {33}, .k = k_list[1], .m = key.row_class == BL_ROWS_1 ? 1 : 5, .style = ZEROS};
    check_shape(key, &zeros);
    if (key.row_class == BL_ROWS_512) {
        struct shape full = {.n_segments = 1, .n = {33}, .k = elements == 256 ? 256 : 64, .m = BL_STEP_MAX_ROWS, .style = UNIFORM};
        check_shape(key, &full);
        struct shape apart = {.n_segments = 2, .n = {64, 33}, .k = k_list[1], .m = 7, .style = UNIFORM, .is_apart = true};
        check_shape(key, &apart);
    }
    for (uint32_t depth = 1; depth <= 8 && key.weight == BL_FMT_BX; depth++) {
        for (uint32_t style = UNIFORM; style <= LOUD; style++) {
            struct shape pure = {.n_segments = 1, .n = {41}, .k = 160, .depth = depth, .m = key.row_class == BL_ROWS_1 ? 1 : key.row_class == BL_ROWS_8 ? depth : 9, .style = (enum style)style};
            check_shape(key, &pure);
        }
    }
    for (uint32_t depth = 0; depth <= 1 && key.weight == BL_FMT_BX && key.row_class == BL_ROWS_1; depth++) { /* with many rows, one bit has a way of its own */
        for (uint32_t style = UNIFORM; style <= LOUD; style++) {
            struct shape tall = {.n_segments = 2, .n = {150, 40}, .k = 416, .depth = depth, .m = 1, .style = (enum style)style};
            check_shape(key, &tall);
        }
    }
    check_glus(key);
}
