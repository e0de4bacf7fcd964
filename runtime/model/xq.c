/* xq.c: what a reader must refuse in X-bit matrices. Owns every check of XQ.md; knows no GGUF and no op. All sums of numbers from the file are
 * in 64 bits, of factors that were bounded before. */
#include "model/xq.h"

#include "base/cursor.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"

#include <string.h>

#define ULL(x) ((unsigned long long)(x))

struct blob {
    const char *path, *what;
    uint64_t offset;
    const uint8_t *data;
    uint64_t bytes;
};

static bl_status bad(const struct blob *b, uint64_t at, const char *field, uint64_t value, const char *limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s of '%.80s': got %llu, limit %s", b->path, ULL(b->offset + at), field, b->what, ULL(value), limit);
}

static bl_status beyond(const struct blob *b, uint64_t at, const char *field, uint64_t value, uint64_t limit)
{
    BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s of '%.80s': got %llu, limit %llu", b->path, ULL(b->offset + at), field, b->what, ULL(value), ULL(limit));
}

#define AT(type, field) offsetof(struct type, field)

static bl_status check_exponent(const struct blob *b, uint64_t at, int16_t exponent)
{
    if (exponent < BL_XQ_MIN_EXPONENT || exponent > BL_XQ_MAX_EXPONENT)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: exponent of '%.80s': got %d, limit %d to %d", b->path, ULL(b->offset + at), b->what, exponent,
                BL_XQ_MIN_EXPONENT, BL_XQ_MAX_EXPONENT);
    return BL_OK;
}

static bl_status check_head(const struct blob *b, uint64_t head_bytes, uint32_t magic)
{
    if ((b->offset | (uint64_t)(uintptr_t)b->data) % 8)
        return bad(b, 0, "place", b->offset, "a multiple of 8");
    if (b->bytes < head_bytes || b->bytes % 4)
        return beyond(b, 0, "bytes", b->bytes, head_bytes);
    if (bl_load_u32(b->data) != magic)
        return bad(b, 0, "magic", bl_load_u32(b->data), magic == BL_XQ_MAGIC ? "'BLXQ'" : magic == BL_XQ_INPUT_MAGIC ? "'BLXI'" : "'BLXX'");
    if (bl_load_u16(b->data + 4) != BL_XQ_VERSION)
        return beyond(b, 4, "version", bl_load_u16(b->data + 4), BL_XQ_VERSION);
    return check_exponent(b, 6, (int16_t)bl_load_u16(b->data + 6));
}

/* ---- matrices ---- */

static bl_status check_levels(const struct blob *b, uint64_t at, uint32_t n, uint32_t most)
{
    for (uint32_t i = 0; i < n; i++) {
        if (b->data[at + i] == 0 || b->data[at + i] > most)
            return beyond(b, at + i, "level", b->data[at + i], most);
        if (i && b->data[at + i] < b->data[at + i - 1])
            return bad(b, at + i, "level", b->data[at + i], "levels ascend");
    }
    return BL_OK;
}

static bool is_unit_ok(float unit)
{
    return unit >= 0x1p-100f && unit <= 0x1p100f;
}

/* The segments of a row block fill its blocks of columns, in bounds; and its tiles lie inside the blob. */
static bl_status check_row_block(const struct blob *b, const struct bl_xq_header *h, uint32_t index)
{
    const struct bl_xq_row_block *r = bl_xq_row_blocks(h) + index;
    const uint64_t at = (uint64_t)((const uint8_t *)r - b->data);
    const uint32_t end_row = index + 1 < h->n_row_blocks ? r[1].first_row : h->rows;
    if (r->first_row % BL_XQ_UNIT || (index == 0 && r->first_row) || r->first_row >= end_row || end_row > h->rows)
        return bad(b, at, "first row", r->first_row, "ascending multiples of 32 from 0, below the rows");
    if (r->n_segments == 0 || r->n_segments > BL_XQ_MAX_SEGMENTS)
        return beyond(b, at + 8, "segments of a row block", r->n_segments, BL_XQ_MAX_SEGMENTS);
    if (r->first_segment > h->n_segments || r->n_segments > h->n_segments - r->first_segment)
        return beyond(b, at + 4, "first segment", r->first_segment, h->n_segments - r->n_segments);
    uint64_t blocks = 0, grouped = 0, words = BL_XQ_TILE / 4;
    for (uint32_t i = 0; i < r->n_segments; i++) {
        const struct bl_xq_segment *s = bl_xq_segments(h) + r->first_segment + i;
        const uint64_t place = (uint64_t)((const uint8_t *)s - b->data);
        if (s->n_blocks == 0)
            return bad(b, place, "blocks of a segment", 0, "at least 1");
        if (s->depth < 1 || s->depth > 8)
            return beyond(b, place + 2, "depth", s->depth, 8);
        if (s->flags & ~(unsigned)BL_XQ_GROUPED)
            return beyond(b, place + 3, "flags", s->flags, BL_XQ_GROUPED);
        if (!is_unit_ok(s->unit))
            return bad(b, place + 4, "unit (bits)", bl_load_u32(b->data + place + 4), "2^-100 to 2^100");
        blocks += s->n_blocks;
        grouped += s->flags & BL_XQ_GROUPED ? s->n_blocks : 0u;
        words += (uint64_t)s->n_blocks * BL_XQ_BLOCK_WORDS(s->depth);
    }
    words += grouped;
    if (blocks != h->blocks)
        return beyond(b, at, "blocks of a row block", blocks, h->blocks);
    if (grouped != r->n_grouped)
        return beyond(b, at + 12, "grouped blocks", r->n_grouped, grouped);
    if (words != r->stride)
        return beyond(b, at + 20, "stride", r->stride, words);
    const uint64_t tiles = (end_row - r->first_row + BL_XQ_TILE - 1) / BL_XQ_TILE, end = r->data + tiles * words;
    if (end > b->bytes / 4)
        return beyond(b, at + 16, "end of the tiles", end * 4, b->bytes);
    return BL_OK;
}

