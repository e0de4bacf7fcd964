/* kv_store.comp: rows of keys or values into the pages of their sequences (struct bl_params_kv_store). A workgroup is a head. Halves are
 * stored two to a word; where another row owns the other half of a word, bits are exchanged atomically. With ROTATED keys are rotated on
 * their way, by the table in the fourth binding: then the parameters are a struct bl_params_rope, which begins alike. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 32) in;

/* To f16: to nearest, ties to even (runtime/base/half.h). */
uint to_half(uint bits)
{
    uint sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return sign | 0x7e00u | (magnitude >> 13 & 0x3ffu);
    if (magnitude >= 0x477ff000u)
        return sign | 0x7c00u;
    if (magnitude < 0x38800000u) {
        precise float shifted = F(magnitude) + 0.5;
        return sign | (U(shifted) - 0x3f000000u);
    }
    uint rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return sign | rounded - 0x38000000u >> 13;
}

#ifdef ROTATED
/* Column c of the head that begins at `from`. */
uint column(uint r, uint from, uint c)
{
    uint n_rot = P(ROPE_N_ROT);
    if (c >= n_rot)
        return B1(from + c);
    bool norm = P(ROPE_LAYOUT) == ROPE_NORM, second = norm ? c % 2 != 0 : c >= n_rot / 2;
    uint j = norm ? c / 2 : second ? c - n_rot / 2 : c;
    precise float a = F(B1(from + (norm ? 2 * j : j))), b = F(B1(from + (norm ? 2 * j + 1 : j + n_rot / 2)));
    precise float cosine = F(B3(r * n_rot + 2 * j)), sine = F(B3(r * n_rot + 2 * j + 1));
    precise float y0 = a * cosine - b * sine, y1 = a * sine + b * cosine;
    return U(second ? y1 : y0);
}
#else
uint column(uint r, uint from, uint c)
{
    return B1(from + c);
}
#endif

void main()
{
    uint heads = P(KV_STORE_HEADS), d_head = P(KV_STORE_D_HEAD), h = gl_WorkGroupID.x, r = gl_WorkGroupID.y;
    if (r >= rows_of(ROWS_OF_STEP))
        return;
    uint position = B0(STEP_POS + r), from = (r * heads + h) * d_head;
    uint to = ((page_of(r, position) * heads + h) * KV_PAGE + position % KV_PAGE) * d_head;
    if (FORMAT == FMT_F32) {
        for (uint c = gl_LocalInvocationID.x; c < d_head; c += 32)
            B2(to + c) = column(r, from, c);
        return;
    }
    for (uint word = to / 2 + gl_LocalInvocationID.x; 2 * word < to + d_head; word += 32) {
        bool low = 2 * word >= to, high = 2 * word + 1 < to + d_head;
        uint value = (low ? to_half(column(r, from, 2 * word - to)) : 0) | (high ? to_half(column(r, from, 2 * word + 1 - to)) << 16 : 0);
        if (low && high) {
            B2(word) = value;
        } else {
            atomicAnd(B2(word), low ? 0xffff0000u : 0x0000ffffu);
            atomicOr(B2(word), value);
        }
    }
}
