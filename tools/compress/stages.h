/* stages.h: what the stages of a compression share, and what each does. Private to compress.c (their order) and the files of the stages: learn.c,
 * check.c, plan.c, produce.c, search.c, summary.c, dry_run.c. */
#ifndef XQ_STAGES_H
#define XQ_STAGES_H
#include "compress/compress.h"
#include "compress/blas.h"
#include "compress/calibration.h"
#include "compress/capture.h"
#include "compress/gguf_write.h"
#include "compress/report.h"
#include "compress/round.h"
#include "compress/state.h"
#include "compress/work.h"

#define XQ_INPUT 0x80000000u
enum { XQ_KEYS = 6 }; /* of metadata (XQ.md) */
enum { XQ_SLOTS = 2 }; /* of a search, sets of rounded matrices in the work folder: the best try so far stays while another is made */

struct xq_run {
    const struct xq_options *options;
    const struct xq_blas *blas;
    struct xq_job job;
    enum xq_objective objective;
    struct xq_calibration text;
    struct xq_work *kept;
    struct xq_state *state;         /* the one that was given, until all of it is taken; where covariances are that are not in memory; NULL: all are */
    uint64_t learned_key;           /* hash of what was learned */
    uint64_t parameters;
    uint64_t least, most;           /* bytes of the file with 1 bit everywhere; with 8 bits and group scales */
    struct xq_measured *measured;   /* [n_matrices] */
    struct xq_strip *strips;        /* of all matrices, one after the other */
    uint32_t *first_strip;          /* [n_matrices + 1] */
    struct xq_out_tensor *tensors;
    uint32_t *matrix_of_tensor;     /* [n_tensors]; BL_NO_ID: copied; or XQ_INPUT + index */
    uint32_t n_tensors;
    uint32_t *source_of_tensor;
    char (*names)[80];
    struct xq_out_key keys[XQ_KEYS];
    char text_hash[17], input_hash[65]; /* the latter for reports: empty until the first */
    float (*share)[2][9];           /* [n_matrices] what allocation expects: what was measured, in the second round times what rounding lost beyond it */
    struct xq_report_matrix *rows;  /* [n_matrices], of the report */
};

/* Adds to a key of the work folder. */
uint64_t xq_run_key(uint64_t key, const void *data, size_t bytes);

/* ---- check.c: what is refused before anything takes time ---- */

/* Names of files: each that is written is a regular file or none yet, in a folder that can be written to, and no other's. No file is opened. */
bl_status xq_check_names(const struct xq_options *options) BL_MUST_USE;
/* Whether the targets can be met, and the disks have room; after xq_plan_make. */
bl_status xq_check_room(const struct xq_run *w) BL_MUST_USE;
/* Every number of every tensor is finite. Reads the whole model. */
bl_status xq_check_weights(const struct xq_run *w) BL_MUST_USE;

/* ---- plan.c: which file it will be ---- */

/* Lists of tensors and strips, the sizes that are possible; no weight is looked at. */
bl_status xq_plan_make(struct xq_run *w) BL_MUST_USE;
void xq_plan_free(struct xq_run *w);
/* The metadata as it is known by then: of a length that does not change. */
void xq_plan_keys(struct xq_run *w, const struct xq_result *result);
uint64_t xq_plan_target(const struct xq_run *w, const struct xq_target *target);
/* Of the work folder, when it holds most. */
uint64_t xq_plan_work_bytes(const struct xq_run *w);
bl_status xq_plan_check(const struct xq_run *w, uint64_t target) BL_MUST_USE;
/* What the allocation expects of a depth: as measured. */
void xq_plan_expect_measured(struct xq_run *w);
/* As the file did that was rounded last: what each matrix lost (rows[].loss) over what was expected of it. */
void xq_plan_expect_rounded(struct xq_run *w);
/* Depths and outliers for a file of at most `target` bytes, by what is expected: bytes and expected_loss of the result. */
bl_status xq_plan_allocate(struct xq_run *w, uint64_t target, struct xq_result *result) BL_MUST_USE;

/* ---- learn.c: what text and weights say ---- */

enum xq_labels xq_labels_of(const struct xq_run *w);
/* The objective, and the state if one was given. */
bl_status xq_open_state(struct xq_run *w) BL_MUST_USE;
/* To learn from and to judge by. */
bl_status xq_read_text(struct xq_run *w) BL_MUST_USE;
bl_status xq_learn(struct xq_run *w) BL_MUST_USE;
bl_status xq_measure_all(struct xq_run *w) BL_MUST_USE;
/* xq_prepare, with the covariance from where it is. */
bl_status xq_prepare_input(struct xq_run *w, uint32_t input, struct xq_prepared *out) BL_MUST_USE;
/* Of what was measured, in the work folder. */
uint64_t xq_measured_key(const struct xq_run *w);

/* ---- produce.c: one file ---- */

/* Allocates for `target` bytes, rounds, writes, judges on held out text; where options.rounds says so and it promises enough, allocates again by what rounding
 * lost, and takes that file if it costs less there. It gets the name `path` at the end, or with `keep` false is gone again. A result that has been judged
 * is not judged again. slot: of files that are to be in the work folder together each has its own. */
bl_status xq_produce(struct xq_run *w, const char *path, uint64_t target, uint32_t slot, bool keep, struct xq_result *result) BL_MUST_USE;

/* ---- summary.c: what the report says ---- */

/* Seconds of the stages, and of all. */
struct xq_times {
    double learn, measure, round, tune, judge, all;
};
bl_status xq_write_report(struct xq_run *w, const struct xq_target *target, const struct xq_result *result, const struct xq_times *times) BL_MUST_USE;

/* ---- search.c: the size for a loss ---- */

/* The smallest file, within half a percent of its bytes, whose divergence on held out text is at most target->divergence. */
bl_status xq_search(struct xq_run *w, const struct xq_target *target, struct xq_result *result) BL_MUST_USE;

/* ---- dry_run.c: what it would take ---- */

/* Prints sizes, time, memory and disk; after xq_read_text. */
bl_status xq_dry_run(struct xq_run *w) BL_MUST_USE;
#endif
