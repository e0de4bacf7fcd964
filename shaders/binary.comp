/* binary.comp: y = x + z, x * z or x - z (struct bl_params_binary). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = P(BINARY_COLUMNS), c = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (c >= columns || r >= rows_of(P(BINARY_ROWS)))
        return;
    uint i = r * columns + c;
    precise float x = F(B1(i)), z = F(B2(P(BINARY_BROADCAST) != 0 ? c : i)), y;
    y = P(BINARY_KIND) == BINARY_ADD ? x + z : P(BINARY_KIND) == BINARY_MUL ? x * z : x - z;
    B3(i) = U(y);
}
