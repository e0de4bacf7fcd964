/* allocate.c: reverse water-filling in whole depths. */
#include "compress/allocate.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>

/* What a block of columns may become. */
struct choice {
    uint8_t depth, grouped;
};

static uint32_t tiles_of(const struct xq_strip *s)
{
    return (s->rows + BL_XQ_TILE - 1) / BL_XQ_TILE;
}

static uint64_t block_bytes(const struct xq_strip *s, struct choice c)
{
    return (uint64_t)tiles_of(s) * 4 * (BL_XQ_BLOCK_WORDS(c.depth) + c.grouped);
}

static double block_loss(const struct xq_strip *s, uint32_t b, struct choice c)
{
    return (double)s->energy[b] * (double)s->share[c.grouped][c.depth];
}

uint64_t xq_strip_bytes(const struct xq_strip *s)
{
    uint64_t bytes = (uint64_t)tiles_of(s) * BL_XQ_TILE + s->n_segments * sizeof(struct bl_xq_segment);
    for (uint32_t b = 0; b < s->blocks; b++)
        bytes += block_bytes(s, (struct choice){s->depth[b], s->grouped[b]});
    return bytes;
}

double xq_strip_loss(const struct xq_strip *s)
{
    double loss = 0;
    for (uint32_t b = 0; b < s->blocks; b++)
        loss += block_loss(s, b, (struct choice){s->depth[b], s->grouped[b]});
    return loss;
}

static struct choice best_choice(const struct xq_strip *s, uint32_t b, double price)
{
    struct choice best = {1, 0};
    double least = INFINITY;
    for (uint8_t grouped = 0; grouped < 2; grouped++) {
        for (uint8_t depth = 1; depth <= 8; depth++) {
            const struct choice c = {depth, grouped};
            const double cost = block_loss(s, b, c) + price * (double)block_bytes(s, c);
            if (cost < least) {
                least = cost;
                best = c;
            }
        }
    }
    return best;
}

/* ---- segments ---- */

static void set_run(struct xq_strip *s, uint32_t first, uint32_t end, struct choice c)
{
    for (uint32_t b = first; b < end; b++) {
        s->depth[b] = c.depth;
        s->grouped[b] = c.grouped;
    }
}

static uint32_t run_end(const struct xq_strip *s, uint32_t first)
{
    uint32_t b = first + 1;
    while (b < s->blocks && s->depth[b] == s->depth[first] && s->grouped[b] == s->grouped[first])
        b++;
    return b;
}

static uint32_t count_runs(const struct xq_strip *s)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < s->blocks; b = run_end(s, b))
        n++;
    return n;
}

static double run_cost(const struct xq_strip *s, uint32_t first, uint32_t end, struct choice c, double price)
{
    double cost = 0;
    for (uint32_t b = first; b < end; b++)
        cost += block_loss(s, b, c) + price * (double)block_bytes(s, c);
    return cost;
}

/* While there are more runs than segments allowed: the two neighbours that lose least become one. */
static void merge_runs(struct xq_strip *s, double price)
{
    while (count_runs(s) > BL_XQ_MAX_SEGMENTS) {
        uint32_t at = 0, until = 0;
        struct choice with = {1, 0};
        double least = INFINITY;
        for (uint32_t first = 0, middle; (middle = run_end(s, first)) < s->blocks; first = middle) {
            const uint32_t end = run_end(s, middle);
            const struct choice both[2] = {{s->depth[first], s->grouped[first]}, {s->depth[middle], s->grouped[middle]}};
            const double now = run_cost(s, first, middle, both[0], price) + run_cost(s, middle, end, both[1], price);
            for (uint32_t k = 0; k < 2; k++) {
                const double more = run_cost(s, first, end, both[k], price) - now;
                if (more < least) {
                    least = more;
                    at = first;
                    until = end;
                    with = both[k];
                }
            }
        }
        set_run(s, at, until, with);
    }
}

static void make_segments(struct xq_strip *s)
{
    s->n_segments = 0;
    for (uint32_t b = 0, end; b < s->blocks; b = end) {
        end = run_end(s, b);
        s->segments[s->n_segments++] = (struct bl_xq_segment){(uint16_t)(end - b), s->depth[b], s->grouped[b] ? BL_XQ_GROUPED : 0, 0};
    }
}

