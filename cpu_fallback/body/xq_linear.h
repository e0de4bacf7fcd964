/* body/xq_linear.h: matvec and matmul with X-bit weights. One row of activations is multiplied straight from the planes, four tiles of 8
 * rows at once; several rows share blocks unpacked to bytes. With q8 activations; for f32 see xq_floats.h. */
#ifndef BL_CPU_BODY_XQ_LINEAR_H
#define BL_CPU_BODY_XQ_LINEAR_H
#include "cpu_fallback/body/glu.h"
#include "cpu_fallback/body/xq.h"

enum { XQ_CHUNK = 8, XQ_GROUPS = TILE_LINEAR_X / 8 }; /* blocks and tiles unpacked at once */
enum { XQ_SUMS_TILES = 4 }; /* tiles of a task from which on sums (xq.h) cost less than they save */

struct xq_scratch {
    struct xq_panel panels[XQ_GROUPS][XQ_CHUNK];
    vf acc[BL_STEP_MAX_ROWS][XQ_GROUPS];
    float threshold[BL_STEP_MAX_ROWS];
    float sides[2][BL_STEP_MAX_ROWS][TILE_LINEAR_X];
    bool has_sums;         /* the launch is worth them: one row of activations for many of weights */
    uint32_t first_sums;   /* blocks from here on have theirs */
    struct xq_sums sums[]; /* per block: of the coarse planes, then of the fine ones of dominant blocks */
};

/* What is computed from p on both sides of a branch is computed in each: merged, it would fill the registers. */
#define XQ_APART(p) __asm__("" : "+r"(p))

/* acc + (d * unit) * (float)(m * isum) */
static INLINE vf xq_add_term(vf acc, vf d_unit, bool grouped, vi m, vi isum)
{
    return vf_add(acc, vf_mul(d_unit, vf_from_vi(grouped ? vi_mul(m, isum) : isum)));
}

/* ---- one row of q8 ---- */

/* Tiles that are multiplied together: they share the broadcasts of the activations. next: what follows the tiles in memory; several streams
 * that jump every few hundred bytes defeat hardware prefetchers, so the tiles after these are asked for front to back, a little with each
 * block. Asking past the end of the matrix is harmless, hence an integer and not a pointer. */
struct xq_walk {
    struct xq_cursor at[XQ_TILES];
    vf acc[XQ_TILES];
    uintptr_t next;
    const struct xq_sums *sums[2]; /* of the next block, coarse and fine; for runs that use them */
};

/* A run of n blocks of one depth. */
static INLINE void xq_run_q8(uint32_t depth, bool grouped, const struct bl_xq_header *h, uint32_t n, float unit, const struct bl_q8_block *x,
                             float threshold, struct xq_walk *walk)
{
    const struct xq_levels levels = xq_levels_of(depth, h);
    const uint32_t step = XQ_TILES * (32 * depth + (grouped ? 4 : 0));
    const struct xq_cursor *at = walk->at;
    const uint8_t *codes[XQ_TILES];
    vf acc[XQ_TILES];
    for (int t = 0; t < XQ_TILES; t++) {
        codes[t] = at[t].codes;
        acc[t] = walk->acc[t];
    }
    for (uint32_t i = 0; i < n; i++) {
#pragma GCC unroll 17
        for (uint32_t byte = 0; byte < step; byte += 64)
            __builtin_prefetch((const void *)(walk->next + (uintptr_t)i * step + byte), 0, 2);
        const struct bl_q8_plane *planes[2] = {&x[i].coarse, &x[i].fine};
        vi isum[XQ_TILES][XQ_ROWS];
        if (x[i].d > threshold) {
            xq_dot(depth, XQ_TILES, 2, false, codes, &levels, NULL, planes, isum);
            for (int t = 0; t < XQ_TILES; t++) {
                const vi m = xq_group(grouped, grouped ? at[t].groups[i] : 0);
                acc[t] = xq_add_term(acc[t], vf_set1(x[i].d * unit), grouped, m, isum[t][0]);
                acc[t] = xq_add_term(acc[t], vf_set1((x[i].d * BL_Q8_FINE) * unit), grouped, m, isum[t][1]);
            }
        } else {
            for (int t = 0; t < XQ_TILES; t++)
                XQ_APART(codes[t]);
            XQ_APART(planes[0]);
            xq_dot(depth, XQ_TILES, 1, false, codes, &levels, NULL, planes, isum);
            for (int t = 0; t < XQ_TILES; t++)
                acc[t] = xq_add_term(acc[t], vf_set1(x[i].d * unit), grouped, xq_group(grouped, grouped ? at[t].groups[i] : 0), isum[t][0]);
        }
        for (int t = 0; t < XQ_TILES; t++)
            codes[t] += 32 * depth;
    }
    for (int t = 0; t < XQ_TILES; t++) {
        walk->at[t].codes = codes[t];
        walk->at[t].groups += grouped ? n : 0;
        walk->acc[t] = acc[t];
    }
    walk->next += (uintptr_t)n * step;
}

