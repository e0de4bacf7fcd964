/* tasks.c: see tasks.h. */
#include "eval/tasks.h"

#include "base/error.h"
#include "compress/jsonl.h"

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

static bl_status take_choices(const char *name, const struct xq_question *q, struct task *out)
{
    if (q->n_choices < 2 || q->n_choices > MOST_CHOICES)
        BL_FAIL(BL_EFORMAT, "%s: line %u: %u choices, must be 2 to %d", name, q->line, q->n_choices, MOST_CHOICES);
    out->n_choices = q->n_choices;
    out->answer = (uint32_t)q->number;
    for (uint32_t i = 0; i < q->n_choices; i++) {
        if (!q->choices[i].bytes)
            BL_FAIL(BL_EFORMAT, "%s: line %u: an empty choice", name, q->line);
        out->choices[i] = (struct text){q->choices[i].text, q->choices[i].bytes, q->line};
    }
    return BL_OK;
}

static bl_status read_question(enum task_kind kind, const char *name, const struct xq_question *q, struct task *out)
{
    *out = (struct task){.prompt = {q->prompt.text, q->prompt.bytes, q->line}, .n_choices = 4};
    if (q->n_choices)
        return take_choices(name, q, out);
    if (q->answer.bytes != 1)
        BL_FAIL(BL_EFORMAT, "%s: line %u: no \"choices\"", name, q->line);
    const char answer = q->answer.text[0], *labels = strchr(digits, answer) ? digits : letters;
    if (kind == TASKS_ARC && (out->n_choices = count_marks(&out->prompt, labels)) < 2)
        BL_FAIL(BL_EFORMAT, "%s: line %u: no choices (%c) (%c) in the question", name, q->line, labels[0], labels[1]);
    if (kind == TASKS_MMLU)
        labels = letters;
    while (out->answer < out->n_choices && labels[out->answer] != answer)
        out->answer++;
    if (out->answer == out->n_choices)
        BL_FAIL(BL_EFORMAT, "%s: line %u: the answer is '%c', must be %c to %c", name, q->line, answer, labels[0], labels[out->n_choices - 1]);
    for (uint32_t i = 0; i < out->n_choices; i++)
        out->choices[i] = (struct text){labels + i, 1, q->line};
    return BL_OK;
}

static bl_status read_questions(enum task_kind kind, const char *name, const char *data, size_t bytes, struct tasks *out)
{
    struct xq_question *questions;
    size_t n;
    BL_TRY(xq_jsonl_questions(name, data, bytes, &questions, &n, &out->strings));
    out->items = malloc((n + 1) * sizeof *out->items);
    bl_status status = !out->items ? bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for %zu tasks", name, n)
                       : !n        ? bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: no line with a question", name)
                                   : BL_OK;
    for (size_t i = 0; i < n && status == BL_OK; i++) {
        status = read_question(kind, name, &questions[i], &out->items[i]);
        out->per_token |= questions[i].n_choices > 0; /* labels are equally long: nothing changes for them */
    }
    out->n = (uint32_t)n;
    free(questions);
    return status;
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
    free(tasks->strings);
    *tasks = (struct tasks){0};
}
