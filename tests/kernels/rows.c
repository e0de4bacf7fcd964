/* rows.c: cases of the ops along a row, and the accuracy of exp, tanh and erf over their whole range. */
#include "check.h"

#include "base/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t column_list[] = {1, 7, 8, 31, 32, 33, 64, 100, 576, 2048, 2112, 4100, 8192};
enum { N_COLUMNS = sizeof column_list / sizeof column_list[0] };

static double unary_exact(uint32_t kind, double a, double x)
{
    switch (kind) {
    case BL_UNARY_SILU:
        return x / (1 + exp(-x));
    case BL_UNARY_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case BL_UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case BL_UNARY_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case BL_UNARY_RELU:
        return fmax(x, 0);
    case BL_UNARY_RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case BL_UNARY_SIGMOID:
        return 1 / (1 + exp(-x));
    case BL_UNARY_TANH:
        return tanh(x);
    case BL_UNARY_SCALE:
        return a * x;
    default:
        return a * tanh(x / a);
    }
}

/* Values of an output of m rows of `columns`, whichever format it has. */
static float *values_of(const struct launch *l, uint32_t binding, size_t n)
{
    float *y = malloc(n * sizeof *y);
    const uint8_t *data = l->buffers[binding].expected;
    if (l->key.activation == BL_FMT_Q8)
        for (size_t i = 0; i < n; i++) {
            const struct bl_q8_block *b = (const struct bl_q8_block *)(const void *)data + i / 32;
            y[i] = ((float)b->coarse.q[i % 32] + (float)b->fine.q[i % 32] / 254) * b->d;
        }
    else
        memcpy(y, data, n * sizeof *y);
    return y;
}

static bool compare(const struct launch *l, uint32_t binding, const double *truth, size_t n, enum limit limit)
{
    if (l->key.activation == BL_FMT_Q8 && n < 512) /* too few numbers for a mean error */
        return true;
    float *got = values_of(l, binding, n);
    const bool ok = within_limit(l->key.activation == BL_FMT_Q8 ? LIMIT_QUANTIZE : limit, nmse(truth, got, n));
    free(got);
    return ok;
}

static uint32_t rows_in(const struct launch *l)
{
    return ((const uint32_t *)l->bindings[0])[BL_STEP_N_ROWS];
}

static const float *input(const struct launch *l, uint32_t binding)
{
    return (const float *)(const void *)l->buffers[binding].initial;
}

static bool unary_oracle(const struct launch *l)
{
    const struct bl_params_unary *p = &l->push.unary;
    const size_t n = (size_t)rows_in(l) * p->columns;
    double *truth = malloc(n * sizeof *truth);
    for (size_t i = 0; i < n; i++)
        truth[i] = unary_exact(p->kind, (double)p->a, (double)input(l, 1)[i]);
    const bool ok = compare(l, l->buffers[2].is_alias ? 1 : 2, truth, n, LIMIT_UNARY);
    free(truth);
    return ok;
}

static bool glu_oracle(const struct launch *l)
{
    const size_t n = (size_t)rows_in(l) * l->push.glu.columns;
    double *truth = malloc(n * sizeof *truth);
    for (size_t i = 0; i < n; i++)
        truth[i] = unary_exact(l->push.glu.kind, 0, (double)input(l, 1)[i]) * (double)input(l, 2)[i];
    const bool ok = compare(l, 3, truth, n, LIMIT_UNARY);
    free(truth);
    return ok;
}

static bool quantize_oracle(const struct launch *l)
{
    const uint32_t k = l->push.quantize.columns, padded = (k + 31) / 32 * 32, m = rows_in(l);
    double *truth = calloc((size_t)padded * m, sizeof *truth);
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t c = 0; c < k; c++)
            truth[(size_t)r * padded + c] = (double)input(l, 1)[(size_t)r * k + c];
    bool ok = compare(l, 2, truth, (size_t)padded * m, LIMIT_QUANTIZE);
    const struct bl_q8_block *b = (const void *)l->buffers[2].expected;
    for (size_t i = 0; i < (size_t)padded / 32 * m; i++)
        for (int h = 0; h < 2; h++) {
            int coarse = 0, fine = 0;
            for (int c = 0; c < 16; c++) {
                coarse += b[i].coarse.q[16 * h + c];
                fine += b[i].fine.q[16 * h + c];
            }
            ok &= coarse == b[i].coarse.sum[h] && fine == b[i].fine.sum[h];
        }
    free(truth);
    return ok;
}

