/* learn.c: calibration text, statistics and saved states. Argument: the tiny qwen3 (F32 and F16 matrices, tied head). What statistics promise is
 * measured: weights are moved a little, and the KL divergence that follows is compared with 1/2 tr(dW H dW^T) worth. Exit 77 without OpenBLAS. */
#include "base/error.h"
#include "base/half.h"
#include "tools/compress/capture.h"
#include "tools/compress/divergence.h"
#include "tools/compress/jsonl.h"
#include "tools/compress/network.h"
#include "tools/compress/state.h"

#include <bitloom/bitloom.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 128 };

static int failures;

static void check(bool ok, const char *what, const char *detail, double number)
{
    if (!ok) {
        printf("FAILED %s: %s (%g)\n", what, detail, number);
        failures++;
    }
}

static void must(bl_status status)
{
    if (status != BL_OK) {
        printf("FAILED: %s\n", bl_error_text());
        exit(1);
    }
}

static void write_file(const char *path, const char *text, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, bytes, f) != bytes || fclose(f) != 0)
        exit(1);
}

/* ---- JSON lines ---- */

static void check_jsonl(void)
{
    static const struct {
        const char *in, *out; /* out NULL: what the error says is in `error` */
        const char *error;
    } cases[] = {
        {"{\"text\": \"ab\"}\n\n{\"id\":[1,{\"text\":\"}\"}], \"text\":\"c\\nd\" }\r\n", "ab\nc\nd\n", NULL},
        {"{\"a\":{\"text\":\"no\"},\"text\":\"\\u00e9\\u20ac\\ud83d\\ude00\\ud800\\/\"}", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd/\n", NULL},
        {"{\"text\":\"a\"}\n[1]\n", NULL, "line 2: expected an object"},
        {"{\"tekst\":\"a\"}\n", NULL, "line 1: no string \"text\""},
        {"{\"text\":5}\n", NULL, "line 1: no string \"text\""},
        {"{\"text\":\"a\n", NULL, "line 1: a string without an end"},
        {"{\"text\":\"\\u12g4\"}\n", NULL, "line 1: a string without an end"},
        {"{\"id\":[1,2\n", NULL, "line 1: a value without an end"},
        {"{", NULL, "line 1: expected a key"},
        {"", "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *copy = malloc(strlen(cases[i].in) + 1), *out; /* not longer: a sanitizer sees a read past it */
        size_t bytes;
        memcpy(copy, cases[i].in, strlen(cases[i].in));
        bl_errors_clear();
        const bl_status status = xq_jsonl_texts("lines", copy, strlen(cases[i].in), &out, &bytes);
        free(copy);
        if (cases[i].out)
            check(status == BL_OK && bytes == strlen(cases[i].out) && memcmp(out, cases[i].out, bytes) == 0, "jsonl", cases[i].in, (double)bytes);
        else
            check(status == BL_EFORMAT && strstr(bl_error_text(), cases[i].error), "jsonl", cases[i].error, status);
        free(out);
    }
}

/* ---- windows ---- */

static void check_calibration(const bl_tokenizer *tokenizer)
{
    static const char *const paths[] = {"learn_a.txt", "learn_b.jsonl"}, *const nowhere[] = {"learn_none.txt"};
    char text[6000];
    uint32_t seed = 3;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + (seed = seed * 1664525u + 1013904223u) / 0x0b000000u);
    write_file(paths[0], text, sizeof text);
    write_file(paths[1], "{\"text\":\"the end of it\"}\n", 25);
    struct xq_calibration c, again;
    must(xq_calibration_read(tokenizer, paths, 2, WINDOW, 0, &c));
    check(c.n_train > 16 && c.n_held >= 1 && c.n_held <= c.n_train / 10, "windows", "one of sixteen is held out", c.n_held);
    for (uint32_t i = 0; i < c.n_held; i++)
        for (uint32_t k = 0; k < c.n_train; k++)
            check(memcmp(c.held + (size_t)i * WINDOW, c.train + (size_t)k * WINDOW, WINDOW * sizeof(int32_t)) != 0, "windows", "held out and learned from", k);
    check(c.train[0] == bl_tokenizer_special(tokenizer, BL_SPECIAL_BOS) && c.held[0] == c.train[0], "windows", "begin as texts of the model do", c.train[0]);
    must(xq_calibration_read(tokenizer, paths, 2, WINDOW, 0, &again));
    check(c.hash == again.hash, "windows", "the same hash again", 0);
    xq_calibration_free(&again);
    must(xq_calibration_read(tokenizer, paths, 2, WINDOW, 5 * WINDOW, &again));
    check(again.n_train >= 5 && again.n_train <= 6 && again.n_held == 2 && again.hash != c.hash, "windows", "as many as asked for", again.n_train);
    xq_calibration_free(&again);
    bl_errors_clear();
    check(xq_calibration_read(tokenizer, paths + 1, 1, WINDOW, 0, &again) == BL_EINVAL && strstr(bl_error_text(), "a window needs"), "windows", "too short", 0);
    check(xq_calibration_read(tokenizer, nowhere, 1, WINDOW, 0, &again) == BL_EIO, "windows", "no such file", 0);
    xq_calibration_free(&c);
    must(xq_calibration_read(tokenizer, NULL, 0, WINDOW, 0, &c));
    check(c.n_train > 20 && c.n_held > 1, "windows", "of the built-in text", c.n_train);
    xq_calibration_free(&c);
    unlink(paths[0]);
    unlink(paths[1]);
}

/* ---- statistics ---- */

static bl_status keep(void *user, uint32_t input)
{
    struct xq_job *to = ((struct xq_job **)user)[1];
    const struct xq_job *from = ((struct xq_job **)user)[0];
    const size_t bytes = (size_t)to->inputs[input].columns * to->inputs[input].columns * sizeof(float);
    to->inputs[input].h = malloc(bytes);
    memcpy(to->inputs[input].h, from->inputs[input].h, bytes);
    return BL_OK;
}

static void check_same(const char *what, const struct xq_job *a, const struct xq_job *b)
{
    for (uint32_t i = 0; i < a->n_inputs; i++) {
        const size_t bytes = (size_t)a->inputs[i].columns * a->inputs[i].columns * sizeof(float);
        check(b->inputs[i].h && memcmp(a->inputs[i].h, b->inputs[i].h, bytes) == 0, what, "h of input", i);
    }
    for (uint32_t i = 0; i < a->n_matrices; i++) {
        const struct xq_matrix *m = &a->matrices[i], *n = &b->matrices[i];
        check(m->row_worth && n->row_worth && memcmp(m->row_worth, n->row_worth, m->rows * sizeof(float)) == 0, what, "worth of rows", i);
        const size_t coupling = m->group > 1 ? (size_t)m->rows * m->group * sizeof(float) : 0;
        check(!coupling || (m->coupling && n->coupling && memcmp(m->coupling, n->coupling, coupling) == 0), what, "coupling of rows", i);
    }
}

struct plain_sum {
    const struct xq_job *job;
    double **h;
};

static void add_plain(void *user, uint32_t value, float *x, uint32_t rows)
{
    const struct plain_sum *p = user;
    for (uint32_t i = 0; i < p->job->n_inputs; i++) {
        const uint32_t n = p->job->inputs[i].columns;
        for (size_t k = 0; p->job->inputs[i].value == value && k < (size_t)n * n; k++)
            for (uint32_t r = 0; r < rows; r++)
                p->h[i][k] += (double)x[(size_t)r * n + k / n] * (double)x[(size_t)r * n + k % n];
    }
}

/* h of ordinary inputs against a plain sum in double; of all: symmetric, with a diagonal. */
static void check_covariances(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text)
{
    const struct xq_network_options options = {.threads = 1, .backward = false, .memory = UINT64_MAX};
    struct xq_network *net;
    struct plain_sum p = {job, calloc(job->n_inputs, sizeof *p.h)};
    const struct xq_network_hooks hooks = {&p, add_plain, NULL};
    for (uint32_t i = 0; i < job->n_inputs; i++)
        p.h[i] = calloc((size_t)job->inputs[i].columns * job->inputs[i].columns, sizeof **p.h);
    must(xq_network_open(job, blas, &options, &net));
    for (uint32_t w = 0; w < text->n_train; w++)
        must(xq_network_forward(net, text->train + (size_t)w * text->window, text->window, false, &hooks));
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        const uint32_t n = job->inputs[i].columns;
        const float *h = job->inputs[i].h;
        double error = 0, power = 0;
        bool symmetric = true;
        for (size_t k = 0; k < (size_t)n * n; k++) {
            const double d = (double)h[k] - p.h[i][k] / job->inputs[i].tokens;
            symmetric &= h[k] == h[(size_t)(k % n) * n + k / n] && (k / n != k % n || h[k] > 0);
            error += d * d;
            power += (double)h[k] * (double)h[k];
        }
        check(symmetric, "covariance", "not symmetric, input", i);
        bool is_table = false; /* its rows are weighted, and gradients are in it */
        for (uint32_t m = 0; m < job->n_matrices; m++)
            is_table |= job->matrices[m].input == i && job->matrices[m].is_table;
        if (!is_table)
            check(error < 1e-10 * power, "covariance", "against a plain sum", error / power);
        free(p.h[i]);
    }
    free(p.h);
    xq_network_close(net);
}

