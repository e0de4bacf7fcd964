/* rank.c: sorting with ties broken by the index, so that the library's sort does not show. */
#include "compress/rank.h"

#include <stdlib.h>

static int by_worth(const void *a, const void *b)
{
    const struct xq_ranked *x = a, *y = b;
    if (x->worth != y->worth)
        return x->worth > y->worth ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

void xq_rank(struct xq_ranked *ranked, uint32_t n)
{
    qsort(ranked, n, sizeof *ranked, by_worth);
}
