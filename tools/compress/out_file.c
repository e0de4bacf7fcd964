/* out_file.c: temporary name, fsync, rename. */
#include "compress/out_file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bl_status xq_out_open(struct xq_out_file *f, const char *path)
{
    const size_t room = strlen(path) + 8;
    *f = (struct xq_out_file){strdup(path), malloc(room), -1};
    if (!f->path || !f->temporary) {
        free(f->temporary);
        f->temporary = NULL;
        xq_out_discard(f);
        BL_FAIL(BL_ENOMEM, "%s: no memory for its name", path);
    }
    snprintf(f->temporary, room, "%s.part", path);
    f->fd = open(f->temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    if (f->fd >= 0)
        return BL_OK;
    const bl_status status = bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: %s", f->temporary, strerror(errno));
    free(f->temporary); /* it is not ours to remove */
    f->temporary = NULL;
    xq_out_discard(f);
    return status;
}

bl_status xq_out_write(const struct xq_out_file *f, const void *data, uint64_t bytes, uint64_t offset)
{
    const uint8_t *p = data;
    while (bytes) {
        const ssize_t n = pwrite(f->fd, p, bytes > 1u << 30 ? 1u << 30 : (size_t)bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            BL_FAIL(BL_EIO, "%s: writing at %llu: %s", f->temporary, (unsigned long long)offset, n < 0 ? strerror(errno) : "nothing was taken");
        p += n;
        bytes -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return BL_OK;
}

bl_status xq_out_finish(struct xq_out_file *f)
{
    if (fsync(f->fd) != 0)
        BL_FAIL(BL_EIO, "%s: fsync: %s", f->temporary, strerror(errno));
    const int fd = f->fd;
    f->fd = -1;
    if (close(fd) != 0)
        BL_FAIL(BL_EIO, "%s: close: %s", f->temporary, strerror(errno));
    if (rename(f->temporary, f->path) != 0)
        BL_FAIL(BL_EIO, "%s: rename to %s: %s", f->temporary, f->path, strerror(errno));
    free(f->temporary);
    f->temporary = NULL;
    return BL_OK;
}

void xq_out_discard(struct xq_out_file *f)
{
    if (!f->path)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->temporary)
        (void)unlink(f->temporary);
    free(f->temporary);
    free(f->path);
    *f = (struct xq_out_file){0};
}
