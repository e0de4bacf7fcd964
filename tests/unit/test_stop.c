/* test_stop.c: stop strings, across every way of cutting the text, against a plain search. */
#include "text/stop.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char out[4096];
static size_t n_out;

/* Feeds `text` in pieces of random length; what was printed is in `out`. True: stopped. */
static bool run(struct bl_stop *stop, const char *text, size_t bytes, uint32_t longest)
{
    const char *shown;
    size_t n;
    n_out = 0;
    bl_stop_reset(stop);
    for (size_t at = 0; at < bytes;) {
        size_t piece = (size_t)rand() % longest + (longest == 1);
        piece = piece > bytes - at ? bytes - at : piece;
        bool stopped = bl_stop_feed(stop, text + at, piece, &shown, &n);
        memcpy(out + n_out, shown, n);
        n_out += n;
        at += piece;
        if (stopped)
            return true;
    }
    bl_stop_finish(stop, &shown, &n);
    memcpy(out + n_out, shown, n);
    n_out += n;
    return false;
}

/* The end of the first stop to be completed, the longest of those that end there; SIZE_MAX: none. */
static size_t search(const char *text, size_t bytes, const char *const *stops, uint32_t n, size_t *begin)
{
    for (size_t end = 1; end <= bytes; end++) {
        size_t best = 0;
        for (uint32_t i = 0; i < n; i++) {
            size_t length = strlen(stops[i]);
            if (length <= end && length > best && memcmp(text + end - length, stops[i], length) == 0)
                best = length;
        }
        if (best) {
            *begin = end - best;
            return end;
        }
    }
    return SIZE_MAX;
}

Test(stop, like_a_plain_search)
{
    static const char *const sets[][3] = {{"aab", "ab", "b"}, {"aaaa", "aab", "abab"}, {"abcabd", "cab", "xyz"}, {"a", "aa", "aaa"}, {"\n\n", "User:", "</s>"}};
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        for (uint32_t n = 0; n <= 3; n++) {
            struct bl_stop *stop;
            cr_assert_eq(bl_stop_create(sets[s], n, &stop), BL_OK);
            for (int round = 0; round < 3000; round++) {
                char text[64];
                size_t bytes = (size_t)rand() % 40, begin = bytes;
                for (size_t i = 0; i < bytes; i++)
                    text[i] = "abcdx\nUser:</>"[rand() % (s == 4 ? 14 : 4)];
                bool is_expected = search(text, bytes, sets[s], n, &begin) != SIZE_MAX;
                cr_assert_eq(run(stop, text, bytes, round % 2 ? 1 : 9), is_expected);
                cr_assert(n_out == begin && memcmp(out, text, begin) == 0, "'%.*s' gave '%.*s'", (int)bytes, text, (int)n_out, out);
            }
            bl_stop_destroy(stop);
        }
    }
}

Test(stop, holds_back_only_what_could_become_a_stop)
{
    static const char *const stops[] = {"<|end|>"};
    struct bl_stop *stop;
    const char *text;
    size_t n;
    cr_assert_eq(bl_stop_create(stops, 1, &stop), BL_OK);
    cr_assert_not(bl_stop_feed(stop, "abc<|", 5, &text, &n));
    cr_assert(n == 3 && memcmp(text, "abc", 3) == 0);
    cr_assert_not(bl_stop_feed(stop, "enx", 3, &text, &n));
    cr_assert(n == 5 && memcmp(text, "<|enx", 5) == 0);
    cr_assert_not(bl_stop_feed(stop, "", 0, &text, &n));
    cr_assert_eq(n, 0);
    cr_assert(bl_stop_feed(stop, "y<|end|>z", 9, &text, &n));
    cr_assert(n == 1 && *text == 'y');
    bl_stop_destroy(stop);
    bl_stop_destroy(NULL);
}

Test(stop, limits)
{
    struct bl_stop *stop;
    char *big = malloc(BL_STOP_BYTES + 2);
    cr_assert_not_null(big);
    memset(big, 'a', BL_STOP_BYTES + 1);
    big[BL_STOP_BYTES + 1] = 0;
    const char *strings[BL_STOP_STRINGS + 1];
    for (uint32_t i = 0; i <= BL_STOP_STRINGS; i++)
        strings[i] = "x";
    cr_assert_eq(bl_stop_create(strings, BL_STOP_STRINGS, &stop), BL_OK);
    bl_stop_destroy(stop);
    cr_assert_eq(bl_stop_create(strings, BL_STOP_STRINGS + 1, &stop), BL_EINVAL);
    strings[1] = big;
    cr_assert_eq(bl_stop_create(strings, 2, &stop), BL_EINVAL);
    cr_assert_null(stop);
    big[BL_STOP_BYTES] = 0;
    cr_assert_eq(bl_stop_create(strings, 2, &stop), BL_OK);
    cr_assert_not(run(stop, big, BL_STOP_BYTES - 1, 50));
    cr_assert_eq(n_out, BL_STOP_BYTES - 1);
    cr_assert(run(stop, big, BL_STOP_BYTES, 50));
    cr_assert_eq(n_out, 0);
    char *piece = calloc(1, BL_STOP_PIECE_BYTES);
    cr_assert_not_null(piece);
    memset(piece, 'b', BL_STOP_PIECE_BYTES);
    const char *text;
    size_t n;
    bl_stop_reset(stop);
    cr_assert_not(bl_stop_feed(stop, big, BL_STOP_BYTES - 1, &text, &n));
    cr_assert_not(bl_stop_feed(stop, piece, BL_STOP_PIECE_BYTES, &text, &n));
    cr_assert_eq(n, BL_STOP_BYTES - 1 + BL_STOP_PIECE_BYTES);
    strings[0] = "";
    cr_assert_eq(bl_stop_create(strings, 1, &stop), BL_EINVAL);
    strings[0] = NULL;
    cr_assert_eq(bl_stop_create(strings, 1, &stop), BL_EINVAL);
    free(piece);
    free(big);
}
