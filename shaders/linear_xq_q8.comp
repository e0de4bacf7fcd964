/* linear_xq_q8.comp: products of q8 activations with X-bit matrices. With one lane an invocation walks the blocks of one row in each of four
 * tiles; with more, a row of one tile is shared: each lane has a block, the terms are parked, and then added up in order: the same bits. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define XQ
#include "common.glsl"
#include "linear.glsl"
#include "xq.glsl"
const uint EACH = SHARES ? 1 : 4; /* outputs of an invocation, eight apart */
shared float terms[SHARES ? gl_WorkGroupSize.x * ROWS * 2 : 1];
shared float limits[8];

struct Plane {
    ivec4 x[8];
    int sum;
};

Plane load_plane(uint at)
{
    Plane plane;
    int sums = int(X(at));
#ifdef TEXELS
    uint w[10] = X_WINDOW(at + 1, 8);
    [[unroll]] for (uint i = 0; i < 8; i++)
        plane.x[i] = bytes_of(w[i]);
#else
    [[unroll]] for (uint i = 0; i < 8; i++)
        plane.x[i] = bytes_of(X(at + 1 + i));
#endif
    plane.sum = bitfieldExtract(sums, 0, 16) + bitfieldExtract(sums, 16, 16);
    return plane;
}

int dot_of(Levels l, Plane plane)
{
    ivec4 sum = ivec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        sum += bytes_of(l.w0[i]) * plane.x[i] + bytes_of(l.w1[i]) * plane.x[4 + i];
    return (sum.x + sum.y) + (sum.z + sum.w);
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
    uint o = (gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES / 8) + tile) * 8 * EACH + id % 8;
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    if (SHARES) {
        if (id < ROWS && r0 + id < m)
            limits[id] = limit_of((r0 + id) * row_words, blocks);
        barrier();
    }
    float limit[8];
    precise float acc[8 * EACH]; /* loops over it are unrolled, so that no index puts it into memory */
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        limit[r] = 0.0;
        if (r0 + r < m)
            limit[r] = SHARES ? limits[r] : limit_of((r0 + r) * row_words, blocks);
        [[unroll]] for (uint e = 0; e < EACH; e++)
            acc[r * EACH + e] = 0.0;
    }
    Tile tiles[EACH];
    tiles[0] = tile_of(P(LINEAR_FIRST_ROW) + min(o, n - 1));
    [[unroll]] for (uint e = 1; e < EACH; e++) { /* one that is not there repeats the first and is not stored */
        tiles[e] = tiles[0];
        if (o - id % 8 + 8 * e < n) {
            tiles[e].words += e * tiles[e].stride;
            tiles[e].row += 8 * e;
        }
    }
    Walk walk = begin(tiles[0]);
    for (uint b0 = 0; b0 < blocks; b0 += LANES) {
        uint b = b0 + my_lane;
        if (b < blocks) {
            seek(tiles[0], walk, b);
            Levels l[EACH];
            [[unroll]] for (uint e = 0; e < EACH; e++)
                l[e] = load_levels(tiles[e], walk, b);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint x = (r0 + r) * row_words + b * Q8_WORDS, at = ((tile * LANES + my_lane) * ROWS + r) * 16 + id % 8;
                precise float d = F(X(x));
                if (SHARES)
                    terms[at + 8] = 0.0; /* adds nothing: a sum that began with +0 is never -0 */
                for (uint fine = 0; fine < (d > limit[r] ? 2 : 1); fine++) {
                    Plane plane = load_plane(x + (fine != 0 ? Q8_FINE : Q8_COARSE));
                    precise float scale = (fine != 0 ? d * FINE : d) * walk.unit;
                    [[unroll]] for (uint e = 0; e < EACH; e++) {
                        precise float term = scale * float(l[e].scale * dot_of(l[e], plane) + l[e].offset * plane.sum);
                        if (SHARES)
                            terms[at + 8 * fine] = term;
                        else
                            acc[r * EACH + e] = acc[r * EACH + e] + term;
                    }
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
    uvec2 outliers = outliers_of(tiles[0].row);
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        precise float scale = row_scale(tiles[e]);
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = r0 + (SHARES ? my_lane : r), output_ = o + 8 * e;
            if (row >= m || output_ >= n || (SHARES && (r > 0 || my_lane >= ROWS)))
                continue;
            precise float y = scale * acc[r * EACH + e];
            for (uint i = outliers.x; i < outliers.y; i++) {
                Outlier outlier = outlier_at(i);
                if (outlier.row == tiles[e].row % XQ_UNIT)
                    y = y + outlier.value * column_of(row * row_words, outlier.column);
            }
            store_output(output_, row, y);
        }
    }
}
