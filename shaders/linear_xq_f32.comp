/* linear_xq_f32.comp: products of f32 activations with X-bit matrices. An invocation has an output and all its eight
 * accumulators. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define XQ
#define LANES 1
#include "common.glsl"
#include "linear.glsl"
#include "xq.glsl"

vec4 activations(uint at)
{
    return vec4(F(X(at)), F(X(at + 1)), F(X(at + 2)), F(X(at + 3)));
}

void main()
{
    uint k = P(LINEAR_K), n = P(LINEAR_N), o = gl_GlobalInvocationID.x, r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    precise vec4 low[8], high[8]; /* accumulators 0..3 and 4..7 */
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        low[r] = high[r] = vec4(0.0);
    Tile t = tile_of(P(LINEAR_FIRST_ROW) + min(o, n - 1));
    Walk walk = begin(t);
    for (uint b = 0; b < k / 32; b++) {
        seek(t, walk, b);
        Levels l = load_levels(t, walk, b);
        [[unroll]] for (uint i = 0; i < 4; i++) {
            precise vec4 w0 = walk.unit * vec4(levels_at(l, 2 * i)), w1 = walk.unit * vec4(levels_at(l, 2 * i + 1));
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint at = (r0 + r) * k + 32 * b + 8 * i;
                low[r] = low[r] + activations(at) * w0;
                high[r] = high[r] + activations(at + 4) * w1;
            }
        }
    }
    precise float scale = row_scale(t, t.r);
    Outliers outliers = outliers_of(t.row);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        if (r0 + r >= m || o >= n)
            continue;
        precise vec4 half_sums = low[r] + high[r];
        precise float y = scale * ((half_sums.x + half_sums.z) + (half_sums.y + half_sums.w));
        for (uint i = outliers.first; i < outliers.end; i++) {
            Outlier outlier = outlier_at(outliers, i);
            if (outlier.row == t.row % XQ_UNIT)
                y = y + outlier.value * F(X((r0 + r) * k + outlier.column));
        }
        store_output(o, r0 + r, y);
    }
}
