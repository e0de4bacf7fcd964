/* test_sampler.c: what each parameter does, that draws follow the probabilities, that a seed gives the same ids for ever. */
#include <bitloom/sampler.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static bl_sampler_params p;
static bl_sampler *s;
static int32_t counts[64];
static const float logits[8] = {1.0f, 2.0f, 0.0f, 3.0f, -1.0f, 2.5f, -2.0f, 3.0f};

/* Everything off but temperature 1. */
static void plain(void)
{
    bl_sampler_default_params(&p);
    p.temperature = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    p.seed = 42;
}

static void create(uint32_t vocabulary)
{
    bl_sampler_destroy(s);
    cr_assert_eq(bl_sampler_create(&p, vocabulary, &s), BL_OK, "%s", bl_error_text());
}

static int32_t sample(const float *from)
{
    int32_t token;
    cr_assert_eq(bl_sampler_sample(s, from, &token), BL_OK, "%s", bl_error_text());
    return token;
}

static void draw(const float *from, int n)
{
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < n; i++)
        counts[sample(from)]++;
}

static void expect_drawn(uint32_t mask)
{
    draw(logits, 4000);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(counts[i] > 0, (mask >> i & 1) != 0, "token %d was drawn %d times", i, counts[i]);
}

/* Chi-square of 40,000 draws against softmax(logits / temperature). */
static void check_statistics(float temperature)
{
    plain();
    p.temperature = temperature;
    create(8);
    draw(logits, 40000);
    double total = 0, chi = 0;
    for (int i = 0; i < 8; i++)
        total += exp((double)logits[i] / (double)temperature);
    for (int i = 0; i < 8; i++) {
        double expected = 40000 * exp((double)logits[i] / (double)temperature) / total;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    cr_assert_lt(chi, 24.3, "7 degrees of freedom, 0.1 %%: %.1f", chi);
}

Test(sampler, follows_the_probabilities)
{
    check_statistics(1.0f);
    check_statistics(0.7f);
    check_statistics(3.0f);
}

Test(sampler, greedy)
{
    plain();
    p.temperature = 0;
    create(8);
    cr_assert_eq(sample(logits), 3, "the lowest id among equals");
    p.temperature = -1;
    create(8);
    cr_assert_eq(sample(logits), 3);
}

Test(sampler, top_k)
{
    plain();
    p.top_k = 1;
    create(8);
    expect_drawn(1u << 3);
    p.top_k = 3;
    create(8);
    expect_drawn(1u << 3 | 1u << 7 | 1u << 5);
    p.top_k = 100;
    p.temperature = 5;
    create(8);
    expect_drawn(0xff);
}

Test(sampler, top_p)
{
    /* probabilities: 3 and 7 0.314 each, 5 0.190, 1 0.116, 0 0.042, ... */
    plain();
    static const struct { float top_p; uint32_t mask; } cases[] = {{0.0f, 1u << 3}, {0.3f, 1u << 3}, {0.32f, 1u << 3 | 1u << 7},
                                                                    {0.7f, 1u << 3 | 1u << 7 | 1u << 5}, {1.0f, 0xff}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        p.top_p = cases[i].top_p;
        create(8);
        expect_drawn(cases[i].mask);
    }
    p.top_p = 0.45f; /* of what top-k leaves: 0.384, 0.384, 0.232 */
    p.top_k = 3;
    create(8);
    expect_drawn(1u << 3 | 1u << 7);
    p.top_p = 0.35f;
    create(8);
    expect_drawn(1u << 3);
}

Test(sampler, min_p)
{
    plain();
    p.min_p = 0.5f; /* 2.5 has e^-0.5 = 0.61 of the largest, 2.0 has 0.37 */
    create(8);
    expect_drawn(1u << 3 | 1u << 7 | 1u << 5);
    p.temperature = 100; /* looks at probabilities before temperature */
    create(8);
    expect_drawn(1u << 3 | 1u << 7 | 1u << 5);
    p.min_p = 1;
    create(8);
    expect_drawn(1u << 3 | 1u << 7);
}

Test(sampler, logit_bias)
{
    plain();
    p.temperature = 0;
    bl_logit_bias bias[] = {{3, -INFINITY}, {7, -1.0f}, {2, 4.0f}, {2, -1.5f}};
    p.logit_bias = bias;
    p.n_logit_bias = 2;
    create(8);
    cr_assert_eq(sample(logits), 5);
    p.n_logit_bias = 4; /* token 2: 0 + 4 - 1.5 = 2.5 */
    create(8);
    bias[2].token = 99; /* it was copied */
    cr_assert_eq(sample(logits), 2, "2.5 like token 5, and the lower id");
    p.temperature = 10;
    bias[2].token = 2;
    create(8);
    draw(logits, 4000);
    cr_assert_eq(counts[3], 0, "forbidden");
}

Test(sampler, penalties)
{
    static const float two[2] = {2.0f, 1.5f}, negative[2] = {-1.0f, -1.5f};
    plain();
    p.temperature = 0;
    p.repeat_penalty = 2;
    create(2);
    cr_assert_eq(sample(two), 0);
    bl_sampler_accept(s, 0);
    cr_assert_eq(sample(two), 1, "2 / 2 < 1.5");
    cr_assert_eq(sample(negative), 1, "-1 * 2 < -1.5");
    bl_sampler_reset(s);
    cr_assert_eq(sample(two), 0, "the history is gone");
    p.repeat_penalty = 1;
    p.presence_penalty = 0.6f;
    create(2);
    bl_sampler_accept(s, 0);
    cr_assert_eq(sample(two), 1);
    bl_sampler_accept(s, 0);
    bl_sampler_accept(s, 1);
    cr_assert_eq(sample(two), 0, "presence counts once");
    p.presence_penalty = 0;
    p.frequency_penalty = 0.3f;
    create(2);
    bl_sampler_accept(s, 0);
    cr_assert_eq(sample(two), 0);
    bl_sampler_accept(s, 0);
    cr_assert_eq(sample(two), 1, "frequency counts every time");
    bl_sampler_accept(s, -5); /* out of range: ignored */
    bl_sampler_accept(s, 2);
    cr_assert_eq(sample(two), 1);
}

Test(sampler, penalty_window)
{
    static const float two[2] = {2.0f, 1.5f};
    static const int32_t windows[] = {0, 1, 3, -1};
    for (int w = 0; w < 4; w++) {
        plain();
        p.temperature = 0;
        p.presence_penalty = 1;
        p.repeat_last_n = windows[w];
        create(4);
        float four[4] = {two[0], two[1], -9, -9};
        bl_sampler_accept(s, 0);
        cr_assert_eq(sample(four), windows[w] == 0 ? 0 : 1);
        for (int i = 0; i < 3; i++) {
            bl_sampler_accept(s, 2);
            bool is_inside = windows[w] < 0 || i + 2 <= windows[w];
            cr_assert_eq(sample(four), is_inside ? 1 : 0, "window %d, %d tokens later", windows[w], i + 1);
        }
    }
}

Test(sampler, a_seed_gives_the_same_ids)
{
    plain();
    p.temperature = 1.3f;
    p.top_k = 6;
    create(8);
    int32_t first[200], differing = 0;
    for (int i = 0; i < 200; i++)
        first[i] = sample(logits);
    bl_sampler_reset(s);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(sample(logits), first[i]);
    create(8);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(sample(logits), first[i]);
    p.seed = 43;
    create(8);
    for (int i = 0; i < 200; i++)
        differing += sample(logits) != first[i];
    cr_assert_gt(differing, 50);
    /* The same on every machine: these were drawn once and must stay. */
    plain();
    create(8);
    static const int32_t drawn[] = {1, 3, 5, 7, 7, 7, 7, 7, 7, 5, 5, 3, 7, 3, 7, 7, 5, 7, 7, 7, 1, 3, 3, 5, 3, 4, 3, 7, 5, 3, 3, 5};
    for (size_t i = 0; i < sizeof drawn / sizeof drawn[0]; i++)
        cr_assert_eq(sample(logits), drawn[i], "draw %zu", i);
}

Test(sampler, refuses_nan_and_nothing)
{
    float bad[8];
    int32_t token;
    for (int greedy = 0; greedy <= 1; greedy++) {
        plain();
        p.temperature = greedy ? 0.0f : 1.0f;
        create(8);
        for (int i = 0; i < 8; i++) {
            memcpy(bad, logits, sizeof bad);
            bad[i] = NAN;
            cr_assert_eq(bl_sampler_sample(s, bad, &token), BL_EFORMAT);
            cr_assert_eq(token, -1);
            bad[i] = INFINITY;
            cr_assert_eq(bl_sampler_sample(s, bad, &token), BL_EFORMAT);
            for (int k = 0; k < 8; k++)
                bad[k] = k == i ? -3e38f : -INFINITY;
            cr_assert_eq(sample(bad), i, "the only one left");
            bad[i] = -INFINITY;
            cr_assert_eq(bl_sampler_sample(s, bad, &token), BL_EFORMAT);
        }
    }
    cr_assert_eq(bl_sampler_sample(s, NULL, &token), BL_EINVAL);
    cr_assert_eq(bl_sampler_sample(NULL, logits, &token), BL_EINVAL);
    cr_assert_eq(bl_sampler_sample(s, logits, NULL), BL_EINVAL);
}

static void refuse(const char *field)
{
    bl_sampler *refused = (bl_sampler *)1;
    cr_assert_eq(bl_sampler_create(&p, 8, &refused), BL_EINVAL, "%s", field);
    cr_assert_null(refused);
    cr_assert_not_null(strstr(bl_error_text(), field), "'%s' lacks '%s'", bl_error_text(), field);
    plain();
}

Test(sampler, refuses_parameters_by_name)
{
    plain();
    p.temperature = NAN, refuse("temperature");
    p.temperature = INFINITY, refuse("temperature");
    p.top_p = NAN, refuse("top_p");
    p.top_p = -0.1f, refuse("top_p");
    p.min_p = NAN, refuse("min_p");
    p.min_p = 1.1f, refuse("min_p");
    p.repeat_penalty = 0, refuse("repeat_penalty");
    p.repeat_penalty = NAN, refuse("repeat_penalty");
    p.presence_penalty = NAN, refuse("presence_penalty");
    p.frequency_penalty = INFINITY, refuse("frequency_penalty");
    p.repeat_last_n = -2, refuse("repeat_last_n");
    p.struct_size = 0, refuse("struct_size");
    p.struct_size = sizeof p + 1, refuse("struct_size");
    p.n_logit_bias = 1, refuse("logit_bias");
    static bl_logit_bias bias[1025];
    p.logit_bias = bias;
    p.n_logit_bias = 1025, refuse("logit_bias");
    for (int32_t token = -1; token <= 8; token += 9) {
        bias[0].token = token;
        p.logit_bias = bias;
        p.n_logit_bias = 1, refuse("logit_bias[0].token");
    }
    bias[0] = (bl_logit_bias){0, NAN};
    p.logit_bias = bias;
    p.n_logit_bias = 1, refuse("logit_bias[0].bias");
    cr_assert_eq(bl_sampler_create(&p, 0, &s), BL_EINVAL);
    cr_assert_eq(bl_sampler_create(NULL, 8, &s), BL_EINVAL);
    cr_assert_eq(bl_sampler_create(&p, 8, NULL), BL_EINVAL);
    bl_sampler_destroy(NULL);
    bl_sampler_accept(NULL, 0);
    bl_sampler_reset(NULL);
}
