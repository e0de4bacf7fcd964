/* dispatch.c: which function answers a key. Owns the levels (detection, names) and the tiles; knows no kernel's inside. */
#include "cpu_fallback/call.h"
#include "cpu_fallback/table.h"

#include <stdatomic.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

/* One bit per level of any architecture, if the machine can run it; C needs none. */
enum feature { IS_C = 0, IS_AVX2 = 1, IS_AVX512 = 2, IS_NEON = 4, IS_DOTPROD = 8, IS_SSE41 = 16, IS_VBMI = 32, IS_I8MM = 64 };

static const struct level {
    const char *name, *text;
    const struct bl_cpu_table *table;
    uint32_t needs;
} levels[BL_CPU_LEVEL_COUNT] = {
#define LEVEL(NAME, name, text) [BL_CPU_##NAME] = {#name, text, &bl_cpu_table_##name, IS_##NAME},
    BL_CPU_LEVELS(LEVEL)
#undef LEVEL
};

static const uint32_t tiles[BL_OP_COUNT][2] = {
    [BL_OP_EMBED] = {TILE_EMBED_X, TILE_EMBED_Y},
    [BL_OP_MATVEC] = {TILE_LINEAR_X, TILE_LINEAR_Y},
    [BL_OP_MATMUL] = {TILE_LINEAR_X, TILE_LINEAR_Y},
    [BL_OP_STAGE] = {TILE_STAGE_X, TILE_STAGE_Y},
    [BL_OP_QUANTIZE] = {TILE_QUANTIZE_X, TILE_QUANTIZE_Y},
    [BL_OP_RMS_NORM] = {TILE_NORM_X, TILE_NORM_Y},
    [BL_OP_LAYER_NORM] = {TILE_NORM_X, TILE_NORM_Y},
    [BL_OP_ROPE_TABLE] = {TILE_ROPE_TABLE_X, TILE_ROPE_TABLE_Y},
    [BL_OP_ROPE] = {TILE_HEADS_X, TILE_HEADS_Y},
    [BL_OP_KV_STORE] = {TILE_HEADS_X, TILE_HEADS_Y},
    [BL_OP_ROPE_STORE] = {TILE_HEADS_X, TILE_HEADS_Y},
    [BL_OP_ATTENTION] = {TILE_ATTENTION_X, TILE_ATTENTION_Y},
    [BL_OP_UNARY] = {TILE_COLUMNS_X, TILE_COLUMNS_Y},
    [BL_OP_BINARY] = {TILE_COLUMNS_X, TILE_COLUMNS_Y},
    [BL_OP_GLU] = {TILE_COLUMNS_X, TILE_COLUMNS_Y},
    [BL_OP_SELECT] = {TILE_COLUMNS_X, TILE_COLUMNS_Y},
};

const char *bl_cpu_level_name(enum bl_cpu_level level)
{
    return levels[level].name;
}

const char *bl_cpu_level_text(enum bl_cpu_level level)
{
    return levels[level].text;
}

#if defined(__x86_64__)
/* The processor must have the instructions and the system must save the registers: xcr0 has bits 1 and 2 for those of AVX, 5 to 7 for AVX-512. */
static uint32_t features(void)
{
    uint32_t a, b, c, d, found = 0, state, state_high;
    const uint32_t avx = bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE, avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (c & bit_SSE4_1)
        found |= IS_SSE41;
    if ((c & avx) != avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return found;
    __asm__("xgetbv" : "=a"(state), "=d"(state_high) : "c"(0));
    if (b & bit_AVX2 && (state & 0x06u) == 0x06u)
        found |= IS_AVX2;
    if (found & IS_AVX2 && (b & avx512) == avx512 && c & bit_AVX512VNNI && (state & 0xe6u) == 0xe6u)
        found |= IS_AVX512 | (c & bit_AVX512VBMI ? IS_VBMI : 0u);
    return found;
}
#elif defined(__aarch64__) && defined(__linux__)
static uint32_t features(void)
{
    const unsigned long asimd = 1ul << 1, asimddp = 1ul << 20, i8mm_2 = 1ul << 13, found = getauxval(AT_HWCAP);
    if (!(found & asimd))
        return 0;
    return IS_NEON | (found & asimddp ? IS_DOTPROD | (getauxval(AT_HWCAP2) & i8mm_2 ? IS_I8MM : 0u) : 0u);
}
#elif defined(__aarch64__)
static uint32_t features(void)
{
    return IS_NEON; /* part of every AArch64 application profile */
}
#else
static uint32_t features(void)
{
    return 0;
}
#endif

uint32_t bl_cpu_levels_present(void)
{
    static _Atomic uint32_t known; /* 0: not yet detected; threads that race write the same value */
    uint32_t present = atomic_load_explicit(&known, memory_order_relaxed);
    if (present)
        return present;
    const uint32_t found = features();
    for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++)
        if ((found & levels[level].needs) == levels[level].needs)
            present |= 1u << level;
    atomic_store_explicit(&known, present, memory_order_relaxed);
    return present;
}

/* Every key of kernels.def has a legal row class, so the class takes no part in the search: one function serves all of an op's classes. */
static const struct bl_cpu_row *find_row(const struct bl_cpu_table *table, struct bl_kernel_key key)
{
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct bl_cpu_row *row = &table->rows[i];
        if (row->op == key.op && (row->weight == key.weight || (row->weight == ANY_WEIGHT && key.weight != BL_FMT_BX)) && row->activation == key.activation)
            return row;
    }
    return NULL;
}

static bool is_listed(struct bl_kernel_key key)
{
    struct bl_kernel_key keys[512];
    size_t n = bl_kernel_keys(keys, sizeof keys / sizeof keys[0]);
    for (size_t i = 0; i < n && i < sizeof keys / sizeof keys[0]; i++)
        if (bl_kernel_key_equal(keys[i], key))
            return true;
    return false;
}

bool bl_cpu_kernel_find(struct bl_kernel_key key, uint32_t mask, struct bl_cpu_kernel *out)
{
    if (!is_listed(key))
        return false;
    mask = (mask & bl_cpu_levels_present()) | 1u << BL_CPU_C;
    for (uint32_t level = BL_CPU_LEVEL_COUNT; level-- > 0;) {
        const struct bl_cpu_row *row = mask >> level & 1u ? find_row(levels[level].table, key) : NULL;
        if (!row)
            continue;
        *out = (struct bl_cpu_kernel){key, {tiles[key.op][0], tiles[key.op][1], 1}, row->scratch_bytes, row->fn, (enum bl_cpu_level)level};
        return true;
    }
    return false;
}
