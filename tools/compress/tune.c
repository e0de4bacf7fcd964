/* tune.c: Adam (Kingma and Ba, 2015) on the logarithms of gains. Two networks over windows of text: the original says what the answers should be, the
 * compressed one is corrected. Gains of rows are trained as if they had no steps, then set to the nearest one; norms make up for what that costs. */
#include "compress/tune.h"

#include "base/error.h"
#include "compress/network.h"
#include "compress/parallel.h"
#include "compress/softmax.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, BATCH = 2 /* windows of a step */ };
#define ROWS_TRAINED 0.75 /* of all steps */
#define MEAN_DECAY 0.9
#define SQUARE_DECAY 0.95
#define SEED UINT64_C(0x74756e65)

struct tuning {
    const struct xq_job *job;
    const struct xq_calibration *text;
    const struct xq_tune_options *options;
    struct xq_network *teacher, *student; /* teacher: NULL where the text is what the answers should be */
    struct xq_gains *gains;
    uint32_t *gain_of_node;               /* [n_nodes], BL_NO_ID */
    float *gradient, *mean, *square, *change; /* as many as gains; change: their logarithms to base 2, without steps */
    float **gain;                         /* [n]: the student's */
    uint32_t steps, all_steps;
    const int32_t *tokens;                /* of the window at hand */
    const uint8_t *counts;
};

/* ---- gains ---- */

static uint32_t find_gain(const struct xq_gains *gains, uint32_t tensor)
{
    for (uint32_t i = 0; i < gains->n; i++)
        if (gains->tensor[i] == tensor)
            return i;
    return BL_NO_ID;
}

/* Appends what a node's weight may be multiplied by, if it may and is not there yet. */
static void add_gain(const struct xq_job *job, const struct bl_node *n, struct xq_gains *out)
{
    const uint32_t tensor = n->weight.tensor, matrix = tensor == BL_NO_ID ? BL_NO_ID : xq_matrix_of(job, tensor);
    if (tensor == BL_NO_ID || find_gain(out, tensor) != BL_NO_ID)
        return;
    const struct bl_tensor *t = bl_model_file_tensor_at(job->file, tensor);
    const bool is_norm = (n->op == BL_NODE_RMS_NORM || n->op == BL_NODE_LAYER_NORM) && t->format == BL_FMT_F32;
    if (!is_norm && (n->op != BL_NODE_LINEAR || matrix == BL_NO_ID || job->matrices[matrix].is_table || n->out == job->graph->logits))
        return;
    out->tensor[out->n] = tensor;
    out->matrix[out->n++] = is_norm ? BL_NO_ID : matrix;
    out->first[out->n] = out->first[out->n - 1] + (is_norm ? t->rows * t->dims[0] : t->rows);
}

bl_status xq_gains_make(const struct xq_job *job, struct xq_gains *out)
{
    const struct bl_graph *g = job->graph;
    const size_t most = (size_t)g->n_nodes + 2;
    *out = (struct xq_gains){.tensor = calloc(most, sizeof *out->tensor), .matrix = calloc(most, sizeof *out->matrix), .first = calloc(most, sizeof *out->first)};
    const bool have = out->tensor && out->matrix && out->first;
    for (uint32_t i = 0; i < g->n_nodes && have; i++)
        add_gain(job, &g->nodes[i], out);
    out->factor = have ? malloc((size_t)(out->first[out->n] + 1) * sizeof *out->factor) : NULL;
    if (!out->factor) {
        xq_gains_free(out);
        BL_FAIL(BL_ENOMEM, "%s: no memory for gains", bl_model_file_path(job->file));
    }
    for (uint64_t i = 0; i < out->first[out->n]; i++)
        out->factor[i] = 1;
    return BL_OK;
}

void xq_gains_free(struct xq_gains *gains)
{
    free(gains->tensor);
    free(gains->matrix);
    free(gains->first);
    free(gains->factor);
    *gains = (struct xq_gains){0};
}

/* ---- one window ---- */

static void graded(void *user, uint32_t node, const float *gradient, uint32_t rows)
{
    (void)rows;
    struct tuning *t = user;
    const uint32_t i = t->gain_of_node[node];
    if (i != BL_NO_ID)
        xq_network_gain_gradient(t->student, node, gradient, t->gradient + t->gains->first[i]);
}

/* Logits become the gradient of the objective: of the divergence q - p, of the loss of a token q minus 1 at the token. */
static void rows_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct tuning *t = user;
    const uint32_t vocabulary = xq_network_vocabulary(t->student), window = t->text->window, end = (i + 1) * ROWS < window ? (i + 1) * ROWS : window;
    for (uint32_t r = i * ROWS; r < end; r++) {
        float *z = xq_network_logits(t->student) + (size_t)r * vocabulary, *p = t->teacher ? xq_network_logits(t->teacher) + (size_t)r * vocabulary : NULL;
        if ((t->counts && !t->counts[r]) || (!p && r + 1 == window)) {
            memset(z, 0, vocabulary * sizeof *z);
            continue;
        }
        (void)xq_softmax(z, vocabulary);
        if (!p) {
            z[t->tokens[r + 1]] -= 1;
            continue;
        }
        (void)xq_softmax(p, vocabulary);
        for (uint32_t v = 0; v < vocabulary; v++)
            z[v] -= p[v];
    }
}

static bl_status add_window(struct tuning *t, uint32_t window)
{
    const size_t at = (size_t)window * t->text->window;
    const struct xq_network_hooks hooks = {t, NULL, graded};
    t->tokens = t->text->train + at;
    t->counts = t->text->train_counts ? t->text->train_counts + at : NULL;
    if (t->teacher)
        BL_TRY(xq_network_forward(t->teacher, t->tokens, t->text->window, false, NULL));
    BL_TRY(xq_network_forward(t->student, t->tokens, t->text->window, true, NULL));
    xq_parallel(t->options->threads, (t->text->window + ROWS - 1) / ROWS, rows_turn, t);
    return xq_network_backward(t->student, &hooks);
}

