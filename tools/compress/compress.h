/* compress.h: the whole of a compression: open, measure, allocate, round, write. What the verb calls. */
#ifndef XQ_COMPRESS_H
#define XQ_COMPRESS_H
#include <bitloom/status.h>
#include <stdbool.h>

/* xq: learned depths. gptq: one depth for all columns, error feedback in the order of falling power, levels equally far apart; rtn: the same
 * without feedback. Both keep to the container, so that a user can compare. */
enum xq_method { XQ_METHOD_XQ, XQ_METHOD_GPTQ, XQ_METHOD_RTN };

/* What is to stay small: KL divergence to the original's answers; the loss of the text's own tokens; the loss of right answers to questions. All are 0
 * for a file that computes the same. OF_STATE: what the state was learned for. */
enum xq_objective { XQ_OBJECTIVE_KLD, XQ_OBJECTIVE_PPL, XQ_OBJECTIVE_TASK, XQ_OBJECTIVES, XQ_OBJECTIVE_OF_STATE = XQ_OBJECTIVES };
const char *xq_objective_name(enum xq_objective objective);

struct xq_target {
    const char *out;
    uint64_t size;          /* bytes of the whole file at most; 0: bits_per_weight says */
    double bits_per_weight; /* of the whole file, over all parameters */
    double divergence;      /* not 0: the smallest file whose divergence on held out text is at most this */
};
struct xq_options {
    const char *in;
    const struct xq_target *targets; /* several files from one learning */
    uint32_t n_targets;
    enum xq_method method;
    uint32_t depth;         /* of the other methods */
    bool grouped;           /* of the other methods: a scale for every 32 columns of a row */
    uint32_t shared;        /* blocks of 32 columns that have equal ones: 1, 2 or 4 */
    enum xq_objective objective;
    const char *questions;  /* of the objective `task`: a .jsonl file (jsonl.h), in place of texts */
    uint32_t threads;
    const char *const *calibration; /* paths of texts; none: the built-in one */
    uint32_t n_calibration;
    uint64_t calibration_tokens;    /* about; 0: all */
    const char *state;      /* what was learned before, in place of learning, with the text to judge by: texts or questions, if there are, must be the same; NULL: learn */
    const char *save_state; /* where to keep it; NULL: nowhere */
    const char *picture;    /* the caller's, written after all: its name is checked with the others; NULL: none */
    const char *work;       /* folder that keeps what is done until all of it is, so that the same call goes on after a kill; NULL: nothing is kept */
    double checkpoint;      /* seconds between two times that sums are kept while learning; 0: after every window */
    uint64_t ram;           /* bytes that capturing may take; 0: no bound. What does not fit goes through the work folder */
    double damp;            /* of the covariances, in units of the mean of their diagonal */
    double temper;          /* power of a token's probability in the worth of its row */
    bool feedback;
    uint32_t sweeps;
    uint32_t rounds;        /* 1, or 2: where it promises enough, allocate again by what the first round lost, and take the better file */
    double worth_a_round;   /* what it may promise at most, of the first round's loss */
    uint32_t tune_windows;  /* of the text, that norms are trained on once all is rounded; kept if the cost falls. 0: they stay as they were */
    bool quick;             /* as the caller calls it: for the report alone */
    bool quiet;
    bool dry_run;           /* print what it would take, and write nothing */
    bool report;            /* OUT.report.html and .json */
};
struct xq_result {
    uint64_t bytes, parameters;
    double expected_loss, loss; /* nats per token by the second-order model: as allocated, as rounded */
    bool is_judged;
    uint32_t round;         /* of allocation that it is from: 1 or 2; 0: not known yet */
    double first_cost;      /* of the first round's, where there was another */
    enum { XQ_TUNE_NOT_TRIED, XQ_TUNE_NO_BETTER, XQ_TUNE_KEPT } tuned;
    double untuned_cost, untuned_divergence; /* where it was tried */
    double divergence, divergence_error, nll_ratio, same_top; /* on held out text, where it counts; the error is NAN where one window is not enough to know it */
    double nll, original_nll;     /* there: of the text's own tokens, nats each */
    uint64_t held_tokens;         /* that these are means over */
    uint32_t held_windows;
    double cost;            /* of the objective, there: nats per token */
};
/* " +/- 0.01", or nothing where no error is known; returns `text`. */
const char *xq_error_text(double error, char text[32]);
/* results: [n_targets]. Files that are complete stay when a later one fails. */
bl_status xq_compress(const struct xq_options *options, struct xq_result *results) BL_MUST_USE;
#endif
