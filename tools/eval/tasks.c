/* tasks.c: see tasks.h. */
#include "eval/tasks.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static const char letters[] = "ABCDEFGH", digits[] = "12345678";

/* ---- JSON lines ---- */

static bool holds(const struct text *t, const char *words, size_t n)
{
    for (size_t i = 0; i + n <= t->bytes; i++)
        if (memcmp(t->data + i, words, n) == 0)
            return true;
    return false;
}

/* How many of the labels stand in the question in brackets, from the first on. */
static uint32_t count_marks(const struct text *question, const char *labels)
{
    uint32_t n = 0;
    while (n < MOST_CHOICES && holds(question, (const char[]){'(', labels[n], ')'}, 3))
        n++;
    return n;
}

static bl_status read_question(enum task_kind kind, const char *name, const struct text *text, struct task *out)
{
    static const char before[] = "Answer: ";
    const size_t room = sizeof before; /* with the label in the place of the terminator */
    size_t n = text->bytes;
    while (n > 0 && (text->data[n - 1] == '\n' || text->data[n - 1] == ' '))
        n--;
    if (n < room || memcmp(text->data + n - room, before, room - 1) != 0)
        BL_FAIL(BL_EFORMAT, "%s: line %u: the text does not end in \"Answer: X\"", name, text->line);
    const char answer = text->data[n - 1], *labels = strchr(digits, answer) ? digits : letters;
    *out = (struct task){.prompt = {text->data, n - 2, text->line}, .n_choices = 4}; /* without the blank and the label */
    if (kind == TASKS_ARC && (out->n_choices = count_marks(&out->prompt, labels)) < 2)
        BL_FAIL(BL_EFORMAT, "%s: line %u: no choices (%c) (%c) in the question", name, text->line, labels[0], labels[1]);
    if (kind == TASKS_MMLU)
        labels = letters;
    while (out->answer < out->n_choices && labels[out->answer] != answer)
        out->answer++;
    if (out->answer == out->n_choices)
        BL_FAIL(BL_EFORMAT, "%s: line %u: the answer is '%c', must be %c to %c", name, text->line, answer, labels[0], labels[out->n_choices - 1]);
    for (uint32_t i = 0; i < out->n_choices; i++)
        out->choices[i] = (struct text){labels + i, 1, text->line};
    return BL_OK;
}

static bl_status read_questions(enum task_kind kind, const char *name, const char *data, size_t bytes, struct tasks *out)
{
    BL_TRY(texts_read(name, data, bytes, &out->texts));
    out->items = malloc(out->texts.n * sizeof *out->items);
    if (!out->items)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u tasks", name, out->texts.n);
    for (; out->n < out->texts.n; out->n++)
        BL_TRY(read_question(kind, name, &out->texts.items[out->n], &out->items[out->n]));
    return BL_OK;
}

/* ---- six lines a task ---- */

/* The next line, without its end; false after the last. */
static bool next_line(const char **at, const char *end, uint32_t *number, struct text *out)
{
    if (*at >= end)
        return false;
    const char *newline = memchr(*at, '\n', (size_t)(end - *at)), *stop = newline ? newline : end;
    *out = (struct text){*at, (size_t)(stop - *at), ++*number};
    *at = newline ? newline + 1 : end;
    return true;
}

static bl_status read_endings(const char *name, const char **at, const char *end, uint32_t *number, struct task *out)
{
    struct text label;
    *out = (struct task){.n_choices = 4};
    bool whole = next_line(at, end, number, &out->prompt) && next_line(at, end, number, &label);
    for (uint32_t i = 0; i < 4 && whole; i++)
        whole = next_line(at, end, number, &out->choices[i]);
    if (!whole)
        BL_FAIL(BL_EFORMAT, "%s: line %u: the file ends inside a task of six lines", name, *number);
    if (out->prompt.bytes == 0)
        BL_FAIL(BL_EFORMAT, "%s: line %u: a task without a beginning", name, out->prompt.line);
    if (label.bytes != 1 || label.data[0] < '0' || label.data[0] > '3')
        BL_FAIL(BL_EFORMAT, "%s: line %u: the right ending is '%.*s', must be 0 to 3", name, label.line, (int)(label.bytes < 20 ? label.bytes : 20), label.data);
    out->answer = (uint32_t)(label.data[0] - '0');
    return BL_OK;
}

static bl_status read_beginnings(const char *name, const char *data, size_t bytes, struct tasks *out)
{
    uint32_t lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += data[i] == '\n';
    out->items = malloc((lines / 6 + 1) * sizeof *out->items);
    if (!out->items)
        BL_FAIL(BL_ENOMEM, "%s: no memory for %u tasks", name, lines / 6 + 1);
    uint32_t number = 0;
    for (const char *at = data; at < data + bytes; out->n++)
        BL_TRY(read_endings(name, &at, data + bytes, &number, &out->items[out->n]));
    if (out->n == 0)
        BL_FAIL(BL_EFORMAT, "%s: the file is empty", name);
    return BL_OK;
}

/* ---- ---- */

static int by_prompt(const void *a, const void *b)
{
    const struct text *x = &((const struct task *)a)->prompt, *y = &((const struct task *)b)->prompt;
    const int order = memcmp(x->data, y->data, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : x->line < y->line ? -1 : 1;
}

bl_status tasks_read(enum task_kind kind, const char *name, const char *data, size_t bytes, uint32_t most, struct tasks *out)
{
    *out = (struct tasks){.name = name, .per_token = kind == TASKS_HELLASWAG};
    const bl_status status = kind == TASKS_HELLASWAG ? read_beginnings(name, data, bytes, out) : read_questions(kind, name, data, bytes, out);
    if (status != BL_OK) {
        tasks_free(out);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    if (most && most < out->n) {
        for (uint32_t i = 0; i < most; i++)
            out->items[i] = out->items[(uint64_t)i * out->n / most];
        out->n = most;
    }
    qsort(out->items, out->n, sizeof *out->items, by_prompt);
    return BL_OK;
}

void tasks_free(struct tasks *tasks)
{
    free(tasks->items);
    texts_free(&tasks->texts);
    *tasks = (struct tasks){0};
}
