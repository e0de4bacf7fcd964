/* softmax.h: probabilities out of logits, what is drawn from them, what they differ by. */
#ifndef XQ_SOFTMAX_H
#define XQ_SOFTMAX_H
#include <stdint.h>

/* In place; returns the logarithm of the sum of exponentials. */
double xq_softmax(float *z, uint32_t n);
/* A number 0 .. n - 1 with these probabilities, by a uniform u in [0, 1). */
uint32_t xq_draw(const float *p, uint32_t n, double u);
/* sum of p^2. */
double xq_sum_squares(const float *p, uint32_t n);
/* sum of p (log p - log q) of the probabilities that two rows of logits stand for; their logarithms of the sums of exponentials, too. */
double xq_divergence(const float *z, const float *other, uint32_t n, double log_sum[2]);
/* Counter-based: uniform in [0, 1), a function of the three alone. */
double xq_uniform(uint64_t seed, uint64_t a, uint64_t b);
#endif
