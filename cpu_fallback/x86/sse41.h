/* x86/sse41.h: the vector helpers of level SSE41 (SSE4.1, hence SSSE3): the same names and meanings as x86/avx2.h, each vector being two
 * registers. Halves are converted by integer steps, since F16C came with AVX. Knows no op and no format. */
#ifndef BL_CPU_X86_SSE41_H
#define BL_CPU_X86_SSE41_H
#include "base/half.h"
#include "cpu_fallback/call.h"

#include <smmintrin.h>
#include <string.h>

enum { LEVEL_AT_ONCE = 2 }; /* sums of products that the registers hold beside what is multiplied */
#define INLINE inline __attribute__((always_inline))
#define LEVEL_NAME(name) bl_##name##_sse41
#define LEVEL_TABLE bl_cpu_table_sse41

typedef struct {
    __m128 l, h;
} vf;
typedef struct {
    __m128i l, h;
} vi;
typedef vi vb, vsum;

/* ---- f32 ---- */
static INLINE vf vf_load(const float *p) { return (vf){_mm_loadu_ps(p), _mm_loadu_ps(p + 4)}; }
static INLINE void vf_store(float *p, vf a)
{
    _mm_storeu_ps(p, a.l);
    _mm_storeu_ps(p + 4, a.h);
}
static INLINE vf vf_set1(float a) { return (vf){_mm_set1_ps(a), _mm_set1_ps(a)}; }
static INLINE vf vf_add(vf a, vf b) { return (vf){_mm_add_ps(a.l, b.l), _mm_add_ps(a.h, b.h)}; }
static INLINE vf vf_sub(vf a, vf b) { return (vf){_mm_sub_ps(a.l, b.l), _mm_sub_ps(a.h, b.h)}; }
static INLINE vf vf_mul(vf a, vf b) { return (vf){_mm_mul_ps(a.l, b.l), _mm_mul_ps(a.h, b.h)}; }
static INLINE vf vf_div(vf a, vf b) { return (vf){_mm_div_ps(a.l, b.l), _mm_div_ps(a.h, b.h)}; }
static INLINE vf vf_min(vf a, vf b) { return (vf){_mm_min_ps(a.l, b.l), _mm_min_ps(a.h, b.h)}; } /* a < b ? a : b */
static INLINE vf vf_max(vf a, vf b) { return (vf){_mm_max_ps(a.l, b.l), _mm_max_ps(a.h, b.h)}; } /* a > b ? a : b */
static INLINE vf vf_sign(vf a) { return (vf){_mm_and_ps(a.l, _mm_set1_ps(-0.0f)), _mm_and_ps(a.h, _mm_set1_ps(-0.0f))}; }
static INLINE vf vf_xor(vf a, vf b) { return (vf){_mm_xor_ps(a.l, b.l), _mm_xor_ps(a.h, b.h)}; }
static INLINE vf vf_less_select(vf a, vf b, vf yes, vf no) /* a < b ? yes : no */
{
    return (vf){_mm_blendv_ps(no.l, yes.l, _mm_cmplt_ps(a.l, b.l)), _mm_blendv_ps(no.h, yes.h, _mm_cmplt_ps(a.h, b.h))};
}
static INLINE vf vf_from_vi(vi a) { return (vf){_mm_cvtepi32_ps(a.l), _mm_cvtepi32_ps(a.h)}; }
static INLINE __m128i load_8(const void *p) { return _mm_loadl_epi64(p); }
static INLINE vf vf_load_u8(const uint8_t *p)
{
    const __m128i a = load_8(p);
    return (vf){_mm_cvtepi32_ps(_mm_cvtepu8_epi32(a)), _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_srli_si128(a, 4)))};
}
static INLINE vf vf_load_s8(const uint8_t *p)
{
    const __m128i a = load_8(p);
    return (vf){_mm_cvtepi32_ps(_mm_cvtepi8_epi32(a)), _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_srli_si128(a, 4)))};
}
/* Halves in the low 16 bits of each lane, the others 0; as bl_f16_to_f32. The product moves the exponent, makes denormals normal and NaN quiet. */
static INLINE __m128 from_halves(__m128i a)
{
    const __m128i magnitude = _mm_and_si128(a, _mm_set1_epi32(0x7fff)), is_special = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff));
    const __m128i bits = _mm_or_si128(_mm_slli_epi32(magnitude, 13), _mm_and_si128(is_special, _mm_set1_epi32(0x7f800000)));
    const __m128 value = _mm_mul_ps(_mm_castsi128_ps(bits), _mm_set1_ps(0x1p112f));
    return _mm_or_ps(value, _mm_castsi128_ps(_mm_slli_epi32(_mm_xor_si128(a, magnitude), 16)));
}
static INLINE vf vf_load_f16(const void *p)
{
    const __m128i a = _mm_loadu_si128(p), zero = _mm_setzero_si128();
    return (vf){from_halves(_mm_unpacklo_epi16(a, zero)), from_halves(_mm_unpackhi_epi16(a, zero))};
}
static INLINE vf vf_load_bf16(const void *p)
{
    const __m128i a = _mm_loadu_si128(p), zero = _mm_setzero_si128();
    return (vf){_mm_castsi128_ps(_mm_unpacklo_epi16(zero, a)), _mm_castsi128_ps(_mm_unpackhi_epi16(zero, a))};
}
static INLINE void vf_store_f16(void *p, vf a)
{
    float lanes[8];
    uint16_t halves[8];
    vf_store(lanes, a);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        halves[i] = bl_f32_to_f16(lanes[i]);
    memcpy(p, halves, sizeof halves);
}

