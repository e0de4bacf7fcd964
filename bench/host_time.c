/* host_time.c: what a token costs the host: decode steps of a model on a device whose kernels do nothing (null), through the public API, so
 * that what is left is rows, step buffer, submission, wait and logits. Prints one line of JSON: microseconds per token, for one device and
 * for layers shared by two, median and lowest of some thousand steps.
 *
 *     host-time MODEL [TOKENS] */
#include <bitloom/bitloom.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_TOKENS 65536u
#define CONTEXT 2048u

static double microseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* False after a failure. */
static bool measure(const char *path, const char *device, uint32_t n, double *median, double *lowest)
{
    static double taken[MOST_TOKENS];
    bl_model_params params;
    bl_model *model = NULL;
    bl_sequence *s = NULL;
    bl_model_default_params(&params);
    params.device.device = device;
    params.device.null_kernels = true;
    params.context = CONTEXT;
    bool ok = bl_model_open(path, &params, &model) == BL_OK && bl_sequence_create(model, &s) == BL_OK && bl_forward(model, &(bl_row){s, 1, true}, 1) == BL_OK;
    for (uint32_t i = 0; ok && i < n; i++) {
        if (bl_sequence_length(s) == CONTEXT)
            ok = bl_sequence_truncate(s, 1) == BL_OK;
        bl_row row = {s, (int32_t)(i % 1000), true};
        double start = microseconds();
        ok = ok && bl_forward(model, &row, 1) == BL_OK;
        taken[i] = microseconds() - start;
    }
    if (!ok)
        fprintf(stderr, "host-time: %s on %s: %s\n", path, device, bl_error_text());
    bl_sequence_destroy(s);
    bl_model_close(model);
    qsort(taken, n, sizeof *taken, ascending);
    *median = taken[n / 2];
    *lowest = taken[0];
    return ok;
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 5000;
    double one[2], two[2];
    if (argc < 2 || n == 0 || n > MOST_TOKENS) {
        fprintf(stderr, "usage: host-time MODEL [TOKENS]\n");
        return 2;
    }
    if (!measure(argv[1], "null", n, &one[0], &one[1]) || !measure(argv[1], "null,null", n, &two[0], &two[1]))
        return 1;
    printf("{\"host_us_per_token\": %.2f, \"lowest\": %.2f, \"on_two_devices\": %.2f, \"lowest_on_two\": %.2f, \"tokens\": %u}\n", one[0], one[1], two[0], two[1], n);
    return 0;
}
