/* cache.c: see cache.h. Owns the form of the file; knows no key and no value. */
#include "session/cache.h"

#include "base/kept_file.h"
#include "base/log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "measured"
#define FIRST_LINE "bitloom measured 1\n"
enum { MOST_BYTES = 65536 };

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
static char *read_text(const char *folder)
{
    size_t n;
    char *text = bl_kept_read(folder, FILE_NAME, MOST_BYTES, &n);
    if (text && !well_formed(text, n)) {
        bl_log(BL_LOG_WARNING, "%s/%s: left out: not of the form that is written", folder, FILE_NAME);
        free(text);
        return NULL;
    }
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
    char *text = folder ? read_text(folder) : NULL;
    char *found = text ? find(text, key) : NULL;
    size_t n = found ? strcspn(found, "\n") : bytes;
    if (n < bytes) {
        memcpy(value, found, n);
        value[n] = 0;
    }
    free(text);
    return n < bytes;
}

static char *append(char *end, const char *from, size_t n)
{
    memcpy(end, from, n);
    return end + n;
}

/* The old lines but that of `key`, and the new one; when they would be too many, the new one alone. */
void bl_cache_put(const char *folder, const char *key, const char *value)
{
    if (!folder)
        return;
    char *old = read_text(folder), *text = malloc(MOST_BYTES + strlen(key) + strlen(value) + sizeof FIRST_LINE + 2);
    if (text) {
        char *mine = old ? find(old, key) : NULL, *end = append(text, FIRST_LINE, sizeof FIRST_LINE - 1);
        const size_t n_old = old ? strlen(old) : 0;
        if (old && n_old + strlen(key) + strlen(value) + 2 <= MOST_BYTES) {
            const char *begin = old + sizeof FIRST_LINE - 1, *cut = mine ? mine - strlen(key) - 1 : old + n_old, *after = mine ? strchr(mine, '\n') + 1 : cut;
            end = append(end, begin, (size_t)(cut - begin));
            end = append(end, after, (size_t)(old + n_old - after));
        }
        end = append(end, key, strlen(key));
        *end++ = '\t';
        end = append(end, value, strlen(value));
        *end++ = '\n';
        bl_kept_write(folder, FILE_NAME, text, (size_t)(end - text));
    }
    free(text);
    free(old);
}
