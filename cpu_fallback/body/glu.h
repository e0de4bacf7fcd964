/* body/glu.h: f(gate) * up of one row, for the op glu and for the end of a linear that has one. As bl_ref_glu, which defines it. */
#ifndef BL_CPU_BODY_GLU_H
#define BL_CPU_BODY_GLU_H
#include "cpu_fallback/body/math.h"
#include "cpu_fallback/body/parts.h"

/* y[n]; q8: n is a multiple of 32. */
static INLINE void glu_columns(uint32_t kind, const float *gate, const float *up, uint32_t n, void *y, bool to_q8)
{
    for (uint32_t c = 0; to_q8 && c < n; c += 32) {
        vf block[4];
        for (uint32_t i = 0; i < 4; i++)
            block[i] = vf_mul(vf_unary(kind, 0, vf_load(gate + c + 8 * i)), vf_load(up + c + 8 * i));
        store_q8_block(block, (struct bl_q8_block *)y + c / 32);
    }
    for (uint32_t c = 0; !to_q8 && c < n; c += 8) {
        const uint32_t part = min_u32(8, n - c);
        vf_store_part((float *)y + c, vf_mul(vf_unary(kind, 0, vf_load_part(gate + c, part)), vf_load_part(up + c, part)), part);
    }
}

/* The end of a tile of a linear with a GLU: `sides` are gate and up of its rows. */
static INLINE void glu_tile(uint32_t glu, const struct linear_tile *t, float (*sides)[BL_STEP_MAX_ROWS][TILE_LINEAR_X])
{
    const bool to_q8 = glu & BL_LINEAR_GLU_Q8;
    for (uint32_t r = 0; r < t->m; r++)
        glu_columns(glu & BL_LINEAR_GLU_KIND, sides[0][r], sides[1][r], t->n1 - t->n0, linear_glu_out(t, r, to_q8), to_q8);
}
#endif
