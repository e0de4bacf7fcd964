/* rope_turns.h: how fast each pair of a rope turns, with every kind of scaling, worked out once on the host in double precision, so that
 * kernels only multiply integers (hal/kernel_params.h, rope_table). Knows no graph. */
#ifndef BL_GRAPH_ROPE_TURNS_H
#define BL_GRAPH_ROPE_TURNS_H
#include <stdbool.h>
#include <stdint.h>

/* theta = base^(-2 pair / n_rot) / factor; interpolated = freq_scale * theta (linear scaling).
 * ext_factor 0: interpolated. Otherwise YaRN (arXiv 2309.00071): low = max(0, floor(corr(beta_fast))), high = min(n_rot - 1,
 * ceil(corr(beta_slow))), corr(b) = n_rot * ln(n_ctx_orig / (2 pi b)) / (2 ln base); ramp = 1 - clamp((pair - low) / max(0.001, high - low),
 * 0, 1), mix = ramp * ext_factor; interpolated * (1 - mix) + theta * mix. */
struct bl_rope_scaling {
    uint32_t n_rot;
    double base, freq_scale, ext_factor, beta_fast, beta_slow, n_ctx_orig;
};

/* Turns per position, modulo 1, in units of 2^-64. factor is the pair's own divisor (llama 3's rope_freqs), 1 for none.
 * False when the result is no finite number. */
bool bl_rope_turns(const struct bl_rope_scaling *scaling, uint32_t pair, double factor, uint64_t *turns);
#endif
