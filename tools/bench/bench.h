/* bench.h: what the three measurements of `bitloom bench` share: values and how they spread, and the two that have a file of their own. They
 * print their results to standard output, and a line on stderr when they fail. */
#ifndef BL_BENCH_H
#define BL_BENCH_H
#include "common.h"

enum { BENCH_MOST = 100, BENCH_LIST = 16 }; /* repetitions; numbers in a list */

struct spread {
    double mean, deviation, median; /* deviation: of a sample; NAN for a single value */
};
/* Sorts the values; n is 1 or more. */
struct spread bench_spread(double *values, uint32_t n);
/* {"mean": ..., "deviation": ... or null, "median": ...} */
void bench_print_spread(const struct spread *s);
/* "mean +/- deviation median" in columns of 10, 12 and 10 characters; a single value has no +/-. */
void bench_print_columns(const struct spread *s);
/* Programs that wait for a processor, over the last minute: what the figures must be read with. */
double bench_load(void);
/* "4", "1.5,2,4.5" or "1..8" (whole steps), each between 1 and 8: at most BENCH_LIST numbers; false after a line on stderr. */
bool bench_list(const char *text, double *out, uint32_t *n);

/* Seconds for n tokens from an empty sequence, all at once or one by one; negative: failed. */
double bench_forward(bl_model *model, bl_sequence *sequence, uint32_t n, bool at_once);

int bench_kernels(const struct options *o);
int bench_rates(const struct options *o);
#endif
