/* test_eval.c: the statistics of bitloom eval, against numbers worked out by hand. */
#include "eval/statistics.h"

#include <criterion/criterion.h>
#include <math.h>

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