static INLINE float f16_value(uint16_t h) { return bl_f16_to_f32(h); }
/* Lane i: s[i] ? table[s[i] % 16] * 2^(exponent + s[i] / 16) : 0, all normal numbers. */
static INLINE vf vf_scales(const uint8_t s[8], const float table[16], int exponent)
{
    float lanes[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        lanes[i] = s[i] ? bl_bits_f32(bl_f32_bits(table[s[i] % 16]) + ((uint32_t)(exponent + s[i] / 16) << 23)) : 0;
    return vf_load(lanes);
}

/* The first n lanes of a, zeros after. */
static INLINE vf vf_first(vf a, uint32_t n)
{
    const __m128i count = _mm_set1_epi32((int)n);
    return (vf){_mm_and_ps(a.l, _mm_castsi128_ps(_mm_cmpgt_epi32(count, _mm_setr_epi32(0, 1, 2, 3)))),
                _mm_and_ps(a.h, _mm_castsi128_ps(_mm_cmpgt_epi32(count, _mm_setr_epi32(4, 5, 6, 7))))};
}

/* ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)) */
static INLINE float vf_sum(vf a)
{
    __m128 four = _mm_add_ps(a.l, a.h);
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Lane i: vf_sum(a[i]). */
static INLINE vf vf_sum8(const vf a[8])
{
    __m128 four[8], two[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        four[i] = _mm_add_ps(a[i].l, a[i].h);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        two[i] = _mm_add_ps(_mm_shuffle_ps(four[2 * i], four[2 * i + 1], 0x44), _mm_shuffle_ps(four[2 * i], four[2 * i + 1], 0xee));
    return (vf){_mm_add_ps(_mm_shuffle_ps(two[0], two[1], 0x88), _mm_shuffle_ps(two[0], two[1], 0xdd)),
                _mm_add_ps(_mm_shuffle_ps(two[2], two[3], 0x88), _mm_shuffle_ps(two[2], two[3], 0xdd))};
}

static INLINE float vf_largest(vf a)
{
    __m128 four = _mm_max_ps(a.l, a.h);
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* 16 floats e0 o0 e1 o1 ... <-> e, o. */
static INLINE void vf_load_pairs(const float *p, vf *even, vf *odd)
{
    const vf a = vf_load(p), b = vf_load(p + 8);
    *even = (vf){_mm_shuffle_ps(a.l, a.h, 0x88), _mm_shuffle_ps(b.l, b.h, 0x88)};
    *odd = (vf){_mm_shuffle_ps(a.l, a.h, 0xdd), _mm_shuffle_ps(b.l, b.h, 0xdd)};
}
static INLINE void vf_store_pairs(float *p, vf even, vf odd)
{
    vf_store(p, (vf){_mm_unpacklo_ps(even.l, odd.l), _mm_unpackhi_ps(even.l, odd.l)});
    vf_store(p + 8, (vf){_mm_unpacklo_ps(even.h, odd.h), _mm_unpackhi_ps(even.h, odd.h)});
}

/* The halves at `at` of eight rows and those right after them. */
static INLINE void vf_gather_f16_pairs(const uint8_t *const rows[8], size_t at, vf *first, vf *second)
{
    int word[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(&word[i], rows[i] + at, 4);
    const __m128i l = _mm_setr_epi32(word[0], word[1], word[2], word[3]), h = _mm_setr_epi32(word[4], word[5], word[6], word[7]);
    const __m128i mask = _mm_set1_epi32(0xffff);
    *first = (vf){from_halves(_mm_and_si128(l, mask)), from_halves(_mm_and_si128(h, mask))};
    *second = (vf){from_halves(_mm_srli_epi32(l, 16)), from_halves(_mm_srli_epi32(h, 16))};
}
static INLINE vf vf_gather_f16(const uint8_t *const rows[8], size_t at)
{
    uint16_t halves[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(&halves[i], rows[i] + at, 2);
    return vf_load_f16(halves);
}

/* The steps of exp: the integer in the low bits of a (a = integer + ROUND_MAGIC), and p * 2^n in two factors. */
static INLINE __m128 scale_half(__m128 p, __m128 shifted, __m128 magic)
{
    const __m128i n = _mm_sub_epi32(_mm_castps_si128(shifted), _mm_castps_si128(magic)), half = _mm_srai_epi32(n, 1), bias = _mm_set1_epi32(127);
    p = _mm_mul_ps(p, _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(half, bias), 23)));
    return _mm_mul_ps(p, _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(_mm_sub_epi32(n, half), bias), 23)));
}
static INLINE vf vf_scale_by_power(vf p, vf shifted, vf magic)
{
    return (vf){scale_half(p.l, shifted.l, magic.l), scale_half(p.h, shifted.h, magic.h)};
}

/* The bits of the largest magnitude of 32 floats; NaN is above infinity. */
static INLINE uint32_t vf_largest_magnitude(const vf v[4])
{
    const __m128i mask = _mm_set1_epi32(0x7fffffff);
    __m128i m = _mm_setzero_si128();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        m = _mm_max_epi32(_mm_max_epi32(m, _mm_and_si128(_mm_castps_si128(v[i].l), mask)), _mm_and_si128(_mm_castps_si128(v[i].h), mask));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

/* q = round(v * inverse) as bytes, and the sums of each half. */
static INLINE void vf_store_q8(const vf v[4], float inverse, struct bl_q8_plane *out)
{
    const __m128 factor = _mm_set1_ps(inverse);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const vf *a = v + 2 * i;
        const __m128i low = _mm_packs_epi32(_mm_cvtps_epi32(_mm_mul_ps(a[0].l, factor)), _mm_cvtps_epi32(_mm_mul_ps(a[0].h, factor)));
        const __m128i high = _mm_packs_epi32(_mm_cvtps_epi32(_mm_mul_ps(a[1].l, factor)), _mm_cvtps_epi32(_mm_mul_ps(a[1].h, factor)));
        _mm_storeu_si128((void *)(out->q + 16 * i), _mm_packs_epi16(low, high));
        __m128i sums = _mm_madd_epi16(_mm_add_epi16(low, high), _mm_set1_epi16(1));
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
        out->sum[i] = (int16_t)_mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1)));
    }
}

