/* round.h: turns a matrix into the blob of an allocation: rounding column by column with the error carried to the columns that follow, then
 * sweeps that change single codes while that lowers the loss. */
#ifndef XQ_ROUND_H
#define XQ_ROUND_H
#include "compress/allocate.h"
#include "compress/measure.h"

struct xq_round_options {
    uint32_t threads;
    bool feedback;   /* false: every weight to its nearest level */
    uint32_t sweeps; /* of coordinate descent */
    uint32_t shared; /* blocks of a segment, from its first on, that have one group scale: 1, 2 or 4 */
};

/* Bytes of the blob that a matrix becomes with these strips, one per row block. */
uint64_t xq_blob_bytes(const struct xq_matrix *matrix, const struct xq_measured *m, const struct xq_strip *strips);
/* blob: that many bytes, 8-byte aligned; input_number: N of the tensor xq.input.N. *loss: nats per token by the second-order model. The
 * bytes depend on nothing but the arguments: not on the number of threads. */
bl_status xq_round(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, const struct xq_measured *m,
                   const struct xq_strip *strips, const struct xq_round_options *options, uint32_t input_number, void *blob, double *loss) BL_MUST_USE;
#endif
