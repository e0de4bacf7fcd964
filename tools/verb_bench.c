/* verb_bench.c: bitloom bench: how fast a model reads a prompt and generates, in the terms of llama-bench: pp512 and tg128, tokens per second,
 * each after a warm-up and from an empty sequence, without sampling. The measurements of kernels and of bit rates are in bench/. */
#include "bench/bench.h"
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TOKENS = 128 };

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct spread bench_spread(double *values, uint32_t n)
{
    struct spread s = {0};
    for (uint32_t i = 0; i < n; i++)
        s.mean += values[i] / n;
    for (uint32_t i = 0; i < n && n > 1; i++)
        s.deviation += (values[i] - s.mean) * (values[i] - s.mean) / (n - 1);
    s.deviation = n > 1 ? sqrt(s.deviation) : NAN;
    qsort(values, n, sizeof values[0], compare);
    s.median = (values[(n - 1) / 2] + values[n / 2]) / 2;
    return s;
}

void bench_print_spread(const struct spread *s)
{
    char deviation[32] = "null";
    if (!isnan(s->deviation))
        snprintf(deviation, sizeof deviation, "%.4g", s->deviation);
    printf("{\"mean\": %.4g, \"deviation\": %s, \"median\": %.4g}", s->mean, deviation, s->median);
}

void bench_print_columns(const struct spread *s)
{
    if (isnan(s->deviation))
        printf("%10.2f %12s %10.2f", s->mean, "", s->median);
    else
        printf("%10.2f +/- %-8.2f %10.2f", s->mean, s->deviation, s->median);
}

double bench_load(void)
{
    double load = 0;
    return getloadavg(&load, 1) == 1 ? load : 0;
}

/* The number at *at, which must lie in 1 .. 8. */
static bool take_number(const char **at, double *out)
{
    char *end;
    const size_t n = strspn(*at, "0123456789"), point = (*at)[n] == '.' && (*at)[n + 1] != '.';
    if (!n || n + strlen(*at + n) > 200)
        return false;
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(n + (point ? 1 + strspn(*at + n + 1, "0123456789") : 0)), *at);
    *out = strtod(text, &end);
    *at += end - text;
    return !*end && *out >= 1 && *out <= 8;
}

static bool take_list(const char *text, double *out, uint32_t *n)
{
    for (*n = 0;; text++) {
        double first, last;
        if (!take_number(&text, &first))
            return false;
        last = first;
        if (text[0] == '.' && text[1] == '.') {
            text += 2;
            if (!take_number(&text, &last) || last < first)
                return false;
        }
        for (; first <= last; first++) {
            if (*n == BENCH_LIST)
                return false;
            out[(*n)++] = first;
        }
        if (*text != ',')
            return !*text;
    }
}

bool bench_list(const char *text, double *out, uint32_t *n)
{
    if (take_list(text, out, n))
        return true;
    fprintf(stderr, "%s bench: --bits ", program_name);
    print_escaped(stderr, text);
    fprintf(stderr, ": must be numbers in 1..8, at most %d, such as 1.5,2,4.5 or 1..8\n", BENCH_LIST);
    return false;
}

double bench_forward(bl_model *model, bl_sequence *sequence, uint32_t n, bool at_once)
{
    bl_model_info info;
    bl_model_get_info(model, &info);
    bl_row *rows = malloc(n * sizeof *rows);
    bl_status status = rows ? bl_sequence_truncate(sequence, 0) : BL_ENOMEM;
    for (uint32_t i = 0; rows && i < n; i++)
        rows[i] = (bl_row){sequence, (int32_t)((i * 2654435761u >> 8) % info.vocabulary), !at_once || i + 1 == n};
    const uint64_t begun = now_ns();
    for (uint32_t at = 0, step = at_once ? n : 1; status == BL_OK && at < n; at += step)
        status = bl_forward(model, rows + at, step);
    const double seconds = (double)(now_ns() - begun) * 1e-9;
    free(rows);
    return status == BL_OK ? seconds : -1;
}

/* Tokens per second of `repetitions` runs; false: failed. */
static bool measure(bl_model *model, bl_sequence *sequence, uint32_t n, bool at_once, uint32_t repetitions, struct spread *out)
{
    double values[BENCH_MOST];
    if (bench_forward(model, sequence, at_once ? n : 1, at_once) < 0) /* warms up */
        return false;
    for (uint32_t i = 0; i < repetitions; i++) {
        const double seconds = bench_forward(model, sequence, n, at_once);
        if (seconds < 0)
            return false;
        values[i] = n / seconds;
    }
    *out = bench_spread(values, repetitions);
    return true;
}

