/* file_map.c: mapping a file and surviving its truncation. Owns the SIGBUS handler; knows nothing of formats. */
#include "base/file_map.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct bl_file_map {
    void *data;
    uint64_t bytes;
    bool mapped;
    int slot; /* index into `ranges`, -1 when not guarded */
    char path[];
};

/* The handler may run at any moment on any thread, so it reads nothing but these atomics. A slot is published by storing `begin` last and
 * withdrawn by clearing it first. */
#define MAX_GUARDED 64
static struct guarded_range {
    _Atomic uintptr_t begin, end;
    atomic_int damaged;
} ranges[MAX_GUARDED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;
static struct sigaction previous;
static uintptr_t page_mask; /* page size - 1 */

static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < MAX_GUARDED; i++) {
        uintptr_t begin = atomic_load(&ranges[i].begin), end = atomic_load(&ranges[i].end);
        if (begin == 0 || address < begin || address >= end)
            continue;
        atomic_store(&ranges[i].damaged, 1);
        /* All of the rest at once: one fault, not one per page. mmap is a plain system call, safe here in practice. */
        void *page = (void *)(address & ~page_mask);
        int saved = errno;
        void *p = mmap(page, end - (uintptr_t)page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        errno = saved;
        if (p != MAP_FAILED)
            return;
    }
    if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction) {
        previous.sa_sigaction(signal_number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal_number);
    } else {
        signal(SIGBUS, SIG_DFL); /* the faulting instruction runs again and ends the process as it would have */
    }
}

static int guard(void *data, uint64_t bytes)
{
    int slot = -1;
    pthread_mutex_lock(&lock);
    if (!installed) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = on_bus_error;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
        installed = sigaction(SIGBUS, &action, &previous) == 0;
    }
    for (int i = 0; installed && i < MAX_GUARDED; i++) {
        if (atomic_load(&ranges[i].begin) == 0) {
            slot = i;
            atomic_store(&ranges[i].damaged, 0);
            atomic_store(&ranges[i].end, ((uintptr_t)data + (uintptr_t)bytes + page_mask) & ~page_mask);
            atomic_store(&ranges[i].begin, (uintptr_t)data);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return slot;
}

static bl_status read_all(int fd, const char *path, void *data, uint64_t bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, (char *)data + done, (size_t)(bytes - done > (1u << 30) ? (1u << 30) : bytes - done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            BL_FAIL(BL_EIO, "%s: offset %llu: read failed: %s", path, (unsigned long long)done, strerror(errno));
        if (n == 0)
            BL_FAIL(BL_EIO, "%s: offset %llu: end of file, expected %llu bytes", path, (unsigned long long)done, (unsigned long long)bytes);
        done += (uint64_t)n;
    }
    return BL_OK;
}

bl_status bl_file_map_create(const char *path, enum bl_file_mode mode, struct bl_file_map **out)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* NONBLOCK: a FIFO must be refused, not waited for */
    if (fd < 0)
        BL_FAIL(BL_EIO, "%s: cannot open: %s", path, strerror(errno));
    bl_status status = BL_OK;
    struct bl_file_map *map = NULL;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: cannot stat: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = bl_error_push(BL_EIO, __FILE__, __LINE__, "%s: %s, expected a regular file", path,
                               S_ISDIR(info.st_mode) ? "is a directory" : "is not a regular file");
        goto out;
    }
    if (info.st_size <= 0) {
        status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: file is empty", path);
        goto out;
    }
    if ((uint64_t)info.st_size > SIZE_MAX) {
        status = bl_error_push(BL_ELIMIT, __FILE__, __LINE__, "%s: %llu bytes do not fit the address space", path, (unsigned long long)info.st_size);
        goto out;
    }
    size_t path_bytes = strlen(path) + 1;
    map = calloc(1, sizeof *map + path_bytes);
    if (!map) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the file handle", path);
        goto out;
    }
    memcpy(map->path, path, path_bytes);
    map->bytes = (uint64_t)info.st_size;
    map->slot = -1;
    if (mode == BL_FILE_MAP) {
        void *p = mmap(NULL, (size_t)map->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            map->slot = guard(p, map->bytes);
            if (map->slot >= 0) {
                map->data = p;
                map->mapped = true;
            } else { /* no guard to be had: reading is safe, mapping is not */
                munmap(p, (size_t)map->bytes);
            }
        }
    }
    if (!map->mapped) {
        map->data = malloc((size_t)map->bytes);
        if (!map->data) {
            status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %llu bytes", path, (unsigned long long)map->bytes);
            goto out;
        }
        status = read_all(fd, path, map->data, map->bytes);
    }
out:
    close(fd);
    if (status != BL_OK) {
        bl_file_map_destroy(map);
        return status;
    }
    *out = map;
    return BL_OK;
}

void bl_file_map_destroy(struct bl_file_map *map)
{
    if (!map)
        return;
    if (map->mapped) {
        pthread_mutex_lock(&lock);
        atomic_store(&ranges[map->slot].begin, 0);
        pthread_mutex_unlock(&lock);
        munmap(map->data, (size_t)map->bytes);
    } else {
        free(map->data);
    }
    free(map);
}

const void *bl_file_map_data(const struct bl_file_map *map)
{
    return map->data;
}

uint64_t bl_file_map_bytes(const struct bl_file_map *map)
{
    return map->bytes;
}

const char *bl_file_map_path(const struct bl_file_map *map)
{
    return map->path;
}

bool bl_file_map_is_mapped(const struct bl_file_map *map)
{
    return map->mapped;
}

bl_status bl_file_map_check(const struct bl_file_map *map)
{
    if (map->slot >= 0 && atomic_load(&ranges[map->slot].damaged)) {
        struct stat info;
        long long now = stat(map->path, &info) == 0 ? (long long)info.st_size : -1;
        BL_FAIL(BL_EIO, "%s: the file shrank while in use: %llu bytes when opened, %lld now", map->path, (unsigned long long)map->bytes, now);
    }
    return BL_OK;
}
