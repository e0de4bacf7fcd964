/* engine.c: steps. Owns the buffers of a model, its recorded lists and its page pool; turns rows into step buffers, submits, waits. Knows no
 * op and no text. */
#include "base/checked.h"
#include "base/error.h"
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

static uint32_t bucket_of(uint32_t rows)
{
    uint32_t b = 0;
    while ((1u << b) < rows)
        b++;
    return b;
}

static bl_status create_buffer(bl_model *m, uint64_t bytes, bl_memory_kind kind, const char *label, bl_buffer **out)
{
    bl_buffer_params params = {.bytes = bytes, .kind = kind, .label = label};
    if (bl_buffer_create(m->device, &params, out) == BL_OK)
        return BL_OK;
    uint64_t free_bytes = 0, total = 0;
    bl_errors_clear();
    if (bl_device_memory(m->device, &free_bytes, &total) != BL_OK)
        bl_errors_clear();
    BL_FAIL(BL_EDEVMEM, "%s: no memory for the %s of %u positions: %llu MB, limit %llu MB free: give a smaller context", bl_model_file_path(m->file), label,
            m->context, (unsigned long long)(bytes >> 20), (unsigned long long)(free_bytes >> 20));
}

/* The page pools: K and V of every layer, each [n_pages][heads][32][d]. Untouched pages of the pool cost no memory on the CPU. */
static bl_status create_kv(bl_model *m)
{
    uint64_t element = m->kv_format == BL_FMT_F16 ? 2 : 4, total = 0;
    m->kv_offset = calloc(m->graph->n_kv_layers ? 2 * (size_t)m->graph->n_kv_layers : 1, sizeof *m->kv_offset);
    if (!m->kv_offset)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u layers", bl_model_file_path(m->file), m->graph->n_kv_layers);
    for (uint32_t l = 0; l < m->graph->n_kv_layers; l++) {
        const struct bl_kv_layer *kv = &m->graph->kv_layers[l];
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t bytes;
            m->kv_offset[2 * l + part] = total;
            if (!bl_ck_mul((uint64_t)kv->heads * (part ? kv->d_v : kv->d_k) * element * BL_KV_PAGE, m->n_pages, &bytes) ||
                !bl_ck_align(bytes, 64, &bytes) || !bl_ck_add(total, bytes, &total))
                BL_FAIL(BL_ELIMIT, "%s: the KV cache for %u positions does not fit the address space", bl_model_file_path(m->file), m->context);
        }
    }
    m->kv_bytes = total;
    return create_buffer(m, total ? total : 64, BL_MEM_DEVICE, "KV cache", &m->kv);
}

static bl_status create_pages(bl_model *m)
{
    m->page_stride = (m->context + BL_KV_PAGE - 1) / BL_KV_PAGE;
    uint64_t n_pages = (uint64_t)m->page_stride * m->max_sequences;
    if (n_pages > UINT32_MAX / 2)
        BL_FAIL(BL_ELIMIT, "%s: %u sequences of %u positions: too many pages", bl_model_file_path(m->file), m->max_sequences, m->context);
    m->n_pages = (uint32_t)n_pages;
    m->free_pages = malloc(n_pages * sizeof *m->free_pages);
    if (!m->free_pages)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u pages", bl_model_file_path(m->file), m->n_pages);
    for (uint32_t i = 0; i < m->n_pages; i++) /* the lowest page is taken first */
        m->free_pages[i] = m->n_pages - 1 - i;
    m->n_free_pages = m->n_pages;
    return BL_OK;
}

static bl_status create_constants(bl_model *m)
{
    uint64_t bytes = (uint64_t)m->graph->n_constants * 4;
    if (!bytes)
        return BL_OK;
    BL_TRY(create_buffer(m, bytes, BL_MEM_UPLOAD, "constants", &m->constants));
    memcpy(bl_buffer_host(m->constants), m->graph->constants, (size_t)bytes);
    return bl_buffer_sync(m->constants, 0, bytes, true);
}

bl_status bl_engine_init(bl_model *m)
{
    uint32_t batch_rows = 1u << bucket_of(m->batch);
    m->out_rows = 1u << bucket_of(m->max_outputs < m->batch ? m->max_outputs : m->batch);
    BL_TRY(create_pages(m));
    BL_TRY(create_kv(m));
    BL_TRY(create_constants(m));
    m->step_bytes = 4 * ((uint64_t)BL_STEP_PAGES + m->n_pages);
    BL_TRY(create_buffer(m, m->step_bytes, BL_MEM_UPLOAD, "step", &m->step));
    memset(bl_buffer_host(m->step), 0, (size_t)m->step_bytes);
    BL_TRY(create_buffer(m, (uint64_t)m->out_rows * m->vocabulary * 4, BL_MEM_READBACK, "logits", &m->logits));
    BL_TRY(bl_plan_create(m->graph, m->schedule, batch_rows, m->out_rows, bl_device_caps(m->device)->buffer_alignment, &m->plan));
    BL_TRY(create_buffer(m, m->plan->bytes, BL_MEM_DEVICE, "activations", &m->activations));
    uint64_t kept;
    if (!bl_ck_mul((uint64_t)m->max_outputs * 4, m->vocabulary, &kept) || !(m->kept_logits = malloc((size_t)kept)))
        BL_FAIL(BL_ENOMEM, "%s: no memory for logits of %u rows", bl_model_file_path(m->file), m->max_outputs);
    BL_TRY(bl_queue_create(m->device, BL_QUEUE_COMPUTE, &m->queue));
    return BL_OK;
}

