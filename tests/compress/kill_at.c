/* kill_at.c: loaded before a program (LD_PRELOAD): kills it at the KILL_AT-th call that changes a file, half of a write done, as a power cut would.
 * Without KILL_AT it only counts; the count goes to the file KILL_COUNT. FREE_BYTES: what every disk has left. */
#undef _FILE_OFFSET_BITS /* pwrite and pwrite64 are two functions here */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic long calls;

static int is_last(void)
{
    const char *at = getenv("KILL_AT");
    return ++calls == (at ? atol(at) : -1);
}

static void end(void)
{
    (void)raise(SIGKILL);
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("KILL_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "%ld\n", (long)calls);
        fclose(f);
    }
}

#define SEEN __attribute__((visibility("default")))
#define NEXT(name) __typeof__(&name) next; *(void **)&next = dlsym(RTLD_NEXT, #name)

#define WRITE(name, offset_type)                                              \
    ssize_t name(int fd, const void *data, size_t n, offset_type at);         \
    SEEN ssize_t name(int fd, const void *data, size_t n, offset_type at)     \
    {                                                                         \
        NEXT(name);                                                           \
        if (is_last()) {                                                      \
            (void)next(fd, data, n / 2, at);                                  \
            end();                                                            \
        }                                                                     \
        return next(fd, data, n, at);                                         \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

#define CALL(name, parameters, arguments)                                     \
    int name parameters;                                                      \
    SEEN int name parameters                                                  \
    {                                                                         \
        NEXT(name);                                                           \
        if (is_last())                                                        \
            end();                                                            \
        return next arguments;                                                \
    }
#define DISK(name)                                                            \
    int name(const char *path, struct name *disk);                            \
    SEEN int name(const char *path, struct name *disk)                        \
    {                                                                         \
        NEXT(name);                                                           \
        const int result = next(path, disk);                                  \
        if (result == 0 && getenv("FREE_BYTES")) {                            \
            disk->f_frsize = 1;                                               \
            disk->f_bavail = strtoul(getenv("FREE_BYTES"), NULL, 10);         \
        }                                                                     \
        return result;                                                        \
    }
DISK(statvfs)
DISK(statvfs64)
CALL(fsync, (int fd), (fd))
CALL(rename, (const char *from, const char *to), (from, to))
CALL(mkdir, (const char *path, mode_t mode), (path, mode))
CALL(unlink, (const char *path), (path))
CALL(unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
CALL(rmdir, (const char *path), (path))
