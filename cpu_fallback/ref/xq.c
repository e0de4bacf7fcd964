/* ref/xq.c: X-bit weights: what the bits of a blob mean, its products, its rows as embeddings, and `stage`, which permutes and scales their
 * input. The only place besides body/xq.h that knows the planes; trusts the blob, which the reader has checked (model/xq.c). */
#include "cpu_fallback/ref/ref.h"

#include "hal/xq.h"

/* One row of a matrix: its tile of 8 rows, and what stands for all of its columns. */
struct xq_row {
    const struct bl_xq_header *header;
    const struct bl_xq_segment *segments;
    const uint32_t *tile;    /* row scales, group scales, codes */
    uint32_t n_segments, n_grouped, lane, row;
};

static float scale_value(uint8_t s, int32_t exponent)
{
#define MANTISSA(i, value) value,
    static const float mantissas[16] = {BL_XQ_MANTISSAS(MANTISSA)};
#undef MANTISSA
    return s ? mantissas[s % 16] * bl_bits_f32((uint32_t)(exponent + s / 16 + 127) << 23) : 0.0f;
}

static struct xq_row row_at(const void *blob, uint32_t row)
{
    const struct bl_xq_header *h = blob;
    const struct bl_xq_row_block *b = bl_xq_row_blocks(h);
    while (b + 1 < bl_xq_row_blocks(h) + h->n_row_blocks && b[1].first_row <= row)
        b++;
    const uint32_t in_block = row - b->first_row;
    return (struct xq_row){h, bl_xq_segments(h) + b->first_segment, (const uint32_t *)blob + b->data + (size_t)(in_block / BL_XQ_TILE) * b->stride,
                           b->n_segments, b->n_grouped, in_block % BL_XQ_TILE, row};
}

static float row_scale(const struct xq_row *row)
{
    return scale_value((uint8_t)(row->tile[row->lane / 4] >> row->lane % 4 * 8), row->header->row_exponent);
}

/* Bits first .. first + n of the byte that holds column c of this row, in a plane whose words come 8 to a quad of columns. */
static uint32_t field(const uint32_t *plane, uint32_t quad, uint32_t lane, uint32_t c, uint32_t first, uint32_t n)
{
    return plane[8 * quad + lane] >> (c % 4 * 8 + first) & ((1u << n) - 1);
}

static uint32_t field4(const uint32_t *plane, uint32_t lane, uint32_t c)
{
    return field(plane, c / 4 % 4, lane, c, c / 16 * 4, 4);
}

static uint32_t field2(const uint32_t *plane, uint32_t lane, uint32_t c)
{
    return field(plane, c / 4 % 2, lane, c, c / 8 * 2, 2);
}

static uint32_t field1(const uint32_t *plane, uint32_t lane, uint32_t c)
{
    return field(plane, 0, lane, c, c / 4, 1);
}

static uint32_t code_at(const uint32_t *block, uint32_t depth, uint32_t lane, uint32_t c)
{
    switch (depth) {
    case 1: return field1(block, lane, c);
    case 2: return field2(block, lane, c);
    case 3: return field2(block, lane, c) | field1(block + 16, lane, c) << 2;
    case 4: return field4(block, lane, c);
    case 5: return field4(block, lane, c) | field1(block + 32, lane, c) << 4;
    case 6: return field4(block, lane, c) | field2(block + 32, lane, c) << 4;
    case 7: return field4(block, lane, c) | field2(block + 32, lane, c) << 4 | field1(block + 48, lane, c) << 6;
    default: return field4(block, lane, c) | field4(block + 32, lane, c) << 4;
    }
}

/* The half table mirrored: codes below n are the negative levels, the largest first. */
static int32_t mirrored(const uint8_t *half, uint32_t n, uint32_t code)
{
    return code < n ? -(int32_t)half[n - 1 - code] : (int32_t)half[code - n];
}

static int32_t level_at(const struct bl_xq_header *h, uint32_t depth, uint32_t code)
{
    switch (depth) {
    case 2: return mirrored(h->half2, 2, code);
    case 3: return mirrored(h->half3, 4, code);
    case 4: return mirrored(h->half4, 8, code);
    case 5: return code < 16 ? (int32_t)h->half5[code] : -(int32_t)h->half5[code - 16];
    default: return 2 * (int32_t)code + 1 - (1 << depth);
    }
}

