/* test_place.c: who takes which layers, against what can be said of every answer; and the file of what was measured, whole, damaged or a
 * stranger's. */
#include "session/cache.h"
#include "session/session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_UNITS = 40 };

/* A unit takes its size on every device, and twice that on device 1. */
static uint64_t cost(void *user, uint32_t device, uint32_t first, uint32_t end)
{
    const uint64_t *size = user;
    uint64_t sum = 0;
    for (uint32_t u = first; u < end; u++)
        sum += size[u] << (device == 1);
    return sum;
}

static uint64_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static uint32_t count(const uint32_t *who, uint32_t n, uint32_t device)
{
    uint32_t found = 0;
    for (uint32_t u = 0; u < n; u++)
        found += who[u] == device;
    return found;
}

/* The units of a device are neighbours, fit, and devices come in their order; the rest is before and after them. */
static void check(const struct bl_place_request *r, const uint32_t *who)
{
    uint32_t first = 0, end = r->n_units;
    while (first < end && who[first] == r->n_devices)
        first++;
    while (end > first && who[end - 1] == r->n_devices)
        end--;
    for (uint32_t u = first; u < end; u++) {
        cr_assert_lt(who[u], r->n_devices);
        cr_assert(u == first || who[u] >= who[u - 1]);
    }
    for (uint32_t d = 0; d < r->n_devices; d++) {
        uint32_t u = first, n = count(who, r->n_units, d);
        while (n && who[u] != d)
            u++;
        cr_assert_leq(r->cost(r->user, d, u, u + n), r->devices[d].room);
    }
    cr_assert(r->rest || (first == 0 && end == r->n_units));
    cr_assert(first == end || (first == 0 && end == r->n_units) || end == r->n_units - 1, "the last layers, without the output");
}

Test(place, random_requests)
{
    uint64_t state = 5, size[MOST_UNITS];
    uint32_t who[MOST_UNITS], fewer[MOST_UNITS], n_placed = 0, n_refused = 0, n_partial = 0;
    for (int round = 0; round < 20000; round++) {
        struct bl_place_device devices[3];
        struct bl_place_request r = {.size = size, .devices = devices, .cost = cost, .user = size, .most = UINT32_MAX};
        r.n_units = (uint32_t)(1 + next(&state) % MOST_UNITS);
        r.n_devices = (uint32_t)(next(&state) % 4);
        r.rest = !r.n_devices || next(&state) % 2;
        r.gpu_layers = next(&state) % 3 ? -1 : (int32_t)(next(&state) % (MOST_UNITS + 2));
        if (r.gpu_layers >= 0)
            r.rest = true;
        for (uint32_t u = 0; u < r.n_units; u++)
            size[u] = 1 + next(&state) % 50;
        for (uint32_t d = 0; d < 3; d++)
            devices[d] = (struct bl_place_device){next(&state) % 4 ? next(&state) % 2000 : UINT64_MAX, 1 + (double)(next(&state) % 20)};
        if (!bl_place(&r, who)) {
            cr_assert(!r.rest || r.gpu_layers > 0);
            n_refused++;
            continue;
        }
        check(&r, who);
        n_placed++;
        uint32_t layers = r.n_units > 2 ? r.n_units - 2 : 0, taken = r.n_units - count(who, r.n_units, r.n_devices);
        if (r.n_devices && r.gpu_layers >= 0)
            cr_assert_eq(taken, (uint32_t)r.gpu_layers > layers ? r.n_units : (uint32_t)r.gpu_layers);
        if (r.gpu_layers < 0 && taken && taken < r.n_units) { /* one layer more would not fit, wherever it is tried */
            n_partial++;
            r.gpu_layers = (int32_t)(taken + 1);
            cr_assert_not(bl_place(&r, fewer));
            r.gpu_layers = -1;
            r.most = taken - 1;
            cr_assert(bl_place(&r, fewer));
            cr_assert_eq(r.n_units - count(fewer, r.n_units, r.n_devices), taken - 1);
        }
    }
    cr_assert(n_placed > 5000 && n_refused > 500 && n_partial > 300, "%u placed, %u refused, %u partial", n_placed, n_refused, n_partial);
}

Test(place, shares_follow_speed)
{
    uint64_t size[32];
    uint32_t who[32];
    struct bl_place_device devices[] = {{UINT64_MAX, 3}, {UINT64_MAX, 1}};
    for (uint32_t u = 0; u < 32; u++)
        size[u] = 10;
    struct bl_place_request r = {.n_units = 32, .size = size, .devices = devices, .n_devices = 2, .gpu_layers = -1, .most = UINT32_MAX, .cost = cost, .user = size};
    cr_assert(bl_place(&r, who));
    cr_assert_eq(count(who, 32, 0), 24);
    devices[0].room = 100; /* what it cannot hold, the other takes */
    cr_assert(bl_place(&r, who));
    cr_assert_eq(count(who, 32, 0), 10);
    cr_assert_eq(count(who, 32, 1), 22);
}

