/* work.h: the folder beside an output in which a compression keeps what it has done, so that one that was killed goes on where it was. Owns the
 * files' heads, checksums and names; knows nothing of what they hold. Every file appears complete or not at all (out_file.h), and carries a
 * key: what another input or other options have left is not used. Threads may save and load files of different names. */
#ifndef XQ_WORK_H
#define XQ_WORK_H
#include <bitloom/status.h>
#include <stdbool.h>

/* Memory that goes into a file, or comes out of it. */
struct xq_span {
    void *data;
    uint64_t bytes;
};
struct xq_work;

/* Touches nothing yet. path NULL: nothing is kept and nothing found. */
bl_status xq_work_open(const char *path, bool quiet, struct xq_work **out) BL_MUST_USE;
/* Makes the folder, and keeps it to this process until it is closed. BL_EINVAL: another one has it. */
bl_status xq_work_lock(struct xq_work *work) BL_MUST_USE;
/* remove: all that it holds goes, with the folder, if it is locked. NULL is allowed. */
void xq_work_close(struct xq_work *work, bool remove);
/* BL_EIO with path and reason. */
bl_status xq_work_save(struct xq_work *work, const char *name, uint64_t key, const struct xq_span *spans, uint32_t n) BL_MUST_USE;
/* Bytes that were saved; 0: nothing, or not under this key, or damaged. The first file of another key is said in a line on stderr. */
uint64_t xq_work_bytes(struct xq_work *work, const char *name, uint64_t key);
/* Fills the first bytes of what was saved into the spans, or touches nothing: when there is nothing, or less. */
bool xq_work_load(struct xq_work *work, const char *name, uint64_t key, const struct xq_span *spans, uint32_t n);
/* Where a file of this name is or would be (for files with checksums of their own), of a locked folder; NULL with an error. Freed by the caller. */
char *xq_work_path(struct xq_work *work, const char *name);
/* A file that is no longer needed. */
void xq_work_drop(struct xq_work *work, const char *name);
/* Whether there is a folder at all. */
bool xq_work_keeps(const struct xq_work *work);
#endif
