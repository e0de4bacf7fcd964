/* rank.h: an order by falling worth, the same on every machine. */
#ifndef XQ_RANK_H
#define XQ_RANK_H
#include <stdint.h>

struct xq_ranked {
    double worth;
    uint32_t index;
};
/* Most worth first; among equals the lower index. */
void xq_rank(struct xq_ranked *ranked, uint32_t n);
#endif
