/* tasks.h: questions with choices, read from the files that hold them. Knows no model. */
#ifndef BL_EVAL_TASKS_H
#define BL_EVAL_TASKS_H
#include "eval/texts.h"

#include <stdbool.h>

/* What a file holds.
 *   TASKS_ARC        JSON lines whose "text" is a question with choices marked (A) (B) ... or (1) (2) ... and ends in "Answer: X"
 *   TASKS_MMLU       the same, choices always A to D, other questions with their answers may stand before
 *                    of both: or JSON lines of "prompt", "choices" and "answer" (compress/jsonl.h)
 *   TASKS_HELLASWAG  six lines a task: the beginning, the number of the right ending from 0 on, four endings
 * The choices of the first two are the labels; texts under "choices" and the endings of the last are compared per token because they differ in
 * length. */
enum task_kind { TASKS_ARC, TASKS_MMLU, TASKS_HELLASWAG };

enum { MOST_CHOICES = 8 };
/* A choice follows its prompt after one blank. */
struct task {
    struct text prompt, choices[MOST_CHOICES];
    uint32_t n_choices, answer;
};
struct tasks {
    const char *name; /* of the file */
    struct task *items;
    uint32_t n;
    bool per_token;
    char *strings; /* what prompts point into, unless it is `data` */
};
/* At most `most` tasks, spread evenly over the file; 0: all. They come in the order of their prompts, so that neighbours begin alike. `data` must outlive *out. BL_EFORMAT with file, line and what is wrong there: no
 * question, an answer that is no choice, a file without tasks. */
bl_status tasks_read(enum task_kind kind, const char *name, const char *data, size_t bytes, uint32_t most, struct tasks *out) BL_MUST_USE;
void tasks_free(struct tasks *tasks);
#endif