/* ---- 32 bytes ---- */
static INLINE vb vb_load(const uint8_t *p) { return (vb){_mm_loadu_si128((const void *)p), _mm_loadu_si128((const void *)(p + 16))}; }
static INLINE void vb_store(uint8_t *p, vb a)
{
    _mm_storeu_si128((void *)p, a.l);
    _mm_storeu_si128((void *)(p + 16), a.h);
}
static INLINE vb vb_here(vb a) { return a; } /* see avx2.h; here the registers run out in any order */
static INLINE vb vb_both(__m128i a) { return (vb){a, a}; }
static INLINE vb vb_set1(int a) { return vb_both(_mm_set1_epi8((char)a)); }
static INLINE vb vb_and(vb a, vb b) { return (vb){_mm_and_si128(a.l, b.l), _mm_and_si128(a.h, b.h)}; }
static INLINE vb vb_or(vb a, vb b) { return (vb){_mm_or_si128(a.l, b.l), _mm_or_si128(a.h, b.h)}; }
static INLINE vb vb_place(vb a, int shift) { return (vb){_mm_slli_epi16(a.l, shift), _mm_slli_epi16(a.h, shift)}; } /* no bit of a byte may leave it */
static INLINE vb vp_shift_right(vb a, int n) { return (vb){_mm_srli_epi16(a.l, n), _mm_srli_epi16(a.h, n)}; }
static INLINE vb vb_field(vb a, int shift, int mask) { return vb_and(vp_shift_right(a, shift), vb_set1(mask)); } /* (a >> shift) & mask in every byte; mask < 2^(8 - shift) */
/* 16 bytes -> their low nibbles, then their high nibbles. */
static INLINE vb vb_nibbles(const uint8_t *p)
{
    const __m128i a = _mm_loadu_si128((const void *)p);
    return vb_and((vb){a, _mm_srli_epi16(a, 4)}, vb_set1(15));
}
/* Bit i of 32 -> byte i: 255 or 0. */
static INLINE vb vb_bits(const uint8_t *p)
{
    int bits;
    memcpy(&bits, p, 4);
    const __m128i all = _mm_cvtsi32_si128(bits), bit = _mm_set1_epi64x((long long)0x8040201008040201u);
    const __m128i l = _mm_shuffle_epi8(all, _mm_set_epi64x(0x0101010101010101, 0)), h = _mm_shuffle_epi8(all, _mm_set_epi64x(0x0303030303030303, 0x0202020202020202));
    return (vb){_mm_cmpeq_epi8(_mm_and_si128(l, bit), bit), _mm_cmpeq_epi8(_mm_and_si128(h, bit), bit)};
}
/* 16 bytes, in both halves; and byte i of such a table for every i < 16. */
static INLINE vb vb_table(const uint8_t *p) { return vb_both(_mm_loadu_si128((const void *)p)); }
static INLINE vb vb_table_of(uint64_t low, uint64_t high) { return vb_both(_mm_set_epi64x((long long)high, (long long)low)); }
static INLINE vb vb_lookup(vb table, vb i) { return (vb){_mm_shuffle_epi8(table.l, i.l), _mm_shuffle_epi8(table.h, i.h)}; }
/* The same for the low or the high nibbles of bytes whose nibbles are all below 8: then nothing need be masked. */
static INLINE vb vb_lookup_low(vb table, vb i) { return vb_lookup(table, i); }
static INLINE vb vb_lookup_high(vb table, vb i) { return vb_lookup(table, vp_shift_right(i, 4)); }
/* Bytes n places up; which bits enter a byte from below is not defined. */
static INLINE vb vb_up(vb a, int n) { return vb_place(a, n); }
static INLINE vb vb_down(vb a, int n) { return vp_shift_right(a, n); }
static INLINE vb vb_xor(vb a, vb b) { return (vb){_mm_xor_si128(a.l, b.l), _mm_xor_si128(a.h, b.h)}; }
static INLINE vb vb_add(vb a, vb b) { return (vb){_mm_add_epi8(a.l, b.l), _mm_add_epi8(a.h, b.h)}; }
/* The 16 bytes at even places, then those at odd ones. */
static INLINE vb vb_evens_odds(vb a)
{
    const __m128i split = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    const __m128i l = _mm_shuffle_epi8(a.l, split), h = _mm_shuffle_epi8(a.h, split);
    return (vb){_mm_unpacklo_epi64(l, h), _mm_unpackhi_epi64(l, h)};
}
static INLINE void row_bytes(const __m128i w[4], __m128i bytes[4])
{
    const __m128i by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i s[4], pair[4];
    for (int t = 0; t < 4; t++)
        s[t] = _mm_shuffle_epi8(w[t], by_byte);
    for (int t = 0; t < 4; t += 2) {
        pair[t] = _mm_unpacklo_epi32(s[t], s[t + 1]);
        pair[t + 1] = _mm_unpackhi_epi32(s[t], s[t + 1]);
    }
    for (int i = 0; i < 2; i++) {
        bytes[2 * i] = _mm_unpacklo_epi64(pair[i], pair[i + 2]);
        bytes[2 * i + 1] = _mm_unpackhi_epi64(pair[i], pair[i + 2]);
    }
}
/* w[t] holds eight words of 4 bytes, a row each; afterwards bytes[k] holds byte k of all 32 rows, in an order that vb_row_sums undoes. */
static INLINE void vb_row_bytes(const vb w[4], vb bytes[4])
{
    __m128i l[4] = {w[0].l, w[1].l, w[2].l, w[3].l}, h[4] = {w[0].h, w[1].h, w[2].h, w[3].h};
    row_bytes(l, l);
    row_bytes(h, h);
    for (int k = 0; k < 4; k++)
        bytes[k] = (vb){l[k], h[k]};
}
static INLINE void row_sums(__m128i low, __m128i high, __m128i sums[4])
{
    const __m128i parts = _mm_set1_epi16(32 << 8 | 1), zero = _mm_setzero_si128();
    for (int i = 0; i < 2; i++) {
        const __m128i both = _mm_maddubs_epi16(i ? _mm_unpackhi_epi8(low, high) : _mm_unpacklo_epi8(low, high), parts);
        sums[2 * i] = _mm_unpacklo_epi16(both, zero);
        sums[2 * i + 1] = _mm_unpackhi_epi16(both, zero);
    }
}
/* Lane r of sums[t]: low + 32 * high of row r of w[t]. */
static INLINE void vb_row_sums(vb low, vb high, vi sums[4])
{
    __m128i l[4], h[4];
    row_sums(low.l, high.l, l);
    row_sums(low.h, high.h, h);
    for (int t = 0; t < 4; t++)
        sums[t] = (vi){l[t], h[t]};
}
static INLINE void transpose4(const __m128i in[4], __m128i out[4])
{
    const __m128i a = _mm_unpacklo_epi32(in[0], in[1]), b = _mm_unpackhi_epi32(in[0], in[1]);
    const __m128i c = _mm_unpacklo_epi32(in[2], in[3]), d = _mm_unpackhi_epi32(in[2], in[3]);
    out[0] = _mm_unpacklo_epi64(a, c);
    out[1] = _mm_unpackhi_epi64(a, c);
    out[2] = _mm_unpacklo_epi64(b, d);
    out[3] = _mm_unpackhi_epi64(b, d);
}
/* v[row] holds eight 4-byte groups; afterwards v[i] holds group i of each row. */
static INLINE void vb_transpose(vb v[8])
{
    __m128i in[4][4], out[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        in[0][i] = v[i].l;
        in[1][i] = v[i + 4].l;
        in[2][i] = v[i].h;
        in[3][i] = v[i + 4].h;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        transpose4(in[i], out[i]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = (vb){out[0][i], out[1][i]};
        v[i + 4] = (vb){out[2][i], out[3][i]};
    }
}
/* What vb_nibbles of 16 bytes at `at` of eight rows and vb_transpose give, with 16 more where the bit of 4 bytes at bits_at is set (0: there
 * are none). */
static INLINE void vb_nibble_groups(const uint8_t *const rows[8], size_t at, size_t bits_at, vb w[8])
{
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        w[r] = vb_nibbles(rows[r] + at);
        if (bits_at)
            w[r] = vb_or(w[r], vb_and(vb_bits(rows[r] + bits_at), vb_set1(16)));
    }
    vb_transpose(w);
}

