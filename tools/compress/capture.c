/* capture.c: windows through the network, sums of what passes by. All sums are in the order of windows and rows; a turn of a loop has sums of its
 * own, so threads change nothing. */
#include "compress/capture.h"

#include "base/error.h"
#include "compress/curvature.h"
#include "compress/network.h"
#include "compress/parallel.h"
#include "compress/softmax.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 256 /* columns of a piece of a covariance */, ROWS = 16, TOKENS = 1024 /* of the vocabulary, in one turn */, ROW_BLOCKS = 16 };
#define SEED UINT64_C(0x626c6f6f6d)
#define TIME_SAVING_BYTES (UINT64_C(640) << 20) /* where nobody says how much: more saves a few percent */

/* What is summed up for one input. */
struct input_sums {
    float *sum;                  /* [columns][columns] of x x^T, the half that tiles fill; NULL: not in this pass */
    float *other;                /* tables that are embeddings: of g g^T at their outputs */
    float *x;                    /* tables: [XQ_WINDOW][columns], until the logits are known */
    double power;                /* sum of |x|^2 */
    bool is_table;
};
struct capture {
    struct xq_job *job;
    const struct xq_blas *blas;
    const struct xq_capture_options *options;
    struct xq_network *network;
    uint32_t *input_of_value;    /* [n_values], BL_NO_ID */
    uint32_t *matrix_of_node;    /* [n_nodes], BL_NO_ID */
    struct input_sums *inputs;
    struct xq_curvature *curvature; /* of matrices that are no tables */
    double *token_worth;         /* [vocabulary]: sum of p (1 - p) */
    float scarce[XQ_WINDOW];     /* 1 - sum of p^2 of each row */
    double scarce_sum, nll, nll_tokens, counted; /* counted: rows with a label */
    uint64_t tokens;
    uint32_t window, rows;       /* which, and of how many tokens */
    const int32_t *window_tokens;
    const uint8_t *counts;       /* of the window; NULL: all rows */
    double row_nll[XQ_WINDOW];
    int32_t label[XQ_WINDOW];    /* -1: none, so no loss */
    uint32_t done;               /* windows over all passes */
    struct xq_span *spans;       /* where the sums of the pass at hand are */
    uint32_t n_spans;
};

/* ---- covariances ---- */

struct tiles {
    const struct capture *capture;
    const float *x;              /* [rows][columns] */
    uint32_t columns, n, width;  /* n: tiles a side */
    float *sum;
};

static void tile_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct tiles *t = user;
    uint32_t down = 0;
    for (; i > down; down++)
        i -= down + 1;
    const uint32_t r = i * t->width, c = down * t->width; /* r <= c */
    const int m = (int)(t->columns - r < t->width ? t->columns - r : t->width), n = (int)(t->columns - c < t->width ? t->columns - c : t->width);
    const int k = (int)t->capture->rows, stride = (int)t->columns;
    const float one = 1;
    t->capture->blas->sgemm("N", "T", &m, &n, &k, &one, t->x + r, &stride, t->x + c, &stride, &one, t->sum + (size_t)c * t->columns + r, &stride, 1, 1);
}

/* sum += x^T x, where the column is not above the row's tile. */
static void add_squares(const struct capture *c, const float *x, uint32_t columns, float *sum)
{
    const uint32_t n = (columns + TILE - 1) / TILE, width = ((columns + n - 1) / n + 15) / 16 * 16, sides = (columns + width - 1) / width;
    struct tiles t = {c, x, columns, sides, width, sum};
    xq_parallel(c->options->threads, sides * (sides + 1) / 2, tile_turn, &t);
}

static void mirror(float *sum, uint32_t columns, float by)
{
    for (uint32_t r = 0; r < columns; r++) {
        for (uint32_t c = 0; c <= r; c++) {
            const float h = sum[(size_t)r * columns + c] * by;
            sum[(size_t)r * columns + c] = sum[(size_t)c * columns + r] = h;
        }
    }
}

