/* xq_pack.h: making the blob of an X-bit matrix in memory (hal/xq.h; XQ.md): begin, set every row, end. What the compressor and the tests
 * write with. The caller owns the memory: bl_xq_matrix_bytes(shape) bytes, 8-byte aligned. Not thread safe on one blob, but different tiles
 * of 8 rows may be set by different threads. Arguments are trusted: bl_xq_check_matrix says whether the result is a legal blob. */
#ifndef BL_MODEL_XQ_PACK_H
#define BL_MODEL_XQ_PACK_H
#include "hal/xq.h"

struct bl_xq_rows {
    uint32_t first_row, n_segments;
    const struct bl_xq_segment *segments;
};
struct bl_xq_shape {
    uint32_t rows, columns, input;
    int16_t row_exponent;
    const uint8_t *half2, *half3, *half4, *half5; /* 2, 4, 8 and 16 levels */
    uint32_t n_row_blocks;
    const struct bl_xq_rows *row_blocks;
    uint32_t n_outliers;
};
struct bl_xq_outlier {
    uint32_t row;
    uint16_t column; /* stored */
    uint16_t value;  /* f16 */
};

uint64_t bl_xq_matrix_bytes(const struct bl_xq_shape *shape);
void bl_xq_matrix_begin(const struct bl_xq_shape *shape, void *blob);
void bl_xq_set_row_scale(void *blob, uint32_t row, uint8_t scale);
/* The 32 codes of one row in one block of stored columns, and its group scale (ignored in a segment without). Once per row and block. */
void bl_xq_set_codes(void *blob, uint32_t row, uint32_t block, const uint8_t codes[32], uint32_t group_scale);
/* All n_outliers of the shape, ascending by row, then column. */
void bl_xq_set_outliers(void *blob, const struct bl_xq_outlier *outliers);
/* Of a matrix that is complete: multiplies row i by 2^(steps[i] / 16), as far as its scale goes; a row of scale 0 stays. The checksum is to be made again. */
void bl_xq_multiply_rows(void *blob, const int32_t *steps);
void bl_xq_matrix_end(void *blob, uint64_t bytes); /* the checksum */

/* An input: perm[32 * blocks] with BL_XQ_NO_COLUMN for fill, scale[32 * blocks]. */
uint64_t bl_xq_input_bytes(uint32_t columns);
void bl_xq_input_make(uint32_t columns, int16_t exponent, const uint16_t *perm, const uint8_t *scale, void *blob);
/* A scale of 8 bits as a number, and the nearest scale to a number >= 0 (1 .. 255; 0 only for 0). */
float bl_xq_scale_value(uint8_t scale, int32_t exponent);
uint8_t bl_xq_scale_nearest(float value, int32_t exponent);
#endif
