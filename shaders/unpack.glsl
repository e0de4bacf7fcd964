/* unpack.glsl: 32 columns of a row of weights, for every format. Owns the block layouts for shaders; whoever includes it has defined W(i),
 * word i of the matrix, and with SHORTS W_SHORT(i), a half of one: blocks that begin within words are then read by halves. A row begins at an even byte. FORMAT is known when the pipeline is made: one branch of each is left.
 * weight = d * scale[h] * q + e * minimum[h], h = column / 16, e only where HAS_MIN; q is what unpack leaves less OFFSET. */
struct Block {
    uvec4 q0, q1; /* columns 0..15 and 16..31, the first in the lowest byte; bytes with a sign in Q8_0, without elsewhere */
    ivec2 scale, minimum;
    float d, e; /* e: the scale of the minimum, negative where it is subtracted */
};

const bool IS_QUANT = FORMAT >= FMT_Q4_0, IS_K = FORMAT >= FMT_Q2_K;
const bool HAS_MIN = FORMAT == FMT_Q4_1 || FORMAT == FMT_Q5_1 || FORMAT == FMT_Q2_K || FORMAT == FMT_Q4_K || FORMAT == FMT_Q5_K;
const int OFFSET = FORMAT == FMT_Q4_0 ? 8 : FORMAT == FMT_Q5_0 ? 16 : FORMAT == FMT_Q3_K ? 4 : FORMAT == FMT_Q6_K ? 32 : 0;
const uint BLOCK_COLUMNS = IS_K ? 256 : IS_QUANT ? 32 : 1;
const uint BLOCK_BYTES = FORMAT == FMT_F32 ? 4 : FORMAT == FMT_F16 || FORMAT == FMT_BF16 ? 2 : FORMAT == FMT_Q4_0 ? 18 : FORMAT == FMT_Q4_1 ? 20
    : FORMAT == FMT_Q5_0 ? 22 : FORMAT == FMT_Q5_1 ? 24 : FORMAT == FMT_Q8_0 ? 34 : FORMAT == FMT_Q2_K ? 84 : FORMAT == FMT_Q3_K ? 110
    : FORMAT == FMT_Q4_K ? 144 : FORMAT == FMT_Q5_K ? 176 : 210;
const bool IS_ALIGNED = BLOCK_BYTES % 4 == 0; /* blocks begin at whole words */
const bool IS_Q5 = FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1;

uint row_bytes(uint columns)
{
    return columns / BLOCK_COLUMNS * BLOCK_BYTES;
}

uint short_at(uint at)
{
#ifdef SHORTS
    return W_SHORT(at / 2);
#else
    return W(at / 4) >> (at & 2u) * 8 & 0xffffu;
#endif
}

#ifdef SHORTS
uint word_at(uint at)
{
    return W_SHORT(at / 2) | W_SHORT(at / 2 + 1) << 16;
}
#endif

uvec4 four_words(uint i)
{
#ifdef TEXELS
    uint w[10] = W_WINDOW(i, 4);
    return uvec4(w[0], w[1], w[2], w[3]);
#else
    return uvec4(W(i), W(i + 1), W(i + 2), W(i + 3));
#endif
}

/* 32 bytes from an even address; no word is read that has none of them. */
void load_run(uint at, out uvec4 a, out uvec4 b)
{
#ifdef SHORTS
    if (!IS_ALIGNED) {
        a = uvec4(word_at(at), word_at(at + 4), word_at(at + 8), word_at(at + 12));
        b = uvec4(word_at(at + 16), word_at(at + 20), word_at(at + 24), word_at(at + 28));
        return;
    }
#endif
#ifdef TEXELS
    uint w[10] = W_WINDOW(at / 4, IS_ALIGNED ? 8 : 9), last = w[8];
    a = uvec4(w[0], w[1], w[2], w[3]);
    b = uvec4(w[4], w[5], w[6], w[7]);
    if (IS_ALIGNED || (at & 2u) == 0)
        return;
#else
    a = four_words(at / 4);
    b = four_words(at / 4 + 4);
    if (IS_ALIGNED || (at & 2u) == 0)
        return;
    uint last = W(at / 4 + 8);
#endif
    a = a >> 16 | uvec4(a.yzw, b.x) << 16;
    b = b >> 16 | uvec4(b.yzw, last) << 16;
}

