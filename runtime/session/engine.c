/* engine.c: steps. Owns the page pool of a model and the words of its step; turns rows into steps, runs them through the parts in order, and
 * repeats a step whose device failed. Knows no op, no text and no device. */
#include "base/checked.h"
#include "base/error.h"
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

static uint32_t power_of_two(uint32_t rows)
{
    uint32_t power = 1;
    while (power < rows)
        power *= 2;
    return power;
}

static bl_status create_pages(bl_model *m)
{
    m->page_stride = (m->context + BL_KV_PAGE - 1) / BL_KV_PAGE;
    uint64_t n_pages = (uint64_t)m->page_stride * m->max_sequences;
    if (n_pages > UINT32_MAX / 2)
        BL_FAIL(BL_ELIMIT, "%s: %u sequences of %u positions: too many pages", bl_model_file_path(m->file), m->max_sequences, m->context);
    m->n_pages = (uint32_t)n_pages;
    m->step_bytes = 4 * ((uint64_t)BL_STEP_PAGES + n_pages);
    m->free_pages = malloc(n_pages * sizeof *m->free_pages);
    m->step = calloc(1, (size_t)m->step_bytes);
    if (!m->free_pages || !m->step)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u pages", bl_model_file_path(m->file), m->n_pages);
    for (uint32_t i = 0; i < m->n_pages; i++) /* the lowest page is taken first */
        m->free_pages[i] = m->n_pages - 1 - i;
    m->n_free_pages = m->n_pages;
    return BL_OK;
}

bl_status bl_engine_init(bl_model *m)
{
    m->batch_rows = power_of_two(m->batch);
    m->out_rows = power_of_two(m->max_outputs < m->batch ? m->max_outputs : m->batch);
    BL_TRY(create_pages(m));
    BL_TRY(bl_devices_build(m));
    uint64_t kept;
    if (!bl_ck_mul((uint64_t)m->max_outputs * 4, m->vocabulary, &kept) || !(m->kept_logits = malloc((size_t)kept)))
        BL_FAIL(BL_ENOMEM, "%s: no memory for logits of %u rows", bl_model_file_path(m->file), m->max_outputs);
    return BL_OK;
}

void bl_engine_finish(bl_model *m)
{
    bl_devices_close(m);
    free(m->step);
    free(m->free_pages);
    free(m->kept_logits);
    free(m->timings);
}

/* ---- one step ---- */

static void add_page(bl_sequence *s, uint32_t position)
{
    bl_model *m = s->model;
    if (position / BL_KV_PAGE < s->n_pages)
        return;
    uint32_t page = m->free_pages[--m->n_free_pages]; /* the pool holds a full context for every sequence */
    uint32_t *table = m->step + BL_STEP_PAGES + (size_t)s->slot * m->page_stride;
    table[s->n_pages] = page;
    s->pages[s->n_pages++] = page;
}

/* Fills the step buffer with rows[0 .. n); lengths grow. */
static uint32_t fill_step(bl_model *m, const bl_row *rows, uint32_t n)
{
    uint32_t *step = m->step, n_out = 0, max_position = 0;
    for (uint32_t i = 0; i < n; i++) {
        bl_sequence *s = rows[i].sequence;
        uint32_t position = s->length++;
        add_page(s, position);
        s->tokens[position] = rows[i].token;
        step[BL_STEP_TOKEN + i] = (uint32_t)rows[i].token;
        step[BL_STEP_POS + (int)i] = position;
        step[BL_STEP_SEQ + (int)i] = s->slot;
        if (rows[i].logits)
            step[BL_STEP_OUT + (int)n_out++] = i;
        if (position > max_position)
            max_position = position;
    }
    step[BL_STEP_N_ROWS] = n;
    step[BL_STEP_N_OUT] = n_out;
    step[BL_STEP_PAGE_STRIDE] = m->page_stride;
    step[BL_STEP_MAX_POSITION] = max_position;
    return n_out;
}

static bl_status run_step(bl_model *m, const bl_row *rows, uint32_t n)
{
    if (atomic_exchange(&m->interrupted, false))
        BL_FAIL(BL_ECANCELLED, "interrupted");
    if (!m->n_parts)
        BL_FAIL(BL_EDEVLOST, "%s: no device is left", bl_model_file_path(m->file));
    uint32_t n_out = fill_step(m, rows, n);
    for (uint32_t i = 0; i < m->n_parts; i++) {
        m->failed = m->parts[i].on;
        BL_TRY(bl_part_run(m, &m->parts[i], n, n_out));
    }
    BL_TRY(bl_model_file_check(m->file));
    if (n_out) {
        bl_buffer *logits = m->parts[m->n_parts - 1].logits; /* the last node makes them */
        uint64_t bytes = (uint64_t)n_out * m->vocabulary * 4;
        BL_TRY(bl_buffer_sync(logits, 0, bytes, false));
        memcpy(m->kept_logits + (size_t)m->n_kept * m->vocabulary, bl_buffer_host(logits), (size_t)bytes);
        m->n_kept += n_out;
    }
    return BL_OK;
}

