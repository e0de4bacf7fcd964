/* coder.c: builds the coders. */
#include "compress/coder.h"


/* Optimal levels for deviation 1 (positive half), times most / spread, rounded where the squared error grew least. */
const uint8_t xq_half2[2] = {3, 10};
const uint8_t xq_half3[4] = {3, 9, 17, 28};
const uint8_t xq_half4[8] = {3, 9, 15, 22, 29, 38, 48, 63};
const uint8_t xq_half5[16] = {2, 8, 13, 18, 24, 29, 35, 41, 48, 55, 62, 71, 80, 91, 103, 127};

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
    static const float spreads[9] = {0, 0.7979f, 1.51f, 2.15f, 2.73f, 3.26f, 3.3f, 3.6f, 3.9f};
    c->depth = depth;
    c->spread = spreads[depth];
    if (depth == 2)
        mirror(c, xq_half2, 2);
    else if (depth == 3)
        mirror(c, xq_half3, 4);
    else if (depth == 4)
        mirror(c, xq_half4, 8);
    else if (depth == 5) {
        c->most = xq_half5[15];
        for (uint32_t i = 0; i < 16; i++) {
            c->level[i] = xq_half5[i];
            c->level[16 + i] = (int16_t)-xq_half5[i];
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

const struct xq_coder *xq_coders(void)
{
    static struct xq_coder coders[9];
    for (uint32_t depth = 1; depth <= 8 && !coders[depth].depth; depth++)
        make(&coders[depth], depth);
    return coders;
}
