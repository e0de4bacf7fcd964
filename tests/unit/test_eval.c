/* test_eval.c: the statistics of bitloom eval, against numbers worked out by hand or by numpy and scipy, and its files. */
#include "eval/base_file.h"
#include "eval/statistics.h"
#include "eval/tasks.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void near(double got, double want, const char *what)
{
    cr_assert_lt(fabs(got - want), 1e-9 * (1 + fabs(want)), "%s: %.12g, not %.12g", what, got, want);
}

Test(eval, perplexity_and_its_error)
{
    const struct scored tokens[4] = {{.nll = 1}, {.nll = 2}, {.nll = 3}, {.nll = 4}};
    const struct figure f = perplexity(tokens, 4);
    near(f.value, exp(2.5), "perplexity");
    near(f.error, exp(2.5) * sqrt(1.25 / 3), "its error"); /* variance 1.25 over n - 1 */
}

Test(eval, a_model_is_like_itself)
{
    struct scored tokens[50];
    for (int i = 0; i < 50; i++)
        tokens[i] = (struct scored){.nll = 0.1 * i, .base_nll = 0.1 * i, .divergence = 0, .same_top = true};
    struct comparison c;
    cr_assert(compare(tokens, 50, &c));
    near(c.ratio.value, 1, "ratio");
    near(c.ratio.error, 0, "its error");
    near(c.divergence.value, 0, "divergence");
    near(c.same_top.value, 100, "same top");
    near(c.probability_rms.value, 0, "rms");
    near(c.correlation, 1, "correlation");
}

Test(eval, percentiles_and_means)
{
    struct scored tokens[1001];
    for (int i = 0; i <= 1000; i++)
        tokens[i] = (struct scored){.nll = 1 + i % 2, .base_nll = 1, .divergence = (1000 - i) / 1000.0, .same_top = i % 4 != 0};
    struct comparison c;
    cr_assert(compare(tokens, 1001, &c));
    near(c.divergence.value, 0.5, "mean divergence");
    near(c.divergences[0], 1, "maximum");
    near(c.divergences[1], 0.999, "99.9 %");
    near(c.divergences[5], 0.5, "median");
    near(c.divergences[PERCENTILES - 1], 0, "minimum");
    near(c.ln_ratio.value, 500.0 / 1001, "ln ratio");
    near(c.same_top.value, 100 * 750.0 / 1001, "same top");
    near(c.probability.value, 100 * (exp(-2) - exp(-1)) * 500 / 1001, "mean difference of probabilities");
    near(c.probability_rms.value, 100 * (exp(-1) - exp(-2)) * sqrt(500.0 / 1001), "rms");
}

/* numpy: x = [1] * 37 + [0] * 63; 100 * x.mean(), 100 * x.std(ddof=1) / 10 */
Test(eval, accuracy_and_its_error)
{
    bool right[100] = {false};
    for (int i = 0; i < 37; i++)
        right[i * 2] = true;
    near(accuracy(right, 100).value, 37, "accuracy");
    near(accuracy(right, 100).error, 4.8523658709390975, "its error");
    near(accuracy(right, 1).error, 0, "error of one task");
}

/* numpy: x = [24.5, 18.25, 31, 20.75, 19.5]; x.mean(), x.std(ddof=1) / sqrt(5) */
Test(eval, mean_of_texts)
{
    const double x[5] = {24.5, 18.25, 31, 20.75, 19.5};
    near(mean(x, 5).value, 22.8, "mean");
    near(mean(x, 5).error, 2.3013582945730113, "its error");
}

/* scipy: binomtest(b, b + c).pvalue below 25, else chi2.sf((|b - c| - 1)^2 / (b + c), 1) */
Test(eval, mcnemar_of_two_models)
{
    static const struct {
        uint32_t first, second;
        double p;
    } known[] = {
        {3, 9, 0.14599609375}, {9, 3, 0.14599609375}, {12, 12, 1}, {0, 5, 0.0625}, {10, 14, 0.5412561893463135}, {0, 0, 1},
        {10, 15, 0.4237107971667936}, {30, 55, 0.009236735486806593}, {20, 20, 1},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        bool first[200] = {false}, second[200] = {false};
        uint32_t n = 0;
        for (uint32_t i = 0; i < known[k].first; i++)
            first[n++] = true;
        for (uint32_t i = 0; i < known[k].second; i++)
            second[n++] = true;
        for (uint32_t i = 0; i < 7; i++, n++)
            first[n] = second[n] = true;
        const struct mcnemar m = mcnemar(first, second, 200);
        cr_assert(m.only_first == known[k].first && m.only_second == known[k].second && m.both == 7 && m.neither == 200 - n);
        cr_assert_eq(m.exact, known[k].first + known[k].second < 25);
        near(m.p, known[k].p, "p");
    }
}

/* ---- files ---- */