static void save_lengths(const bl_model *m, uint32_t lengths[static BL_MAX_SEQUENCES])
{
    for (uint32_t slot = 0; slot < m->max_sequences; slot++)
        lengths[slot] = m->sequences[slot] ? m->sequences[slot]->length : 0;
}

/* Pages stay with their sequence and are written again. */
static void restore_lengths(bl_model *m, const uint32_t lengths[static BL_MAX_SEQUENCES])
{
    for (uint32_t slot = 0; slot < m->max_sequences; slot++)
        if (m->sequences[slot])
            m->sequences[slot]->length = lengths[slot];
}

/* Keys and values went with the parts: every sequence is computed once more, up to where it was. */
static bl_status compute_again(bl_model *m, const uint32_t lengths[static BL_MAX_SEQUENCES])
{
    bl_row rows[BL_STEP_MAX_ROWS];
    for (uint32_t slot = 0; slot < m->max_sequences; slot++) {
        bl_sequence *s = m->sequences[slot];
        if (!s)
            continue;
        for (s->length = 0; s->length < lengths[slot];) {
            uint32_t n = lengths[slot] - s->length < m->batch ? lengths[slot] - s->length : m->batch;
            for (uint32_t i = 0; i < n; i++)
                rows[i] = (bl_row){s, s->tokens[s->length + i], false};
            BL_TRY(run_step(m, rows, n));
        }
    }
    m->stale = false;
    return BL_OK;
}

/* A step; when its device fails and others can take over, the same step again. Each turn costs a device, so it ends. */
static bl_status run_step_somewhere(bl_model *m, const bl_row *rows, uint32_t n)
{
    uint32_t lengths[BL_MAX_SEQUENCES];
    save_lengths(m, lengths);
    for (;;) {
        bl_status status = m->stale ? compute_again(m, lengths) : BL_OK;
        restore_lengths(m, lengths);
        if (status == BL_OK)
            status = run_step(m, rows, n);
        bool replaceable = status == BL_EDEVLOST || status == BL_EDEVMEM || status == BL_EUNSUPPORTED; /* the last: a kernel is missing */
        if (!replaceable || !bl_devices_replace(m))
            return status;
    }
}

/* ---- forward ---- */

static bl_status check_rows(const bl_model *m, const bl_row *rows, uint32_t n_rows, uint32_t *added)
{
    uint32_t n_out = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        const bl_sequence *s = rows[i].sequence;
        if (!s || s->model != m)
            BL_FAIL(BL_EINVAL, "bl_forward: row %u: not a sequence of this model", i);
        if (rows[i].token < 0 || (uint32_t)rows[i].token >= m->vocabulary)
            BL_FAIL(BL_EINVAL, "bl_forward: row %u: token %d, the vocabulary has %u", i, rows[i].token, m->vocabulary);
        added[s->slot]++;
        n_out += rows[i].logits;
    }
    if (n_out > m->max_outputs)
        BL_FAIL(BL_ELIMIT, "bl_forward: %u rows with logits, max_outputs is %u", n_out, m->max_outputs);
    for (uint32_t slot = 0; slot < m->max_sequences; slot++) {
        const bl_sequence *s = m->sequences[slot];
        if (s && added[slot] > m->context - s->length)
            BL_FAIL(BL_ELIMIT, "context full: %u tokens in the sequence and %u more, context %u", s->length, added[slot], m->context);
    }
    return BL_OK;
}

static bl_status compute(bl_model *m, const bl_row *rows, uint32_t n_rows)
{
    for (uint32_t at = 0; at < n_rows;) {
        /* A chunk ends at `batch` rows or where its outputs would exceed the logits buffer. */
        uint32_t n = 0, n_out = 0;
        while (at + n < n_rows && n < m->batch && !(rows[at + n].logits && n_out == m->out_rows))
            n_out += rows[at + n++].logits;
        BL_TRY(run_step_somewhere(m, rows + at, n));
        at += n;
    }
    return BL_OK;
}

static bl_status forward(bl_model *m, const bl_row *rows, uint32_t n_rows)
{
    uint32_t added[BL_MAX_SEQUENCES] = {0}, before[BL_MAX_SEQUENCES];
    BL_TRY(check_rows(m, rows, n_rows, added));
    save_lengths(m, before);
    m->n_kept = 0;
    bl_status status = compute(m, rows, n_rows);
    if (status != BL_OK)
        restore_lengths(m, before);
    return status;
}

bl_status bl_forward(bl_model *model, const bl_row *rows, uint32_t n_rows)
{
    bl_errors_clear();
    if (!model || (n_rows && !rows))
        BL_FAIL(BL_EINVAL, "bl_forward: model or rows is NULL");
    model->n_kept = 0;
    for (uint32_t i = 0; i < n_rows; i++) { /* tokens that are owed come first */
        bl_sequence *s = rows[i].sequence;
        if (!s || s->model != model || s->pending < 0)
            continue;
        bl_row owed = {s, s->pending, false};
        BL_TRY(forward(model, &owed, 1));
        s->pending = -1;
    }
    BL_TRY(forward(model, rows, n_rows));
    return BL_OK;
}

const float *bl_logits(const bl_model *model, uint32_t i)
{
    return i < model->n_kept ? model->kept_logits + (size_t)i * model->vocabulary : NULL;
}
