/* x86/avx2.h: the vector helpers of level AVX2: what body/ is written in. Eight f32 (vf), eight i32 (vi), 32 bytes (vb), sums of byte
 * products on their way to 32 bits (vsum). Each helper means the same on every ISA; knows no op and no format. Levels above it take all of
 * this but the sums of byte products, which are at the end. */
#ifndef BL_CPU_X86_AVX2_H
#define BL_CPU_X86_AVX2_H
#include "cpu_fallback/call.h"

#include <immintrin.h>
#include <string.h>

enum { LEVEL_AT_ONCE = 4 }; /* sums of products that the registers hold beside what is multiplied */
#define INLINE inline __attribute__((always_inline))
typedef __m256 vf;
typedef __m256i vi, vb;

/* ---- f32 ---- */
static INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static INLINE vf vf_set1(float a) { return _mm256_set1_ps(a); }
static INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); } /* a < b ? a : b */
static INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); } /* a > b ? a : b */
static INLINE vf vf_sign(vf a) { return _mm256_and_ps(a, _mm256_set1_ps(-0.0f)); }
static INLINE vf vf_xor(vf a, vf b) { return _mm256_xor_ps(a, b); }
static INLINE vf vf_less_select(vf a, vf b, vf yes, vf no) /* a < b ? yes : no */
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static INLINE vf vf_from_vi(vi a) { return _mm256_cvtepi32_ps(a); }
static INLINE vf vf_load_u8(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p))); }
static INLINE vf vf_load_s8(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))); }
static INLINE vf vf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static INLINE vf vf_load_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
static INLINE void vf_store_f16(void *p, vf a) { _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }

static INLINE float f16_value(uint16_t h) { return _cvtsh_ss(h); }
/* Lane i: s[i] ? table[s[i] % 16] * 2^(exponent + s[i] / 16) : 0, all normal numbers. */
static INLINE vf vf_scales(const uint8_t s[8], const float table[16], int exponent)
{
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)s));
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), wide), high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), wide);
    const __m256i mantissa = _mm256_castps_si256(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 28))));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_srli_epi32(wide, 4), _mm256_set1_epi32(exponent)), 23);
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpeq_epi32(wide, _mm256_setzero_si256()), _mm256_add_epi32(mantissa, power)));
}

/* The first n lanes of a, zeros after. */
static INLINE vf vf_first(vf a, uint32_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane)));
}

/* ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)) */
static INLINE float vf_sum(vf a)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Lane i: vf_sum(a[i]). */
static INLINE vf vf_sum8(const vf a[8])
{
    __m256 four[4], two[2];
    for (int i = 0; i < 4; i++)
        four[i] = _mm256_add_ps(_mm256_permute2f128_ps(a[i], a[i + 4], 0x20), _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    for (int i = 0; i < 2; i++)
        two[i] = _mm256_add_ps(_mm256_shuffle_ps(four[2 * i], four[2 * i + 1], 0x44), _mm256_shuffle_ps(four[2 * i], four[2 * i + 1], 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(two[0], two[1], 0x88), _mm256_shuffle_ps(two[0], two[1], 0xdd));
}

static INLINE float vf_largest(vf a)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* 16 floats e0 o0 e1 o1 ... <-> e, o. */
static INLINE void vf_load_pairs(const float *p, vf *even, vf *odd)
{
    __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    __m256 low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    *even = _mm256_shuffle_ps(low, high, 0x88);
    *odd = _mm256_shuffle_ps(low, high, 0xdd);
}
static INLINE void vf_store_pairs(float *p, vf even, vf odd)
{
    __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}

/* The f16 at rows[i] + at, for eight rows. */
/* Four bytes of each row. */
static INLINE __m256i load_words(const uint8_t *const rows[8], size_t at)
{
    int word[8];
    for (int i = 0; i < 8; i++)
        memcpy(&word[i], rows[i] + at, 4);
    return _mm256_setr_epi32(word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]);
}
/* The halves at `at` and those right after them. */
static INLINE void vf_gather_f16_pairs(const uint8_t *const rows[8], size_t at, vf *first, vf *second)
{
    const __m256i pairs = load_words(rows, at);
    const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(pairs, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32(pairs, 16));
    const __m256i halves = _mm256_permute4x64_epi64(packed, 0xd8); /* packus works in each half on its own */
    *first = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    *second = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
}
static INLINE vf vf_gather_f16(const uint8_t *const rows[8], size_t at)
{
    uint16_t h[8];
    for (int i = 0; i < 8; i++)
        memcpy(&h[i], rows[i] + at, 2);
    return _mm256_cvtph_ps(_mm_setr_epi16((short)h[0], (short)h[1], (short)h[2], (short)h[3], (short)h[4], (short)h[5], (short)h[6], (short)h[7]));
}

/* The steps of exp: the integer in the low bits of a (a = integer + ROUND_MAGIC), and p * 2^n in two factors. */
static INLINE vf vf_scale_by_power(vf p, vf shifted, vf magic)
{
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(magic)), half = _mm256_srai_epi32(n, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23)));
}

