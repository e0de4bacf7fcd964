/* texels.glsl: weights and activations read as texels of 16 bytes, for drivers that load from storage buffers lane by lane but fetch texels of
 * all lanes at once. The same bytes as bindings 2 and 1, from the same aligned offset. */
layout(set = 0, binding = 6) uniform usamplerBuffer texels_w;
layout(set = 0, binding = 7) uniform usamplerBuffer texels_x;

uint word_of(usamplerBuffer texels, uint i)
{
    uvec4 t = texelFetch(texels, int(i >> 2));
    uint low = (i & 1u) != 0 ? t.y : t.x, high = (i & 1u) != 0 ? t.w : t.z;
    return (i & 2u) != 0 ? high : low;
}

/* Words i .. i + n - 1, n <= 9; what follows them is anything. */
uint[10] window(usamplerBuffer texels, uint i, uint n)
{
    int first = int(i >> 2), last = int(i + n - 1 >> 2); /* nothing is read that has none of them */
    uvec4 a = texelFetch(texels, first), b = n > 1 ? texelFetch(texels, min(first + 1, last)) : uvec4(0);
    uvec4 c = n > 5 ? texelFetch(texels, last) : uvec4(0);
    bool by1 = (i & 1u) != 0, by2 = (i & 2u) != 0;
    uvec4 a2 = by2 ? uvec4(a.zw, b.xy) : a, b2 = by2 ? uvec4(b.zw, c.xy) : b, c2 = by2 ? uvec4(c.zw, 0, 0) : c;
    a = by1 ? uvec4(a2.yzw, b2.x) : a2;
    b = by1 ? uvec4(b2.yzw, c2.x) : b2;
    c = by1 ? uvec4(c2.yzw, 0) : c2;
    return uint[10](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y);
}
