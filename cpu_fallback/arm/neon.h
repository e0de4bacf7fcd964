/* arm/neon.h: the vector helpers of level NEON (Advanced SIMD of every AArch64, no dot products): the same names and meanings as
 * x86/avx2.h, each vector being two registers. Knows no op and no format. Levels above it take all of this but the sums of byte products. */
#ifndef BL_CPU_ARM_NEON_H
#define BL_CPU_ARM_NEON_H
#include "cpu_fallback/call.h"

#include <arm_neon.h>
#include <string.h>

enum { LEVEL_AT_ONCE = 4 }; /* sums of products that the registers hold beside what is multiplied */
#define INLINE inline __attribute__((always_inline))
typedef struct {
    float32x4_t l, h;
} vf;
typedef struct {
    int32x4_t l, h;
} vi;
typedef struct {
    uint8x16_t l, h;
} vb;

/* ---- f32 ---- */
static INLINE vf vf_load(const float *p) { return (vf){vld1q_f32(p), vld1q_f32(p + 4)}; }
static INLINE void vf_store(float *p, vf a)
{
    vst1q_f32(p, a.l);
    vst1q_f32(p + 4, a.h);
}
static INLINE vf vf_set1(float a) { return (vf){vdupq_n_f32(a), vdupq_n_f32(a)}; }
static INLINE vf vf_add(vf a, vf b) { return (vf){vaddq_f32(a.l, b.l), vaddq_f32(a.h, b.h)}; }
static INLINE vf vf_sub(vf a, vf b) { return (vf){vsubq_f32(a.l, b.l), vsubq_f32(a.h, b.h)}; }
static INLINE vf vf_mul(vf a, vf b) { return (vf){vmulq_f32(a.l, b.l), vmulq_f32(a.h, b.h)}; }
static INLINE vf vf_div(vf a, vf b) { return (vf){vdivq_f32(a.l, b.l), vdivq_f32(a.h, b.h)}; }
static INLINE vf vf_less_select(vf a, vf b, vf yes, vf no) /* a < b ? yes : no */
{
    return (vf){vbslq_f32(vcltq_f32(a.l, b.l), yes.l, no.l), vbslq_f32(vcltq_f32(a.h, b.h), yes.h, no.h)};
}
static INLINE vf vf_min(vf a, vf b) { return vf_less_select(a, b, a, b); } /* not vmin: it prefers NaN */
static INLINE vf vf_max(vf a, vf b) { return vf_less_select(b, a, a, b); }
static INLINE vf vf_xor(vf a, vf b)
{
    return (vf){vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a.l), vreinterpretq_u32_f32(b.l))),
                vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a.h), vreinterpretq_u32_f32(b.h)))};
}
static INLINE vf vf_and_bits(vf a, uint32x4_t l, uint32x4_t h)
{
    return (vf){vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.l), l)), vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.h), h))};
}
static INLINE vf vf_sign(vf a) { return vf_and_bits(a, vdupq_n_u32(0x80000000u), vdupq_n_u32(0x80000000u)); }
static INLINE vf vf_from_vi(vi a) { return (vf){vcvtq_f32_s32(a.l), vcvtq_f32_s32(a.h)}; }
static INLINE vf vf_load_u8(const uint8_t *p)
{
    uint16x8_t a = vmovl_u8(vld1_u8(p));
    return (vf){vcvtq_f32_u32(vmovl_u16(vget_low_u16(a))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(a)))};
}
static INLINE vf vf_load_s8(const uint8_t *p)
{
    int16x8_t a = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(a))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(a)))};
}
static INLINE vf vf_load_f16(const void *p) /* any alignment */
{
    float16x8_t a = vreinterpretq_f16_u8(vld1q_u8(p));
    return (vf){vcvt_f32_f16(vget_low_f16(a)), vcvt_f32_f16(vget_high_f16(a))};
}
static INLINE vf vf_load_bf16(const void *p)
{
    uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(p));
    return (vf){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(a), 16)), vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(a), 16))};
}
static INLINE void vf_store_f16(void *p, vf a)
{
    vst1q_u8(p, vreinterpretq_u8_f16(vcombine_f16(vcvt_f16_f32(a.l), vcvt_f16_f32(a.h))));
}