static void is(const struct text *t, const char *want)
{
    cr_assert(t->bytes == strlen(want) && memcmp(t->data, want, t->bytes) == 0, "'%.*s', not '%s'", (int)t->bytes, t->data, want);
}

Test(eval, questions_of_a_file)
{
    static const char data[] = "{\"id\": 0, \"text\": \"Who? (A) he (B) she (C) it (F) 451\\nAnswer: C\"}\n\n"
                               "{\"text\": \"Zwei? (1) a (2) b\\nAnswer: 2\\n\", \"id\": \"x\"}";
    struct tasks tasks;
    cr_assert_eq(tasks_read(TASKS_ARC, "f", data, sizeof data - 1, 0, &tasks), BL_OK, "%s", bl_error_text());
    cr_assert_eq(tasks.n, 2);
    cr_assert(!tasks.per_token);
    is(&tasks.items[0].prompt, "Who? (A) he (B) she (C) it (F) 451\nAnswer:");
    cr_assert(tasks.items[0].n_choices == 3 && tasks.items[0].answer == 2 && tasks.items[0].prompt.line == 1);
    is(&tasks.items[0].choices[1], "B");
    is(&tasks.items[1].prompt, "Zwei? (1) a (2) b\nAnswer:");
    cr_assert(tasks.items[1].n_choices == 2 && tasks.items[1].answer == 1 && tasks.items[1].prompt.line == 3);
    is(&tasks.items[1].choices[0], "1");
    tasks_free(&tasks);
}

Test(eval, choices_of_their_own)
{
    static const char data[] = "{\"choices\": [\"one\", \"two of it\"], \"answer\": \"B\", \"prompt\": \"How many\"}\n"
                               "{\"prompt\": \"So\", \"answer\": \"c\", \"choices\": [\"a\", \"b\", \"c\"]}\n";
    struct tasks tasks;
    cr_assert_eq(tasks_read(TASKS_MMLU, "f", data, sizeof data - 1, 0, &tasks), BL_OK, "%s", bl_error_text());
    cr_assert(tasks.n == 2 && tasks.per_token);
    is(&tasks.items[0].prompt, "How many");
    cr_assert(tasks.items[0].n_choices == 2 && tasks.items[0].answer == 1);
    is(&tasks.items[0].choices[1], "two of it");
    cr_assert(tasks.items[1].n_choices == 3 && tasks.items[1].answer == 2 && tasks.items[1].prompt.line == 2);
    tasks_free(&tasks);
}

Test(eval, tasks_are_spread_over_the_file)
{
    char data[1000] = "";
    for (int i = 0; i < 10; i++)
        snprintf(data + strlen(data), sizeof data - strlen(data), "begin %d\n%d\na\nb\nc\nd e\n", i, i % 4);
    struct tasks tasks;
    cr_assert_eq(tasks_read(TASKS_HELLASWAG, "f", data, strlen(data), 4, &tasks), BL_OK, "%s", bl_error_text());
    cr_assert(tasks.n == 4 && tasks.per_token);
    static const char *const begins[] = {"begin 0", "begin 2", "begin 5", "begin 7"}; /* i * 10 / 4 */
    for (uint32_t i = 0; i < 4; i++)
        is(&tasks.items[i].prompt, begins[i]);
    cr_assert(tasks.items[2].answer == 1 && tasks.items[2].n_choices == 4 && tasks.items[2].prompt.line == 31);
    is(&tasks.items[2].choices[3], "d e");
    tasks_free(&tasks);
}

Test(eval, base_file_of_known_bytes)
{
    static const float row[2] = {0.25f, -3};
    static const uint16_t numbers[4] = {0, 1, 40000, 7};
    static const int32_t header[3] = {4, 3, 2}, ids[8] = {0, 1, 2, 1, 2, 2, 1, 0};
    char name[] = "/tmp/bitloom-test-eval-XXXXXX";
    FILE *f = fdopen(mkstemp(name), "wb");
    cr_assert(f);
    fwrite("_logits_", 1, 8, f);
    fwrite(header, 4, 3, f);
    fwrite(ids, 4, 8, f);
    for (int w = 0; w < 2; w++) { /* one scored token per window: the third, whose next is the fourth */
        fwrite(row, 4, 2, f);
        fwrite(numbers, 2, 4, f);
    }
    fclose(f);
    struct base_file base;
    cr_assert_eq(base_file_open(name, &base), BL_OK, "%s", bl_error_text());
    unlink(name);
    cr_assert(base.window == 4 && base.vocabulary == 3 && base.windows == 2 && base.scored == 1);
    int32_t got[4];
    float ln_p[3];
    cr_assert_eq(base_file_window(&base, 1, got), BL_OK);
    cr_assert(memcmp(got, ids + 4, sizeof got) == 0);
    base_file_row(&base, 1, 0, ln_p);
    cr_assert(ln_p[0] == -3 && ln_p[1] == -2.75f && ln_p[2] == 9997);
    base_file_close(&base);
}
