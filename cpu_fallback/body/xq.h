/* body/xq.h: X-bit weights (hal/xq.h) in vector helpers: the planes of a block of 8 rows as bytes, its products with q8, the walk along a tile.
 * The depth is a compile-time constant everywhere and folds. Trusts the blob, which the reader has checked; knows no op.
 *
 * A vector of a plane holds 8 rows times 4 columns (a quad), so a quad's bytes of the activations are broadcast and nothing is summed across
 * lanes. What is multiplied are "stored" bytes, from which the levels follow: L = factor * stored - offset. */
#ifndef BL_CPU_BODY_XQ_H
#define BL_CPU_BODY_XQ_H
#include "hal/xq.h"

enum { XQ_ROWS = LEVEL_AT_ONCE, XQ_TILES = LEVEL_AT_ONCE }; /* the most rows of activations and tiles that are multiplied at once */

/* Facts of a depth. run: how many products may be added before they must become 32 bits, as in quants.h. Depth 5 is signed: stored
 * bytes below 128 and signs; depth 8 is signed bytes where sums are wide, else two planes of nibbles, the second 16 times the first. */
struct xq_facts {
    int factor, offset, run, planes;
    bool is_signed;
};

static INLINE struct xq_facts xq_facts_of(uint32_t depth)
{
    switch (depth) {
    case 1: return (struct xq_facts){2, 1, 8, 1, false};
    case 2: return (struct xq_facts){1, BL_XQ_LEVEL2, 4, 1, false};
    case 3: return (struct xq_facts){1, BL_XQ_LEVEL3, 2, 1, false};
    case 4: return (struct xq_facts){1, BL_XQ_LEVEL4, 1, 1, false};
    case 5: return (struct xq_facts){1, VSUM_BIAS, 1, 1, true};
    case 6: return (struct xq_facts){2, 63, 2, 1, false};
    case 7: return (struct xq_facts){2, 127, 1, 1, false};
    default: return VSUM_IS_WIDE ? (struct xq_facts){2, 2 * VSUM_BIAS - 1, 8, 1, true} : (struct xq_facts){2, 255, 8, 2, false};
    }
}

#ifdef LEVEL_HAS_LOOKUP32
enum { XQ_LOOKS_UP_SIGNS = 1 };
#else
enum { XQ_LOOKS_UP_SIGNS = 0 };
#endif

/* Tables from a code to what is stored: `one` for depth 3 to 5; for depth 2, where a nibble holds the codes of two quads, a table for each. */
struct xq_levels {
    vb one, of_place[2];
};

/* The half table of n levels mirrored around `offset`, in the low 2 n bytes: 8 bytes at once, of which none overflows. */
static INLINE uint64_t xq_mirrored(const uint8_t *half, uint32_t n, int offset, uint64_t *negative)
{
    const uint64_t each = 0x0101010101010101u * (uint64_t)offset;
    uint64_t levels = 0;
    memcpy(&levels, half, n);
    *negative = (each - __builtin_bswap64(levels)) >> (64 - 8 * n);
    return each + levels;
}

static INLINE struct xq_levels xq_levels_of(uint32_t depth, const struct bl_xq_header *h)
{
    struct xq_levels levels;
    const int offset = xq_facts_of(depth).offset;
    uint64_t negative, positive;
    switch (depth) {
    case 2: {
        static const uint8_t field_of[2][16] = {{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}};
        positive = xq_mirrored(h->half2, 2, offset, &negative);
        for (int i = 0; i < 2; i++)
            levels.of_place[i] = vb_lookup(vb_table_of(negative | positive << 16, 0), vb_table(field_of[i]));
        break;
    }
    case 3:
        positive = xq_mirrored(h->half3, 4, offset, &negative);
        levels.one = vb_table_of(negative | positive << 32, negative | positive << 32);
        break;
    case 4:
        positive = xq_mirrored(h->half4, 8, offset, &negative);
        levels.one = vb_table_of(negative, positive);
        break;
    default:
        levels.one = vb_biased(vb_table(h->half5));
#ifdef LEVEL_HAS_LOOKUP32
        levels.one = vb_table32(levels.one, vb_signed(levels.one, vb_set1(-1)));
#endif
    }
    return levels;
}