/* ---- hooks ---- */

static void made(void *user, uint32_t value, float *x, uint32_t rows)
{
    struct capture *c = user;
    const uint32_t i = c->input_of_value[value];
    if (i == BL_NO_ID)
        return;
    struct input_sums *s = &c->inputs[i];
    const uint32_t columns = c->job->inputs[i].columns;
    for (uint32_t r = 0; r < rows && s->sum; r++)
        s->power += (double)xq_sum_squares(x + (size_t)r * columns, columns);
    if (s->sum && s->is_table)
        memcpy(s->x, x, (size_t)rows * columns * sizeof *x);
    else if (s->sum)
        add_squares(c, x, columns, s->sum);
}

static void graded(void *user, uint32_t node, const float *gradient, uint32_t rows)
{
    struct capture *c = user;
    const uint32_t i = c->matrix_of_node[node];
    if (i == BL_NO_ID)
        return;
    const struct xq_matrix *m = &c->job->matrices[i];
    const struct bl_node *n = &c->job->graph->nodes[node];
    struct input_sums *s = &c->inputs[m->input];
    if (n->op == BL_NODE_EMBED)
        add_squares(c, gradient, c->job->graph->values[n->out].columns, s->other);
    else if (!m->is_table)
        xq_curvature_add(c->curvature, i, n->weight.first_row, n->weight.rows, gradient, xq_network_value(c->network, n->in[0]), rows);
}

/* ---- the loss ---- */

static void rows_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct capture *c = user;
    const uint32_t vocabulary = xq_network_vocabulary(c->network), end = (i + 1) * ROWS < c->rows ? (i + 1) * ROWS : c->rows;
    for (uint32_t r = i * ROWS; r < end; r++) {
        float *z = xq_network_logits(c->network) + (size_t)r * vocabulary;
        const double text = r + 1 < c->rows ? (double)z[c->window_tokens[r + 1]] : 0, log_sum = xq_softmax(z, vocabulary);
        c->row_nll[r] = r + 1 < c->rows ? log_sum - text : 0;
        c->scarce[r] = (float)(1 - xq_sum_squares(z, vocabulary));
        c->label[r] = (c->counts && !c->counts[r]) || (c->options->labels == XQ_LABELS_TEXT && r + 1 == c->rows) ? -1
                      : c->options->labels == XQ_LABELS_TEXT ? c->window_tokens[r + 1] : (int32_t)xq_draw(z, vocabulary, xq_uniform(SEED, c->window, r));
        if (c->label[r] >= 0)
            continue;
        memset(z, 0, vocabulary * sizeof *z);
        c->scarce[r] = 0;
    }
}

XQ_WIDE static void add_worth(const float *p, double *worth, uint32_t n)
{
    for (uint32_t v = 0; v < n; v++)
        worth[v] += (double)(p[v] * (1 - p[v]));
}

static void tokens_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    struct capture *c = user;
    const uint32_t vocabulary = xq_network_vocabulary(c->network), first = i * TOKENS, n = vocabulary - first < TOKENS ? vocabulary - first : TOKENS;
    for (uint32_t r = 0; r < c->rows; r++)
        add_worth(xq_network_logits(c->network) + (size_t)r * vocabulary + first, c->token_worth + first, n);
}