/* The bits of the largest magnitude of 32 floats; NaN is above infinity. */
static INLINE uint32_t vf_largest_magnitude(const vf v[4])
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++)
        m = _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(v[i]), mask));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/* q = round(v * inverse) as bytes, and the sums of each half. */
static INLINE void vf_store_q8(const vf v[4], float inverse, struct bl_q8_plane *out)
{
    __m256i i[4];
    for (int n = 0; n < 4; n++)
        i[n] = _mm256_cvtps_epi32(_mm256_mul_ps(v[n], _mm256_set1_ps(inverse)));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); /* packs work in each half on its own */
    _mm256_storeu_si256((void *)out->q, bytes);
    __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
    out->sum[0] = (int16_t)_mm256_extract_epi16(sums, 0);
    out->sum[1] = (int16_t)_mm256_extract_epi16(sums, 8);
}

/* ---- 32 bytes ---- */
static INLINE vb vb_load(const uint8_t *p) { return _mm256_loadu_si256((const void *)p); }
static INLINE void vb_store(uint8_t *p, vb a) { _mm256_storeu_si256((void *)p, a); }
/* a, computed here and in a register: compilers otherwise reorder long sums until the registers run out, and load a word twice. */
static INLINE vb vb_here(vb a)
{
    __asm__("" : "+x"(a));
    return a;
}
static INLINE vb vb_set1(int a) { return _mm256_set1_epi8((char)a); }
static INLINE vb vb_and(vb a, vb b) { return _mm256_and_si256(a, b); }
static INLINE vb vb_or(vb a, vb b) { return _mm256_or_si256(a, b); }
static INLINE vb vb_xor(vb a, vb b) { return _mm256_xor_si256(a, b); }
static INLINE vb vb_field(vb a, int shift, int mask) /* (a >> shift) & mask in every byte; mask < 2^(8 - shift) */
{
    return _mm256_and_si256(_mm256_srli_epi16(a, shift), _mm256_set1_epi8((char)mask));
}
static INLINE vb vb_place(vb a, int shift) { return _mm256_slli_epi16(a, shift); } /* no bit of a byte may leave it */
/* 16 bytes -> their low nibbles, then their high nibbles. */
static INLINE vb vb_nibbles(const uint8_t *p)
{
    __m128i a = _mm_loadu_si128((const void *)p);
    return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(a), _mm_srli_epi16(a, 4), 1), _mm256_set1_epi8(15));
}
/* Bit i of 32 -> byte i: 255 or 0. */
static INLINE vb vb_bits(const uint8_t *p)
{
    int bits;
    memcpy(&bits, p, 4);
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte_of), bit), bit);
}
/* 16 bytes, in both halves; and byte i of such a table for every i < 16. */
static INLINE vb vb_table(const uint8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p)); }
static INLINE vb vb_table_of(uint64_t low, uint64_t high) { return _mm256_broadcastsi128_si256(_mm_set_epi64x((long long)high, (long long)low)); }
static INLINE vb vb_lookup(vb table, vb i) { return _mm256_shuffle_epi8(table, i); }
/* The same for the low or the high nibbles of bytes whose nibbles are all below 8: then nothing need be masked. */
static INLINE vb vb_lookup_low(vb table, vb i) { return _mm256_shuffle_epi8(table, i); }
static INLINE vb vb_lookup_high(vb table, vb i) { return _mm256_shuffle_epi8(table, _mm256_srli_epi16(i, 4)); }
/* Bytes n places up, or down; which bits enter a byte is not defined. */
static INLINE vb vb_up(vb a, int n) { return _mm256_slli_epi16(a, n); }
static INLINE vb vb_down(vb a, int n) { return _mm256_srli_epi16(a, n); }
/* The 16 bytes at even places, then those at odd ones. */
static INLINE vb vb_evens_odds(vb a)
{
    const __m256i split = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, split), 0xd8);
}
static INLINE vb vb_add(vb a, vb b) { return _mm256_add_epi8(a, b); }
/* w[t] holds eight words of 4 bytes, a row each; afterwards bytes[k] holds byte k of all 32 rows, in an order that vb_row_sums undoes. */
static INLINE void vb_row_bytes(const vb w[4], vb bytes[4])
{
    const __m256i by_byte = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i s[4], pair[4];
    for (int t = 0; t < 4; t++)
        s[t] = _mm256_shuffle_epi8(w[t], by_byte);
    for (int t = 0; t < 4; t += 2) {
        pair[t] = _mm256_unpacklo_epi32(s[t], s[t + 1]);
        pair[t + 1] = _mm256_unpackhi_epi32(s[t], s[t + 1]);
    }
    for (int i = 0; i < 2; i++) {
        bytes[2 * i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);
        bytes[2 * i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);
    }
}
/* Lane r of sums[t]: low + 32 * high of row r of w[t]. */
static INLINE void vb_row_sums(vb low, vb high, vi sums[4])
{
    const __m256i parts = _mm256_set1_epi16(32 << 8 | 1), zero = _mm256_setzero_si256();
    for (int i = 0; i < 2; i++) {
        const __m256i both = _mm256_maddubs_epi16(i ? _mm256_unpackhi_epi8(low, high) : _mm256_unpacklo_epi8(low, high), parts);
        sums[2 * i] = _mm256_unpacklo_epi16(both, zero);
        sums[2 * i + 1] = _mm256_unpackhi_epi16(both, zero);
    }
}
/* v[row] holds eight 4-byte groups; afterwards v[i] holds group i of each row. */
static INLINE void vb_transpose(vb v[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* What vb_nibbles of 16 bytes at `at` of eight rows and vb_transpose give, with 16 more where the bit of 4 bytes at bits_at is set (0: there
 * are none). The bytes are moved before they are split, so half as many move. */
static INLINE void vb_nibble_groups(const uint8_t *const rows[8], size_t at, size_t bits_at, vb w[8])
{
    __m256i a[4], b[4];
    for (int r = 0; r < 4; r++)
        a[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(rows[r] + at))),
                                       _mm_loadu_si128((const void *)(rows[r + 4] + at)), 1);
    for (int i = 0; i < 4; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    a[0] = _mm256_unpacklo_epi64(b[0], b[2]);
    a[1] = _mm256_unpackhi_epi64(b[0], b[2]);
    a[2] = _mm256_unpacklo_epi64(b[1], b[3]);
    a[3] = _mm256_unpackhi_epi64(b[1], b[3]);
    for (int i = 0; i < 4; i++) {
        w[i] = vb_field(a[i], 0, 15);
        w[i + 4] = vb_field(a[i], 4, 15);
    }
    if (!bits_at)
        return;
    const __m256i bits = load_words(rows, bits_at), sixteen = _mm256_set1_epi8(16);
    for (int i = 0; i < 8; i++) { /* group i: bits 4i .. 4i + 3 of each lane */
        const __m256i bit = _mm256_set1_epi32(i % 2 ? (int)0x80402010u : 0x08040201);
        const __m256i byte_of = _mm256_add_epi8(_mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c),
                                                _mm256_set1_epi8((char)(i / 2)));
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, byte_of), bit), bit);
        w[i] = _mm256_or_si256(w[i], _mm256_and_si256(set, sixteen));
    }
}

