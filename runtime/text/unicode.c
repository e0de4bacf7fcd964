/* unicode.c: the category table and strict UTF-8. Knows no tokenizer. */
#include "text/unicode.h"

#include "unicode_table.h"

enum bl_char_class bl_char_class(uint32_t code)
{
    if (code >= BL_CHAR_INVALID)
        return BL_CHAR_SYMBOL;
    return (enum bl_char_class)unicode_blocks[unicode_index[code / UNICODE_BLOCK]][code % UNICODE_BLOCK];
}

/* Length that a first byte announces and the range of its second byte, which is where overlong forms and surrogates are told apart. */
static size_t announced(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* How many of the bytes at `s` (at most `bytes`) fit the sequence that s[0] announces. */
static size_t fitting(const unsigned char *s, size_t bytes, size_t length, unsigned char low, unsigned char high)
{
    size_t n = 1;
    while (n < length && n < bytes && s[n] >= low && s[n] <= high) {
        n++;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

size_t bl_utf8_decode(const char *text, size_t bytes, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    size_t length = announced(s[0], &low, &high);
    if (length == 1) {
        *code = s[0];
        return 1;
    }
    if (length == 0 || fitting(s, bytes, length, low, high) < length) {
        *code = BL_CHAR_INVALID + s[0];
        return 1;
    }
    uint32_t value = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (s[i] & 0x3fu);
    *code = value;
    return length;
}

size_t bl_utf8_pending(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t n = 1; n <= 3 && n <= bytes; n++) {
        unsigned char low, high;
        size_t length = announced(s[bytes - n], &low, &high);
        if (length > n && fitting(s + bytes - n, n, length, low, high) == n)
            return n;
    }
    return 0;
}