/* Logits become probabilities, then the gradient of -log p[label]; sums on the way. */
static void take_loss(struct capture *c)
{
    const uint32_t vocabulary = xq_network_vocabulary(c->network);
    xq_parallel(c->options->threads, (c->rows + ROWS - 1) / ROWS, rows_turn, c);
    xq_parallel(c->options->threads, (vocabulary + TOKENS - 1) / TOKENS, tokens_turn, c);
    for (uint32_t r = 0; r < c->rows; r++) {
        c->scarce[r] = c->scarce[r] > 0 ? c->scarce[r] : 0;
        c->scarce_sum += (double)c->scarce[r];
        c->nll += c->row_nll[r];
        if (c->label[r] < 0)
            continue;
        c->counted++;
        xq_network_logits(c->network)[(size_t)r * vocabulary + (uint32_t)c->label[r]] -= 1;
    }
    c->nll_tokens += c->rows - 1;
    c->tokens += c->rows;
    for (uint32_t i = 0; i < c->job->n_inputs; i++) {
        struct input_sums *s = &c->inputs[i];
        const uint32_t columns = c->job->inputs[i].columns;
        if (!s->x)
            continue;
        for (uint32_t r = 0; r < c->rows; r++)
            for (uint32_t k = 0; k < columns; k++)
                s->x[(size_t)r * columns + k] *= sqrtf(c->scarce[r]);
        add_squares(c, s->x, columns, s->sum);
    }
}

/* ---- results ---- */

void xq_temper_rows(const double *worth, uint32_t rows, double power, float *out)
{
    double sum = 0, tempered = 0;
    for (uint32_t b = 0; b < ROW_BLOCKS; b++) {
        const uint32_t first = (uint32_t)((uint64_t)rows * b / ROW_BLOCKS), end = (uint32_t)((uint64_t)rows * (b + 1) / ROW_BLOCKS);
        double mean = 0;
        for (uint32_t r = first; r < end; r++)
            mean += worth[r] / (end - first);
        for (uint32_t r = first; r < end; r++)
            out[r] = (float)pow(mean, power);
        sum += mean * (end - first);
        tempered += pow(mean, power) * (end - first);
    }
    for (uint32_t r = 0; r < rows && tempered > 0; r++)
        out[r] *= (float)(sum / tempered);
}

static void finish_input(struct capture *c, uint32_t i)
{
    struct xq_input *input = &c->job->inputs[i];
    struct input_sums *s = &c->inputs[i];
    const size_t n = (size_t)input->columns * input->columns;
    if (s->sum)
        mirror(s->sum, input->columns, (float)(1 / (s->is_table ? c->scarce_sum : (double)c->tokens)));
    if (s->other)
        mirror(s->other, input->columns, (float)(1 / c->counted));
    for (size_t k = 0; s->sum && s->other && k < n; k++)
        s->sum[k] += s->other[k];
    free(input->h); /* of an earlier capture */
    input->h = s->sum ? s->sum : s->other;
    if (s->sum)
        free(s->other);
    free(s->x);
    s->sum = s->other = s->x = NULL;
}

static bl_status finish_matrices(struct capture *c)
{
    const uint32_t vocabulary = xq_network_vocabulary(c->network);
    for (uint32_t i = 0; i < c->job->n_matrices; i++) {
        struct xq_matrix *m = &c->job->matrices[i];
        if (!m->is_table) {
            BL_TRY(xq_curvature_take(c->curvature, i, c->inputs[m->input].power * (c->counted / (double)c->tokens), m));
            continue;
        }
        double *worth = calloc(m->rows, sizeof *worth);
        free(m->row_worth);
        m->row_worth = calloc(m->rows, sizeof *m->row_worth);
        if (!worth || !m->row_worth) {
            free(worth);
            BL_FAIL(BL_ENOMEM, "no memory for the worth of %u rows", m->rows);
        }
        for (uint32_t r = 0; r < m->rows && r < vocabulary; r++)
            worth[r] = c->token_worth[r] / c->counted;
        xq_temper_rows(worth, m->rows, c->options->temper, m->row_worth);
        free(worth);
    }
    return BL_OK;
}

/* ---- passes ---- */

static uint64_t h_bytes(const struct xq_job *job, uint32_t input)
{
    return (uint64_t)job->inputs[input].columns * job->inputs[input].columns * sizeof(float);
}

