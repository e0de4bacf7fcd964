/* body/xq_floats.h: X-bit weights as floats: matvec and matmul with f32 activations, embed; and `stage`, which makes their inputs. Definitions:
 * ref/xq.c. A tile of 8 rows is unpacked to rows of floats, which are then multiplied as those of any format. */
#ifndef BL_CPU_BODY_XQ_FLOATS_H
#define BL_CPU_BODY_XQ_FLOATS_H
#include "cpu_fallback/body/dot_rows.h"
#include "cpu_fallback/body/glu.h"
#include "cpu_fallback/body/xq.h"

/* A run of n blocks of one depth: rows lane .. lane + lanes of the tile, without the scales of rows; out[row * stride + column]. */
static INLINE void xq_run_floats(uint32_t depth, const struct bl_xq_header *h, const struct bl_xq_segment *seg, uint32_t n, struct xq_cursor at,
                                 uint32_t lane, uint32_t lanes, float *out, size_t stride)
{
    const struct xq_facts facts = xq_facts_of(depth);
    const struct xq_levels levels = xq_levels_of(depth, h);
    const bool grouped = seg->flags & BL_XQ_GROUPED;
    for (uint32_t i = 0; i < n; i++, at.codes += 32 * depth, out += 32) {
        struct xq_panel panel;
        xq_unpack(depth, at.codes, &levels, &panel);
        for (int q = 0; facts.planes == 2 && q < 8; q++)
            panel.w[0][q] = vb_or(panel.w[0][q], vb_place(panel.w[1][q], 4));
        vb_transpose(panel.w[0]);
        for (uint32_t r = lane; r < lane + lanes; r++) {
            uint8_t stored[32];
            vb_store(stored, panel.w[0][r]);
            const vf m = vf_set1(grouped ? (float)(BL_XQ_GROUP_BASE + (at.groups[i] >> 4 * r & 15)) : 1.0f);
            for (uint32_t c = 0; c < 32; c += 8) { /* integers, exact, up to the unit */
                const vf level = vf_sub(vf_mul(vf_set1((float)facts.factor), facts.is_signed && !VSUM_BIAS ? vf_load_s8(stored + c) : vf_load_u8(stored + c)),
                                        vf_set1((float)facts.offset));
                vf_store(out + (r - lane) * stride + c, vf_mul(vf_set1(seg->unit), vf_mul(m, level)));
            }
        }
    }
}

typedef void xq_floats_fn(const struct bl_xq_header *h, const struct bl_xq_segment *seg, uint32_t n, struct xq_cursor at, uint32_t lane, uint32_t lanes,
                          float *out, size_t stride);
#define XQ_FLOATS(depth) \
    static void xq_floats##depth(const struct bl_xq_header *h, const struct bl_xq_segment *seg, uint32_t n, struct xq_cursor at, uint32_t lane, \
                                 uint32_t lanes, float *out, size_t stride) \
    { \
        xq_run_floats(depth, h, seg, n, at, lane, lanes, out, stride); \
    }
XQ_PER_DEPTH(XQ_FLOATS)
#undef XQ_FLOATS
#define XQ_FLOATS(depth) xq_floats##depth,
static xq_floats_fn *const xq_floats_fns[8] = {XQ_PER_DEPTH(XQ_FLOATS)};
#undef XQ_FLOATS

/* Blocks first .. last of rows lane .. lane + lanes of the tile of `row`. */
static INLINE void xq_floats(const struct bl_xq_header *h, uint32_t row, uint32_t first, uint32_t last, uint32_t lane, uint32_t lanes, float *out,
                             size_t stride)
{
    const struct bl_xq_row_block *b = xq_row_block(h, row);
    struct xq_cursor at = xq_cursor_at(b, xq_tile_at(h, b, row));
    const struct bl_xq_segment *seg = bl_xq_segments(h) + b->first_segment;
    for (uint32_t begin = 0; begin < last; begin += seg->n_blocks, seg++) {
        const uint32_t end = begin + seg->n_blocks, from = begin > first ? begin : first, to = min_u32(end, last);
        const uint32_t skip = min_u32(from - begin, seg->n_blocks);
        const uint32_t grouped = seg->flags & BL_XQ_GROUPED ? 1 : 0, bytes = 32u * seg->depth;
        if (from < to)
            xq_floats_fns[seg->depth - 1](h, seg, to - from, (struct xq_cursor){at.groups + skip * grouped, at.codes + (size_t)skip * bytes}, lane, lanes,
                                          out + (size_t)(from - first) * 32, stride);
        at.codes += (size_t)seg->n_blocks * bytes;
        at.groups += seg->n_blocks * grouped;
    }
}

