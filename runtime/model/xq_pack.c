/* xq_pack.c: writes X-bit blobs. The mirror of cpu_fallback/ref/xq.c, which says what the bits mean. */
#include "model/xq_pack.h"

#include "base/half.h"
#include "model/xq.h"

#include <math.h>
#include <string.h>

static uint64_t words_of(const struct bl_xq_rows *r, uint32_t *n_grouped)
{
    uint64_t words = BL_XQ_TILE / 4;
    *n_grouped = 0;
    for (uint32_t s = 0; s < r->n_segments; s++) {
        words += (uint64_t)r->segments[s].n_blocks * BL_XQ_BLOCK_WORDS(r->segments[s].depth);
        *n_grouped += r->segments[s].flags & BL_XQ_GROUPED ? r->segments[s].n_blocks : 0u;
    }
    return words + *n_grouped;
}

static uint32_t segments_of(const struct bl_xq_shape *shape)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < shape->n_row_blocks; i++)
        n += shape->row_blocks[i].n_segments;
    return n;
}

static uint64_t tiles_of(const struct bl_xq_shape *shape, uint32_t i)
{
    const uint32_t end = i + 1 < shape->n_row_blocks ? shape->row_blocks[i + 1].first_row : shape->rows;
    return (end - shape->row_blocks[i].first_row + BL_XQ_TILE - 1) / BL_XQ_TILE;
}

static uint64_t table_words(const struct bl_xq_shape *shape)
{
    return (sizeof(struct bl_xq_header) + shape->n_row_blocks * sizeof(struct bl_xq_row_block) + segments_of(shape) * sizeof(struct bl_xq_segment)) / 4;
}