static double normal(uint32_t *state)
{
    double sum = -6;
    for (uint32_t i = 0; i < 12; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (double)(*state >> 8) * 0x1p-24;
    }
    return sum;
}

/* Moves the weights of a matrix by noise of `size` times their deviation in a copy of the file; returns the loss that is expected. */
static double disturb(const struct xq_job *job, const struct xq_matrix *m, uint8_t *file, double size)
{
    const struct bl_tensor *t = bl_model_file_tensor_at(job->file, m->tensor);
    const float *h = job->inputs[m->input].h;
    float *row = malloc(m->columns * sizeof *row);
    double *d = malloc(m->columns * sizeof *d), loss = 0;
    uint32_t seed = 5;
    for (uint32_t r = 0; r < m->rows; r++) {
        double power = 0, quadratic = 0;
        xq_matrix_rows(job, m, r, 1, row);
        for (uint32_t c = 0; c < m->columns; c++)
            power += (double)row[c] * (double)row[c] / m->columns;
        for (uint32_t c = 0; c < m->columns; c++) {
            const float moved = row[c] + (float)(size * sqrt(power) * normal(&seed));
            const uint64_t at = (uint64_t)r * m->columns + c;
            if (t->format == BL_FMT_F32)
                memcpy(file + t->offset + at * 4, &moved, 4);
            const uint16_t half = bl_f32_to_f16(moved);
            if (t->format == BL_FMT_F16)
                memcpy(file + t->offset + at * 2, &half, 2);
            d[c] = (double)(t->format == BL_FMT_F16 ? bl_f16_to_f32(half) : moved) - (double)row[c];
        }
        for (uint32_t i = 0; i < m->columns; i++)
            for (uint32_t k = 0; k < m->columns; k++)
                quadratic += d[i] * d[k] * (double)h[(size_t)i * m->columns + k];
        loss += 0.5 * (double)m->row_worth[r] * quadratic;
    }
    free(row);
    free(d);
    return loss;
}

