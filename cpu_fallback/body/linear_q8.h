/* body/linear_q8.h: matvec and matmul with q8 activations. Eight rows of weights are unpacked to a panel where lane = output, so a dot needs
 * no horizontal sums: four activation bytes are broadcast, multiplied and added. One body for all formats and row classes: matvec unpacks
 * eight rows at a time (eight sequential streams of memory), matmul 32 (each activation row is loaded once for 32 outputs). */
#ifndef BL_CPU_BODY_LINEAR_Q8_H
#define BL_CPU_BODY_LINEAR_Q8_H
#include "cpu_fallback/body/glu.h"
#include "cpu_fallback/body/quants.h"

enum { CHUNK = 8, GROUPS = TILE_LINEAR_X / 8, DOT_ROWS = LEVEL_AT_ONCE }; /* panels (32 columns) and groups of eight outputs unpacked at once */

struct linear_scratch {
    struct panel panels[GROUPS][CHUNK];
    vf acc[BL_STEP_MAX_ROWS][GROUPS];
    float threshold[BL_STEP_MAX_ROWS];
    float sides[2][BL_STEP_MAX_ROWS][TILE_LINEAR_X]; /* gate and up of a tile, where the launch has a GLU */
};

/* acc[r] = acc[r] + d[r] * dot of 32 columns of one plane, for n rows of activations and eight outputs. */
static INLINE void dot_panel(uint32_t format, int n, const struct panel *p, const struct bl_q8_plane *const *a, const float *d, vf *acc)
{
    const struct quant_facts facts = facts_of(format);
    const vb ones = vp_set1(1);
    const vb first = facts.scales == 2 ? vp_firsts(p->scales) : p->scales;
    const vb second = facts.scales == 2 ? vp_seconds(p->scales) : first;
    const int offset = facts.is_signed ? VSUM_BIAS : facts.offset_bits ? 1 << facts.offset_bits : 0;
    const vb offsets = facts.scales ? vp_shift_left(p->scales, facts.offset_bits) : vp_set1(offset);
    const int length = VSUM_IS_WIDE ? 8 / (facts.scales == 2 ? 2 : 1) : facts.run;
    const vb mins = facts.scales && facts.e_at ? p->mins : ones;
    vi isum[DOT_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += length) {
        vsum run[DOT_ROWS];
#pragma GCC unroll 8
        for (int c = i; c < i + length; c++) {
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) {
                const vsum before = c == i ? vsum_zero() : run[r];
                run[r] = facts.is_signed ? vsum_add_s8(before, p->w[c], a[r]->q + 4 * c) : vsum_add_u8(before, p->w[c], a[r]->q + 4 * c);
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            vi total = facts.scales ? vsum_scaled(run[r], i < 4 ? first : second) : vsum_total(run[r]);
            isum[r] = i == 0 ? total : vi_add(isum[r], total);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++) {
        if (offset)
            isum[r] = vi_sub(isum[r], vp_dot(offsets, a[r]->sum));
        vf t = vf_mul(p->d, vf_from_vi(isum[r]));
        if (facts.e_at)
            t = vf_add(t, vf_mul(p->e, vf_from_vi(vp_dot(mins, a[r]->sum))));
        acc[r] = vf_add(acc[r], vf_mul(vf_set1(d[r]), t));
    }
}

/* Eight streams that jump to another row every few hundred bytes defeat hardware prefetchers. The next eight rows follow these in memory:
 * ask for them front to back, a little with each panel that is multiplied; more at once would fill the processor's line buffers and stop it.
 * Asking past the end of the matrix is harmless, hence an integer and not a pointer. */
static INLINE void prefetch_piece(uintptr_t from, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += 64)
        __builtin_prefetch((const void *)(from + at));
}