/* Bits 0..3 to bit 4 of four bytes. */
uvec4 spread(uvec4 bits)
{
    return (bits & 1u) << 4 | (bits & 2u) << 11 | (bits & 4u) << 18 | (bits & 8u) << 25;
}

const uint SMALL_WORDS = (BLOCK_BYTES + 2) / 4; /* that a block of 32 columns lies in, wherever it begins; at most 9 */
struct Words {
    uint w[10];
};

/* What the block that begins at byte `at` lies in. */
Words load_words(uint at)
{
    Words words;
    uint i = at / 4;
#ifdef SHORTS
    if (!IS_ALIGNED) { /* as of a block that begins within a word */
        words.w = uint[10](W_SHORT(at / 2) << 16, word_at(at + 2), word_at(at + 6), word_at(at + 10), word_at(at + 14), SMALL_WORDS > 5 ? word_at(at + 18) : 0,
                           SMALL_WORDS > 6 ? word_at(at + 22) : 0, SMALL_WORDS > 6 ? word_at(at + 26) : 0, SMALL_WORDS > 6 ? word_at(at + 30) : 0, 0);
        return words;
    }
#endif
#ifdef TEXELS
    words.w = W_WINDOW(i, SMALL_WORDS);
#else
    words.w = uint[10](W(i), W(i + 1), W(i + 2), W(i + 3), W(i + 4), SMALL_WORDS > 5 ? W(i + 5) : 0, SMALL_WORDS > 6 ? W(i + 6) : 0,
                       SMALL_WORDS > 6 ? W(i + 7) : 0, SMALL_WORDS > 6 ? W(i + 8) : 0, 0);
#endif
    return words;
}

Block unpack_small(uint at, Words words)
{
    uint w[10] = words.w;
#ifdef SHORTS
    const bool is_split = false;
#else
    bool is_split = !IS_ALIGNED && (at & 2u) == 0; /* what follows d begins in the middle of a word */
#endif
    uint first = w[0], before = IS_Q5 ? w[1] : first;
    Block b;
    b.d = half_of(!IS_ALIGNED && !is_split ? first >> 16 : first & 0xffffu);
    b.e = HAS_MIN ? half_of(first >> 16) : 0.0;
    b.scale = b.minimum = ivec2(1);
    uvec4 body = IS_Q5 ? uvec4(w[2], w[3], w[4], w[5]) : uvec4(w[1], w[2], w[3], w[4]);
    uvec4 q = is_split ? uvec4(before, body.xyz) >> 16 | body << 16 : body;
    if (FORMAT == FMT_Q8_0) {
        uvec4 more = uvec4(w[5], w[6], w[7], w[8]);
        b.q0 = q;
        b.q1 = is_split ? uvec4(body.w, more.xyz) >> 16 | more << 16 : more;
    } else {
        b.q0 = q & 0x0f0f0f0fu;
        b.q1 = q >> 4 & 0x0f0f0f0fu;
    }
    if (IS_Q5) {
        uint high = is_split ? first >> 16 | before << 16 : before;
        b.q0 |= spread(uvec4(high) >> uvec4(0, 4, 8, 12));
        b.q1 |= spread(uvec4(high) >> uvec4(16, 20, 24, 28));
    }
    return b;
}

