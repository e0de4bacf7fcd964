/* q8.glsl: one block of 32 values as struct bl_q8_block, 19 words. */
void quantize_block(float x[32], out uint block[Q8_WORDS])
{
    uint largest = 0; /* compared as bits: NaN is above infinity */
    for (uint i = 0; i < Q8_WORDS; i++)
        block[i] = 0;
    for (uint i = 0; i < 32; i++)
        largest = max(largest, U(x[i]) & 0x7fffffffu);
    if (largest >= 0x7f800000u) {
        block[0] = 0x7fc00000u;
        return;
    }
    if (largest < 0x03800000u) /* BL_Q8_MIN, 2^-120 */
        return;
    precise float d = F(largest) / 127.0;
    precise float inverse = 1.0 / d;
    int sums[4] = int[4](0, 0, 0, 0);
    for (uint i = 0; i < 32; i++) {
        precise float coarse = (x[i] * inverse + ROUND_MAGIC) - ROUND_MAGIC;
        precise float left = x[i] - d * coarse;
        precise float fine = (left * (254.0 * inverse) + ROUND_MAGIC) - ROUND_MAGIC;
        int c = int(coarse), f = int(fine);
        block[Q8_COARSE + 1 + i / 4] |= uint(c & 255) << (i % 4 * 8);
        block[Q8_FINE + 1 + i / 4] |= uint(f & 255) << (i % 4 * 8);
        sums[i / 16] += c;
        sums[2 + i / 16] += f;
    }
    block[0] = U(d);
    block[Q8_COARSE] = uint(sums[0] & 0xffff) | uint(sums[1]) << 16;
    block[Q8_FINE] = uint(sums[2] & 0xffff) | uint(sums[3]) << 16;
}
