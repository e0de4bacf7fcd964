/* quantize.comp: y as q8 (struct bl_params_quantize). One invocation makes a block. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "q8.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = P(QUANTIZE_COLUMNS), blocks = (columns + 31) / 32, b = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (b >= blocks || r >= rows_of(P(QUANTIZE_ROWS)))
        return;
    float x[32];
    for (uint i = 0; i < 32; i++)
        x[i] = 32 * b + i < columns ? F(B1(r * columns + 32 * b + i)) : 0.0;
    uint block[Q8_WORDS];
    quantize_block(x, block);
    for (uint i = 0; i < Q8_WORDS; i++)
        B2((r * blocks + b) * Q8_WORDS + i) = block[i];
}
