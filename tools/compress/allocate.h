/* allocate.h: which depth every block of columns gets: one multiplier over all matrices (water-filling), and what the bytes then are. Knows
 * numbers only: no weights, no file. */
#ifndef XQ_ALLOCATE_H
#define XQ_ALLOCATE_H
#include "hal/xq.h"

#include <bitloom/status.h>
#include <stdbool.h>

/* One group of rows of one matrix with its blocks of columns, in stored order. */
struct xq_strip {
    uint32_t rows, blocks;
    const float *energy;          /* [blocks] nats per token if all weights were 0 */
    const float (*share)[9];      /* [2][9]: [grouped][depth] */
    /* out: */
    uint8_t *depth, *grouped;     /* [blocks] */
    uint32_t n_segments;
    struct bl_xq_segment segments[BL_XQ_MAX_SEGMENTS]; /* without units */
};

/* Bytes that the tiles and segment entries of a strip take as allocated. */
uint64_t xq_strip_bytes(const struct xq_strip *strip);
/* Nats per token that it is expected to lose as allocated. */
double xq_strip_loss(const struct xq_strip *strip);
/* Fewest and most bytes that the strips can take. */
void xq_allocate_limits(const struct xq_strip *strips, uint32_t n, uint64_t *fewest, uint64_t *most);
/* Gives every block a depth of least_depth .. 8, with or without group scales, so that the sum of xq_strip_bytes is at most `budget` and the
 * expected loss is as small as one multiplier can make it; then spends what is left. BL_ELIMIT when even the fewest bytes are more. *loss:
 * nats per token that are expected; *price: nats per byte, the multiplier. */
bl_status xq_allocate(struct xq_strip *strips, uint32_t n, uint64_t budget, double *loss, double *price) BL_MUST_USE;
/* The same depth everywhere: the baseline. */
void xq_allocate_uniform(struct xq_strip *strips, uint32_t n, uint32_t depth, bool grouped);
#endif
