/* common.glsl: what every shader shares: the bindings as words, the push constants, the step buffer, the project's polynomials and q8
 * blocks (hal/kernel_params.h, cpu_fallback/ref/math.h). Baseline profile: words only, no subgroups, float sums in the written order. */
#include "params.glsl"
/* Drivers that do not fold constants of a pipeline run all branches: what decides much is defined when a module is made. */
#ifndef FORMAT
layout(constant_id = 0) const uint FORMAT = 0; /* enum bl_format of the weights or KV pages */
#endif
layout(constant_id = 1) const uint Q8 = 0;     /* 1: the output (linear: the input) is q8 */

layout(set = 0, binding = 0) buffer Buffer0 { uint w[]; } b0;
layout(set = 0, binding = 1) buffer Buffer1 { uint w[]; } b1;
layout(set = 0, binding = 2) buffer Buffer2 { uint w[]; } b2;
layout(set = 0, binding = 3) buffer Buffer3 { uint w[]; } b3;
layout(set = 0, binding = 4) buffer Buffer4 { uint w[]; } b4;
layout(set = 0, binding = 5) buffer Buffer5 { uint w[]; } b5;
/* A descriptor begins at an aligned offset below its binding: `at` words further the binding itself. */
layout(push_constant) uniform Push { uint p[16]; uint at[6]; } push;
#define P(i) push.p[i]
#define B0(i) b0.w[push.at[0] + (i)]
#define B1(i) b1.w[push.at[1] + (i)]
#define B2(i) b2.w[push.at[2] + (i)]
#define B3(i) b3.w[push.at[3] + (i)]
#define B4(i) b4.w[push.at[4] + (i)]
#define B5(i) b5.w[push.at[5] + (i)]
#define F(bits) uintBitsToFloat(bits)
#define U(value) floatBitsToUint(value)

uint rows_of(uint which)
{
    return B0(which == ROWS_OF_OUTPUT ? STEP_N_OUT : STEP_N_ROWS);
}

/* Where a row's sequence keeps a position: the number of its page. */
uint page_of(uint row, uint position)
{
    return B0(STEP_PAGES + B0(STEP_SEQ + row) * B0(STEP_PAGE_STRIDE) + position / KV_PAGE);
}

/* Bits of an f16 as f32, denormals too, which unpackHalf2x16 may flush. */
float half_of(uint h)
{
    uint bits = (h & 0x7fffu) << 13; /* exponent and mantissa at their places, the exponent 112 too small */
    precise float denormal = F(bits + 0x38800000u) - 6.103515625e-5;
    uint magnitude = bits < 0x00800000u ? U(denormal) : bits + (bits < 0x0f800000u ? 0x38000000u : 0x70000000u);
    if (bits > 0x0f800000u)
        magnitude |= 0x00400000u; /* a quiet NaN */
    return F((h & 0x8000u) << 16 | magnitude);
}
