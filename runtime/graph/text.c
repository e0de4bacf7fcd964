/* text.c: cuts a graph text into lines and tokens. Bounded, no recursion; knows no op and no name. */
#include "graph/text.h"

#include "base/error.h"
#include "base/limits.h"

#include <math.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Own number reading: strtod depends on the locale. Nine digits of exponent are never needed. */
static bool read_number(const char *s, uint64_t n, uint64_t *used, double *out)
{
    double value = 0, scale = 1;
    uint64_t i = 0;
    while (i < n && is_digit(s[i]))
        value = value * 10 + (s[i++] - '0');
    if (i < n && s[i] == '.' && i + 1 < n && is_digit(s[i + 1])) {
        i++;
        while (i < n && is_digit(s[i])) {
            value = value * 10 + (s[i++] - '0');
            scale *= 10;
        }
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        uint64_t k = i + 1;
        bool negative = k < n && s[k] == '-';
        if (k < n && (s[k] == '-' || s[k] == '+'))
            k++;
        if (k >= n || !is_digit(s[k]))
            return false;
        int exponent = 0;
        while (k < n && is_digit(s[k])) {
            if (exponent < 400)
                exponent = exponent * 10 + (s[k] - '0');
            k++;
        }
        for (int e = 0; e < exponent && e < 400; e++) {
            if (negative)
                scale *= 10;
            else
                value *= 10;
        }
        i = k;
    }
    if (i < n && is_letter(s[i]))
        return false;
    *used = i;
    *out = value / scale;
    return isfinite(*out);
}

static uint64_t name_length(const char *s, uint64_t n, bool *is_path)
{
    uint64_t i = 0;
    *is_path = false;
    for (; i < n; i++) {
        if (is_letter(s[i]) || is_digit(s[i]))
            continue;
        if (s[i] != '.' && s[i] != '{' && s[i] != '}')
            break;
        *is_path = true;
    }
    return i;
}

struct reader {
    const char *name;
    uint32_t line;
    struct bl_arena *arena;
};

static bl_status read_token(const struct reader *r, const char *s, uint64_t n, uint32_t column, uint64_t *used, struct bl_graph_token *out)
{
    *out = (struct bl_graph_token){.column = column};
    *used = 0;
    char c = s[0];
    if (is_letter(c) || c == '{') {
        bool is_path;
        *used = name_length(s, n, &is_path);
        out->kind = is_path ? BL_TOK_PATH : BL_TOK_NAME;
    } else if (is_digit(c)) {
        if (!read_number(s, n, used, &out->number))
            BL_FAIL(BL_EFORMAT, "%s:%u:%u: malformed number", r->name, r->line, column);
        out->kind = BL_TOK_NUMBER;
    } else if (c == '"') {
        uint64_t i = 1;
        while (i < n && s[i] != '"')
            i++;
        if (i == n)
            BL_FAIL(BL_EFORMAT, "%s:%u:%u: string without closing quote", r->name, r->line, column);
        out->kind = BL_TOK_STRING;
        out->text = bl_arena_string(r->arena, s + 1, i - 1);
        if (!out->text)
            BL_FAIL(BL_ENOMEM, "%s:%u: no memory for a string", r->name, r->line);
        *used = i + 1;
        return BL_OK;
    } else if (c && strchr("=!<>+-*/%?()[]:,", c)) {
        out->kind = BL_TOK_PUNCT;
        out->punct = (uint16_t)c;
        *used = 1;
        if (strchr("=!<>", c) && n > 1 && s[1] == '=') {
            out->punct = (uint16_t)(c | '=' << 8);
            *used = 2;
        } else if (c == '!') {
            BL_FAIL(BL_EFORMAT, "%s:%u:%u: '!' without '='", r->name, r->line, column);
        }
    } else {
        BL_FAIL(BL_EFORMAT, "%s:%u:%u: unexpected byte 0x%02x", r->name, r->line, column, (unsigned)(unsigned char)c);
    }
    out->text = bl_arena_string(r->arena, s, *used);
    if (!out->text)
        BL_FAIL(BL_ENOMEM, "%s:%u: no memory for a word", r->name, r->line);
    return BL_OK;
}

