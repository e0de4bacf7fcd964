/* table.h: what a level hands to the dispatcher: rows of functions. Only dispatch.c and the levels' tables read it. */
#ifndef BL_CPU_TABLE_H
#define BL_CPU_TABLE_H
#include "cpu_fallback/ops.h"

struct bl_cpu_row {
    uint16_t op;
    uint8_t weight;     /* ANY_WEIGHT: the function looks at the segments or needs no weight; bx always has rows of its own */
    uint8_t activation;
    bl_cpu_fn fn;
    size_t (*scratch_bytes)(const void *push);
};
#define ANY_WEIGHT UINT8_MAX

struct bl_cpu_table {
    const struct bl_cpu_row *rows;
    size_t n_rows;
};

#define BL_CPU_TABLE(NAME, name, text) extern const struct bl_cpu_table bl_cpu_table_##name;
BL_CPU_LEVELS(BL_CPU_TABLE)
#undef BL_CPU_TABLE
#endif
