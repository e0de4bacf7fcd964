/* calibration.c: files -> text -> tokens -> windows. */
#include "compress/calibration.h"

#include "base/error.h"
#include "base/file_map.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "compress/default_text.h"
#include "compress/jsonl.h"
#include "compress/windows.h"

#include <stdlib.h>
#include <string.h>

#define HASH_KEY UINT64_C(0x6269746c6f6f6d31)

/* The tokens of one file and the windows that are taken from it. */
struct source {
    int32_t *tokens;
    uint64_t n_tokens;
    uint32_t available, taken;
};

/* ---- one file ---- */

bl_status xq_check_utf8(const char *path, const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = s[at] ? bl_utf8_valid(s + at, bytes - at) : 0;
        if (!n)
            BL_FAIL(BL_EFORMAT, "%s: byte %zu: this is no text in UTF-8", path, at);
    }
    return BL_OK;
}

static bool is_jsonl(const char *path)
{
    const size_t n = strlen(path);
    return n > 6 && strcmp(path + n - 6, ".jsonl") == 0;
}

static bl_status encode(const bl_tokenizer *tokenizer, const char *name, const char *text, size_t bytes, struct source *s)
{
    size_t n;
    BL_TRY(bl_tokenizer_encode(tokenizer, text, bytes, 0, NULL, 0, &n));
    s->tokens = malloc((n ? n : 1) * sizeof *s->tokens);
    if (!s->tokens)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %zu tokens", name, n);
    s->n_tokens = n;
    return bl_tokenizer_encode(tokenizer, text, bytes, 0, s->tokens, n, &n);
}

static bl_status read_source(const bl_tokenizer *tokenizer, const char *path, struct source *s)
{
    struct bl_file_map *map;
    BL_TRY(bl_file_map_create(path, BL_FILE_MAP, &map));
    const char *text = bl_file_map_data(map);
    size_t bytes = (size_t)bl_file_map_bytes(map);
    char *strings = NULL;
    bl_status status = xq_check_utf8(path, text, bytes);
    if (status == BL_OK && is_jsonl(path)) {
        status = xq_jsonl_texts(path, text, bytes, &strings, &bytes);
        text = strings;
    }
    if (status == BL_OK)
        status = encode(tokenizer, path, text, bytes, s);
    if (status == BL_OK)
        status = bl_file_map_check(map);
    free(strings);
    bl_file_map_destroy(map);
    return status;
}

/* ---- windows ---- */

/* The token that the model puts before every text; -1: none. */
bl_status xq_first_token(const bl_tokenizer *tokenizer, int32_t *out)
{
    int32_t tokens[8];
    size_t n;
    *out = -1;
    BL_TRY(bl_tokenizer_encode(tokenizer, "", 0, BL_TOKENIZE_ADD_SPECIAL, tokens, 8, &n));
    if (n && tokens[0] == bl_tokenizer_special(tokenizer, BL_SPECIAL_BOS))
        *out = tokens[0];
    return BL_OK;
}

/* Shares `wanted` windows out among the sources: all of the short ones, equal parts of the others. */
static uint32_t share_out(struct source *sources, uint32_t n, uint64_t wanted)
{
    uint32_t total = 0;
    for (bool more = true; more && total < wanted;) {
        more = false;
        for (uint32_t i = 0; i < n && total < wanted; i++) {
            if (sources[i].taken < sources[i].available) {
                sources[i].taken++;
                total++;
                more = true;
            }
        }
    }
    return total;
}

static uint64_t distance_of_held(uint64_t of, uint32_t every)
{
    const uint64_t half = of / 2 < 3 ? 3 : of / 2;
    return half < every ? half : every;
}

bool xq_is_held(uint32_t window, uint32_t of, uint32_t every)
{
    const uint64_t distance = distance_of_held(of, every);
    return window % distance == distance / 2;
}

static uint64_t held_of(uint64_t windows, uint32_t every)
{
    const uint64_t distance = distance_of_held(windows, every);
    return (windows + distance - 1 - distance / 2) / distance;
}

uint64_t xq_windows_wanted(uint64_t tokens, uint32_t window, uint32_t every)
{
    const uint64_t windows = (tokens + window - 1) / window;
    uint64_t all = windows + (windows + every - 2) / (every - 1);
    while (all - held_of(all, every) < windows)
        all++;
    return tokens ? all : UINT32_MAX;
}