static void print_line(const char *model, const char *what, uint32_t n, const struct spread *s)
{
    char test[32];
    snprintf(test, sizeof test, "%s%u", what, n);
    printf("%-40.40s %-8s ", model, test);
    bench_print_columns(s);
    printf("\n");
}

static void print_result(const struct options *o, const bl_model_info *info, double load_ms, const struct spread *prompt, const struct spread *tokens)
{
    const uint32_t n_prompt = (uint32_t)o->bench_prompt, n_tokens = (uint32_t)o->bench_tokens;
    if (!o->json) {
        const char *slash = strrchr(o->model, '/'), *name = slash ? slash + 1 : o->model;
        printf("%s, %.1f MB, load average %.1f\n%-40s %-8s %10s tok/s +/-   %10s\n", info->device, (double)info->file_bytes / 1e6, bench_load(), "model", "test", "mean",
               "median");
        if (n_prompt)
            print_line(name, "pp", n_prompt, prompt);
        if (n_tokens)
            print_line(name, "tg", n_tokens, tokens);
        return;
    }
    printf("{\"model\": ");
    print_json_string(stdout, o->model);
    printf(", \"device\": ");
    print_json_string(stdout, info->device);
    printf(", \"bytes\": %llu, \"kv_bytes\": %llu, \"inexact\": %s, \"load_ms\": %.3f, \"load_average\": %.2f, \"repetitions\": %lld", (unsigned long long)info->file_bytes,
           (unsigned long long)info->kv_bytes, *info->inexact ? "true" : "false", load_ms, bench_load(), (long long)o->repetitions);
    if (n_prompt) {
        printf(", \"n_prompt\": %u, \"pp\": ", n_prompt);
        bench_print_spread(prompt);
    }
    if (n_tokens) {
        printf(", \"n_gen\": %u, \"tg\": ", n_tokens);
        bench_print_spread(tokens);
    }
    printf("}\n");
}

static int bench_model(struct options *o)
{
    bl_model *model;
    bl_sequence *sequence;
    bl_model_info info;
    struct spread prompt = {0}, tokens = {0};
    if (!o->bench_prompt && !o->bench_tokens) {
        fprintf(stderr, "%s bench: -p 0 and -n 0 leave nothing to measure\n", program_name);
        return EXIT_USAGE;
    }
    if (o->context < 0)
        o->context = o->bench_prompt > o->bench_tokens ? o->bench_prompt : o->bench_tokens;
    const uint64_t begun = now_ns();
    const int code = open_model(o, &model, &sequence);
    if (code != EXIT_OK)
        return code;
    const double load_ms = (double)(now_ns() - begun) * 1e-6;
    bl_model_get_info(model, &info);
    bool done = !o->bench_prompt || measure(model, sequence, (uint32_t)o->bench_prompt, true, (uint32_t)o->repetitions, &prompt);
    done = done && (!o->bench_tokens || measure(model, sequence, (uint32_t)o->bench_tokens, false, (uint32_t)o->repetitions, &tokens));
    if (done)
        print_result(o, &info, load_ms, &prompt, &tokens);
    const int end = done ? EXIT_OK : report_error();
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return end;
}

int verb_bench(struct options *o)
{
    int code;
    log_to_stderr(o);
    if (o->model && (o->kernels || o->bench_bits)) {
        fprintf(stderr, "%s bench: ", program_name);
        print_escaped(stderr, o->model);
        fprintf(stderr, ": %s measures no model file%s\n", o->kernels ? "--kernels" : "--bits", o->bench_bits && !*o->bench_bits ? ", and a list of --bits begins with a digit" : "");
        return EXIT_USAGE;
    }
    if (!o->model && !o->kernels && !o->bench_bits) {
        fprintf(stderr, "%s bench: no model: give a file with -m FILE, or --kernels, or --bits\n", program_name);
        return EXIT_USAGE;
    }
    if (o->output && (o->kernels || !o->bench_bits)) {
        fprintf(stderr, "%s bench: -o is the picture of --bits\n", program_name);
        return EXIT_USAGE;
    }
    if (o->kernels) {
        code = bench_kernels(o);
    } else if (o->bench_bits) {
        code = bench_rates(o);
    } else {
        if (o->bench_tokens < 0)
            o->bench_tokens = DEFAULT_TOKENS;
        code = bench_model(o);
    }
    return finish_stdout(code);
}
