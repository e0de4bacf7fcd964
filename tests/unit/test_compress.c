/* test_compress.c: the parts of the compressor that are plain numbers: coders, allocation on spectra whose answer is known. */
#include "compress/allocate.h"
#include "compress/coder.h"

#include <criterion/criterion.h>
#include <math.h>

Test(compress, codes_are_the_nearest_levels)
{
    for (int uniform = 0; uniform < 2; uniform++) {
        xq_coders_make(uniform);
        for (uint32_t depth = 1; depth <= 8; depth++) {
            const struct xq_coder *c = &xq_coders()[depth];
            cr_assert_eq(c->depth, depth);
            for (double v = -1.3 * c->most; v < 1.3 * c->most; v += 0.0371 * c->most) {
                double least = INFINITY;
                for (uint32_t code = 0; code < 1u << depth; code++)
                    least = fmin(least, fabs(v - c->level[code]));
                cr_assert_lt(fabs(fabs(v - c->level[xq_code_of(c, (float)v)]) - least), 1e-4 * c->most, "depth %u, %g", depth, v);
            }
        }
    }
}

/* Blocks whose error falls by 4 with every bit, as of a fine quantizer; group scales gain nothing, so they are never worth their word. */
enum { STRIPS = 5, BLOCKS = 12 };
struct spectrum {
    struct xq_strip strips[STRIPS];
    float energy[STRIPS][BLOCKS], share[2][9];
    uint8_t depth[STRIPS][BLOCKS], grouped[STRIPS][BLOCKS];
};

static void make_spectrum(struct spectrum *s)
{
    for (uint32_t depth = 0; depth < 9; depth++)
        s->share[0][depth] = s->share[1][depth] = (float)pow(4, -(double)depth);
    for (uint32_t i = 0; i < STRIPS; i++) {
        for (uint32_t b = 0; b < BLOCKS; b++)
            s->energy[i][b] = (float)(64 * pow(2, -0.7 * b) * (1 + i)); /* as if sorted by power */
        s->strips[i] = (struct xq_strip){.rows = 64, .blocks = BLOCKS, .energy = s->energy[i], .share = (const float (*)[9])s->share, .depth = s->depth[i], .grouped = s->grouped[i]};
    }
}

static uint64_t bytes_of(const struct spectrum *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < STRIPS; i++)
        bytes += xq_strip_bytes(&s->strips[i]);
    return bytes;
}

Test(compress, a_budget_is_met_and_more_of_it_never_hurts)
{
    struct spectrum s;
    uint64_t fewest, most;
    double last = INFINITY, loss, price;
    make_spectrum(&s);
    xq_allocate_limits(s.strips, STRIPS, &fewest, &most);
    cr_assert_eq(xq_allocate(s.strips, STRIPS, fewest - 1, &loss, &price), BL_ELIMIT);
    for (uint64_t budget = fewest; budget < most; budget += (most - fewest) / 37) {
        cr_assert_eq(xq_allocate(s.strips, STRIPS, budget, &loss, &price), BL_OK);
        cr_assert_leq(bytes_of(&s), budget);
        cr_assert_leq(loss, last * (1 + 1e-9), "%llu bytes", (unsigned long long)budget);
        last = loss;
        for (uint32_t i = 0; i < STRIPS; i++)
            cr_assert_leq(s.strips[i].n_segments, BL_XQ_MAX_SEGMENTS);
    }
}

Test(compress, depths_follow_the_water_level)
{
    struct spectrum s;
    uint64_t fewest, most;
    double loss, price;
    make_spectrum(&s);
    xq_allocate_limits(s.strips, STRIPS, &fewest, &most);
    cr_assert_eq(xq_allocate(s.strips, STRIPS, fewest + (most - fewest) / 3, &loss, &price), BL_OK);
    cr_assert_gt(bytes_of(&s), (fewest + (most - fewest) / 3) * 99 / 100);
    /* What the last bit of a block saved is more than what one more would save anywhere else, but for the last crumbs of the budget. */
    double least_saved = INFINITY, most_to_save = 0;
    for (uint32_t i = 0; i < STRIPS; i++) {
        for (uint32_t b = 0; b < BLOCKS; b++) {
            const uint32_t depth = s.depth[i][b];
            const double left = (double)s.energy[i][b] * pow(4, -(double)depth);
            cr_assert_eq(s.grouped[i][b], 0);
            if (depth > 1)
                least_saved = fmin(least_saved, 3 * left);
            if (depth < 8)
                most_to_save = fmax(most_to_save, 0.75 * left);
        }
    }
    cr_assert_gt(least_saved * 1.02, most_to_save);
}

Test(compress, no_more_than_sixteen_segments)
{
    struct xq_strip s = {.rows = 8, .blocks = 200};
    static float energy[200];
    static uint8_t depth[200], grouped[200];
    float share[2][9];
    for (uint32_t d = 0; d < 9; d++)
        share[0][d] = share[1][d] = (float)pow(4, -(double)d);
    for (uint32_t b = 0; b < 200; b++)
        energy[b] = b % 3 ? 1000 : 0.01f; /* wants a change at every block */
    s.energy = energy;
    s.share = (const float (*)[9])share;
    s.depth = depth;
    s.grouped = grouped;
    double loss, price;
    cr_assert_eq(xq_allocate(&s, 1, 200 * 32 * 4, &loss, &price), BL_OK);
    cr_assert_leq(s.n_segments, BL_XQ_MAX_SEGMENTS);
    cr_assert_leq(xq_strip_bytes(&s), 200 * 32 * 4);
    uint32_t blocks = 0;
    for (uint32_t g = 0; g < s.n_segments; g++)
        blocks += s.segments[g].n_blocks;
    cr_assert_eq(blocks, 200);
}
