/* error.c: the thread-local error stack. Knows nothing of what failed; allocates nothing. */
#include "base/error.h"

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

/* Length of the valid UTF-8 sequence at s, 0 if none. Shortest forms only, no surrogates: text from a file goes to a terminal. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] >= 0x20 && s[0] < 0x7f)
        return 1;
    if (s[0] >= 0xc2 && s[0] < 0xe0)
        return (s[1] & 0xc0) == 0x80 && !(s[0] == 0xc2 && s[1] < 0xa0) ? 2 : 0;
    if ((s[0] & 0xf0) == 0xe0) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))
            return 0;
        return 3;
    }
    if (s[0] >= 0xf0 && s[0] < 0xf5) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
            return 0;
        return 4;
    }
    return 0;
}

/* Copies `in` to `out` (capacity `cap`), escaping what could disturb a terminal or a log line. */
static void copy_escaped(char *out, size_t cap, const char *in)
{
    const unsigned char *s = (const unsigned char *)in;
    size_t n = 0;
    while (*s) {
        size_t length = utf8_length(s);
        if (length) {
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
