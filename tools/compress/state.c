/* state.c: a head with all small numbers, then the lower triangles of the covariances at places that the job's shapes give, then the windows of the text. */
#include "compress/state.h"

#include "base/error.h"
#include "base/file_map.h"
#include "base/hash.h"
#include "compress/out_file.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x53584c42u /* "BLXS" */
enum { VERSION = 5, MOST_WINDOW = 1 << 16 };
#define HASH_KEY UINT64_C(0x6269746c6f6f6d73)

/* Then n_inputs of struct input_entry, n_matrices of struct matrix_entry, and matrix by matrix the worths of its rows and its coupling. */
struct head {
    uint32_t magic, version;
    uint64_t checksum;        /* of the head from `bytes` on */
    uint64_t bytes;           /* of the head */
    uint64_t model, text;
    double temper;
    uint32_t objective, n_inputs, n_matrices;
    uint32_t window, n_train, n_held, has_counts; /* of the text; [n_train + n_held][window] tokens stand at the end, and whether they count */
    uint32_t reserved;
    uint64_t text_checksum;
};
struct input_entry {
    uint64_t offset, checksum; /* of the triangle */
    double tokens;
    uint32_t columns, reserved;
};
struct matrix_entry {
    uint32_t rows, columns, input, is_table, group, reserved;
};

struct xq_state_writer {
    struct xq_out_file file;
    uint8_t *head;
    uint64_t head_bytes;
};
struct xq_state {
    struct bl_file_map *map;
};

struct xq_state_key xq_state_key(const struct xq_job *job, const struct xq_calibration *text, double temper)
{
    return (struct xq_state_key){bl_hash_bytes(HASH_KEY, bl_model_file_data(job->file), (size_t)bl_model_file_bytes(job->file)), text ? text->hash : 0, temper, 0};
}

/* ---- places ---- */

static uint64_t triangle(const struct xq_job *job, uint32_t input)
{
    const uint64_t columns = job->inputs[input].columns;
    return columns * (columns + 1) / 2 * sizeof(float);
}

static uint64_t coupling_bytes(const struct xq_matrix *m)
{
    return m->group > 1 ? (uint64_t)m->rows * m->group * sizeof(float) : 0;
}

static uint64_t head_bytes_of(const struct xq_job *job)
{
    uint64_t bytes = sizeof(struct head) + job->n_inputs * sizeof(struct input_entry) + job->n_matrices * sizeof(struct matrix_entry);
    for (uint32_t i = 0; i < job->n_matrices; i++)
        bytes += job->matrices[i].rows * sizeof(float) + coupling_bytes(&job->matrices[i]);
    return (bytes + 63) / 64 * 64;
}

static uint64_t offset_of(const struct xq_job *job, uint32_t input)
{
    uint64_t offset = head_bytes_of(job);
    for (uint32_t i = 0; i < input; i++)
        offset += (triangle(job, i) + 63) / 64 * 64;
    return offset;
}

uint64_t xq_state_bytes(const struct xq_job *job)
{
    return offset_of(job, job->n_inputs);
}

static uint64_t head_checksum(const struct head *h)
{
    return bl_hash_bytes(HASH_KEY, &h->bytes, (size_t)(h->bytes - offsetof(struct head, bytes)));
}

static struct input_entry *inputs_of(void *head)
{
    return (struct input_entry *)((struct head *)head + 1);
}

static struct matrix_entry *matrices_of(const struct xq_job *job, void *head)
{
    return (struct matrix_entry *)(inputs_of(head) + job->n_inputs);
}

static uint64_t text_bytes(const struct head *h)
{
    return ((uint64_t)h->n_train + h->n_held) * h->window * (sizeof(int32_t) + (h->has_counts ? 1 : 0));
}

/* ---- writing ---- */

