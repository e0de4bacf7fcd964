/* tile_exact.glsl: what a tile stages and adds where its bits are those of linear_q8: bytes, and the terms of dot_q8.glsl in ascending order. */
const uint WEIGHT_VECTORS = 3, ROW_VECTORS = 2 * VECTORS + 1; /* odd: neighbours meet different banks */
shared uvec4 weights[TILE * BLOCKS * WEIGHT_VECTORS]; /* bytes of either half, then scales */
shared uvec4 rows[TILE * BLOCKS * ROW_VECTORS];       /* coarse, fine, then d and the sums of either */
#define STAGE(i, x) rows[(i) / 4][(i) % 4] = U(x)
#define STAGED(i) F(rows[(i) / 4][(i) % 4])

/* Scales and minimums are of eight bits each, sums of 16. */
void stage_weights(uint t, uint row, uint block)
{
    uint at = t * WEIGHT_VECTORS;
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
void stage_row(uint t, uint from, float limit)
{
    uint at = t * ROW_VECTORS;
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

/* Adds the terms of staged block b to the sums of a row each. */
void add_block(uint b, uint r0, uint m, inout vec4 sums[EACH])
{
    precise vec4 acc[EACH] = sums;
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
    sums = acc;
}
