/* ref/decode.c: what the bits of every format mean. The only place besides body/ that knows block layouts; little-endian, any alignment. */
#include "cpu_fallback/ref/ref.h"

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float load_f16(const uint8_t *p)
{
    return bl_f16_to_f32(load_u16(p));
}

/* Sub-scale j and sub-min j, six bits each, of Q4_K and Q5_K: 0..3 in the low bits of bytes 0..7, 4..7 split between bytes 8..11 and the
 * top bits of bytes 0..7. */
static void scale_min_6bit(const uint8_t *s, uint32_t j, int32_t *scale, int32_t *min)
{
    *scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    *min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
}

/* Sub-scale j of 16, six bits, of Q3_K: low nibbles in bytes 0..7, pairs of high bits in bytes 8..11. */
static int32_t scale_3bit(const uint8_t *s, uint32_t j)
{
    int32_t low = s[j % 8] >> (j < 8 ? 0 : 4) & 15, high = s[8 + j % 4] >> j / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

void bl_ref_decode(uint32_t format, const uint8_t *row, uint32_t block, struct ref_block *out)
{
    *out = (struct ref_block){.scale = {1, 1}, .min = {1, 1}};
    const uint32_t per_block = bl_formats[format].block_elements / 32, j = block % per_block;
    const uint8_t *b = row + (size_t)(block / per_block) * bl_formats[format].block_bytes;
    for (uint32_t c = 0; c < 32; c++) {
        const uint32_t nibble_shift = c / 16 * 4, h = j / 4; /* h: half of a block of 256 */
        switch (format) {
        case BL_FMT_Q4_0: /* d, 16 bytes of nibbles: low ones first */
            out->q[c] = (b[2 + c % 16] >> nibble_shift & 15) - 8;
            break;
        case BL_FMT_Q4_1: /* d, m, nibbles */
            out->q[c] = b[4 + c % 16] >> nibble_shift & 15;
            break;
        case BL_FMT_Q5_0: /* d, 32 fifth bits, nibbles */
            out->q[c] = ((b[6 + c % 16] >> nibble_shift & 15) | (b[2 + c / 8] >> c % 8 & 1) << 4) - 16;
            break;
        case BL_FMT_Q5_1: /* d, m, fifth bits, nibbles */
            out->q[c] = (b[8 + c % 16] >> nibble_shift & 15) | (b[4 + c / 8] >> c % 8 & 1) << 4;
            break;
        case BL_FMT_Q8_0: /* d, 32 signed bytes */
            out->q[c] = (int8_t)b[2 + c];
            break;
        case BL_FMT_Q2_K: /* 16 bytes of sub-scales (low) and sub-mins (high), 64 bytes of pairs, d, dmin */
            out->q[c] = b[16 + 32 * h + c] >> j % 4 * 2 & 3;
            break;
        case BL_FMT_Q3_K: /* 32 bytes of third bits, 64 bytes of pairs, 12 bytes of sub-scales, d; a clear third bit means minus 4 */
            out->q[c] = (b[32 + 32 * h + c] >> j % 4 * 2 & 3) - (b[c] >> j & 1 ? 0 : 4);
            break;
        case BL_FMT_Q4_K: /* d, dmin, 12 bytes of sub-scales, 128 bytes of nibbles */
            out->q[c] = b[16 + j / 2 * 32 + c] >> j % 2 * 4 & 15;
            break;
        case BL_FMT_Q5_K: /* d, dmin, 12 bytes of sub-scales, 32 bytes of fifth bits, 128 bytes of nibbles */
            out->q[c] = (b[48 + j / 2 * 32 + c] >> j % 2 * 4 & 15) | (b[16 + c] >> j & 1) << 4;
            break;
        case BL_FMT_Q6_K: /* 128 bytes of nibbles, 64 bytes of pairs, 16 signed sub-scales, d */
            out->q[c] = ((b[64 * h + j % 2 * 32 + c] >> j % 4 / 2 * 4 & 15) | (b[128 + 32 * h + c] >> j % 4 * 2 & 3) << 4) - 32;
            break;
        }
    }
    switch (format) {
    case BL_FMT_Q4_1:
    case BL_FMT_Q5_1:
        out->e = load_f16(b + 2);
        out->has_min = true;
        /* fall through */
    case BL_FMT_Q4_0:
    case BL_FMT_Q5_0:
    case BL_FMT_Q8_0:
        out->d = load_f16(b);
        break;
    case BL_FMT_Q2_K:
        out->d = load_f16(b + 80);
        out->e = -load_f16(b + 82);
        out->has_min = true;
        for (uint32_t i = 0; i < 2; i++) {
            out->scale[i] = b[2 * j + i] & 15;
            out->min[i] = b[2 * j + i] >> 4;
        }
        break;
    case BL_FMT_Q3_K:
        out->d = load_f16(b + 108);
        for (uint32_t i = 0; i < 2; i++)
            out->scale[i] = scale_3bit(b + 96, 2 * j + i);
        break;
    case BL_FMT_Q4_K:
    case BL_FMT_Q5_K:
        out->d = load_f16(b);
        out->e = -load_f16(b + 2);
        out->has_min = true;
        scale_min_6bit(b + 4, j, &out->scale[0], &out->min[0]);
        out->scale[1] = out->scale[0];
        out->min[1] = out->min[0];
        break;
    case BL_FMT_Q6_K:
        out->d = load_f16(b + 208);
        for (uint32_t i = 0; i < 2; i++)
            out->scale[i] = (int8_t)b[192 + 2 * j + i];
        break;
    }
}

static float block_weight(const struct ref_block *b, uint32_t c)
{
    float w = (b->d * (float)b->scale[c / 16]) * (float)b->q[c];
    return b->has_min ? w + b->e * (float)b->min[c / 16] : w;
}

static float float_weight(uint32_t format, const uint8_t *row, uint32_t column)
{
    if (format == BL_FMT_F32)
        return bl_bits_f32(load_u16(row + 4 * (size_t)column) | (uint32_t)load_u16(row + 4 * (size_t)column + 2) << 16);
    uint16_t bits = load_u16(row + 2 * (size_t)column);
    return format == BL_FMT_F16 ? bl_f16_to_f32(bits) : bl_bf16_to_f32(bits);
}

void bl_cpu_dequantize_row(enum bl_format format, const void *row, float *y, uint32_t k)
{
    if (!bl_formats[format].is_quantized) {
        for (uint32_t c = 0; c < k; c++)
            y[c] = float_weight(format, row, c);
        return;
    }
    for (uint32_t c = 0; c < k; c += 32) {
        struct ref_block block;
        bl_ref_decode(format, row, c / 32, &block);
        for (uint32_t i = 0; i < 32; i++)
            y[c + i] = block_weight(&block, i);
    }
}