/* The n bits of each byte from `from` on, moved to `to`; the others 0. */
static INLINE vb xq_move(vb a, int from, int n, int to)
{
    const int mask = (1 << n) - 1;
    return from == to ? vb_and(a, vb_set1(mask << to)) : from > to ? vb_field(a, from - to, mask << to) : vb_place(vb_and(a, vb_set1(mask << from)), to - from);
}

static INLINE vb xq_word(const uint8_t *codes, int i)
{
    return vb_load(codes + 32 * i);
}

/* A plane of 2 bits: of quad q in the low nibbles, of quad q + 4 in the high ones (q < 4). */
static INLINE vb xq_twos(const uint8_t *plane2, int q)
{
    return q / 2 ? vb_field(xq_word(plane2, q % 2), 2, 0x33) : vb_and(xq_word(plane2, q % 2), vb_set1(0x33));
}

/* Planes of 2 and of 1 bits as numbers of 3 bits: likewise. */
static INLINE vb xq_threes(const uint8_t *plane2, const uint8_t *plane1, int q)
{
    const vb low = xq_twos(plane2, q), one = xq_word(plane1, 0), at = vb_set1(0x44);
    switch (q) {
    case 0: return vb_or(low, vb_place(vb_and(one, vb_set1(0x11)), 2));
    case 1: return vb_or(low, vb_place(vb_and(one, vb_set1(0x22)), 1));
    case 2: return vb_or(low, vb_and(one, at));
    default: return vb_or(low, vb_field(one, 1, 0x44));
    }
}

/* Depth 5: bytes whose top bit is the sign of quad q, none of them 0: bit 0 is set before it moves, except for the quad whose bit it is. */
static INLINE vb xq_signs(const uint8_t *plane1, int q)
{
    const vb one = vb_set1(1), bits = xq_word(plane1, 0);
    return q == 0 ? vb_or(vb_up(bits, 7), one) : vb_up(vb_or(bits, one), 7 - q);
}

#ifdef LEVEL_HAS_LOOKUP32
/* Depth 2 to 5 where tables have 32 bytes: they repeat themselves, so that nothing is masked; that of depth 5 has both signs. */
static INLINE void xq_pair_looked_up(uint32_t depth, const uint8_t *codes, vb four, vb table, int q, vb pair[2])
{
    if (depth == 3) {
        const vb one = xq_word(codes + 64, 0);
        four = q < 2 ? vb_either(0x33, four, vb_up(one, 2 - q)) : vb_either(0x33, vb_down(four, 2), vb_down(one, q - 2));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        vb code = i ? vb_down(four, 4) : four;
        if (depth == 5) {
            const vb signs = xq_word(codes + 128, 0);
            code = vb_either(15, code, i ? vb_down(signs, q) : vb_up(signs, 4 - q));
        }
        pair[i] = vb_lookup32(table, code);
    }
}
#endif

/* The stored bytes of quads q and q + 4, which share words; of depth 8, those of one of its planes; of depth 5, without signs unless they are
 * looked up too. */
