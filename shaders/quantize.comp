/* quantize.comp: y as q8 (struct bl_params_quantize). One invocation makes a block. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "q8.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = push.p[0], blocks = (columns + 31) / 32, b = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (b >= blocks || r >= rows_of(push.p[1]))
        return;
    float x[32];
    for (uint i = 0; i < 32; i++)
        x[i] = 32 * b + i < columns ? F(B1(r * columns + 32 * b + i)) : 0.0;
    uint block[19];
    quantize_block(x, block);
    for (uint i = 0; i < 19; i++)
        B2((r * blocks + b) * 19 + i) = block[i];
}