/* Windows of all sources in turn, some to the held out ones. */
static void cut(const struct source *sources, uint32_t n, int32_t first, struct xq_calibration *c, uint32_t total)
{
    const uint32_t body = c->window - (first >= 0);
    uint32_t done = 0;
    for (uint32_t round = 0; done < total; round++) {
        for (uint32_t i = 0; i < n; i++) {
            const struct source *s = &sources[i];
            if (round >= s->taken)
                continue;
            const bool is_held = xq_is_held(done, total, XQ_HELD_OUT);
            int32_t *to = (is_held ? c->held + (size_t)c->n_held++ * c->window : c->train + (size_t)c->n_train++ * c->window);
            if (first >= 0)
                *to++ = first;
            memcpy(to, s->tokens + (uint64_t)s->available * round / s->taken * body, body * sizeof *to);
            done++;
        }
    }
}

void xq_calibration_hash(struct xq_calibration *c)
{
    const uint64_t hashes[] = {c->window, bl_hash_bytes(HASH_KEY, c->train, (size_t)c->n_train * c->window * sizeof *c->train),
                               bl_hash_bytes(HASH_KEY, c->held, (size_t)c->n_held * c->window * sizeof *c->held)};
    c->hash = bl_hash_bytes(HASH_KEY, hashes, sizeof hashes);
    if (c->train_counts) {
        const uint64_t counts[] = {c->hash, bl_hash_bytes(HASH_KEY, c->train_counts, (size_t)c->n_train * c->window), bl_hash_bytes(HASH_KEY, c->held_counts, (size_t)c->n_held * c->window)};
        c->hash = bl_hash_bytes(HASH_KEY, counts, sizeof counts);
    }
}

static bl_status make_windows(const bl_tokenizer *tokenizer, struct source *sources, uint32_t n, uint64_t tokens, struct xq_calibration *c)
{
    int32_t first;
    BL_TRY(xq_first_token(tokenizer, &first));
    const uint32_t body = c->window - (first >= 0);
    uint64_t all = 0, longest = 0;
    for (uint32_t i = 0; i < n; i++) {
        sources[i].available = (uint32_t)(sources[i].n_tokens / body);
        all += sources[i].available;
        c->available += sources[i].n_tokens;
        longest = sources[i].n_tokens > longest ? sources[i].n_tokens : longest;
    }
    if (!all)
        BL_FAIL(BL_EINVAL, "the calibration text has %llu tokens, a window needs %u", (unsigned long long)longest, body);
    const uint64_t wanted = xq_windows_wanted(tokens, c->window, XQ_HELD_OUT);
    const uint32_t total = share_out(sources, n, wanted);
    c->is_short = tokens && total < wanted;
    c->train = malloc((size_t)total * c->window * sizeof *c->train);
    c->held = malloc((size_t)total * c->window * sizeof *c->held);
    if (!c->train || !c->held)
        BL_FAIL(BL_ENOMEM, "no memory for %u windows of calibration text", total);
    cut(sources, n, first, c, total);
    xq_calibration_hash(c);
    return BL_OK;
}

bl_status xq_calibration_read(const bl_tokenizer *tokenizer, const char *const *paths, uint32_t n_paths, uint32_t window, uint64_t tokens, struct xq_calibration *out)
{
    *out = (struct xq_calibration){.window = window};
    const uint32_t n = n_paths ? n_paths : 1;
    struct source *sources = calloc(n, sizeof *sources);
    if (!sources || window < 2) {
        free(sources);
        BL_FAIL(window < 2 ? BL_EINVAL : BL_ENOMEM, "no windows of %u tokens from %u calibration texts", window, n);
    }
    bl_status status = n_paths ? BL_OK : encode(tokenizer, "the built-in text", xq_default_text, xq_default_text_bytes, &sources[0]);
    for (uint32_t i = 0; i < n_paths && status == BL_OK; i++)
        status = read_source(tokenizer, paths[i], &sources[i]);
    if (status == BL_OK)
        status = make_windows(tokenizer, sources, n, tokens, out);
    for (uint32_t i = 0; i < n; i++)
        free(sources[i].tokens);
    free(sources);
    if (status != BL_OK)
        xq_calibration_free(out);
    return status;
}

void xq_calibration_free(struct xq_calibration *c)
{
    free(c->train);
    free(c->held);
    free(c->train_counts);
    free(c->held_counts);
    *c = (struct xq_calibration){0};
}
