/* common.glsl: what every shader shares: the bindings as words, the push constants, the step buffer (hal/kernel_params.h). Baseline profile: words only, no subgroups, float sums in the written order. */
layout(constant_id = 0) const uint FORMAT = 0; /* enum bl_format of the weights or KV pages */
layout(constant_id = 1) const uint Q8 = 0;     /* 1: the output (linear: the input) is q8 */

layout(set = 0, binding = 0) buffer Buffer0 { uint w[]; } b0;
layout(set = 0, binding = 1) buffer Buffer1 { uint w[]; } b1;
layout(set = 0, binding = 2) buffer Buffer2 { uint w[]; } b2;
layout(set = 0, binding = 3) buffer Buffer3 { uint w[]; } b3;
layout(set = 0, binding = 4) buffer Buffer4 { uint w[]; } b4;
layout(set = 0, binding = 5) buffer Buffer5 { uint w[]; } b5;
/* A descriptor begins at an aligned offset below its binding: `at` words further the binding itself. */
layout(push_constant) uniform Push { uint p[16]; uint at[6]; } push;
#define B0(i) b0.w[push.at[0] + (i)]
#define B1(i) b1.w[push.at[1] + (i)]
#define B2(i) b2.w[push.at[2] + (i)]
#define B3(i) b3.w[push.at[3] + (i)]
#define B4(i) b4.w[push.at[4] + (i)]
#define B5(i) b5.w[push.at[5] + (i)]
#define F(bits) uintBitsToFloat(bits)
#define U(value) floatBitsToUint(value)

const uint STEP_POS = 16 + 512, STEP_SEQ = 16 + 2 * 512, STEP_OUT = 16 + 3 * 512, STEP_PAGES = 16 + 4 * 512;
const uint ROWS_OF_STEP = 0, ROWS_OF_OUTPUT = 1;
uint rows_of(uint which) { return B0(which); }
