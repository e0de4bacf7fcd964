/* network_parts.h: what network.c, network_ops.c and network_attention.c share: the state of a pass and the table of ops. */
#ifndef XQ_NETWORK_PARTS_H
#define XQ_NETWORK_PARTS_H
#include "compress/network.h"
#include "compress/weights.h"

enum { XQ_SPARE = 256 };
struct xq_network {
    const struct xq_blas *blas;
    const struct bl_graph *graph;
    struct xq_weights *weights;
    uint32_t threads;
    const int32_t *tokens;
    uint32_t rows;              /* of the window */
    float **value, **gradient;  /* [n_values]: [rows][columns], or NULL */
    uint32_t (*kv)[2];          /* [n_kv_layers]: the values that are stored as keys and values */
    uint32_t n_units, *first_node; /* [n_units + 1] */
    uint32_t *last_unit;        /* [n_values]: the last one that reads it */
    uint8_t *state;             /* [n_values]: XQ_VALUE_* */
    float *weight_room;         /* rows of a matrix that is not kept */
    float *scratch;             /* [threads][scratch_floats] */
    size_t scratch_floats;
    float **gain;               /* [n_tensors] of norms' weights and matrices' rows; NULL: 1 each */
    uint32_t n_tensors;
    float *partial;             /* attention: gradients of keys and values per head */
    uint64_t bytes, fixed_bytes; /* of values, gradients and spare ones; of the rest */
    struct xq_spare {
        float *data;
        uint64_t bytes;
    } spare[XQ_SPARE];          /* memory of values that are gone */
    uint32_t n_spare;
};
enum {
    XQ_VALUE_CROSSES = 1, /* from one unit to another */
    XQ_VALUE_KEPT = 2,    /* from the forward to the backward pass */
    XQ_VALUE_NEEDED = 4   /* the backward pass of its unit reads it, or computes with it what it reads */
};

/* Of what the node's weight is; NULL: none. */
static inline const float *xq_gain(const struct xq_network *network, const struct bl_node *node)
{
    return node->weight.tensor == BL_NO_ID || !network->gain[node->weight.tensor] ? NULL : network->gain[node->weight.tensor] + node->weight.first_row;
}
/* A node's inputs; attention's are its query, its keys and its values. Returns how many. */
uint32_t xq_node_inputs(const struct xq_network *network, const struct bl_node *node, uint32_t in[BL_NODE_MAX_IN]);
static inline uint32_t xq_columns(const struct xq_network *network, uint32_t value)
{
    return network->graph->values[value].columns;
}

/* forward writes the whole of the output; backward adds to the gradients of the inputs in `gradients`, reads the values of those in
 * `reads`, and never the output's value (it may be gone). */
struct xq_network_op {
    void (*forward)(struct xq_network *network, const struct bl_node *node);
    void (*backward)(struct xq_network *network, const struct bl_node *node); /* NULL: nothing learns from it */
    uint8_t reads, gradients; /* bits 1 << input */
    bool is_costly;           /* worth memory rather than computing it again */
};
/* NULL: no such op. */
const struct xq_network_op *xq_network_op(const struct bl_node *node);
void xq_attention_forward(struct xq_network *network, const struct bl_node *node);
void xq_attention_backward(struct xq_network *network, const struct bl_node *node);
/* Floats of scratch that a worker needs for attention over that many rows, and of `partial`. */
size_t xq_attention_scratch(uint32_t rows);
size_t xq_attention_partial(const struct bl_params_attention *p, uint32_t rows);
enum { XQ_MATRIX_ROOM = 1 << 21, XQ_MATRIX_PIECE = 768 }; /* floats of a matrix, rows of it at a time */
/* Rows of a matrix that are worked on at a time. */
uint32_t xq_matrix_chunk(uint32_t columns);
#endif
