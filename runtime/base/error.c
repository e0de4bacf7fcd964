/* error.c: the thread-local error stack. Knows nothing of what failed; allocates nothing. */
#include "base/error.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct error_stack {
    uint32_t count;
    bl_error_frame frames[BL_ERROR_FRAMES];
};
static _Thread_local struct error_stack stack;

const char *bl_status_text(bl_status status)
{
    switch (status) {
#define BL_STATUS_CASE(name, value, text) \
    case BL_##name:                       \
        return text;
        BL_STATUS_TABLE(BL_STATUS_CASE)
#undef BL_STATUS_CASE
    }
    return "unknown status";
}

void bl_errors_clear(void)
{
    stack.count = 0;
}

const bl_error_frame *bl_errors(uint32_t *count)
{
    *count = stack.count;
    return stack.frames;
}

const char *bl_error_text(void)
{
    return stack.count ? stack.frames[0].text : "";
}

/* Copies `in` to `out` (capacity `cap`), escaping what could disturb a terminal or a log line. */
static void copy_escaped(char *out, size_t cap, const char *in)
{
    const unsigned char *s = (const unsigned char *)in, *end = s + strlen(in);
    size_t n = 0;
    while (s < end) {
        size_t length = bl_utf8_valid(s, (size_t)(end - s));
        if (length && !bl_utf8_is_control(s)) {
            if (n + length >= cap)
                break;
            memcpy(out + n, s, length);
            n += length;
            s += length;
        } else {
            if (n + 4 >= cap)
                break;
            snprintf(out + n, 5, "\\x%02x", *s++);
            n += 4;
        }
    }
    out[n] = 0;
}

static bl_error_frame *new_frame(bl_status code, const char *file, int line)
{
    if (stack.count == BL_ERROR_FRAMES)
        return NULL;
    bl_error_frame *frame = &stack.frames[stack.count++];
    const char *tail = strstr(file, "../"); /* build systems hand over paths relative to the build folder */
    while (tail == file && tail != NULL) {
        file += 3;
        tail = strstr(file, "../");
    }
    frame->code = code;
    frame->file = file;
    frame->line = line;
    frame->text[0] = 0;
    return frame;
}

bl_status bl_error_push(bl_status code, const char *file, int line, const char *format, ...)
{
    bl_error_frame *frame = new_frame(code, file, line);
    if (frame) {
        char raw[2 * BL_ERROR_TEXT_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        copy_escaped(frame->text, sizeof frame->text, raw);
    }
    return code;
}

bl_status bl_error_trace(bl_status code, const char *file, int line)
{
    (void)new_frame(code, file, line);
    return code;
}