/* Walks the blocks of a row in ascending order. */
struct xq_block {
    const uint32_t *codes;
    uint32_t depth, grouped_index, segment, left; /* blocks left in the segment */
    int32_t m;
    float unit;
};

static void first_block(const struct xq_row *row, struct xq_block *b)
{
    *b = (struct xq_block){.codes = row->tile + 2 + row->n_grouped};
}

static void next_block(const struct xq_row *row, struct xq_block *b)
{
    b->codes += BL_XQ_BLOCK_WORDS(b->depth); /* of the block before; depth 0 at the start */
    if (!b->left)
        b->left = row->segments[b->segment++].n_blocks;
    const struct bl_xq_segment *s = &row->segments[b->segment - 1];
    b->left--;
    b->depth = s->depth;
    b->unit = s->unit;
    b->m = 1;
    if (s->flags & BL_XQ_GROUPED)
        b->m = (int32_t)(BL_XQ_GROUP_BASE + (row->tile[2 + b->grouped_index++] >> row->lane * 4 & 15));
}

/* The outliers of a row: a range of entries. */
static uint32_t outliers_of(const struct xq_row *row, const uint32_t **entries)
{
    const struct bl_xq_header *h = row->header;
    if (!h->n_outliers)
        return 0;
    const uint32_t *start = (const uint32_t *)(const void *)h + h->outliers, unit = row->row / BL_XQ_UNIT;
    const uint32_t *entry = start + (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT + 1;
    const uint8_t *rows = (const uint8_t *)(entry + h->n_outliers);
    uint32_t first = start[unit], end;
    while (first < start[unit + 1] && rows[first] < row->row % BL_XQ_UNIT)
        first++;
    for (end = first; end < start[unit + 1] && rows[end] == row->row % BL_XQ_UNIT;)
        end++;
    *entries = entry + first;
    return end - first;
}

static float outlier_value(uint32_t entry)
{
    return bl_f16_to_f32((uint16_t)(entry >> 16));
}

float bl_ref_xq_dot_f32(const struct linear_tile *t, uint32_t i, const float *x)
{
    const struct xq_row row = row_at(t->weights, t->first_row + i);
    struct ref_sum sum = {{0}};
    struct xq_block b;
    first_block(&row, &b);
    for (uint32_t c0 = 0; c0 < t->k; c0 += 32) {
        next_block(&row, &b);
        for (uint32_t c = 0; c < 32; c++) {
            const int32_t level = level_at(row.header, b.depth, code_at(b.codes, b.depth, row.lane, c));
            ref_sum_add(&sum, c, x[c0 + c] * (b.unit * (float)(b.m * level)));
        }
    }
    float acc = row_scale(&row) * ref_sum_total(&sum);
    const uint32_t *entries, n = outliers_of(&row, &entries);
    for (uint32_t e = 0; e < n; e++)
        acc = acc + outlier_value(entries[e]) * x[entries[e] & 0xffff];
    return acc;
}

static float plane_term(const struct xq_row *row, const struct xq_block *b, const struct bl_q8_plane *x, float d)
{
    int32_t isum = 0;
    for (uint32_t c = 0; c < 32; c++)
        isum += level_at(row->header, b->depth, code_at(b->codes, b->depth, row->lane, c)) * x->q[c];
    return (d * b->unit) * (float)(b->m * isum);
}

float bl_ref_xq_dot_q8(const struct linear_tile *t, uint32_t i, const struct bl_q8_block *x)
{
    const struct xq_row row = row_at(t->weights, t->first_row + i);
    const float threshold = q8_threshold(x, t->k / 32, BL_XQ_DOMINANT);
    float acc = 0;
    struct xq_block b;
    first_block(&row, &b);
    for (uint32_t j = 0; j < t->k / 32; j++) {
        next_block(&row, &b);
        acc = acc + plane_term(&row, &b, &x[j].coarse, x[j].d);
        if (x[j].d > threshold)
            acc = acc + plane_term(&row, &b, &x[j].fine, x[j].d * BL_Q8_FINE);
    }
    acc = row_scale(&row) * acc;
    const uint32_t *entries, n = outliers_of(&row, &entries);
    for (uint32_t e = 0; e < n; e++) {
        const uint32_t c = entries[e] & 0xffff;
        const struct bl_q8_block *block = &x[c / 32];
        acc = acc + outlier_value(entries[e]) * (block->d * (float)block->coarse.q[c % 32] + (block->d * BL_Q8_FINE) * (float)block->fine.q[c % 32]);
    }
    return acc;
}

/* ---- inputs ---- */

static const uint16_t *input_perm(const struct bl_xq_input *input)
{
    return (const uint16_t *)(const void *)(input + 1);
}

static float input_scale(const struct bl_xq_input *input, uint32_t c)
{
    return scale_value(((const uint8_t *)(input_perm(input) + 32 * input->blocks))[c], input->exponent);
}

static void stage(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool to_q8)
{
    const struct bl_params_stage *p = call->push;
    const struct bl_xq_input *input = call->bindings[2];
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_STAGE_X, TILE_STAGE_Y, p->blocks, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            for (uint32_t b = t.x0; b < t.x1; b++) {
                float y[32];
                for (uint32_t c = 0; c < 32; c++) {
                    const uint16_t from = input_perm(input)[32 * b + c];
                    y[c] = from == BL_XQ_NO_COLUMN ? 0.0f : x[from] * input_scale(input, 32 * b + c);
                }
                if (to_q8)
                    bl_ref_quantize_block(y, 32, (struct bl_q8_block *)call->bindings[3] + (size_t)r * p->blocks + b);
                else
                    for (uint32_t c = 0; c < 32; c++)
                        ((float *)call->bindings[3])[((size_t)r * p->blocks + b) * 32 + c] = y[c];
            }
        }
    }
}

