/* statistics.c: means, errors, percentiles, one test. Errors of functions of means by propagation to first order. */
#include "eval/statistics.h"

#include <math.h>
#include <stdlib.h>

const double percentile_points[PERCENTILES] = {100, 99.9, 99, 95, 90, 50, 10, 5, 1, 0.1, 0};

/* Mean of x and its standard error. */
static struct figure mean_of(double sum, double squares, size_t n)
{
    const double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    return (struct figure){mean, n > 1 && variance > 0 ? sqrt(variance / (double)(n - 1)) : 0};
}

struct figure perplexity(const struct scored *tokens, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += tokens[i].nll;
        squares += tokens[i].nll * tokens[i].nll;
    }
    const struct figure nll = mean_of(sum, squares, n);
    return (struct figure){exp(nll.value), exp(nll.value) * nll.error};
}

struct figure mean(const double *values, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    return mean_of(sum, squares, n);
}

struct figure accuracy(const bool *right, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += right[i];
    return mean_of(100 * sum, 1e4 * sum, n);
}

struct mcnemar mcnemar(const bool *first, const bool *second, size_t n)
{
    struct mcnemar m = {0};
    for (size_t i = 0; i < n; i++)
        *(first[i] ? second[i] ? &m.both : &m.only_first : second[i] ? &m.only_second : &m.neither) += 1;
    const uint32_t differ = m.only_first + m.only_second, fewer = m.only_first < m.only_second ? m.only_first : m.only_second;
    m.exact = differ < 25;
    if (m.exact) {
        double ways = 1, tail = 0; /* ways to choose k of them */
        for (uint32_t k = 0; k <= fewer; k++) {
            tail += ways;
            ways *= (double)(differ - k) / (k + 1);
        }
        m.p = fmin(1, 2 * tail / exp2(differ));
    } else {
        const double apart = fmax(0, (double)(differ - 2 * fewer) - 1);
        m.p = erfc(sqrt(apart * apart / differ / 2));
    }
    return m;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Between the two nearest of the sorted numbers. */
static double percentile(const double *sorted, size_t n, double point)
{
    const double at = point / 100 * (double)(n - 1);
    const size_t below = (size_t)at;
    return below + 1 >= n ? sorted[n - 1] : sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

static void percentiles(double *values, size_t n, double *out)
{
    qsort(values, n, sizeof *values, ascending);
    for (size_t i = 0; i < PERCENTILES; i++)
        out[i] = percentile(values, n, percentile_points[i]);
}

bool compare(const struct scored *tokens, size_t n, struct comparison *out)
{
    double *values = malloc(n * sizeof *values);
    if (!values || n == 0) {
        free(values);
        return false;
    }
    double q = 0, qq = 0, b = 0, bb = 0, qb = 0, kl = 0, klkl = 0, dp = 0, dp2 = 0, dp4 = 0, same = 0;
    for (size_t i = 0; i < n; i++) {
        const struct scored *t = &tokens[i];
        const double p = 100 * (exp(-t->nll) - exp(-t->base_nll));
        q += t->nll;
        qq += t->nll * t->nll;
        b += t->base_nll;
        bb += t->base_nll * t->base_nll;
        qb += t->nll * t->base_nll;
        kl += t->divergence;
        klkl += t->divergence * t->divergence;
        dp += p;
        dp2 += p * p;
        dp4 += p * p * p * p;
        same += t->same_top;
        values[i] = p;
    }
    const double count = (double)n;
    const struct figure nll = mean_of(q, qq, n), base = mean_of(b, bb, n), square = mean_of(dp2, dp4, n);
    const double covariance = n > 1 ? (qb / count - nll.value * base.value) / (count - 1) : 0;
    *out = (struct comparison){
        .ppl = {exp(nll.value), exp(nll.value) * nll.error},
        .base_ppl = {exp(base.value), exp(base.value) * base.error},
        .divergence = mean_of(kl, klkl, n),
        .probability = mean_of(dp, dp2, n),
        .same_top = {100 * same / count, n > 1 ? 100 * sqrt(same / count * (1 - same / count) / (count - 1)) : 0},
    };
    const double variance = nll.error * nll.error + base.error * base.error - 2 * covariance;
    out->correlation = nll.error > 0 && base.error > 0 ? covariance / (nll.error * base.error) : 1;
    out->ln_ratio = (struct figure){nll.value - base.value, variance > 0 ? sqrt(variance) : 0};
    out->ratio = (struct figure){exp(out->ln_ratio.value), exp(out->ln_ratio.value) * out->ln_ratio.error};
    const double spread = out->ppl.error * out->ppl.error + out->base_ppl.error * out->base_ppl.error - 2 * covariance * out->ppl.value * out->base_ppl.value;
    out->difference = (struct figure){out->ppl.value - out->base_ppl.value, spread > 0 ? sqrt(spread) : 0};
    out->probability_rms = (struct figure){sqrt(square.value), square.value > 0 ? square.error / (2 * sqrt(square.value)) : 0};
    percentiles(values, n, out->probabilities);
    for (size_t i = 0; i < n; i++)
        values[i] = tokens[i].divergence;
    percentiles(values, n, out->divergences);
    free(values);
    return true;
}
