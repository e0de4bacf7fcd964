/* close.c: how far a device's kernel may be from level C where it is not equal to the bit: Vulkan leaves division, square roots and
 * denormals to the driver, and ways that are not exact (bl_caps) round to half floats. Moves and unpacking leave no such room. */
#include "check.h"

#include <math.h>

#define NMSE_MOST 1e-9       /* of an output */
#define NMSE_MOST_Q8 1e-8    /* of a q8 output: a quotient on the edge of a step may fall to either side */
#define NMSE_MOST_PIECE 1e-6 /* of 32 numbers in a row */
#define NMSE_MOST_HALF 1e-6  /* of an output, where weights and activations are rounded to f16 */
#define NMSE_MOST_HALF_PIECE 1e-3
#define NMSE_MOST_HALF_GLU 5e-2 /* of a piece after a GLU, whose functions may be steep where they are small */
#define DENORMAL 0x1p-126    /* errors below it are a driver's that has no denormals */

static bool leaves_no_room(struct bl_kernel_key key)
{
    return key.op == BL_OP_EMBED || key.op == BL_OP_SELECT || key.op == BL_OP_KV_STORE || key.op == BL_OP_ROPE_STORE;
}

static double value(const uint8_t *data, bool q8, size_t i)
{
    if (!q8)
        return (double)((const float *)(const void *)data)[i];
    const struct bl_q8_block *b = (const struct bl_q8_block *)(const void *)data + i / 32;
    return ((double)b->coarse.q[i % 32] + (double)b->fine.q[i % 32] / 254) * (double)b->d;
}

static bool writes_q8(const struct launch *l)
{
    if (l->key.op == BL_OP_MATVEC || l->key.op == BL_OP_MATMUL)
        return l->push.linear.glu & BL_LINEAR_GLU_Q8;
    return l->key.activation == BL_FMT_Q8;
}

bool is_close(const struct launch *l, uint32_t i, bool is_inexact, const char **what)
{
    const struct buffer *b = &l->buffers[i];
    const bool q8 = writes_q8(l);
    const size_t n = q8 ? b->bytes / sizeof(struct bl_q8_block) * 32 : b->bytes / sizeof(float);
    const bool is_linear = l->key.op == BL_OP_MATVEC || l->key.op == BL_OP_MATMUL, is_glu = is_linear && l->push.linear.glu;
    const double most = is_inexact ? NMSE_MOST_HALF : q8 ? NMSE_MOST_Q8 : NMSE_MOST;
    const double most_piece = !is_inexact ? NMSE_MOST_PIECE : is_glu ? NMSE_MOST_HALF_GLU : NMSE_MOST_HALF_PIECE;
    double error = 0, power = 0, piece_error = 0, piece_power = 0;
    if (is_inexact && l->is_extreme) /* half floats do not hold these */
        return true;
    if (leaves_no_room(l->key))
        *what = "differs from level c and should be equal to the bit";
    for (size_t at = 0; at < n && !*what; at++) {
        const double truth = value(b->expected, q8, at), got = value(b->data, q8, at);
        if (isfinite(truth) != isfinite(got) || isnan(truth) != isnan(got) || (isinf(truth) && truth != got))
            *what = "infinite or not a number where level c is not, or the other way round";
        if (isfinite(truth)) {
            const double difference = fmax(fabs(truth - got) - DENORMAL, 0);
            error += difference * difference;
            power += truth * truth;
            piece_error += difference * difference;
            piece_power += truth * truth;
        }
        if (at % 32 != 31 && at + 1 < n)
            continue;
        if (piece_error > most_piece * piece_power)
            *what = "32 numbers in a row are too far from level c";
        piece_error = piece_power = 0;
    }
    if (!*what && error > most * power)
        *what = "too far from level c";
    return !*what;
}