void bl_stage_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    stage(call, first, last, false);
}

void bl_stage_q8_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    stage(call, first, last, true);
}

/* ---- embed ---- */

static float correction(const struct xq_row *row, uint32_t c)
{
    const uint32_t *entries, n = outliers_of(row, &entries);
    for (uint32_t e = 0; e < n; e++)
        if ((entries[e] & 0xffff) == c)
            return outlier_value(entries[e]);
    return 0.0f;
}

/* Stored columns c0 .. c1 of one row, at their places in y. */
static void embed_row(const struct xq_row *row, const struct bl_xq_input *input, uint32_t c0, uint32_t c1, float *y)
{
    const float r = row_scale(row);
    struct xq_block b;
    first_block(row, &b);
    for (uint32_t c = 0; c < c1; c++) {
        if (c % 32 == 0)
            next_block(row, &b);
        const uint16_t to = input_perm(input)[c];
        if (c < c0 || to == BL_XQ_NO_COLUMN)
            continue;
        const float w = r * (b.unit * (float)(b.m * level_at(row->header, b.depth, code_at(b.codes, b.depth, row->lane, c % 32))));
        y[to] = (w + correction(row, c)) * input_scale(input, c);
    }
}

/* A matrix of X-bit rows is never fetched in pieces: the blob is one binding. */
void bl_embed_bx_f32_c(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_embed *p = call->push;
    const struct bl_xq_input *input = call->bindings[2];
    const uint32_t *step = step_of(call);
    const uint32_t ids = p->source ? (uint32_t)BL_STEP_POS : (uint32_t)BL_STEP_TOKEN;
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_EMBED_X, TILE_EMBED_Y, 32 * input->blocks, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            float *y = (float *)call->bindings[3] + (size_t)r * p->columns;
            if (step[ids + r] < p->n_ids) {
                const struct xq_row row = row_at(call->bindings[1], step[ids + r]);
                embed_row(&row, input, t.x0, t.x1, y);
                continue;
            }
            for (uint32_t c = t.x0; c < t.x1; c++)
                if (input_perm(input)[c] != BL_XQ_NO_COLUMN)
                    y[input_perm(input)[c]] = 0.0f;
        }
    }
}
