/* unpack.glsl: 32 columns of a row of weights, for every format. Owns the block layouts for shaders; whoever includes it has defined W(i),
 * word i of the matrix. A row begins at an even byte. FORMAT is known when the pipeline is made: one branch of each is left.
 * weight = d * scale[h] * q + e * minimum[h], h = column / 16, e only where HAS_MIN; q is what unpack leaves less OFFSET. */
struct Block {
    uint q[8]; /* column 4i in the low byte of q[i]; bytes with a sign in Q8_0, without elsewhere */
    int scale[2], minimum[2];
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
/* Words of a block of 32 behind the one its d is in. */
const uint BODY_WORDS = FORMAT == FMT_Q8_0 ? 8 : FORMAT == FMT_Q5_0 || FORMAT == FMT_Q5_1 ? 5 : 4;

uint row_bytes(uint columns)
{
    return columns / BLOCK_COLUMNS * BLOCK_BYTES;
}

uint short_at(uint at)
{
    return W(at / 4) >> (at & 2u) * 8 & 0xffffu;
}

/* 32 bytes from an even address; no word is read that has none of them. */
void load_run(uint at, out uint words[8])
{
    bool odd = !IS_ALIGNED && (at & 2u) != 0;
    uint low = W(at / 4);
    for (uint i = 0; i < 8; i++) {
        uint high = i < 7 ? W(at / 4 + i + 1) : odd ? W(at / 4 + 8) : 0;
        words[i] = odd ? low >> 16 | high << 16 : low;
        low = high;
    }
}

/* Bits 0..3 to bit 4 of four bytes. */
uint spread(uint bits)
{
    return (bits & 1u) << 4 | (bits & 2u) << 11 | (bits & 4u) << 18 | (bits & 8u) << 25;
}

Block unpack_small(uint at)
{
    uint first = W(at / 4), low = first, body[8];
    bool odd = (at & 2u) != 0;
    for (uint i = 0; i < BODY_WORDS; i++) {
        uint high = W(at / 4 + i + 1);
        body[i] = IS_ALIGNED || odd ? high : low >> 16 | high << 16;
        low = high;
    }
    Block b;
    b.d = half_of(!IS_ALIGNED && odd ? first >> 16 : first & 0xffffu);
    b.e = HAS_MIN ? half_of(first >> 16) : 0.0;
    b.scale[0] = b.scale[1] = b.minimum[0] = b.minimum[1] = 1;
    for (uint i = 0; i < 8; i++) {
        if (FORMAT == FMT_Q8_0)
            b.q[i] = body[i];
        else if (BODY_WORDS == 4)
            b.q[i] = body[i % 4] >> i / 4 * 4 & 0x0f0f0f0fu;
        else
            b.q[i] = (body[1 + i % 4] >> i / 4 * 4 & 0x0f0f0f0fu) | spread(body[0] >> 4 * i);
    }
    return b;
}

Block unpack_k(uint at, uint j)
{
    uint h = j / 4, pairs = j % 4 * 2, low[8], high[8];
    Block b;
    b.e = 0.0;
    b.minimum[0] = b.minimum[1] = 1;
    if (FORMAT == FMT_Q2_K) {
        uint scales = short_at(at + 2 * j), de = W((at + 80) / 4);
        load_run(at + 16 + 32 * h, low);
        for (uint i = 0; i < 8; i++)
            b.q[i] = low[i] >> pairs & 0x03030303u;
        for (uint i = 0; i < 2; i++) {
            b.scale[i] = int(scales >> 8 * i & 15u);
            b.minimum[i] = int(scales >> 8 * i + 4 & 15u);
        }
        b.d = half_of(de & 0xffffu);
        b.e = -half_of(de >> 16);
    } else if (FORMAT == FMT_Q3_K) {
        uint lows = short_at(at + 96 + j % 4 * 2) >> h * 4, highs = short_at(at + 104 + j % 2 * 2) >> j / 2 * 2;
        load_run(at + 32 + 32 * h, low);
        load_run(at, high);
        for (uint i = 0; i < 8; i++)
            b.q[i] = (low[i] >> pairs & 0x03030303u) | (high[i] >> j & 0x01010101u) << 2;
        for (uint i = 0; i < 2; i++)
            b.scale[i] = int((lows >> 8 * i & 15u) | (highs >> 8 * i & 3u) << 4) - 32;
        b.d = half_of(short_at(at + 108));
    } else if (FORMAT == FMT_Q6_K) {
        uint scales = short_at(at + 192 + 2 * j);
        load_run(at + 64 * h + j % 2 * 32, low);
        load_run(at + 128 + 32 * h, high);
        for (uint i = 0; i < 8; i++)
            b.q[i] = (low[i] >> j % 4 / 2 * 4 & 0x0f0f0f0fu) | (high[i] >> pairs & 0x03030303u) << 4;
        for (int i = 0; i < 2; i++)
            b.scale[i] = bitfieldExtract(int(scales), 8 * i, 8);
        b.d = half_of(short_at(at + 208));
    } else { /* Q4_K, Q5_K */
        uint de = W(at / 4), shift = j % 4 * 8, s0 = W(at / 4 + 1) >> shift, s1 = W(at / 4 + 2) >> shift, s2 = W(at / 4 + 3) >> shift;
        load_run(at + (FORMAT == FMT_Q5_K ? 48 : 16) + j / 2 * 32, low);
        for (uint i = 0; i < 8; i++)
            b.q[i] = low[i] >> j % 2 * 4 & 0x0f0f0f0fu;
        if (FORMAT == FMT_Q5_K) {
            load_run(at + 16, high);
            for (uint i = 0; i < 8; i++)
                b.q[i] |= (high[i] >> j & 0x01010101u) << 4;
        }
        b.scale[0] = b.scale[1] = int(j < 4 ? s0 & 63u : (s2 & 15u) | (s0 >> 6 & 3u) << 4);
        b.minimum[0] = b.minimum[1] = int(j < 4 ? s1 & 63u : (s2 >> 4 & 15u) | (s1 >> 6 & 3u) << 4);
        b.d = half_of(de & 0xffffu);
        b.e = -half_of(de >> 16);
    }
    return b;
}

/* Columns 32 * block and on of the row that begins at byte `row`. Quantized formats only. */
Block unpack(uint row, uint block)
{
    if (IS_K)
        return unpack_k(row + block / 8 * BLOCK_BYTES, block % 8);
    return unpack_small(row + block * BLOCK_BYTES);
}

float weight(Block b, uint c)
{
    int q = bitfieldExtract(int(b.q[c / 4]), int(c % 4 * 8), 8) - OFFSET;
    precise float w = (b.d * float(b.scale[c / 16])) * float(q);
    if (HAS_MIN)
        w = w + b.e * float(b.minimum[c / 16]);
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
