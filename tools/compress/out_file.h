/* out_file.h: a file that appears under its name only when it is complete and on disk: a temporary name beside it, fsync, rename. Knows no
 * contents. One thread. */
#ifndef XQ_OUT_FILE_H
#define XQ_OUT_FILE_H
#include <bitloom/status.h>
#include <stdbool.h>

/* All zeros: nothing is open. */
struct xq_out_file {
    char *path, *temporary;
    int fd;
};

/* Opens a file and keeps it to this process until it is closed; flags: of open(2). -1: *busy when another process has it, else errno says why. A disk that
 * knows no locks has none. */
int xq_out_lock(const char *path, int flags, bool *busy);

/* BL_EIO with path and reason from all of these; BL_EINVAL where another process is writing the same. */
bl_status xq_out_open(struct xq_out_file *f, const char *path) BL_MUST_USE;
/* The temporary file that another run left goes on; BL_EIO when there is none. */
bl_status xq_out_reopen(struct xq_out_file *f, const char *path) BL_MUST_USE;
/* Whether the disk that the file will be on has room for so many bytes more. */
bl_status xq_out_check_room(const char *path, uint64_t bytes) BL_MUST_USE;
bl_status xq_out_write(const struct xq_out_file *f, const void *data, uint64_t bytes, uint64_t offset) BL_MUST_USE;
/* What was written is on the disk. */
bl_status xq_out_flush(const struct xq_out_file *f) BL_MUST_USE;
/* Flushes; the file gets its name. */
bl_status xq_out_finish(struct xq_out_file *f) BL_MUST_USE;
/* Removes what finish did not complete; may be called at any time, also after it. */
void xq_out_discard(struct xq_out_file *f);
#endif
