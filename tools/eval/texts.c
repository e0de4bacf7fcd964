/* texts.c: see texts.h. The compressor's reader decodes; here its texts are told apart. */
#include "eval/texts.h"

#include "base/error.h"
#include "compress/jsonl.h"

#include <stdlib.h>
#include <string.h>

static uint32_t count_lines(const char *data, size_t bytes)
{
    uint32_t n = 1;
    for (size_t i = 0; i < bytes; i++)
        n += data[i] == '\n';
    return n;
}

/* How long the text of one line is; each was read before, so none can be wrong. The reader ends every text with a newline of its own. */
static bl_status text_bytes(const char *name, const char *line, size_t bytes, size_t *out)
{
    char *text;
    BL_TRY(xq_jsonl_texts(name, line, bytes, &text, out));
    free(text);
    return BL_OK;
}

bl_status texts_read(const char *name, const char *data, size_t bytes, struct texts *out)
{
    *out = (struct texts){0};
    size_t all, n, done = 0;
    BL_TRY(xq_jsonl_texts(name, data, bytes, &out->storage, &all));
    bl_status status = BL_OK;
    out->items = malloc(count_lines(data, bytes) * sizeof *out->items);
    if (!out->items)
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for its texts", name);
    uint32_t number = 1;
    for (const char *at = data, *end = data + bytes; at < end && status == BL_OK; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        status = text_bytes(name, at, (size_t)(stop - at), &n);
        if (status == BL_OK && n > 0) {
            out->items[out->n++] = (struct text){out->storage + done, n - 1, number};
            done += n;
        }
        at = newline ? newline + 1 : end;
    }
    if (status == BL_OK && out->n == 0)
        status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: no line with a text", name);
    if (status != BL_OK)
        texts_free(out);
    return status;
}

void texts_free(struct texts *texts)
{
    free(texts->items);
    free(texts->storage);
    *texts = (struct texts){0};
}
