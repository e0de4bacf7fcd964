/* softmax.c: sums of floats in blocks, sums of blocks in double. */
#include "compress/softmax.h"

#include "compress/parallel.h"
#include "cpu_fallback/ref/math.h"

#include <math.h>

enum { BLOCK = 1024 };

XQ_WIDE static float most(const float *z, uint32_t n)
{
    float lanes[8], m = z[0];
    uint32_t i = 0;
    for (uint32_t l = 0; l < 8; l++)
        lanes[l] = m;
    for (; i + 8 <= n; i += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] = z[i + l] > lanes[l] ? z[i + l] : lanes[l];
    for (; i < n; i++)
        m = z[i] > m ? z[i] : m;
    for (uint32_t l = 0; l < 8; l++)
        m = lanes[l] > m ? lanes[l] : m;
    return m;
}

/* z = exp(z - m); returns the sum. */
XQ_WIDE static double exponentials(float *z, uint32_t n, float m)
{
    float lanes[8] = {0};
    uint32_t i = 0;
    for (uint32_t c = 0; c < n; c++)
        z[c] = exp_f32(z[c] - m);
    for (; i + 8 <= n; i += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] += z[i + l];
    double sum = 0;
    for (uint32_t l = 0; l < 8; l++)
        sum += (double)lanes[l];
    for (; i < n; i++)
        sum += (double)z[i];
    return sum;
}

XQ_WIDE static void scale(float *z, uint32_t n, float by)
{
    for (uint32_t i = 0; i < n; i++)
        z[i] *= by;
}

double xq_softmax(float *z, uint32_t n)
{
    const float m = most(z, n);
    double sum = 0;
    for (uint32_t i = 0; i < n; i += BLOCK)
        sum += exponentials(z + i, n - i < BLOCK ? n - i : BLOCK, m);
    scale(z, n, (float)(1 / sum));
    return (double)m + log(sum);
}

uint32_t xq_draw(const float *p, uint32_t n, double u)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        u -= (double)p[i];
        if (u < 0)
            return i;
        last = p[i] > 0 ? i : last;
    }
    return last; /* rounding: the probabilities sum to a little less than 1 */
}

XQ_WIDE static float squares(const float *p, uint32_t n)
{
    float lanes[8] = {0}, rest = 0;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] += p[i + l] * p[i + l];
    for (; i < n; i++)
        rest += p[i] * p[i];
    return rest + (((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])));
}

double xq_sum_squares(const float *p, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i += BLOCK)
        sum += (double)squares(p + i, n - i < BLOCK ? n - i : BLOCK);
    return sum;
}

/* Adds up e^(z - m), e^(y - l) and e^(z - m) (z - y) of a block. */
XQ_WIDE static void sums(const float *z, const float *y, uint32_t n, float m, float l, double *out)
{
    float a[8] = {0}, b[8] = {0}, c[8] = {0};
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (uint32_t j = 0; j < 8; j++) {
            const float e = exp_f32(z[i + j] - m);
            a[j] += e;
            b[j] += exp_f32(y[i + j] - l);
            c[j] += e * (z[i + j] - y[i + j]);
        }
    }
    for (uint32_t j = 0; j < 8; j++) {
        out[0] += (double)a[j];
        out[1] += (double)b[j];
        out[2] += (double)c[j];
    }
    for (; i < n; i++) {
        const float e = exp_f32(z[i] - m);
        out[0] += (double)e;
        out[1] += (double)exp_f32(y[i] - l);
        out[2] += (double)(e * (z[i] - y[i]));
    }
}

double xq_divergence(const float *z, const float *other, uint32_t n, double log_sum[2])
{
    const float m = most(z, n), l = most(other, n);
    double s[3] = {0};
    for (uint32_t i = 0; i < n; i += BLOCK)
        sums(z + i, other + i, n - i < BLOCK ? n - i : BLOCK, m, l, s);
    log_sum[0] = (double)m + log(s[0]);
    log_sum[1] = (double)l + log(s[1]);
    return s[2] / s[0] - log_sum[0] + log_sum[1];
}

double xq_uniform(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t x = seed + a * UINT64_C(0x9e3779b97f4a7c15) + b * UINT64_C(0xd1b54a32d192ed03);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}
