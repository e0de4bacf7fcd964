/* out_file.c: temporary name, fsync, rename. */
#include "compress/out_file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LOCK_TRIES = 100 };

/* Another process may have renamed or removed it since it was opened. */
static bool is_current(int fd, const char *path)
{
    struct stat mine, named;
    return fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

int xq_out_lock(const char *path, int flags, bool *busy)
{
    *busy = false;
    for (uint32_t i = 0; i < LOCK_TRIES; i++) {
        const int fd = open(path, flags | O_CLOEXEC, 0666);
        if (fd < 0)
            return -1;
        *busy = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!*busy && is_current(fd, path))
            return fd;
        close(fd);
        if (*busy)
            return -1;
    }
    errno = ENOENT;
    return -1;
}

static bl_status open_part(struct xq_out_file *f, const char *path, int flags)
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
    bool busy;
    f->fd = xq_out_lock(f->temporary, flags | O_WRONLY, &busy);
    if (f->fd >= 0)
        return BL_OK;
    const bl_status status = busy ? bl_error_push(BL_EINVAL, __FILE__, __LINE__, "%s: another process is writing it", path)
                                  : bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: %s", f->temporary, strerror(errno));
    free(f->temporary); /* it is not ours to remove */
    f->temporary = NULL;
    xq_out_discard(f);
    return status;
}

bl_status xq_out_open(struct xq_out_file *f, const char *path)
{
    BL_TRY(open_part(f, path, O_CREAT));
    if (ftruncate(f->fd, 0) == 0)
        return BL_OK;
    const bl_status status = bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: %s", f->temporary, strerror(errno));
    xq_out_discard(f);
    return status;
}

bl_status xq_out_reopen(struct xq_out_file *f, const char *path)
{
    return open_part(f, path, 0);
}

bl_status xq_out_check_room(const char *path, uint64_t bytes)
{
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!folder)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a path", path);
    if (slash)
        slash[slash == folder] = 0;
    struct statvfs disk;
    const bool known = statvfs(slash ? folder : ".", &disk) == 0;
    const uint64_t room = known ? (uint64_t)disk.f_bavail * disk.f_frsize : UINT64_MAX;
    free(folder);
    if (!known)
        BL_FAIL(BL_EIO, "%s: its folder: %s", path, strerror(errno));
    if (room < bytes)
        BL_FAIL(BL_EIO, "%s: needs %llu bytes, %llu bytes are free on its disk", path, (unsigned long long)bytes, (unsigned long long)room);
    return BL_OK;
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

bl_status xq_out_flush(const struct xq_out_file *f)
{
    if (fsync(f->fd) != 0)
        BL_FAIL(BL_EIO, "%s: fsync: %s", f->temporary, strerror(errno));
    return BL_OK;
}

bl_status xq_out_finish(struct xq_out_file *f)
{
    BL_TRY(xq_out_flush(f));
    if (rename(f->temporary, f->path) != 0)
        BL_FAIL(BL_EIO, "%s: rename to %s: %s", f->temporary, f->path, strerror(errno));
    close(f->fd); /* what it holds is on the disk; until then nobody else has the name */
    f->fd = -1;
    free(f->temporary);
    f->temporary = NULL;
    return BL_OK;
}

void xq_out_discard(struct xq_out_file *f)
{
    if (!f->path)
        return;
    if (f->temporary)
        (void)unlink(f->temporary);
    if (f->fd >= 0)
        close(f->fd);
    free(f->temporary);
    free(f->path);
    *f = (struct xq_out_file){0};
}