/* No attention follows, which would make one token's error that of others too: then the promise is exact but for the noise of drawn labels. */
static bool is_last(const struct xq_job *job, const struct xq_matrix *m)
{
    bool last = false;
    for (uint32_t i = 0; i < job->graph->n_nodes; i++) {
        const struct bl_node *n = &job->graph->nodes[i];
        last = (last && n->op != BL_NODE_KV_STORE) || (n->op == BL_NODE_LINEAR && n->weight.tensor == m->tensor);
    }
    return last;
}

/* The windows that were learned from serve as those to judge by: the promise is about them. */
static void check_promise(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text)
{
    const uint64_t bytes = bl_model_file_bytes(job->file);
    struct xq_calibration judge = *text;
    judge.held = text->train;
    judge.n_held = text->n_train;
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        const struct xq_matrix *m = &job->matrices[i];
        const enum bl_format format = bl_model_file_tensor_at(job->file, m->tensor)->format;
        if (format != BL_FMT_F32 && format != BL_FMT_F16)
            continue;
        uint8_t *copy = malloc((size_t)bytes);
        memcpy(copy, bl_model_file_data(job->file), (size_t)bytes);
        const double expected = disturb(job, m, copy, 0.1);
        struct bl_model_file *file;
        struct xq_divergence_result kl;
        must(bl_model_file_open_memory(copy, bytes, "disturbed", &file));
        must(xq_divergence_measure(job, blas, &judge, file, 2, UINT64_MAX, &kl));
        printf("%s: expected %.3e, measured %.3e +- %.0e, ratio %.2f\n", m->name, expected, kl.mean, kl.error, kl.mean / expected);
        const double most = is_last(job, m) && !m->is_table ? 1.25 : 8;
        check(kl.mean > expected / most && kl.mean < expected * most, m->name, "loss measured / expected", kl.mean / expected);
        bl_model_file_close(file);
        free(copy);
    }
}

