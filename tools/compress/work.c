/* work.c: files of one head and what follows it. */
#include "compress/work.h"

#include "base/error.h"
#include "base/file_map.h"
#include "base/hash.h"
#include "compress/out_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK "lock"
#define MAGIC 0x57584c42u /* "BLXW" */
enum { VERSION = 2, PART = 1 << 20 /* bytes of which each has a place in the checksum's chain */, LOCK_TRIES = 100 };
/* What the folder's files are called; what has another name is not ours to remove. */
static const char *const names[] = {"sums", "learned", "measured-", "matrix-", "gains-", "try-", "best", LOCK};

struct head {
    uint32_t magic, version;
    uint64_t key, bytes, checksum; /* of what follows, and of the key */
};
struct xq_work {
    char *path;
    bool quiet;
    int lock;             /* -1: not locked */
    struct timespec begun;
    _Atomic bool said;
};

bl_status xq_work_open(const char *path, bool quiet, struct xq_work **out)
{
    struct xq_work *w = calloc(1, sizeof *w);
    *out = w;
    if (w && path)
        w->path = strdup(path);
    if (!w || (path && !w->path)) {
        free(w);
        *out = NULL;
        BL_FAIL(BL_ENOMEM, "no memory for the name of a work folder");
    }
    w->lock = -1;
    w->quiet = quiet;
    clock_gettime(CLOCK_REALTIME, &w->begun);
    return BL_OK;
}

bool xq_work_keeps(const struct xq_work *w)
{
    return w->path != NULL;
}

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void remove_all(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));)
        if (is_ours(e->d_name))
            (void)unlinkat(dirfd(folder), e->d_name, 0);
    if (folder)
        closedir(folder);
    (void)rmdir(path);
}

void xq_work_close(struct xq_work *w, bool remove)
{
    if (!w)
        return;
    if (remove && w->lock >= 0)
        remove_all(w->path);
    if (w->lock >= 0)
        close(w->lock);
    free(w->path);
    free(w);
}

static char *join(const struct xq_work *w, const char *name)
{
    const size_t room = strlen(w->path) + strlen(name) + 2;
    char *path = malloc(room);
    if (path)
        snprintf(path, room, "%s/%s", w->path, name);
    return path;
}

char *xq_work_path(struct xq_work *w, const char *name)
{
    char *path = join(w, name);
    if (!path)
        (void)bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for a name", w->path);
    return path;
}

bl_status xq_work_lock(struct xq_work *w)
{
    if (!w->path)
        return BL_OK;
    char *path = xq_work_path(w, LOCK);
    if (!path)
        return BL_ENOMEM;
    bool busy = false;
    int fd = -1, reason = ENOENT;
    for (uint32_t i = 0; fd < 0 && !busy && reason == ENOENT && i < LOCK_TRIES; i++) { /* another process may just have removed the folder */
        if (mkdir(w->path, 0777) == 0 || errno == EEXIST)
            fd = xq_out_lock(path, O_CREAT | O_RDWR, &busy);
        reason = errno;
    }
    w->lock = fd;
    free(path);
    if (busy)
        BL_FAIL(BL_EINVAL, "%s: another compression uses this folder", w->path);
    if (fd < 0)
        BL_FAIL(BL_EIO, "%s: %s", w->path, strerror(reason));
    return BL_OK;
}

void xq_work_drop(struct xq_work *w, const char *name)
{
    char *path = w->path ? join(w, name) : NULL;
    if (path)
        (void)unlink(path);
    free(path);
}

/* ---- writing ---- */

/* Spans become parts of equal length, whatever the spans were: so that their checksum is one of the bytes alone. */
struct parts {
    const struct xq_out_file *file;
    uint8_t *data;
    uint64_t used, at, checksum;
};

static bl_status flush(struct parts *p)
{
    if (!p->used)
        return BL_OK;
    p->checksum = bl_hash_bytes(p->checksum, p->data, (size_t)p->used);
    const uint64_t bytes = p->used, at = p->at;
    p->at += bytes;
    p->used = 0;
    return xq_out_write(p->file, p->data, bytes, at);
}

static bl_status add(struct parts *p, const struct xq_span *span)
{
    const uint8_t *from = span->data;
    for (uint64_t left = span->bytes; left;) {
        const uint64_t n = left < PART - p->used ? left : PART - p->used;
        memcpy(p->data + p->used, from, (size_t)n);
        p->used += n;
        from += n;
        left -= n;
        if (p->used == PART)
            BL_TRY(flush(p));
    }
    return BL_OK;
}

