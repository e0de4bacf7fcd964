/* inputs.c: seeded numbers and weights in several styles. */
#include "check.h"

#include "base/half.h"

#include <string.h>

static uint64_t state;

void random_seed(uint64_t seed)
{
    state = seed;
}

void random_seed_for(const char *text)
{
    uint64_t hash = 1469598103934665603u;
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    random_seed(options.seed ^ hash);
}

uint64_t random_bits(void) /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t random_below(uint32_t n)
{
    return (uint32_t)(random_bits() >> 32) % n;
}

double random_unit(void)
{
    return (double)(int64_t)random_bits() * 0x1p-63;
}

void fill_floats(float *x, size_t n, enum style style)
{
    static const float extremes[] = {0.0f, -0.0f, 1.0f, -1.0f, 65504.0f, -65504.0f, 0x1p-24f, -0x1p-130f, 0x1p-149f, 1e-20f, 127.0f, -3.5f};
    for (size_t i = 0; i < n; i++) {
        double u = random_unit();
        uint32_t pick = random_below(100);
        switch (style) {
        case UNIFORM:
            x[i] = (float)u;
            break;
        case EXTREMES:
            x[i] = pick < 60 ? extremes[pick % (sizeof extremes / sizeof extremes[0])] : (float)(u * 8);
            break;
        case SPARSE:
            x[i] = pick < 5 ? (float)u : 0.0f;
            break;
        case LOUD:
            x[i] = i % 64 == 0 ? (random_below(4) ? 1.0f : -1.0f) : x[i - 1];
            break;
        default:
            x[i] = 0.0f;
        }
    }
}

static uint16_t random_half(enum style style)
{
    static const uint16_t extremes[] = {0x7bff, 0xfbff, 0x0001, 0x8001, 0x0000, 0x8000, 0x03ff, 0x0400, 0x3c00};
    if (style == EXTREMES)
        return extremes[random_below(sizeof extremes / sizeof extremes[0])];
    return bl_f32_to_f16((float)(random_unit() * 0.1));
}

size_t weight_bytes(uint32_t format, uint32_t n, uint32_t k)
{
    return (size_t)n * (k / bl_formats[format].block_elements) * bl_formats[format].block_bytes;
}

static void put_half(uint8_t *p, uint16_t h)
{
    memcpy(p, &h, 2);
}

void fill_weights(uint8_t *w, uint32_t format, uint32_t n, uint32_t k, enum style style)
{
    /* Where each format keeps its f16 scales: they must be finite, everything else may be any bits. */
    static const struct {
        int d, e;
    } scales[BL_FMT_WEIGHT_COUNT] = {
        [BL_FMT_Q4_0] = {0, -1}, [BL_FMT_Q4_1] = {0, 2},    [BL_FMT_Q5_0] = {0, -1}, [BL_FMT_Q5_1] = {0, 2},  [BL_FMT_Q8_0] = {0, -1},
        [BL_FMT_Q2_K] = {80, 82}, [BL_FMT_Q3_K] = {108, -1}, [BL_FMT_Q4_K] = {0, 2},  [BL_FMT_Q5_K] = {0, 2},  [BL_FMT_Q6_K] = {208, -1},
    };
    const size_t blocks = (size_t)n * (k / bl_formats[format].block_elements), bytes = bl_formats[format].block_bytes;
    for (size_t b = 0; b < blocks; b++, w += bytes) {
        float x;
        fill_floats(&x, 1, style);
        if (format == BL_FMT_F32) {
            memcpy(w, &x, 4);
        } else if (format == BL_FMT_F16) {
            put_half(w, bl_f32_to_f16(x));
        } else if (format == BL_FMT_BF16) {
            put_half(w, (uint16_t)(bl_f32_bits(x) >> 16));
        } else {
            static const uint8_t loud[] = {0xff, 0xff, 0x80, 0x7f, 0x00}; /* 0x80, 0x7f: the ends of signed bytes */
            const uint32_t pick = random_below(style == LOUD ? 5 : 10);
            for (size_t i = 0; i < bytes; i++)
                w[i] = (style == LOUD || style == EXTREMES) && pick < 5 ? loud[pick] : (uint8_t)random_bits();
            if (style == SPARSE && random_below(10) < 8)
                memset(w, 0, bytes);
            put_half(w + scales[format].d, random_half(style));
            if (scales[format].e >= 0)
                put_half(w + scales[format].e, random_half(style));
        }
    }
}