static uint64_t outlier_words(const struct bl_xq_shape *shape)
{
    return shape->n_outliers ? (shape->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT + 1 + (uint64_t)shape->n_outliers + (shape->n_outliers + 3) / 4 : 0;
}

static uint64_t data_words(const struct bl_xq_shape *shape)
{
    uint64_t words = 0;
    uint32_t n_grouped;
    for (uint32_t i = 0; i < shape->n_row_blocks; i++)
        words += tiles_of(shape, i) * words_of(&shape->row_blocks[i], &n_grouped);
    return words;
}

uint64_t bl_xq_matrix_bytes(const struct bl_xq_shape *shape)
{
    return 4 * (table_words(shape) + data_words(shape) + outlier_words(shape));
}

void bl_xq_matrix_begin(const struct bl_xq_shape *shape, void *blob)
{
    memset(blob, 0, (size_t)bl_xq_matrix_bytes(shape));
    struct bl_xq_header *h = blob;
    *h = (struct bl_xq_header){.magic = BL_XQ_MAGIC, .version = BL_XQ_VERSION, .row_exponent = shape->row_exponent, .rows = shape->rows, .columns = shape->columns,
                               .blocks = (shape->columns + 31) / 32, .input = shape->input, .n_row_blocks = shape->n_row_blocks,
                               .n_segments = segments_of(shape), .n_outliers = shape->n_outliers,
                               .outliers = shape->n_outliers ? (uint32_t)(table_words(shape) + data_words(shape)) : 0};
    memcpy(h->half2, shape->half2, sizeof h->half2);
    memcpy(h->half3, shape->half3, sizeof h->half3);
    memcpy(h->half4, shape->half4, sizeof h->half4);
    memcpy(h->half5, shape->half5, sizeof h->half5);
    struct bl_xq_row_block *r = (struct bl_xq_row_block *)(h + 1);
    struct bl_xq_segment *s = (struct bl_xq_segment *)(r + shape->n_row_blocks);
    uint64_t data = table_words(shape);
    uint32_t first_segment = 0;
    for (uint32_t i = 0; i < shape->n_row_blocks; i++) {
        const struct bl_xq_rows *from = &shape->row_blocks[i];
        r[i] = (struct bl_xq_row_block){.first_row = from->first_row, .first_segment = first_segment, .n_segments = from->n_segments, .data = (uint32_t)data};
        r[i].stride = (uint32_t)words_of(from, &r[i].n_grouped);
        memcpy(s + first_segment, from->segments, from->n_segments * sizeof *s);
        first_segment += from->n_segments;
        data += tiles_of(shape, i) * r[i].stride;
    }
}

struct place {
    uint32_t *tile, *codes; /* codes: of the block */
    uint32_t lane, depth, grouped; /* grouped: word of the block's group scales in the tile; 0 without */
};

static struct place place_of(void *blob, uint32_t row, uint32_t block)
{
    const struct bl_xq_header *h = blob;
    const struct bl_xq_row_block *r = bl_xq_row_blocks(h);
    while (r + 1 < bl_xq_row_blocks(h) + h->n_row_blocks && r[1].first_row <= row)
        r++;
    const struct bl_xq_segment *s = bl_xq_segments(h) + r->first_segment;
    struct place p = {.tile = (uint32_t *)blob + r->data + (size_t)((row - r->first_row) / BL_XQ_TILE) * r->stride, .lane = (row - r->first_row) % BL_XQ_TILE};
    uint32_t grouped = BL_XQ_TILE / 4;
    p.codes = p.tile + grouped + r->n_grouped;
    for (; block >= s->n_blocks; block -= s->n_blocks, s++) {
        p.codes += (size_t)s->n_blocks * BL_XQ_BLOCK_WORDS(s->depth);
        grouped += s->flags & BL_XQ_GROUPED ? s->n_blocks : 0u;
    }
    p.codes += (size_t)block * BL_XQ_BLOCK_WORDS(s->depth);
    p.depth = s->depth;
    p.grouped = s->flags & BL_XQ_GROUPED ? grouped + block : 0;
    return p;
}

void bl_xq_set_row_scale(void *blob, uint32_t row, uint8_t scale)
{
    const struct place p = place_of(blob, row, 0);
    p.tile[p.lane / 4] |= (uint32_t)scale << p.lane % 4 * 8;
}

static void put4(uint32_t *plane, uint32_t lane, uint32_t c, uint32_t bits)
{
    plane[8 * (c / 4 % 4) + lane] |= (bits & 15) << (c % 4 * 8 + c / 16 * 4);
}

static void put2(uint32_t *plane, uint32_t lane, uint32_t c, uint32_t bits)
{
    plane[8 * (c / 4 % 2) + lane] |= (bits & 3) << (c % 4 * 8 + c / 8 * 2);
}

static void put1(uint32_t *plane, uint32_t lane, uint32_t c, uint32_t bits)
{
    plane[lane] |= (bits & 1) << (c % 4 * 8 + c / 4);
}

void bl_xq_set_codes(void *blob, uint32_t row, uint32_t block, const uint8_t codes[32], uint32_t group_scale)
{
    const struct place p = place_of(blob, row, block);
    if (p.grouped)
        p.tile[p.grouped] |= (group_scale & 15) << 4 * p.lane;
    for (uint32_t c = 0; c < 32; c++) {
        uint32_t *plane = p.codes, rest = codes[c];
        if (p.depth & 4 || p.depth == 8) {
            put4(plane, p.lane, c, rest);
            plane += 32;
            rest >>= 4;
        }
        if (p.depth == 8)
            put4(plane, p.lane, c, rest);
        if (p.depth & 2) {
            put2(plane, p.lane, c, rest);
            plane += 16;
            rest >>= 2;
        }
        if (p.depth & 1)
            put1(plane, p.lane, c, rest);
    }
}

void bl_xq_set_outliers(void *blob, const struct bl_xq_outlier *outliers)
{
    const struct bl_xq_header *h = blob;
    if (!h->n_outliers)
        return;
    const uint32_t units = (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT;
    uint32_t *start = (uint32_t *)blob + h->outliers, *entry = start + units + 1;
    uint8_t *row = (uint8_t *)(entry + h->n_outliers);
    for (uint32_t i = 0; i < h->n_outliers; i++) {
        entry[i] = outliers[i].column | (uint32_t)outliers[i].value << 16;
        row[i] = (uint8_t)(outliers[i].row % BL_XQ_UNIT);
        start[outliers[i].row / BL_XQ_UNIT + 1]++;
    }
    for (uint32_t u = 0; u < units; u++)
        start[u + 1] += start[u];
}

static int32_t step_scale(void *blob, uint32_t row, int32_t steps)
{
    const struct place p = place_of(blob, row, 0);
    const uint32_t shift = p.lane % 4 * 8;
    const int32_t was = (int32_t)(p.tile[p.lane / 4] >> shift & 255), to = was + steps, is = was == 0 ? 0 : to < 1 ? 1 : to > 255 ? 255 : to;
    p.tile[p.lane / 4] = (p.tile[p.lane / 4] & ~(UINT32_C(255) << shift)) | (uint32_t)is << shift;
    return is - was;
}

static uint32_t multiply_correction(uint32_t entry, float by)
{
    const float value = bl_f16_to_f32((uint16_t)(entry >> 16)) * by, bounded = value > 65504 ? 65504 : value < -65504 ? -65504 : value;
    return (entry & 0xffff) | (uint32_t)bl_f32_to_f16(bounded) << 16;
}

void bl_xq_multiply_rows(void *blob, const int32_t *steps)
{
    const struct bl_xq_header *h = blob;
    const uint32_t units = (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT, *start = (const uint32_t *)blob + h->outliers;
    uint32_t *entry = (uint32_t *)blob + h->outliers + units + 1;
    const uint8_t *row_of = (const uint8_t *)(entry + h->n_outliers);
    for (uint32_t row = 0, at = 0; row < h->rows; row++) {
        const int32_t by = step_scale(blob, row, steps[row]);
        for (; h->n_outliers && at < start[row / BL_XQ_UNIT + 1] && row_of[at] == row % BL_XQ_UNIT; at++)
            entry[at] = by ? multiply_correction(entry[at], exp2f((float)by / 16)) : entry[at];
    }
}

void bl_xq_matrix_end(void *blob, uint64_t bytes)
{
    ((struct bl_xq_header *)blob)->checksum = bl_xq_checksum(blob, bytes);
}

/* ---- inputs ---- */

uint64_t bl_xq_input_bytes(uint32_t columns)
{
    return sizeof(struct bl_xq_input) + 96 * (uint64_t)((columns + 31) / 32);
}

void bl_xq_input_make(uint32_t columns, int16_t exponent, const uint16_t *perm, const uint8_t *scale, void *blob)
{
    struct bl_xq_input *in = blob;
    *in = (struct bl_xq_input){.magic = BL_XQ_INPUT_MAGIC, .version = BL_XQ_VERSION, .exponent = exponent, .columns = columns, .blocks = (columns + 31) / 32};
    memcpy(in + 1, perm, 64 * (size_t)in->blocks);
    memcpy((uint8_t *)(in + 1) + 64 * (size_t)in->blocks, scale, 32 * (size_t)in->blocks);
    in->checksum = bl_xq_checksum(blob, bl_xq_input_bytes(columns));
}

float bl_xq_scale_value(uint8_t scale, int32_t exponent)
{
#define MANTISSA(i, value) value,
    static const float mantissas[16] = {BL_XQ_MANTISSAS(MANTISSA)};
#undef MANTISSA
    return scale ? ldexpf(mantissas[scale % 16], exponent + scale / 16) : 0.0f;
}

uint8_t bl_xq_scale_nearest(float value, int32_t exponent)
{
    if (!(value > 0))
        return 0;
    const double steps = round(16 * (log2((double)value) - exponent));
    return (uint8_t)(steps < 1 ? 1 : steps > 255 ? 255 : steps);
}
