/* x86/vbmi.h: the vector helpers of level VBMI: those of AVX-512, with lookups in tables of 32 bytes, which only X-bit weights have a use for. */
#ifndef BL_CPU_X86_VBMI_H
#define BL_CPU_X86_VBMI_H
#define LEVEL_NAME(name) bl_##name##_vbmi
#define LEVEL_TABLE bl_cpu_table_vbmi
#define LEVEL_ONLY_XQ
#include "cpu_fallback/x86/avx512.h"

#define LEVEL_HAS_LOOKUP32
static INLINE vb vb_lookup32(vb table, vb i) { return _mm256_permutexvar_epi8(i, table); } /* byte i % 32 */
static INLINE vb vb_table32(vb first, vb second) { return _mm256_blend_epi32(first, second, 0xf0); } /* of two as vb_table gives them */
#endif
