/* arm/dotprod.h: the vector helpers of level DOTPROD (ARMv8.2's sdot): those of NEON, with dot products of four bytes. The level above it takes
 * all of this. */
#ifndef BL_CPU_ARM_DOTPROD_H
#define BL_CPU_ARM_DOTPROD_H
#ifndef LEVEL_NAME
#define LEVEL_NAME(name) bl_##name##_dotprod
#define LEVEL_TABLE bl_cpu_table_dotprod
#endif
#define LEVEL_ONLY_DOTS
#include "cpu_fallback/arm/neon.h"

typedef vi vsum;

enum { VSUM_IS_WIDE = 1, VSUM_BIAS = 0 }; /* see x86/avx2.h */

static INLINE vsum vsum_zero(void) { return vi_set1(0); }
/* Stored weights that are unsigned are below 128, so that one instruction, of signed bytes, does for all. */
static INLINE vsum vsum_add_s8(vsum sum, vb w, const int8_t *a)
{
    const int8x16_t b = vreinterpretq_s8_s32(vdupq_n_s32(four_of(a)));
    return (vsum){vdotq_s32(sum.l, vreinterpretq_s8_u8(w.l), b), vdotq_s32(sum.h, vreinterpretq_s8_u8(w.h), b)};
}
static INLINE vsum vsum_add_u8(vsum sum, vb w, const int8_t *a) { return vsum_add_s8(sum, w, a); }
static INLINE vsum vsum_add_signed(vsum sum, vb w, vb signs, const int8_t *a) { return vsum_add_s8(sum, vb_signed(w, signs), a); }
static INLINE vsum vsum_here(vsum a) { return a; }
static INLINE vi vsum_total(vsum a) { return a; }
static INLINE vi vsum_scaled(vsum a, vb scale) { return vi_scaled(a, scale); }
static INLINE vi vsum_times(vsum a, int factor) { return vi_mul(a, vi_set1(factor)); }
#endif
