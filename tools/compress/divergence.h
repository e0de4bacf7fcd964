/* divergence.h: what a compressed file costs: the mean KL divergence of its answers from the original's, over windows that were not learned from. */
#ifndef XQ_DIVERGENCE_H
#define XQ_DIVERGENCE_H
#include "compress/blas.h"
#include "compress/calibration.h"
#include "compress/job.h"

struct xq_divergence_result {
    double mean, error;      /* nats per token; standard error, from the means of the windows, NAN where there is but one */
    double nll, other_nll;   /* of the text: original, compressed */
    double same_top;         /* share of tokens whose most probable next token is the same */
    uint64_t tokens;         /* that count */
    uint32_t windows;        /* with such tokens */
};
/* `file`: holds the job's tensors by their names, X-bit or not (opened by the caller). Over all rows of the held out windows that count, activations in f32.
 * memory: bytes beyond the least for keeping matrices as f32, of both. BL_EINVAL when nothing is held out. */
bl_status xq_divergence_measure(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, struct bl_model_file *file,
                                uint32_t threads, uint64_t memory, struct xq_divergence_result *out) BL_MUST_USE;
#endif
