/* prepare.h: what is made of an input before its matrices are rounded: the order of its columns, their scales, and the factor of its
 * covariance that carries the error of one column to the later ones. */
#ifndef XQ_PREPARE_H
#define XQ_PREPARE_H
#include "compress/blas.h"
#include "compress/job.h"
#include "hal/xq.h"

/* Everything in stored order: column c of it is column perm[c] of the model. */
struct xq_prepared {
    uint32_t columns, blocks, padded; /* padded = 32 * blocks */
    int16_t exponent;
    uint16_t *perm;   /* [padded] */
    uint8_t *scale;   /* [padded], and what it says: */
    float *g;         /* [padded] */
    float *feedback;  /* [padded][padded]: row j: what columns k > j lose per unit of error in column j (0 elsewhere) */
    float *h;         /* [padded][padded]: the damped covariance of the scaled columns */
    float *l2;        /* [padded]: loss per squared error of a column once the later ones have taken what they can; 0 for fill */
};

/* damp: added to the diagonal, in units of its mean; grows by factors of 4 until the factorisation succeeds, so any H does. Without a
 * measured H the columns count as independent and equal. */
bl_status xq_prepare(const struct xq_job *job, const struct xq_input *input, double damp, const struct xq_blas *blas, struct xq_prepared *out) BL_MUST_USE;
void xq_prepared_free(struct xq_prepared *p);

/* H = R R^T with R upper triangular: feedback[j][k], k > j: what place k takes of an error at place j, R^-1 with its rows divided by its
 * diagonal (the rest is left alone); l2[j] = R[j][j]^2, what an error at j then costs. reversed: [n][n], H with its rows and columns in
 * descending order; it is used up. False: no such factor. */
bool xq_factor(const struct xq_blas *blas, uint32_t n, double *reversed, float *feedback, uint32_t stride, float *l2);
#endif
