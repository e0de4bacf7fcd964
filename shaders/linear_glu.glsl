/* linear_glu.glsl: the end of a linear with a GLU (struct bl_params_linear): an output is f(gate) * up. Gate's weights are binding 2, up's 3. As q8
 * the outputs of a workgroup, whole blocks of 32, are parked and then quantized. Whoever includes it says how many outputs a group of lanes has
 * (EACH_OUTPUTS), for how many rows there is room (STAGE_ROWS), and may park them elsewhere (STAGE, STAGED). */
#include "math.glsl"
#include "q8.glsl"
const uint OUTPUTS = gl_WorkGroupSize.x / LANES * EACH_OUTPUTS;
#ifndef STAGE
shared float staged[OUTPUTS * STAGE_ROWS];
#define STAGE(i, x) staged[i] = x
#define STAGED(i) staged[i]
#endif

void put_glu(uint output_, uint r0, uint r, float gate, float up)
{
    precise float y = unary(P(LINEAR_GLU) & LINEAR_GLU_KIND, 0.0, gate) * up;
    if ((P(LINEAR_GLU) & LINEAR_GLU_Q8) == 0)
        B5((r0 + r) * P(LINEAR_STRIDE) + output_) = U(y);
    else
        STAGE(r * OUTPUTS + output_ - gl_WorkGroupID.x * OUTPUTS, y);
}

void finish_glu(uint r0, uint m)
{
    const uint BLOCKS_OF_ROW = OUTPUTS / 32;
    if ((P(LINEAR_GLU) & LINEAR_GLU_Q8) == 0)
        return;
    barrier();
    for (uint t = gl_LocalInvocationID.x; t < BLOCKS_OF_ROW * STAGE_ROWS; t += gl_WorkGroupSize.x) {
        uint r = t / BLOCKS_OF_ROW, o = t % BLOCKS_OF_ROW * 32, first = gl_WorkGroupID.x * OUTPUTS + o;
        if (r0 + r >= m || first >= P(LINEAR_N))
            continue;
        float x[32];
        uint block[Q8_WORDS];
        for (uint i = 0; i < 32; i++)
            x[i] = STAGED(r * OUTPUTS + o + i);
        quantize_block(x, block);
        for (uint i = 0; i < Q8_WORDS; i++)
            B5(((r0 + r) * P(LINEAR_STRIDE) + first) / 32 * Q8_WORDS + i) = block[i];
    }
}