static bl_status begin(const char *path, const struct xq_job *job, const struct xq_state_key *key, bool again, struct xq_state_writer **out)
{
    *out = NULL;
    struct xq_state_writer *w = calloc(1, sizeof *w);
    if (w) {
        w->head_bytes = head_bytes_of(job);
        w->head = calloc(1, (size_t)w->head_bytes);
    }
    if (!w || !w->head) {
        xq_state_destroy(w);
        BL_FAIL(BL_ENOMEM, "%s: no memory for its head", path);
    }
    *(struct head *)(void *)w->head = (struct head){.magic = MAGIC, .version = VERSION, .bytes = w->head_bytes, .model = key->model, .text = key->text,
                                                    .temper = key->temper, .objective = key->objective, .n_inputs = job->n_inputs, .n_matrices = job->n_matrices};
    const bl_status status = again ? xq_out_reopen(&w->file, path) : xq_out_open(&w->file, path);
    if (status != BL_OK) {
        xq_state_destroy(w);
        return status;
    }
    *out = w;
    return BL_OK;
}

bl_status xq_state_create(const char *path, const struct xq_job *job, const struct xq_state_key *key, struct xq_state_writer **out)
{
    return begin(path, job, key, false, out);
}

bl_status xq_state_reopen(const char *path, const struct xq_job *job, const struct xq_state_key *key, struct xq_state_writer **out)
{
    return begin(path, job, key, true, out);
}

struct xq_span xq_state_head(struct xq_state_writer *w)
{
    return (struct xq_span){w->head, w->head_bytes};
}

bl_status xq_state_flush(struct xq_state_writer *w)
{
    return xq_out_flush(&w->file);
}

bl_status xq_state_put(struct xq_state_writer *w, const struct xq_job *job, uint32_t input)
{
    const struct xq_input *in = &job->inputs[input];
    const uint64_t bytes = triangle(job, input);
    float *packed = malloc((size_t)bytes), *to = packed;
    if (!packed)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a covariance of %u columns", w->file.path, in->columns);
    for (uint32_t r = 0; r < in->columns; r++, to += r)
        memcpy(to, in->h + (size_t)r * in->columns, (r + 1) * sizeof *to);
    struct input_entry *entry = &inputs_of(w->head)[input];
    *entry = (struct input_entry){offset_of(job, input), bl_hash_bytes(HASH_KEY, packed, (size_t)bytes), 0, in->columns, 0};
    const bl_status status = xq_out_write(&w->file, packed, bytes, entry->offset);
    free(packed);
    return status;
}

static bl_status put_text(struct xq_state_writer *w, const struct xq_job *job, const struct xq_calibration *text)
{
    struct head *head = (void *)w->head;
    head->window = text->window;
    head->n_train = text->n_train;
    head->n_held = text->n_held;
    head->has_counts = text->train_counts != NULL;
    const size_t train = (size_t)text->n_train * text->window, held = (size_t)text->n_held * text->window, bytes = (size_t)text_bytes(head);
    int32_t *all = malloc(bytes + 1);
    if (!all)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u windows", w->file.path, text->n_train + text->n_held);
    uint8_t *counts = (uint8_t *)(all + train + held);
    memcpy(all, text->train, train * sizeof *all);
    if (held)
        memcpy(all + train, text->held, held * sizeof *all);
    if (head->has_counts)
        memcpy(counts, text->train_counts, train);
    if (head->has_counts && held)
        memcpy(counts + train, text->held_counts, held);
    head->text_checksum = bl_hash_bytes(HASH_KEY, all, bytes);
    const bl_status status = xq_out_write(&w->file, all, bytes, offset_of(job, job->n_inputs));
    free(all);
    return status;
}

bl_status xq_state_finish(struct xq_state_writer *w, const struct xq_job *job, const struct xq_calibration *text)
{
    struct head *head = (void *)w->head;
    struct matrix_entry *matrices = matrices_of(job, head);
    float *rows = (float *)(matrices + job->n_matrices);
    for (uint32_t i = 0; i < job->n_inputs; i++)
        inputs_of(head)[i].tokens = job->inputs[i].tokens;
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        const struct xq_matrix *m = &job->matrices[i];
        matrices[i] = (struct matrix_entry){m->rows, m->columns, m->input, m->is_table, m->group, 0};
        memcpy(rows, m->row_worth, m->rows * sizeof *rows);
        rows += m->rows;
        if (m->group > 1)
            memcpy(rows, m->coupling, (size_t)coupling_bytes(m));
        rows += coupling_bytes(m) / sizeof *rows;
    }
    BL_TRY(put_text(w, job, text));
    head->checksum = head_checksum(head);
    BL_TRY(xq_out_write(&w->file, head, head->bytes, 0));
    return xq_out_finish(&w->file);
}

