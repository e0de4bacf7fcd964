/* report.h: what a compression did, for people (one HTML file, nothing fetched) and for programs (JSON). Owns the words and the pictures; computes
 * nothing but sums. */
#ifndef XQ_REPORT_H
#define XQ_REPORT_H
#include <bitloom/status.h>
#include <stddef.h>

struct xq_report_matrix {
    const char *name;
    uint32_t rows, columns, n_outliers;
    uint64_t bytes;
    double loss;                     /* nats per token, by the second-order model */
    uint64_t weights[9], grouped[9]; /* per depth */
};
/* A line of the tables of options and of figures. What has no value (text NULL, a number that is none) is null in JSON and left out in HTML. */
enum xq_line_kind { XQ_LINE_TEXT, XQ_LINE_LIST /* of `number` texts */, XQ_LINE_WHOLE, XQ_LINE_REAL, XQ_LINE_FLAG };
struct xq_report_line {
    const char *key;        /* in JSON: never another one for the same */
    const char *name, *note; /* in HTML: a line that explains it, or NULL */
    enum xq_line_kind kind;
    const char *text;
    const char *const *texts;
    double number;
};
struct xq_report {
    const char *in, *out;
    const struct xq_report_line *options, *figures;
    size_t n_options, n_figures;
    const struct xq_report_matrix *matrices;
    size_t n_matrices;
};
/* Writes OUT.report.html and OUT.report.json, each complete or not at all. */
bl_status xq_report_write(const struct xq_report *report) BL_MUST_USE;
#endif