static bl_status check_outliers(const struct blob *b, const struct bl_xq_header *h)
{
    if (!h->n_outliers)
        return h->outliers ? beyond(b, AT(bl_xq_header, outliers), "place of no outliers", h->outliers, 0) : BL_OK;
    const uint64_t units = (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT, n = h->n_outliers;
    const uint64_t end = h->outliers + units + 1 + n + (n + 3) / 4;
    if (end > b->bytes / 4)
        return beyond(b, AT(bl_xq_header, outliers), "end of the outliers", end * 4, b->bytes);
    const uint32_t *start = (const uint32_t *)(const void *)b->data + h->outliers, *entry = start + units + 1;
    const uint8_t *row = (const uint8_t *)(entry + n);
    const uint64_t at = (uint64_t)h->outliers * 4;
    for (uint64_t u = 0; u <= units; u++)
        if (start[u] > n || (u == 0 ? start[u] != 0 : start[u] < start[u - 1]) || (u == units && start[u] != n))
            return beyond(b, at + 4 * u, "start of outliers", start[u], n);
    for (uint64_t u = 0; u < units; u++) {
        for (uint64_t e = start[u]; e < start[u + 1]; e++) {
            const uint32_t column = entry[e] & 0xffff;
            if (column >= 32 * h->blocks)
                return beyond(b, at + 4 * (units + 1 + e), "column of an outlier", column, 32 * (uint64_t)h->blocks - 1);
            if ((entry[e] >> 16 & 0x7c00) == 0x7c00)
                return bad(b, at + 4 * (units + 1 + e), "value of an outlier (bits)", entry[e] >> 16, "finite");
            if (row[e] >= BL_XQ_UNIT || u * BL_XQ_UNIT + row[e] >= h->rows)
                return beyond(b, at + 4 * (units + 1 + n) + e, "row of an outlier", u * BL_XQ_UNIT + row[e], h->rows - 1);
            if (e > start[u] && (row[e] < row[e - 1] || (row[e] == row[e - 1] && column <= (entry[e - 1] & 0xffff))))
                return bad(b, at + 4 * (units + 1 + e), "column of an outlier", column, "ascending rows and columns");
        }
    }
    return BL_OK;
}

bl_status bl_xq_check_matrix(const char *path, uint64_t offset, const char *what, const void *data, uint64_t bytes)
{
    const struct blob b = {path, what, offset, data, bytes};
    BL_TRY(check_head(&b, sizeof(struct bl_xq_header), BL_XQ_MAGIC));
    const struct bl_xq_header *h = data;
    if (h->columns == 0 || h->columns > BL_XQ_NO_COLUMN)
        return beyond(&b, AT(bl_xq_header, columns), "columns", h->columns, BL_XQ_NO_COLUMN);
    if (h->rows == 0 || h->rows > BL_LIMIT_ELEMENTS / h->columns || h->rows > UINT32_MAX - BL_XQ_UNIT)
        return bad(&b, AT(bl_xq_header, rows), "rows", h->rows, "1 to the elements of a tensor");
    if (h->blocks != (h->columns + 31) / 32 || h->blocks > BL_XQ_MAX_BLOCKS)
        return beyond(&b, AT(bl_xq_header, blocks), "blocks", h->blocks, (h->columns + 31) / 32);
    if (h->n_row_blocks == 0 || h->n_row_blocks > BL_XQ_MAX_ROW_BLOCKS)
        return beyond(&b, AT(bl_xq_header, n_row_blocks), "row blocks", h->n_row_blocks, BL_XQ_MAX_ROW_BLOCKS);
    if (h->n_segments == 0 || h->n_segments > BL_XQ_MAX_ROW_BLOCKS * BL_XQ_MAX_SEGMENTS)
        return beyond(&b, AT(bl_xq_header, n_segments), "segments", h->n_segments, BL_XQ_MAX_ROW_BLOCKS * BL_XQ_MAX_SEGMENTS);
    const uint64_t tables = sizeof *h + h->n_row_blocks * sizeof(struct bl_xq_row_block) + h->n_segments * sizeof(struct bl_xq_segment);
    if (tables > bytes)
        return beyond(&b, AT(bl_xq_header, n_segments), "bytes of the tables", tables, bytes);
    BL_TRY(check_levels(&b, AT(bl_xq_header, half2), 2, BL_XQ_LEVEL2));
    BL_TRY(check_levels(&b, AT(bl_xq_header, half3), 4, BL_XQ_LEVEL3));
    BL_TRY(check_levels(&b, AT(bl_xq_header, half4), 8, BL_XQ_LEVEL4));
    BL_TRY(check_levels(&b, AT(bl_xq_header, half5), 16, BL_XQ_LEVEL5));
    if (h->reserved[0] || h->reserved[1])
        return beyond(&b, AT(bl_xq_header, reserved), "reserved bytes", h->reserved[0] ? h->reserved[0] : h->reserved[1], 0);
    for (uint32_t i = 0; i < h->n_row_blocks; i++)
        BL_TRY(check_row_block(&b, h, i));
    return check_outliers(&b, h);
}

/* ---- inputs ---- */

bl_status bl_xq_check_input(const char *path, uint64_t offset, const char *what, const void *data, uint64_t bytes)
{
    const struct blob b = {path, what, offset, data, bytes};
    BL_TRY(check_head(&b, sizeof(struct bl_xq_input), BL_XQ_INPUT_MAGIC));
    const struct bl_xq_input *in = data;
    if (in->columns == 0 || in->columns > BL_XQ_NO_COLUMN)
        return beyond(&b, AT(bl_xq_input, columns), "columns", in->columns, BL_XQ_NO_COLUMN);
    if (in->blocks != (in->columns + 31) / 32 || in->blocks > BL_XQ_MAX_BLOCKS)
        return beyond(&b, AT(bl_xq_input, blocks), "blocks", in->blocks, (in->columns + 31) / 32);
    if (in->reserved[0] || in->reserved[1])
        return beyond(&b, AT(bl_xq_input, reserved), "reserved bytes", in->reserved[0] ? in->reserved[0] : in->reserved[1], 0);
    if (bytes != sizeof *in + 96 * (uint64_t)in->blocks)
        return beyond(&b, 0, "bytes", bytes, sizeof *in + 96 * (uint64_t)in->blocks);
    const uint16_t *perm = (const uint16_t *)(const void *)(in + 1);
    uint8_t seen[(BL_XQ_NO_COLUMN + 8) / 8] = {0};
    uint32_t n = 0;
    for (uint32_t c = 0; c < 32 * in->blocks; c++) {
        if (perm[c] == BL_XQ_NO_COLUMN)
            continue;
        if (perm[c] >= in->columns || seen[perm[c] / 8] >> perm[c] % 8 & 1)
            return beyond(&b, sizeof *in + 2 * (uint64_t)c, "column of the permutation", perm[c], in->columns - 1);
        seen[perm[c] / 8] |= (uint8_t)(1u << perm[c] % 8);
        n++;
    }
    if (n != in->columns)
        return beyond(&b, sizeof *in, "columns in the permutation", n, in->columns);
    return BL_OK;
}

bl_status bl_xq_check_index(const char *path, uint64_t offset, const void *data, uint64_t bytes, uint32_t n_tensors)
{
    const struct blob b = {path, BL_XQ_INDEX_NAME, offset, data, bytes};
    BL_TRY(check_head(&b, sizeof(struct bl_xq_index), BL_XQ_INDEX_MAGIC));
    const struct bl_xq_index *index = data;
    if (index->n_tensors != n_tensors)
        return beyond(&b, AT(bl_xq_index, n_tensors), "tensors", index->n_tensors, n_tensors);
    if (bytes != sizeof *index + 8 * (uint64_t)n_tensors)
        return beyond(&b, 0, "bytes", bytes, sizeof *index + 8 * (uint64_t)n_tensors);
    return BL_OK;
}

uint64_t bl_xq_checksum(const void *data, uint64_t bytes)
{
    const uint8_t *p = data;
    return bl_hash_bytes(bl_load_u64(p), p + 16, (size_t)bytes - 16);
}

void bl_xq_histogram(const void *matrix, uint64_t bytes, struct bl_xq_histogram *out)
{
    const struct bl_xq_header *h = matrix;
    *out = (struct bl_xq_histogram){.bits = bytes * 8};
    for (uint32_t i = 0; i < h->n_row_blocks; i++) {
        const struct bl_xq_row_block *r = bl_xq_row_blocks(h) + i;
        const uint64_t rows = (i + 1 < h->n_row_blocks ? r[1].first_row : h->rows) - r->first_row;
        for (uint32_t s = 0; s < r->n_segments; s++) {
            const struct bl_xq_segment *segment = bl_xq_segments(h) + r->first_segment + s;
            out->weights[segment->depth] += rows * 32 * segment->n_blocks;
            if (segment->flags & BL_XQ_GROUPED)
                out->grouped[segment->depth] += rows * 32 * segment->n_blocks;
        }
    }
}