static bool has_embedding(const struct capture *c, uint32_t input)
{
    for (uint32_t i = 0; i < c->job->graph->n_nodes; i++)
        if (c->job->graph->nodes[i].op == BL_NODE_EMBED && c->matrix_of_node[i] != BL_NO_ID && c->job->matrices[c->matrix_of_node[i]].input == input)
            return true;
    return false;
}

static bl_status begin_input(struct capture *c, uint32_t i)
{
    const struct xq_input *input = &c->job->inputs[i];
    struct input_sums *s = &c->inputs[i];
    const size_t n = (size_t)input->columns * input->columns;
    const bool has_x = input->value != BL_NO_ID;
    if (has_x)
        s->sum = calloc(n, sizeof *s->sum);
    if (s->is_table && has_embedding(c, i))
        s->other = calloc(n, sizeof *s->other);
    if (s->is_table && has_x)
        s->x = malloc((size_t)XQ_WINDOW * input->columns * sizeof *s->x);
    if ((has_x && !s->sum) || (s->is_table && has_x && !s->x) || (s->is_table && has_embedding(c, i) && !s->other))
        BL_FAIL(BL_ENOMEM, "no memory for the covariance of %u columns", input->columns);
    return BL_OK;
}

static uint32_t add_span(struct capture *c, uint32_t at, void *data, uint64_t bytes)
{
    if (c->spans)
        c->spans[at] = (struct xq_span){data, bytes};
    return at + 1;
}

/* Rows of a sum as far as it is read: to the diagonal. */
static uint32_t add_rows(struct capture *c, uint32_t at, float *sum, uint32_t columns)
{
    for (uint32_t r = 0; sum && r < columns; r++)
        at = add_span(c, at, sum + (size_t)r * columns, (r + 1) * sizeof *sum);
    return at;
}

/* Without a list: how many there are. */
static uint32_t find_sums(struct capture *c)
{
    struct xq_span curvature[2];
    xq_curvature_spans(c->curvature, curvature);
    uint32_t n = add_span(c, 0, curvature[0].data, curvature[0].bytes);
    n = add_span(c, n, curvature[1].data, curvature[1].bytes);
    n = add_span(c, n, c->token_worth, xq_network_vocabulary(c->network) * sizeof *c->token_worth);
    n = add_span(c, n, &c->scarce_sum, sizeof c->scarce_sum);
    n = add_span(c, n, &c->nll, sizeof c->nll);
    n = add_span(c, n, &c->nll_tokens, sizeof c->nll_tokens);
    n = add_span(c, n, &c->counted, sizeof c->counted);
    n = add_span(c, n, &c->tokens, sizeof c->tokens);
    for (uint32_t i = 0; i < c->job->n_inputs; i++) {
        n = add_span(c, n, &c->inputs[i].power, sizeof c->inputs[i].power);
        n = add_rows(c, n, c->inputs[i].sum, c->job->inputs[i].columns);
        n = add_rows(c, n, c->inputs[i].other, c->job->inputs[i].columns);
    }
    return n;
}

static bl_status list_sums(struct capture *c)
{
    free(c->spans);
    c->spans = NULL;
    c->n_spans = find_sums(c);
    c->spans = calloc(c->n_spans, sizeof *c->spans);
    if (!c->spans)
        BL_FAIL(BL_ENOMEM, "no memory for a list of %u sums", c->n_spans);
    (void)find_sums(c);
    return BL_OK;
}

