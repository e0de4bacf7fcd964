/* rope_table.comp: cos and sin of each position, the angle in integers (struct bl_params_rope_table). */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
void main()
{
    uint n_rot = P(ROPE_TABLE_N_ROT), j = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (j >= n_rot / 2 || r >= rows_of(ROWS_OF_STEP))
        return;
    uint position = B0(STEP_POS + r), high, low;
    umulExtended(B1(2 * j), position, high, low);
    uint phase = B1(2 * j + 1) * position + high, quarter = (phase + (1u << 29)) >> 30;
    precise float a = float(int(phase - (quarter << 30))) * 1.462918079267159e-9;
    precise float u = a * a;
    precise float p = 1.0 / 362880.0;
    p = p * u + -1.0 / 5040.0;
    p = p * u + 1.0 / 120.0;
    p = p * u + -1.0 / 6.0;
    precise float s = (p * u) * a + a;
    precise float c = 1.0 / 40320.0;
    c = c * u + -1.0 / 720.0;
    c = c * u + 1.0 / 24.0;
    c = c * u + -0.5;
    c = c * u + 1.0;
    precise float cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    precise float sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    cosine = cosine * F(P(ROPE_TABLE_ATTN_FACTOR));
    sine = sine * F(P(ROPE_TABLE_ATTN_FACTOR));
    B2(r * n_rot + 2 * j) = U(cosine);
    B2(r * n_rot + 2 * j + 1) = U(sine);
}
