/* linear_f32.comp: products with f32 activations. One lane carries all eight accumulators of its output, or each of eight lanes one. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "linear.glsl"
const uint MINE = 8 / LANES; /* accumulators of a lane */
shared float partial[gl_WorkGroupSize.x * ROWS];

void main()
{
    uint k = P(LINEAR_K), o = first_output(), row = min(o, P(LINEAR_N) - 1) * row_bytes(k);
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    precise float s[8 * ROWS];
    for (uint i = 0; i < MINE * ROWS; i++)
        s[i] = 0.0;
    for (uint c0 = 0; c0 < k; c0 += 32) {
        Block b;
        if (IS_QUANT)
            b = unpack(row, c0 / 32);
        for (uint i = 0; i < 32; i += 8) {
            for (uint j = 0; j < MINE; j++) {
                uint c = i + j * LANES + lane();
                if (c0 + c < k) {
                    precise float w = IS_QUANT ? weight(b, c) : float_weight(row, c0 + c);
                    for (uint r = 0; r < ROWS; r++)
                        if (r0 + r < m)
                            s[r * MINE + j] = s[r * MINE + j] + F(B1((r0 + r) * k + c0 + c)) * w;
                }
            }
        }
    }
    for (uint r = 0; r < ROWS; r++) {
        precise float total = 0.0;
        if (LANES == 8) {
            uint at = (group() * ROWS + r) * 8;
            partial[at + lane()] = s[r];
            barrier();
            total = ((partial[at] + partial[at + 4]) + (partial[at + 2] + partial[at + 6])) +
                    ((partial[at + 1] + partial[at + 5]) + (partial[at + 3] + partial[at + 7]));
        } else {
            uint at = r * 8;
            total = ((s[at] + s[at + 4]) + (s[at + 2] + s[at + 6])) + ((s[at + 1] + s[at + 5]) + (s[at + 3] + s[at + 7]));
        }
        if (lane() == 0 && o < P(LINEAR_N) && r0 + r < m)
            store_output(o, r0 + r, total);
    }
}
