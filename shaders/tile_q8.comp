/* tile_q8.comp: products of many rows of q8 activations. A workgroup makes 32 outputs of 32 rows, an invocation every eighth of either.
 * BLOCKS blocks of 32 columns of the weights and of the rows are unpacked into shared memory once; each invocation then adds its terms in
 * ascending order: the same bits as linear_q8; or, with HALF, of half floats and only nearly so. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef DOT4
#extension GL_EXT_spirv_intrinsics : require
#endif
#ifdef HALF
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#ifdef SHORTS
#extension GL_EXT_shader_16bit_storage : require
#endif
#include "common.glsl"
#include "linear.glsl"
const uint TILE = 32, APART = 8, EACH = TILE / APART, BLOCKS = 2;
shared float limits[TILE];
#ifdef HALF
#include "tile_half.glsl"
#else
#include "dot_q8.glsl"
#include "tile_exact.glsl"
#endif
#ifdef GLU
#define EACH_OUTPUTS EACH
#define STAGE_ROWS TILE
#include "linear_glu.glsl"
#endif

/* Sums of a row each. */
void add_up(uint o0, uint r0, uint m, out vec4 sums[EACH])
{
    precise vec4 acc[EACH];
    uint blocks = P(LINEAR_K) / 32, n = P(LINEAR_N), bytes = row_bytes(P(LINEAR_K)), i = gl_LocalInvocationID.x;
    [[unroll]] for (uint r = 0; r < EACH; r++)
        acc[r] = vec4(0.0);
    for (uint b0 = 0; b0 < blocks; b0 += BLOCKS) {
        for (uint t = i; t < TILE * BLOCKS; t += gl_WorkGroupSize.x) {
            uint one = t / BLOCKS, b = b0 + t % BLOCKS, row = r0 + one;
            if (b < blocks)
                stage_weights(t, min(o0 + one, n - 1) * bytes, b);
            if (b < blocks && row < m)
                stage_row(t, (row * blocks + b) * Q8_WORDS, limits[one]);
        }
        barrier();
        for (uint b = 0; b < min(BLOCKS, blocks - b0); b++)
            add_block(b, r0, m, acc);
        barrier();
    }
    [[unroll]] for (uint r = 0; r < EACH; r++)
        sums[r] = acc[r];
}

void main()
{
    uint blocks = P(LINEAR_K) / 32, o0 = gl_WorkGroupID.x * TILE, r0 = gl_WorkGroupID.y * TILE, m = rows_of(P(LINEAR_ROWS)), i = gl_LocalInvocationID.x;
    if (r0 >= m)
        return;
    if (i < TILE && r0 + i < m)
        limits[i] = limit_of((r0 + i) * blocks * Q8_WORDS, blocks, Q8_DOMINANT);
    barrier();
    vec4 gate[EACH], sums[EACH];
#ifdef GLU
    add_up(o0, r0, m, gate);
    side = 1;
#endif
    add_up(o0, r0, m, sums);
    [[unroll]] for (uint r = 0; r < EACH; r++)
        for (uint o = 0; o < EACH; o++)
            if (r0 + lane() + r * APART < m && o0 + group() + o * APART < P(LINEAR_N)) {
#ifdef GLU
                put_glu(o0 + group() + o * APART, r0, lane() + r * APART, gate[r][o], sums[r][o]);
#else
                store_output(o0 + group() + o * APART, r0 + lane() + r * APART, sums[r][o]);
#endif
            }
#ifdef GLU
    finish_glu(r0, m);
#endif
}
