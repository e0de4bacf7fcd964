/* tile_q8.comp: products of many rows of q8 activations. A workgroup makes 32 outputs of 32 rows, an invocation every eighth of either.
 * BLOCKS blocks of 32 columns of the weights and of the rows are unpacked into shared memory once; each invocation then adds its terms in
 * ascending order: the same bits as linear_q8. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef DOT4
#extension GL_EXT_spirv_intrinsics : require
#endif
#ifdef SHORTS
#extension GL_EXT_shader_16bit_storage : require
#endif
#include "common.glsl"
#include "linear.glsl"
#include "dot_q8.glsl"
const uint TILE = 32, APART = 8, EACH = TILE / APART;
const uint BLOCKS = 2, WEIGHT_VECTORS = 3, ROW_VECTORS = 2 * VECTORS + 1; /* odd: neighbours meet different banks */
shared uvec4 weights[TILE * BLOCKS * WEIGHT_VECTORS]; /* bytes of either half, then scales */
shared uvec4 rows[TILE * BLOCKS * ROW_VECTORS];       /* coarse, fine, then d and the sums of either */
shared float limits[TILE];
#ifdef GLU
#define EACH_OUTPUTS EACH
#define STAGE_ROWS TILE
#define STAGE(i, x) rows[(i) / 4][(i) % 4] = U(x)
#define STAGED(i) F(rows[(i) / 4][(i) % 4])
#include "linear_glu.glsl"
#endif

/* Scales and minimums are of eight bits each, sums of 16. */
void stage_weights(uint at, uint row, uint block)
{
    Block b = unpack(row, block);
    uvec4 q0 = staged_bytes(b.q0), q1 = staged_bytes(b.q1);
    Weights w = weights_from(q0, q1);
    uint scales = uint(b.scale.x & 255) | uint(b.scale.y & 255) << 8 | uint(b.minimum.x) << 16 | uint(b.minimum.y) << 24;
    weights[at] = q0;
    weights[at + 1] = q1;
    weights[at + 2] = uvec4(U(b.d), U(b.e), scales, uint(w.sum.x) | uint(w.sum.y) << 16);
}

Weights staged_weights(uint at)
{
    uvec4 facts = weights[at + 2];
    int scales = int(facts.z);
    Weights w = weights_from(weights[at], weights[at + 1]);
    w.sum = ivec2(facts.w & 0xffffu, facts.w >> 16);
    w.scale = ivec2(bitfieldExtract(scales, 0, 8), bitfieldExtract(scales, 8, 8));
    w.minimum = ivec2(facts.z >> 16 & 255u, facts.z >> 24);
    w.d = F(facts.x);
    w.e = F(facts.y);
    return w;
}

void stage_plane(uint at, uint from)
{
    Plane x = load_plane(from);
    [[unroll]] for (uint i = 0; i < VECTORS; i++)
        rows[at + i] = x.v[i];
}

/* The fine plane only where it is read. */
void stage_row(uint at, uint from, float limit)
{
    float d = F(B1(from));
    stage_plane(at, from + Q8_COARSE);
    if (d > limit)
        stage_plane(at + VECTORS, from + Q8_FINE);
    rows[at + 2 * VECTORS] = uvec4(U(d), B1(from + Q8_COARSE), B1(from + Q8_FINE), 0);
}

Plane staged_plane(uint at, uint sums)
{
    Plane x;
    [[unroll]] for (uint i = 0; i < VECTORS; i++)
        x.v[i] = rows[at + i];
    x.sum = sums_of(sums);
    return x;
}


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
                stage_weights(t * WEIGHT_VECTORS, min(o0 + one, n - 1) * bytes, b);
            if (b < blocks && row < m)
                stage_row(t * ROW_VECTORS, (row * blocks + b) * Q8_WORDS, limits[one]);
        }
        barrier();
        for (uint b = 0; b < min(BLOCKS, blocks - b0); b++) {
            uint step = APART * BLOCKS * WEIGHT_VECTORS, at = (group() * BLOCKS + b) * WEIGHT_VECTORS;
            Weights w0 = staged_weights(at), w1 = staged_weights(at + step);
            Weights w2 = staged_weights(at + 2 * step), w3 = staged_weights(at + 3 * step);
            [[unroll]] for (uint r = 0; r < EACH; r++) {
                uint row = lane() + r * APART, x = (row * BLOCKS + b) * ROW_VECTORS;
                if (r0 + row >= m)
                    continue;
                uvec4 facts = rows[x + 2 * VECTORS];
                precise float d = F(facts.x);
                for (uint fine = 0; fine < (d > limits[row] ? 2 : 1); fine++) {
                    Plane plane = staged_plane(x + fine * VECTORS, fine != 0 ? facts.z : facts.y);
                    precise float scale = fine != 0 ? d * FINE : d;
                    precise vec4 term = scale * vec4(dot_plane(w0, plane), dot_plane(w1, plane), dot_plane(w2, plane), dot_plane(w3, plane));
                    acc[r] = acc[r] + term;
                }
            }
        }
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
        limits[i] = limit_of((r0 + i) * blocks * Q8_WORDS, blocks);
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
