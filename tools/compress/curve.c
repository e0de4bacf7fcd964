/* curve.c: a table and an SVG of a few points. */
#include "compress/curve.h"

#include "base/error.h"
#include "compress/out_file.h"

#include <math.h>
#include <stdlib.h>

enum { WIDTH = 760, HEIGHT = 380, LEFT = 70, RIGHT = 30, TOP = 40, BOTTOM = 50 };
#define LEAST 1e-7 /* what is less is drawn there: a logarithm needs something */

void xq_curve_print(FILE *f, const struct xq_target *targets, const struct xq_result *results, uint32_t n)
{
    fprintf(f, "%12s %8s %20s %9s %9s  file\n", "bytes", "bits", "KL on held out text", "same top", "PPL ratio");
    for (uint32_t i = 0; i < n; i++) {
        const struct xq_result *r = &results[i];
        char error[32];
        fprintf(f, "%12llu %8.3f %9.4g%-11s %7.2f %% %9.4f  %s\n", (unsigned long long)r->bytes, 8 * (double)r->bytes / (double)r->parameters, r->divergence, xq_error_text(r->divergence_error, error),
                100 * r->same_top, r->nll_ratio, targets[i].out);
    }
}

/* Where numbers are in the picture. */
struct scale {
    double low_mb, high_mb, low_log, high_log; /* whole powers of ten */
};

static double megabytes(const struct xq_result *r)
{
    return (double)r->bytes / 1e6;
}

/* As it is drawn. */
static double error_of(const struct xq_result *r)
{
    return isnan(r->divergence_error) ? 0 : r->divergence_error;
}

static double x_of(const struct scale *s, double mb)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (mb - s->low_mb) / (s->high_mb - s->low_mb);
}

static double y_of(const struct scale *s, double divergence)
{
    const double at = log10(divergence > LEAST ? divergence : LEAST);
    return TOP + (HEIGHT - TOP - BOTTOM) * (s->high_log - at) / (s->high_log - s->low_log);
}

static struct scale find_scale(const struct xq_result *results, uint32_t n)
{
    double low = INFINITY, high = 0, least = INFINITY, most = LEAST;
    for (uint32_t i = 0; i < n; i++) {
        low = fmin(low, megabytes(&results[i]));
        high = fmax(high, megabytes(&results[i]));
        least = fmin(least, fmax(results[i].divergence, LEAST));
        most = fmax(most, results[i].divergence + error_of(&results[i]));
    }
    const double margin = high > low ? (high - low) / 20 : high / 20;
    const double low_log = floor(log10(least)), high_log = ceil(log10(most));
    return (struct scale){low - margin, high + margin, low_log, high_log > low_log ? high_log : low_log + 1};
}

/* 1, 2 or 5 times a power of ten: about six of them in the range. */
static double step_of(double range)
{
    const double power = pow(10, floor(log10(range / 6))), rest = range / 6 / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

static void put_axes(FILE *f, const struct scale *s)
{
    const double step = step_of(s->high_mb - s->low_mb);
    for (double mb = ceil(s->low_mb / step) * step; mb <= s->high_mb; mb += step)
        fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x_of(s, mb), x_of(s, mb), TOP, HEIGHT - BOTTOM,
                x_of(s, mb), HEIGHT - BOTTOM + 18, mb);
    for (double power = s->low_log; power <= s->high_log; power++) {
        for (int k = 1; k < 10 && power + log10(k) <= s->high_log; k++) {
            const double y = y_of(s, k * pow(10, power));
            fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", LEFT, WIDTH - RIGHT, y, y, k == 1 ? "#ccc" : "#eee");
            if (k == 1)
                fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6, y + 4, pow(10, power));
        }
    }
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">MB of the whole file</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10);
    fprintf(f, "<text x=\"%d\" y=\"20\">KL to the original on held out text, nats per token</text>\n", LEFT);
}

static int by_bytes(const void *a, const void *b)
{
    const struct xq_result *x = a, *y = b;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static void put_points(FILE *f, const struct scale *s, const struct xq_result *sorted, uint32_t n)
{
    fprintf(f, "<polyline fill=\"none\" stroke=\"#4269d0\" stroke-width=\"2\" points=\"");
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%.1f,%.1f ", x_of(s, megabytes(&sorted[i])), y_of(s, sorted[i].divergence));
    fprintf(f, "\"/>\n");
    for (uint32_t i = 0; i < n; i++) {
        const struct xq_result *r = &sorted[i];
        const double x = x_of(s, megabytes(r)), y = y_of(s, r->divergence);
        fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#4269d0\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#4269d0\"><title>%llu bytes, %.3f bits per weight</title></circle>", x, x,
                y_of(s, fmax(r->divergence - error_of(r), pow(10, s->low_log))), y_of(s, r->divergence + error_of(r)), x, y, (unsigned long long)r->bytes,
                8 * (double)r->bytes / (double)r->parameters);
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%.4g</text>\n", x + (i + 1 < n || n == 1 ? 8 : -8), y - 8, i + 1 < n || n == 1 ? "start" : "end", r->divergence);
    }
}

static void put_svg(FILE *f, const struct xq_result *sorted, uint32_t n)
{
    const struct scale s = find_scale(sorted, n);
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" font-family=\"system-ui,sans-serif\" font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", WIDTH,
            HEIGHT, WIDTH, HEIGHT);
    put_axes(f, &s);
    put_points(f, &s, sorted, n);
    fprintf(f, "</svg>\n");
}

bl_status xq_curve_write(const char *path, const struct xq_result *results, uint32_t n)
{
    struct xq_result *sorted = malloc(n * sizeof *sorted);
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = sorted ? open_memstream(&text, &bytes) : NULL;
    if (f) {
        for (uint32_t i = 0; i < n; i++)
            sorted[i] = results[i];
        qsort(sorted, n, sizeof *sorted, by_bytes);
        put_svg(f, sorted, n);
    }
    const bool good = f && fclose(f) == 0;
    struct xq_out_file file = {0};
    bl_status status = good ? xq_out_open(&file, path) : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory to draw", path);
    if (status == BL_OK)
        status = xq_out_write(&file, text, bytes, 0);
    if (status == BL_OK)
        status = xq_out_finish(&file);
    xq_out_discard(&file);
    free(text);
    free(sorted);
    return status;
}
