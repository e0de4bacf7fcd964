/* weights.h: the weights of a graph as f32, out of the model's own file or out of another one that holds tensors of the same names and shapes
 * (a compressed one: then they are what its kernels compute with). Matrices are dequantised when they are asked for, and kept while there is
 * room. Read-only after opening: any thread may read. */
#ifndef XQ_WEIGHTS_H
#define XQ_WEIGHTS_H
#include "compress/job.h"

struct xq_weights;

/* file NULL: the job's own. cache: bytes of matrices to keep as f32. BL_EFORMAT naming tensor and file when one is missing or has another
 * shape; BL_EUNSUPPORTED for a type that is not computed with. The job and the file must live longer. */
bl_status xq_weights_open(const struct xq_job *job, struct bl_model_file *file, uint64_t cache, uint32_t threads, struct xq_weights **out) BL_MUST_USE;
void xq_weights_close(struct xq_weights *weights);
/* A norm's weights or a bias. */
const float *xq_weights_vector(const struct xq_weights *weights, const struct bl_weight *weight);
/* Rows first .. first + n (counted from the weight's own first) of a matrix; `room` for n * columns floats is used where they are not kept.
 * Dequantises on `threads` threads. */
const float *xq_weights_rows(const struct xq_weights *weights, const struct bl_weight *weight, uint32_t first, uint32_t n, uint32_t threads, float *room);
/* One row, copied; `row` counts from the weight's own first. */
void xq_weights_row(const struct xq_weights *weights, const struct bl_weight *weight, uint32_t row, float *out);
/* Bytes of f32 that are kept. */
uint64_t xq_weights_bytes(const struct xq_weights *weights);
#endif
