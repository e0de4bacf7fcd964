/* ops.h: the CPU kernels as a table. This is all that a caller (the CPU back end, the kernel tests, the benchmark) sees of this folder.
 *
 * A kernel is one function over a range of workgroups of its grid: it may be called on any number of threads at once with disjoint ranges,
 * in any order; the result does not depend on the partition. It assumes legal input (the core has checked it), allocates nothing, keeps
 * no state, never fails, never reads or writes outside the bindings' ranges and its scratch. Numbers are defined in hal/kernel_params.h:
 * all levels give the same bits, except rows of the table that say otherwise.
 *
 * Levels are cumulative: a level that has no function of its own for a key inherits the level below. */
#ifndef BL_CPU_OPS_H
#define BL_CPU_OPS_H
#include "hal/kernel_key.h"
#include "hal/kernel_params.h"

#include <stddef.h>

/* One launch, as a kernel sees it. */
struct bl_cpu_call {
    void *const *bindings;  /* as listed in kernel_params.h; NULL for "or none" */
    const void *push;       /* the op's params struct */
    uint32_t grid[3];       /* workgroups per axis; linear index = x + grid[0] * (y + grid[1] * z) */
};
/* scratch: private to the calling thread, 64-byte aligned, at least scratch_bytes(push) bytes; contents undefined on entry. */
typedef void (*bl_cpu_fn)(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch);

/* X(NAME, name, text): CPU levels of this architecture that the build has (BL_CPU_WITH_...: see meson.build), weakest first. The name is the last part of a kernel's name and a word of
 * --cpu-mask. */
#if defined(BL_CPU_WITH_SSE41)
#define BL_CPU_LEVEL_SSE41(X) X(SSE41, sse41, "SSE4.1")
#else
#define BL_CPU_LEVEL_SSE41(X)
#endif
#if defined(BL_CPU_WITH_AVX2)
#define BL_CPU_LEVEL_AVX2(X) X(AVX2, avx2, "AVX2 + FMA + F16C")
#else
#define BL_CPU_LEVEL_AVX2(X)
#endif
#if defined(BL_CPU_WITH_AVX512)
#define BL_CPU_LEVEL_AVX512(X) X(AVX512, avx512, "AVX-512 BW + VL + VNNI")
#else
#define BL_CPU_LEVEL_AVX512(X)
#endif
#if defined(BL_CPU_WITH_VBMI)
#define BL_CPU_LEVEL_VBMI(X) X(VBMI, vbmi, "AVX-512 VNNI + VBMI")
#else
#define BL_CPU_LEVEL_VBMI(X)
#endif
#if defined(BL_CPU_WITH_NEON)
#define BL_CPU_LEVEL_NEON(X) X(NEON, neon, "Advanced SIMD")
#else
#define BL_CPU_LEVEL_NEON(X)
#endif
#if defined(BL_CPU_WITH_DOTPROD)
#define BL_CPU_LEVEL_DOTPROD(X) X(DOTPROD, dotprod, "Advanced SIMD + dot products")
#else
#define BL_CPU_LEVEL_DOTPROD(X)
#endif
#if defined(BL_CPU_WITH_I8MM)
#define BL_CPU_LEVEL_I8MM(X) X(I8MM, i8mm, "Advanced SIMD + products of pairs of rows")
#else
#define BL_CPU_LEVEL_I8MM(X)
#endif
#define BL_CPU_LEVELS(X) \
    X(C, c, "plain C") \
    BL_CPU_LEVEL_SSE41(X) BL_CPU_LEVEL_AVX2(X) BL_CPU_LEVEL_AVX512(X) BL_CPU_LEVEL_VBMI(X) BL_CPU_LEVEL_NEON(X) BL_CPU_LEVEL_DOTPROD(X) \
    BL_CPU_LEVEL_I8MM(X)
enum bl_cpu_level {
#define BL_CPU_LEVEL_ENUM(NAME, name, text) BL_CPU_##NAME,
    BL_CPU_LEVELS(BL_CPU_LEVEL_ENUM)
#undef BL_CPU_LEVEL_ENUM
    BL_CPU_LEVEL_COUNT
};

struct bl_cpu_kernel {
    struct bl_kernel_key key;
    uint32_t tile[3];                            /* elements of the grid that one workgroup covers */
    size_t (*scratch_bytes)(const void *push);   /* NULL: none */
    bl_cpu_fn fn;
    enum bl_cpu_level level;                     /* whose function this is; the kernel's name ends in its name */
};

const char *bl_cpu_level_name(enum bl_cpu_level level);
const char *bl_cpu_level_text(enum bl_cpu_level level);
/* The levels that this processor can run, as bits 1 << level; BL_CPU_C is always there. Detected once, thread safe. */
uint32_t bl_cpu_levels_present(void);

/* The best kernel for `key` among the levels in `mask` (bits 1 << level; C is always allowed): false when no level has one, which only
 * happens for keys that are not in kernels.def. Thread safe. */
bool bl_cpu_kernel_find(struct bl_kernel_key key, uint32_t mask, struct bl_cpu_kernel *out);

/* y[k] = the row of `k` weights as f32, exactly as the gguf Python package's dequantize gives it. k is a multiple of the block size. */
void bl_cpu_dequantize_row(enum bl_format format, const void *row, float *y, uint32_t k);
#endif
