/* binary.comp: y = x + z, x * z or x - z (struct bl_params_binary). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = push.p[0], c = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (c >= columns || r >= rows_of(push.p[1]))
        return;
    uint i = r * columns + c;
    precise float x = F(B1(i)), z = F(B2(push.p[3] != 0 ? c : i)), y;
    y = push.p[2] == 0 ? x + z : push.p[2] == 1 ? x * z : x - z;
    B3(i) = U(y);
}
