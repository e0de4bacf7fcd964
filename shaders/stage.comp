/* stage.comp: the input of X-bit matrices, permuted and scaled (struct bl_params_stage). One invocation makes a block of 32 columns. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"
#include "q8.glsl"
#define INPUT(i) B2(i)
#include "xq_scale.glsl"
#include "xq_input.glsl"
layout(local_size_x = 32) in;
void main()
{
    uint blocks = P(STAGE_BLOCKS), b = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (b >= blocks || r >= rows_of(P(STAGE_ROWS)))
        return;
    float y[32];
    for (uint c = 0; c < 32; c++) {
        uint from = input_column(32 * b + c);
        y[c] = 0.0;
        if (from != XQ_NO_COLUMN) {
            precise float x = F(B1(r * P(STAGE_COLUMNS) + from)) * input_scale(32 * b + c);
            y[c] = x;
        }
    }
    if (Q8 == 0) {
        for (uint c = 0; c < 32; c++)
            B3((r * blocks + b) * 32 + c) = U(y[c]);
        return;
    }
    uint block[Q8_WORDS];
    quantize_block(y, block);
    for (uint i = 0; i < Q8_WORDS; i++)
        B3((r * blocks + b) * Q8_WORDS + i) = block[i];
}
