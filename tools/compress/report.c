/* report.c: JSON, and HTML with pictures as SVG. */
#include "compress/report.h"

#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Characters that mean something in the language at hand are written in its own way. */
static void put_text(FILE *f, const char *text, bool html)
{
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (html ? strchr("<>&\"", *s) != NULL : *s < 0x20 || *s == '"' || *s == '\\')
            fprintf(f, html ? "&#%u;" : "\\u%04x", *s);
        else
            fputc(*s, f);
    }
}

static double bits_of(const struct xq_report_matrix *m)
{
    return 8 * (double)m->bytes / ((double)m->rows * m->columns);
}

static double depth_share(const struct xq_report_matrix *m, uint32_t depth)
{
    uint64_t all = 0;
    for (uint32_t d = 1; d <= 8; d++)
        all += m->weights[d];
    return all ? (double)m->weights[depth] / (double)all : 0;
}

/* ---- JSON ---- */

static bool has_value(const struct xq_report_line *line)
{
    return line->kind == XQ_LINE_TEXT ? line->text && line->text[0] : isfinite(line->number) != 0;
}

static void put_string(FILE *f, const char *text)
{
    fputc('"', f);
    put_text(f, text, false);
    fputc('"', f);
}

static void put_value(FILE *f, const struct xq_report_line *line)
{
    if (!has_value(line)) {
        fprintf(f, "null");
    } else if (line->kind == XQ_LINE_TEXT) {
        put_string(f, line->text);
    } else if (line->kind == XQ_LINE_LIST) {
        fputc('[', f);
        for (uint32_t i = 0; i < (uint32_t)line->number; i++) {
            fprintf(f, "%s", i ? ", " : "");
            put_string(f, line->texts[i]);
        }
        fputc(']', f);
    } else if (line->kind == XQ_LINE_FLAG) {
        fprintf(f, line->number > 0 ? "true" : "false");
    } else {
        fprintf(f, line->kind == XQ_LINE_WHOLE ? "%.0f" : "%.9g", line->number);
    }
}

static void put_lines(FILE *f, const char *name, const struct xq_report_line *lines, size_t n)
{
    fprintf(f, "  \"%s\": {", name);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "%s\n    \"%s\": ", i ? "," : "", lines[i].key);
        put_value(f, &lines[i]);
    }
    fprintf(f, "\n  },\n");
}

static void put_json(FILE *f, const struct xq_report *r)
{
    fprintf(f, "{\n  \"in\": \"");
    put_text(f, r->in, false);
    fprintf(f, "\",\n  \"out\": \"");
    put_text(f, r->out, false);
    fprintf(f, "\",\n");
    put_lines(f, "options", r->options, r->n_options);
    put_lines(f, "figures", r->figures, r->n_figures);
    fprintf(f, "  \"matrices\": [");
    for (size_t i = 0; i < r->n_matrices; i++) {
        const struct xq_report_matrix *m = &r->matrices[i];
        fprintf(f, "%s\n    {\"name\": \"", i ? "," : "");
        put_text(f, m->name, false);
        fprintf(f, "\", \"rows\": %u, \"columns\": %u, \"bytes\": %llu, \"bits\": %.4f, \"loss\": %.6g, \"outliers\": %u, \"depths\": [", m->rows, m->columns,
                (unsigned long long)m->bytes, bits_of(m), m->loss, m->n_outliers);
        for (uint32_t d = 1; d <= 8; d++)
            fprintf(f, "%s%.5f", d > 1 ? ", " : "", depth_share(m, d));
        fprintf(f, "]}");
    }
    fprintf(f, "\n  ]\n}\n");
}

/* ---- pictures ---- */

static const char *const colours[] = {"#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"};
enum { COLOURS = sizeof colours / sizeof colours[0], MOST_KINDS = 64 };

