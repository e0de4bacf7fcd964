/* body/quants.h: the quantized formats in vector helpers: where a format keeps its weights and scales, 32 weights as bytes, eight rows as a
 * panel. Everything takes the format as a compile-time constant and folds. Layouts are explained in ref/decode.c; knows no op. */
#ifndef BL_CPU_BODY_QUANTS_H
#define BL_CPU_BODY_QUANTS_H

static INLINE uint32_t block_elements(uint32_t format)
{
    switch (format) {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) case BL_FMT_##NAME: return elements;
#include "hal/formats.def"
#undef BL_FORMAT
    }
    return 1;
}

static INLINE uint32_t block_bytes(uint32_t format)
{
    switch (format) {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) case BL_FMT_##NAME: return bytes;
#include "hal/formats.def"
#undef BL_FORMAT
    }
    return 1;
}

/* Facts of a format. offset: weight = stored - offset. scales: how many sub-scales 32 columns have. run: how many products may be added before
 * they must become 32 bits, where a vsum has 16: run * 2 * (largest stored weight) * 127 <= 32767. */
struct quant_facts {
    size_t d_at, e_at; /* of the f16 d and of m or dmin right after it; e_at 0: the format has no min */
    size_t nibbles_at, fifth_bits_at; /* where a block of 32 is nibbles and perhaps a bit each; else 0 */
    int offset_bits, scales, run;
    bool is_signed, e_negative;
};

static INLINE struct quant_facts facts_of(uint32_t format)
{
    switch (format) {
    case BL_FMT_Q4_0:
        return (struct quant_facts){.d_at = 0, .nibbles_at = 2, .offset_bits = 3, .run = 8};
    case BL_FMT_Q4_1:
        return (struct quant_facts){.d_at = 0, .e_at = 2, .nibbles_at = 4, .run = 8};
    case BL_FMT_Q5_0:
        return (struct quant_facts){.d_at = 0, .nibbles_at = 6, .fifth_bits_at = 2, .offset_bits = 4, .run = 4};
    case BL_FMT_Q5_1:
        return (struct quant_facts){.d_at = 0, .e_at = 2, .nibbles_at = 8, .fifth_bits_at = 4, .run = 4};
    case BL_FMT_Q8_0:
        return (struct quant_facts){.d_at = 0, .is_signed = true, .run = 1};
    case BL_FMT_Q2_K:
        return (struct quant_facts){.d_at = 80, .e_at = 82, .scales = 2, .run = 4, .e_negative = true};
    case BL_FMT_Q3_K:
        return (struct quant_facts){.d_at = 108, .offset_bits = 2, .scales = 2, .run = 4};
    case BL_FMT_Q4_K:
        return (struct quant_facts){.d_at = 0, .e_at = 2, .scales = 1, .run = 8, .e_negative = true};
    case BL_FMT_Q5_K:
        return (struct quant_facts){.d_at = 0, .e_at = 2, .scales = 1, .run = 4, .e_negative = true};
    default: /* BL_FMT_Q6_K */
        return (struct quant_facts){.d_at = 208, .offset_bits = 5, .scales = 2, .run = 2};
    }
}

/* The 32 stored weights j of a block, in column order. */
static INLINE vb stored_weights(uint32_t format, const uint8_t *b, uint32_t j)
{
    const int pair = (int)(j % 4) * 2; /* bit of a two-bit field */
    const uint32_t h = j / 4;
    switch (format) {
    case BL_FMT_Q4_0:
        return vb_nibbles(b + 2);
    case BL_FMT_Q4_1:
        return vb_nibbles(b + 4);
    case BL_FMT_Q5_0:
        return vb_or(vb_nibbles(b + 6), vb_and(vb_bits(b + 2), vb_set1(16)));
    case BL_FMT_Q5_1:
        return vb_or(vb_nibbles(b + 8), vb_and(vb_bits(b + 4), vb_set1(16)));
    case BL_FMT_Q8_0:
        return vb_load(b + 2);
    case BL_FMT_Q2_K:
        return vb_field(vb_load(b + 16 + 32 * h), pair, 3);
    case BL_FMT_Q3_K:
        return vb_or(vb_field(vb_load(b + 32 + 32 * h), pair, 3), vb_place(vb_field(vb_load(b), (int)j, 1), 2));
    case BL_FMT_Q4_K:
        return vb_field(vb_load(b + 16 + j / 2 * 32), (int)(j % 2) * 4, 15);
    case BL_FMT_Q5_K:
        return vb_or(vb_field(vb_load(b + 48 + j / 2 * 32), (int)(j % 2) * 4, 15), vb_place(vb_field(vb_load(b + 16), (int)j, 1), 4));
    default: /* BL_FMT_Q6_K */
        return vb_or(vb_field(vb_load(b + 64 * h + j % 2 * 32), (int)(j % 4 / 2) * 4, 15),
                     vb_place(vb_field(vb_load(b + 128 + 32 * h), pair, 3), 4));
    }
}

static INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t a;
    memcpy(&a, p, 4);
    return a;
}

static INLINE uint64_t both_u32(uint32_t low, uint32_t high)
{
    return low | (uint64_t)high << 32;
}

/* Pair j: the sub-scales of columns 32j..32j+15 and 32j+16..32j+31 of a block of 256; mins likewise (zeros where there are none). */
static INLINE void sub_scales(uint32_t format, const uint8_t *b, vb *scales, vb *mins)
{
    *mins = vp_set1(0);
    if (format == BL_FMT_Q2_K) {
        vb both = vp_load_u8(b);
        *scales = vb_and(both, vp_set1(15));
        *mins = vp_shift_right(both, 4);
    } else if (format == BL_FMT_Q3_K) {
        const uint32_t a = load_u32(b + 96), c = load_u32(b + 100), high = load_u32(b + 104), low4 = 0x0f0f0f0fu, high2 = 0x30303030u;
        const uint64_t first = both_u32((a & low4) | (high << 4 & high2), (c & low4) | (high << 2 & high2));
        const uint64_t second = both_u32((a >> 4 & low4) | (high & high2), (c >> 4 & low4) | (high >> 2 & high2));
        *scales = vp_sub(vp_widen_u8(first, second), vp_set1(32));
    } else if (format == BL_FMT_Q6_K) {
        *scales = vp_load_s8(b + 192);
    } else { /* Q4_K, Q5_K */
        const uint32_t s = load_u32(b + 4), m = load_u32(b + 8), high = load_u32(b + 12), low4 = 0x0f0f0f0fu, high2 = 0x30303030u;
        *scales = vp_twice_u8(both_u32(s & 0x3f3f3f3fu, (high & low4) | (s >> 2 & high2)));
        *mins = vp_twice_u8(both_u32(m & 0x3f3f3f3fu, (high >> 4 & low4) | (m >> 2 & high2)));
    }
}

/* 32 columns of eight rows: lane = row. w[i]: columns 4i..4i+3. Formats without sub-scales or mins leave those fields unwritten. */
struct panel {
    vb w[8];
    vf d, e;
    vb scales, mins;
};

/* One block (32 or 256 columns: 1 or 8 panels) of eight rows. */
static INLINE void unpack_block(uint32_t format, const uint8_t *const rows[8], struct panel *p)
{
    const struct quant_facts facts = facts_of(format);
    const uint32_t n = block_elements(format) / 32;
    vf d, e;
    if (facts.e_at)
        vf_gather_f16_pairs(rows, facts.d_at, &d, &e);
    else
        d = e = vf_gather_f16(rows, facts.d_at);
    if (facts.e_negative)
        e = vf_xor(e, vf_set1(-0.0f));
    vb scales[8], mins[8];
    if (facts.scales) {
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++)
            sub_scales(format, rows[r], &scales[r], &mins[r]);
        vb_transpose(scales);
        if (facts.e_at)
            vb_transpose(mins);
    }
#pragma GCC unroll 8
    for (uint32_t j = 0; j < n; j++) {
        vb w[8];
        if (facts.nibbles_at) {
            vb_nibble_groups(rows, facts.nibbles_at, facts.fifth_bits_at, w);
        } else {
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++)
                w[r] = stored_weights(format, rows[r], j);
            vb_transpose(w);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            p[j].w[i] = facts.is_signed ? vb_biased(w[i]) : w[i];
        p[j].d = d;
        if (facts.e_at)
            p[j].e = e;
        if (facts.scales)
            p[j].scales = scales[j];
        if (facts.scales && facts.e_at)
            p[j].mins = mins[j];
    }
}
#endif
