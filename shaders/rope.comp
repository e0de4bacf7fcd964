/* rope.comp: rotates pairs of columns (struct bl_params_rope). A workgroup is a head: y may be x, so no pair is read twice. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 32) in;
void main()
{
    uint d_head = P(ROPE_D_HEAD), n_rot = P(ROPE_N_ROT), h = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
    if (r >= rows_of(ROWS_OF_STEP))
        return;
    uint at = (r * P(ROPE_HEADS) + h) * d_head;
    for (uint j = gl_LocalInvocationID.x; j < n_rot / 2; j += 32) {
        uint c0 = at + (P(ROPE_LAYOUT) == ROPE_NORM ? 2 * j : j), c1 = at + (P(ROPE_LAYOUT) == ROPE_NORM ? 2 * j + 1 : j + n_rot / 2);
        precise float a = F(B1(c0)), b = F(B1(c1)), cosine = F(B2(r * n_rot + 2 * j)), sine = F(B2(r * n_rot + 2 * j + 1));
        precise float y0 = a * cosine - b * sine, y1 = a * sine + b * cosine;
        B3(c0) = U(y0);
        B3(c1) = U(y1);
    }
    for (uint c = n_rot + gl_LocalInvocationID.x; c < d_head; c += 32)
        B3(at + c) = B1(at + c);
}
