/* learn.h: all that is learned of a job in one call: text, statistics, the file that keeps them. What a compression calls. */
#ifndef XQ_LEARN_H
#define XQ_LEARN_H
#include "compress/capture.h"
#include "compress/state.h"

struct xq_learn_options {
    const char *const *texts;   /* files (calibration.h); none: the built-in text */
    uint32_t n_texts, threads;
    uint64_t tokens;            /* to learn from, about; 0: all */
    uint64_t ram;               /* bytes; 0: no bound */
    double temper;              /* of the worth of rows (capture.h) */
    const char *state;          /* path or NULL. If the file is there, it is read instead of learning, or refused; else it is written */
    void (*progress)(void *user, uint32_t done, uint32_t all); /* windows; may be NULL */
    void *user;
};
struct xq_learned {
    struct xq_calibration text; /* its held out windows are for divergence.h */
    struct xq_captured captured; /* zeros when a state was read */
    struct xq_state *state;     /* where h are that are not in memory; NULL: all are */
};

/* The job's worths and tokens are filled in afterwards. Its h are, too, unless `state` was given: then each is where it is asked for by
 * xq_learned_take. xq_learned_free also after a failure. */
bl_status xq_learn(struct xq_job *job, const struct xq_blas *blas, const struct xq_learn_options *options, struct xq_learned *out) BL_MUST_USE;
void xq_learned_free(struct xq_learned *learned);
/* Before and after work on an input: its h is there in between. Different inputs from any threads. */
bl_status xq_learned_take(const struct xq_learned *learned, struct xq_job *job, uint32_t input) BL_MUST_USE;
void xq_learned_drop(const struct xq_learned *learned, struct xq_job *job, uint32_t input);
#endif
