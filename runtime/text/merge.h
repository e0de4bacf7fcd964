/* merge.h: joining neighbouring symbols, best pair first: the one algorithm behind byte-level BPE and SentencePiece. What a pair is worth
 * comes from a callback. A heap and a linked list: n log n in the length of the word. Owns its buffers, which only grow. */
#ifndef BL_TEXT_MERGE_H
#define BL_TEXT_MERGE_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

struct bl_symbol {
    uint32_t at, bytes;  /* its text in the word; bytes 0: joined into the one before */
    uint32_t prev, next; /* BL_NO_SYMBOL at the ends */
    int32_t id;          /* -1: no token */
};
#define BL_NO_SYMBOL UINT32_MAX

struct bl_candidate { uint32_t priority, left, right, bytes; int32_t id; };

struct bl_merger {
    struct bl_symbol *symbols;
    struct bl_candidate *heap;
    size_t n_symbols, symbols_room, n_heap, heap_room;
};

/* False: the two do not join. Else the joined token and its priority; the smallest is joined first, leftmost among equals. */
typedef bool (*bl_pair_fn)(const void *user, const struct bl_symbol *left, const struct bl_symbol *right, uint32_t *priority, int32_t *id);

/* Starts a word of at most `n_symbols`. */
bl_status bl_merger_begin(struct bl_merger *merger, size_t n_symbols) BL_MUST_USE;
void bl_merger_add(struct bl_merger *merger, uint32_t at, uint32_t bytes, int32_t id);
/* Afterwards symbols[0] and those along `next` are the result. */
bl_status bl_merger_run(struct bl_merger *merger, bl_pair_fn pair, const void *user) BL_MUST_USE;
void bl_merger_finish(struct bl_merger *merger);
#endif
