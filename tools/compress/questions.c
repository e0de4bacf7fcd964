/* questions.c: questions and answers -> windows of tokens, and where answers are. */
#include "compress/jsonl.h"
#include "compress/windows.h"

#include "base/error.h"
#include "base/file_map.h"

#include <stdlib.h>
#include <string.h>

/* All questions one after the other; a question begins at starts[i], its answer's tokens have is_answer set. */
struct sheet {
    int32_t *tokens;
    uint8_t *is_answer;
    size_t *starts;      /* [n + 1] */
    size_t n, room;
};

static bl_status add_tokens(const bl_tokenizer *tokenizer, struct sheet *s, const char *text, size_t bytes, bool is_answer)
{
    size_t n;
    const size_t at = s->starts[s->n];
    BL_TRY(bl_tokenizer_encode(tokenizer, text, bytes, 0, NULL, 0, &n));
    if (at + n > s->room) {
        s->room = 2 * (at + n) + 1024;
        int32_t *tokens = realloc(s->tokens, s->room * sizeof *tokens);
        s->tokens = tokens ? tokens : s->tokens;
        uint8_t *flags = tokens ? realloc(s->is_answer, s->room) : NULL;
        s->is_answer = flags ? flags : s->is_answer;
        if (!flags)
            BL_FAIL(BL_ENOMEM, "no memory for %zu tokens of questions", at + n);
    }
    BL_TRY(bl_tokenizer_encode(tokenizer, text, bytes, 0, s->tokens + at, n, &n));
    memset(s->is_answer + at, is_answer, n);
    s->starts[s->n] = at + n;
    return BL_OK;
}

/* "prompt answer\n": the answer with the blank before it, as models have seen words. */
static bl_status add_question(const bl_tokenizer *tokenizer, struct sheet *s, const struct xq_question *q)
{
    static const char blanks[] = " \n\t";
    const bool has_blank = strchr(blanks, q->prompt.text[q->prompt.bytes - 1]) || strchr(blanks, q->answer.text[0]);
    char *answer = malloc(q->answer.bytes + 1);
    if (!answer)
        BL_FAIL(BL_ENOMEM, "no memory for an answer of %zu bytes", q->answer.bytes);
    answer[0] = ' ';
    memcpy(answer + !has_blank, q->answer.text, q->answer.bytes);
    s->starts[s->n + 1] = s->starts[s->n];
    s->n++;
    bl_status status = add_tokens(tokenizer, s, q->prompt.text, q->prompt.bytes, false);
    if (status == BL_OK)
        status = add_tokens(tokenizer, s, answer, q->answer.bytes + !has_blank, true);
    if (status == BL_OK)
        status = add_tokens(tokenizer, s, "\n", 1, false);
    free(answer);
    return status;
}

/* Fills one window from question *next on with all that fit; a question that fits nowhere loses its front. When there is nothing left, from
 * the first again, which does not count. */
static void fill_window(const struct sheet *s, size_t *next, int32_t first, uint32_t window, int32_t *tokens, uint8_t *counts)
{
    uint32_t at = 0;
    memset(counts, 0, window);
    if (first >= 0)
        tokens[at++] = first;
    const uint32_t begin = at;
    for (size_t i = *next, again = 0; at < window; i++) {
        again += i >= s->n;
        const size_t end = s->starts[i % s->n + 1], n = end - s->starts[i % s->n], take = n < window - at ? n : window - at;
        const bool fits = take == n || at == begin;
        const size_t from = at == begin ? end - take : end - n;
        for (size_t k = 0; k < take; k++, at++) {
            tokens[at] = s->tokens[from + k];
            if (at && s->is_answer[from + k] && fits && !again)
                counts[at - 1] = 1;
        }
        if (fits && !again)
            *next = i + 1;
        else
            again = 1;
    }
}

static bl_status make_windows(const struct sheet *s, int32_t first, uint64_t tokens, const char *path, struct xq_calibration *c)
{
    const size_t most = s->n; /* every window takes a question at least */
    const uint64_t wanted = xq_windows_wanted(tokens, c->window, XQ_HELD_QUESTIONS);
    int32_t *all = malloc(most * c->window * sizeof *all);
    uint8_t *counts = malloc(most * c->window);
    c->train = malloc(most * c->window * sizeof *all);
    c->held = malloc(most * c->window * sizeof *all);
    c->train_counts = malloc(most * c->window);
    c->held_counts = malloc(most * c->window);
    const bool good = all && counts && c->train && c->held && c->train_counts && c->held_counts;
    uint32_t n = 0;
    for (size_t next = 0; good && next < s->n && n < wanted; n++)
        fill_window(s, &next, first, c->window, all + (size_t)n * c->window, counts + (size_t)n * c->window);
    c->available = s->starts[s->n];
    c->is_short = tokens && n < wanted;
    for (uint32_t i = 0; good && i < n; i++) {
        const bool is_held = xq_is_held(i, n, XQ_HELD_QUESTIONS);
        const size_t to = (size_t)(is_held ? c->n_held++ : c->n_train++) * c->window, from = (size_t)i * c->window;
        memcpy((is_held ? c->held : c->train) + to, all + from, c->window * sizeof *all);
        memcpy((is_held ? c->held_counts : c->train_counts) + to, counts + from, c->window);
    }
    free(all);
    free(counts);
    if (!good)
        BL_FAIL(BL_ENOMEM, "%s: no memory for windows of %zu questions", path, s->n);
    xq_calibration_hash(c);
    return BL_OK;
}

static bl_status read_sheet(const bl_tokenizer *tokenizer, const char *path, const char *text, size_t bytes, struct sheet *s)
{
    struct xq_question *questions;
    char *strings;
    size_t n;
    BL_TRY(xq_jsonl_questions(path, text, bytes, &questions, &n, &strings));
    s->starts = calloc(n + 1, sizeof *s->starts);
    bl_status status = s->starts ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %zu questions", path, n);
    for (size_t i = 0; i < n && status == BL_OK; i++)
        status = add_question(tokenizer, s, &questions[i]);
    free(questions);
    free(strings);
    return status;
}

bl_status xq_calibration_read_questions(const bl_tokenizer *tokenizer, const char *path, uint32_t window, uint64_t tokens, struct xq_calibration *out)
{
    struct bl_file_map *map;
    struct sheet s = {0};
    int32_t first = -1;
    *out = (struct xq_calibration){.window = window};
    BL_TRY(bl_file_map_create(path, BL_FILE_MAP, &map));
    bl_status status = xq_check_utf8(path, bl_file_map_data(map), (size_t)bl_file_map_bytes(map));
    if (status == BL_OK)
        status = read_sheet(tokenizer, path, bl_file_map_data(map), (size_t)bl_file_map_bytes(map), &s);
    if (status == BL_OK)
        status = xq_first_token(tokenizer, &first);
    if (status == BL_OK && (s.n == 0 || s.starts[s.n] < window))
        status = bl_error_push(BL_EINVAL, __FILE__, __LINE__, "%s: its questions have %zu tokens, a window needs %u", path, s.n ? s.starts[s.n] : 0, window);
    if (status == BL_OK)
        status = make_windows(&s, first, tokens, path, out);
    if (status == BL_OK)
        status = bl_file_map_check(map);
    bl_file_map_destroy(map);
    free(s.tokens);
    free(s.is_answer);
    free(s.starts);
    if (status != BL_OK)
        xq_calibration_free(out);
    return status;
}