/* ---- linear ---- */

enum { XQ_GLU_FLOATS = 2 * (int)BL_STEP_MAX_ROWS * TILE_LINEAR_X };

/* n rows of activations from r on against the 8 rows at `weights`. */
static INLINE void xq_outputs_f32(const struct linear_tile *t, uint32_t n0, int n, uint32_t r, const float *x, const float *weights, vf scale,
                                  const struct xq_outliers *outliers)
{
    float out[8 / WEIGHT_ROWS][ACTIVATION_ROWS][WEIGHT_ROWS];
    x += (size_t)r * t->k;
    for (uint32_t i = 0; i < 8; i += WEIGHT_ROWS)
        dot_rows(n, weights + (size_t)i * t->k, t->k, x, t->k, out[i / WEIGHT_ROWS]);
    for (uint32_t j = 0; j < (uint32_t)n; j++) {
        float lanes[8];
        for (uint32_t i = 0; i < 8; i++)
            lanes[i] = out[i / WEIGHT_ROWS][j][i % WEIGHT_ROWS];
        vf_store(lanes, vf_mul(scale, vf_load(lanes)));
        for (uint32_t e = 0; e < outliers->n; e++) {
            float *y = &lanes[outliers->rows[e] % 8];
            *y = *y + xq_outlier_value(outliers->entries[e]) * x[(size_t)j * t->k + xq_outlier_column(outliers->entries[e])];
        }
        store_group(t, r + j, n0, vf_load(lanes));
    }
}

static INLINE void xq_tile_f32(const struct linear_tile *t, const float *x, float *weights)
{
    const struct bl_xq_header *h = (const struct bl_xq_header *)(const void *)t->weights;
    for (uint32_t n0 = t->n0; n0 < t->n1; n0 += 8) {
        const uint32_t row = t->first_row + n0;
        const struct xq_outliers outliers = xq_outliers_of(h, row, 8);
        const struct bl_xq_row_block *b = xq_row_block(h, row);
        const vf scale = xq_scales((const uint8_t *)xq_tile_at(h, b, row), h->row_exponent);
        xq_floats(h, row, 0, t->k / 32, 0, 8, weights, t->k);
        uint32_t r = 0;
        for (; r + ACTIVATION_ROWS <= t->m; r += ACTIVATION_ROWS)
            xq_outputs_f32(t, n0, ACTIVATION_ROWS, r, x, weights, scale, &outliers);
        for (; r < t->m; r++)
            xq_outputs_f32(t, n0, 1, r, x, weights, scale, &outliers);
    }
}

void LEVEL_NAME(linear_bx_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    const struct bl_params_linear *p = call->push;
    float(*sides)[BL_STEP_MAX_ROWS][TILE_LINEAR_X] = scratch, *weights = (float *)scratch + (p->glu ? XQ_GLU_FLOATS : 0);
    struct linear_tile t;
    for (uint32_t index = first; index < last; index++) {
        if (!linear_tile_at(call, index, &t))
            continue;
        if (!p->glu) {
            xq_tile_f32(&t, call->bindings[1], weights);
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const struct linear_tile half = linear_glu_side(call, &t, side, sides[side][0]);
            xq_tile_f32(&half, call->bindings[1], weights);
        }
        glu_tile(p->glu, &t, sides);
    }
}

size_t LEVEL_NAME(linear_bx_f32_scratch)(const void *push)
{
    const struct bl_params_linear *p = push;
    return ((size_t)p->k * 8 + (p->glu ? XQ_GLU_FLOATS : 0)) * sizeof(float);
}

/* ---- inputs ---- */

static INLINE const uint16_t *xq_perm(const struct bl_xq_input *input)
{
    return (const uint16_t *)(const void *)(input + 1);
}

/* The scales of stored columns c .. c + 7. */
static INLINE vf xq_column_scales(const struct bl_xq_input *input, uint32_t c)
{
    return xq_scales((const uint8_t *)(xq_perm(input) + 32 * input->blocks) + c, input->exponent);
}