static INLINE float f16_value(uint16_t h) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0); }
/* Lane i: s[i] ? table[s[i] % 16] * 2^(exponent + s[i] / 16) : 0, all normal numbers. */
static INLINE vf vf_scales(const uint8_t s[8], const float table[16], int exponent)
{
    uint32_t bits[8];
    for (int i = 0; i < 8; i++) {
        memcpy(&bits[i], &table[s[i] % 16], 4);
        bits[i] = s[i] ? bits[i] + ((uint32_t)(exponent + s[i] / 16) << 23) : 0;
    }
    return (vf){vreinterpretq_f32_u32(vld1q_u32(bits)), vreinterpretq_f32_u32(vld1q_u32(bits + 4))};
}

/* The first n lanes of a, zeros after. */
static INLINE vf vf_first(vf a, uint32_t n)
{
    static const uint32_t lane[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    return vf_and_bits(a, vcgtq_u32(vdupq_n_u32(n), vld1q_u32(lane)), vcgtq_u32(vdupq_n_u32(n), vld1q_u32(lane + 4)));
}

/* ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)) */
static INLINE float vf_sum(vf a)
{
    float32x4_t four = vaddq_f32(a.l, a.h);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Lane i: vf_sum(a[i]). */
static INLINE vf vf_sum8(const vf a[8])
{
    float32x4_t four[8], two[4];
    for (int i = 0; i < 8; i++)
        four[i] = vaddq_f32(a[i].l, a[i].h);
    for (int i = 0; i < 4; i++)
        two[i] = vaddq_f32(vcombine_f32(vget_low_f32(four[2 * i]), vget_low_f32(four[2 * i + 1])),
                           vcombine_f32(vget_high_f32(four[2 * i]), vget_high_f32(four[2 * i + 1])));
    return (vf){vpaddq_f32(two[0], two[1]), vpaddq_f32(two[2], two[3])};
}

static INLINE float vf_largest(vf a) { return vmaxvq_f32(vmaxq_f32(a.l, a.h)); }

/* 16 floats e0 o0 e1 o1 ... <-> e, o. */
static INLINE void vf_load_pairs(const float *p, vf *even, vf *odd)
{
    float32x4x2_t a = vld2q_f32(p), b = vld2q_f32(p + 8);
    *even = (vf){a.val[0], b.val[0]};
    *odd = (vf){a.val[1], b.val[1]};
}
static INLINE void vf_store_pairs(float *p, vf even, vf odd)
{
    vst2q_f32(p, ((float32x4x2_t){{even.l, odd.l}}));
    vst2q_f32(p + 8, ((float32x4x2_t){{even.h, odd.h}}));
}

/* The f16 at rows[i] + at, for eight rows. */
static INLINE vf vf_gather_f16(const uint8_t *const rows[8], size_t at)
{
    uint16_t halves[8];
    for (int i = 0; i < 8; i++)
        memcpy(&halves[i], rows[i] + at, 2);
    return vf_load_f16(halves);
}

/* The halves at `at` and those right after them. */
static INLINE void vf_gather_f16_pairs(const uint8_t *const rows[8], size_t at, vf *first, vf *second)
{
    *first = vf_gather_f16(rows, at);
    *second = vf_gather_f16(rows, at + 2);
}

static INLINE float32x4_t scale_half(float32x4_t p, float32x4_t shifted, float32x4_t magic)
{
    int32x4_t n = vsubq_s32(vreinterpretq_s32_f32(shifted), vreinterpretq_s32_f32(magic)), half = vshrq_n_s32(n, 1);
    const int32x4_t bias = vdupq_n_s32(127);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(n, half), bias), 23)));
}
static INLINE vf vf_scale_by_power(vf p, vf shifted, vf magic)
{
    return (vf){scale_half(p.l, shifted.l, magic.l), scale_half(p.h, shifted.h, magic.h)};
}

/* The bits of the largest magnitude of 32 floats; NaN is above infinity. */
static INLINE uint32_t vf_largest_magnitude(const vf v[4])
{
    const uint32x4_t mask = vdupq_n_u32(0x7fffffffu);
    uint32x4_t m = vdupq_n_u32(0);
    for (int i = 0; i < 4; i++)
        m = vmaxq_u32(vmaxq_u32(m, vandq_u32(vreinterpretq_u32_f32(v[i].l), mask)), vandq_u32(vreinterpretq_u32_f32(v[i].h), mask));
    return vmaxvq_u32(m);
}