/* n rows of activations against one group's panels. Asks for next_bytes of memory per panel meanwhile, from `next` on. */
static INLINE void dot_panels(uint32_t format, int n, const struct panel *p, uint32_t n_panels, const struct bl_q8_block *x, size_t x_stride,
                              const float *threshold, vf *out, uintptr_t next, uint32_t next_bytes)
{
    const struct bl_q8_plane *a[DOT_ROWS];
    float d[DOT_ROWS];
    vf acc[DOT_ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        acc[r] = out[r * GROUPS];
    for (uint32_t i = 0; i < n_panels; i++) {
        prefetch_piece(next + i * next_bytes, next_bytes);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            const struct bl_q8_block *block = x + (size_t)r * x_stride + i;
            a[r] = &block->coarse;
            d[r] = block->d;
        }
        dot_panel(format, n, p + i, a, d, acc);
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            if (d[r] > threshold[r]) {
                const struct bl_q8_plane *fine = a[r] + 1;
                const float d_fine = d[r] * BL_Q8_FINE;
                dot_panel(format, 1, p + i, &fine, &d_fine, acc + r);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        out[r * GROUPS] = acc[r];
}

/* `groups` times eight outputs from n0 on, all rows. */
static INLINE void linear_groups_q8(uint32_t format, const struct linear_tile *t, const struct bl_q8_block *x, uint32_t n0, uint32_t groups,
                                    struct linear_scratch *s)
{
    const uint32_t per_block = block_elements(format) / 32, bytes = block_bytes(format), n_panels = t->k / 32;
    for (uint32_t r = 0; r < t->m; r++)
        for (uint32_t g = 0; g < groups; g++)
            s->acc[r][g] = vf_set1(0);
    for (uint32_t chunk = 0; chunk < n_panels; chunk += CHUNK) {
        const uint32_t count = min_u32(CHUNK, n_panels - chunk), each = groups == 1 ? bytes * 8 / per_block : 0;
        const uintptr_t next = (uintptr_t)t->weights + (size_t)(n0 + 8) * t->row_bytes + (size_t)chunk / per_block * bytes * 8;
        for (uint32_t g = 0; g < groups; g++) {
            const uint8_t *rows[8];
            for (uint32_t i = 0; i < 8; i++) /* rows past the end repeat the last one; their lanes are not stored */
                rows[i] = t->weights + (size_t)min_u32(n0 + 8 * g + i, t->n1 - 1) * t->row_bytes + (size_t)(chunk / per_block) * bytes;
            for (uint32_t i = 0; i < count; i += per_block) {
                unpack_block(format, rows, &s->panels[g][i]);
                for (int r = 0; r < 8; r++)
                    rows[r] += bytes;
            }
        }
        uint32_t r = 0;
        for (; r + DOT_ROWS <= t->m; r += DOT_ROWS)
            for (uint32_t g = 0; g < groups; g++)
                dot_panels(format, DOT_ROWS, s->panels[g], count, x + (size_t)r * n_panels + chunk, n_panels, s->threshold + r, &s->acc[r][g], next, r ? 0 : each);
        for (; r < t->m; r++)
            for (uint32_t g = 0; g < groups; g++)
                dot_panels(format, 1, s->panels[g], count, x + (size_t)r * n_panels + chunk, n_panels, s->threshold + r, &s->acc[r][g], next, r ? 0 : each);
    }
    for (uint32_t r = 0; r < t->m; r++)
        for (uint32_t g = 0; g < groups; g++)
            if (n0 + 8 * g < t->n1)
                store_group(t, r, n0 + 8 * g, s->acc[r][g]);
}

typedef void group_fn(const struct linear_tile *t, const struct bl_q8_block *x, uint32_t n0, uint32_t groups, struct linear_scratch *s);

#define PICK_FLOAT(NAME, name)
#define PICK_QUANT(NAME, name) \
    static void groups_##name(const struct linear_tile *t, const struct bl_q8_block *x, uint32_t n0, uint32_t groups, struct linear_scratch *s) \
    { \
        linear_groups_q8(BL_FMT_##NAME, t, x, n0, groups, s); \
    }
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) PICK_##kind(NAME, name)
#include "hal/formats.def"
#undef BL_FORMAT
#undef PICK_QUANT
#define PICK_QUANT(NAME, name) [BL_FMT_##NAME] = groups_##name,
static group_fn *const group_fns[BL_FMT_WEIGHT_COUNT] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) PICK_##kind(NAME, name)
#include "hal/formats.def"
#undef BL_FORMAT
};
#undef PICK_QUANT
#undef PICK_FLOAT

static INLINE void linear_tile_q8(const struct linear_tile *t, const struct bl_q8_block *x, uint32_t groups, struct linear_scratch *s)
{
    for (uint32_t n0 = t->n0; n0 < t->n1; n0 += 8 * groups)
        group_fns[t->format](t, x, n0, min_u32(groups, (t->n1 - n0 + 7) / 8), s);
}

static INLINE void linear_q8(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch, uint32_t groups)
{
    struct linear_tile t;
    struct linear_scratch *s = scratch;
    const struct bl_q8_block *x = call->bindings[1];
    const struct bl_params_linear *p = call->push;
    for (uint32_t r = 0; r < rows_of(call, p->rows); r++)
        s->threshold[r] = q8_threshold(x + (size_t)r * (p->k / 32), p->k / 32, BL_Q8_DOMINANT);
    for (uint32_t index = first; index < last; index++) {
        if (!linear_tile_at(call, index, &t))
            continue;
        if (!p->glu) {
            linear_tile_q8(&t, x, groups, s);
            continue;
        }
        for (uint32_t side = 0; side < 2; side++) {
            const struct linear_tile half = linear_glu_side(call, &t, side, s->sides[side][0]);
            linear_tile_q8(&half, x, groups, s);
        }
        glu_tile(p->glu, &t, s->sides);
    }
}

void LEVEL_NAME(matvec_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    linear_q8(call, first, last, scratch, 1);
}

void LEVEL_NAME(matmul_q8)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    linear_q8(call, first, last, scratch, GROUPS);
}

size_t LEVEL_NAME(linear_q8_scratch)(const void *push)
{
    (void)push; /* the rows are only known at run time */
    return sizeof(struct linear_scratch);
}
#endif