static bl_status write_parts(struct xq_out_file *file, uint64_t key, const struct xq_span *spans, uint32_t n)
{
    struct parts p = {file, malloc(PART), 0, sizeof(struct head), key};
    if (!p.data)
        BL_FAIL(BL_ENOMEM, "%s: no memory to write", file->path);
    bl_status status = BL_OK;
    for (uint32_t i = 0; i < n && status == BL_OK; i++)
        status = add(&p, &spans[i]);
    if (status == BL_OK)
        status = flush(&p);
    free(p.data);
    const struct head head = {MAGIC, VERSION, key, p.at - sizeof head, p.checksum};
    if (status == BL_OK)
        status = xq_out_write(file, &head, sizeof head, 0);
    return status == BL_OK ? xq_out_finish(file) : status;
}

bl_status xq_work_save(struct xq_work *w, const char *name, uint64_t key, const struct xq_span *spans, uint32_t n)
{
    if (!w->path)
        return BL_OK;
    char *path = xq_work_path(w, name);
    if (!path)
        return BL_EIO;
    struct xq_out_file file;
    bl_status status = xq_out_open(&file, path);
    free(path);
    if (status == BL_OK)
        status = write_parts(&file, key, spans, n);
    xq_out_discard(&file);
    return status;
}

/* ---- reading ---- */

static uint64_t checksum_of(const struct head *h, const uint8_t *data)
{
    uint64_t checksum = h->key;
    for (uint64_t at = 0; at < h->bytes; at += PART)
        checksum = bl_hash_bytes(checksum, data + at, (size_t)(h->bytes - at < PART ? h->bytes - at : PART));
    return checksum;
}

/* Left by another run; what this one replaces is no news. */
static bool is_older(const struct xq_work *w, const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && (s.st_mtim.tv_sec != w->begun.tv_sec ? s.st_mtim.tv_sec < w->begun.tv_sec : s.st_mtim.tv_nsec < w->begun.tv_nsec);
}

/* NULL: nothing that could be used. */
static struct bl_file_map *open_file(struct xq_work *w, const char *name, uint64_t key)
{
    struct bl_file_map *map = NULL;
    char *path = w->path ? join(w, name) : NULL;
    if (path && access(path, R_OK) == 0 && bl_file_map_create(path, BL_FILE_MAP, &map) != BL_OK)
        bl_errors_clear();
    const bool older = map && is_older(w, path);
    free(path);
    if (!map)
        return NULL;
    const struct head *h = bl_file_map_data(map);
    const bool whole = bl_file_map_bytes(map) >= sizeof *h && h->magic == MAGIC && h->version == VERSION && h->bytes == bl_file_map_bytes(map) - sizeof *h;
    if (whole && older && h->key != key && !atomic_exchange(&w->said, true)) {
        if (!w->quiet)
            fprintf(stderr, "%s: of another input or other options: '%s' is not used\n", w->path, name);
    }
    if (whole && h->key == key && h->checksum == checksum_of(h, (const uint8_t *)(h + 1)))
        return map;
    bl_file_map_destroy(map);
    return NULL;
}

uint64_t xq_work_bytes(struct xq_work *w, const char *name, uint64_t key)
{
    struct bl_file_map *map = open_file(w, name, key);
    const uint64_t bytes = map ? bl_file_map_bytes(map) - sizeof(struct head) : 0;
    if (map)
        bl_file_map_destroy(map);
    return bytes;
}

bool xq_work_load(struct xq_work *w, const char *name, uint64_t key, const struct xq_span *spans, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += spans[i].bytes;
    struct bl_file_map *map = open_file(w, name, key);
    if (!map)
        return false;
    const bool enough = bl_file_map_bytes(map) - sizeof(struct head) >= bytes;
    const uint8_t *from = (const uint8_t *)bl_file_map_data(map) + sizeof(struct head);
    for (uint32_t i = 0; enough && i < n; i++) {
        if (spans[i].bytes)
            memcpy(spans[i].data, from, (size_t)spans[i].bytes);
        from += spans[i].bytes;
    }
    bl_file_map_destroy(map);
    return enough;
}
