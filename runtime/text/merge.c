/* merge.c: see merge.h. Knows no vocabulary. */
#include "text/merge.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdlib.h>

static bl_status grow(void **array, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return BL_OK;
    uint64_t want = need > 32 ? need : 32, bytes;
    if (want < *room + (uint64_t)*room / 2)
        want = *room + (uint64_t)*room / 2;
    void *grown = bl_ck_mul(want, size, &bytes) && bytes <= SIZE_MAX ? realloc(*array, (size_t)bytes) : NULL;
    if (!grown)
        BL_FAIL(BL_ENOMEM, "no memory to tokenize a word of %llu symbols", (unsigned long long)need);
    *array = grown;
    *room = (size_t)want;
    return BL_OK;
}

bl_status bl_merger_begin(struct bl_merger *m, size_t n_symbols)
{
    m->n_symbols = m->n_heap = 0;
    void *symbols = m->symbols, *heap = m->heap;
    bl_status status = grow(&symbols, &m->symbols_room, n_symbols, sizeof *m->symbols);
    m->symbols = symbols;
    /* Every join takes one candidate off the heap and puts at most two on: twice the symbols is always enough. */
    if (status == BL_OK)
        status = grow(&heap, &m->heap_room, 2 * n_symbols, sizeof *m->heap);
    m->heap = heap;
    return status;
}

void bl_merger_add(struct bl_merger *m, uint32_t at, uint32_t bytes, int32_t id)
{
    uint32_t index = (uint32_t)m->n_symbols++;
    m->symbols[index] = (struct bl_symbol){at, bytes, index ? index - 1 : BL_NO_SYMBOL, BL_NO_SYMBOL, id};
    if (index)
        m->symbols[index - 1].next = index;
}

static bool is_before(const struct bl_candidate *a, const struct bl_candidate *b)
{
    return a->priority < b->priority || (a->priority == b->priority && a->left < b->left);
}

static void push(struct bl_merger *m, struct bl_candidate candidate)
{
    size_t at = m->n_heap++;
    while (at > 0 && is_before(&candidate, &m->heap[(at - 1) / 2])) {
        m->heap[at] = m->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->heap[at] = candidate;
}

static struct bl_candidate pop(struct bl_merger *m)
{
    struct bl_candidate top = m->heap[0], last = m->heap[--m->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < m->n_heap; at = child) {
        if (child + 1 < m->n_heap && is_before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!is_before(&m->heap[child], &last))
            break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = last;
    return top;
}

static void consider(struct bl_merger *m, uint32_t left, uint32_t right, bl_pair_fn pair, const void *user)
{
    if (left == BL_NO_SYMBOL || right == BL_NO_SYMBOL)
        return;
    const struct bl_symbol *a = &m->symbols[left], *b = &m->symbols[right];
    struct bl_candidate candidate = {0, left, right, a->bytes + b->bytes, -1};
    if (pair(user, a, b, &candidate.priority, &candidate.id))
        push(m, candidate);
}

bl_status bl_merger_run(struct bl_merger *m, bl_pair_fn pair, const void *user)
{
    for (uint32_t i = 1; i < m->n_symbols; i++)
        consider(m, i - 1, i, pair, user);
    while (m->n_heap > 0) {
        struct bl_candidate best = pop(m);
        struct bl_symbol *left = &m->symbols[best.left], *right = &m->symbols[best.right];
        if (left->bytes == 0 || right->bytes == 0 || left->bytes + right->bytes != best.bytes)
            continue; /* one of the two has been joined to something since */
        left->bytes = best.bytes;
        left->id = best.id;
        left->next = right->next;
        right->bytes = 0;
        if (left->next != BL_NO_SYMBOL)
            m->symbols[left->next].prev = best.left;
        consider(m, left->prev, best.left, pair, user);
        consider(m, best.left, left->next, pair, user);
    }
    return BL_OK;
}

void bl_merger_finish(struct bl_merger *m)
{
    free(m->symbols);
    free(m->heap);
    *m = (struct bl_merger){0};
}
