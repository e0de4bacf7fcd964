/* xq.glsl: X-bit matrices for shaders (hal/xq.h): a block of 32 columns of a row as bytes, scales, outliers. Knows no product; whoever
 * includes it has defined W(i), word i of the blob. A block of a row is as many words as its depth. No branches by depth but for loads:
 * drivers for processors run all of them. Eight neighbouring invocations with the rows of a tile read neighbouring words. */
struct Tile {
    uint words, stride;              /* where its words begin; from tile to tile of the row block */
    uint n_grouped, segments;        /* of the row block: where its segments begin */
    uint row, r;                     /* of the matrix; of the tile */
};
struct Walk {
    uint segment, first, end, depth; /* blocks first .. end - 1 are of this segment */
    uint codes, grouped;             /* of block `first`: words from the start of a tile; blocks with group scales before it */
    bool is_grouped;
    float unit;
    uint table[16];                  /* half table of the depth, each level in four bytes; of a pair, the second xor the first */
};
/* Level = scale * byte + offset, the group scale in both; bytes with a sign, columns 0..15 and 16..31. */
struct Levels {
    uvec4 w0, w1;
    int scale, offset;
};
const uint ONES = 0x01010101u;
#include "xq_scale.glsl"

Tile tile_of(uint row)
{
    uint n = W(XQ_N_ROW_BLOCKS), b = XQ_HEAD;
    for (uint i = 1; i < n && W(b + XQ_ROW_BLOCK_WORDS + XQ_FIRST_ROW) <= row; i++)
        b += XQ_ROW_BLOCK_WORDS;
    uint in_block = row - W(b + XQ_FIRST_ROW);
    Tile t;
    t.stride = W(b + XQ_STRIDE);
    t.words = W(b + XQ_DATA) + in_block / XQ_TILE * t.stride;
    t.n_grouped = W(b + XQ_N_GROUPED);
    t.segments = XQ_HEAD + n * XQ_ROW_BLOCK_WORDS + W(b + XQ_FIRST_SEGMENT) * XQ_SEGMENT_WORDS;
    t.row = row;
    t.r = in_block % XQ_TILE;
    return t;
}

float row_scale(Tile t, uint r)
{
    return scale_of(W(t.words + r / 4) >> r % 4 * 8 & 255u, int(W(XQ_EXPONENT)) >> 16);
}

void enter(Tile t, inout Walk walk)
{
    uint head = W(t.segments + XQ_SEGMENT_WORDS * walk.segment);
    walk.end = walk.first + (head & 0xffffu);
    walk.depth = head >> 16 & 255u;
    walk.is_grouped = (head >> 24 & 1u) != 0;
    walk.unit = F(W(t.segments + XQ_SEGMENT_WORDS * walk.segment + 1));
    uint at = 4 * XQ_HALVES + (walk.depth == 3 ? 2 : walk.depth == 4 ? 6 : walk.depth == 5 ? 14 : 0); /* tables of 2, 4, 8 and 16 bytes */
    uint w[5] = uint[5](W(at / 4), W(at / 4 + 1), W(at / 4 + 2), W(at / 4 + 3), W(at / 4 + 4)); /* inside the head */
    [[unroll]] for (uint i = 0; i < 16; i++) {
        uint two = at % 4 != 0 ? w[i / 4] >> 16 | w[i / 4 + 1] << 16 : w[i / 4];
        walk.table[i] = (two >> i % 4 * 8 & 255u) * ONES ^ (i % 2 != 0 ? walk.table[i - 1] : 0);
    }
}

Walk begin(Tile t)
{
    Walk walk;
    walk.segment = walk.first = walk.grouped = 0;
    walk.codes = 2 + t.n_grouped;
    enter(t, walk);
    return walk;
}

/* To the segment of block b, which is not before walk.first. */
void seek(Tile t, inout Walk walk, uint b)
{
    while (b >= walk.end) {
        uint n = walk.end - walk.first;
        walk.codes += n * XQ_TILE * walk.depth;
        walk.grouped += walk.is_grouped ? n : 0;
        walk.first = walk.end;
        walk.segment++;
        enter(t, walk);
    }
}

uvec4 pick(uvec4 bits, uvec4 clear, uvec4 set)
{
    return clear ^ ((clear ^ set) & bits);
}

/* Levels of depths 2 to 5: a number of the half table and a sign in each byte. */
uvec4 looked_up(Walk walk, uvec4 code)
{
    uvec4 top = code >> walk.depth - 1 & ONES, negative = walk.depth == 5 ? top : top ^ ONES;
    uvec4 number = walk.depth == 5 ? code : code ^ negative * 15;
    uvec4 b0 = (number & ONES) * 255, b1 = (number >> 1 & ONES) * 255, b2 = (number >> 2 & ONES) * 255, b3 = (number >> 3 & ONES) * 255;
    if (walk.depth < 5)
        b3 = uvec4(0);
    if (walk.depth < 4)
        b2 = uvec4(0);
    if (walk.depth < 3)
        b1 = uvec4(0);
    uvec4 four[4];
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uvec4 low = walk.table[4 * i] ^ (walk.table[4 * i + 1] & b0), high = walk.table[4 * i + 2] ^ (walk.table[4 * i + 3] & b0);
        four[i] = pick(b1, low, high);
    }
    uvec4 level = pick(b3, pick(b2, four[0], four[1]), pick(b2, four[2], four[3]));
    return (level ^ negative * 255) + negative; /* no level is 0: nothing is carried */
}