static INLINE void xq_pair(uint32_t depth, const uint8_t *codes, const struct xq_levels *levels, int q, int plane, vb pair[2])
{
    const vb four = vb_here(xq_word(codes, depth == 1 ? 0 : depth < 4 ? q % 2 : q + 4 * plane)); /* once from memory */
#ifdef LEVEL_HAS_LOOKUP32
    if (depth >= 2 && depth <= 5) {
        xq_pair_looked_up(depth, codes, four, depth == 2 ? levels->of_place[q / 2] : levels->one, q, pair);
        return;
    }
#endif
    const vb threes = depth == 3 ? xq_threes(codes, codes + 64, q) : depth == 7 ? xq_threes(codes + 128, codes + 192, q) : four;
    if (depth == 6 || depth == 7) {
        vb_join_nibbles(four, depth == 7 ? threes : xq_twos(codes + 128, q), pair);
        return;
    }
    if (depth == 8 && VSUM_IS_WIDE) { /* code - 128 */
        vb_join_nibbles(four, vb_here(xq_word(codes, q + 4)), pair);
        for (int i = 0; i < 2; i++)
            pair[i] = vb_biased(vb_xor(pair[i], vb_set1(128)));
        return;
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const vb nibble = xq_move(four, 4 * i, 4, 0);
        switch (depth) {
        case 1: pair[i] = xq_move(xq_word(codes, 0), q + 4 * i, 1, 0); break;
        case 2: pair[i] = vb_lookup(levels->of_place[q / 2], nibble); break;
        case 3: pair[i] = i ? vb_lookup_high(levels->one, threes) : vb_lookup_low(levels->one, threes); break;
        case 4:
        case 5: pair[i] = vb_lookup(levels->one, nibble); break;
        default: pair[i] = nibble;
        }
    }
}

/* A block of 8 rows as signed or unsigned bytes, for many rows of activations: [plane][quad]; two neighbours joined where levels have pairs. */
struct xq_panel {
    vb w[2][8];
    vi m;
};

static INLINE void xq_unpack(uint32_t depth, const uint8_t *codes, const struct xq_levels *levels, struct xq_panel *out)
{
#pragma GCC unroll 2
    for (int plane = 0; plane < xq_facts_of(depth).planes; plane++) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            vb pair[2];
            xq_pair(depth, codes, levels, q, plane, pair);
            for (int i = 0; i < 2; i++)
                out->w[plane][q + 4 * i] = depth == 5 && !XQ_LOOKS_UP_SIGNS ? vb_signed(pair[i], xq_signs(codes + 128, q + 4 * i)) : pair[i];
        }
    }
#ifdef LEVEL_HAS_PAIRS
    for (int q = 0; q < 8; q += 2)
        vb_join_quads(out->w[0] + q);
#endif
}

/* What every product of `stored` bytes has too much, off the sums of some tiles, for n planes of activations. */
static INLINE void xq_subtract_offset(int each, int tiles, int n, const struct bl_q8_plane *const *a, vi (*isum)[XQ_ROWS])
{
#pragma GCC unroll 4
    for (int r = 0; r < n; r++) {
        const vi offset = vp_dot(vp_set1(each), a[r]->sum);
        for (int t = 0; t < tiles; t++)
            isum[t][r] = each ? vi_sub(isum[t][r], offset) : isum[t][r];
    }
}

/* isum[t][r] = sum of L * q over a block of each of some tiles, for n planes of activations. The weights come from the panels where they are
 * unpacked, else from the codes. */
static INLINE void xq_dot(uint32_t depth, int tiles, int n, bool unpacked, const uint8_t *const *codes, const struct xq_levels *levels,
                          const struct xq_panel *panels, const struct bl_q8_plane *const *a, vi (*isum)[XQ_ROWS])
{
    const struct xq_facts facts = xq_facts_of(depth);
    const int length = VSUM_IS_WIDE ? 8 : facts.run;
    vb pair[XQ_TILES][2];
#pragma GCC unroll 2
    for (int plane = 0; plane < facts.planes; plane++) {
        const int factor = plane ? 16 * facts.factor : facts.factor;
        vsum run[XQ_TILES][XQ_ROWS];
#pragma GCC unroll 8
        for (int done = 0; done < 8; done++) {
            static const int order[4] = {0, 2, 1, 3}; /* neighbours use the same vectors of the planes */
            const int q = order[done / 2] + done % 2 * 4;
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++) {
                if (unpacked)
                    pair[t][done % 2] = panels[t].w[plane][q];
                else if (done % 2 == 0)
                    xq_pair(depth, codes[t], levels, q, plane, pair[t]);
#pragma GCC unroll 4
                for (int r = 0; r < n; r++) {
                    const vb w = pair[t][done % 2];
                    const int8_t *x = a[r]->q + 4 * q;
                    const vsum before = done % length ? run[t][r] : vsum_zero();
                    const bool has_signs = unpacked || depth != 5 || XQ_LOOKS_UP_SIGNS;
                    const vsum sum = !has_signs        ? vsum_add_signed(before, w, xq_signs(codes[t] + 128, q), x)
                                   : facts.is_signed ? vsum_add_s8(before, w, x)
                                                     : vsum_add_u8(before, w, x);
                    run[t][r] = done % length ? vsum_here(sum) : sum;
                    if (done % length == length - 1) {
                        const vi total = vsum_times(run[t][r], factor);
                        isum[t][r] = plane == 0 && done == length - 1 ? total : vi_here(vi_add(isum[t][r], total));
                    }
                }
            }
        }
    }
    xq_subtract_offset(facts.offset, tiles, n, a, isum);
}

