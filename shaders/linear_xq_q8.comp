/* linear_xq_q8.comp: products of q8 activations with X-bit matrices. With one lane an invocation walks the blocks of four rows, half a tile;
 * with more, a row is shared: each lane has a block, the terms are parked, and then added up in order: the same bits. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define XQ
#include "common.glsl"
#include "linear.glsl"
#include "xq.glsl"
const uint EACH = SHARES ? 1 : 4; /* outputs of an invocation */
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

uint blocks, row_words, r0, m, id, my_lane, tile; /* of a workgroup; of an invocation */
float limit[8];
float acc[8 * EACH]; /* loops over it are unrolled, so that no index puts it into memory */
Tile t; /* with the first of them */
Walk walk;

void add(uint i, float term)
{
    precise float sum = acc[i] + term;
    acc[i] = sum;
}

/* Block b of all rows. */
void load_rows(uint b, out Levels l[EACH])
{
    if (SHARES) {
        l[0] = load_levels(t, walk, b);
        return;
    }
    uint at = block_at(t, walk, b), scales = group_scales(t, walk, b);
    uvec4 words[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint j = at + XQ_TILE * i;
        words[i] = uvec4(0);
        if (i < walk.depth) {
#ifdef TEXELS
            uint w[10] = W_WINDOW(j, 4);
            words[i] = uvec4(w[0], w[1], w[2], w[3]);
#else
            words[i] = uvec4(W(j), W(j + 1), W(j + 2), W(j + 3));
#endif
        }
    }
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        uint w[8];
        [[unroll]] for (uint i = 0; i < 8; i++)
            w[i] = words[i][e];
        l[e] = levels_of(walk, w, t.r + e, scales);
    }
}

/* Adds the terms of block b to the sums, or parks them. */
void use_block(uint b)
{
    Levels l[EACH];
    load_rows(b, l);
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
                    add(r * EACH + e, term);
            }
        }
    }
}

/* Lane r adds up what was parked for row r. */
void add_parked(uint n)
{
    barrier();
    for (uint i = 0; my_lane < ROWS && i < n; i++) {
        uint at = ((tile * LANES + i) * ROWS + my_lane) * 16 + id % 8;
        add(0, terms[at]);
        add(0, terms[at + 8]);
    }
    barrier();
}

void main()
{
    blocks = P(LINEAR_K) / 32;
    row_words = blocks * Q8_WORDS;
    r0 = gl_WorkGroupID.y * ROWS;
    m = rows_of(P(LINEAR_ROWS));
    id = gl_LocalInvocationID.x;
    my_lane = id / 8 % LANES;
    tile = id / 8 / LANES;
    uint n = P(LINEAR_N), o = gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES * EACH) + (tile * 8 + id % 8) * EACH;
    if (r0 >= m)
        return;
    if (SHARES) {
        if (id < ROWS && r0 + id < m)
            limits[id] = limit_of((r0 + id) * row_words, blocks, XQ_DOMINANT);
        barrier();
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        limit[r] = 0.0;
        if (r0 + r < m)
            limit[r] = SHARES ? limits[r] : limit_of((r0 + r) * row_words, blocks, XQ_DOMINANT);
        [[unroll]] for (uint e = 0; e < EACH; e++)
            acc[r * EACH + e] = 0.0;
    }
    t = tile_of(P(LINEAR_FIRST_ROW) + (o < n ? o : 0)); /* one that is not there is another and is not stored */
    walk = begin(t);
    for (uint b0 = 0; b0 < blocks;) {
        seek(t, walk, min(b0 + my_lane, blocks - 1));
        if (SHARES) {
            if (b0 + my_lane < blocks)
                use_block(b0 + my_lane);
            add_parked(min(LANES, blocks - b0));
            b0 += LANES;
        } else { /* a segment */
            for (; b0 < walk.end; b0++)
                use_block(b0);
        }
    }
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        float scale = row_scale(t, t.r + e);
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            precise float y = scale * acc[r * EACH + e];
            acc[r * EACH + e] = y;
        }
    }
    Outliers outliers = outliers_of(t.row);
    for (uint i = outliers.first; i < outliers.end; i++) {
        Outlier outlier = outlier_at(outliers, i);
        if (outlier.row / EACH != t.row % XQ_UNIT / EACH)
            continue;
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = r0 + (SHARES ? my_lane : r);
            if (row >= m || (SHARES && r > 0))
                continue;
            precise float term = outlier.value * column_of(row * row_words, outlier.column);
            [[unroll]] for (uint e = 0; e < EACH; e++)
                if (outlier.row % EACH == e)
                    add(r * EACH + e, term);
        }
    }
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = r0 + (SHARES ? my_lane : r);
            if (row < m && o + e < n && (!SHARES || (r == 0 && my_lane < ROWS)))
                store_output(o + e, row, acc[r * EACH + e]);
        }
    }
}
