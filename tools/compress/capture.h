/* capture.h: fills a job with what text says about its matrices: the covariance of every input, the worth of every matrix and of every row of a
 * table (job.h), from gradients of a loss. Positions of the text that do not count (calibration.h) have no loss. */
#ifndef XQ_CAPTURE_H
#define XQ_CAPTURE_H
#include "compress/blas.h"
#include "compress/calibration.h"
#include "compress/job.h"
#include "compress/work.h"

/* How far learning is: passes over the text that are complete, windows of the next one. */
struct xq_capture_at {
    uint32_t pass, window;
};
/* Whose loss gradients are of: labels drawn from the model's own answer (losses are nats of KL to it), or the text's own next tokens. */
enum xq_labels { XQ_LABELS_DRAWN, XQ_LABELS_TEXT };
struct xq_capture_options {
    uint32_t threads;
    uint64_t ram;     /* bytes that the whole may take, as near as that can be known before; 0: no bound */
    enum xq_labels labels;
    double temper;    /* power of the worth of a table's rows, their sum kept */
    /* May be NULL. After each window: how many of how many. */
    void (*progress)(void *user, uint32_t done, uint32_t all);
    /* May be NULL. An input is complete: with it, h is freed after the call, and where not all h fit in `ram` the text is read several times. */
    bl_status (*done)(void *user, uint32_t input);
    /* May be NULL. After each window: all sums so far, which go on from there when load (never NULL where `from` is not zeros) fills them before
     * the first window of another run: same model, text, ram; any number of threads; the same bits in the end. */
    bl_status (*save)(void *user, struct xq_capture_at at, const struct xq_span *sums, uint32_t n);
    bl_status (*load)(void *user, const struct xq_span *sums, uint32_t n);
    struct xq_capture_at from;
    void *user;
};
struct xq_captured {
    uint64_t tokens;
    uint32_t passes;
    double nll;       /* mean over the text's own tokens, nats */
    uint64_t weight_bytes, value_bytes, h_bytes;
};

/* The job's inputs get h and tokens, its matrices worth or row_worth; the same numbers for any number of threads and any `ram`. BL_ELIMIT when
 * `ram` does not hold the covariances and there is no `done`. */
bl_status xq_capture(struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, const struct xq_capture_options *options,
                     struct xq_captured *captured) BL_MUST_USE;
/* Tempers the worth of rows: the mean of each of 16 equal blocks of rows to the power, scaled to the same sum. */
void xq_temper_rows(const double *worth, uint32_t rows, double power, float *out);
#endif
