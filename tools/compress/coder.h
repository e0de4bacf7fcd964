/* coder.h: scalar quantizers of every depth: levels, and the nearest level to a number. Knows no matrix. */
#ifndef XQ_CODER_H
#define XQ_CODER_H
#include "hal/xq.h"

#include <stdbool.h>

struct xq_coder {
    uint32_t depth;
    int32_t most;            /* largest level */
    int16_t level[256];      /* of a code */
    uint8_t nearest[1024];   /* code of the level nearest to v, at floor(2 (v + most)): midpoints of whole levels are halves */
    float spread;            /* at unit = spread / most the error for a normal distribution of deviation 1 is about least */
};
/* Levels of depths 2 to 5: Lloyd-Max for a normal distribution, or equally far apart (what GPTQ and plain rounding use; the deeper ones
 * always are). To be called once, before anything else here. */
void xq_coders_make(bool uniform);
/* [0 .. 8], by depth. */
const struct xq_coder *xq_coders(void);
/* The positive levels of depth 2 .. 5, ascending, as the file has them: 2, 4, 8, 16. */
const uint8_t *xq_half(uint32_t depth);

static inline uint8_t xq_code_of(const struct xq_coder *c, float v)
{
    const float most = (float)c->most, low = v > -most ? v : -most, inside = low < most ? low : most;
    return c->nearest[(int)(2 * (inside + most))];
}
#endif
