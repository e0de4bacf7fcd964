/* norm.comp: rms_norm and layer_norm of one group per workgroup (struct bl_params_norm). Eight invocations carry the eight sums. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "q8.glsl"
layout(constant_id = 2) const uint CENTRED = 0;
layout(local_size_x = 64) in;
shared float partial[8];

float total()
{
    precise float sum = ((partial[0] + partial[4]) + (partial[2] + partial[6])) + ((partial[1] + partial[5]) + (partial[3] + partial[7]));
    return sum;
}

void main()
{
    uint columns = P(NORM_COLUMNS), lane = gl_LocalInvocationID.x, r = gl_WorkGroupID.y, at = (r * P(NORM_GROUPS) + gl_WorkGroupID.x) * columns;
    bool here = r < rows_of(P(NORM_ROWS));
    precise float mean = 0.0, sum;
    if (CENTRED != 0) {
        sum = 0.0;
        for (uint c = lane; here && lane < 8 && c < columns; c += 8)
            sum = sum + F(B1(at + c));
        if (lane < 8)
            partial[lane] = sum;
        barrier();
        mean = total() / float(columns);
        barrier();
    }
    sum = 0.0;
    for (uint c = lane; here && lane < 8 && c < columns; c += 8) {
        precise float x = F(B1(at + c)) - mean;
        sum = sum + x * x;
    }
    if (lane < 8)
        partial[lane] = sum;
    barrier();
    precise float scale = 1.0 / sqrt(total() / float(columns) + F(P(NORM_EPS)));
    if (!here)
        return;
    for (uint c0 = lane * 32; c0 < columns; c0 += 64 * 32) {
        float block_of[32];
        uint n = min(32, columns - c0);
        for (uint i = 0; i < n; i++) {
            precise float y = (F(B1(at + c0 + i)) - mean) * scale;
            if ((P(NORM_FLAGS) & NORM_WEIGHT) != 0)
                y = y * F(B2(c0 + i));
            if ((P(NORM_FLAGS) & NORM_BIAS) != 0)
                y = y + F(B3(c0 + i));
            block_of[i] = y;
            if (Q8 == 0)
                B4(at + c0 + i) = U(y);
        }
        if (Q8 != 0) {
            uint block[Q8_WORDS];
            quantize_block(block_of, block);
            for (uint i = 0; i < Q8_WORDS; i++)
                B4((at + c0) / 32 * Q8_WORDS + i) = block[i];
        }
    }
}
