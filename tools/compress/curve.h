/* curve.h: sizes of a model against what they lose, as a table and as a picture. Owns the words and the picture; computes nothing. */
#ifndef XQ_CURVE_H
#define XQ_CURVE_H
#include "compress/compress.h"

#include <stdio.h>

/* Both: n files in any order. Bytes, bits per weight, divergence with its standard error, share of the same top token, ratio of perplexities. */
void xq_curve_print(FILE *f, const struct xq_target *targets, const struct xq_result *results, uint32_t n);
/* An SVG that needs nothing else, divergence on a logarithmic scale; the file appears complete or not at all. BL_EIO with path and reason. */
bl_status xq_curve_write(const char *path, const struct xq_result *results, uint32_t n) BL_MUST_USE;
#endif
