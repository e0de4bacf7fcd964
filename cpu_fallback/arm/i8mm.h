/* arm/i8mm.h: the vector helpers of level I8MM (ARMv8.6's smmla): those of DOTPROD, with products of two rows by two rows of eight bytes, which
 * X-bit weights are laid out for where several rows of activations share them. */
#ifndef BL_CPU_ARM_I8MM_H
#define BL_CPU_ARM_I8MM_H
#define LEVEL_NAME(name) bl_##name##_i8mm
#define LEVEL_TABLE bl_cpu_table_i8mm
#define LEVEL_ONLY_XQ
#include "cpu_fallback/arm/dotprod.h"

#define LEVEL_HAS_PAIRS
static INLINE uint8x16_t trn1_words(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vtrn1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
static INLINE uint8x16_t trn2_words(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vtrn2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
/* Two quads of columns of eight rows -> their eight columns, of the even rows and of the odd ones. */
static INLINE void vb_join_quads(vb w[2])
{
    const vb even = {trn1_words(w[0].l, w[1].l), trn1_words(w[0].h, w[1].h)};
    w[1] = (vb){trn2_words(w[0].l, w[1].l), trn2_words(w[0].h, w[1].h)};
    w[0] = even;
}
/* sum[i] + products of w[i] (as joined) with eight bytes of each of two rows. */
static INLINE void vsum_add_pair(vsum sum[2], const vb w[2], const int8_t *a, const int8_t *b)
{
    const int8x16_t both = vcombine_s8(vld1_s8(a), vld1_s8(b));
    for (int i = 0; i < 2; i++)
        sum[i] = (vsum){vmmlaq_s32(sum[i].l, vreinterpretq_s8_u8(w[i].l), both), vmmlaq_s32(sum[i].h, vreinterpretq_s8_u8(w[i].h), both)};
}
/* Such sums -> those of the first row of activations and of the second, lane = row of weights. */
static INLINE void vsum_split(vsum sum[2])
{
    const vsum first = {vtrn1q_s32(sum[0].l, sum[1].l), vtrn1q_s32(sum[0].h, sum[1].h)};
    sum[1] = (vsum){vtrn2q_s32(sum[0].l, sum[1].l), vtrn2q_s32(sum[0].h, sum[1].h)};
    sum[0] = first;
}
#endif
