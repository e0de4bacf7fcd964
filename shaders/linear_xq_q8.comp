/* linear_xq_q8.comp: products of q8 activations with X-bit matrices. An invocation has an output; with more lanes, each has a block of its
 * columns, the terms are parked, and then added up in order: the same bits. Invocations: eight outputs, lane by lane. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define XQ
#include "common.glsl"
#include "linear.glsl"
#include "xq.glsl"
shared float terms[SHARES ? gl_WorkGroupSize.x * ROWS * 2 : 1];
shared float limits[8];

int dot_of(Levels l, uint plane)
{
    ivec4 sum = ivec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        sum += bytes_of(l.w0[i]) * bytes_of(X(plane + 1 + i)) + bytes_of(l.w1[i]) * bytes_of(X(plane + 5 + i));
    return (sum.x + sum.y) + (sum.z + sum.w);
}

float plane_term(Levels l, float unit, uint plane, float d)
{
    int sums = int(X(plane)), sum = bitfieldExtract(sums, 0, 16) + bitfieldExtract(sums, 16, 16);
    precise float term = (d * unit) * float(l.scale * dot_of(l, plane) + l.offset * sum);
    return term;
}

float column_of(uint row, uint c)
{
    uint block = row + c / 32 * Q8_WORDS, word = 1 + c % 32 / 4;
    float d = F(X(block));
    ivec4 coarse = bytes_of(X(block + Q8_COARSE + word)), fine = bytes_of(X(block + Q8_FINE + word));
    precise float x = d * float(coarse[c % 4]) + (d * FINE) * float(fine[c % 4]);
    return x;
}

void main()
{
    uint blocks = P(LINEAR_K) / 32, row_words = blocks * Q8_WORDS, n = P(LINEAR_N);
    uint id = gl_LocalInvocationID.x, my_lane = id / 8 % LANES, tile = id / 8 / LANES;
    uint o = gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES) + tile * 8 + id % 8, r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    if (SHARES) {
        if (id < ROWS && r0 + id < m)
            limits[id] = limit_of((r0 + id) * row_words, blocks);
        barrier();
    }
    float limit[8];
    precise float acc[8]; /* loops over it are unrolled, so that no index puts it into memory */
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        acc[r] = limit[r] = 0.0;
        if (r0 + r < m)
            limit[r] = SHARES ? limits[r] : limit_of((r0 + r) * row_words, blocks);
    }
    Tile t = tile_of(P(LINEAR_FIRST_ROW) + min(o, n - 1));
    Walk walk = begin(t);
    for (uint b0 = 0; b0 < blocks; b0 += LANES) {
        uint b = b0 + my_lane;
        if (b < blocks) {
            seek(t, walk, b);
            Levels l = load_levels(t, walk, b);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint x = (r0 + r) * row_words + b * Q8_WORDS, at = ((tile * LANES + my_lane) * ROWS + r) * 16 + id % 8;
                precise float d = F(X(x));
                if (SHARES)
                    terms[at + 8] = 0.0; /* adds nothing: a sum that began with +0 is never -0 */
                for (uint fine = 0; fine < (d > limit[r] ? 2 : 1); fine++) {
                    precise float scale = fine != 0 ? d * FINE : d;
                    precise float term = plane_term(l, walk.unit, x + (fine != 0 ? Q8_FINE : Q8_COARSE), scale);
                    if (SHARES)
                        terms[at + 8 * fine] = term;
                    else
                        acc[r] = acc[r] + term;
                }
            }
        }
        if (SHARES) { /* lane r adds up row r */
            barrier();
            for (uint i = 0; my_lane < ROWS && i < min(LANES, blocks - b0); i++) {
                uint at = ((tile * LANES + i) * ROWS + my_lane) * 16 + id % 8;
                acc[0] = acc[0] + terms[at];
                acc[0] = acc[0] + terms[at + 8];
            }
            barrier();
        }
    }
    precise float scale = row_scale(t);
    uvec2 outliers = outliers_of(t.row);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = r0 + (SHARES ? my_lane : r);
        if (row >= m || o >= n || (SHARES && (r > 0 || my_lane >= ROWS)))
            continue;
        precise float y = scale * acc[r];
        for (uint e = outliers.x; e < outliers.y; e++) {
            Outlier outlier = outlier_at(e);
            if (outlier.row == t.row % XQ_UNIT)
                y = y + outlier.value * column_of(row * row_words, outlier.column);
        }
        store_output(o, row, y);
    }
}
