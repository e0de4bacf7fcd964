/* jsonl.c: walks over one object per line, and decodes strings of it. */
#include "compress/jsonl.h"

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *at, *end;
    char *out;           /* decoded strings; as long as the file at most */
};

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    const bool is = r->at < r->end && *r->at == c;
    r->at += is;
    return is;
}

static bool hex4(struct reader *r, uint32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < 4; i++, r->at++) {
        const char c = r->at < r->end ? *r->at : ' ';
        const uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10) : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10) : 16;
        if (digit == 16)
            return false;
        *out = *out * 16 + digit;
    }
    return true;
}

static void put_utf8(struct reader *r, uint32_t c)
{
    if (c < 0x80) {
        *r->out++ = (char)c;
        return;
    }
    const uint32_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *r->out++ = (char)((0xf00u >> (more + 1) & 0xf0) | c >> 6 * more);
    for (uint32_t i = more; i-- > 0;)
        *r->out++ = (char)(0x80 | (c >> 6 * i & 0x3f));
}

/* After a backslash. A lone surrogate becomes U+FFFD. */
static bool escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char c = r->at < r->end ? *r->at++ : 0;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        *r->out++ = to[known - from];
        return true;
    }
    uint32_t unit, low;
    if (c != 'u' || !hex4(r, &unit))
        return false;
    if (unit >= 0xd800 && unit < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        struct reader ahead = {r->at + 2, r->end, NULL};
        if (hex4(&ahead, &low) && low >= 0xdc00 && low < 0xe000) {
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            r->at = ahead.at;
        }
    }
    put_utf8(r, unit >= 0xd800 && unit < 0xe000 ? 0xfffd : unit);
    return true;
}

/* A string at the reader, decoded to out. */
static bool string(struct reader *r)
{
    if (!take(r, '"'))
        return false;
    while (r->at < r->end && *r->at != '"') {
        const char c = *r->at++;
        if (c != '\\')
            *r->out++ = c;
        else if (!escape(r))
            return false;
    }
    return take(r, '"');
}

/* Any value, without looking into it: strings are stepped over whole. */
static bool skip_value(struct reader *r)
{
    uint32_t depth = 0;
    for (bool first = true; r->at < r->end; first = false) {
        skip_blanks(r);
        const char c = r->at < r->end ? *r->at : 0;
        if (depth == 0 && !first && (c == ',' || c == '}'))
            return true;
        if (c == '"') {
            char *back = r->out;
            if (!string(r))
                return false;
            r->out = back;
            continue;
        }
        depth += c == '{' || c == '[';
        if (c == '}' || c == ']') {
            if (depth == 0)
                return false;
            depth--;
        }
        r->at++;
    }
    return false;
}

/* NULL, or what is wrong. */
static const char *line(struct reader *r)
{
    bool found = false;
    if (!take(r, '{'))
        return "expected an object";
    while (!take(r, '}')) {
        char *key = r->out;
        if (!string(r) || !take(r, ':'))
            return "expected a key";
        const bool is_text = r->out - key == 4 && memcmp(key, "text", 4) == 0;
        r->out = key;
        skip_blanks(r);
        if (is_text && !found && r->at < r->end && *r->at == '"') {
            found = string(r);
            if (!found)
                return "a string without an end";
            *r->out++ = '\n';
        } else if (!skip_value(r)) {
            return "a value without an end";
        }
        take(r, ',');
    }
    return found ? NULL : "no string \"text\"";
}

bl_status xq_jsonl_texts(const char *name, const char *data, size_t bytes, char **out, size_t *out_bytes)
{
    *out = malloc(bytes + 1); /* an escape is longer than what it stands for, a newline pays for its quotes */
    *out_bytes = 0;
    if (!*out)
        BL_FAIL(BL_ENOMEM, "%s: no memory for its %zu bytes", name, bytes);
    char *to = *out;
    uint32_t number = 1;
    for (const char *at = data, *end = data + bytes; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        struct reader r = {at, stop, to};
        skip_blanks(&r);
        const char *wrong = r.at < stop ? line(&r) : NULL;
        if (wrong) {
            free(*out);
            *out = NULL;
            BL_FAIL(BL_EFORMAT, "%s: line %u: %s", name, number, wrong);
        }
        to = r.out;
        at = newline ? newline + 1 : end;
    }
    *out_bytes = (size_t)(to - *out);
    return BL_OK;
}

/* ---- questions ---- */

enum { MOST_CHOICES = 26 };
struct piece {
    const char *text;
    size_t bytes;
};
/* One line, as it is read. */
struct question {
    struct piece prompt, answer, text, choices[MOST_CHOICES];
    uint32_t n_choices;
    int64_t number;      /* of the answer; -1: it is a text, or missing */
};

