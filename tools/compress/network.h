/* network.h: runs a model's graph, as its text says it, forward and backward in f32 over one window of tokens: positions 0 .. n - 1 of one
 * sequence, logits of every row. What the compressor learns from: inputs of matrices, gradients of the loss, logits to compare.
 *
 * Memory: the weights that are kept (weights.h); per window the values that cross from one unit of the graph (an iteration of its outermost
 * repeat) to another, the values of one unit, and of the others as many as `memory` allows: what is missing is computed again in the backward
 * pass. Results do not depend on `threads` or `memory`. Not thread safe: it has threads of its own. */
#ifndef XQ_NETWORK_H
#define XQ_NETWORK_H
#include "compress/blas.h"
#include "compress/job.h"

#include <stdbool.h>

enum { XQ_WINDOW = 512 }; /* most tokens of a window */

struct xq_network;
struct xq_network_options {
    uint32_t threads;
    bool backward;              /* passes with `keep` will come */
    bool gains;                 /* the outputs of norms and linears are there to read when they are graded, too; but not the logits */
    uint64_t memory;            /* bytes to save time with: values that the backward pass reads, then matrices as f32; else values are computed
                                   twice, and matrices dequantised for every use */
    struct bl_model_file *file; /* whose weights; NULL: the job's */
};
/* Called on the calling thread; either may be NULL. */
struct xq_network_hooks {
    void *user;
    /* Forward: a value is complete, [rows][columns]. What is written into it counts from there on (not when it is computed again). */
    void (*made)(void *user, uint32_t value, float *x, uint32_t rows);
    /* Backward: the gradient at a node's output is complete, [rows][columns]; the input of a linear is there to read (xq_network_value). */
    void (*graded)(void *user, uint32_t node, const float *gradient, uint32_t rows);
};

/* BL_EUNSUPPORTED naming the op when the graph holds one that has no row in the table of ops. */
bl_status xq_network_open(const struct xq_job *job, const struct xq_blas *blas, const struct xq_network_options *options, struct xq_network **out) BL_MUST_USE;
void xq_network_close(struct xq_network *network);
/* keep: a backward pass follows. BL_EINVAL for a token or a position that the model does not have. */
bl_status xq_network_forward(struct xq_network *network, const int32_t *tokens, uint32_t n, bool keep, const struct xq_network_hooks *hooks) BL_MUST_USE;
/* [n][vocabulary] of the last forward; before a backward pass the caller writes dL / dlogits over them. */
float *xq_network_logits(struct xq_network *network);
uint32_t xq_network_vocabulary(const struct xq_network *network);
const float *xq_network_value(const struct xq_network *network, uint32_t value);
/* What the n weights of a norm or the n rows of a matrix are multiplied by, for the caller to change between passes; 1 each at first, and as long as nobody
 * asks. n: of the whole tensor. */
bl_status xq_network_gain(struct xq_network *network, uint32_t tensor, uint32_t n, float **out) BL_MUST_USE;
/* When a norm or a linear is graded, and `gains` was said: adds the derivatives by the natural logarithms of its gains, at their places in the tensor. */
void xq_network_gain_gradient(const struct xq_network *network, uint32_t node, const float *gradient, float *sum);
/* Once after a forward with `keep`. */
bl_status xq_network_backward(struct xq_network *network, const struct xq_network_hooks *hooks) BL_MUST_USE;
/* Bytes of weights, and of values, gradients and scratch. */
void xq_network_bytes(const struct xq_network *network, uint64_t *weights, uint64_t *values);
/* What a network takes with `memory` = 0, at most (windows of XQ_WINDOW tokens). */
uint64_t xq_network_least_bytes(const struct xq_job *job, uint32_t threads, bool backward);
#endif