/* The same for one tile's panel and its n rows. */
static INLINE void xq_dot_panel(uint32_t depth, int n, const struct xq_panel *p, const struct bl_q8_plane *const *a, vi isum[1][XQ_ROWS])
{
#ifdef LEVEL_HAS_PAIRS
#pragma GCC unroll 2
    for (int r = 0; r < n; r += 2) { /* a row that has no other is paired with itself */
        const int second = r + 1 < n ? r + 1 : r;
        vsum sum[2] = {vsum_zero(), vsum_zero()};
#pragma GCC unroll 4
        for (int q = 0; q < 8; q += 2)
            vsum_add_pair(sum, p->w[0] + q, a[r]->q + 4 * q, a[second]->q + 4 * q);
        vsum_split(sum);
        isum[0][second] = vsum_times(sum[1], xq_facts_of(depth).factor);
        isum[0][r] = vsum_times(sum[0], xq_facts_of(depth).factor);
    }
    xq_subtract_offset(xq_facts_of(depth).offset, 1, n, a, isum);
#else
    xq_dot(depth, 1, n, true, NULL, NULL, p, a, isum);
#endif
}

/* ---- one bit, one row of activations ---- */

/* Four weights of one bit, a nibble of a byte of the plane, and the activations that meet them give one of 16 sums: looked up. Byte k of a word
 * is columns 4q + k, so there are tables for each k and half of the quads. A sum plus 512 is low + 32 * high, both below 32: eight of
 * either add up in a byte. */
struct xq_sums {
    uint8_t of[4][2][2][16]; /* k, half, low or high, nibble */
};
enum { XQ_SUM_BASE = 512, XQ_HAS_SUMS = XQ_TILES == 4 /* bytes of four words fill the tables */ };

static INLINE void xq_sums_of(const struct bl_q8_plane *x, struct xq_sums *out)
{
    static const int16_t bit_of[4][16] = {{0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1}, {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1},
                                          {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1}, {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1}};
    for (int k = 0; k < 4; k++) {
        for (int half = 0; half < 2; half++) {
            const int8_t *q = x->q + 16 * half + k;
            vb sums = vp_set1(XQ_SUM_BASE - q[0] - q[4] - q[8] - q[12]);
            for (int j = 0; j < 4; j++)
                sums = vp_sub(sums, vb_and(vb_load((const uint8_t *)bit_of[j]), vp_set1(-2 * q[4 * j])));
            const vb parts = vb_or(vb_and(sums, vp_set1(31)), vb_and(vp_shift_left(sums, 3), vp_set1(31 << 8)));
            vb_store(out->of[k][half][0], vb_evens_odds(parts));
        }
    }
}

