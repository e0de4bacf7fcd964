/* specials.c: finding tokens that are written out in a text ("<|im_end|>"). Owns the sorted list of them; knows no merges. */
#include "base/error.h"
#include "text/tokenizer_parts.h"

#include <string.h>

static bool is_special(const bl_tokenizer *t, uint32_t id)
{
    uint8_t type = t->types[id];
    return (type == BL_TOKEN_CONTROL || type == BL_TOKEN_USER_DEFINED || type == BL_TOKEN_UNKNOWN) && t->tokens[id].bytes > 0;
}

static int compare(struct bl_text a, struct bl_text b)
{
    int order = memcmp(a.text, b.text, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static void sift_down(const bl_tokenizer *t, uint32_t at, uint32_t n)
{
    int32_t moved = t->specials[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && compare(t->tokens[t->specials[child + 1]], t->tokens[t->specials[child]]) > 0)
            child++;
        if (compare(t->tokens[t->specials[child]], t->tokens[moved]) <= 0)
            break;
        t->specials[at] = t->specials[child];
    }
    t->specials[at] = moved;
}

/* Heap sort: qsort has no argument for the texts. */
static void sort(const bl_tokenizer *t)
{
    for (uint32_t i = t->n_specials / 2; i-- > 0;)
        sift_down(t, i, t->n_specials);
    for (uint32_t n = t->n_specials; n > 1;) {
        int32_t largest = t->specials[0];
        t->specials[0] = t->specials[--n];
        t->specials[n] = largest;
        sift_down(t, 0, n);
    }
}

bl_status bl_specials_build(bl_tokenizer *t)
{
    for (uint32_t id = 0; id < t->n_tokens; id++)
        t->n_specials += is_special(t, id);
    t->specials = bl_arena_alloc(&t->arena, t->n_specials, sizeof *t->specials);
    if (!t->specials)
        BL_FAIL(BL_ENOMEM, "no memory for %u special tokens", t->n_specials);
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->n_tokens; id++)
        if (is_special(t, id))
            t->specials[n++] = (int32_t)id;
    sort(t);
    for (uint32_t i = 0, byte = 0; byte <= 256; byte++) {
        while (i < t->n_specials && (unsigned char)t->tokens[t->specials[i]].text[0] < byte)
            i++;
        t->special_first[byte] = i;
    }
    return BL_OK;
}

/* The first index in [low, high) whose text, all of which share their first `depth` bytes, goes on with `byte` or more. Texts that end at
 * `depth` come first. */
static uint32_t narrow(const bl_tokenizer *t, uint32_t low, uint32_t high, uint32_t depth, unsigned int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct bl_text text = t->tokens[t->specials[middle]];
        if (text.bytes <= depth || (unsigned char)text.text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int32_t longest_at(const bl_tokenizer *t, const char *text, size_t bytes, bool with_control)
{
    unsigned char first = (unsigned char)text[0];
    uint32_t low = t->special_first[first], high = t->special_first[first + 1];
    int32_t best = -1;
    for (uint32_t depth = 1; low < high; depth++) {
        int32_t id = t->specials[low];
        if (t->tokens[id].bytes == depth && (with_control || t->types[id] == BL_TOKEN_USER_DEFINED))
            best = id;
        if (depth == bytes)
            break;
        unsigned char byte = (unsigned char)text[depth];
        low = narrow(t, low, high, depth, byte);
        high = narrow(t, low, high, depth, byte + 1u);
    }
    return best;
}

bool bl_specials_find(const bl_tokenizer *t, const char *text, size_t bytes, size_t from, bool with_control, size_t *at, int32_t *id)
{
    for (size_t i = from; i < bytes; i++) {
        int32_t found = longest_at(t, text + i, bytes - i, with_control);
        if (found >= 0) {
            *at = i;
            *id = found;
            return true;
        }
    }
    return false;
}
