/* network.c: the compressor's network against the engine (logits with f32 activations) and against itself (gradients of every value by finite
 * differences of fourth order, what is kept and how many threads there are changes no bit). Arguments: tiny models. Exit 77 without OpenBLAS. */
#include "base/error.h"
#include "tools/compress/network.h"

#include <bitloom/bitloom.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 40 };
#define STEP 4e-3f          /* in units of a value's root mean square */
#define GAIN_STEP 2e-2f     /* of the logarithms of gains */
#define MOST_GAIN_ERROR 1.5e-2 /* so large a step crosses more kinks; measured: 9e-3 across those of ReLU, else below 2e-4 */
#define MOST_ERROR 5e-3     /* of a directional derivative, relative to the sum of its terms; measured: 3e-3 across the kinks of ReLU, else below 7e-4 */
#define MOST_NMSE 1e-10     /* against the engine; measured: below 2e-12 */

static int failures;

static void check(bool ok, const char *what, const char *detail, double number)
{
    if (!ok) {
        printf("FAILED %s: %s: %g\n", what, detail, number);
        failures++;
    }
}

/* Ops and kinds that no built-in family has, on the tensors of the tiny llama. */
static const char all_ops[] =
    "param context = 512\n"
    "x = embed(tokens, token_embd)\n"
    "repeat i in 2\n"
    "  h = layer_norm(x, blk.{i}.attn_norm, 1e-5)\n"
    "  q = rope(linear(h, blk.{i}.attn_q), pos, d_head=64, base=10000, layout=\"neox\", n_rot=32)\n"
    "  k = rope(linear(h, blk.{i}.attn_k), pos, d_head=64, base=10000, layout=\"norm\", n_rot=32)\n"
    "  a = attention(q, k, linear(h, blk.{i}.attn_v), layer=i, d_head=64, window=7, softcap=2)\n"
    "  x = x - linear(a, blk.{i}.attn_output)\n"
    "  g = linear(x * blk.{i}.ffn_norm + blk.{i}.attn_norm, blk.{i}.ffn_gate)\n"
    "  u = gelu(g) + gelu_quick(g) - tanh(g) * sigmoid(g)\n"
    "  u = u + relu2(g) * 0.1 + relu(g) + softcap(g, 3) * 0.5\n"
    "  x = x + linear(u * tanh(u), blk.{i}.ffn_down) * 0.2\n"
    "logits = linear(rms_norm(select(x, outputs), output_norm, 1e-5), output)\n";

static int32_t tokens[TOKENS], labels[TOKENS];

static uint32_t random_bits(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* ---- the loss: sum of -log softmax(logits)[label] ---- */

static double loss_of(const float *logits, uint32_t vocabulary, float *gradient)
{
    double loss = 0;
    for (uint32_t r = 0; r < TOKENS; r++) {
        const float *z = logits + (size_t)r * vocabulary;
        double most = (double)z[0], sum = 0;
        for (uint32_t v = 1; v < vocabulary; v++)
            most = (double)z[v] > most ? (double)z[v] : most;
        for (uint32_t v = 0; v < vocabulary; v++)
            sum += exp((double)z[v] - most);
        loss += most + log(sum) - (double)z[labels[r]];
        for (uint32_t v = 0; gradient && v < vocabulary; v++)
            gradient[(size_t)r * vocabulary + v] = (float)(exp((double)z[v] - most) / sum - (v == (uint32_t)labels[r]));
    }
    return loss;
}

/* ---- gradients ---- */

struct watch {
    const struct bl_graph *graph;
    float **gradient;      /* [n_values] */
    double *size;          /* [n_values]: root mean square */
    uint32_t value;        /* the one that is moved, or BL_NO_ID */
    float step;
    const float *direction;
};

static void made(void *user, uint32_t value, float *x, uint32_t rows)
{
    struct watch *w = user;
    const size_t n = (size_t)rows * w->graph->values[value].columns;
    if (w->value == BL_NO_ID) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)x[i] * (double)x[i];
        w->size[value] = sqrt(sum / (double)n);
    }
    for (size_t i = 0; value == w->value && i < n; i++)
        x[i] += w->step * w->direction[i];
}

static void graded(void *user, uint32_t node, const float *gradient, uint32_t rows)
{
    struct watch *w = user;
    const uint32_t value = w->graph->nodes[node].out;
    const size_t bytes = (size_t)rows * w->graph->values[value].columns * sizeof(float);
    w->gradient[value] = malloc(bytes);
    memcpy(w->gradient[value], gradient, bytes);
}