void xq_state_destroy(struct xq_state_writer *w)
{
    if (!w)
        return;
    xq_out_discard(&w->file);
    free(w->head);
    free(w);
}

bl_status xq_state_write(const char *path, const struct xq_job *job, const struct xq_state_key *key, const struct xq_calibration *text)
{
    struct xq_state_writer *w;
    BL_TRY(xq_state_create(path, job, key, &w));
    bl_status status = BL_OK;
    for (uint32_t i = 0; i < job->n_inputs && status == BL_OK; i++)
        status = xq_state_put(w, job, i);
    if (status == BL_OK)
        status = xq_state_finish(w, job, text);
    xq_state_destroy(w);
    return status;
}

/* ---- reading ---- */

static bl_status check_head(const char *path, const struct bl_file_map *map, const struct xq_job *job, const struct xq_state_key *key)
{
    const struct head *h = bl_file_map_data(map);
    const uint64_t bytes = bl_file_map_bytes(map), all = offset_of(job, job->n_inputs);
    if (bytes < sizeof *h || h->magic != MAGIC)
        BL_FAIL(BL_EFORMAT, "%s: this is no saved state of a compression", path);
    if (h->version != VERSION)
        BL_FAIL(BL_EFORMAT, "%s: a state of version %u, this program reads %u: learn again with --save-state", path, h->version, VERSION);
    if (h->model != key->model)
        BL_FAIL(BL_EFORMAT, "%s: a state of another model than %s", path, bl_model_file_path(job->file));
    if (h->bytes != head_bytes_of(job) || h->n_inputs != job->n_inputs || h->n_matrices != job->n_matrices ||
        bytes < all || h->checksum != head_checksum(h) || h->window > MOST_WINDOW || bytes - all < text_bytes(h) ||
        bl_hash_bytes(HASH_KEY, (const uint8_t *)h + all, (size_t)text_bytes(h)) != h->text_checksum)
        BL_FAIL(BL_EFORMAT, "%s: the state is damaged: length, shapes or checksum of its head are wrong", path);
    if (key->text && h->text != key->text)
        BL_FAIL(BL_EFORMAT, "%s: a state made from another calibration text, or other windows of it: leave --calib and --task out, the state holds what it needs", path);
    if (h->temper != key->temper)
        BL_FAIL(BL_EFORMAT, "%s: a state made with the power %g for the worth of rows, not %g", path, h->temper, key->temper);
    if (key->objective != XQ_ANY_OBJECTIVE && h->objective != key->objective)
        BL_FAIL(BL_EFORMAT, "%s: a state made for another --objective", path);
    return BL_OK;
}

static bl_status take_worths(const char *path, struct xq_job *job, void *head)
{
    const struct matrix_entry *matrices = matrices_of(job, head);
    const float *rows = (const float *)(matrices + job->n_matrices);
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        if (inputs_of(head)[i].columns != job->inputs[i].columns || inputs_of(head)[i].offset != offset_of(job, i))
            BL_FAIL(BL_EFORMAT, "%s: input %u: %u columns, expected %u", path, i, inputs_of(head)[i].columns, job->inputs[i].columns);
        job->inputs[i].tokens = inputs_of(head)[i].tokens;
    }
    for (uint32_t i = 0; i < job->n_matrices; i++) {
        struct xq_matrix *m = &job->matrices[i];
        if (matrices[i].rows != m->rows || matrices[i].columns != m->columns || matrices[i].input != m->input || matrices[i].is_table != m->is_table ||
            matrices[i].group != m->group)
            BL_FAIL(BL_EFORMAT, "%s: matrix '%s' has another shape there", path, m->name);
        free(m->row_worth);
        free(m->coupling);
        m->row_worth = malloc(m->rows * sizeof *m->row_worth);
        m->coupling = m->group > 1 ? malloc((size_t)coupling_bytes(m)) : NULL;
        if (!m->row_worth || (m->group > 1 && !m->coupling))
            BL_FAIL(BL_ENOMEM, "%s: no memory for %u rows", path, m->rows);
        memcpy(m->row_worth, rows, m->rows * sizeof *rows);
        rows += m->rows;
        if (m->group > 1)
            memcpy(m->coupling, rows, (size_t)coupling_bytes(m));
        rows += coupling_bytes(m) / sizeof *rows;
    }
    return BL_OK;
}

