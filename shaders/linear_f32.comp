/* linear_f32.comp: products with f32 activations. One lane carries all eight accumulators of its output, or each of eight lanes one. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "common.glsl"
#include "linear.glsl"
#ifdef SUBGROUP
#include "exchange.glsl"
#else
shared float partial[LANES > 1 ? gl_WorkGroupSize.x * ROWS : 1];
#endif

/* Columns c .. c + 3 of a row of floats; zeros past the end. */
vec4 float_weights(uint row, uint c, uint k)
{
    return vec4(c < k ? float_weight(row, c) : 0.0, c + 1 < k ? float_weight(row, c + 1) : 0.0, c + 2 < k ? float_weight(row, c + 2) : 0.0,
                c + 3 < k ? float_weight(row, c + 3) : 0.0);
}

/* Accumulators past the end of the row stay as they are: the caller adds nothing for them. */
vec4 activations(uint at, uint left)
{
    return vec4(F(B1(at)), left > 1 ? F(B1(at + 1)) : 0.0, left > 2 ? F(B1(at + 2)) : 0.0, left > 3 ? F(B1(at + 3)) : 0.0);
}

void main()
{
    uint k = P(LINEAR_K), n = P(LINEAR_N), o = gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES) + group(), row = min(o, n - 1) * row_bytes(k);
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    precise vec4 a[8], b[8]; /* accumulators 0..3 and 4..7; with eight lanes a.x alone */
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        a[r] = b[r] = vec4(0.0);
    for (uint c0 = 0; c0 < k; c0 += 32) {
        Block block;
        if (IS_QUANT)
            block = unpack(row, c0 / 32);
        for (uint i = 0; i < 4 && c0 + 8 * i < k; i++) {
            uint c = c0 + 8 * i;
            if (LANES == 8) {
                float w = 0.0;
                if (c + lane() < k)
                    w = IS_QUANT ? weights_of(block, 2 * i + lane() / 4)[lane() % 4] : float_weight(row, c + lane());
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    if (r0 + r < m && c + lane() < k)
                        a[r].x = a[r].x + F(B1((r0 + r) * k + c + lane())) * w;
            } else {
                vec4 w0 = IS_QUANT ? weights_of(block, 2 * i) : float_weights(row, c, k);
                vec4 w1 = IS_QUANT ? weights_of(block, 2 * i + 1) : float_weights(row, c + 4, k);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    if (r0 + r >= m)
                        continue;
                    a[r] = a[r] + activations((r0 + r) * k + c, k - c) * w0;
                    if (c + 4 < k)
                        b[r] = b[r] + activations((r0 + r) * k + c + 4, k - c - 4) * w1;
                }
            }
        }
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        precise float total;
#ifdef SUBGROUP
        total = tree_of(a[r].x, 8);
#else
        if (LANES == 8) {
            uint at = (group() * ROWS + r) * 8;
            partial[at + lane()] = a[r].x;
            barrier();
            total = ((partial[at] + partial[at + 4]) + (partial[at + 2] + partial[at + 6])) +
                    ((partial[at + 1] + partial[at + 5]) + (partial[at + 3] + partial[at + 7]));
        } else {
            total = ((a[r].x + b[r].x) + (a[r].z + b[r].z)) + ((a[r].y + b[r].y) + (a[r].w + b[r].w));
        }
#endif
        if (lane() == 0 && o < n && r0 + r < m)
            store_output(o, r0 + r, total);
    }
}
