/* progress.h: how far a stage is, on stderr: a bar with the time that is left on a terminal, one line when a stage is done otherwise; nothing when
 * quiet. One stage at a time; step may be called from any thread. */
#ifndef XQ_PROGRESS_H
#define XQ_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

/* name: a word or two that lives until the end. total: units of work, any that add up. */
void xq_stage_begin(const char *name, uint64_t total, bool quiet);
void xq_stage_step(uint64_t units);
/* So many units were done before the stage began. */
void xq_stage_skip(uint64_t units);
/* Returns the seconds that the stage took. note: what came of it, or NULL. */
double xq_stage_end(const char *note);
/* Seconds of a clock that only goes forward. */
double xq_now(void);
/* Of all stages of that name which have ended. */
double xq_stage_seconds(const char *name);
#endif