/* "blk.12.ffn_up.weight": block 12, kind "ffn_up"; without a block, the name itself. */
static long kind_of(const char *name, char *out, size_t room)
{
    long block = -1;
    if (strncmp(name, "blk.", 4) == 0) {
        char *end;
        block = strtol(name + 4, &end, 10);
        name = *end == '.' ? end + 1 : end;
    }
    const char *dot = strstr(name, ".weight");
    snprintf(out, room, "%.*s", (int)(dot ? dot - name : (long)strlen(name)), name);
    return block;
}

struct kind {
    char name[64];
    uint64_t bytes, weights;
};

static size_t list_kinds(const struct xq_report *r, struct kind *kinds)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_matrices; i++) {
        char name[64];
        size_t k = 0;
        kind_of(r->matrices[i].name, name, sizeof name);
        while (k < n && strcmp(kinds[k].name, name) != 0)
            k++;
        if (k == MOST_KINDS)
            continue;
        if (k == n)
            snprintf(kinds[n++].name, sizeof kinds[0].name, "%s", name);
        kinds[k].bytes += r->matrices[i].bytes;
        kinds[k].weights += (uint64_t)r->matrices[i].rows * r->matrices[i].columns;
    }
    return n;
}

/* Bits per weight of every kind over the blocks, a line each. */
static void put_blocks(FILE *f, const struct xq_report *r, const struct kind *kinds, size_t n_kinds)
{
    long last = 0;
    double top = 1;
    char name[64];
    for (size_t i = 0; i < r->n_matrices; i++) {
        const long block = kind_of(r->matrices[i].name, name, sizeof name);
        last = block > last ? block : last;
        top = bits_of(&r->matrices[i]) > top ? bits_of(&r->matrices[i]) : top;
    }
    const double width = 760, height = 260, left = 40, step = last ? (width - left - 150) / (double)last : 0;
    fprintf(f, "<h2>Bits across weights</h2><p>Bits per weight of each matrix, scales and outliers included, by layer.</p>\n<svg viewBox=\"0 0 %g %g\" role=\"img\">\n", width, height + 40);
    for (int bits = 0; bits <= (int)top + 1; bits++) {
        const double y = height - height * bits / (top + 1);
        fprintf(f, "<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/><text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n", left, width - 150, y, y, left - 6, y + 4, bits);
    }
    for (size_t k = 0; k < n_kinds; k++) {
        fprintf(f, "<g stroke=\"%s\" fill=\"%s\"><polyline fill=\"none\" points=\"", colours[k % COLOURS], colours[k % COLOURS]);
        for (size_t i = 0; i < r->n_matrices; i++) {
            const long block = kind_of(r->matrices[i].name, name, sizeof name);
            if (strcmp(name, kinds[k].name) == 0)
                fprintf(f, "%.1f,%.1f ", left + step * (double)(block < 0 ? 0 : block), height - height * bits_of(&r->matrices[i]) / (top + 1));
        }
        fprintf(f, "\"/><rect x=\"%g\" y=\"%zu\" width=\"10\" height=\"10\"/></g><text x=\"%g\" y=\"%zu\">", width - 140, 4 + 16 * k, width - 125, 13 + 16 * k);
        put_text(f, kinds[k].name, true);
        fprintf(f, "</text>\n");
    }
    fprintf(f, "<text x=\"%g\" y=\"%g\">layer 0 to %ld</text></svg>\n", left, height + 24, last);
}

/* Bars: label, share of the widest, what stands behind it. */
static void put_bar(FILE *f, size_t line, const char *label, double share, const char *after)
{
    fprintf(f, "<text x=\"110\" y=\"%zu\" text-anchor=\"end\">", 15 + 20 * line);
    put_text(f, label, true);
    fprintf(f, "</text><rect x=\"116\" y=\"%zu\" width=\"%.1f\" height=\"14\" fill=\"%s\"/><text x=\"%.1f\" y=\"%zu\">%s</text>\n", 4 + 20 * line, 440 * share, colours[0],
            122 + 440 * share, 15 + 20 * line, after);
}

