/* dot_q8.glsl: the terms of products with q8 activations: 32 columns of weights with one plane of an activation block, exact until the scales.
 * No byte products: two unsigned bytes per word are multiplied at once, (q0 + q2 * 2^16) * (x2 + x0 * 2^16) holds q0 x0 + q2 x2 in its
 * upper half; x is made unsigned by adding 128. */
const uint BITS = FORMAT == FMT_Q8_0 ? 8 : FORMAT == FMT_Q6_K ? 6 : FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1 || FORMAT == FMT_Q5_K ? 5 : 4;
const int SHIFT_OF_Q = BITS == 8 ? 128 : OFFSET; /* bytes with a sign are made unsigned too */
const float FINE = 1.0 / 254.0;

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

/* The bytes of a block without signs. */
uvec4 unsigned_of(uvec4 q)
{
    return BITS == 8 ? q ^ 0x80808080u : q;
}

/* All but the scales. */
Weights weights_from(uvec4 q0, uvec4 q1)
{
    Weights w;
    w.even0 = q0 & 0x00ff00ffu;
    w.odd0 = q0 >> 8 & 0x00ff00ffu;
    w.even1 = q1 & 0x00ff00ffu;
    w.odd1 = q1 >> 8 & 0x00ff00ffu;
    w.sum = ivec2(sum_of(w.even0, w.odd0), sum_of(w.even1, w.odd1));
    return w;
}

Weights load_weights(uint row, uint block)
{
    Block b = unpack(row, block);
    Weights w = weights_from(unsigned_of(b.q0), unsigned_of(b.q1));
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