static bl_status run_pass(struct capture *c, const struct xq_calibration *text, uint32_t pass, uint32_t all)
{
    const bool first = pass == 0;
    const struct xq_network_hooks hooks = {c, made, first ? graded : NULL};
    const struct xq_capture_at *from = &c->options->from;
    BL_TRY(list_sums(c));
    c->done = pass * text->n_train + (pass == from->pass ? from->window : 0);
    if (c->options->load && pass == from->pass && from->pass + from->window)
        BL_TRY(c->options->load(c->options->user, c->spans, c->n_spans));
    for (c->window = pass == from->pass ? from->window : 0; c->window < text->n_train; c->window++) {
        c->window_tokens = text->train + (size_t)c->window * text->window;
        c->counts = text->train_counts ? text->train_counts + (size_t)c->window * text->window : NULL;
        c->rows = text->window;
        BL_TRY(xq_network_forward(c->network, c->window_tokens, c->rows, first, &hooks));
        if (first) {
            take_loss(c);
            BL_TRY(xq_network_backward(c->network, &hooks));
        }
        if (c->options->save)
            BL_TRY(c->options->save(c->options->user, (struct xq_capture_at){pass, c->window + 1}, c->spans, c->n_spans));
        if (c->options->progress)
            c->options->progress(c->options->user, ++c->done, all);
    }
    if (!(c->counted > 0))
        BL_FAIL(BL_EINVAL, "no token counts in the %u windows to learn from", text->n_train);
    return BL_OK;
}

/* Which pass sums up an input: tables in the first, where gradients are; then as many as fit into `room`. Returns the passes. */
static uint32_t plan_passes(const struct capture *c, uint64_t room, uint32_t *pass)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < c->job->n_inputs; i++) {
        pass[i] = 0;
        used += c->inputs[i].is_table ? 2 * h_bytes(c->job, i) + (uint64_t)XQ_WINDOW * c->job->inputs[i].columns * sizeof(float) : 0;
    }
    uint32_t n = 1;
    for (uint32_t i = 0; i < c->job->n_inputs; i++) {
        if (c->inputs[i].is_table)
            continue;
        if (used + h_bytes(c->job, i) > room && used) {
            used = 0;
            n++;
        }
        used += h_bytes(c->job, i);
        pass[i] = n - 1;
    }
    return n;
}

static bl_status run_all(struct capture *c, const struct xq_calibration *text, const uint32_t *pass, struct xq_captured *out)
{
    for (uint32_t p = c->options->from.pass; p < out->passes; p++) {
        for (uint32_t i = 0; i < c->job->n_inputs; i++)
            if (pass[i] == p)
                BL_TRY(begin_input(c, i));
        BL_TRY(run_pass(c, text, p, out->passes * text->n_train));
        for (uint32_t i = 0; i < c->job->n_inputs; i++) {
            if (pass[i] != p)
                continue;
            finish_input(c, i);
            if (c->options->done) {
                BL_TRY(c->options->done(c->options->user, i));
                free(c->job->inputs[i].h);
                c->job->inputs[i].h = NULL;
            }
        }
    }
    for (uint32_t i = 0; i < c->job->n_inputs; i++)
        c->job->inputs[i].tokens = (double)c->tokens;
    return finish_matrices(c);
}

/* Memory: what the network needs at least and the mapped file, then covariances, then what saves the network time. */
static bl_status share_memory(struct capture *c, uint32_t *pass, struct xq_network_options *network, struct xq_captured *out)
{
    const uint64_t least = xq_network_least_bytes(c->job, c->options->threads, true) + bl_model_file_bytes(c->job->file), ram = c->options->ram ? c->options->ram : UINT64_MAX;
    uint64_t all = 0;
    for (uint32_t i = 0; i < c->job->n_inputs; i++)
        all += h_bytes(c->job, i) * (c->inputs[i].is_table ? 2 : 1);
    const uint64_t room = ram > least ? ram - least : 0;
    out->passes = plan_passes(c, all <= room ? UINT64_MAX : room, pass);
    if (out->passes > 1 && !c->options->done)
        BL_FAIL(BL_ELIMIT, "statistics of %u inputs take %llu MB and a window %llu MB, limit %llu MB: allow more", c->job->n_inputs, (unsigned long long)all >> 20,
                (unsigned long long)least >> 20, (unsigned long long)ram >> 20);
    out->h_bytes = all < room ? all : room;
    network->memory = ram == UINT64_MAX ? TIME_SAVING_BYTES : room - out->h_bytes;
    return BL_OK;
}