static bool norm_oracle(const struct launch *l)
{
    const struct bl_params_norm *p = &l->push.norm;
    const size_t groups = (size_t)rows_in(l) * p->groups;
    double *truth = malloc(groups * p->columns * sizeof *truth);
    for (size_t g = 0; g < groups; g++) {
        const float *x = input(l, 1) + g * p->columns;
        double mean = 0, squares = 0;
        for (uint32_t c = 0; c < p->columns && l->key.op == BL_OP_LAYER_NORM; c++)
            mean += (double)x[c] / p->columns;
        for (uint32_t c = 0; c < p->columns; c++)
            squares += ((double)x[c] - mean) * ((double)x[c] - mean) / p->columns;
        for (uint32_t c = 0; c < p->columns; c++) {
            double y = ((double)x[c] - mean) / sqrt(squares + (double)p->eps);
            y = p->flags & BL_NORM_WEIGHT ? y * (double)input(l, 2)[c] : y;
            truth[g * p->columns + c] = p->flags & BL_NORM_BIAS ? y + (double)input(l, 3)[c] : y;
        }
    }
    const bool ok = compare(l, 4, truth, groups * p->columns, LIMIT_NORM);
    free(truth);
    return ok;
}

static bool rope_oracle(const struct launch *l)
{
    const struct bl_params_rope *p = &l->push.rope;
    const size_t n = (size_t)rows_in(l) * p->heads * p->d_head;
    double *truth = malloc(n * sizeof *truth);
    for (size_t h = 0; h < (size_t)rows_in(l) * p->heads; h++) {
        const float *x = input(l, 1) + h * p->d_head, *table = input(l, 2) + h / p->heads * p->n_rot;
        double *y = truth + h * p->d_head;
        for (uint32_t c = 0; c < p->d_head; c++)
            y[c] = (double)x[c];
        for (uint32_t j = 0; j < p->n_rot / 2; j++) {
            const uint32_t a = p->layout == BL_ROPE_NEOX ? j : 2 * j, b = p->layout == BL_ROPE_NEOX ? j + p->n_rot / 2 : 2 * j + 1;
            y[a] = (double)x[a] * (double)table[2 * j] - (double)x[b] * (double)table[2 * j + 1];
            y[b] = (double)x[a] * (double)table[2 * j + 1] + (double)x[b] * (double)table[2 * j];
        }
    }
    const bool ok = compare(l, l->buffers[3].is_alias ? 1 : 3, truth, n, LIMIT_ROPE);
    free(truth);
    return ok;
}

static bool rope_table_oracle(const struct launch *l)
{
    const struct bl_params_rope_table *p = &l->push.rope_table;
    const uint32_t *step = l->bindings[0], *turns = l->bindings[1], m = rows_in(l);
    double *truth = malloc((size_t)m * p->n_rot * sizeof *truth);
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t j = 0; j < p->n_rot / 2; j++) {
            const uint64_t phase = ((uint64_t)turns[2 * j + 1] << 32 | turns[2 * j]) * step[(uint32_t)BL_STEP_POS + r];
            const double angle = ldexp((double)phase, -64) * 6.283185307179586;
            truth[(size_t)r * p->n_rot + 2 * j] = cos(angle) * (double)p->attn_factor;
            truth[(size_t)r * p->n_rot + 2 * j + 1] = sin(angle) * (double)p->attn_factor;
        }
    const bool ok = compare(l, 2, truth, (size_t)m * p->n_rot, LIMIT_ROPE_TABLE);
    free(truth);
    return ok;
}

static bool embed_oracle(const struct launch *l)
{
    const struct bl_params_embed *p = &l->push.embed;
    const uint32_t *ids = (const uint32_t *)l->bindings[0] + (p->source ? BL_STEP_POS : BL_STEP_TOKEN);
    const size_t row_bytes = p->columns * sizeof(float);
    float *row = calloc(p->columns, sizeof *row);
    bool ok = true;
    for (uint32_t r = 0; r < rows_in(l); r++) {
        memset(row, 0, row_bytes);
        if (ids[r] >= p->first && ids[r] < p->first + p->count)
            bl_cpu_dequantize_row((enum bl_format)l->key.weight, l->buffers[1].data + (ids[r] - p->first) * (l->buffers[1].bytes / p->count), row, p->columns);
        else if (ids[r] < p->n_ids || p->first)
            memcpy(row, l->buffers[2].initial + r * row_bytes, row_bytes);
        ok &= !memcmp(row, l->buffers[2].expected + r * row_bytes, row_bytes);
    }
    free(row);
    return ok;
}