/* q = round(v * inverse) as bytes, and the sums of each half. */
static INLINE void vf_store_q8(const vf v[4], float inverse, struct bl_q8_plane *out)
{
    const float32x4_t factor = vdupq_n_f32(inverse);
    for (int i = 0; i < 2; i++) {
        const vf *a = v + 2 * i;
        int16x8_t low = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(vmulq_f32(a[0].l, factor))), vmovn_s32(vcvtnq_s32_f32(vmulq_f32(a[0].h, factor))));
        int16x8_t high = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(vmulq_f32(a[1].l, factor))), vmovn_s32(vcvtnq_s32_f32(vmulq_f32(a[1].h, factor))));
        vst1q_s8(out->q + 16 * i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        out->sum[i] = vaddvq_s16(vaddq_s16(low, high));
    }
}

/* ---- 32 bytes ---- */
static INLINE vb vb_load(const uint8_t *p) { return (vb){vld1q_u8(p), vld1q_u8(p + 16)}; }
static INLINE void vb_store(uint8_t *p, vb a)
{
    vst1q_u8(p, a.l);
    vst1q_u8(p + 16, a.h);
}
static INLINE vb vb_here(vb a) { return a; } /* see avx2.h; there are registers enough */
static INLINE vb vb_set1(int a) { return (vb){vdupq_n_u8((uint8_t)a), vdupq_n_u8((uint8_t)a)}; }
static INLINE vb vb_and(vb a, vb b) { return (vb){vandq_u8(a.l, b.l), vandq_u8(a.h, b.h)}; }
static INLINE vb vb_or(vb a, vb b) { return (vb){vorrq_u8(a.l, b.l), vorrq_u8(a.h, b.h)}; }
static INLINE vb vb_xor(vb a, vb b) { return (vb){veorq_u8(a.l, b.l), veorq_u8(a.h, b.h)}; }
static INLINE vb vb_place(vb a, int shift) /* no bit of a byte may leave it */
{
    const int8x16_t by = vdupq_n_s8((int8_t)shift);
    return (vb){vshlq_u8(a.l, by), vshlq_u8(a.h, by)};
}
static INLINE vb vb_field(vb a, int shift, int mask) { return vb_and(vb_place(a, -shift), vb_set1(mask)); } /* (a >> shift) & mask */
/* 16 bytes -> their low nibbles, then their high nibbles. */
static INLINE vb vb_nibbles(const uint8_t *p)
{
    uint8x16_t a = vld1q_u8(p);
    return (vb){vandq_u8(a, vdupq_n_u8(15)), vshrq_n_u8(a, 4)};
}
/* Bit i of 32 -> byte i: 255 or 0. */
static INLINE vb vb_bits(const uint8_t *p)
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    return (vb){vtstq_u8(vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1])), bit), vtstq_u8(vcombine_u8(vdup_n_u8(p[2]), vdup_n_u8(p[3])), bit)};
}
static INLINE void transpose4(const uint8x16_t in[4], uint8x16_t out[4])
{
    uint32x4_t a0 = vreinterpretq_u32_u8(in[0]), a1 = vreinterpretq_u32_u8(in[1]);
    uint32x4_t a2 = vreinterpretq_u32_u8(in[2]), a3 = vreinterpretq_u32_u8(in[3]);
    uint64x2_t even01 = vreinterpretq_u64_u32(vtrn1q_u32(a0, a1)), odd01 = vreinterpretq_u64_u32(vtrn2q_u32(a0, a1));
    uint64x2_t even23 = vreinterpretq_u64_u32(vtrn1q_u32(a2, a3)), odd23 = vreinterpretq_u64_u32(vtrn2q_u32(a2, a3));
    out[0] = vreinterpretq_u8_u64(vtrn1q_u64(even01, even23));
    out[1] = vreinterpretq_u8_u64(vtrn1q_u64(odd01, odd23));
    out[2] = vreinterpretq_u8_u64(vtrn2q_u64(even01, even23));
    out[3] = vreinterpretq_u8_u64(vtrn2q_u64(odd01, odd23));
}
/* 16 bytes, in both halves; and byte i of such a table for every i < 16. */
static INLINE vb vb_table(const uint8_t *p) { return (vb){vld1q_u8(p), vld1q_u8(p)}; }
static INLINE vb vb_table_of(uint64_t low, uint64_t high)
{
    const uint8x16_t table = vcombine_u8(vcreate_u8(low), vcreate_u8(high));
    return (vb){table, table};
}
static INLINE vb vb_lookup(vb table, vb i) { return (vb){vqtbl1q_u8(table.l, i.l), vqtbl1q_u8(table.h, i.h)}; }
/* The same for the low or the high nibbles of bytes whose nibbles are all below 8. */
static INLINE vb vb_lookup_low(vb table, vb i) { return vb_lookup(table, vb_field(i, 0, 7)); }
static INLINE vb vb_lookup_high(vb table, vb i) { return vb_lookup(table, vb_field(i, 4, 7)); }
/* Bytes n places up, or down; which bits enter a byte is not defined. */
static INLINE vb vb_up(vb a, int n) { return vb_place(a, n); }
static INLINE vb vb_down(vb a, int n) { return vb_place(a, -n); }
/* The 16 bytes at even places, then those at odd ones. */
static INLINE vb vb_evens_odds(vb a) { return (vb){vuzp1q_u8(a.l, a.h), vuzp2q_u8(a.l, a.h)}; }
static INLINE vb vb_add(vb a, vb b) { return (vb){vaddq_u8(a.l, b.l), vaddq_u8(a.h, b.h)}; }
static INLINE void row_bytes(const uint8x16_t w[4], uint8x16_t bytes[4])
{
    static const uint8_t by_byte[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    uint8x16_t s[4];
    for (int t = 0; t < 4; t++)
        s[t] = vqtbl1q_u8(w[t], vld1q_u8(by_byte));
    transpose4(s, bytes);
}
/* w[t] holds eight words of 4 bytes, a row each; afterwards bytes[k] holds byte k of all 32 rows, in an order that vb_row_sums undoes. */
static INLINE void vb_row_bytes(const vb w[4], vb bytes[4])
{
    uint8x16_t l[4] = {w[0].l, w[1].l, w[2].l, w[3].l}, h[4] = {w[0].h, w[1].h, w[2].h, w[3].h};
    row_bytes(l, l);
    row_bytes(h, h);
    for (int k = 0; k < 4; k++)
        bytes[k] = (vb){l[k], h[k]};
}
static INLINE void row_sums(uint8x16_t low, uint8x16_t high, int32x4_t sums[4])
{
    const uint16x8_t first = vaddw_u8(vshll_n_u8(vget_low_u8(high), 5), vget_low_u8(low));
    const uint16x8_t second = vaddw_u8(vshll_n_u8(vget_high_u8(high), 5), vget_high_u8(low));
    sums[0] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(first)));
    sums[1] = vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(first)));
    sums[2] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(second)));
    sums[3] = vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(second)));
}
/* Lane r of sums[t]: low + 32 * high of row r of w[t]. */
static INLINE void vb_row_sums(vb low, vb high, vi sums[4])
{
    int32x4_t l[4], h[4];
    row_sums(low.l, high.l, l);
    row_sums(low.h, high.h, h);
    for (int t = 0; t < 4; t++)
        sums[t] = (vi){l[t], h[t]};
}
/* v[row] holds eight 4-byte groups; afterwards v[i] holds group i of each row. */
static INLINE void vb_transpose(vb v[8])
{
    uint8x16_t in[4][4], out[4][4];
    for (int i = 0; i < 4; i++) {
        in[0][i] = v[i].l;
        in[1][i] = v[i + 4].l;
        in[2][i] = v[i].h;
        in[3][i] = v[i + 4].h;
    }
    for (int i = 0; i < 4; i++)
        transpose4(in[i], out[i]);
    for (int i = 0; i < 4; i++) {
        v[i] = (vb){out[0][i], out[1][i]};
        v[i + 4] = (vb){out[2][i], out[3][i]};
    }
}
/* What vb_nibbles of 16 bytes at `at` of eight rows and vb_transpose give, with 16 more where the bit of 4 bytes at bits_at is set (0: there
 * are none). */
