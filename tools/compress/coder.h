/* coder.h: scalar quantizers of every depth: levels, and the nearest level to a number. Knows no matrix. */
#ifndef XQ_CODER_H
#define XQ_CODER_H
#include "hal/xq.h"

/* The levels that the compressor writes: Lloyd-Max for a normal distribution, in whole numbers inside the format's bounds. */
extern const uint8_t xq_half2[2], xq_half3[4], xq_half4[8], xq_half5[16];

struct xq_coder {
    uint32_t depth;
    int32_t most;            /* largest level */
    int16_t level[256];      /* of a code */
    uint8_t nearest[1024];   /* code of the level nearest to v, at floor(2 (v + most)): midpoints of whole levels are halves */
    float spread;            /* at unit = spread / most the error for a normal distribution of deviation 1 is about least */
};
/* [0 .. 8], by depth. Made on first use: call once before threads start. */
const struct xq_coder *xq_coders(void);

static inline uint8_t xq_code_of(const struct xq_coder *c, float v)
{
    const float most = (float)c->most, low = v > -most ? v : -most, inside = low < most ? low : most;
    return c->nearest[(int)(2 * (inside + most))];
}
#endif