static void check_embed(struct bl_kernel_key key)
{
    for (uint32_t i = 0; i < 9; i++) {
        static const uint32_t k_floats[] = {1, 31, 576, 4099}, k_quants[] = {32, 96, 576, 4128}, k_large[] = {256, 512, 4096, 4352};
        static const uint32_t pieces[3][2] = {{0, 9}, {0, 5}, {5, 4}};
        const uint32_t elements = bl_formats[key.weight].block_elements, *piece = pieces[i / 3];
        const uint32_t k = (elements == 1 ? k_floats : elements == 32 ? k_quants : k_large)[i % 4], n_ids = 9, m = 1 + i;
        struct launch l;
        launch_init(&l, key);
        snprintf(l.label, sizeof l.label, "k=%u m=%u ids %u..%u", k, m, piece[0], piece[0] + piece[1]);
        random_seed_for(l.label);
        uint32_t *step = launch_step(&l, m, m, 0);
        for (uint32_t r = 0; r < m; r++) {
            step[(uint32_t)BL_STEP_TOKEN + r] = random_below(n_ids + 1); /* one of ten is out of range */
            step[(uint32_t)BL_STEP_POS + r] = r == 2 ? UINT32_MAX : random_below(n_ids);
        }
        l.push.embed = (struct bl_params_embed){.columns = k, .n_ids = n_ids, .source = i % 2, .first = piece[0], .count = piece[1]};
        fill_weights(launch_input(&l, weight_bytes(key.weight, piece[1], k), 2 * i + 1), key.weight, piece[1], k, (enum style)(i % 3));
        launch_output(&l, (size_t)k * (m + 1) * sizeof(float), 4 * i);
        l.columns = k;
        l.rows = m + 1;
        launch_check(&l, embed_oracle);
        launch_free(&l);
    }
}

/* unary, binary, glu, quantize, select: rows of columns in, rows of columns out. */
static void check_columns(struct bl_kernel_key key, uint32_t columns, uint32_t turn, uint32_t kind)
{
    const uint32_t m = 1 + turn % 4, bucket = m + 1;
    const bool q8 = key.activation == BL_FMT_Q8;
    const enum style style = (enum style)(turn % 3);
    const size_t bytes = (size_t)columns * bucket * sizeof(float), n = (size_t)columns * bucket;
    const size_t out_bytes = q8 ? (size_t)((columns + 31) / 32) * bucket * sizeof(struct bl_q8_block) : bytes;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "columns=%u m=%u kind=%u style=%d", columns, m, kind, style);
    random_seed_for(l.label);
    uint32_t *step = launch_step(&l, m, m, 0);
    for (uint32_t r = 0; r < m; r++)
        step[(uint32_t)BL_STEP_OUT + r] = random_below(bucket);
    fill_floats(launch_input(&l, bytes, 4 * random_below(16)), n, style);
    l.columns = columns;
    l.rows = bucket;
    oracle_fn *oracle = NULL;
    if (key.op == BL_OP_UNARY) {
        if (style == UNIFORM) /* the interesting range of the curves */
            for (size_t i = 0; i < n; i++)
                ((float *)l.bindings[1])[i] *= 12;
        l.push.unary = (struct bl_params_unary){.columns = columns, .kind = kind, .a = 1.75f, .rows = turn % 2};
        oracle = style == UNIFORM ? unary_oracle : NULL;
        if (turn % 2) {
            launch_in_place(&l, 1);
            launch_alias(&l, 1);
        } else {
            launch_output(&l, out_bytes, 4);
        }
    } else if (key.op == BL_OP_QUANTIZE) {
        l.push.quantize = (struct bl_params_quantize){.columns = columns};
        launch_output(&l, out_bytes, 4 * random_below(16));
        l.columns = (columns + 31) / 32;
        oracle = style == UNIFORM ? quantize_oracle : NULL;
    } else if (key.op == BL_OP_SELECT) {
        l.push.select = (struct bl_params_select){columns};
        launch_output(&l, out_bytes, 4);
    } else if (key.op == BL_OP_GLU) {
        fill_floats(launch_input(&l, bytes, 4), n, style);
        l.push.glu = (struct bl_params_glu){.columns = columns, .kind = kind};
        launch_output(&l, out_bytes, 4 * random_below(16));
        oracle = style == UNIFORM ? glu_oracle : NULL;
    } else {
        const uint32_t broadcast = turn % 2;
        fill_floats(launch_input(&l, broadcast ? columns * sizeof(float) : bytes, 4), broadcast ? columns : n, style);
        l.push.binary = (struct bl_params_binary){.columns = columns, .kind = kind, .broadcast = broadcast};
        if (turn % 3 == 1) {
            launch_in_place(&l, 1);
            launch_alias(&l, 1);
        } else {
            launch_output(&l, out_bytes, 8);
        }
    }
    launch_check(&l, oracle);
    launch_free(&l);
}

