/* job.h: what a compression works on: the matrices of a model, the inputs that they read, what was measured about both. Owns these structs and
 * how they are found in a graph; knows no algorithm.
 *
 * The loss in nats per token, to second order, is the sum over matrices of 1/2 tr(G dW H dW^T), H = E[x x^T] over calibration tokens for the
 * matrix's input x, G what an error at its outputs costs: diag(row_worth), or blocks of `group` rows. */
#ifndef XQ_JOB_H
#define XQ_JOB_H
#include "graph/graph.h"
#include "model/graph_source.h"
#include "model/model_file.h"

struct xq_input {
    uint32_t value;        /* of the graph; BL_NO_ID for an embedding that is no head too: then H is of its output's gradient */
    uint32_t columns, n_matrices;
    float *h;              /* [columns][columns], symmetric, all of it filled; NULL before it is measured */
    double tokens;         /* rows that h is the mean of */
    uint32_t *place_of;    /* [columns]: where a column is once the rows that make it are sorted; NULL: where it was */
};
struct xq_matrix {
    uint32_t tensor;       /* of the file */
    const char *name;
    uint32_t rows, columns, input;
    bool is_table;
    bool is_sorted;        /* its rows are put in the order of their worth (sort.h) */
    uint32_t *row_of;      /* [rows]: the tensor's row at a place; NULL: as they are there */
    uint32_t group;        /* rows of one head's queries or keys, whose errors meet in one product; 1: rows count apart */
    float *row_worth;      /* [rows]; NULL before it is measured: all the same */
    float *coupling;       /* group > 1: [rows][group], the covariance of a row's worth with the rows of its group, row_worth its diagonal */
};
struct xq_job {
    struct bl_model_file *file;
    struct bl_arena arena;
    struct bl_graph_source source;
    struct bl_graph *graph; /* as the text says it: neither lowered nor fused */
    struct xq_input *inputs;
    struct xq_matrix *matrices;
    uint32_t n_inputs, n_matrices;
};

/* Opens a model and finds what can be compressed: tensors of two dimensions, at least 32 columns and 32 rows, that a linear or an
 * embedding of tokens reads, in any format that kernels know but X-bit. Nothing is measured yet. */
bl_status xq_job_open(struct xq_job *job, const char *path) BL_MUST_USE;
void xq_job_close(struct xq_job *job);
/* The matrix that a tensor of the file is; BL_NO_ID: none. */
uint32_t xq_matrix_of(const struct xq_job *job, uint32_t tensor);
/* Rows first .. first + n of a matrix as f32, in its order. */
void xq_matrix_rows(const struct xq_job *job, const struct xq_matrix *matrix, uint32_t first, uint32_t n, float *out);
#endif