/* The same for depth 1, with sums. */
static INLINE void xq_run_sums(bool grouped, uint32_t n, float unit, const struct bl_q8_block *x, float threshold, struct xq_walk *walk)
{
    const uint32_t step = XQ_TILES * (grouped ? 36 : 32);
    const uint8_t *codes[XQ_TILES];
    vf acc[XQ_TILES];
    for (int t = 0; t < XQ_TILES; t++) {
        codes[t] = walk->at[t].codes;
        acc[t] = walk->acc[t];
    }
    for (uint32_t i = 0; i < n; i++) {
        vi isum[XQ_TILES];
        for (uint32_t byte = 0; byte < step; byte += 64)
            __builtin_prefetch((const void *)(walk->next + (uintptr_t)i * step + byte), 0, 2);
        xq_dot_sums(codes, &walk->sums[0][i], isum);
        for (int t = 0; t < XQ_TILES; t++)
            acc[t] = xq_add_term(acc[t], vf_set1(x[i].d * unit), grouped, xq_group(grouped, grouped ? walk->at[t].groups[i] : 0), isum[t]);
        if (x[i].d > threshold) {
            for (int t = 0; t < XQ_TILES; t++)
                XQ_APART(codes[t]);
            xq_dot_sums(codes, &walk->sums[1][i], isum);
            for (int t = 0; t < XQ_TILES; t++)
                acc[t] = xq_add_term(acc[t], vf_set1((x[i].d * BL_Q8_FINE) * unit), grouped, xq_group(grouped, grouped ? walk->at[t].groups[i] : 0),
                                     isum[t]);
        }
        for (int t = 0; t < XQ_TILES; t++)
            codes[t] += 32;
    }
    for (int t = 0; t < XQ_TILES; t++) {
        walk->at[t].codes = codes[t];
        walk->at[t].groups += grouped ? n : 0;
        walk->acc[t] = acc[t];
    }
    walk->next += (uintptr_t)n * step;
}

typedef void xq_run_fn(const struct bl_xq_header *h, uint32_t n, float unit, const struct bl_q8_block *x, float threshold, struct xq_walk *walk);

#define XQ_RUN(depth, name, grouped) \
    static void name##depth(const struct bl_xq_header *h, uint32_t n, float unit, const struct bl_q8_block *x, float threshold, \
                            struct xq_walk *walk) \
    { \
        xq_run_q8(depth, grouped, h, n, unit, x, threshold, walk); \
    }
#define XQ_RUNS(depth) XQ_RUN(depth, xq_run_plain, false) XQ_RUN(depth, xq_run_grouped, true)
XQ_PER_DEPTH(XQ_RUNS)
#undef XQ_RUNS
#undef XQ_RUN
#define XQ_RUNS(depth) {xq_run_plain##depth, xq_run_grouped##depth},
static xq_run_fn *const xq_run_fns[8][2] = {XQ_PER_DEPTH(XQ_RUNS)};
#undef XQ_RUNS

