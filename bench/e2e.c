/* e2e.c: one round of what llama-bench measures, through the public API: a prompt of 512 tokens at once (pp512), then 128 tokens one by one
 * (tg128), each after a warm-up and from an empty sequence, without sampling. Prints one line of JSON. bench/peers runs it in turns with others.
 *
 *     e2e MODEL [THREADS [PROMPT [TOKENS [CONTEXT [DEVICE [CACHE [exact]]]]]]]
 *
 * A 0 for PROMPT or TOKENS leaves that part out. With CACHE, a folder, schedules and ways of kernels are raced and remembered there; exact: no
 * ways that are not (--deterministic). */
#include <bitloom/bitloom.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST_PROMPT 65536u

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int fail(const char *what)
{
    fprintf(stderr, "e2e: %s: %s\n", what, bl_error_text());
    return 1;
}

/* Seconds for n rows, all at once or one by one, from an empty sequence; negative: failed. */
static double measure(bl_model *model, bl_sequence *s, bl_row *rows, uint32_t n, bool at_once)
{
    if (bl_sequence_truncate(s, 0) != BL_OK)
        return -1;
    double start = seconds();
    for (uint32_t at = 0, step = at_once ? n : 1; at < n; at += step) {
        for (uint32_t i = at; i < at + step; i++)
            rows[i].logits = i + 1 == at + step;
        if (bl_forward(model, rows + at, step) != BL_OK)
            return -1;
    }
    return seconds() - start;
}

int main(int argc, char **argv)
{
    uint32_t numbers[4] = {2, 512, 128, 0};
    for (int i = 2; i < argc && i < 6; i++)
        numbers[i - 2] = (uint32_t)strtoul(argv[i], NULL, 10);
    uint32_t n_prompt = numbers[1], n_tokens = numbers[2], most = n_prompt > n_tokens ? n_prompt : n_tokens;
    if (argc < 2 || most == 0 || n_prompt > MOST_PROMPT || n_tokens > MOST_PROMPT) {
        fprintf(stderr, "usage: e2e MODEL [THREADS [PROMPT [TOKENS [CONTEXT [DEVICE [CACHE [exact]]]]]]]\n");
        return 2;
    }
    bl_model_params params;
    bl_model_default_params(&params);
    params.device.n_threads = numbers[0];
    params.device.device = argc > 6 ? argv[6] : NULL;
    params.cache_dir = argc > 7 ? argv[7] : NULL;
    params.deterministic = argc > 8;
    params.context = numbers[3] ? numbers[3] : most;
    double start = seconds();
    bl_model *model;
    bl_sequence *s;
    if (bl_model_open(argv[1], &params, &model) != BL_OK || bl_sequence_create(model, &s) != BL_OK)
        return fail("open");
    double load = seconds() - start, prompt = 0, tokens = 0;
    bl_model_info info;
    bl_model_get_info(model, &info);
    bl_row *rows = calloc(most, sizeof *rows);
    for (uint32_t i = 0; rows && i < most; i++)
        rows[i] = (bl_row){s, (int32_t)((i * 2654435761u >> 8) % info.vocabulary), false};
    if (!rows || (n_prompt && (measure(model, s, rows, n_prompt, true) < 0 || (prompt = measure(model, s, rows, n_prompt, true)) < 0)) ||
        (n_tokens && (measure(model, s, rows, 1, false) < 0 || (tokens = measure(model, s, rows, n_tokens, false)) < 0)))
        return fail("forward");
    printf("{\"load_ms\": %.3f, \"pp\": %.3f, \"tg\": %.3f, \"kv_bytes\": %llu, \"inexact\": %s}\n", load * 1e3, prompt > 0 ? n_prompt / prompt : 0,
           tokens > 0 ? n_tokens / tokens : 0, (unsigned long long)info.kv_bytes, *info.inexact ? "true" : "false");
    free(rows);
    bl_sequence_destroy(s);
    bl_model_close(model);
    return 0;
}