static bl_status read_line(struct reader *r, const char *s, uint64_t n, struct bl_graph_line *line)
{
    uint64_t i = 0;
    while (i < n && s[i] == ' ')
        i++;
    line->number = r->line;
    line->indent = (uint32_t)i;
    if (n > 0 && s[n - 1] == '\r')
        n--;
    /* A line of n bytes has at most n tokens. */
    struct bl_graph_token *tokens = NULL;
    uint32_t count = 0, cap = 0;
    while (i < n && s[i] != '#') {
        if (s[i] == ' ') {
            i++;
            continue;
        }
        if (count + 1 >= cap) {
            uint32_t grown = cap ? cap * 2 : 16;
            struct bl_graph_token *more = bl_arena_alloc(r->arena, grown, sizeof *more);
            if (!more)
                BL_FAIL(BL_ELIMIT, "%s:%u: line is too long", r->name, r->line);
            if (count)
                memcpy(more, tokens, count * sizeof *more);
            tokens = more;
            cap = grown;
        }
        uint64_t used;
        BL_TRY(read_token(r, s + i, n - i, (uint32_t)i + 1, &used, &tokens[count]));
        count++;
        i += used;
    }
    line->tokens = tokens; /* the arena is zeroed: tokens[count] is END */
    line->n_tokens = count;
    if (tokens)
        tokens[count].column = (uint32_t)n + 1;
    return BL_OK;
}

/* A block is the run of deeper lines after its head: one pass from the end, with the heads that are still open on a stack. */
static bl_status find_blocks(const struct reader *r, struct bl_graph_lines *out)
{
    uint32_t open[BL_LIMIT_GRAPH_DEPTH + 1], depth = 0; /* the blocks and the statement inside the last one */
    for (uint32_t i = 0; i < out->n_lines; i++) {
        while (depth && out->lines[i].indent <= out->lines[open[depth - 1]].indent)
            out->lines[open[--depth]].block_end = i;
        if (depth == BL_LIMIT_GRAPH_DEPTH + 1)
            BL_FAIL(BL_ELIMIT, "%s:%u: blocks nested deeper than %u", r->name, out->lines[i].number, BL_LIMIT_GRAPH_DEPTH);
        open[depth++] = i;
    }
    while (depth)
        out->lines[open[--depth]].block_end = out->n_lines;
    return BL_OK;
}

bl_status bl_graph_text_read(const char *text, uint64_t bytes, const char *name, struct bl_arena *arena, struct bl_graph_lines *out)
{
    *out = (struct bl_graph_lines){NULL, 0};
    if (bytes > BL_LIMIT_GRAPH_TEXT_BYTES)
        BL_FAIL(BL_ELIMIT, "%s: graph text of %llu bytes, limit %u", name, (unsigned long long)bytes, BL_LIMIT_GRAPH_TEXT_BYTES);
    uint64_t n_lines = bytes && text[bytes - 1] != '\n'; /* the last line may lack its newline */
    for (uint64_t i = 0; i < bytes; i++)
        n_lines += text[i] == '\n';
    if (n_lines > BL_LIMIT_GRAPH_LINES)
        BL_FAIL(BL_ELIMIT, "%s: graph text of %llu lines, limit %u", name, (unsigned long long)n_lines, BL_LIMIT_GRAPH_LINES);
    struct reader r = {name, 0, arena};
    out->lines = bl_arena_alloc(arena, n_lines, sizeof *out->lines);
    if (!out->lines)
        BL_FAIL(BL_ENOMEM, "%s: no memory for the lines", name);
    for (uint64_t at = 0; at < bytes;) {
        const char *newline = memchr(text + at, '\n', (size_t)(bytes - at));
        uint64_t length = newline ? (uint64_t)(newline - (text + at)) : bytes - at;
        r.line++;
        BL_TRY(read_line(&r, text + at, length, &out->lines[out->n_lines]));
        if (out->lines[out->n_lines].n_tokens)
            out->n_lines++;
        at += length + 1;
    }
    return find_blocks(&r, out);
}