static void xq_sums_plain(const struct bl_xq_header *h, uint32_t n, float unit, const struct bl_q8_block *x, float threshold, struct xq_walk *walk)
{
    (void)h;
    xq_run_sums(false, n, unit, x, threshold, walk);
}

static void xq_sums_grouped(const struct bl_xq_header *h, uint32_t n, float unit, const struct bl_q8_block *x, float threshold, struct xq_walk *walk)
{
    (void)h;
    xq_run_sums(true, n, unit, x, threshold, walk);
}

static xq_run_fn *const xq_sums_fns[2] = {xq_sums_plain, xq_sums_grouped};

/* Most matrices are deepest at the front: sums are made from a block to the end. */
static INLINE void xq_make_sums(const struct bl_q8_block *x, uint32_t n_blocks, uint32_t first, struct xq_scratch *s)
{
    while (s->first_sums > first) {
        const uint32_t i = --s->first_sums;
        xq_sums_of(&x[i].coarse, &s->sums[i]);
        if (x[i].d > s->threshold[0])
            xq_sums_of(&x[i].fine, &s->sums[n_blocks + i]);
    }
}

static INLINE void xq_tiles_q8_row(const struct bl_xq_header *h, const struct bl_xq_row_block *b, uint32_t row, uint32_t groups,
                                   const struct bl_q8_block *x, uint32_t n_blocks, struct xq_scratch *s)
{
    for (uint32_t g = 0; g < groups; g += XQ_TILES) {
        const struct bl_q8_block *block = x;
        struct xq_walk walk = {.next = (uintptr_t)xq_tile_at(h, b, row + 8 * g) + 4 * (uintptr_t)XQ_TILES * b->stride};
        for (uint32_t t = 0; t < XQ_TILES; t++) { /* past the end, the last one again */
            walk.at[t] = xq_cursor_at(b, xq_tile_at(h, b, row + 8 * min_u32(g + t, groups - 1)));
            walk.acc[t] = vf_set1(0);
        }
        for (const struct bl_xq_segment *seg = bl_xq_segments(h) + b->first_segment, *end = seg + b->n_segments; seg < end; seg++) {
            const bool from_sums = seg->depth == 1 && s->has_sums;
            if (from_sums) {
                xq_make_sums(x, n_blocks, (uint32_t)(block - x), s);
                walk.sums[0] = s->sums + (block - x);
                walk.sums[1] = walk.sums[0] + n_blocks;
            }
            (from_sums ? xq_sums_fns : xq_run_fns[seg->depth - 1])[seg->flags & BL_XQ_GROUPED](h, seg->n_blocks, seg->unit, block, s->threshold[0], &walk);
            block += seg->n_blocks;
        }
        for (uint32_t t = 0; t < XQ_TILES; t++)
            s->acc[0][g + t] = walk.acc[t];
    }
}
_Static_assert(XQ_GROUPS % XQ_TILES == 0, "whole sets of tiles");

/* ---- several rows of q8 ---- */

/* n rows of activations against n_blocks panels of a tile. */
static INLINE void xq_dot_rows(uint32_t depth, int n, bool grouped, const struct xq_panel *p, uint32_t n_blocks, float unit, const struct bl_q8_block *x,
                               size_t x_stride, const float *threshold, vf (*out)[XQ_GROUPS])
{
    const struct bl_q8_plane *a[XQ_ROWS];
    vf acc[XQ_ROWS];
    for (int r = 0; r < n; r++)
        acc[r] = out[r][0];
    for (uint32_t i = 0; i < n_blocks; i++) {
        vi isum[1][XQ_ROWS];
        for (int r = 0; r < n; r++)
            a[r] = &x[(size_t)r * x_stride + i].coarse;
        xq_dot_panel(depth, n, p + i, a, isum);
        for (int r = 0; r < n; r++) {
            const struct bl_q8_block *block = &x[(size_t)r * x_stride + i];
            acc[r] = xq_add_term(acc[r], vf_set1(block->d * unit), grouped, p[i].m, isum[0][r]);
            if (block->d > threshold[r]) {
                const struct bl_q8_plane *fine = &block->fine;
                vi fine_sum[1][XQ_ROWS];
                xq_dot_panel(depth, 1, p + i, &fine, fine_sum);
                acc[r] = xq_add_term(acc[r], vf_set1((block->d * BL_Q8_FINE) * unit), grouped, p[i].m, fine_sum[0][0]);
            }
        }
    }
    for (int r = 0; r < n; r++)
        out[r][0] = acc[r];
}