static double moved_loss(struct xq_network *net, struct watch *w, float step)
{
    const struct xq_network_hooks hooks = {w, made, NULL};
    w->step = step;
    if (xq_network_forward(net, tokens, TOKENS, false, &hooks) != BL_OK)
        exit(1);
    return loss_of(xq_network_logits(net), xq_network_vocabulary(net), NULL);
}

/* Moves a random half of a value along the signs of its gradient, up and down. Returns the relative error of the slope. */
static double slope_error(struct xq_network *net, struct watch *w, uint32_t value, uint32_t *seed)
{
    const size_t n = (size_t)TOKENS * w->graph->values[value].columns;
    const float size = (float)w->size[value];
    float *direction = calloc(n, sizeof *direction);
    double expected = 0;
    for (size_t i = 0; i < n; i++) {
        direction[i] = random_bits(seed) % 2 ? 0 : w->gradient[value][i] < 0 ? -size : size;
        expected += (double)direction[i] * (double)w->gradient[value][i];
    }
    w->value = value;
    w->direction = direction;
    const double wide = (moved_loss(net, w, STEP) - moved_loss(net, w, -STEP)) / (2 * (double)STEP);
    const double narrow = (moved_loss(net, w, STEP / 2) - moved_loss(net, w, -STEP / 2)) / (double)STEP, found = (4 * narrow - wide) / 3;
    free(direction);
    return expected > 0 ? fabs(found - expected) / expected : found != 0;
}

static bl_status run_back(struct xq_network *net, const struct xq_network_hooks *hooks)
{
    BL_TRY(xq_network_forward(net, tokens, TOKENS, true, hooks));
    float *logits = xq_network_logits(net);
    loss_of(logits, xq_network_vocabulary(net), logits);
    return xq_network_backward(net, hooks);
}

static void forget(struct watch *w)
{
    for (uint32_t v = 0; v < w->graph->n_values; v++) {
        free(w->gradient[v]);
        w->gradient[v] = NULL;
    }
}

/* The same gradients, to the bit, however the pass is made. */
static void check_ways(const char *name, const struct xq_job *job, const struct xq_blas *blas, const struct watch *expected)
{
    static const struct xq_network_options ways[] = {
        {.threads = 1, .backward = true, .memory = 0}, {.threads = 3, .backward = true, .memory = 1 << 20}, {.threads = 2, .backward = true, .memory = 5 << 20},
        {.threads = 7, .backward = true, .memory = UINT64_MAX}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct watch w = {job->graph, calloc(job->graph->n_values, sizeof(float *)), calloc(job->graph->n_values, sizeof(double)), BL_NO_ID, 0, NULL};
        const struct xq_network_hooks hooks = {&w, made, graded};
        struct xq_network *net;
        if (xq_network_open(job, blas, &ways[i], &net) != BL_OK || run_back(net, &hooks) != BL_OK)
            exit(1);
        for (uint32_t v = 0; v < job->graph->n_values; v++) {
            const size_t bytes = (size_t)TOKENS * job->graph->values[v].columns * sizeof(float);
            check(!w.gradient[v] == !expected->gradient[v] && (!w.gradient[v] || memcmp(w.gradient[v], expected->gradient[v], bytes) == 0), name,
                  "gradient depends on how the pass is made: value", v);
        }
        xq_network_close(net);
        forget(&w);
        free(w.gradient);
        free(w.size);
    }
}

static void check_gradients(const char *name, const struct xq_job *job, const struct xq_blas *blas)
{
    const struct xq_network_options options = {.threads = 2, .backward = true, .memory = UINT64_MAX};
    struct watch w = {job->graph, calloc(job->graph->n_values, sizeof(float *)), calloc(job->graph->n_values, sizeof(double)), BL_NO_ID, 0, NULL};
    const struct xq_network_hooks hooks = {&w, made, graded};
    struct xq_network *net;
    if (xq_network_open(job, blas, &options, &net) != BL_OK || run_back(net, &hooks) != BL_OK) {
        check(false, name, bl_error_text(), 0);
        return;
    }
    uint32_t seed = 1, n = 0;
    double most = 0;
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *node = &job->graph->nodes[i];
        if (node->out == BL_NO_ID || node->op == BL_NODE_ROPE_TABLE)
            continue;
        check(w.gradient[node->out] != NULL, name, "no gradient reached node", i);
        if (!w.gradient[node->out])
            continue;
        const double error = slope_error(net, &w, node->out, &seed);
        if (!(error <= MOST_ERROR))
            printf("%s: node %u, %s: ", name, i, bl_node_op_name(node->op));
        check(error <= MOST_ERROR, name, "relative error of a slope", error);
        most = error > most ? error : most;
        n++;
    }
    check_ways(name, job, blas, &w);
    printf("%s: %u gradients, largest error %.1e\n", name, n, most);
    xq_network_close(net);
    forget(&w);
    free(w.gradient);
    free(w.size);
}

