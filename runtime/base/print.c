/* print.c: see print.h. */
#include "base/print.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void bl_print(const struct bl_printer *p, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        p->write(p->user, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void bl_print_quoted(const struct bl_printer *p, const char *text, uint64_t bytes, uint64_t limit)
{
    const unsigned char *s = (const unsigned char *)text;
    uint64_t end = bytes > limit ? limit : bytes;
    p->write(p->user, "\"", 1);
    for (uint64_t i = 0; i < end;) {
        size_t n = bl_utf8_valid(s + i, (size_t)(bytes - i));
        if (n == 0)
            p->write(p->user, "\xef\xbf\xbd", 3);
        else if (s[i] == '"' || s[i] == '\\')
            bl_print(p, "\\%c", s[i]);
        else if (bl_utf8_is_control(s + i))
            bl_print(p, "\\u%04x", n == 1 ? s[i] : s[i + 1]);
        else
            p->write(p->user, text + i, n);
        i += n ? n : 1;
    }
    if (bytes > end)
        p->write(p->user, "...", 3);
    p->write(p->user, "\"", 1);
}
