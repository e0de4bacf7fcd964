/* state.h: what text said about a model, in a file: so that other sizes need no second look at the text, and so that covariances that do not fit in
 * memory together have a place. Owns the file: temporary name, fsync, rename; checksums of everything; its own byte order is the machine's
 * (little endian), for it is no format to hand on. */
#ifndef XQ_STATE_H
#define XQ_STATE_H
#include "compress/calibration.h"
#include "compress/job.h"
#include "compress/work.h"

/* What a state belongs to. */
#define XQ_ANY_OBJECTIVE UINT32_MAX
struct xq_state_key {
    uint64_t model;    /* hash of the model file's bytes */
    uint64_t text;     /* of the windows (calibration.h); 0: whatever a state holds */
    double temper;     /* of the worth of rows */
    uint32_t objective; /* any number; XQ_ANY_OBJECTIVE: whatever a state holds */
};
/* text NULL: any. Reads the whole model file once. */
struct xq_state_key xq_state_key(const struct xq_job *job, const struct xq_calibration *text, double temper);

/* Bytes of its file, about. */
uint64_t xq_state_bytes(const struct xq_job *job);

/* Writing: create; each input once, in any order, on one thread, while its h is there; finish, with worths and tokens as the job has them, and the windows of
 * the text.
 * BL_EIO with path and reason. Nothing appears under `path` before finish has succeeded; destroy removes what is left (NULL is allowed). */
struct xq_state_writer;
bl_status xq_state_create(const char *path, const struct xq_job *job, const struct xq_state_key *key, struct xq_state_writer **out) BL_MUST_USE;
/* Goes on with what another run of create and put left when it was killed, once its head is filled with what that one had after its last flush. */
bl_status xq_state_reopen(const char *path, const struct xq_job *job, const struct xq_state_key *key, struct xq_state_writer **out) BL_MUST_USE;
struct xq_span xq_state_head(struct xq_state_writer *writer);
bl_status xq_state_flush(struct xq_state_writer *writer) BL_MUST_USE;
bl_status xq_state_put(struct xq_state_writer *writer, const struct xq_job *job, uint32_t input) BL_MUST_USE;
bl_status xq_state_finish(struct xq_state_writer *writer, const struct xq_job *job, const struct xq_calibration *text) BL_MUST_USE;
void xq_state_destroy(struct xq_state_writer *writer);
/* All three, for a job whose h are all in memory. */
bl_status xq_state_write(const char *path, const struct xq_job *job, const struct xq_state_key *key, const struct xq_calibration *text) BL_MUST_USE;

/* Reading: open fills in worths and tokens of the job; take loads the h of one input (any thread, one input at a time per input; the caller frees
 * it). BL_EFORMAT: no state, a damaged one, one of another model, text, temper or objective: a line that says which. */
struct xq_state;
bl_status xq_state_open(const char *path, struct xq_job *job, const struct xq_state_key *key, struct xq_state **out) BL_MUST_USE;
bl_status xq_state_take(const struct xq_state *state, struct xq_job *job, uint32_t input) BL_MUST_USE;
/* The text that it was learned from: all windows. The caller frees it. */
bl_status xq_state_text(const struct xq_state *state, const struct xq_job *job, struct xq_calibration *out) BL_MUST_USE;
uint32_t xq_state_objective(const struct xq_state *state);
void xq_state_close(struct xq_state *state);
/* Open, take all, close. */
bl_status xq_state_read(const char *path, struct xq_job *job, const struct xq_state_key *key) BL_MUST_USE;
#endif