static void put_depths(FILE *f, const struct xq_report *r)
{
    uint64_t weights[9] = {0}, grouped[9] = {0}, all = 0;
    double most = 0;
    for (size_t i = 0; i < r->n_matrices; i++) {
        for (uint32_t d = 1; d <= 8; d++) {
            weights[d] += r->matrices[i].weights[d];
            grouped[d] += r->matrices[i].grouped[d];
            all += r->matrices[i].weights[d];
        }
    }
    for (uint32_t d = 1; d <= 8; d++)
        most = (double)weights[d] / (double)all > most ? (double)weights[d] / (double)all : most;
    fprintf(f, "<h2>Bits within weights</h2><p>Share of all weights whose column has so many bits; in brackets the part with group scales.</p>\n<svg viewBox=\"0 0 760 170\" role=\"img\">\n");
    for (uint32_t d = 1; d <= 8; d++) {
        char label[32], after[64];
        const double share = (double)weights[d] / (double)all;
        snprintf(label, sizeof label, "%u bit%s", d, d > 1 ? "s" : "");
        snprintf(after, sizeof after, "%.1f %% (%.1f %%)", 100 * share, 100 * (double)grouped[d] / (double)all);
        put_bar(f, d - 1, label, most > 0 ? share / most : 0, after);
    }
    fprintf(f, "</svg><p>Group scales: beside the scale of a row one more for each 32 of its columns.</p>\n");
}

static void put_kinds(FILE *f, const struct kind *kinds, size_t n)
{
    double most = 0;
    for (size_t k = 0; k < n; k++)
        most = (double)kinds[k].bytes > most ? (double)kinds[k].bytes : most;
    fprintf(f, "<h2>What each part costs</h2><p>Bytes of all matrices of a kind, and their bits per weight.</p>\n<svg viewBox=\"0 0 760 %zu\" role=\"img\">\n", 20 * n + 10);
    for (size_t k = 0; k < n; k++) {
        char after[64];
        snprintf(after, sizeof after, "%.2f MB, %.2f bits", (double)kinds[k].bytes / 1e6, 8 * (double)kinds[k].bytes / (double)kinds[k].weights);
        put_bar(f, k, kinds[k].name, (double)kinds[k].bytes / most, after);
    }
    fprintf(f, "</svg>\n");
}

/* ---- HTML ---- */

/* 60000000 as 60,000,000. */
static void put_whole(FILE *f, double number)
{
    char digits[32];
    const int n = snprintf(digits, sizeof digits, "%.0f", number);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%c", i && (n - i) % 3 == 0 ? "," : "", digits[i]);
}

static void put_cell(FILE *f, const struct xq_report_line *line)
{
    if (line->kind == XQ_LINE_TEXT)
        put_text(f, line->text, true);
    for (uint32_t i = 0; line->kind == XQ_LINE_LIST && i < (uint32_t)line->number; i++) {
        fprintf(f, "%s", i ? "<br>" : "");
        put_text(f, line->texts[i], true);
    }
    if (line->kind == XQ_LINE_LIST && !(line->number > 0))
        fprintf(f, "none");
    if (line->kind == XQ_LINE_FLAG)
        fprintf(f, line->number > 0 ? "yes" : "no");
    if (line->kind == XQ_LINE_REAL)
        fprintf(f, "%.5g", line->number);
    if (line->kind == XQ_LINE_WHOLE)
        put_whole(f, line->number);
}

static void put_table(FILE *f, const char *title, const struct xq_report_line *lines, size_t n)
{
    fprintf(f, "<h2>%s</h2><table>\n", title);
    for (size_t i = 0; i < n; i++) {
        if (!has_value(&lines[i]))
            continue;
        fprintf(f, "<tr><td>");
        put_text(f, lines[i].name, true);
        fprintf(f, "</td><td>");
        put_cell(f, &lines[i]);
        fprintf(f, "</td><td class=\"note\">");
        put_text(f, lines[i].note ? lines[i].note : "", true);
        fprintf(f, "</td></tr>\n");
    }
    fprintf(f, "</table>\n");
}