/* ---- gains ---- */

struct gains {
    const struct xq_job *job;
    struct xq_network *network;
    float **gain, **gradient; /* [n_tensors]; NULL: none */
    uint32_t *n;
};

static void gain_graded(void *user, uint32_t node, const float *gradient, uint32_t rows)
{
    (void)rows;
    const struct gains *g = user;
    const struct bl_node *n = &g->job->graph->nodes[node];
    if ((n->op == BL_NODE_RMS_NORM || n->op == BL_NODE_LAYER_NORM || n->op == BL_NODE_LINEAR) && n->weight.tensor != BL_NO_ID && g->gain[n->weight.tensor])
        xq_network_gain_gradient(g->network, node, gradient, g->gradient[n->weight.tensor]);
}

/* Norms and matrices with gains that are not 1. */
static void open_gains(const struct xq_job *job, const struct xq_blas *blas, const struct xq_network_options *options, struct gains *g)
{
    const uint32_t tensors = bl_model_file_tensor_count(job->file);
    uint32_t seed = 3;
    *g = (struct gains){job, NULL, calloc(tensors, sizeof *g->gain), calloc(tensors, sizeof *g->gradient), calloc(tensors, sizeof *g->n)};
    if (xq_network_open(job, blas, options, &g->network) != BL_OK)
        exit(1);
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *n = &job->graph->nodes[i];
        const bool is_norm = n->op == BL_NODE_RMS_NORM || n->op == BL_NODE_LAYER_NORM, is_matrix = n->op == BL_NODE_LINEAR && n->out != job->graph->logits;
        if ((!is_norm && !is_matrix) || n->weight.tensor == BL_NO_ID || g->gain[n->weight.tensor])
            continue;
        const struct bl_tensor *t = bl_model_file_tensor_at(job->file, n->weight.tensor);
        g->n[n->weight.tensor] = (uint32_t)(is_norm ? t->rows * t->dims[0] : t->rows);
        g->gradient[n->weight.tensor] = calloc(g->n[n->weight.tensor], sizeof(float));
        if (xq_network_gain(g->network, n->weight.tensor, g->n[n->weight.tensor], &g->gain[n->weight.tensor]) != BL_OK)
            exit(1);
        for (uint32_t k = 0; k < g->n[n->weight.tensor]; k++)
            g->gain[n->weight.tensor][k] = 0.8f + 0.4f * (float)random_bits(&seed) / 65536;
    }
}

static void close_gains(struct gains *g)
{
    for (uint32_t i = 0; i < bl_model_file_tensor_count(g->job->file); i++)
        free(g->gradient[i]);
    free(g->gain);
    free(g->gradient);
    free(g->n);
    xq_network_close(g->network);
}

/* The loss with one tensor's gains moved along the signs of their gradient. */
static double gain_loss(struct gains *g, uint32_t tensor, float step)
{
    float *gain = g->gain[tensor], *was = malloc(g->n[tensor] * sizeof *was);
    memcpy(was, gain, g->n[tensor] * sizeof *was);
    for (uint32_t k = 0; k < g->n[tensor]; k++)
        gain[k] *= expf(g->gradient[tensor][k] < 0 ? -step : step);
    if (xq_network_forward(g->network, tokens, TOKENS, false, NULL) != BL_OK)
        exit(1);
    memcpy(gain, was, g->n[tensor] * sizeof *was);
    free(was);
    return loss_of(xq_network_logits(g->network), xq_network_vocabulary(g->network), NULL);
}

