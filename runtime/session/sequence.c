/* sequence.c: the life of a sequence: its slot in the page table, its pages and its tokens. */
#include "base/error.h"
#include "session/session.h"

#include <stdlib.h>

bl_status bl_sequence_create(bl_model *model, bl_sequence **out)
{
    bl_errors_clear();
    if (!model || !out)
        BL_FAIL(BL_EINVAL, "bl_sequence_create: model or out is NULL");
    *out = NULL;
    uint32_t slot = 0;
    while (slot < model->max_sequences && model->sequences[slot])
        slot++;
    if (slot == model->max_sequences)
        BL_FAIL(BL_ELIMIT, "%u sequences are alive, max_sequences is %u", slot, model->max_sequences);
    bl_sequence *s = calloc(1, sizeof *s);
    if (s) {
        s->pages = malloc(model->page_stride * sizeof *s->pages);
        s->tokens = malloc(model->context * sizeof *s->tokens);
    }
    if (!s || !s->pages || !s->tokens) {
        if (s) {
            free(s->pages);
            free(s->tokens);
        }
        free(s);
        BL_FAIL(BL_ENOMEM, "no memory for a sequence of %u positions", model->context);
    }
    s->model = model;
    s->slot = slot;
    s->pending = -1;
    model->sequences[slot] = s;
    *out = s;
    return BL_OK;
}

void bl_sequence_destroy(bl_sequence *sequence)
{
    if (!sequence)
        return;
    bl_model *m = sequence->model;
    while (sequence->n_pages)
        m->free_pages[m->n_free_pages++] = sequence->pages[--sequence->n_pages];
    m->sequences[sequence->slot] = NULL;
    free(sequence->pages);
    free(sequence->tokens);
    free(sequence);
}

uint32_t bl_sequence_length(const bl_sequence *sequence)
{
    return sequence->length + (sequence->pending >= 0);
}

bl_status bl_sequence_truncate(bl_sequence *sequence, uint32_t length)
{
    bl_errors_clear();
    if (!sequence)
        BL_FAIL(BL_EINVAL, "bl_sequence_truncate: sequence is NULL");
    if (length > bl_sequence_length(sequence))
        BL_FAIL(BL_EINVAL, "bl_sequence_truncate: length %u, the sequence has %u", length, bl_sequence_length(sequence));
    if (length <= sequence->length) {
        sequence->pending = -1;
        sequence->length = length;
    }
    return BL_OK;
}
