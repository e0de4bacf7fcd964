/* statistics.h: what is said of a text after every token was scored: perplexity, and how far one model's predictions lie from another's; what is
 * said of tasks that were answered rightly or not.
 * Knows no model: numbers per token in, figures with their standard errors out. Those of a text are what llama-perplexity prints. */
#ifndef BL_EVAL_STATISTICS_H
#define BL_EVAL_STATISTICS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct figure {
    double value, error; /* one standard error; 0 where there is none */
};

/* One scored token. */
struct scored {
    double nll;            /* -ln p(token) of the model */
    double base_nll;       /* the same of the model that it is compared with */
    double divergence;     /* KL(base || model) over the vocabulary, nats */
    bool same_top;         /* both think the same token most likely */
};

/* exp(mean nll), with the error that goes with it. n >= 2 for an error. */
struct figure perplexity(const struct scored *tokens, size_t n);

enum { PERCENTILES = 11 };
extern const double percentile_points[PERCENTILES]; /* 100, 99.9, 99, 95, 90, 50, 10, 5, 1, 0.1, 0 */
struct comparison {
    struct figure ppl, base_ppl, ln_ratio, ratio, difference; /* of the two perplexities */
    double correlation;                                      /* of ln p of both models */
    struct figure divergence, probability, probability_rms, same_top; /* probability: p - base p of the token, in % */
    double divergences[PERCENTILES], probabilities[PERCENTILES];
};
/* False without memory. */
bool compare(const struct scored *tokens, size_t n, struct comparison *out);

/* Mean of numbers of their own, such as the perplexities of several texts. */
struct figure mean(const double *values, size_t n);

/* Share of tasks that were answered rightly, in %. */
struct figure accuracy(const bool *right, size_t n);
/* McNemar's test on the same tasks: were both equally good, how likely would the tasks on which they differ be shared out as unevenly as this?
 * Exact (binomial, two-sided) when fewer than 25 differ, else chi-square with continuity correction. */
struct mcnemar {
    uint32_t both, neither, only_first, only_second;
    bool exact;
    double p;
};
struct mcnemar mcnemar(const bool *first, const bool *second, size_t n);
#endif
