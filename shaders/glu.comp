/* glu.comp: y = f(gate) * up (struct bl_params_glu). One invocation makes a block of 32 columns. As the end of a linear with a GLU, whose rows
 * of y may be further apart, it has one more parameter: how far. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "q8.glsl"
const uint GLU_STRIDE = 3; /* 0: columns */
layout(local_size_x = 64) in;
void main()
{
    uint columns = P(GLU_COLUMNS), c0 = gl_GlobalInvocationID.x * 32, r = gl_WorkGroupID.y;
    if (c0 >= columns || r >= rows_of(P(GLU_ROWS)))
        return;
    float y[32];
    uint n = min(32, columns - c0), at = r * columns + c0, to = P(GLU_STRIDE) == 0 ? at : r * P(GLU_STRIDE) + c0;
    for (uint i = 0; i < n; i++) {
        precise float product = unary(P(GLU_KIND), 0.0, F(B1(at + i))) * F(B2(at + i));
        y[i] = product;
        if (Q8 == 0)
            B3(to + i) = U(product);
    }
    if (Q8 != 0) {
        uint block[Q8_WORDS];
        quantize_block(y, block);
        for (uint i = 0; i < Q8_WORDS; i++)
            B3(to / 32 * Q8_WORDS + i) = block[i];
    }
}