static int by_loss(const void *a, const void *b)
{
    const struct xq_report_matrix *const *x = a, *const *y = b;
    return (*x)->loss < (*y)->loss ? 1 : (*x)->loss > (*y)->loss ? -1 : *x < *y ? -1 : 1;
}

enum { SHOWN_WORST = 20 };

static void put_worst(FILE *f, const struct xq_report *r)
{
    const struct xq_report_matrix **sorted = malloc(r->n_matrices * sizeof *sorted);
    if (!sorted)
        return;
    for (size_t i = 0; i < r->n_matrices; i++)
        sorted[i] = &r->matrices[i];
    qsort(sorted, r->n_matrices, sizeof *sorted, by_loss);
    fprintf(f, "<h2>Where most is lost</h2><p>Loss by the second-order model, of the matrices that lose most. Outliers are single weights far beyond the others of their row: "
               "they are stored by themselves, with 5 bytes each.</p><table><tr><th>matrix</th><th>bits</th><th>outliers</th><th>nats per token</th></tr>\n");
    for (size_t i = 0; i < r->n_matrices && i < SHOWN_WORST; i++) {
        fprintf(f, "<tr><td>");
        put_text(f, sorted[i]->name, true);
        fprintf(f, "</td><td>%.2f</td><td>%u</td><td>%.3g</td></tr>\n", bits_of(sorted[i]), sorted[i]->n_outliers, sorted[i]->loss);
    }
    fprintf(f, "</table>\n");
    free(sorted);
}

static void put_html(FILE *f, const struct xq_report *r)
{
    struct kind kinds[MOST_KINDS] = {0};
    const size_t n_kinds = list_kinds(r, kinds);
    fprintf(f, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>");
    put_text(f, r->out, true);
    fprintf(f, "</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:800px;margin:2em auto;padding:0 1em}svg{width:100%%;font:12px system-ui,sans-serif}"
               ".grid{stroke:#ddd}.note{color:#666;font-size:13px}td{overflow-wrap:anywhere;min-width:5em;vertical-align:top}table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;border-bottom:1px solid #eee}</style>\n<h1>");
    put_text(f, r->out, true);
    fprintf(f, "</h1><p>made from ");
    put_text(f, r->in, true);
    fprintf(f, "</p>\n");
    put_table(f, "Result", r->figures, r->n_figures);
    put_blocks(f, r, kinds, n_kinds);
    put_depths(f, r);
    put_kinds(f, kinds, n_kinds);
    put_worst(f, r);
    put_table(f, "Options", r->options, r->n_options);
    fprintf(f, "</html>\n");
}

static bl_status write_one(const struct xq_report *r, const char *ending, void (*put)(FILE *, const struct xq_report *))
{
    const size_t room = strlen(r->out) + 32;
    char *path = malloc(room), *temporary = malloc(room);
    bl_status status = path && temporary ? BL_OK : BL_ENOMEM;
    FILE *f = NULL;
    if (status == BL_OK) {
        snprintf(path, room, "%s.report.%s", r->out, ending);
        snprintf(temporary, room, "%s.part", path);
        f = fopen(temporary, "w");
    }
    bool good = f != NULL;
    if (f) {
        put(f, r);
        good = !ferror(f);
        good &= fclose(f) == 0;
        good = good && rename(temporary, path) == 0;
        if (!good)
            (void)unlink(temporary);
    }
    if (status == BL_OK && !good)
        status = bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: %s", path, strerror(errno));
    free(path);
    free(temporary);
    return status;
}

bl_status xq_report_write(const struct xq_report *report)
{
    BL_TRY(write_one(report, "json", put_json));
    return write_one(report, "html", put_html);
}
