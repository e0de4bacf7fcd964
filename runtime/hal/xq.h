/* xq.h: the layout of X-bit matrices in memory, which is their layout in a file: the kernels read it in place. Owns the structs and the
 * little arithmetic that reader, writer and kernels share. The words, with every rule a reader must check: runtime/model/XQ.md.
 *
 * A matrix W[rows, columns] is stored as blocks of 32 columns, after the columns were permuted; a run of neighbouring blocks of one depth
 * (1 to 8 bits a weight) is a segment. Rows are stored in tiles of 8. Rows may be cut into row blocks, each with segments of its own.
 *     W[i, perm[c]] = r_i * g_c * unit * m * L[code]         r: scale of the row; g: of the column, applied to the activation by `stage`;
 * unit: of the segment; m: 10 + a group scale of 4 bits per row and block, or 1; L: the level of a code. Some weights, the
 * outliers, have a correction on top. Everything little endian, offsets in words of 4 bytes. */
#ifndef BL_HAL_XQ_H
#define BL_HAL_XQ_H
#include <stdint.h>

#define BL_XQ_MAGIC 0x51584c42u       /* "BLXQ": a matrix */
#define BL_XQ_INPUT_MAGIC 0x49584c42u /* "BLXI": the permutation and scales of an input */
#define BL_XQ_VERSION 1u
#define BL_XQ_MAX_BLOCKS 2047u        /* columns are numbered in 16 bits, 0xffff is none */
#define BL_XQ_MAX_SEGMENTS 16u        /* of a row block */
#define BL_XQ_MAX_ROW_BLOCKS 64u
#define BL_XQ_UNIT 32u                /* rows; row blocks and outliers are cut at multiples */
#define BL_XQ_TILE 8u                 /* rows */
#define BL_XQ_NO_COLUMN 0xffffu       /* in a permutation: a column of zeros that fills the last block */
#define BL_XQ_GROUP_BASE 10u          /* m = 10 + s, s of 4 bits */
enum { BL_XQ_LEVEL2 = 15, BL_XQ_LEVEL3 = 31, BL_XQ_LEVEL4 = 63, BL_XQ_LEVEL5 = 127 }; /* largest levels per depth: what a sum of two products
                                                                                      * with q in 16 bits can hold, and twice of it for 3, four times for 2 */
enum { BL_XQ_GROUPED = 1 };           /* flag of a segment: one group scale per row and block */

struct bl_xq_header {
    uint32_t magic;
    uint16_t version;
    int16_t row_exponent;             /* of the row scales */
    uint64_t checksum;                /* of the bytes after it */
    uint32_t rows, columns;
    uint32_t blocks;                  /* of 32 columns: ceil(columns / 32) */
    uint32_t input;                   /* N of the tensor "xq.input.N" */
    uint32_t n_row_blocks, n_segments; /* lengths of the two tables that follow the header */
    uint32_t n_outliers, outliers;    /* how many, and where (word); 0, 0 without */
    uint8_t half2[2], half3[4], half4[8], half5[16]; /* levels above 0, ascending, per depth */
    uint8_t reserved[2];              /* 0 */
};
struct bl_xq_row_block {
    uint32_t first_row;               /* a multiple of 32; ends where the next begins */
    uint32_t first_segment, n_segments;
    uint32_t n_grouped;               /* blocks with group scales */
    uint32_t data, stride;            /* words: of the first tile, from tile to tile */
};
struct bl_xq_segment {
    uint16_t n_blocks;
    uint8_t depth, flags;
    float unit;
};
/* Then, at row_block.data: tiles of 8 rows, `stride` words each:
 *     u8 row_scale[8]; u32 group_scales[n_grouped] (row r: bits 4r .. 4r+3); then block after block the planes of its codes.
 * and at header.outliers, if there are any: u32 start[ceil(rows / 32) + 1]; u32 entry[n] (stored column | f16 bits << 16); u8 row[n] (in
 * the unit of 32 rows), filled up to a word with zeros. Entries are in ascending order of (row, column). */

/* Header of an input: then u16 perm[32 * blocks]; u8 scale[32 * blocks]. */
struct bl_xq_input {
    uint32_t magic;
    uint16_t version;
    int16_t exponent;                 /* of the column scales */
    uint64_t checksum;                /* of the bytes after it */
    uint32_t columns, blocks;
    uint32_t reserved[2];             /* 0 */
};

#ifdef __cplusplus
static_assert(sizeof(struct bl_xq_header) == 80 && sizeof(struct bl_xq_row_block) == 24 && sizeof(struct bl_xq_segment) == 8 &&
              sizeof(struct bl_xq_input) == 32, "as in the file");
#else
_Static_assert(sizeof(struct bl_xq_header) == 80 && sizeof(struct bl_xq_row_block) == 24 && sizeof(struct bl_xq_segment) == 8 &&
               sizeof(struct bl_xq_input) == 32, "as in the file");
#endif

static inline const struct bl_xq_row_block *bl_xq_row_blocks(const struct bl_xq_header *h)
{
    return (const struct bl_xq_row_block *)(h + 1);
}

static inline const struct bl_xq_segment *bl_xq_segments(const struct bl_xq_header *h)
{
    return (const struct bl_xq_segment *)(bl_xq_row_blocks(h) + h->n_row_blocks);
}

/* Words of the codes of a block of 8 rows: 4 bytes per row and bit of depth. */
#define BL_XQ_BLOCK_WORDS(depth) (8u * (depth))

/* X(i, 2^(i/16)): the mantissas of row and column scales. A scale s: 0 when s is 0, else mantissa[s % 16] * 2^(exponent + s / 16). */
#define BL_XQ_MANTISSAS(X)                                                                                                       \
    X(0, 1.0f) X(1, 1.04427378f) X(2, 1.09050773f) X(3, 1.13878863f) X(4, 1.18920712f) X(5, 1.24185781f) X(6, 1.29683955f)         \
    X(7, 1.35425555f) X(8, 1.41421356f) X(9, 1.47682615f) X(10, 1.54221083f) X(11, 1.61049033f) X(12, 1.68179283f) X(13, 1.75625216f) \
    X(14, 1.83400809f) X(15, 1.91520656f)
/* exponent + 15 must stay a normal float's: both ends are checked by the reader. */
#define BL_XQ_MIN_EXPONENT (-100)
#define BL_XQ_MAX_EXPONENT 100

/* Planes. A depth is a sum of planes of 4, 2 and 1 bits (3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1, 8 = 4+4), stored in the order 4, second 4,
 * 2, 1; `q` is the quad of the column (columns 4q .. 4q+3 of the block), byte `column % 4` of the word that these give.
 *     4 bits: 32 words; word 8 (q % 4) + row; bits 4 (q / 4)
 *     2 bits: 16 words; word 8 (q % 2) + row; bits 2 (q / 2)
 *     1 bit:   8 words; word row;             bit  q
 * code = 4 bits | 2 bits << 4 | 1 bit << 6;  depth 8: first plane | second << 4;  depth 3: 2 bits | 1 bit << 2;
 * depth 5: the 1 bit is the sign, the 4 bits the number of the level: code = 4 bits | 1 bit << 4.
 * Levels: depth 1 2c - 1;  2, 3, 4: the half table mirrored, ascending with the code;  5: half5[c % 16], negative when c >= 16;
 *         6, 7, 8: 2c + 1 - 2^depth. */
#endif
