/* linear_q8.comp: products with q8 activations. With one lane an invocation walks the blocks of its outputs in order; with more, each lane
 * has a block, the terms are parked (SUBGROUP: shuffled), and then added up in order: the same bits. A group of lanes has four outputs. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef DOT4
#extension GL_EXT_spirv_intrinsics : require
#endif
#ifdef SHORTS
#extension GL_EXT_shader_16bit_storage : require
#endif
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "common.glsl"
#include "linear.glsl"
#include "dot_q8.glsl"
#ifdef GLU
#define EACH_OUTPUTS 4
#define STAGE_ROWS ROWS
#include "linear_glu.glsl"
#endif
#ifdef SUBGROUP
#include "exchange.glsl"
const uint KEEPERS = LANES / 4; /* fours of lanes that have all sums; each stores some */
#else
shared vec4 terms[SHARES ? gl_WorkGroupSize.x * ROWS * 2 : 1];
#endif
shared float limits[8];

/* Sums of a row each; with lanes the first is that of the lane's row; with subgroups, of all rows, that of output lane % 4. */
void add_up(uint o0, uint r0, uint m, float limit[8], out vec4 sums[8])
{
    precise vec4 acc[8]; /* loops over it are unrolled, so that no index puts it into memory */
    uint blocks = P(LINEAR_K) / 32, n = P(LINEAR_N), bytes = row_bytes(P(LINEAR_K));
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        acc[r] = vec4(0.0);
    for (uint b0 = 0; b0 < blocks; b0 += LANES) {
#ifdef SUBGROUP
        uint b = min(b0 + lane(), blocks - 1);
#else
        uint b = b0 + lane();
        if (b < blocks)
#endif
        {
            Weights w0, w1, w2, w3;
            if (IS_K) {
                w0 = load_weights(min(o0, n - 1) * bytes, b);
                w1 = load_weights(min(o0 + 1, n - 1) * bytes, b);
                w2 = load_weights(min(o0 + 2, n - 1) * bytes, b);
                w3 = load_weights(min(o0 + 3, n - 1) * bytes, b);
            } else {
                uvec4 at = min(uvec4(o0, o0 + 1, o0 + 2, o0 + 3), n - 1) * bytes + b * BLOCK_BYTES;
                Words s0 = load_words(at.x), s1 = load_words(at.y), s2 = load_words(at.z), s3 = load_words(at.w);
                w0 = weights_of_block(unpack_small(at.x, s0));
                w1 = weights_of_block(unpack_small(at.y, s1));
                w2 = weights_of_block(unpack_small(at.z, s2));
                w3 = weights_of_block(unpack_small(at.w, s3));
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                if (r0 + r >= m)
                    continue;
                uint x = ((r0 + r) * blocks + b) * Q8_WORDS;
                precise float d = F(X(x));
                /* A term of 0 adds nothing: a sum that began with +0 is never -0. */
#ifdef SUBGROUP
                vec4 coarse_term = vec4(0.0), fine_term = vec4(0.0);
#else
                uint at = ((group() * ROWS + r) * LANES + lane()) * 2;
                if (SHARES)
                    terms[at + 1] = vec4(0.0);
#endif
                for (uint fine = 0; fine < (d > limit[r] ? 2 : 1); fine++) {
                    Plane plane = load_plane(x + (fine != 0 ? Q8_FINE : Q8_COARSE));
                    precise float scale = fine != 0 ? d * FINE : d;
                    precise vec4 term = scale * vec4(dot_plane(w0, plane), dot_plane(w1, plane), dot_plane(w2, plane), dot_plane(w3, plane));
#ifdef SUBGROUP
                    if (fine != 0)
                        fine_term = term;
                    else
                        coarse_term = term;
                }
                bool has_block = b0 + lane() < blocks;
                acc[r].x = add_terms(acc[r].x, has_block ? coarse_term : vec4(0.0), has_block ? fine_term : vec4(0.0));
            }
        }
#else
                    if (SHARES)
                        terms[at + fine] = term;
                    else
                        acc[r] = acc[r] + term;
                }
            }
        }
        if (SHARES) { /* lane r adds up row r */
            barrier();
            uint at = (group() * ROWS + lane()) * LANES * 2;
            for (uint l = 0; lane() < ROWS && l < 2 * min(LANES, blocks - b0); l++)
                acc[0] = acc[0] + terms[at + l];
            barrier();
        }
#endif
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        sums[r] = acc[r];
}

void put_output(uint output_, uint r0, uint r, float gate, float sum)
{
#ifdef GLU
    put_glu(output_, r0, r, gate, sum);
#else
    store_output(output_, r0 + r, sum);
#endif
}

void put_outputs(uint o0, uint r0, uint r, vec4 gate, vec4 sum)
{
    for (uint o = 0; o < 4 && o0 + o < P(LINEAR_N); o++)
        put_output(o0 + o, r0, r, gate[o], sum[o]);
}

void main()
{
    uint blocks = P(LINEAR_K) / 32, row_words = blocks * Q8_WORDS;
    uint o0 = (gl_WorkGroupID.x * (gl_WorkGroupSize.x / LANES) + group()) * 4;
    uint r0 = gl_WorkGroupID.y * ROWS, m = rows_of(P(LINEAR_ROWS));
    if (r0 >= m)
        return;
#ifdef SUBGROUP
    float first_limit = 0.0;
    if (ROWS == 1) {
        precise float sum = 0.0;
        for (uint b0 = 0; b0 < blocks; b0 += gl_SubgroupSize) {
            uint b = b0 + gl_SubgroupInvocationID;
            sum = add_in_order(sum, b < blocks ? F(X(r0 * row_words + b * Q8_WORDS)) : 0.0);
        }
        first_limit = limit_of_sum(sum, blocks, Q8_DOMINANT);
    } else
#endif
    if (SHARES) {
        if (gl_LocalInvocationID.x < ROWS && r0 + gl_LocalInvocationID.x < m)
            limits[gl_LocalInvocationID.x] = limit_of((r0 + gl_LocalInvocationID.x) * row_words, blocks, Q8_DOMINANT);
        barrier();
    }
    float limit[8];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        limit[r] = 0.0;
        if (r0 + r < m)
            limit[r] = SHARES ? limits[r] : limit_of((r0 + r) * row_words, blocks, Q8_DOMINANT);
    }
#ifdef SUBGROUP
    if (ROWS == 1)
        limit[0] = first_limit;
#endif
    vec4 gate[8], sums[8];
#ifdef GLU
    add_up(o0, r0, m, limit, gate);
    side = 1;
#endif
    add_up(o0, r0, m, limit, sums);
#ifdef SUBGROUP
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        if (r0 + r < m && r % KEEPERS == lane() / 4 && o0 + lane() % 4 < P(LINEAR_N))
            put_output(o0 + lane() % 4, r0, r, gate[r].x, sums[r].x);
#else
    if (SHARES) {
        if (lane() < ROWS && r0 + lane() < m)
            put_outputs(o0, r0, lane(), gate[0], sums[0]);
    } else {
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            if (r0 + r < m)
                put_outputs(o0, r0, r, gate[r], sums[r]);
    }
#endif
#ifdef GLU
    finish_glu(r0, m);
#endif
}