/* ---- pairs of i16: vb as 8 x 2 ---- */
static INLINE vb vp_set1(int a) { return vb_both(_mm_set1_epi16((short)a)); }
static INLINE vb vp_sub(vb a, vb b) { return (vb){_mm_sub_epi16(a.l, b.l), _mm_sub_epi16(a.h, b.h)}; }
static INLINE vb vp_shift_left(vb a, int n) { return vb_place(a, n); }
static INLINE vb vp_widen_u8(uint64_t low, uint64_t high)
{
    return (vb){_mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)low)), _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)high))};
}
static INLINE vb vp_load_u8(const uint8_t *p) { return (vb){_mm_cvtepu8_epi16(load_8(p)), _mm_cvtepu8_epi16(load_8(p + 8))}; }
static INLINE vb vp_load_s8(const uint8_t *p) { return (vb){_mm_cvtepi8_epi16(load_8(p)), _mm_cvtepi8_epi16(load_8(p + 8))}; }
static INLINE vb vp_twice_u8(uint64_t bytes) /* pair i: byte i, byte i */
{
    const __m128i a = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)bytes));
    return (vb){_mm_unpacklo_epi16(a, a), _mm_unpackhi_epi16(a, a)};
}
static INLINE __m128i firsts(__m128i a) { return _mm_blend_epi16(a, _mm_slli_epi32(a, 16), 0xaa); }
static INLINE __m128i seconds(__m128i a) { return _mm_blend_epi16(a, _mm_srli_epi32(a, 16), 0x55); }
static INLINE vb vp_firsts(vb a) { return (vb){firsts(a.l), firsts(a.h)}; } /* pair i: a[i][0], a[i][0] */
static INLINE vb vp_seconds(vb a) { return (vb){seconds(a.l), seconds(a.h)}; }
static INLINE vi vp_dot(vb pairs, const int16_t other[2]) /* lane i: pairs[i][0] * other[0] + pairs[i][1] * other[1] */
{
    int both;
    memcpy(&both, other, 4);
    return (vi){_mm_madd_epi16(pairs.l, _mm_set1_epi32(both)), _mm_madd_epi16(pairs.h, _mm_set1_epi32(both))};
}