static bool piece(struct reader *r, struct piece *out)
{
    *out = (struct piece){r->out, 0};
    if (!string(r))
        return false;
    out->bytes = (size_t)(r->out - out->text);
    return true;
}

static bool is_piece(const struct piece *p, const char *text)
{
    return p->bytes == strlen(text) && memcmp(p->text, text, p->bytes) == 0;
}

static const char *read_choices(struct reader *r, struct question *q)
{
    if (!take(r, '['))
        return "\"choices\" is no list";
    while (!take(r, ']')) {
        if (q->n_choices == MOST_CHOICES)
            return "more than 26 choices";
        if (!piece(r, &q->choices[q->n_choices++]))
            return "a choice is no text";
        take(r, ',');
    }
    return NULL;
}

static const char *read_answer(struct reader *r, struct question *q)
{
    skip_blanks(r);
    if (r->at < r->end && *r->at == '"')
        return piece(r, &q->answer) ? NULL : "a string without an end";
    if (r->at == r->end || *r->at < '0' || *r->at > '9')
        return "\"answer\" is neither a text nor the number of a choice";
    for (q->number = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9' && q->number < MOST_CHOICES; r->at++)
        q->number = 10 * q->number + *r->at - '0';
    return NULL;
}

/* A text of a question and its answer. */
static bool split(struct question *q)
{
    static const char before[] = "Answer: ";
    const size_t length = sizeof before - 1;
    const char *text = q->text.text;
    size_t n = q->text.bytes, at;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    for (at = n; at > 0 && text[at - 1] != '\n'; at--) { /* of the last line */
        if (at < length || memcmp(text + at - length, before, length) != 0 || at == n)
            continue;
        q->prompt = (struct piece){text, at - 1}; /* without the blank */
        q->answer = (struct piece){text + at, n - at};
        return true;
    }
    return false;
}

static const char *choose(struct question *q)
{
    if (!q->prompt.text && q->text.text)
        return split(q) ? NULL : "its text does not end in \"Answer: X\"";
    if (!q->prompt.text)
        return "no string \"prompt\", and no \"text\" that ends in \"Answer: X\"";
    if (!q->answer.text && q->number < 0)
        return "no \"answer\"";
    bool is_text = q->n_choices == 0 && q->answer.text;
    for (uint32_t i = 0; i < q->n_choices && q->answer.text && !is_text; i++)
        is_text = q->choices[i].bytes == q->answer.bytes && memcmp(q->choices[i].text, q->answer.text, q->answer.bytes) == 0;
    if (!is_text && q->answer.bytes == 1)
        q->number = q->answer.text[0] - 'A';
    if (!is_text && (q->number < 0 || q->number >= q->n_choices))
        return "\"answer\" is none of the choices";
    if (!is_text)
        q->answer = q->choices[q->number];
    return q->prompt.bytes && q->answer.bytes ? NULL : "an empty prompt or answer";
}

static const char *question(struct reader *r, struct question *q)
{
    const char *wrong = NULL;
    if (!take(r, '{'))
        return "expected an object";
    while (!take(r, '}')) {
        struct piece key;
        if (!piece(r, &key) || !take(r, ':'))
            return "expected a key";
        r->out -= key.bytes;
        skip_blanks(r);
        if (is_piece(&key, "prompt"))
            wrong = piece(r, &q->prompt) ? NULL : "\"prompt\" is no text";
        else if (is_piece(&key, "text"))
            wrong = piece(r, &q->text) ? NULL : "\"text\" is no text";
        else if (is_piece(&key, "choices"))
            wrong = read_choices(r, q);
        else if (is_piece(&key, "answer"))
            wrong = read_answer(r, q);
        else if (!skip_value(r))
            wrong = "a value without an end";
        if (wrong)
            return wrong;
        take(r, ',');
    }
    return choose(q);
}

bl_status xq_jsonl_questions(const char *name, const char *data, size_t bytes, struct xq_question **out, size_t *n, char **strings)
{
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    *n = 0;
    *out = calloc(lines, sizeof **out);
    *strings = malloc(bytes + 1);
    const char *wrong = *out && *strings ? NULL : "no memory";
    char *to = *strings;
    uint32_t number = 0;
    for (const char *at = data, *end = data + bytes; at < end && !wrong;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        struct reader r = {at, stop, to};
        struct question q = {.number = -1};
        number++;
        skip_blanks(&r);
        at = newline ? newline + 1 : end;
        if (r.at == stop)
            continue;
        wrong = question(&r, &q);
        to = r.out;
        (*out)[(*n)++] = (struct xq_question){q.prompt.text, q.answer.text, q.prompt.bytes, q.answer.bytes};
    }
    if (!wrong)
        return BL_OK;
    free(*out);
    free(*strings);
    *out = NULL;
    *strings = NULL;
    BL_FAIL(BL_EFORMAT, "%s: line %u: %s", name, number, wrong);
}