/* ---- pairs of i16: vb as 8 x 2 ---- */
static INLINE vb vp_set1(int a) { return _mm256_set1_epi16((short)a); }
static INLINE vb vp_sub(vb a, vb b) { return _mm256_sub_epi16(a, b); }
static INLINE vb vp_shift_left(vb a, int n) { return _mm256_slli_epi16(a, n); }
static INLINE vb vp_shift_right(vb a, int n) { return _mm256_srli_epi16(a, n); }
static INLINE vb vp_widen_u8(uint64_t low, uint64_t high) { return _mm256_cvtepu8_epi16(_mm_set_epi64x((long long)high, (long long)low)); }
static INLINE vb vp_load_u8(const uint8_t *p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p)); }
static INLINE vb vp_load_s8(const uint8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)p)); }
static INLINE vb vp_twice_u8(uint64_t bytes) /* pair i: byte i, byte i */
{
    __m256i a = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
    return _mm256_or_si256(a, _mm256_slli_epi32(a, 16));
}
static INLINE vb vp_firsts(vb a) /* pair i: a[i][0], a[i][0] */
{
    return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(a, 16));
}
static INLINE vb vp_seconds(vb a)
{
    return _mm256_blend_epi16(a, _mm256_srli_epi32(a, 16), 0x55);
}
static INLINE vi vp_dot(vb pairs, const int16_t other[2]) /* lane i: pairs[i][0] * other[0] + pairs[i][1] * other[1] */
{
    int both;
    memcpy(&both, other, 4);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi32(both));
}