static INLINE void vb_nibble_groups(const uint8_t *const rows[8], size_t at, size_t bits_at, vb w[8])
{
    for (int r = 0; r < 8; r++) {
        w[r] = vb_nibbles(rows[r] + at);
        if (bits_at)
            w[r] = vb_or(w[r], vb_and(vb_bits(rows[r] + bits_at), vb_set1(16)));
    }
    vb_transpose(w);
}

/* ---- pairs of i16: vb as 8 x 2 ---- */
static INLINE vb from_s16(int16x8_t l, int16x8_t h) { return (vb){vreinterpretq_u8_s16(l), vreinterpretq_u8_s16(h)}; }
static INLINE vb from_u16(uint16x8_t l, uint16x8_t h) { return (vb){vreinterpretq_u8_u16(l), vreinterpretq_u8_u16(h)}; }
static INLINE int16x8_t as_s16(uint8x16_t a) { return vreinterpretq_s16_u8(a); }
static INLINE uint16x8_t as_u16(uint8x16_t a) { return vreinterpretq_u16_u8(a); }
static INLINE vb vp_set1(int a) { return from_s16(vdupq_n_s16((int16_t)a), vdupq_n_s16((int16_t)a)); }
static INLINE vb vp_sub(vb a, vb b) { return from_s16(vsubq_s16(as_s16(a.l), as_s16(b.l)), vsubq_s16(as_s16(a.h), as_s16(b.h))); }
static INLINE vb vp_shift_left(vb a, int n)
{
    const int16x8_t by = vdupq_n_s16((int16_t)n);
    return from_u16(vshlq_u16(as_u16(a.l), by), vshlq_u16(as_u16(a.h), by));
}
static INLINE vb vp_shift_right(vb a, int n) { return vp_shift_left(a, -n); }
static INLINE vb vp_widen_u8(uint64_t low, uint64_t high) { return from_u16(vmovl_u8(vcreate_u8(low)), vmovl_u8(vcreate_u8(high))); }
static INLINE vb vp_load_u8(const uint8_t *p) { return from_u16(vmovl_u8(vld1_u8(p)), vmovl_u8(vld1_u8(p + 8))); }
static INLINE vb vp_load_s8(const uint8_t *p)
{
    return from_s16(vmovl_s8(vreinterpret_s8_u8(vld1_u8(p))), vmovl_s8(vreinterpret_s8_u8(vld1_u8(p + 8))));
}
static INLINE vb vp_twice_u8(uint64_t bytes) /* pair i: byte i, byte i */
{
    uint16x8_t a = vmovl_u8(vcreate_u8(bytes));
    return from_u16(vzip1q_u16(a, a), vzip2q_u16(a, a));
}
static INLINE vb vp_firsts(vb a) /* pair i: a[i][0], a[i][0] */
{
    return from_u16(vtrn1q_u16(as_u16(a.l), as_u16(a.l)), vtrn1q_u16(as_u16(a.h), as_u16(a.h)));
}
static INLINE vb vp_seconds(vb a)
{
    return from_u16(vtrn2q_u16(as_u16(a.l), as_u16(a.l)), vtrn2q_u16(as_u16(a.h), as_u16(a.h)));
}
static INLINE int32x4_t dot_pairs(int16x8_t a, int16x4_t b)
{
    return vpaddq_s32(vmull_s16(vget_low_s16(a), b), vmull_s16(vget_high_s16(a), b));
}
static INLINE vi vp_dot(vb pairs, const int16_t other[2]) /* lane i: pairs[i][0] * other[0] + pairs[i][1] * other[1] */
{
    int32_t both;
    memcpy(&both, other, 4);
    const int16x4_t b = vreinterpret_s16_s32(vdup_n_s32(both));
    return (vi){dot_pairs(as_s16(pairs.l), b), dot_pairs(as_s16(pairs.h), b)};
}