/* The first word of block b, in the segment of the walk, of the row of a tile; the next ones are XQ_TILE further. */
uint block_at(Tile t, Walk walk, uint b)
{
    return t.words + walk.codes + (b - walk.first) * XQ_TILE * walk.depth + t.r;
}

/* The group scales of the rows of a tile, four bits each, less XQ_GROUP_BASE; any bits where there are none. */
uint group_scales(Tile t, Walk walk, uint b)
{
    return walk.is_grouped ? W(t.words + 2 + walk.grouped + b - walk.first) : 0;
}

/* The words of a row's block, as many as its depth, and the group scales of the tile. */
Levels levels_of(Walk walk, uint w[8], uint r, uint scales)
{
    uint depth = walk.depth;
    uvec4 four = depth > 3 ? uvec4(w[0], w[1], w[2], w[3]) : uvec4(0), more = depth > 7 ? uvec4(w[4], w[5], w[6], w[7]) : uvec4(0);
    uvec2 two = (depth & 2u) == 0 ? uvec2(0) : depth > 3 ? uvec2(w[4], w[5]) : uvec2(w[0], w[1]);
    uint one = (depth & 1u) == 0 ? 0 : depth == 1 ? w[0] : depth == 3 ? w[2] : depth == 5 ? w[4] : w[6];
    uint shift = depth > 3 ? 4 : 0;
    Levels l;
    l.w0 = (four & 0x0f0f0f0fu) | (more & 0x0f0f0f0fu) << 4 | (uvec4(two, two >> 2) & 0x03030303u) << shift |
           (uvec4(one, one >> 1, one >> 2, one >> 3) & ONES) << depth - 1;
    l.w1 = (four >> 4 & 0x0f0f0f0fu) | (more & 0xf0f0f0f0u) | (uvec4(two >> 4, two >> 6) & 0x03030303u) << shift |
           (uvec4(one >> 4, one >> 5, one >> 6, one >> 7) & ONES) << depth - 1;
    bool is_even = depth == 1 || depth > 5; /* levels 2 c + 1 - 2^depth */
    if (is_even) {
        l.w0 ^= depth == 8 ? 0x80808080u : 0;
        l.w1 ^= depth == 8 ? 0x80808080u : 0;
    } else {
        l.w0 = looked_up(walk, l.w0);
        l.w1 = looked_up(walk, l.w1);
    }
    int m = walk.is_grouped ? int(XQ_GROUP_BASE + (scales >> 4 * r & 15u)) : 1;
    l.scale = is_even ? 2 * m : m;
    l.offset = !is_even ? 0 : depth == 8 ? m : m - (m << depth);
    return l;
}

Levels load_levels(Tile t, Walk walk, uint b)
{
    uint at = block_at(t, walk, b), w[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        w[i] = 0;
        if (i < walk.depth)
            w[i] = W(at + XQ_TILE * i);
    }
    return levels_of(walk, w, t.r, group_scales(t, walk, b));
}

ivec4 bytes_of(uint word)
{
    int w = int(word);
    return ivec4(bitfieldExtract(w, 0, 8), bitfieldExtract(w, 8, 8), bitfieldExtract(w, 16, 8), bitfieldExtract(w, 24, 8));
}

/* Levels times group scale of columns 4 i .. 4 i + 3. */
ivec4 levels_at(Levels l, uint i)
{
    return l.scale * bytes_of(i < 4 ? l.w0[i] : l.w1[i - 4]) + l.offset;
}

/* The outliers of 32 rows, first .. end - 1, and where the tables of all begin. Of one: stored column, row among the 32, correction. */
struct Outliers {
    uint first, end, entries, rows;
};
struct Outlier {
    uint column, row;
    float value;
};

Outliers outliers_of(uint row)
{
    Outliers all;
    uint n = W(XQ_N_OUTLIERS), start = W(XQ_OUTLIERS);
    all.first = all.end = 0;
    all.entries = start + (W(XQ_ROWS) + XQ_UNIT - 1) / XQ_UNIT + 1;
    all.rows = all.entries + n;
    if (n > 0) {
        all.first = W(start + row / XQ_UNIT);
        all.end = W(start + row / XQ_UNIT + 1);
    }
    return all;
}

Outlier outlier_at(Outliers all, uint i)
{
    uint entry = W(all.entries + i);
    Outlier o;
    o.column = entry & 0xffffu;
    o.value = half_of(entry >> 16);
    o.row = W(all.rows + i / 4) >> i % 4 * 8 & 255u;
    return o;
}