void bl_engine_finish(bl_model *m)
{
    for (uint32_t r = 0; r < BL_BUCKETS; r++)
        for (uint32_t o = 0; o < BL_BUCKETS; o++)
            bl_list_destroy(m->lists[r][o]);
    bl_queue_destroy(m->queue);
    bl_buffer_destroy(m->step);
    bl_buffer_destroy(m->activations);
    bl_buffer_destroy(m->logits);
    bl_buffer_destroy(m->kv);
    bl_buffer_destroy(m->constants);
    free(m->kv_offset);
    free(m->free_pages);
    free(m->kept_logits);
    free(m->timings);
}

static bl_status get_list(bl_model *m, uint32_t rows, uint32_t outputs, bl_list **out)
{
    uint32_t r = bucket_of(rows), o = bucket_of(outputs);
    if (!m->lists[r][o]) {
        struct bl_emit_target target = {m->device, m->activations, m->step, m->logits, m->constants, (uint64_t)m->vocabulary * 4, m->kv, m->kv_format, m->n_pages,
                                        m->kv_offset, m->step_bytes, bl_weights_bind, m->weights};
        BL_TRY(bl_emit_list(m->graph, m->schedule, m->plan, &target, 1u << r, 1u << o, &m->lists[r][o]));
    }
    *out = m->lists[r][o];
    return BL_OK;
}

/* ---- one step ---- */

static void add_page(bl_sequence *s, uint32_t position)
{
    bl_model *m = s->model;
    if (position / BL_KV_PAGE < s->n_pages)
        return;
    uint32_t page = m->free_pages[--m->n_free_pages]; /* the pool holds a full context for every sequence */
    uint32_t *table = (uint32_t *)bl_buffer_host(m->step) + BL_STEP_PAGES + (size_t)s->slot * m->page_stride;
    table[s->n_pages] = page;
    s->pages[s->n_pages++] = page;
}

/* Fills the step buffer with rows[0 .. n); lengths grow. */
static uint32_t fill_step(bl_model *m, const bl_row *rows, uint32_t n)
{
    uint32_t *step = bl_buffer_host(m->step), n_out = 0, max_position = 0;
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

static bl_status report_trace(bl_model *m, bl_list *list, uint32_t rows)
{
    uint32_t n;
    BL_TRY(bl_list_timings(list, m->timings, m->n_timings, &n));
    if (n > m->n_timings) { /* the first step, or a list of more nodes */
        bl_node_timing *grown = realloc(m->timings, n * sizeof *grown);
        if (!grown)
            BL_FAIL(BL_ENOMEM, "%s: no memory for %u timings", bl_model_file_path(m->file), n);
        m->timings = grown;
        m->n_timings = n;
        BL_TRY(bl_list_timings(list, m->timings, m->n_timings, &n));
    }
    m->trace(m->trace_user, rows, m->timings, n);
    return BL_OK;
}

static bl_status run_step(bl_model *m, const bl_row *rows, uint32_t n)
{
    if (atomic_exchange(&m->interrupted, false))
        BL_FAIL(BL_ECANCELLED, "interrupted");
    uint32_t n_out = fill_step(m, rows, n);
    bl_list *list = NULL;
    uint64_t value = 0;
    BL_TRY(get_list(m, n, n_out ? n_out : 1, &list));
    if (m->trace)
        BL_TRY(bl_list_enable_timings(list));
    BL_TRY(bl_buffer_sync(m->step, 0, m->step_bytes, true));
    BL_TRY(bl_queue_submit(m->queue, list, NULL, 0, &value));
    BL_TRY(bl_queue_wait(m->queue, value, BL_WAIT_FOREVER));
    BL_TRY(bl_model_file_check(m->file));
    if (n_out) {
        uint64_t bytes = (uint64_t)n_out * m->vocabulary * 4;
        BL_TRY(bl_buffer_sync(m->logits, 0, bytes, false));
        memcpy(m->kept_logits + (size_t)m->n_kept * m->vocabulary, bl_buffer_host(m->logits), (size_t)bytes);
        m->n_kept += n_out;
    }
    return m->trace ? report_trace(m, list, n) : BL_OK;
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
        BL_TRY(run_step(m, rows + at, n));
        at += n;
    }
    return BL_OK;
}

static bl_status forward(bl_model *m, const bl_row *rows, uint32_t n_rows)
{
    uint32_t added[BL_MAX_SEQUENCES] = {0}, before[BL_MAX_SEQUENCES] = {0};
    BL_TRY(check_rows(m, rows, n_rows, added));
    for (uint32_t slot = 0; slot < m->max_sequences; slot++)
        before[slot] = m->sequences[slot] ? m->sequences[slot]->length : 0;
    m->n_kept = 0;
    bl_status status = compute(m, rows, n_rows);
    for (uint32_t slot = 0; status != BL_OK && slot < m->max_sequences; slot++)
        if (m->sequences[slot])
            m->sequences[slot]->length = before[slot]; /* pages stay with the sequence and are written again */
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
