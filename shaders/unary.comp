/* unary.comp: y = f(x) (struct bl_params_unary). */
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
    B2(i) = U(unary(push.p[2], F(push.p[3]), F(B1(i))));
}