/* ---- i32 ---- */
static INLINE vi vi_add(vi a, vi b) { return (vi){_mm_add_epi32(a.l, b.l), _mm_add_epi32(a.h, b.h)}; }
static INLINE vi vi_sub(vi a, vi b) { return (vi){_mm_sub_epi32(a.l, b.l), _mm_sub_epi32(a.h, b.h)}; }
static INLINE vi vi_mul(vi a, vi b) { return (vi){_mm_mullo_epi32(a.l, b.l), _mm_mullo_epi32(a.h, b.h)}; }
static INLINE vi vi_set1(int a) { return vb_both(_mm_set1_epi32(a)); }
/* Lane i: bits 4i .. 4i + 3. */
static INLINE __m128i four_nibbles(__m128i word, __m128i byte_of)
{
    const __m128i bytes = _mm_shuffle_epi8(word, byte_of);
    return _mm_blend_epi16(_mm_and_si128(bytes, _mm_set1_epi32(15)), _mm_srli_epi32(bytes, 4), 0xcc);
}
static INLINE vi vi_nibbles(uint32_t word)
{
    const __m128i all = _mm_cvtsi32_si128((int)word), none = _mm_set1_epi32((int)0x80808000u);
    return (vi){four_nibbles(all, _mm_or_si128(none, _mm_setr_epi32(0, 0, 1, 1))), four_nibbles(all, _mm_or_si128(none, _mm_setr_epi32(2, 2, 3, 3)))};
}
static INLINE vi vi_here(vi a) { return a; }
static INLINE __m128i four_of(const int8_t *a)
{
    int four;
    memcpy(&four, a, 4);
    return _mm_set1_epi32(four);
}
static INLINE vb vb_signed(vb w, vb signs) { return (vb){_mm_sign_epi8(w.l, signs.l), _mm_sign_epi8(w.h, signs.h)}; }

