/* curvature.h: what an error at the outputs of a matrix costs, row by row: sums over windows of the squares of the loss's gradient with
 * respect to the weights, A = sum over tokens of g x^T. Taken over a whole window, not token by token: an error of the weights moves all tokens
 * alike, and where what it does to them agrees (values, which attention sums up) it costs several times as much. */
#ifndef XQ_CURVATURE_H
#define XQ_CURVATURE_H
#include "compress/blas.h"
#include "compress/job.h"
#include "compress/work.h"

struct xq_curvature;
/* Of all matrices that are no tables. NULL: no memory. */
struct xq_curvature *xq_curvature_open(const struct xq_job *job, const struct xq_blas *blas, uint32_t threads);
void xq_curvature_close(struct xq_curvature *c);
/* One window, and the rows first .. first + n of a matrix: g[tokens][n], x[tokens][columns]. The sums do not depend on the threads. */
void xq_curvature_add(struct xq_curvature *c, uint32_t matrix, uint32_t first, uint32_t n, const float *g, const float *x, uint32_t tokens);
/* Where the sums are, for another run to go on with. */
void xq_curvature_spans(struct xq_curvature *c, struct xq_span out[2]);
/* row_worth and coupling of the matrix: so that the loss per token is as job.h says, where H has the trace of `power` / tokens. */
bl_status xq_curvature_take(const struct xq_curvature *c, uint32_t matrix, double power, struct xq_matrix *out) BL_MUST_USE;
#endif
