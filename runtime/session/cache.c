/* cache.c: see cache.h. Owns the file and its form; knows no key and no value. */
#include "session/cache.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_LINE "bitloom measured 1\n"
enum { MOST_BYTES = 65536, PATH_BYTES = 4096 };

static bool make_path(const char *folder, const char *name, char path[static PATH_BYTES])
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return n > 0 && n < PATH_BYTES;
}

/* Every line has a key, one tab and a value, all of it printable. */
static bool well_formed(const char *text, size_t n)
{
    if (n < sizeof FIRST_LINE - 1 || memcmp(text, FIRST_LINE, sizeof FIRST_LINE - 1) != 0 || text[n - 1] != '\n')
        return false;
    uint32_t tabs = 0;
    for (const char *s = text + sizeof FIRST_LINE - 1; s < text + n; s++) {
        if (*s == '\n' && tabs != 1)
            return false;
        tabs = *s == '\n' ? 0 : tabs + (*s == '\t');
        if ((unsigned char)*s < 0x20 && *s != '\n' && *s != '\t')
            return false;
    }
    return true;
}

/* The file as a terminated string, which the caller frees; NULL when there is none, or none that can be believed. */
static char *read_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        if (errno != ENOENT)
            bl_log(BL_LOG_WARNING, "%s: left out: %s", path, strerror(errno));
        return NULL;
    }
    const char *wrong = NULL;
    char *text = malloc(MOST_BYTES + 1);
    ssize_t n = 0;
    if (!text || fstat(fd, &st) != 0)
        wrong = "it cannot be read";
    else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
        wrong = "not a file of this user alone";
    else if (st.st_size > MOST_BYTES)
        wrong = "larger than 64 KiB";
    else if ((n = read(fd, text, MOST_BYTES)) < 0)
        wrong = "it cannot be read";
    else if (!well_formed(text, (size_t)n))
        wrong = "not of the form that is written";
    close(fd);
    if (wrong) {
        bl_log(BL_LOG_WARNING, "%s: left out: %s", path, wrong);
        free(text);
        return NULL;
    }
    text[n] = 0;
    return text;
}

/* The value of a key, up to its newline; NULL if it is not there. */
static char *find(char *text, const char *key)
{
    size_t n = strlen(key);
    for (char *line = text + sizeof FIRST_LINE - 1; *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, key, n) == 0 && line[n] == '\t')
            return line + n + 1;
    return NULL;
}

bool bl_cache_get(const char *folder, const char *key, char *value, size_t bytes)
{
    char path[PATH_BYTES];
    char *text = folder && make_path(folder, "measured", path) ? read_file(path) : NULL;
    char *found = text ? find(text, key) : NULL;
    size_t n = found ? strcspn(found, "\n") : bytes;
    if (n < bytes) {
        memcpy(value, found, n);
        value[n] = 0;
    }
    free(text);
    return n < bytes;
}

/* The old lines but that of `key`, and the new one; when they would be too many, the new one alone. */
static bool write_lines(FILE *f, char *old, const char *key, const char *value)
{
    char *mine = old ? find(old, key) : NULL;
    size_t n_old = old ? strlen(old) : 0;
    fputs(FIRST_LINE, f);
    if (old && n_old + strlen(key) + strlen(value) + 2 <= MOST_BYTES) {
        char *begin = old + sizeof FIRST_LINE - 1, *cut = mine ? mine - strlen(key) - 1 : old + n_old, *after = mine ? strchr(mine, '\n') + 1 : cut;
        fwrite(begin, 1, (size_t)(cut - begin), f);
        fwrite(after, 1, (size_t)(old + n_old - after), f);
    }
    fprintf(f, "%s\t%s\n", key, value);
    return fflush(f) == 0 && !ferror(f);
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

void bl_cache_put(const char *folder, const char *key, const char *value)
{
    char path[PATH_BYTES], temporary[PATH_BYTES];
    if (!folder)
        return;
    if (!make_path(folder, "measured", path) || !make_path(folder, "measured-XXXXXX", temporary)) {
        bl_log(BL_LOG_WARNING, "%.100s...: too long for a folder", folder);
        return;
    }
    make_folders(folder);
    char *old = read_file(path);
    int fd = mkstemp(temporary); /* 0600 */
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f && write_lines(f, old, key, value) && fsync(fd) == 0;
    int error = errno;
    if (f)
        fclose(f);
    else if (fd >= 0)
        close(fd);
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok) {
        bl_log(BL_LOG_INFO, "%s: what was measured is not kept: %s", path, strerror(error));
        if (fd >= 0)
            unlink(temporary);
    }
    free(old);
}
