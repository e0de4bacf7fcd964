/* stop.c: stop strings in a stream of pieces, by one Knuth-Morris-Pratt automaton per string. Knows no tokens. */
#include "text/stop.h"

#include "base/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct pattern {
    uint32_t bytes, matched; /* how much of it the stream's last bytes are */
    unsigned char text[BL_STOP_BYTES];
    uint16_t fallback[BL_STOP_BYTES]; /* [i]: the longest proper prefix that also ends at i */
};

struct bl_stop {
    uint32_t n_patterns;
    size_t held_at, n_held; /* in `buffer`: text that could still become a stop */
    char buffer[BL_STOP_BYTES + BL_STOP_PIECE_BYTES];
    struct pattern patterns[];
};

static void prepare(struct pattern *p, const char *text, size_t bytes)
{
    memcpy(p->text, text, bytes);
    p->bytes = (uint32_t)bytes;
    uint32_t k = 0;
    for (uint32_t i = 1; i < p->bytes; i++) {
        while (k > 0 && p->text[i] != p->text[k])
            k = p->fallback[k - 1];
        k += p->text[i] == p->text[k];
        p->fallback[i] = (uint16_t)k;
    }
}

bl_status bl_stop_create(const char *const *strings, uint32_t n_strings, struct bl_stop **out)
{
    *out = NULL;
    if (n_strings > BL_STOP_STRINGS)
        BL_FAIL(BL_EINVAL, "stop strings: got %u, limit %u", n_strings, BL_STOP_STRINGS);
    for (uint32_t i = 0; i < n_strings; i++) {
        size_t bytes = strings[i] ? strlen(strings[i]) : 0;
        if (bytes == 0 || bytes > BL_STOP_BYTES)
            BL_FAIL(BL_EINVAL, "length of stop string %u: got %zu, limit 1 to %u", i, bytes, BL_STOP_BYTES);
    }
    struct bl_stop *stop = calloc(1, sizeof *stop + n_strings * sizeof stop->patterns[0]);
    if (!stop)
        BL_FAIL(BL_ENOMEM, "no memory for %u stop strings", n_strings);
    stop->n_patterns = n_strings;
    for (uint32_t i = 0; i < n_strings; i++)
        prepare(&stop->patterns[i], strings[i], strlen(strings[i]));
    *out = stop;
    return BL_OK;
}

void bl_stop_destroy(struct bl_stop *stop)
{
    free(stop);
}

/* Bytes that the longest completed string takes; 0 if none is. */
static uint32_t advance(struct bl_stop *stop, unsigned char byte)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < stop->n_patterns; i++) {
        struct pattern *p = &stop->patterns[i];
        while (p->matched > 0 && p->text[p->matched] != byte)
            p->matched = p->fallback[p->matched - 1];
        p->matched += p->text[p->matched] == byte;
        if (p->matched == p->bytes && p->bytes > longest)
            longest = p->bytes;
    }
    return longest;
}

bool bl_stop_feed(struct bl_stop *stop, const char *piece, size_t piece_bytes, const char **text, size_t *bytes)
{
    assert(piece_bytes <= BL_STOP_PIECE_BYTES);
    memmove(stop->buffer, stop->buffer + stop->held_at, stop->n_held); /* over what the last call gave out, which ends here */
    stop->held_at = 0;
    size_t total = stop->n_held + piece_bytes;
    if (piece_bytes)
        memcpy(stop->buffer + stop->n_held, piece, piece_bytes);
    *text = stop->buffer;
    for (size_t i = stop->n_held; i < total; i++) {
        uint32_t stopped = advance(stop, (unsigned char)stop->buffer[i]);
        if (stopped) {
            *bytes = i + 1 - stopped;
            stop->n_held = 0;
            return true;
        }
    }
    size_t held = 0;
    for (uint32_t i = 0; i < stop->n_patterns; i++)
        if (stop->patterns[i].matched > held)
            held = stop->patterns[i].matched;
    *bytes = stop->held_at = total - held;
    stop->n_held = held;
    return false;
}

void bl_stop_finish(struct bl_stop *stop, const char **text, size_t *bytes)
{
    *text = stop->buffer + stop->held_at;
    *bytes = stop->n_held;
    stop->n_held = 0;
}

void bl_stop_reset(struct bl_stop *stop)
{
    stop->held_at = stop->n_held = 0;
    for (uint32_t i = 0; i < stop->n_patterns; i++)
        stop->patterns[i].matched = 0;
}
