/* utf8.h: is this UTF-8? Strict: shortest forms, no surrogates, nothing above U+10FFFF. For text that goes to people; tokenizers have a
 * decoder of their own that never refuses (text/unicode.h). */
#ifndef BL_BASE_UTF8_H
#define BL_BASE_UTF8_H
#include <stddef.h>

/* Bytes of the well-formed sequence at s of which `n` bytes may be read; 0 when there is none. */
static inline size_t bl_utf8_valid(const unsigned char *s, size_t n)
{
    size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
        return 0;
    return length;
}

/* A sequence of 1..4 bytes that a terminal or a log would obey instead of show: C0, DEL, C1. */
static inline int bl_utf8_is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}
#endif