/* ---- i32 ---- */
static INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
static INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
static INLINE vi vi_set1(int a) { return _mm256_set1_epi32(a); }
/* Lane i: bits 4i .. 4i + 3. */
static INLINE vi vi_nibbles(uint32_t word)
{
    const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)word), shifts), _mm256_set1_epi32(15));
}
static INLINE vi vi_here(vi a) { return vb_here(a); }
static INLINE vb four_of(const int8_t *a)
{
    int four;
    memcpy(&four, a, 4);
    return _mm256_set1_epi32(four);
}
static INLINE vb vb_signed(vb w, vb signs) { return _mm256_sign_epi8(w, signs); } /* as vsum_add_signed counts them */

/* ---- sums of byte products ---- */
#ifndef LEVEL_NAME
#define LEVEL_NAME(name) bl_##name##_avx2
#define LEVEL_TABLE bl_cpu_table_avx2
typedef __m256i vsum;

/* VSUM_IS_WIDE: sums hold 32 bits, so any number of products may be added. VSUM_BIAS: vsum_add_s8 and vsum_add_signed take weights to which
 * vb_biased has added it; what that adds to the sum is subtracted afterwards. */
enum { VSUM_IS_WIDE = 0, VSUM_BIAS = 0 };
static INLINE vb vb_biased(vb a) { return a; }
/* The low nibbles of both, low's lowest, and the high nibbles of both. Here the high ones of `low` and the low ones of `high` change places. */
static INLINE void vb_join_nibbles(vb low, vb high, vb joined[2])
{
    const vb change = vb_and(vb_xor(vb_down(low, 4), high), vb_set1(15));
    joined[0] = vb_xor(low, vb_place(change, 4));
    joined[1] = vb_xor(high, change);
}

static INLINE vsum vsum_zero(void) { return _mm256_setzero_si256(); }
/* Lane i (4 bytes of w, 4 bytes a): products w * a on top of the sum, not yet one number. Unsigned w <= 63 (or 127 where one product pair is
 * the whole sum): a pair is at most 2 * 63 * 127, two pairs still fit in 16 bits. */
static INLINE vsum vsum_add_u8(vsum sum, vb w, const int8_t *a) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, four_of(a))); }
static INLINE vsum vsum_add_s8(vsum sum, vb w, const int8_t *a)
{
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four_of(a), w)));
}
/* w <= 127 counts as negative where the top bit of the byte of `signs` is set; no byte of `signs` is 0. */
static INLINE vsum vsum_add_signed(vsum sum, vb w, vb signs, const int8_t *a)
{
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, _mm256_sign_epi8(four_of(a), signs)));
}
static INLINE vsum vsum_here(vsum a) { return vb_here(a); }
/* Lane i: the sum of its products; times scale (both halves of the pair hold it); times a constant. */
static INLINE vi vsum_total(vsum a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
static INLINE vi vsum_scaled(vsum a, vb scale) { return _mm256_madd_epi16(a, scale); }
static INLINE vi vsum_times(vsum a, int factor) { return _mm256_madd_epi16(a, _mm256_set1_epi16((short)factor)); }
#endif
#endif
