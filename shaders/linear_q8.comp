/* linear_q8.comp: products with q8 activations. With one lane an invocation walks the blocks of its outputs in order; with more, each lane
 * has a block, the terms are parked, and then added up in order: the same bits. No byte products: two unsigned bytes per word are
 * multiplied at once, (q0 + q2 * 2^16) * (x2 + x0 * 2^16) holds q0 x0 + q2 x2 in its upper half; x is made unsigned by adding 128. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "linear.glsl"
const uint BITS = FORMAT == FMT_Q8_0 ? 8 : FORMAT == FMT_Q6_K ? 6 : FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1 || FORMAT == FMT_Q5_K ? 5 : 4;
const int SHIFT_OF_Q = BITS == 8 ? 128 : OFFSET; /* bytes with a sign are made unsigned too */
const float FINE = 1.0 / 254.0;
shared float terms[LANES > 1 ? gl_WorkGroupSize.x * OUTPUTS * ROWS * 2 : 1], limits[8];

struct Weights {
    uint even[8], odd[8]; /* columns 4i and 4i + 2, 4i + 1 and 4i + 3 */
    int sum[2], scale[2], minimum[2];
    float d, e;
};

Weights load_weights(uint row, uint block)
{
    Block b = unpack(row, block);
    Weights w;
    for (uint h = 0; h < 2; h++) {
        uint sum = 0;
        for (uint i = 4 * h; i < 4 * h + 4; i++) {
            uint q = BITS == 8 ? b.q[i] ^ 0x80808080u : b.q[i];
            w.even[i] = q & 0x00ff00ffu;
            w.odd[i] = q >> 8 & 0x00ff00ffu;
            sum += w.even[i] + w.odd[i];
        }
        w.sum[h] = int((sum & 0xffffu) + (sum >> 16));
        w.scale[h] = b.scale[h];
        w.minimum[h] = b.minimum[h];
    }
    w.d = b.d;
    w.e = b.e;
    return w;
}

struct Plane {
    uint even[8], odd[8]; /* as in Weights, with 128 added and the two of a word exchanged */
    int sum[2];
};

Plane load_plane(uint at)
{
    Plane x;
    uint sums = B1(at);
    x.sum[0] = bitfieldExtract(int(sums), 0, 16);
    x.sum[1] = bitfieldExtract(int(sums), 16, 16);
    for (uint i = 0; i < 8; i++) {
        uint u = B1(at + 1 + i) ^ 0x80808080u, even = u & 0x00ff00ffu, odd = u >> 8 & 0x00ff00ffu;
        x.even[i] = even >> 16 | even << 16;
        x.odd[i] = odd >> 16 | odd << 16;
    }
    return x;
}

/* As many products as fit 16 bits are added before the upper half is taken: 8 of 4 bits, 4 of 5, 2 of 6; bytes are two digits of 4. */
int dot_half(Weights w, Plane x, uint h)
{
    uint total = 0, sum = 0, high = 0;
    for (uint i = 4 * h; i < 4 * h + 4; i++) {
        if (BITS == 8) {
            sum += (w.even[i] & 0x000f000fu) * x.even[i] + (w.odd[i] & 0x000f000fu) * x.odd[i];
            high += (w.even[i] >> 4 & 0x000f000fu) * x.even[i] + (w.odd[i] >> 4 & 0x000f000fu) * x.odd[i];
        } else {
            sum += w.even[i] * x.even[i] + w.odd[i] * x.odd[i];
        }
        if (BITS == 6 || (BITS == 5 && i % 2 == 1)) {
            total += sum >> 16;
            sum = 0;
        }
    }
    total += (sum >> 16) + (high >> 16) * 16;
    return int(total) - 128 * w.sum[h] - SHIFT_OF_Q * x.sum[h];
}

float dot_plane(Weights w, Plane x)
{
    int isum = w.scale[0] * dot_half(w, x, 0) + w.scale[1] * dot_half(w, x, 1);
    precise float t = w.d * float(isum);
    if (HAS_MIN)
        t = t + w.e * float(w.minimum[0] * x.sum[0] + w.minimum[1] * x.sum[1]);
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

void main()
{
    uint blocks = P(LINEAR_K) / 32, n = P(LINEAR_N), bytes = row_bytes(P(LINEAR_K)), o0 = first_output();
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
    float limit[ROWS], acc[OUTPUTS * ROWS];
    if (LANES > 1) {
        if (gl_LocalInvocationID.x < ROWS && r0 + gl_LocalInvocationID.x < m)
            limits[gl_LocalInvocationID.x] = limit_of((r0 + gl_LocalInvocationID.x) * blocks * Q8_WORDS, blocks);
        barrier();
    }
    for (uint r = 0; r < ROWS; r++)
        if (r0 + r < m)
            limit[r] = LANES > 1 ? limits[r] : limit_of((r0 + r) * blocks * Q8_WORDS, blocks);
    for (uint t = 0; t < OUTPUTS * ROWS; t++)
        acc[t] = 0.0;
    for (uint b0 = 0; b0 < blocks; b0 += LANES) {
        uint b = b0 + lane();
        if (b < blocks) {
            Weights w[OUTPUTS];
            for (uint o = 0; o < OUTPUTS; o++)
                w[o] = load_weights(min(o0 + o, n - 1) * bytes, b);
            for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint x = ((r0 + r) * blocks + b) * Q8_WORDS;
                precise float d = F(B1(x)), fine_d = d * FINE;
                Plane coarse = load_plane(x + Q8_COARSE), fine;
                bool dominant = d > limit[r];
                if (dominant)
                    fine = load_plane(x + Q8_FINE);
                for (uint o = 0; o < OUTPUTS; o++) {
                    uint t = o * ROWS + r;
                    precise float term = d * dot_plane(w[o], coarse), more = 0.0; /* a sum that began with +0 is never -0 */
                    if (dominant)
                        more = fine_d * dot_plane(w[o], fine);
                    if (LANES > 1) {
                        uint at = ((group() * OUTPUTS * ROWS + t) * LANES + lane()) * 2;
                        terms[at] = term;
                        terms[at + 1] = more;
                    } else {
                        precise float sum = acc[t] + term;
                        acc[t] = sum + more;
                    }
                }
            }
        }
        if (LANES > 1) {
            barrier();
            for (uint t = lane(), i = 0; t < OUTPUTS * ROWS; t += LANES, i++) {
                precise float sum = acc[i];
                for (uint l = 0, at = (group() * OUTPUTS * ROWS + t) * LANES * 2; l < min(LANES, blocks - b0); l++, at += 2) {
                    sum = sum + terms[at];
                    sum = sum + terms[at + 1];
                }
                acc[i] = sum;
            }
            barrier();
        }
    }
    for (uint t = lane(), i = 0; t < OUTPUTS * ROWS; t += LANES, i++)
        if (o0 + t / ROWS < n && r0 + t % ROWS < m)
            store_output(o0 + t / ROWS, r0 + t % ROWS, acc[i]);
}