/* isum[t] of a block of depth 1 of each of four tiles. */
static INLINE void xq_dot_sums(const uint8_t *const codes[XQ_TILES], const struct xq_sums *x, vi isum[XQ_TILES])
{
    vb words[4], bytes[4], low, high;
    vi sums[4];
    for (int t = 0; t < 4; t++)
        words[t] = vb_load(codes[t % XQ_TILES]);
    vb_row_bytes(words, bytes);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const vb nibbles = xq_move(bytes[k], 4 * half, 4, 0);
            const vb more_low = vb_lookup(vb_table(x->of[k][half][0]), nibbles), more_high = vb_lookup(vb_table(x->of[k][half][1]), nibbles);
            low = vb_here(k || half ? vb_add(low, more_low) : more_low);
            high = vb_here(k || half ? vb_add(high, more_high) : more_high);
        }
    }
    vb_row_sums(low, high, sums);
    for (int t = 0; t < XQ_TILES; t++)
        isum[t] = vi_sub(sums[t], vi_set1(8 * XQ_SUM_BASE));
}

/* ---- the walk along a tile ---- */

/* Where a tile of 8 rows stands; moves on with every run of blocks. */
struct xq_cursor {
    const uint32_t *groups; /* of the next grouped block */
    const uint8_t *codes;   /* of the next block */
};

static INLINE const struct bl_xq_row_block *xq_row_block(const struct bl_xq_header *h, uint32_t row)
{
    const struct bl_xq_row_block *b = bl_xq_row_blocks(h), *end = b + h->n_row_blocks;
    while (b + 1 < end && b[1].first_row <= row)
        b++;
    return b;
}

static INLINE const uint32_t *xq_tile_at(const struct bl_xq_header *h, const struct bl_xq_row_block *b, uint32_t row)
{
    return (const uint32_t *)(const void *)h + b->data + (size_t)((row - b->first_row) / BL_XQ_TILE) * b->stride;
}

static INLINE struct xq_cursor xq_cursor_at(const struct bl_xq_row_block *b, const uint32_t *tile)
{
    return (struct xq_cursor){tile + 2, (const uint8_t *)(tile + 2 + b->n_grouped)};
}

static INLINE vi xq_group(bool grouped, uint32_t word)
{
    return grouped ? vi_add(vi_nibbles(word), vi_set1((int)BL_XQ_GROUP_BASE)) : vi_set1(1);
}

static INLINE vf xq_scales(const uint8_t *s, int exponent)
{
#define MANTISSA(i, value) value,
    static const float mantissas[16] = {BL_XQ_MANTISSAS(MANTISSA)};
#undef MANTISSA
    return vf_scales(s, mantissas, exponent);
}

/* Some outliers, in ascending order of (row, column): their entries, and the rows of these in the unit of 32. */
struct xq_outliers {
    uint32_t n;
    const uint32_t *entries;
    const uint8_t *rows;
};

/* Those of the unit of 32 rows around `row`. */
static INLINE struct xq_outliers xq_outliers_of_unit(const struct bl_xq_header *h, uint32_t row)
{
    struct xq_outliers o = {0, NULL, NULL};
    if (h->n_outliers) {
        const uint32_t *start = (const uint32_t *)(const void *)h + h->outliers, unit = row / BL_XQ_UNIT;
        o.n = start[unit + 1] - start[unit];
        o.entries = start + (h->rows + BL_XQ_UNIT - 1) / BL_XQ_UNIT + 1;
        o.rows = (const uint8_t *)(o.entries + h->n_outliers) + start[unit];
        o.entries += start[unit];
    }
    return o;
}

/* Those of n rows, all in one unit. */
static INLINE struct xq_outliers xq_outliers_of(const struct bl_xq_header *h, uint32_t row, uint32_t n)
{
    struct xq_outliers o = xq_outliers_of_unit(h, row);
    const uint32_t first = row % BL_XQ_UNIT;
    for (; o.n > 0 && *o.rows < first; o.n--) {
        o.entries++;
        o.rows++;
    }
    while (o.n > 0 && o.rows[o.n - 1] >= first + n)
        o.n--;
    return o;
}

static INLINE uint32_t xq_outlier_column(uint32_t entry)
{
    return entry & 0xffff;
}

static INLINE float xq_outlier_value(uint32_t entry)
{
    return f16_value((uint16_t)(entry >> 16));
}

/* One case per depth, as constants. */
#define XQ_PER_DEPTH(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#endif