static INLINE void xq_stage(const struct bl_cpu_call *call, uint32_t first, uint32_t last, bool to_q8)
{
    const struct bl_params_stage *p = call->push;
    const struct bl_xq_input *input = call->bindings[2];
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_STAGE_X, TILE_STAGE_Y, p->blocks, rows_of(call, p->rows));
        for (uint32_t r = t.y0; r < t.y1; r++) {
            const float *x = (const float *)call->bindings[1] + (size_t)r * p->columns;
            for (uint32_t b = t.x0; b < t.x1; b++) {
                float moved[32];
                vf y[4];
                for (uint32_t c = 0; c < 32; c++) {
                    const uint16_t from = xq_perm(input)[32 * b + c];
                    moved[c] = from == BL_XQ_NO_COLUMN ? 0.0f : x[from];
                }
                for (uint32_t i = 0; i < 4; i++)
                    y[i] = vf_mul(vf_load(moved + 8 * i), xq_column_scales(input, 32 * b + 8 * i));
                const size_t at = (size_t)r * p->blocks + b;
                if (to_q8)
                    store_q8_block(y, (struct bl_q8_block *)call->bindings[3] + at);
                for (uint32_t i = 0; !to_q8 && i < 4; i++)
                    vf_store((float *)call->bindings[3] + 32 * at + 8 * i, y[i]);
            }
        }
    }
}

void LEVEL_NAME(stage_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    xq_stage(call, first, last, false);
}

void LEVEL_NAME(stage_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    xq_stage(call, first, last, true);
}

/* ---- embed ---- */

/* Stored columns c0 .. c1 of one row, at their places in y. */
static INLINE void xq_embed_row(const struct bl_xq_header *h, const struct bl_xq_input *input, uint32_t row, uint32_t c0, uint32_t c1, float *weights,
                                float *y)
{
    const struct bl_xq_row_block *b = xq_row_block(h, row);
    const uint32_t lane = (row - b->first_row) % BL_XQ_TILE;
    const struct xq_outliers outliers = xq_outliers_of(h, row, 1);
    float scales[8];
    vf_store(scales, xq_scales((const uint8_t *)xq_tile_at(h, b, row), h->row_exponent));
    xq_floats(h, row, c0 / 32, c1 / 32, lane, 1, weights, 0);
    uint32_t e = 0;
    while (e < outliers.n && xq_outlier_column(outliers.entries[e]) < c0)
        e++;
    for (uint32_t c = c0; c < c1; c += 8) {
        float corrections[8] = {0}, lanes[8];
        for (; e < outliers.n && xq_outlier_column(outliers.entries[e]) < c + 8; e++)
            corrections[xq_outlier_column(outliers.entries[e]) % 8] = xq_outlier_value(outliers.entries[e]);
        const vf w = vf_mul(vf_set1(scales[lane]), vf_load(weights + (c - c0)));
        vf_store(lanes, vf_mul(vf_add(w, vf_load(corrections)), xq_column_scales(input, c)));
        for (uint32_t i = 0; i < 8; i++)
            if (xq_perm(input)[c + i] != BL_XQ_NO_COLUMN)
                y[xq_perm(input)[c + i]] = lanes[i];
    }
}

/* A matrix of X-bit rows is never fetched in pieces: the blob is one binding. */
void LEVEL_NAME(embed_bx_f32)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    const struct bl_params_embed *p = call->push;
    const struct bl_xq_input *input = call->bindings[2];
    const uint32_t *ids = step_of(call) + (p->source ? BL_STEP_POS : BL_STEP_TOKEN);
    for (uint32_t index = first; index < last; index++) {
        struct tile t = tile_at(call, index, TILE_EMBED_X, TILE_EMBED_Y, 32 * input->blocks, rows_of(call, BL_ROWS_OF_STEP));
        for (uint32_t r = t.y0; r < t.y1 && t.x0 < t.x1; r++) {
            float *y = (float *)call->bindings[3] + (size_t)r * p->columns;
            if (ids[r] < p->n_ids) {
                xq_embed_row(call->bindings[1], input, ids[r], t.x0, t.x1, scratch, y);
                continue;
            }
            for (uint32_t c = t.x0; c < t.x1; c++)
                if (xq_perm(input)[c] != BL_XQ_NO_COLUMN)
                    y[xq_perm(input)[c]] = 0.0f;
        }
    }
}
_Static_assert(TILE_EMBED_X % 32 == 0, "whole blocks");

size_t LEVEL_NAME(embed_bx_scratch)(const void *push)
{
    (void)push;
    return TILE_EMBED_X * sizeof(float);
}
#endif
