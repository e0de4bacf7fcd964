/* divergence.c: two networks over one text. */
#include "compress/divergence.h"

#include "base/error.h"
#include "compress/network.h"
#include "compress/parallel.h"
#include "compress/softmax.h"

#include <math.h>

enum { ROWS = 16 };

struct window {
    const float *z, *other;
    const int32_t *tokens;
    const uint8_t *counts;
    uint32_t rows, vocabulary;
    struct row {
        double kl, nll, other_nll;
        bool same;
    } row[XQ_WINDOW];
};

static uint32_t top(const float *z, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = z[i] > z[best] ? i : best;
    return best;
}

static void rows_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct window *w = user;
    const uint32_t end = (i + 1) * ROWS < w->rows ? (i + 1) * ROWS : w->rows;
    for (uint32_t r = i * ROWS; r < end; r++) {
        const float *z = w->z + (size_t)r * w->vocabulary, *other = w->other + (size_t)r * w->vocabulary;
        const bool has_next = r + 1 < w->rows;
        double log_sum[2];
        if (w->counts && !w->counts[r])
            continue;
        w->row[r].kl = xq_divergence(z, other, w->vocabulary, log_sum);
        w->row[r].nll = has_next ? log_sum[0] - (double)z[w->tokens[r + 1]] : 0;
        w->row[r].other_nll = has_next ? log_sum[1] - (double)other[w->tokens[r + 1]] : 0;
        w->row[r].same = top(z, w->vocabulary) == top(other, w->vocabulary);
    }
}

static bl_status run(struct xq_network *nets[2], const struct xq_calibration *text, uint32_t threads, struct xq_divergence_result *out)
{
    struct window w = {.rows = text->window, .vocabulary = xq_network_vocabulary(nets[0])};
    double squares = 0, predicted = 0, n = 0;
    for (uint32_t k = 0; k < text->n_held; k++) {
        w.tokens = text->held + (size_t)k * text->window;
        w.counts = text->held_counts ? text->held_counts + (size_t)k * text->window : NULL;
        for (uint32_t i = 0; i < 2; i++)
            BL_TRY(xq_network_forward(nets[i], w.tokens, w.rows, false, NULL));
        w.z = xq_network_logits(nets[0]);
        w.other = xq_network_logits(nets[1]);
        xq_parallel(threads, (w.rows + ROWS - 1) / ROWS, rows_turn, &w);
        double mean = 0;
        uint32_t counted = 0;
        for (uint32_t r = 0; r < w.rows; r++)
            counted += !w.counts || w.counts[r];
        for (uint32_t r = 0; r < w.rows; r++) {
            if (w.counts && !w.counts[r])
                continue;
            mean += w.row[r].kl / counted;
            out->nll += w.row[r].nll;
            out->other_nll += w.row[r].other_nll;
            out->same_top += w.row[r].same;
            predicted += r + 1 < w.rows;
        }
        out->mean += mean;
        squares += mean * mean;
        out->tokens += counted;
        n += counted > 0;
    }
    if (!out->tokens)
        BL_FAIL(BL_EINVAL, "no token counts in the windows that are held out");
    const double variance = squares / n - (out->mean / n) * (out->mean / n);
    out->mean /= n;
    out->error = n < 2 ? NAN : variance > 0 ? sqrt(variance / (n - 1)) : 0;
    out->windows = (uint32_t)n;
    out->same_top /= (double)out->tokens;
    out->nll /= predicted > 0 ? predicted : 1;
    out->other_nll /= predicted > 0 ? predicted : 1;
    return BL_OK;
}

bl_status xq_divergence_measure(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, struct bl_model_file *file,
                                uint32_t threads, uint64_t memory, struct xq_divergence_result *out)
{
    *out = (struct xq_divergence_result){0};
    if (!text->n_held)
        BL_FAIL(BL_EINVAL, "no window of the calibration text is held out: the text is too short to judge by");
    const struct xq_network_options options[2] = {{.threads = threads, .memory = memory / 2}, {.threads = threads, .memory = memory / 2, .file = file}};
    struct xq_network *nets[2] = {NULL, NULL};
    bl_status status = xq_network_open(job, blas, &options[0], &nets[0]);
    if (status == BL_OK)
        status = xq_network_open(job, blas, &options[1], &nets[1]);
    if (status == BL_OK)
        status = run(nets, text, threads, out);
    xq_network_close(nets[0]);
    xq_network_close(nets[1]);
    return status;
}