/* ---- steps ---- */

/* Of the gains of tensor i; settled: with steps, and no longer trained. */
static void step_gains(struct tuning *t, uint32_t i, double rate, bool settled)
{
    const struct xq_gains *gains = t->gains;
    const double mean_part = 1 - pow(MEAN_DECAY, t->steps), square_part = 1 - pow(SQUARE_DECAY, t->steps);
    for (uint64_t c = gains->first[i]; c < gains->first[i + 1]; c++) {
        const double g = (double)t->gradient[c];
        t->mean[c] = (float)(MEAN_DECAY * (double)t->mean[c] + (1 - MEAN_DECAY) * g);
        t->square[c] = (float)(SQUARE_DECAY * (double)t->square[c] + (1 - SQUARE_DECAY) * g * g);
        const double length = sqrt((double)t->square[c] / square_part);
        t->change[c] -= length > 0 && !settled ? (float)(rate * ((double)t->mean[c] / mean_part) / length) : 0;
        t->gradient[c] = 0;
        gains->factor[c] = (float)exp2(settled ? round(XQ_GAIN_STEPS * (double)t->change[c]) / XQ_GAIN_STEPS : (double)t->change[c]);
        t->gain[i][c - gains->first[i]] = gains->factor[c];
    }
}

static void step(struct tuning *t)
{
    const double at = (double)t->steps++ / t->all_steps, ramp = 10 * (at + 1.0 / t->all_steps), rate = t->options->rate * (ramp < 1 ? ramp : 0.5 * (1 + cos(3.141592653589793 * at)));
    for (uint32_t i = 0; i < t->gains->n; i++)
        step_gains(t, i, rate, t->gains->matrix[i] != BL_NO_ID && t->steps >= ROWS_TRAINED * t->all_steps);
}

/* Evenly over the text, in an order that mixes it. */
static void choose_windows(const struct xq_calibration *text, uint32_t n, uint32_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = (uint32_t)((uint64_t)i * text->n_train / n);
    for (uint32_t i = n; i-- > 1;) {
        const uint32_t other = (uint32_t)(xq_uniform(SEED, 0, i) * (i + 1)), kept = out[i];
        out[i] = out[other];
        out[other] = kept;
    }
}

uint32_t xq_tune_windows(const struct xq_calibration *text, uint32_t most)
{
    return (text->n_train < most ? text->n_train : most) / BATCH * BATCH;
}

static bl_status train(struct tuning *t, uint32_t *windows)
{
    const uint32_t n = xq_tune_windows(t->text, t->options->windows);
    choose_windows(t->text, n, windows);
    t->all_steps = n / BATCH;
    for (uint32_t i = 0; i < n; i++) {
        BL_TRY(add_window(t, windows[i]));
        if (i % BATCH == BATCH - 1)
            step(t);
        if (t->options->progress)
            t->options->progress(t->options->user);
    }
    return BL_OK;
}

static bl_status open_networks(struct tuning *t, const struct xq_blas *blas, struct bl_model_file *file)
{
    const struct xq_network_options student = {.threads = t->options->threads, .backward = true, .gains = true, .memory = t->options->memory, .file = file},
                                    teacher = {.threads = t->options->threads};
    BL_TRY(xq_network_open(t->job, blas, &student, &t->student));
    for (uint32_t i = 0; i < t->gains->n; i++)
        BL_TRY(xq_network_gain(t->student, t->gains->tensor[i], (uint32_t)(t->gains->first[i + 1] - t->gains->first[i]), &t->gain[i]));
    return t->options->objective == XQ_OBJECTIVE_KLD ? xq_network_open(t->job, blas, &teacher, &t->teacher) : BL_OK;
}

bl_status xq_tune(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, struct bl_model_file *file,
                  const struct xq_tune_options *options, struct xq_gains *gains)
{
    const struct bl_graph *g = job->graph;
    const size_t n = (size_t)gains->first[gains->n] + 1;
    struct tuning t = {.job = job, .text = text, .options = options, .gains = gains, .gain_of_node = malloc((g->n_nodes + 1u) * sizeof *t.gain_of_node), .gain = calloc(gains->n + 1u, sizeof *t.gain), .gradient = calloc(n, sizeof *t.gradient),
                       .mean = calloc(n, sizeof *t.mean), .square = calloc(n, sizeof *t.square), .change = calloc(n, sizeof *t.change)};
    uint32_t *windows = malloc((text->n_train + 1u) * sizeof *windows);
    bl_status status = BL_OK;
    if (!t.gain_of_node || !t.gain || !t.gradient || !t.mean || !t.square || !t.change || !windows)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory to train gains", bl_model_file_path(file));
    for (uint32_t i = 0; i < g->n_nodes && status == BL_OK; i++)
        t.gain_of_node[i] = (g->nodes[i].op == BL_NODE_EMBED) || g->nodes[i].weight.tensor == BL_NO_ID ? BL_NO_ID : find_gain(gains, g->nodes[i].weight.tensor);
    if (status == BL_OK)
        status = open_networks(&t, blas, file);
    if (status == BL_OK)
        status = train(&t, windows);
    xq_network_close(t.teacher);
    xq_network_close(t.student);
    free(windows);
    free(t.gain_of_node);
    free(t.gain);
    free(t.gradient);
    free(t.mean);
    free(t.square);
    free(t.change);
    return status;
}
