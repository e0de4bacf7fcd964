/* select.comp: y[i] = x[out[i]] (struct bl_params_select). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint columns = P(SELECT_COLUMNS), c = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (c < columns && r < rows_of(ROWS_OF_OUTPUT))
        B2(r * columns + c) = B1(B0(STEP_OUT + r) * columns + c);
}
