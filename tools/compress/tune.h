/* tune.h: what a compressed file can still change once all is rounded, the weights of norms and the scales of rows, trained through the whole network until
 * its answers are nearer to the original's: rounding makes up for its errors inside a matrix, this for what is left between them. Knows no file. */
#ifndef XQ_TUNE_H
#define XQ_TUNE_H
#include "compress/blas.h"
#include "compress/calibration.h"
#include "compress/compress.h"
#include "compress/job.h"

enum { XQ_GAIN_STEPS = 16 }; /* of a row's gain in a factor of two: as its scale is stored (XQ.md) */

/* What weights of norms that are f32, and rows of compressed matrices that are no tables, are multiplied by. All zeros: none. */
struct xq_gains {
    uint32_t n;
    uint32_t *tensor;  /* [n] of the job's file; owned */
    uint32_t *matrix;  /* [n] of the job; BL_NO_ID: a norm; owned */
    uint64_t *first;   /* [n + 1]: where each begins; owned */
    float *factor;     /* of a row: 2^(whole / XQ_GAIN_STEPS); in the order of the compressed file; owned */
};
/* 1 each. */
bl_status xq_gains_make(const struct xq_job *job, struct xq_gains *out) BL_MUST_USE;
void xq_gains_free(struct xq_gains *gains);

struct xq_tune_options {
    enum xq_objective objective;
    uint32_t threads, windows;    /* windows: of the text to learn from, at most */
    double rate;                  /* of a step, in factors of two: the largest; it rises over the first tenth and falls to 0 along a cosine */
    uint64_t memory;              /* bytes beyond the least, to save time */
    void (*progress)(void *user); /* after a window; NULL is allowed */
    void *user;
};
/* How many windows there are to go through. */
uint32_t xq_tune_windows(const struct xq_calibration *text, uint32_t most);
/* file: the compressed model, before any of that (opened by the caller). Writes the factors. The result depends on the file, the text and the number of
 * windows alone. */
bl_status xq_tune(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, struct bl_model_file *file,
                  const struct xq_tune_options *options, struct xq_gains *gains) BL_MUST_USE;
#endif