/* ---- i32 ---- */
static INLINE vi vi_add(vi a, vi b) { return (vi){vaddq_s32(a.l, b.l), vaddq_s32(a.h, b.h)}; }
static INLINE vi vi_sub(vi a, vi b) { return (vi){vsubq_s32(a.l, b.l), vsubq_s32(a.h, b.h)}; }
static INLINE vi vi_mul(vi a, vi b) { return (vi){vmulq_s32(a.l, b.l), vmulq_s32(a.h, b.h)}; }
static INLINE vi vi_set1(int a) { return (vi){vdupq_n_s32(a), vdupq_n_s32(a)}; }
/* Lane i: bits 4i .. 4i + 3. */
static INLINE vi vi_nibbles(uint32_t word)
{
    static const int32_t shifts[8] = {0, -4, -8, -12, -16, -20, -24, -28};
    const uint32x4_t all = vdupq_n_u32(word), mask = vdupq_n_u32(15);
    return (vi){vreinterpretq_s32_u32(vandq_u32(vshlq_u32(all, vld1q_s32(shifts)), mask)),
                vreinterpretq_s32_u32(vandq_u32(vshlq_u32(all, vld1q_s32(shifts + 4)), mask))};
}
static INLINE vi vi_here(vi a) { return a; }
/* The low nibbles of both, low's lowest, and the high nibbles of both. */
static INLINE void vb_join_nibbles(vb low, vb high, vb joined[2])
{
    joined[0] = (vb){vsliq_n_u8(low.l, high.l, 4), vsliq_n_u8(low.h, high.h, 4)};
    joined[1] = (vb){vsriq_n_u8(high.l, low.l, 4), vsriq_n_u8(high.h, low.h, 4)};
}
/* w <= 127 counts as negative where the top bit of the byte of `signs` is set; no byte of `signs` is 0. */
static INLINE uint8x16_t with_signs(uint8x16_t w, uint8x16_t signs)
{
    const uint8x16_t mask = vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(signs), 7));
    return vsubq_u8(veorq_u8(w, mask), mask);
}
static INLINE vb vb_signed(vb w, vb signs) { return (vb){with_signs(w.l, signs.l), with_signs(w.h, signs.h)}; }
static INLINE int32_t four_of(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, 4);
    return four;
}
/* Lane i, times scale (both halves of the pair hold it). */
static INLINE vi vi_scaled(vi a, vb scale)
{
    return (vi){vmulq_s32(a.l, vshrq_n_s32(vreinterpretq_s32_u8(scale.l), 16)), vmulq_s32(a.h, vshrq_n_s32(vreinterpretq_s32_u8(scale.h), 16))};
}