static uint64_t allocate_at(struct xq_strip *strips, uint32_t n, double price, double *loss)
{
    uint64_t bytes = 0;
    *loss = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct xq_strip *s = &strips[i];
        for (uint32_t b = 0; b < s->blocks; b++)
            set_run(s, b, b + 1, best_choice(s, b, price));
        merge_runs(s, price);
        make_segments(s);
        bytes += xq_strip_bytes(s);
        *loss += xq_strip_loss(s);
    }
    return bytes;
}

/* ---- the rest of the budget ---- */

/* A run at a border may take one more block of the neighbour's choice, and any run may become another choice: the move that saves most loss
 * per byte among those that fit and keep the number of segments legal. */
struct move {
    uint32_t strip, block;
    struct choice to;
    uint64_t bytes;
    double gain; /* loss saved per byte */
};

static bool is_legal(struct xq_strip *s, uint32_t b, struct choice c)
{
    const struct choice was = {s->depth[b], s->grouped[b]};
    set_run(s, b, b + 1, c);
    const bool legal = count_runs(s) <= BL_XQ_MAX_SEGMENTS;
    set_run(s, b, b + 1, was);
    return legal;
}

static bool find_move(struct xq_strip *strips, uint32_t n, uint64_t left, struct move *out)
{
    *out = (struct move){.gain = 0};
    for (uint32_t i = 0; i < n; i++) {
        struct xq_strip *s = &strips[i];
        for (uint32_t b = 0; b < s->blocks; b++) {
            const struct choice now = {s->depth[b], s->grouped[b]};
            for (uint8_t grouped = 0; grouped < 2; grouped++) {
                for (uint8_t depth = 1; depth <= 8; depth++) {
                    const struct choice c = {depth, grouped};
                    const uint64_t bytes = block_bytes(s, c) + 2 * sizeof(struct bl_xq_segment); /* it may split a run in three */
                    if (bytes <= block_bytes(s, now) || bytes - block_bytes(s, now) > left)
                        continue;
                    const double gain = (block_loss(s, b, now) - block_loss(s, b, c)) / (double)(bytes - block_bytes(s, now));
                    if (gain > out->gain && is_legal(s, b, c))
                        *out = (struct move){i, b, c, bytes - block_bytes(s, now), gain};
                }
            }
        }
    }
    return out->gain > 0;
}

static uint64_t total_bytes(const struct xq_strip *strips, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += xq_strip_bytes(&strips[i]);
    return bytes;
}

static void spend(struct xq_strip *strips, uint32_t n, uint64_t budget, double *loss)
{
    struct move m;
    for (uint64_t used; (used = total_bytes(strips, n)) < budget && find_move(strips, n, budget - used, &m);) {
        struct xq_strip *s = &strips[m.strip];
        *loss += block_loss(s, m.block, m.to) - block_loss(s, m.block, (struct choice){s->depth[m.block], s->grouped[m.block]});
        set_run(s, m.block, m.block + 1, m.to);
        make_segments(s);
    }
}

void xq_allocate_uniform(struct xq_strip *strips, uint32_t n, uint32_t depth, bool grouped)
{
    for (uint32_t i = 0; i < n; i++) {
        set_run(&strips[i], 0, strips[i].blocks, (struct choice){(uint8_t)depth, grouped});
        make_segments(&strips[i]);
    }
}

void xq_allocate_limits(const struct xq_strip *strips, uint32_t n, uint64_t *fewest, uint64_t *most)
{
    *fewest = *most = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t fixed = (uint64_t)tiles_of(&strips[i]) * BL_XQ_TILE + sizeof(struct bl_xq_segment);
        *fewest += fixed + strips[i].blocks * block_bytes(&strips[i], (struct choice){1, 0});
        *most += fixed + strips[i].blocks * block_bytes(&strips[i], (struct choice){8, 1});
    }
}

bl_status xq_allocate(struct xq_strip *strips, uint32_t n, uint64_t budget, double *loss, double *price)
{
    uint64_t fewest, most;
    xq_allocate_limits(strips, n, &fewest, &most);
    if (budget < fewest)
        BL_FAIL(BL_ELIMIT, "the target leaves %llu bytes for the matrices, and 1 bit everywhere takes %llu", (unsigned long long)budget,
                (unsigned long long)fewest);
    double low = 1e-30, high = 1e6; /* nats per byte: too many bytes, few enough */
    for (uint32_t step = 0; step < 120; step++) {
        const double middle = sqrt(low * high);
        if (allocate_at(strips, n, middle, loss) > budget)
            low = middle;
        else
            high = middle;
    }
    (void)allocate_at(strips, n, high, loss);
    *price = high;
    spend(strips, n, budget, loss);
    return BL_OK;
}
