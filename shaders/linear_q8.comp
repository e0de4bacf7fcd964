/* linear_q8.comp: products with q8 activations. With one lane an invocation walks the blocks of its outputs in order; with more, each lane
 * has a block, the terms are parked, and then added up in order: the same bits. No byte products: two unsigned bytes per word are
 * multiplied at once, (q0 + q2 * 2^16) * (x2 + x0 * 2^16) holds q0 x0 + q2 x2 in its upper half; x is made unsigned by adding 128.
 * A group of lanes has four outputs. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "linear.glsl"
const uint BITS = FORMAT == FMT_Q8_0 ? 8 : FORMAT == FMT_Q6_K ? 6 : FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1 || FORMAT == FMT_Q5_K ? 5 : 4;
const int SHIFT_OF_Q = BITS == 8 ? 128 : OFFSET; /* bytes with a sign are made unsigned too */
const float FINE = 1.0 / 254.0;
shared vec4 terms[LANES > 1 ? gl_WorkGroupSize.x * ROWS * 2 : 1];
shared float limits[8];

struct Weights {
    uvec4 even0, odd0, even1, odd1; /* columns 4i and 4i + 2, 4i + 1 and 4i + 3 of either half */
    ivec2 sum, scale, minimum;
    float d, e;
};

int sum_of(uvec4 even, uvec4 odd)
{
    uvec4 pair = even + odd;
    uint sum = (pair.x + pair.y) + (pair.z + pair.w);
    return int((sum & 0xffffu) + (sum >> 16));
}

Weights load_weights(uint row, uint block)
{
    Block b = unpack(row, block);
    uvec4 q0 = BITS == 8 ? b.q0 ^ 0x80808080u : b.q0, q1 = BITS == 8 ? b.q1 ^ 0x80808080u : b.q1;
    Weights w;
    w.even0 = q0 & 0x00ff00ffu;
    w.odd0 = q0 >> 8 & 0x00ff00ffu;
    w.even1 = q1 & 0x00ff00ffu;
    w.odd1 = q1 >> 8 & 0x00ff00ffu;
    w.sum = ivec2(sum_of(w.even0, w.odd0), sum_of(w.even1, w.odd1));
    w.scale = b.scale;
    w.minimum = b.minimum;
    w.d = b.d;
    w.e = b.e;
    return w;
}

struct Plane {
    uvec4 even0, odd0, even1, odd1; /* as in Weights, with 128 added and the two of a word exchanged */
    ivec2 sum;
};

uvec4 exchanged(uvec4 pair)
{
    return pair >> 16 | pair << 16;
}

Plane load_plane(uint at)
{
    uvec4 x0 = uvec4(B1(at + 1), B1(at + 2), B1(at + 3), B1(at + 4)) ^ 0x80808080u;
    uvec4 x1 = uvec4(B1(at + 5), B1(at + 6), B1(at + 7), B1(at + 8)) ^ 0x80808080u;
    Plane x;
    x.even0 = exchanged(x0 & 0x00ff00ffu);
    x.odd0 = exchanged(x0 >> 8 & 0x00ff00ffu);
    x.even1 = exchanged(x1 & 0x00ff00ffu);
    x.odd1 = exchanged(x1 >> 8 & 0x00ff00ffu);
    x.sum = ivec2(sum_of(x.even0, x.odd0), sum_of(x.even1, x.odd1)) - 16 * 128; /* what the block says, without a read */
    return x;
}

uint upper_halves(uvec4 p)
{
    if (BITS == 6)
        return ((p.x >> 16) + (p.y >> 16)) + ((p.z >> 16) + (p.w >> 16));
    if (BITS == 5)
        return (p.x + p.y >> 16) + (p.z + p.w >> 16);
    return (p.x + p.y) + (p.z + p.w) >> 16;
}

/* As many products as fit 16 bits are added before the upper half is taken: 8 of 4 bits, 4 of 5, 2 of 6; bytes are two digits of 4. */
int dot_half(uvec4 even, uvec4 odd, uvec4 x_even, uvec4 x_odd)
{
    if (BITS == 8)
        return int(upper_halves((even & 0x000f000fu) * x_even + (odd & 0x000f000fu) * x_odd) +
                   16 * upper_halves((even >> 4 & 0x000f000fu) * x_even + (odd >> 4 & 0x000f000fu) * x_odd));
    return int(upper_halves(even * x_even + odd * x_odd));
}