/* ---- objectives ---- */

static void check_no_loss(const struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text)
{
    struct xq_divergence_result d;
    must(xq_divergence_measure(job, blas, text, job->file, 2, UINT64_MAX, &d));
    check(d.mean == 0 && d.nll == d.other_nll && d.same_top == 1, "the same file", "costs", d.mean);
}

static void check_questions(const bl_tokenizer *tokenizer, struct xq_calibration *c)
{
    const char *path = "learn_q.jsonl";
    char text[16384];
    size_t n = 0;
    for (int i = 0; i < 60; i++)
        n += (size_t)sprintf(text + n, i % 3 ? "{\"prompt\": \"what is it %d\", \"choices\": [\"no\", \"a bear\"], \"answer\": %s}\n" : "{\"answer\": \"a bear\", \"prompt\": \"say %d\"}\n", i, i % 3 == 1 ? "1" : "\"B\"");
    write_file(path, text, n);
    must(xq_calibration_read_questions(tokenizer, path, WINDOW, 0, c));
    int32_t answer[32];
    size_t length, counted = 0;
    must(bl_tokenizer_encode(tokenizer, " a bear", 7, 0, answer, 32, &length));
    for (uint32_t k = 0; k < c->n_train; k++) {
        for (uint32_t i = 0; i + 1 < c->window; i++) {
            const int32_t next = c->train[(size_t)k * c->window + i + 1];
            bool is_answer = false;
            for (size_t t = 0; t < length; t++)
                is_answer |= answer[t] == next;
            counted += c->train_counts[(size_t)k * c->window + i];
            check(!c->train_counts[(size_t)k * c->window + i] || is_answer, "questions", "counts, but is no answer", i);
        }
    }
    for (uint32_t k = 0; k < c->n_held; k++)
        for (uint32_t i = 0; i < c->window; i++)
            counted += c->held_counts[(size_t)k * c->window + i];
    check(counted == 60 * length, "questions", "tokens of answers", (double)counted);
    static const char *const wrong[] = {"{\"answer\": \"a\"}", "{\"prompt\": \"a\"}", "{\"prompt\": \"a\", \"choices\": [\"b\"], \"answer\": 1}", "{\"prompt\": \"a\", \"choices\": [\"b\"], \"answer\": \"c\"}",
                                        "{\"prompt\": \"a\", \"choices\": [1], \"answer\": 0}", "{\"prompt\": \"a\", \"answer\": 0}", "{\"prompt\": \"a\", \"answer\": \"b", "7", "{\"prompt\": \"\", \"answer\": \"b\"}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct xq_calibration none;
        write_file(path, wrong[i], strlen(wrong[i]));
        bl_errors_clear();
        check(xq_calibration_read_questions(tokenizer, path, WINDOW, 0, &none) == BL_EFORMAT && strstr(bl_error_text(), "line 1: "), "questions", wrong[i], (double)i);
    }
    unlink(path);
}

