/* unary.comp: y = f(x) (struct bl_params_unary). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = P(UNARY_COLUMNS), c = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (c >= columns || r >= rows_of(P(UNARY_ROWS)))
        return;
    uint i = r * columns + c;
    B2(i) = U(unary(P(UNARY_KIND), F(P(UNARY_A)), F(B1(i))));
}