/* ---- the cache ---- */

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bitloom-cache-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    strcat(folder, "/a/b");
}

static void remove_folder(void)
{
    char command[128];
    *strstr(folder, "/a/b") = 0;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(cache, .init = make_folder, .fini = remove_folder);

static const char *file_path(void)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/measured", folder);
    return path;
}

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(file_path(), "wb");
    cr_assert(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
}

Test(cache, keeps_and_replaces)
{
    char value[16];
    cr_assert_not(bl_cache_get(NULL, "a", value, sizeof value));
    cr_assert_not(bl_cache_get(folder, "a", value, sizeof value));
    bl_cache_put(NULL, "a", "1");
    bl_cache_put(folder, "a", "1");
    bl_cache_put(folder, "ab", "2");
    bl_cache_put(folder, "b", "");
    cr_assert(bl_cache_get(folder, "a", value, sizeof value) && strcmp(value, "1") == 0);
    bl_cache_put(folder, "a", "33");
    cr_assert(bl_cache_get(folder, "a", value, sizeof value) && strcmp(value, "33") == 0);
    cr_assert(bl_cache_get(folder, "ab", value, sizeof value) && strcmp(value, "2") == 0);
    cr_assert(bl_cache_get(folder, "b", value, sizeof value) && strcmp(value, "") == 0);
    cr_assert_not(bl_cache_get(folder, "a", value, 2), "no room");
    cr_assert_not(bl_cache_get(folder, "abc", value, sizeof value));
    for (int i = 0; i < 300; i++) { /* never beyond its size, never without the newest */
        char key[320];
        snprintf(key, sizeof key, "a key of 300 bytes, no %-276d", i);
        bl_cache_put(folder, key, "some words");
        cr_assert(i % 10 || bl_cache_get(folder, key, value, sizeof value));
    }
    struct stat st;
    cr_assert_eq(stat(file_path(), &st), 0);
    cr_assert(st.st_size > 100 && st.st_size <= 65536 && (st.st_mode & 0777) == 0600);
}

Test(cache, leaves_out_what_it_did_not_write)
{
    static char large[65537];
    static const char *const bad[] = {"", "\n", "bitloom measured 1", "bitloom measured 2\na\t1\n", "bitloom measured 1\na\t1", "bitloom measured 1\na 1\n",
                                      "bitloom measured 1\na\t1\t2\n", "bitloom measured 1\na\t\x01\n", "bitloom measured 1\n\na\t1\n"};
    char value[16];
    bl_cache_put(folder, "a", "1"); /* makes the folder */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i], strlen(bad[i]));
        cr_assert_not(bl_cache_get(folder, "a", value, sizeof value), "%zu", i);
        bl_cache_put(folder, "b", "2");
        cr_assert(bl_cache_get(folder, "b", value, sizeof value), "%zu", i);
    }
    write_file("bitloom measured 1\na\t1\0\n", 24);
    cr_assert_not(bl_cache_get(folder, "a", value, sizeof value));
    memset(large, 'x', sizeof large);
    memcpy(large, "bitloom measured 1\na\t1\nb\t", 25);
    large[65536] = '\n';
    write_file(large, sizeof large);
    cr_assert_not(bl_cache_get(folder, "a", value, sizeof value));
    large[65535] = '\n';
    write_file(large, sizeof large - 1);
    cr_assert(bl_cache_get(folder, "a", value, sizeof value));
    cr_assert_eq(chmod(file_path(), 0622), 0);
    cr_assert_not(bl_cache_get(folder, "a", value, sizeof value), "others may write it");
    cr_assert_eq(unlink(file_path()), 0);
    cr_assert_eq(symlink("/etc/passwd", file_path()), 0);
    cr_assert_not(bl_cache_get(folder, "root", value, sizeof value));
    bl_cache_put(folder, "a", "5"); /* replaces the link, not what it points at */
    cr_assert(bl_cache_get(folder, "a", value, sizeof value) && strcmp(value, "5") == 0);
    cr_assert_eq(unlink(file_path()), 0);
    cr_assert_eq(mkfifo(file_path(), 0600), 0);
    cr_assert_not(bl_cache_get(folder, "a", value, sizeof value));
}