static void check_norm(struct bl_kernel_key key, uint32_t columns, uint32_t turn)
{
    const uint32_t m = 1 + turn % 3, bucket = m + 1, groups = turn % 2 ? 9 : 1, flags = turn % 4;
    const bool q8 = key.activation == BL_FMT_Q8;
    const enum style style = (enum style)(turn % 3);
    const size_t n = (size_t)columns * groups * bucket;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "columns=%u groups=%u m=%u flags=%u style=%d", columns, groups, m, flags, style);
    random_seed_for(l.label);
    launch_step(&l, m, m, 0);
    l.push.norm = (struct bl_params_norm){.columns = columns, .groups = groups, .flags = flags, .eps = 1e-5f};
    fill_floats(launch_input(&l, n * sizeof(float), 4), n, style);
    for (uint32_t i = 0; i < 2; i++) {
        if (flags >> i & 1u)
            fill_floats(launch_input(&l, columns * sizeof(float), 4), columns, UNIFORM);
        else
            launch_none(&l);
    }
    launch_output(&l, q8 ? n / 32 * sizeof(struct bl_q8_block) : n * sizeof(float), 4 * random_below(16));
    l.columns = groups;
    l.rows = bucket;
    launch_check(&l, style == UNIFORM && columns > 32 ? norm_oracle : NULL);
    launch_free(&l);
}

static void check_rope(struct bl_kernel_key key, uint32_t turn)
{
    static const uint32_t shapes[][2] = {{64, 64}, {64, 32}, {80, 20}, {128, 128}, {8, 2}, {96, 96}};
    const uint32_t d_head = shapes[turn % 6][0], n_rot = shapes[turn % 6][1], heads = 1 + turn % 10, m = 1 + turn % 3, bucket = m + 1;
    const size_t n = (size_t)bucket * heads * d_head;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "d_head=%u n_rot=%u heads=%u m=%u", d_head, n_rot, heads, m);
    random_seed_for(l.label);
    launch_step(&l, m, m, 0);
    l.push.rope = (struct bl_params_rope){.heads = heads, .d_head = d_head, .n_rot = n_rot, .layout = turn / 6 % 2};
    fill_floats(launch_input(&l, n * sizeof(float), 4), n, UNIFORM);
    fill_floats(launch_input(&l, (size_t)bucket * n_rot * sizeof(float), 4), (size_t)bucket * n_rot, UNIFORM);
    if (turn % 2) {
        launch_in_place(&l, 1);
        launch_alias(&l, 1);
    } else {
        launch_output(&l, n * sizeof(float), 4);
    }
    l.columns = heads;
    l.rows = bucket;
    launch_check(&l, rope_oracle);
    launch_free(&l);
}

static void check_rope_table(struct bl_kernel_key key, uint32_t turn)
{
    const uint32_t n_rot = 2 + 34 * turn, m = 1 + 5 * turn, bucket = m + 1;
    struct launch l;
    launch_init(&l, key);
    snprintf(l.label, sizeof l.label, "n_rot=%u m=%u", n_rot, m);
    random_seed_for(l.label);
    uint32_t *step = launch_step(&l, m, m, 0);
    for (uint32_t r = 0; r < m; r++)
        step[(uint32_t)BL_STEP_POS + r] = random_below(turn % 2 ? 100000 : UINT32_MAX);
    l.push.rope_table = (struct bl_params_rope_table){.n_rot = n_rot, .attn_factor = turn % 2 ? 1.0f : 1.25f};
    uint32_t *turns = launch_input(&l, n_rot / 2 * 8, 0);
    for (uint32_t i = 0; i < n_rot; i++)
        turns[i] = random_below(UINT32_MAX);
    launch_output(&l, (size_t)bucket * n_rot * sizeof(float), 4);
    l.columns = n_rot / 2;
    l.rows = bucket;
    launch_check(&l, rope_table_oracle);
    launch_free(&l);
}

