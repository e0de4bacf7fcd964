/* attention.comp: attention over paged keys and values (struct bl_params_attention), in the splits and the order defined there. A workgroup
 * is a row and a head. Each position of a page has one invocation, or four with two of the eight accumulators each; then the columns of the
 * values are shared out. */
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "common.glsl"
#include "math.glsl"
#include "q8.glsl"
layout(local_size_x_id = 3) in; /* 32 or 128 */
layout(constant_id = 4) const uint PARTS = 1; /* invocations of a position */
const uint HEAD_MOST = 1024; /* as the graph's limit */
#ifdef SUBGROUP
const uint LANES = PARTS;
#include "exchange.glsl"
#endif
shared float acc[HEAD_MOST], total[HEAD_MOST], scores[32 * PARTS], weights[32];

float key(uint i)
{
    return FORMAT == FMT_F32 ? F(B2(i)) : half_of(B2(i / 2) >> i % 2 * 16 & 0xffffu);
}

float value(uint i)
{
    return FORMAT == FMT_F32 ? F(B3(i)) : half_of(B3(i / 2) >> i % 2 * 16 & 0xffffu);
}

/* The accumulators part, part + PARTS ... of q . k, and as much of their tree as they make. */
float dot_part(uint q, uint k, uint part)
{
    uint d_k = P(ATTENTION_D_K);
    precise float s[8];
    for (uint i = 0; i < 8; i++)
        s[i] = 0.0;
    for (uint c0 = 0; c0 < d_k; c0 += 8)
        for (uint i = 0; i < 8 / PARTS; i++) {
            uint c = c0 + i * PARTS + part;
            if (c < d_k)
                s[i] = s[i] + F(B1(q + c)) * key(k + c);
        }
    precise float sum = PARTS == 4 ? s[0] + s[1] : ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    return sum;
}

void main()
{
    uint n_head = P(ATTENTION_N_HEAD), n_head_kv = P(ATTENTION_N_HEAD_KV), d_v = P(ATTENTION_D_V), window = P(ATTENTION_WINDOW);
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, me = gl_LocalInvocationID.x, all = gl_WorkGroupSize.x;
    if (row >= rows_of(ROWS_OF_STEP))
        return;
    uint position = B0(STEP_POS + row), begin = window != 0 && position + 1 > window ? position + 1 - window : 0;
    uint first_page = begin / KV_PAGE, last_page = position / KV_PAGE, split_pages = ATTENTION_SPLIT / KV_PAGE;
    uint q = (row * n_head + head) * P(ATTENTION_D_K), j = me / PARTS;
    precise float m_all = 0.0, l_all = 0.0, m = 0.0, l = 0.0;
    for (uint page = first_page; page <= last_page; page++) {
        if (page == first_page || page % split_pages == 0) {
            m = F(0xff800000u);
            l = 0.0;
            for (uint c = me; c < d_v; c += all)
                acc[c] = 0.0;
        }
        uint place = (page_of(row, page * KV_PAGE) * n_head_kv + head / (n_head / n_head_kv)) * KV_PAGE;
        uint j0 = page == first_page ? begin % KV_PAGE : 0, j1 = page == last_page ? position % KV_PAGE + 1 : KV_PAGE;
        bool is_in = j >= j0 && j < j1;
#ifdef SUBGROUP
        precise float product = tree_of(is_in ? dot_part(q, (place + j) * P(ATTENTION_D_K), me % PARTS) : 0.0, PARTS);
#else
        if (is_in)
            scores[PARTS == 1 ? me : me % 4 * 32 + j] = dot_part(q, (place + j) * P(ATTENTION_D_K), me % PARTS);
        if (PARTS == 4)
            barrier();
        precise float product = 0.0;
        if (is_in)
            product = PARTS == 1 ? scores[j] : (scores[j] + scores[64 + j]) + (scores[32 + j] + scores[96 + j]);
        if (PARTS == 4)
            barrier();
#endif
        precise float s = 0.0;
        if (is_in) {
            s = product * F(P(ATTENTION_SCALE));
            precise float softcap = F(P(ATTENTION_SOFTCAP));
            if (softcap > 0.0)
                s = softcap * tanh_f32(s / softcap);
        }
        if (me % PARTS == 0)
            scores[j] = s;
        barrier();
        float largest = m;
        for (uint i = j0; i < j1; i++)
            largest = max_f32(scores[i], largest);
        if (me % PARTS == 0)
            weights[j] = is_in ? exp_f32(s - largest) : 0.0;
        precise float f = exp_f32(m - largest);
        barrier();
        precise float sums[8];
        for (uint i = 0; i < 8; i++)
            sums[i] = ((weights[i] + weights[i + 8]) + weights[i + 16]) + weights[i + 24];
        l = l * f + (((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])));
        m = largest;
        bool is_end = page == last_page || page % split_pages == split_pages - 1, is_first = page / split_pages == first_page / split_pages;
        float m_new = is_first ? m : max_f32(m, m_all);
        precise float f_all = exp_f32(m_all - m_new), g = exp_f32(m - m_new);
        for (uint c = me; c < d_v; c += all) {
            precise float a = acc[c] * f;
            for (uint i = j0; i < j1; i++)
                a = a + weights[i] * value((place + i) * d_v + c);
            acc[c] = a;
            if (is_end) {
                precise float sum = total[c] * f_all + a * g;
                total[c] = is_first ? a : sum;
            }
        }
        if (is_end) {
            precise float sum = l_all * f_all + l * g;
            l_all = is_first ? l : sum;
            m_all = m_new;
        }
        barrier(); /* the next page writes scores and weights */
    }
    uint to = (row * n_head + head) * d_v;
    precise float inverse = 1.0 / l_all;
    for (uint c = me; c < d_v; c += all) {
        precise float y = total[c] * inverse;
        total[c] = y;
        if (Q8 == 0)
            B4(to + c) = U(y);
    }
    if (Q8 == 0)
        return;
    barrier();
    for (uint b = me; b < d_v / 32; b += all) {
        float x[32];
        uint block[Q8_WORDS];
        for (uint i = 0; i < 32; i++)
            x[i] = total[b * 32 + i];
        quantize_block(x, block);
        for (uint i = 0; i < Q8_WORDS; i++)
            B4((to / 32 + b) * Q8_WORDS + i) = block[i];
    }
}