/* ---- sums of byte products ---- */
static INLINE vb vb_biased(vb a) { return a; }
#ifndef LEVEL_NAME
#define LEVEL_NAME(name) bl_##name##_neon
#define LEVEL_TABLE bl_cpu_table_neon
typedef struct {
    int16x8_t two_rows[4];
} vsum;

enum { VSUM_IS_WIDE = 0, VSUM_BIAS = 0 }; /* see x86/avx2.h */

static INLINE vsum vsum_zero(void) { return (vsum){{vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0)}}; }
/* Lane i (4 bytes of w, 4 bytes a): products w * a, one row's four in half a register. Stored weights that are unsigned are below 128. */
static INLINE vsum vsum_add_s8(vsum sum, vb w, const int8_t *a)
{
    const int8x8_t b = vreinterpret_s8_s32(vdup_n_s32(four_of(a)));
    const int8x16_t l = vreinterpretq_s8_u8(w.l), h = vreinterpretq_s8_u8(w.h);
    return (vsum){{vmlal_s8(sum.two_rows[0], vget_low_s8(l), b), vmlal_s8(sum.two_rows[1], vget_high_s8(l), b),
                   vmlal_s8(sum.two_rows[2], vget_low_s8(h), b), vmlal_s8(sum.two_rows[3], vget_high_s8(h), b)}};
}
static INLINE vsum vsum_add_u8(vsum sum, vb w, const int8_t *a) { return vsum_add_s8(sum, w, a); }
static INLINE vsum vsum_add_signed(vsum sum, vb w, vb signs, const int8_t *a) { return vsum_add_s8(sum, vb_signed(w, signs), a); }
static INLINE vsum vsum_here(vsum a) { return a; }
/* Lane i: the sum of its products; times scale; times a constant. */
static INLINE vi vsum_total(vsum a)
{
    return (vi){vpaddq_s32(vpaddlq_s16(a.two_rows[0]), vpaddlq_s16(a.two_rows[1])), vpaddq_s32(vpaddlq_s16(a.two_rows[2]), vpaddlq_s16(a.two_rows[3]))};
}
static INLINE vi vsum_scaled(vsum a, vb scale) { return vi_scaled(vsum_total(a), scale); }
static INLINE vi vsum_times(vsum a, int factor) { return vi_mul(vsum_total(a), vi_set1(factor)); }
#endif
#endif