/* n_blocks blocks of one depth, of `groups` tiles, against m rows. */
static INLINE void xq_chunk_q8(uint32_t depth, const struct bl_xq_header *h, bool grouped, uint32_t n_blocks, float unit, uint32_t groups,
                               struct xq_cursor *at, const struct bl_q8_block *x, size_t x_stride, uint32_t m, struct xq_scratch *s)
{
    const struct xq_levels levels = xq_levels_of(depth, h);
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t i = 0; i < n_blocks; i++) {
            xq_unpack(depth, at[g].codes + (size_t)32 * depth * i, &levels, &s->panels[g][i]);
            s->panels[g][i].m = xq_group(grouped, grouped ? at[g].groups[i] : 0);
        }
        at[g].codes += (size_t)32 * depth * n_blocks;
        at[g].groups += grouped ? n_blocks : 0;
    }
    uint32_t r = 0;
    for (; r + XQ_ROWS <= m; r += XQ_ROWS)
        for (uint32_t g = 0; g < groups; g++)
            xq_dot_rows(depth, XQ_ROWS, grouped, s->panels[g], n_blocks, unit, x + r * x_stride, x_stride, s->threshold + r,
                        (vf(*)[XQ_GROUPS])&s->acc[r][g]);
    for (; r < m; r++)
        for (uint32_t g = 0; g < groups; g++)
            xq_dot_rows(depth, 1, grouped, s->panels[g], n_blocks, unit, x + r * x_stride, x_stride, s->threshold + r, (vf(*)[XQ_GROUPS])&s->acc[r][g]);
}

typedef void xq_chunk_fn(const struct bl_xq_header *h, bool grouped, uint32_t n_blocks, float unit, uint32_t groups, struct xq_cursor *at,
                         const struct bl_q8_block *x, size_t x_stride, uint32_t m, struct xq_scratch *s);

#define XQ_CHUNK_FN(depth) \
    static void xq_chunk##depth(const struct bl_xq_header *h, bool grouped, uint32_t n_blocks, float unit, uint32_t groups, struct xq_cursor *at, \
                                const struct bl_q8_block *x, size_t x_stride, uint32_t m, struct xq_scratch *s) \
    { \
        xq_chunk_q8(depth, h, grouped, n_blocks, unit, groups, at, x, x_stride, m, s); \
    }
XQ_PER_DEPTH(XQ_CHUNK_FN)
#undef XQ_CHUNK_FN
#define XQ_CHUNK_FN(depth) xq_chunk##depth,
static xq_chunk_fn *const xq_chunk_fns[8] = {XQ_PER_DEPTH(XQ_CHUNK_FN)};
#undef XQ_CHUNK_FN

static INLINE void xq_tiles_q8_rows(const struct bl_xq_header *h, const struct bl_xq_row_block *b, uint32_t row, uint32_t groups,
                                    const struct bl_q8_block *x, size_t x_stride, uint32_t m, struct xq_scratch *s)
{
    struct xq_cursor at[XQ_GROUPS];
    for (uint32_t g = 0; g < groups; g++)
        at[g] = xq_cursor_at(b, xq_tile_at(h, b, row + 8 * g));
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t g = 0; g < groups; g++)
            s->acc[r][g] = vf_set1(0);
    for (const struct bl_xq_segment *seg = bl_xq_segments(h) + b->first_segment, *end = seg + b->n_segments; seg < end; seg++) {
        for (uint32_t done = 0; done < seg->n_blocks; done += XQ_CHUNK) {
            const uint32_t count = min_u32(XQ_CHUNK, seg->n_blocks - done);
            xq_chunk_fns[seg->depth - 1](h, seg->flags & BL_XQ_GROUPED, count, seg->unit, groups, at, x, x_stride, m, s);
            x += count;
        }
    }
}

