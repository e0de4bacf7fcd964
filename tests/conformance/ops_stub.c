/* ops_stub.c: two ops until cpu_fallback has them. */
#include "cpu_fallback/ops.h"
#include <string.h>
const char *bl_cpu_level_name(enum bl_cpu_level level) { (void)level; return "c"; }
const char *bl_cpu_level_text(enum bl_cpu_level level) { (void)level; return "plain C"; }
uint32_t bl_cpu_levels_present(void) { return 1; }
static void binary(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_binary *p = call->push;
    const uint32_t *step = call->bindings[0];
    const float *x = call->bindings[1], *z = call->bindings[2];
    float *y = call->bindings[3];
    for (uint32_t g = first; g < last; g++) {
        uint32_t column = g % call->grid[0] * 1024u, row = g / call->grid[0];
        if (row >= step[p->rows == BL_ROWS_OF_STEP ? BL_STEP_N_ROWS : BL_STEP_N_OUT])
            continue;
        for (uint32_t c = column; c < column + 1024u && c < p->columns; c++) {
            size_t i = (size_t)row * p->columns + c;
            float b = z[p->broadcast ? c : i];
            y[i] = p->kind == BL_BINARY_ADD ? x[i] + b : p->kind == BL_BINARY_MUL ? x[i] * b : x[i] - b;
        }
    }
}
static void select_rows(const struct bl_cpu_call *call, uint32_t first, uint32_t last, void *scratch)
{
    (void)scratch;
    const struct bl_params_select *p = call->push;
    const uint32_t *step = call->bindings[0];
    const float *x = call->bindings[1];
    float *y = call->bindings[2];
    for (uint32_t g = first; g < last; g++)
        if (g < step[BL_STEP_N_OUT])
            memcpy(y + (size_t)g * p->columns, x + (size_t)step[(uint32_t)BL_STEP_OUT + g] * p->columns, p->columns * sizeof *y);
}
bool bl_cpu_kernel_find(struct bl_kernel_key key, uint32_t mask, struct bl_cpu_kernel *out)
{
    (void)mask;
    if (key.op == BL_OP_BINARY)
        *out = (struct bl_cpu_kernel){key, {1024, 1, 1}, NULL, binary, BL_CPU_C};
    else if (key.op == BL_OP_SELECT)
        *out = (struct bl_cpu_kernel){key, {UINT32_MAX, 1, 1}, NULL, select_rows, BL_CPU_C};
    else
        return false;
    return true;
}
