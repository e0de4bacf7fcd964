/* kept_file.c: see kept_file.h. */
#include "base/kept_file.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static bool make_path(const char *folder, const char *name, char path[static PATH_BYTES])
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < PATH_BYTES;
}

/* False, with errno, before the end of what is asked for; of a file that has shrunk, too. */
static bool read_all(int fd, char *to, size_t bytes)
{
    for (size_t n = 0; n < bytes;) {
        ssize_t r = read(fd, to + n, bytes - n);
        if (r == 0)
            errno = EIO;
        if (r <= 0)
            return false;
        n += (size_t)r;
    }
    return true;
}

static bool write_all(int fd, const char *from, size_t bytes)
{
    for (size_t n = 0; n < bytes;) {
        ssize_t w = write(fd, from + n, bytes - n);
        if (w < 0)
            return false;
        n += (size_t)w;
    }
    return fsync(fd) == 0;
}

void *bl_kept_read(const char *folder, const char *name, size_t most_bytes, size_t *bytes)
{
    char path[PATH_BYTES];
    struct stat st;
    if (!make_path(folder, name, path))
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        if (errno != ENOENT)
            bl_log(BL_LOG_WARNING, "%s: left out: %s", path, strerror(errno));
        return NULL;
    }
    const char *wrong = NULL;
    char *data = NULL;
    if (fstat(fd, &st) != 0)
        wrong = "it cannot be read";
    else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        wrong = "not a file of this user alone";
    else if ((uint64_t)st.st_size > most_bytes)
        wrong = "larger than it may be";
    else if (!(data = malloc((size_t)st.st_size + 1)) || !read_all(fd, data, (size_t)st.st_size))
        wrong = "it cannot be read";
    close(fd);
    if (wrong) {
        bl_log(BL_LOG_WARNING, "%s: left out: %s", path, wrong);
        free(data);
        return NULL;
    }
    *bytes = (size_t)st.st_size;
    data[*bytes] = 0;
    return data;
}

/* Each part of the path that is missing, for this user alone. */
static void make_folders(const char *folder)
{
    char path[PATH_BYTES];
    if (!make_path(folder, "", path))
        return;
    for (char *s = path + 1; *s; s++) {
        if (*s != '/')
            continue;
        *s = 0;
        mkdir(path, 0700);
        *s = '/';
    }
}

void bl_kept_write(const char *folder, const char *name, const void *data, size_t bytes)
{
    char path[PATH_BYTES], temporary[PATH_BYTES];
    if (!make_path(folder, name, path) || !make_path(path, "XXXXXX", temporary)) {
        bl_log(BL_LOG_WARNING, "%.100s...: too long for a folder", folder);
        return;
    }
    temporary[strlen(path)] = '-';
    make_folders(folder);
    int fd = mkstemp(temporary); /* 0600 */
    bool ok = fd >= 0 && write_all(fd, data, bytes) && rename(temporary, path) == 0;
    if (!ok)
        bl_log(BL_LOG_INFO, "%s: not kept: %s", path, strerror(errno));
    if (fd >= 0 && !ok)
        unlink(temporary);
    if (fd >= 0)
        close(fd);
}