/* What follows the blocks: the rows' scales, outliers, bias and residual. */
static INLINE void xq_finish_q8(const struct linear_tile *t, const struct bl_xq_header *h, const struct bl_xq_row_block *b, uint32_t row, uint32_t groups,
                                const struct bl_q8_block *x, struct xq_scratch *s)
{
    const struct xq_outliers outliers = xq_outliers_of_unit(h, row);
    const uint32_t n_blocks = t->k / 32;
    for (uint32_t g = 0; g < groups; g++) {
        const vf scale = xq_scales((const uint8_t *)xq_tile_at(h, b, row + 8 * g), h->row_exponent);
        for (uint32_t r = 0; r < t->m; r++)
            s->acc[r][g] = vf_mul(scale, s->acc[r][g]);
    }
    for (uint32_t r = 0; r < t->m; r++) {
        float lanes[TILE_LINEAR_X]; /* an outlier may lie below the last row that is asked for */
        for (uint32_t g = 0; outliers.n && g < XQ_GROUPS; g++)
            vf_store(lanes + 8 * g, g < groups ? s->acc[r][g] : vf_set1(0));
        for (uint32_t e = 0; e < outliers.n; e++) {
            const uint32_t c = xq_outlier_column(outliers.entries[e]);
            const struct bl_q8_block *block = &x[(size_t)r * n_blocks + c / 32];
            float *y = &lanes[outliers.rows[e]];
            *y = *y + xq_outlier_value(outliers.entries[e]) *
                      (block->d * (float)block->coarse.q[c % 32] + (block->d * BL_Q8_FINE) * (float)block->fine.q[c % 32]);
        }
        for (uint32_t g = 0; g < groups; g++)
            store_group(t, r, t->n0 + 8 * g, outliers.n ? vf_load(lanes + 8 * g) : s->acc[r][g]);
    }
}

static INLINE void xq_tile_q8(const struct linear_tile *t, const struct bl_q8_block *x, struct xq_scratch *s)
{
    const struct bl_xq_header *h = (const struct bl_xq_header *)(const void *)t->weights;
    const uint32_t row = t->first_row + t->n0, groups = (t->n1 - t->n0 + 7) / 8;
    const struct bl_xq_row_block *b = xq_row_block(h, row);
    if (t->m == 1)
        xq_tiles_q8_row(h, b, row, groups, x, t->k / 32, s);
    else
        xq_tiles_q8_rows(h, b, row, groups, x, t->k / 32, t->m, s);
    xq_finish_q8(t, h, b, row, groups, x, s);
}

void LEVEL_NAME(linear_bx_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    struct linear_tile t;
    struct xq_scratch *s = scratch;
    const struct bl_q8_block *x = call->bindings[1];
    const struct bl_params_linear *p = call->push;
    s->first_sums = p->k / 32;
    s->has_sums = XQ_HAS_SUMS && last - first >= XQ_SUMS_TILES;
    for (uint32_t r = 0; r < rows_of(call, p->rows); r++)
        s->threshold[r] = q8_threshold(x + (size_t)r * (p->k / 32), p->k / 32, BL_XQ_DOMINANT);
    for (uint32_t index = first; index < last; index++) {
        if (!linear_tile_at(call, index, &t))
            continue;
        if (!p->glu) {
            xq_tile_q8(&t, x, s);
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const struct linear_tile half = linear_glu_side(call, &t, side, s->sides[side][0]);
            xq_tile_q8(&half, x, s);
        }
        glu_tile(p->glu, &t, s->sides);
    }
}

size_t LEVEL_NAME(linear_bx_q8_scratch)(const void *push)
{
    const struct bl_params_linear *p = push; /* the rows are only known at run time */
    return sizeof(struct xq_scratch) + p->k / 32 * 2 * sizeof(struct xq_sums);
}
#endif
