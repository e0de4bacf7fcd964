/* base_file.c: see base_file.h. */
#include "eval/base_file.h"

#include "base/checked.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file_map.h"

#include <math.h>
#include <string.h>

enum { HEADER = 20, ROW_HEADER = 8 };

static float load_f32(const uint8_t *p)
{
    const uint32_t bits = bl_load_u32(p);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* A number of the header: from `least` to what an int32 holds. */
static bl_status header_number(struct bl_cursor *c, const char *path, const char *field, uint32_t least, uint32_t *out)
{
    const uint64_t offset = c->position;
    if (!bl_cursor_u32(c, out))
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s: the file has only %llu bytes", path, (unsigned long long)offset, field, (unsigned long long)c->bytes);
    if (*out < least || *out > INT32_MAX)
        BL_FAIL(BL_EFORMAT, "%s: offset %llu: %s is %lld, must be %u or more", path, (unsigned long long)offset, field, (long long)(int32_t)*out, least);
    return BL_OK;
}

static bl_status read_header(struct base_file *f)
{
    struct bl_cursor c = bl_cursor_make(f->data, bl_file_map_bytes(f->map));
    const uint8_t *magic = bl_cursor_take(&c, 8);
    if (!magic || memcmp(magic, "_logits_", 8) != 0)
        BL_FAIL(BL_EFORMAT, "%s: offset 0: magic is not \"_logits_\": not a file of llama-perplexity --kl-divergence-base", f->path);
    BL_TRY(header_number(&c, f->path, "tokens of a window", 4, &f->window));
    BL_TRY(header_number(&c, f->path, "vocabulary", 2, &f->vocabulary));
    BL_TRY(header_number(&c, f->path, "windows", 1, &f->windows));
    f->scored = f->window - 1 - f->window / 2;
    f->row_bytes = ROW_HEADER + ((uint64_t)f->vocabulary + 1) / 2 * 4;
    uint64_t tokens, rows, bytes, all;
    if (!bl_ck_mul((uint64_t)f->window * 4, f->windows, &tokens) || !bl_ck_add(HEADER, tokens, &f->rows_offset) ||
        !bl_ck_mul(f->scored, f->windows, &rows) || !bl_ck_mul(rows, f->row_bytes, &bytes) || !bl_ck_add(f->rows_offset, bytes, &all) || all != c.bytes)
        BL_FAIL(BL_EFORMAT, "%s: offset 8: %u windows of %u tokens and %u vocabulary entries do not make the file's %llu bytes", f->path, f->windows,
                f->window, f->vocabulary, (unsigned long long)c.bytes);
    return BL_OK;
}

bl_status base_file_open(const char *path, struct base_file *out)
{
    *out = (struct base_file){.path = path};
    BL_TRY(bl_file_map_create(path, BL_FILE_MAP, &out->map));
    out->data = bl_file_map_data(out->map);
    const bl_status status = read_header(out);
    if (status != BL_OK)
        base_file_close(out);
    return status;
}

void base_file_close(struct base_file *file)
{
    if (file->map)
        bl_file_map_destroy(file->map);
    *file = (struct base_file){0};
}

static uint64_t row_offset(const struct base_file *f, uint32_t w, uint32_t i)
{
    return f->rows_offset + ((uint64_t)w * f->scored + i) * f->row_bytes;
}

bl_status base_file_window(const struct base_file *f, uint32_t w, int32_t *ids)
{
    for (uint32_t i = 0; i < f->window; i++) {
        const uint64_t offset = HEADER + ((uint64_t)w * f->window + i) * 4;
        const uint32_t id = bl_load_u32(f->data + offset);
        if (id >= f->vocabulary)
            BL_FAIL(BL_EFORMAT, "%s: offset %llu: token is %lld, must be in 0..%u", f->path, (unsigned long long)offset, (long long)(int32_t)id, f->vocabulary - 1);
        ids[i] = (int32_t)id;
    }
    for (uint32_t i = 0; i < f->scored; i++) {
        const uint64_t offset = row_offset(f, w, i);
        const float scale = load_f32(f->data + offset), lowest = load_f32(f->data + offset + 4);
        if (!isfinite(scale) || !isfinite(lowest))
            BL_FAIL(BL_EFORMAT, "%s: offset %llu: scale and lowest ln p are %g and %g, must be finite", f->path, (unsigned long long)offset, (double)scale,
                    (double)lowest);
    }
    return base_file_check(f);
}

void base_file_row(const struct base_file *f, uint32_t w, uint32_t i, float *out)
{
    const uint8_t *row = f->data + row_offset(f, w, i), *numbers = row + ROW_HEADER;
    const float scale = load_f32(row), lowest = load_f32(row + 4);
    for (uint32_t v = 0; v < f->vocabulary; v++)
        out[v] = scale * (float)bl_load_u16(numbers + (size_t)v * 2) + lowest;
}

bl_status base_file_check(const struct base_file *f)
{
    return bl_file_map_check(f->map);
}
