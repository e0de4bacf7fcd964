/* dequant_dump.c: one row of weights from standard input, its values as f32 on standard output. The other half of check_dequant.py. */
#include "cpu_fallback/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *name = argc == 3 ? argv[1] : "";
    const uint32_t k = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    for (uint32_t f = 1; f < BL_FMT_WEIGHT_COUNT; f++) {
        if (strcmp(name, bl_formats[f].name))
            continue;
        const size_t bytes = (size_t)k / bl_formats[f].block_elements * bl_formats[f].block_bytes;
        void *row = malloc(bytes);
        float *y = malloc(k * sizeof *y);
        bool ok = row && y && fread(row, 1, bytes, stdin) == bytes;
        if (ok) {
            bl_cpu_dequantize_row((enum bl_format)f, row, y, k);
            ok = fwrite(y, sizeof *y, k, stdout) == k;
        }
        free(row);
        free(y);
        return !ok;
    }
    fputs("usage: dequant-dump FORMAT COLUMNS < row > floats\n", stderr);
    return 2;
}