bl_status xq_state_open(const char *path, struct xq_job *job, const struct xq_state_key *key, struct xq_state **out)
{
    *out = NULL;
    struct bl_file_map *map;
    BL_TRY(bl_file_map_create(path, BL_FILE_MAP, &map));
    bl_status status = check_head(path, map, job, key);
    if (status == BL_OK)
        status = take_worths(path, job, (void *)(uintptr_t)bl_file_map_data(map));
    if (status == BL_OK)
        status = bl_file_map_check(map);
    struct xq_state *state = status == BL_OK ? malloc(sizeof *state) : NULL;
    if (!state) {
        bl_file_map_destroy(map);
        return status != BL_OK ? status : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory", path);
    }
    state->map = map;
    *out = state;
    return BL_OK;
}

bl_status xq_state_take(const struct xq_state *state, struct xq_job *job, uint32_t input)
{
    struct xq_input *in = &job->inputs[input];
    const uint8_t *data = bl_file_map_data(state->map);
    const struct input_entry *entry = &inputs_of((void *)(uintptr_t)data)[input];
    if (bl_hash_bytes(HASH_KEY, data + entry->offset, (size_t)triangle(job, input)) != entry->checksum)
        BL_FAIL(BL_EFORMAT, "%s: input %u: the state is damaged: its checksum is wrong", bl_file_map_path(state->map), input);
    float *h = malloc((size_t)in->columns * in->columns * sizeof *h);
    if (!h)
        BL_FAIL(BL_ENOMEM, "%s: no memory for a covariance of %u columns", bl_file_map_path(state->map), in->columns);
    const float *from = (const float *)(const void *)(data + entry->offset);
    for (uint32_t r = 0; r < in->columns; r++)
        for (uint32_t c = 0; c <= r; c++)
            h[(size_t)r * in->columns + c] = h[(size_t)c * in->columns + r] = *from++;
    free(in->h);
    in->h = h;
    return bl_file_map_check(state->map);
}

bl_status xq_state_text(const struct xq_state *state, const struct xq_job *job, struct xq_calibration *out)
{
    const struct head *h = bl_file_map_data(state->map);
    const size_t train = (size_t)h->n_train * h->window, held = (size_t)h->n_held * h->window;
    const int32_t *all = (const int32_t *)(const void *)((const uint8_t *)h + offset_of(job, job->n_inputs));
    const uint8_t *counts = (const uint8_t *)(all + train + held);
    *out = (struct xq_calibration){.window = h->window, .n_train = h->n_train, .n_held = h->n_held, .hash = h->text};
    out->train = malloc(train * sizeof *all + 1);
    out->held = malloc(held * sizeof *all + 1);
    out->train_counts = h->has_counts ? malloc(train + 1) : NULL;
    out->held_counts = h->has_counts ? malloc(held + 1) : NULL;
    if (!out->train || !out->held || (h->has_counts && (!out->train_counts || !out->held_counts))) {
        xq_calibration_free(out);
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u windows", bl_file_map_path(state->map), h->n_train + h->n_held);
    }
    memcpy(out->train, all, train * sizeof *all);
    memcpy(out->held, all + train, held * sizeof *all);
    if (h->has_counts) {
        memcpy(out->train_counts, counts, train);
        memcpy(out->held_counts, counts + train, held);
    }
    return bl_file_map_check(state->map);
}

uint32_t xq_state_objective(const struct xq_state *state)
{
    return ((const struct head *)bl_file_map_data(state->map))->objective;
}

void xq_state_close(struct xq_state *state)
{
    if (state)
        bl_file_map_destroy(state->map);
    free(state);
}

bl_status xq_state_read(const char *path, struct xq_job *job, const struct xq_state_key *key)
{
    struct xq_state *state;
    BL_TRY(xq_state_open(path, job, key, &state));
    bl_status status = BL_OK;
    for (uint32_t i = 0; i < job->n_inputs && status == BL_OK; i++)
        status = xq_state_take(state, job, i);
    xq_state_close(state);
    return status;
}