float dot_plane(Weights w, Plane x)
{
    ivec2 dots = ivec2(dot_half(w.even0, w.odd0, x.even0, x.odd0), dot_half(w.even1, w.odd1, x.even1, x.odd1));
    dots = w.scale * (dots - 128 * w.sum - SHIFT_OF_Q * x.sum);
    precise float t = w.d * float(dots.x + dots.y);
    if (HAS_MIN)
        t = t + w.e * float(w.minimum.x * x.sum.x + w.minimum.y * x.sum.y);
    return t;
}

/* Above this d a block of the row is dominant. */
float limit_of(uint x, uint blocks)
{
    precise float sum = 0.0;
    for (uint b = 0; b < blocks; b++)
        sum = sum + F(B1(x + b * Q8_WORDS));
    precise float limit = 0.5 * (sum / float(blocks));
    return limit;
}

void store_outputs(uint o0, uint row, vec4 acc)
{
    for (uint o = 0; o < 4 && o0 + o < P(LINEAR_N); o++)
        store_output(o0 + o, row, acc[o]);
}

void main()
{
    uint blocks = P(LINEAR_K) / 32, n = P(LINEAR_N), bytes = row_bytes(P(LINEAR_K)), row_words = blocks * Q8_WORDS;
    uint o0 = (gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES) + group()) * 4;
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    if (LANES > 1) {
        if (gl_LocalInvocationID.x < ROWS && r0 + gl_LocalInvocationID.x < m)
            limits[gl_LocalInvocationID.x] = limit_of((r0 + gl_LocalInvocationID.x) * row_words, blocks);
        barrier();
    }
    precise vec4 acc[8]; /* of a row each; unrolled, so that no index puts them into memory */
    float limit[8];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        acc[r] = vec4(0.0);
        limit[r] = 0.0;
        if (r0 + r < m)
            limit[r] = LANES > 1 ? limits[r] : limit_of((r0 + r) * row_words, blocks);
    }
    for (uint b0 = 0; b0 < blocks; b0 += LANES) {
        uint b = b0 + lane();
        if (b < blocks) {
            Weights w0 = load_weights(min(o0, n - 1) * bytes, b), w1 = load_weights(min(o0 + 1, n - 1) * bytes, b);
            Weights w2 = load_weights(min(o0 + 2, n - 1) * bytes, b), w3 = load_weights(min(o0 + 3, n - 1) * bytes, b);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint x = ((r0 + r) * blocks + b) * Q8_WORDS, at = ((group() * ROWS + r) * LANES + lane()) * 2;
                precise float d = F(B1(x));
                if (LANES > 1)
                    terms[at + 1] = vec4(0.0); /* adds nothing: a sum that began with +0 is never -0 */
                for (uint fine = 0; fine < (d > limit[r] ? 2 : 1); fine++) {
                    Plane plane = load_plane(x + (fine != 0 ? Q8_FINE : Q8_COARSE));
                    precise float scale = fine != 0 ? d * FINE : d;
                    precise vec4 term = scale * vec4(dot_plane(w0, plane), dot_plane(w1, plane), dot_plane(w2, plane), dot_plane(w3, plane));
                    if (LANES > 1)
                        terms[at + fine] = term;
                    else
                        acc[r] = acc[r] + term;
                }
            }
        }
        if (LANES > 1) { /* lane r adds up row r */
            barrier();
            uint at = (group() * ROWS + lane()) * LANES * 2;
            for (uint l = 0; lane() < ROWS && l < 2 * min(LANES, blocks - b0); l++)
                acc[0] = acc[0] + terms[at + l];
            barrier();
        }
    }
    if (LANES > 1) {
        if (lane() < ROWS && r0 + lane() < m)
            store_outputs(o0, r0 + lane(), acc[0]);
        return;
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        if (r0 + r < m)
            store_outputs(o0, r0 + r, acc[r]);
}
