/* coder.c: builds the coders. */
#include "compress/coder.h"


/* [uniform][depth - 2]. Optimal levels for deviation 1, times most / spread, in whole numbers inside the format's bounds. */
static const uint8_t halves[2][4][16] = {
    {{3, 10}, {3, 9, 17, 28}, {3, 9, 15, 22, 29, 38, 48, 63}, {2, 8, 13, 18, 24, 29, 35, 41, 48, 55, 62, 71, 80, 91, 103, 127}},
    {{1, 3}, {1, 3, 5, 7}, {1, 3, 5, 7, 9, 11, 13, 15}, {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}},
};
/* Of the largest level, in deviations, where the error for a normal distribution is least. */
static const float spreads[2][9] = {{0, 0.7979f, 1.51f, 2.15f, 2.73f, 3.26f, 3.3f, 3.6f, 3.9f}, {0, 0.7979f, 1.494f, 2.051f, 2.513f, 2.916f, 3.3f, 3.6f, 3.9f}};
static struct xq_coder coders[9];
static bool is_uniform;

static void mirror(struct xq_coder *c, const uint8_t *half, uint32_t n)
{
    c->most = half[n - 1];
    for (uint32_t i = 0; i < n; i++) {
        c->level[n + i] = half[i];
        c->level[n - 1 - i] = (int16_t)-half[i];
    }
}

static void make(struct xq_coder *c, uint32_t depth)
{
    *c = (struct xq_coder){.depth = depth, .spread = spreads[is_uniform][depth]};
    if (depth >= 2 && depth <= 4) {
        mirror(c, xq_half(depth), 1u << (depth - 1));
    } else if (depth == 5) {
        c->most = xq_half(5)[15];
        for (uint32_t i = 0; i < 16; i++) {
            c->level[i] = xq_half(5)[i];
            c->level[16 + i] = (int16_t)-xq_half(5)[i];
        }
    } else {
        c->most = (1 << depth) - 1;
        for (int32_t i = 0; i < 1 << depth; i++)
            c->level[i] = (int16_t)(2 * i + 1 - (1 << depth));
    }
    for (int32_t at = 0; at <= 4 * c->most; at++) { /* v from at / 2 - most, half a step wide: its middle decides */
        const double v = at / 2.0 + 0.25 - c->most;
        uint32_t best = 0;
        for (uint32_t code = 1; code < 1u << depth; code++) {
            const double d = v - c->level[code], least = v - c->level[best];
            best = d * d < least * least ? code : best;
        }
        c->nearest[at] = (uint8_t)best;
    }
}

void xq_coders_make(bool uniform)
{
    is_uniform = uniform;
    for (uint32_t depth = 1; depth <= 8; depth++)
        make(&coders[depth], depth);
}

const struct xq_coder *xq_coders(void)
{
    return coders;
}

const uint8_t *xq_half(uint32_t depth)
{
    return halves[is_uniform][depth - 2];
}