Block unpack_k(uint at, uint j)
{
    uint h = j / 4, pairs = j % 4 * 2;
    uvec4 high0, high1;
    Block b;
    b.e = 0.0;
    b.minimum = ivec2(1);
    if (FORMAT == FMT_Q2_K) {
        uint scales = short_at(at + 2 * j), de = W((at + 80) / 4);
        load_run(at + 16 + 32 * h, b.q0, b.q1);
        b.q0 = b.q0 >> pairs & 0x03030303u;
        b.q1 = b.q1 >> pairs & 0x03030303u;
        b.scale = ivec2(scales & 15u, scales >> 8 & 15u);
        b.minimum = ivec2(scales >> 4 & 15u, scales >> 12 & 15u);
        b.d = half_of(de & 0xffffu);
        b.e = -half_of(de >> 16);
    } else if (FORMAT == FMT_Q3_K) {
        uint lows = short_at(at + 96 + j % 4 * 2) >> h * 4, highs = short_at(at + 104 + j % 2 * 2) >> j / 2 * 2;
        load_run(at + 32 + 32 * h, b.q0, b.q1);
        load_run(at, high0, high1);
        b.q0 = (b.q0 >> pairs & 0x03030303u) | (high0 >> j & 0x01010101u) << 2;
        b.q1 = (b.q1 >> pairs & 0x03030303u) | (high1 >> j & 0x01010101u) << 2;
        b.scale = ivec2((lows & 15u) | (highs & 3u) << 4, (lows >> 8 & 15u) | (highs >> 8 & 3u) << 4) - 32;
        b.d = half_of(short_at(at + 108));
    } else if (FORMAT == FMT_Q6_K) {
        int scales = int(short_at(at + 192 + 2 * j));
        load_run(at + 64 * h + j % 2 * 32, b.q0, b.q1);
        load_run(at + 128 + 32 * h, high0, high1);
        b.q0 = (b.q0 >> j % 4 / 2 * 4 & 0x0f0f0f0fu) | (high0 >> pairs & 0x03030303u) << 4;
        b.q1 = (b.q1 >> j % 4 / 2 * 4 & 0x0f0f0f0fu) | (high1 >> pairs & 0x03030303u) << 4;
        b.scale = ivec2(bitfieldExtract(scales, 0, 8), bitfieldExtract(scales, 8, 8));
        b.d = half_of(short_at(at + 208));
    } else { /* Q4_K, Q5_K */
        uvec4 head = four_words(at / 4);
        uvec3 s = head.yzw >> j % 4 * 8;
        load_run(at + (FORMAT == FMT_Q5_K ? 48 : 16) + j / 2 * 32, b.q0, b.q1);
        b.q0 = b.q0 >> j % 2 * 4 & 0x0f0f0f0fu;
        b.q1 = b.q1 >> j % 2 * 4 & 0x0f0f0f0fu;
        if (FORMAT == FMT_Q5_K) {
            load_run(at + 16, high0, high1);
            b.q0 |= (high0 >> j & 0x01010101u) << 4;
            b.q1 |= (high1 >> j & 0x01010101u) << 4;
        }
        b.scale = ivec2(j < 4 ? s.x & 63u : (s.z & 15u) | (s.x >> 6 & 3u) << 4);
        b.minimum = ivec2(j < 4 ? s.y & 63u : (s.z >> 4 & 15u) | (s.y >> 6 & 3u) << 4);
        b.d = half_of(head.x & 0xffffu);
        b.e = -half_of(head.x >> 16);
    }
    return b;
}

/* Columns 32 * block and on of the row that begins at byte `row`. Quantized formats only. */
Block unpack(uint row, uint block)
{
    if (IS_K)
        return unpack_k(row + block / 8 * BLOCK_BYTES, block % 8);
    uint at = row + block * BLOCK_BYTES;
    return unpack_small(at, load_words(at));
}

/* Columns 4i .. 4i + 3. */
vec4 weights_of(Block b, uint i)
{
    int word = int(i < 4 ? b.q0[i] : b.q1[i - 4]), scale = i < 4 ? b.scale.x : b.scale.y, minimum = i < 4 ? b.minimum.x : b.minimum.y;
    ivec4 q = ivec4(bitfieldExtract(word, 0, 8), bitfieldExtract(word, 8, 8), bitfieldExtract(word, 16, 8), bitfieldExtract(word, 24, 8));
    precise vec4 w = (b.d * float(scale)) * vec4(q - OFFSET);
    if (HAS_MIN)
        w = w + b.e * float(minimum);
    return w;
}

/* Column c of a row of floats. */
float float_weight(uint row, uint c)
{
    if (FORMAT == FMT_F32)
        return F(W(row / 4 + c));
    uint bits = short_at(row + 2 * c);
    return FORMAT == FMT_F16 ? half_of(bits) : F(bits << 16);
}
