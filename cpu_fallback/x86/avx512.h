/* x86/avx512.h: the vector helpers of level AVX512: those of AVX2 (whose vectors of eight are the definition's lanes, so nothing is wider
 * here), with VNNI's dot products of four bytes and twice the registers. The level above it takes all of this. */
#ifndef BL_CPU_X86_AVX512_H
#define BL_CPU_X86_AVX512_H
#ifndef LEVEL_NAME
#define LEVEL_NAME(name) bl_##name##_avx512
#define LEVEL_TABLE bl_cpu_table_avx512
#endif
#define LEVEL_ONLY_DOTS
#include "cpu_fallback/x86/avx2.h"

typedef vi vsum;

enum { VSUM_IS_WIDE = 1, VSUM_BIAS = 128 }; /* see avx2.h */

static INLINE vb vb_biased(vb a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
static INLINE vb vb_either(int mask, vb a, vb b) { return _mm256_ternarylogic_epi32(vb_set1(mask), a, b, 0xca); } /* bits of a where the mask has ones, else of b */
static INLINE void vb_join_nibbles(vb low, vb high, vb joined[2])
{
    joined[0] = vb_either(15, low, vb_up(high, 4));
    joined[1] = vb_either(15, vb_down(low, 4), high);
}
static INLINE vsum vsum_zero(void) { return _mm256_setzero_si256(); }
static INLINE vsum vsum_add_u8(vsum sum, vb w, const int8_t *a) { return _mm256_dpbusd_epi32(sum, w, four_of(a)); }
static INLINE vsum vsum_add_s8(vsum sum, vb w, const int8_t *a) { return vsum_add_u8(sum, w, a); }
static INLINE vsum vsum_add_signed(vsum sum, vb w, vb signs, const int8_t *a) { return vsum_add_u8(sum, vb_signed(w, signs), a); }
static INLINE vsum vsum_here(vsum a) { return a; }
static INLINE vi vsum_total(vsum a) { return a; }
static INLINE vi vsum_scaled(vsum a, vb scale) { return vi_mul(a, _mm256_srai_epi32(scale, 16)); }
static INLINE vi vsum_times(vsum a, int factor) { return vi_mul(a, vi_set1(factor)); }
#endif
