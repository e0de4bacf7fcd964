/* xq_rows.c: rows of a finished X-bit matrix are multiplied: every weight of a row by the same power of 2^(1/16), outliers and all, as far as scales go. */
#include "base/error.h"
#include "base/half.h"
#include "cpu_fallback/ops.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 75, COLUMNS = 96, BLOCKS = COLUMNS / 32 };

static int failures;

static void check(bool ok, const char *what, uint32_t row, double number)
{
    if (!ok) {
        printf("FAILED %s: row %u: %g\n", what, row, number);
        failures++;
    }
}

/* Row i has the scale i, so that the first is 0 and steps leave the range at the next; each other row an outlier. */
static uint8_t *make_matrix(size_t *bytes)
{
    static const uint8_t half2[] = {4, 15}, half3[] = {3, 11, 19, 31}, half4[] = {3, 9, 15, 22, 29, 37, 48, 63}, half5[] = {3, 8, 13, 18, 24, 29, 35, 41, 47, 54, 61, 70, 79, 90, 105, 127};
    static const struct bl_xq_segment segments[] = {{1, 5, BL_XQ_GROUPED, 0.01f}, {2, 3, 0, 0.01f}};
    const struct bl_xq_rows blocks[] = {{0, 2, segments}, {32, 2, segments}};
    struct bl_xq_outlier outliers[ROWS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < ROWS; i += 2)
        outliers[n++] = (struct bl_xq_outlier){i, (uint16_t)(i % COLUMNS), bl_f32_to_f16(3 + (float)i / 16)};
    const struct bl_xq_shape shape = {ROWS, COLUMNS, 0, -6, half2, half3, half4, half5, 2, blocks, n};
    *bytes = (size_t)bl_xq_matrix_bytes(&shape);
    uint8_t *blob = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    bl_xq_matrix_begin(&shape, blob);
    for (uint32_t i = 0; i < ROWS; i++) {
        bl_xq_set_row_scale(blob, i, (uint8_t)i);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            uint8_t codes[32];
            for (uint32_t c = 0; c < 32; c++)
                codes[c] = (uint8_t)((i * 7 + b * 5 + c * 3) % (b ? 8 : 32));
            bl_xq_set_codes(blob, i, b, codes, (i + b) % 16);
        }
    }
    bl_xq_set_outliers(blob, outliers);
    bl_xq_matrix_end(blob, *bytes);
    return blob;
}

static void decode(const uint8_t *blob, float *out)
{
    static uint64_t room[(sizeof(struct bl_xq_input) + 96 * BLOCKS) / 8 + 1];
    uint16_t perm[COLUMNS];
    uint8_t scale[COLUMNS];
    uint32_t step[BL_STEP_TOKEN + ROWS] = {[BL_STEP_N_ROWS] = ROWS};
    for (uint32_t c = 0; c < COLUMNS; c++) {
        perm[c] = (uint16_t)c;
        scale[c] = 64;
    }
    for (uint32_t i = 0; i < ROWS; i++)
        step[(uint32_t)BL_STEP_TOKEN + i] = i;
    bl_xq_input_make(COLUMNS, -4, perm, scale, room);
    struct bl_cpu_kernel kernel;
    if (!bl_cpu_kernel_find((struct bl_kernel_key){BL_OP_EMBED, BL_FMT_BX, BL_FMT_F32, BL_ROWS_ANY, 0}, 1, &kernel))
        exit(1);
    const struct bl_params_embed push = {COLUMNS, ROWS, 0, 0, ROWS};
    void *const bindings[] = {step, (void *)(uintptr_t)blob, room, out};
    struct bl_cpu_call call = {.bindings = bindings, .push = &push};
    call.grid[0] = (COLUMNS + kernel.tile[0] - 1) / kernel.tile[0];
    call.grid[1] = (ROWS + kernel.tile[1] - 1) / kernel.tile[1];
    call.grid[2] = 1;
    _Alignas(64) uint8_t scratch[32768];
    kernel.fn(&call, 0, call.grid[0] * call.grid[1], scratch);
}

static void check_row(uint32_t row, double by, const float *before, const float *after)
{
    float size = 0;
    for (uint32_t c = 0; c < COLUMNS; c++)
        size = fabsf(after[c]) > size ? fabsf(after[c]) : size;
    check(size > 0, "a row of zeros", row, (double)size);
    for (uint32_t c = 0; c < COLUMNS; c++) {
        const double error = fabs((double)after[c] - by * (double)before[c]) / (double)size;
        check(error < 1e-3, "a weight of another factor", row, error);
    }
}

int main(void)
{
    static float before[ROWS][COLUMNS], after[ROWS][COLUMNS];
    size_t bytes;
    uint8_t *blob = make_matrix(&bytes);
    int32_t steps[ROWS];
    decode(blob, before[0]);
    for (uint32_t i = 0; i < ROWS; i++)
        steps[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? (int32_t)i : -5;
    steps[ROWS - 1] = 1000;
    bl_xq_multiply_rows(blob, steps);
    bl_xq_matrix_end(blob, bytes);
    check(bl_xq_check_matrix("xq_rows", 0, "the matrix", blob, bytes) == BL_OK, "the reader refuses it", 0, 0);
    decode(blob, after[0]);
    for (uint32_t i = 0; i < ROWS; i++) {
        const int32_t to = (int32_t)i + steps[i], is = i == 0 ? 0 : to < 1 ? 1 : to > 255 ? 255 : to;
        check_row(i, exp2((double)(is - (int32_t)i) / 16), before[i], after[i]);
    }
    free(blob);
    return failures ? 1 : 0;
}