/* ---- sums of byte products ---- */
enum { VSUM_IS_WIDE = 0, VSUM_BIAS = 0 }; /* these and what follows: see avx2.h */
static INLINE vb vb_biased(vb a) { return a; }
static INLINE void vb_join_nibbles(vb low, vb high, vb joined[2])
{
    const vb change = vb_and(vb_xor(vb_down(low, 4), high), vb_set1(15));
    joined[0] = vb_xor(low, vb_place(change, 4));
    joined[1] = vb_xor(high, change);
}

static INLINE vsum vsum_zero(void) { return vb_both(_mm_setzero_si128()); }
static INLINE vsum vsum_add_u8(vsum sum, vb w, const int8_t *a)
{
    return (vsum){_mm_add_epi16(sum.l, _mm_maddubs_epi16(w.l, four_of(a))), _mm_add_epi16(sum.h, _mm_maddubs_epi16(w.h, four_of(a)))};
}
static INLINE vsum vsum_add_signed(vsum sum, vb w, vb signs, const int8_t *a)
{
    return (vsum){_mm_add_epi16(sum.l, _mm_maddubs_epi16(w.l, _mm_sign_epi8(four_of(a), signs.l))),
                  _mm_add_epi16(sum.h, _mm_maddubs_epi16(w.h, _mm_sign_epi8(four_of(a), signs.h)))};
}
static INLINE vsum vsum_add_s8(vsum sum, vb w, const int8_t *a)
{
    return vsum_add_signed(sum, (vb){_mm_abs_epi8(w.l), _mm_abs_epi8(w.h)}, w, a);
}
static INLINE vsum vsum_here(vsum a) { return a; }
static INLINE vi vsum_scaled(vsum a, vb scale) { return (vi){_mm_madd_epi16(a.l, scale.l), _mm_madd_epi16(a.h, scale.h)}; }
static INLINE vi vsum_times(vsum a, int factor) { return vsum_scaled(a, vp_set1(factor)); }
static INLINE vi vsum_total(vsum a) { return vsum_times(a, 1); }
#endif