void check_rows(struct bl_kernel_key key)
{
    switch (key.op) {
    case BL_OP_STAGE:
        check_stage(key);
        return;
    case BL_OP_EMBED:
        (key.weight == BL_FMT_BX ? check_embed_xq : check_embed)(key);
        return;
    case BL_OP_ROPE:
        for (uint32_t turn = 0; turn < 24; turn++)
            check_rope(key, turn);
        return;
    case BL_OP_ROPE_TABLE:
        for (uint32_t turn = 0; turn < 5; turn++)
            check_rope_table(key, turn);
        return;
    case BL_OP_QUANTIZE:
    case BL_OP_RMS_NORM:
    case BL_OP_LAYER_NORM:
    case BL_OP_UNARY:
    case BL_OP_BINARY:
    case BL_OP_GLU:
    case BL_OP_SELECT:
        break;
    default:
        printf("FAIL op %s has no case here yet: write one\n", bl_op_name(key.op));
        counts.failed++;
        return;
    }
    uint32_t turn = 0;
    for (uint32_t i = 0; i < N_COLUMNS; i++) {
        const uint32_t columns = column_list[i];
        if (key.op == BL_OP_RMS_NORM || key.op == BL_OP_LAYER_NORM) {
            for (uint32_t j = 0; j < 4; j++, turn++)
                if (key.activation == BL_FMT_F32 || columns % 32 == 0)
                    check_norm(key, columns, turn);
            continue;
        }
        const uint32_t kinds = key.op == BL_OP_UNARY ? BL_UNARY_COUNT : key.op == BL_OP_GLU ? BL_UNARY_SCALE : key.op == BL_OP_BINARY ? 3 : 3;
        for (uint32_t kind = 0; kind < kinds; kind++, turn++)
            if (key.op != BL_OP_GLU || key.activation == BL_FMT_F32 || columns % 32 == 0)
                check_columns(key, columns, turn, kind);
    }
}

static double ulps(double truth, float got)
{
    const float nearest = (float)truth;
    if (isinf(nearest) || isinf(got))
        return nearest == got ? 0 : 1e9;
    const double unit = fmax((double)nextafterf(fabsf(nearest), INFINITY) - (double)fabsf(nearest), 0x1p-149);
    return fabs(truth - (double)got) / unit;
}

/* The polynomials over a dense walk of their range, through unary kernels whose formula adds nothing: tanh; sigmoid hides exp, so exp and
 * erf are read from the definition itself. */
#include "cpu_fallback/ref/math.h"

void check_math(void)
{
    bool ok = true;
    double truth_error[3] = {0};
    for (int i = -1100000; i <= 1100000; i += options.quick ? 97 : 1) {
        const float x = (float)i * 1e-4f, y = (float)i * 5e-6f;
        truth_error[0] = fmax(truth_error[0], ulps(exp((double)x), exp_f32(x)));
        truth_error[1] = fmax(truth_error[1], fmax(ulps(tanh((double)y), tanh_f32(y)), ulps(tanh((double)x), tanh_f32(x))));
        truth_error[2] = fmax(truth_error[2], fmax(ulps(erf((double)y), erf_f32(y)), ulps(erf((double)x), erf_f32(x))));
    }
    ok &= within_limit(LIMIT_EXP_ULP, truth_error[0]);
    ok &= within_limit(LIMIT_TANH_ULP, truth_error[1]);
    ok &= within_limit(LIMIT_ERF_ULP, truth_error[2]);
    ok &= exp_f32(INFINITY) == INFINITY && exp_f32(-INFINITY) == 0 && isnan(exp_f32(NAN)) && isnan(tanh_f32(NAN)) && isnan(erf_f32(NAN));
    ok &= tanh_f32(INFINITY) == 1 && tanh_f32(-INFINITY) == -1 && erf_f32(INFINITY) == 1 && erf_f32(-INFINITY) == -1;
    if (!ok)
        puts("FAIL math: exp, tanh or erf is out of its limits");
    counts.passed += ok;
    counts.failed += !ok;
}