static void find_places(struct capture *c)
{
    const struct xq_job *job = c->job;
    for (uint32_t v = 0; v < job->graph->n_values; v++)
        c->input_of_value[v] = BL_NO_ID;
    for (uint32_t i = 0; i < job->n_inputs; i++)
        if (job->inputs[i].value != BL_NO_ID)
            c->input_of_value[job->inputs[i].value] = i;
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *n = &job->graph->nodes[i];
        c->matrix_of_node[i] = BL_NO_ID;
        for (uint32_t m = 0; m < job->n_matrices; m++)
            if ((n->op == BL_NODE_LINEAR || n->op == BL_NODE_EMBED) && job->matrices[m].tensor == n->weight.tensor)
                c->matrix_of_node[i] = m;
    }
    for (uint32_t m = 0; m < job->n_matrices; m++)
        c->inputs[job->matrices[m].input].is_table |= job->matrices[m].is_table;
}

static bl_status capture(struct capture *c, const struct xq_calibration *text, struct xq_captured *out)
{
    struct xq_network_options network = {.threads = c->options->threads, .backward = true};
    uint32_t *pass = calloc(c->job->n_inputs, sizeof *pass);
    if (!pass)
        BL_FAIL(BL_ENOMEM, "no memory for %u inputs", c->job->n_inputs);
    find_places(c);
    bl_status status = share_memory(c, pass, &network, out);
    if (status == BL_OK)
        status = xq_network_open(c->job, c->blas, &network, &c->network);
    if (status == BL_OK) {
        c->token_worth = calloc(xq_network_vocabulary(c->network), sizeof *c->token_worth);
        status = c->token_worth ? run_all(c, text, pass, out) : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "no memory for the worth of tokens");
    }
    if (status == BL_OK) {
        xq_network_bytes(c->network, &out->weight_bytes, &out->value_bytes);
        out->tokens = c->tokens;
        out->nll = c->nll_tokens > 0 ? c->nll / c->nll_tokens : 0;
    }
    free(pass);
    return status;
}

bl_status xq_capture(struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text, const struct xq_capture_options *options,
                     struct xq_captured *captured)
{
    *captured = (struct xq_captured){0};
    if (!text->n_train || text->window > XQ_WINDOW)
        BL_FAIL(BL_EINVAL, "%u windows of %u tokens to learn from, limit %u", text->n_train, text->window, XQ_WINDOW);
    struct capture *c = calloc(1, sizeof *c);
    if (c) {
        c->job = job;
        c->blas = blas;
        c->options = options;
        c->input_of_value = calloc((size_t)job->graph->n_values + 1, sizeof *c->input_of_value);
        c->matrix_of_node = calloc((size_t)job->graph->n_nodes + 1, sizeof *c->matrix_of_node);
        c->inputs = calloc(job->n_inputs, sizeof *c->inputs);
        c->curvature = xq_curvature_open(job, blas, options->threads);
    }
    if (!c)
        BL_FAIL(BL_ENOMEM, "no memory to learn from text");
    bl_status status = BL_ENOMEM;
    if (c->input_of_value && c->matrix_of_node && c->inputs && c->curvature)
        status = capture(c, text, captured);
    else
        status = bl_error_push(status, __FILE__, __LINE__, "no memory to learn from text");
    for (uint32_t i = 0; c->inputs && i < job->n_inputs; i++) {
        free(c->inputs[i].sum);
        free(c->inputs[i].other);
        free(c->inputs[i].x);
    }
    xq_network_close(c->network);
    free(c->spans);
    free(c->input_of_value);
    free(c->matrix_of_node);
    free(c->inputs);
    xq_curvature_close(c->curvature);
    free(c->token_worth);
    free(c);
    return status;
}
