/* dot_q8.glsl: the terms of products with q8 activations: 32 columns of weights with one plane of an activation block, exact until the scales.
 * With DOT4 the device multiplies bytes (VK_KHR_shader_integer_dot_product). Without, two unsigned bytes per word are multiplied at once,
 * (q0 + q2 * 2^16) * (x2 + x0 * 2^16) holds q0 x0 + q2 x2 in its upper half; x is made unsigned by adding 128. */
#ifdef DOT4
const uint VECTORS = 2; /* of 32 columns: the bytes of either half */
#else
const uint VECTORS = 4; /* columns 4i and 4i + 2, then 4i + 1 and 4i + 3 of either half; in a plane the two of a word are exchanged */
#endif
struct Weights {
    uvec4 v[VECTORS];
    ivec2 sum, scale, minimum;
    float d, e;
};
struct Plane {
    uvec4 v[VECTORS];
    ivec2 sum;
};

ivec2 sums_of(uint word)
{
    return ivec2(bitfieldExtract(int(word), 0, 16), bitfieldExtract(int(word), 16, 16));
}

#ifdef DOT4
/* OpSDot, DotProduct, DotProductInput4x8BitPacked; format 0 is PackedVectorFormat4x8Bit. */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int dot4(uint a, uint b, spirv_literal int format);

uvec4 staged_bytes(uvec4 q)
{
    return q;
}

/* All but the scales. */
Weights weights_from(uvec4 q0, uvec4 q1)
{
    Weights w;
    w.v[0] = q0;
    w.v[1] = q1;
    w.sum = ivec2(0); /* not used */
    return w;
}

Plane load_plane(uint at)
{
    Plane x;
    x.v[0] = uvec4(B1(at + 1), B1(at + 2), B1(at + 3), B1(at + 4));
    x.v[1] = uvec4(B1(at + 5), B1(at + 6), B1(at + 7), B1(at + 8));
    x.sum = sums_of(B1(at));
    return x;
}

int dot_half(uvec4 q, uvec4 x)
{
    return (dot4(q.x, x.x, 0) + dot4(q.y, x.y, 0)) + (dot4(q.z, x.z, 0) + dot4(q.w, x.w, 0));
}

ivec2 dots_of(Weights w, Plane x)
{
    return ivec2(dot_half(w.v[0], x.v[0]), dot_half(w.v[1], x.v[1])) - OFFSET * x.sum;
}
#else
const uint BITS = FORMAT == FMT_Q8_0 ? 8 : FORMAT == FMT_Q6_K ? 6 : FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1 || FORMAT == FMT_Q5_K ? 5 : 4;
const int SHIFT_OF_Q = BITS == 8 ? 128 : OFFSET; /* bytes with a sign are made unsigned too */

int sum_of(uvec4 even, uvec4 odd)
{
    uvec4 pair = even + odd;
    uint sum = (pair.x + pair.y) + (pair.z + pair.w);
    return int((sum & 0xffffu) + (sum >> 16));
}

/* The bytes of a block as weights_from takes them. */
uvec4 staged_bytes(uvec4 q)
{
    return BITS == 8 ? q ^ 0x80808080u : q;
}

/* All but the scales. */
Weights weights_from(uvec4 q0, uvec4 q1)
{
    Weights w;
    w.v[0] = q0 & 0x00ff00ffu;
    w.v[1] = q0 >> 8 & 0x00ff00ffu;
    w.v[2] = q1 & 0x00ff00ffu;
    w.v[3] = q1 >> 8 & 0x00ff00ffu;
    w.sum = ivec2(sum_of(w.v[0], w.v[1]), sum_of(w.v[2], w.v[3]));
    return w;
}

uvec4 exchanged(uvec4 pair)
{
    return pair >> 16 | pair << 16;
}

Plane load_plane(uint at)
{
#ifdef TEXELS
    uint w[10] = X_WINDOW(at + 1, 8);
    uvec4 x0 = uvec4(w[0], w[1], w[2], w[3]) ^ 0x80808080u, x1 = uvec4(w[4], w[5], w[6], w[7]) ^ 0x80808080u;
#else
    uvec4 x0 = uvec4(B1(at + 1), B1(at + 2), B1(at + 3), B1(at + 4)) ^ 0x80808080u;
    uvec4 x1 = uvec4(B1(at + 5), B1(at + 6), B1(at + 7), B1(at + 8)) ^ 0x80808080u;
#endif
    Plane x;
    x.v[0] = exchanged(x0 & 0x00ff00ffu);
    x.v[1] = exchanged(x0 >> 8 & 0x00ff00ffu);
    x.v[2] = exchanged(x1 & 0x00ff00ffu);
    x.v[3] = exchanged(x1 >> 8 & 0x00ff00ffu);
    x.sum = ivec2(sum_of(x.v[0], x.v[1]), sum_of(x.v[2], x.v[3])) - 16 * 128; /* what the block says, without a read */
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

ivec2 dots_of(Weights w, Plane x)
{
    ivec2 dots = ivec2(dot_half(w.v[0], w.v[1], x.v[0], x.v[1]), dot_half(w.v[2], w.v[3], x.v[2], x.v[3]));
    return dots - 128 * w.sum - SHIFT_OF_Q * x.sum;
}
#endif

Weights weights_of_block(Block b)
{
    Weights w = weights_from(staged_bytes(b.q0), staged_bytes(b.q1));
    w.scale = b.scale;
    w.minimum = b.minimum;
    w.d = b.d;
    w.e = b.e;
    return w;
}

Weights load_weights(uint row, uint block)
{
    return weights_of_block(unpack(row, block));
}

float dot_plane(Weights w, Plane x)
{
    ivec2 dots = w.scale * dots_of(w, x);
    precise float t = w.d * float(dots.x + dots.y);
    if (HAS_MIN)
        t = t + w.e * float(w.minimum.x * x.sum.x + w.minimum.y * x.sum.y);
    return t;
}
