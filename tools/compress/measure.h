/* measure.h: what the allocation must know of a matrix: scales of its rows, its outliers, and what each depth would cost in loss. */
#ifndef XQ_MEASURE_H
#define XQ_MEASURE_H
#include "compress/coder.h"
#include "compress/prepare.h"

enum { XQ_ROW_BLOCKS = 16 /* of a table; at most of a matrix of heads; others that are not sorted have one */, XQ_SORTED_BLOCKS = 6 };

/* A weight beyond 3 deviations of its row: a coder would clip it. */
struct xq_place {
    uint32_t row;
    uint16_t column; /* stored */
    float gain;      /* nats per token that clipping would cost */
};
struct xq_measured {
    uint32_t rows, blocks, n_row_blocks;
    uint32_t first_row[XQ_ROW_BLOCKS + 1];
    int16_t exponent;
    uint8_t *scale;             /* [rows], of the rows */
    float *worth;               /* [rows]: of an error, once the later rows of its group have taken what they can */
    uint32_t group;             /* rows of a group; 1: they count apart, and there is no: */
    uint32_t *order;            /* [rows], group by group: in which order its rows are rounded */
    float *feedback;            /* [rows][group]: of the row at a place of that order, what the later places of its group take of its error */
    struct xq_place *candidates; /* ascending; all that could become outliers */
    struct xq_place *outliers;  /* those of them that do; as many places as candidates */
    uint32_t n_candidates, n_outliers;
    float *energy;              /* [n_row_blocks][blocks]: loss if all its weights became 0, columns apart: nats per token */
    float share[2][9];          /* [grouped][depth]: of that loss which stays when a block is rounded to that depth */
};

/* What is known before any weight is looked at: rows, blocks and row blocks; no outliers yet. */
struct xq_measured xq_measured_shape(const struct xq_matrix *matrix);
/* No candidate is an outlier yet. */
bl_status xq_measure(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, const struct xq_blas *blas,
                     struct xq_measured *out) BL_MUST_USE;
/* Outliers are those that gain more than `least` nats each. */
void xq_choose_outliers(struct xq_measured *m, double least);
/* What that says of the rows alone: worth, order, feedback. xq_measure does it too. */
bl_status xq_measure_worth(const struct xq_matrix *matrix, const struct xq_blas *blas, struct xq_measured *m) BL_MUST_USE;
void xq_measured_free(struct xq_measured *m);
/* One row in stored order, its columns divided by their scales; fill is 0. `row` has room for the matrix's columns. */
void xq_stored_row(const struct xq_job *job, const struct xq_matrix *matrix, const struct xq_prepared *p, uint32_t index, float *row, float *out);
/* The multiplier 10 .. 25 with the least squared error, weighted by l2, for n numbers rounded at `unit` times it. */
uint32_t xq_best_group(const struct xq_coder *coder, const float *z, const float *l2, uint32_t n, float unit);
#endif