static double worth_of(const struct xq_job *job)
{
    double sum = 0;
    for (uint32_t i = 0; i < job->n_matrices; i++)
        for (uint32_t r = 0; r < job->matrices[i].rows && !job->matrices[i].is_table; r++)
            sum += (double)job->matrices[i].row_worth[r];
    return sum;
}

/* The text's own tokens as labels; what does not count has no loss: with the first half alone the others' gradients are 0. */
static void check_labels(struct xq_job *job, const struct xq_blas *blas, const struct xq_calibration *text)
{
    struct xq_calibration some = *text;
    struct xq_capture_options options = {.threads = 2, .temper = 1, .labels = XQ_LABELS_TEXT};
    struct xq_captured captured;
    const size_t tokens = (size_t)text->n_train * text->window;
    must(xq_capture(job, blas, text, &options, &captured));
    const double all = worth_of(job);
    some.train_counts = calloc(tokens, 1);
    memset(some.train_counts, 1, tokens);
    must(xq_capture(job, blas, &some, &options, &captured));
    check(worth_of(job) == all && all > 0, "labels", "all count", worth_of(job) / all);
    memset(some.train_counts, 0, tokens / 2);
    must(xq_capture(job, blas, &some, &options, &captured));
    const double half = worth_of(job);
    memset(some.train_counts, 0, tokens);
    memset(some.train_counts, 1, tokens / 2);
    must(xq_capture(job, blas, &some, &options, &captured));
    /* both are means over what counts, so the whole is the mean of both (windows do not know of each other) */
    const double mean = (half + worth_of(job)) / 2;
    check(mean > 0.98 * all && mean < 1.02 * all && half != all, "labels", "halves / whole", mean / all);
    memset(some.train_counts, 0, tokens);
    bl_errors_clear();
    check(xq_capture(job, blas, &some, &options, &captured) == BL_EINVAL, "labels", "nothing counts", 0);
    free(some.train_counts);
}

/* ---- states ---- */

static void check_state(const char *path, const struct xq_job *job, const struct xq_calibration *text)
{
    const char *file = "learn.state";
    const struct xq_state_key key = xq_state_key(job, text, 1);
    struct xq_state_key other = key;
    struct xq_job read;
    must(xq_state_write(file, job, &key, text));
    must(xq_job_open(&read, path));
    must(xq_state_read(file, &read, &key));
    check_same("state", job, &read);
    check(read.inputs[0].tokens == job->inputs[0].tokens, "state", "tokens", read.inputs[0].tokens);
    other.text = 0;
    other.objective = XQ_ANY_OBJECTIVE;
    must(xq_state_read(file, &read, &other));
    struct xq_state *state;
    struct xq_calibration kept;
    must(xq_state_open(file, &read, &other, &state));
    must(xq_state_text(state, &read, &kept));
    check(kept.n_held == text->n_held && kept.window == text->window && kept.n_train == text->n_train && kept.hash == text->hash && xq_state_objective(state) == key.objective &&
              memcmp(kept.held, text->held, (size_t)text->n_held * text->window * sizeof *text->held) == 0, "state", "text", 0);
    xq_calibration_free(&kept);
    xq_state_close(state);
    other.objective = key.objective;
    other.text = key.text + 1;
    bl_errors_clear();
    check(xq_state_read(file, &read, &other) == BL_EFORMAT && strstr(bl_error_text(), "another calibration text"), "state", "other text", 0);
    other = key;
    other.objective = 1;
    bl_errors_clear();
    check(xq_state_read(file, &read, &other) == BL_EFORMAT && strstr(bl_error_text(), "another --objective"), "state", "other objective", 0);
    other = key;
    other.model++;
    bl_errors_clear();
    check(xq_state_read(file, &read, &other) == BL_EFORMAT && strstr(bl_error_text(), "another model"), "state", "other model", 0);
    FILE *f = fopen(file, "rb");
    fseek(f, 0, SEEK_END);
    const size_t bytes = (size_t)ftell(f);
    char *data = malloc(bytes);
    rewind(f);
    check(fread(data, 1, bytes, f) == bytes, "state", "read", 0);
    fclose(f);
    for (size_t at = 0; at < bytes; at += bytes / 97 + 1) {
        data[at] = (char)(data[at] ^ 16);
        write_file(file, data, bytes);
        data[at] = (char)(data[at] ^ 16);
        const bool padding = xq_state_read(file, &read, &key) == BL_OK;
        check(!padding, "state", "a changed bit was not found, at", (double)at);
    }
    write_file(file, data, bytes / 2);
    check(xq_state_read(file, &read, &key) == BL_EFORMAT, "state", "cut off", 0);
    free(data);
    unlink(file);
    xq_job_close(&read);
}