static void check_gains(const char *name, const struct xq_job *job, const struct xq_blas *blas)
{
    const struct xq_network_options most = {.threads = 2, .backward = true, .gains = true, .memory = UINT64_MAX}, least = {.threads = 3, .backward = true, .gains = true};
    struct gains a, b;
    open_gains(job, blas, &most, &a);
    open_gains(job, blas, &least, &b);
    const struct xq_network_hooks hooks_a = {&a, NULL, gain_graded}, hooks_b = {&b, NULL, gain_graded};
    if (run_back(a.network, &hooks_a) != BL_OK || run_back(b.network, &hooks_b) != BL_OK)
        exit(1);
    double worst = 0;
    uint32_t n = 0;
    for (uint32_t t = 0; t < bl_model_file_tensor_count(job->file); t++) {
        double expected = 0;
        if (!a.gain[t])
            continue;
        check(memcmp(a.gradient[t], b.gradient[t], a.n[t] * sizeof(float)) == 0, name, "gradient of gains depends on how the pass is made: tensor", t);
        for (uint32_t k = 0; k < a.n[t]; k++)
            expected += fabs((double)a.gradient[t][k]);
        const double wide = (gain_loss(&a, t, GAIN_STEP) - gain_loss(&a, t, -GAIN_STEP)) / (2 * (double)GAIN_STEP), narrow = (gain_loss(&a, t, GAIN_STEP / 2) - gain_loss(&a, t, -GAIN_STEP / 2)) / (double)GAIN_STEP;
        const double found = (4 * narrow - wide) / 3, error = expected > 0 ? fabs(found - expected) / expected : 1;
        check(error <= MOST_GAIN_ERROR, name, "relative error of a slope over gains", error);
        worst = error > worst ? error : worst;
        n++;
    }
    printf("%s: gains of %u tensors, largest error %.1e\n", name, n, worst);
    check(n > 0, name, "no gains", 0);
    close_gains(&a);
    close_gains(&b);
}

/* ---- logits ---- */

static void check_logits(const char *name, const char *path, const char *text, const struct xq_job *job, const struct xq_blas *blas)
{
    const struct xq_network_options options = {.threads = 2, .memory = UINT64_MAX};
    bl_model_params params;
    bl_model_default_params(&params);
    params.activations = params.kv = BL_NUMBER_F32;
    params.device.device = "cpu";
    params.max_outputs = TOKENS;
    params.context = TOKENS;
    params.graph_text = text;
    params.allow_unused_tensors = text != NULL;
    bl_model *model;
    bl_sequence *sequence;
    struct xq_network *net;
    bl_row rows[TOKENS];
    if (bl_model_open(path, &params, &model) != BL_OK || bl_sequence_create(model, &sequence) != BL_OK || xq_network_open(job, blas, &options, &net) != BL_OK) {
        check(false, name, bl_error_text(), 0);
        return;
    }
    for (uint32_t r = 0; r < TOKENS; r++)
        rows[r] = (bl_row){sequence, tokens[r], true};
    double error = 0, power = 0;
    if (bl_forward(model, rows, TOKENS) != BL_OK || xq_network_forward(net, tokens, TOKENS, false, NULL) != BL_OK) {
        check(false, name, bl_error_text(), 0);
        return;
    }
    for (uint32_t r = 0; r < TOKENS; r++) {
        for (uint32_t v = 0; v < xq_network_vocabulary(net); v++) {
            const double theirs = (double)bl_logits(model, r)[v], d = theirs - (double)xq_network_logits(net)[(size_t)r * xq_network_vocabulary(net) + v];
            error += d * d;
            power += theirs * theirs;
        }
    }
    printf("%s: logits, normalised error %.1e\n", name, error / power);
    check(error <= MOST_NMSE * power, name, "logits differ from the engine's", error / power);
    xq_network_close(net);
    bl_sequence_destroy(sequence);
    bl_model_close(model);
}

static void check_model(const char *path, const char *text, const struct xq_blas *blas)
{
    const char *name = text ? "all ops" : strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct xq_job job;
    if (xq_job_open(&job, path) != BL_OK) {
        check(false, name, bl_error_text(), 0);
        return;
    }
    if (text) {
        bl_graph_destroy(job.graph);
        if (bl_graph_parse(text, strlen(text), name, &job.source, true, &job.graph) != BL_OK) {
            printf("%s\n", bl_error_text());
            exit(1);
        }
    }
    check_logits(name, path, text, &job, blas);
    check_gradients(name, &job, blas);
    check_gains(name, &job, blas);
    xq_job_close(&job);
}

int main(int argc, char **argv)
{
    const struct xq_blas *blas;
    if (xq_blas_open(&blas) != BL_OK) {
        printf("%s\n", bl_error_text());
        return 77;
    }
    uint32_t seed = 7;
    for (uint32_t r = 0; r < TOKENS; r++) {
        tokens[r] = (int32_t)(random_bits(&seed) % 350);
        labels[r] = (int32_t)(random_bits(&seed) % 350);
    }
    for (int i = 1; i < argc; i++)
        check_model(argv[i], NULL, blas);
    check_model(argv[1], all_ops, blas);
    return failures ? 1 : 0;
}
