/* split_dump.c: the splitters as a filter, for split_oracle.py. Input: records of (u32 bytes, name, u32 bytes, text), little endian.
 * Output: per record u32 pieces and their u32 lengths in bytes; UINT32_MAX for a name that is not known. "--names" lists the names. */
#include "base/cursor.h"
#include "text/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_block(char **block, uint32_t *bytes)
{
    uint8_t head[4];
    if (fread(head, 1, 4, stdin) != 4)
        return false;
    *bytes = bl_load_u32(head);
    *block = malloc((size_t)*bytes + 1);
    return *block && fread(*block, 1, *bytes, stdin) == *bytes;
}

static void write_number(uint32_t value)
{
    uint8_t out[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    fwrite(out, 1, 4, stdout);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--names") == 0) {
        for (uint32_t i = 0; bl_pre_at(i); i++)
            puts(bl_pre_at(i)->name);
        return 0;
    }
    char *name, *text;
    uint32_t name_bytes, bytes;
    while (read_block(&name, &name_bytes) && read_block(&text, &bytes)) {
        const struct bl_pre *pre = bl_pre_find((struct bl_text){name, name_bytes});
        uint32_t *chars = calloc((size_t)bytes + 1, sizeof *chars), n = 0, n_pieces = 0;
        if (!chars)
            return 1;
        for (size_t at = 0; at < bytes; n++) {
            uint32_t code;
            at += bl_utf8_decode(text + at, bytes - at, &code);
            chars[n] = bl_char_pack(code);
        }
        if (pre)
            bl_split(pre->splitter, chars, n);
        for (uint32_t i = 0; i < n; i++)
            n_pieces += (chars[i] & BL_CHAR_STARTS) != 0;
        write_number(pre ? n_pieces : UINT32_MAX);
        for (uint32_t i = 0, length = 0; pre && i < n; i++) {
            length += (uint32_t)bl_utf8_length(BL_CHAR_CODE(chars[i]));
            if (i + 1 == n || (chars[i + 1] & BL_CHAR_STARTS)) {
                write_number(length);
                length = 0;
            }
        }
        free(chars);
        free(name);
        free(text);
    }
    return 0;
}