int main(int argc, char **argv)
{
    const struct xq_blas *blas;
    if (argc != 2 || xq_blas_open(&blas) != BL_OK) {
        printf("%s\n", argc == 2 ? bl_error_text() : "usage: learn MODEL");
        return argc == 2 ? 77 : 2;
    }
    bl_tokenizer *tokenizer;
    struct xq_calibration text;
    must(bl_tokenizer_open(argv[1], &tokenizer));
    check_jsonl();
    check_calibration(tokenizer);
    must(xq_calibration_read(tokenizer, NULL, 0, WINDOW, 32 * WINDOW, &text));

    struct xq_job job, other;
    struct xq_captured captured;
    must(xq_job_open(&job, argv[1]));
    must(xq_job_open(&other, argv[1]));
    struct xq_capture_options options = {.threads = 2, .temper = 1};
    must(xq_capture(&job, blas, &text, &options, &captured));
    check(captured.passes == 1 && captured.tokens == (uint64_t)text.n_train * WINDOW && captured.nll > 1, "capture", "passes", captured.passes);
    check_covariances(&job, blas, &text);

    struct xq_job *jobs[] = {&other, &other};
    struct xq_job kept;
    must(xq_job_open(&kept, argv[1]));
    jobs[1] = &kept;
    options = (struct xq_capture_options){.threads = 3, .ram = xq_network_least_bytes(&job, 3, true) + bl_model_file_bytes(job.file) + 400000, .temper = 1};
    check(xq_capture(&other, blas, &text, &options, &captured) == BL_ELIMIT, "capture", "too little memory", 0);
    options.done = keep;
    options.user = jobs;
    must(xq_capture(&other, blas, &text, &options, &captured));
    check(captured.passes > 1, "capture", "several passes", captured.passes);
    for (uint32_t i = 0; i < kept.n_inputs; i++)
        other.inputs[i].h = kept.inputs[i].h;
    check_same("several passes on three threads", &job, &other);
    for (uint32_t i = 0; i < kept.n_inputs; i++)
        kept.inputs[i].h = NULL;
    xq_job_close(&kept);

    check_promise(&job, blas, &text);
    check_state(argv[1], &job, &text);
    check_no_loss(&job, blas, &text);
    struct xq_calibration questions;
    check_questions(tokenizer, &questions);
    check_no_loss(&job, blas, &questions);
    xq_calibration_free(&questions);
    check_labels(&other, blas, &text);
    xq_calibration_free(&text);
    bl_tokenizer_destroy(tokenizer);
    xq_job_close(&job);
    xq_job_close(&other);
    return failures ? 1 : 0;
}
