/* verb_chat.c: bitloom chat: a conversation, turn by turn, in the turn format that the vocabulary shows. Line editing through libedit where
 * the build has it. */
#include "common.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef BITLOOM_LIBEDIT
#include <histedit.h>
#endif

/* X-macro in spirit: a format is a row. Found by a token that only its vocabularies have. A turn is before + text + after; `again` closes
 * the model's last turn, whose end token is not part of the sequence. */
static const struct turn_format {
    const char *name, *mark;
    const char *system_before, *system_after, *user_before, *user_after, *again;
} formats[] = {
    {"ChatML", "<|im_start|>", "<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"},
    {"Gemma", "<start_of_turn>", "<start_of_turn>user\n", "\n\n", "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n"},
};

struct input {
#ifdef BITLOOM_LIBEDIT
    EditLine *edit;
    History *history;
    HistEvent event;
#endif
    char *line;
    size_t cap;
};

#ifdef BITLOOM_LIBEDIT
static char *prompt_text(EditLine *edit)
{
    (void)edit;
    static char text[] = "> ";
    return text;
}
#endif

static void open_input(struct input *in)
{
    memset(in, 0, sizeof *in);
#ifdef BITLOOM_LIBEDIT
    if (!isatty(STDIN_FILENO))
        return;
    in->edit = el_init("bitloom", stdin, stderr, stderr);
    in->history = history_init();
    if (!in->edit || !in->history)
        return;
    history(in->history, &in->event, H_SETSIZE, 500);
    el_set(in->edit, EL_PROMPT, prompt_text);
    el_set(in->edit, EL_EDITOR, "emacs");
    el_set(in->edit, EL_HIST, history, in->history);
#endif
}

static void close_input(struct input *in)
{
#ifdef BITLOOM_LIBEDIT
    if (in->history)
        history_end(in->history);
    if (in->edit)
        el_end(in->edit);
#endif
    free(in->line);
}

/* One line without its newline; NULL at the end. Valid until the next call. */
static char *read_line(struct input *in)
{
#ifdef BITLOOM_LIBEDIT
    if (in->edit) {
        int n = 0;
        const char *line = el_gets(in->edit, &n);
        if (!line || n <= 0)
            return NULL;
        if (n > 1)
            history(in->history, &in->event, H_ENTER, line);
        free(in->line);
        in->line = strdup(line);
        if (in->line)
            in->line[strcspn(in->line, "\n")] = 0;
        return in->line;
    }
#endif
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "> ");
    if (getline(&in->line, &in->cap, stdin) < 0)
        return NULL;
    in->line[strcspn(in->line, "\n")] = 0;
    return in->line;
}

static const struct turn_format *find_format(const bl_tokenizer *tokenizer)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (bl_tokenizer_find(tokenizer, formats[i].mark, strlen(formats[i].mark)) >= 0)
            return &formats[i];
    return NULL;
}

/* What has been said, so that it can be read again when the context is full. */
struct turn {
    char *user, *model; /* model: NULL while it is being answered */
};
struct talk {
    const struct turn_format *format;
    const char *system;
    struct turn *turns;
    size_t n, first; /* first: the oldest that the sequence still holds */
    char *said;      /* the model's answer so far */
    size_t said_bytes;
    FILE *saying;
};

static void forget(struct talk *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->turns[i].user);
        free(t->turns[i].model);
    }
    t->n = t->first = 0;
}

static bool add_turn(struct talk *t, const char *text)
{
    struct turn *grown = realloc(t->turns, (t->n + 1) * sizeof *grown);
    if (!grown)
        return false;
    t->turns = grown;
    t->turns[t->n] = (struct turn){strdup(text), NULL};
    return t->turns[t->n++].user != NULL;
}

/* What the sequence has to read: the last turn alone, or everything from t->first on. Gemma has no system turn: its text goes before the
 * first user's. Freed by the caller. */
static char *prompt_of(const struct talk *t, bool all, size_t *bytes)
{
    const struct turn_format *f = t->format;
    bool joined = strcmp(f->system_before, f->user_before) == 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes);
    if (!out)
        return NULL;
    for (size_t i = all ? t->first : t->n - 1; i < t->n; i++) {
        bool head = i == t->first, system = head && t->system;
        fputs(head ? "" : f->again, out);
        if (system)
            fprintf(out, "%s%s%s", f->system_before, t->system, f->system_after);
        fprintf(out, "%s%s%s%s", system && joined ? "" : f->user_before, t->turns[i].user, f->user_after, t->turns[i].model ? t->turns[i].model : "");
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static bool on_text(void *user, const char *text, size_t bytes)
{
    struct talk *t = user;
    fwrite(text, 1, bytes, t->saying);
    return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

/* One turn into the model. A context that it does not fit makes the oldest turns go, half of them at a time so that this is rare. */
static bl_status take_turn(struct talk *t, bl_sequence *sequence, bl_generate_params *params, bl_generate_result *result)
{
    for (bool all = bl_sequence_length(sequence) == 0;; all = true) {
        size_t bytes;
        char *prompt = prompt_of(t, all, &bytes);
        params->prompt = prompt;
        params->prompt_bytes = prompt ? bytes : 0;
        bl_status status = prompt ? bl_generate(sequence, params, result) : BL_ENOMEM;
        free(prompt);
        if (status != BL_ELIMIT || result->n_generated || t->first == t->n - 1)
            return status;
        size_t dropped = (t->n - t->first) / 2;
        t->first += dropped;
        fprintf(stderr, "%s: the context is full: the oldest %zu turn%s left out from here on\n", program_name, dropped, dropped == 1 ? " is" : "s are");
        status = bl_sequence_truncate(sequence, 0);
        if (status != BL_OK)
            return status;
    }
}

static int answer(const struct options *o, struct talk *t, bl_model *model, bl_sequence *sequence, bl_generate_params *params, const char *text)
{
    bl_generate_result result;
    memset(&result, 0, sizeof result);
    size_t first = t->first;
    t->saying = open_memstream(&t->said, &t->said_bytes);
    if (!t->saying || !add_turn(t, text)) {
        fprintf(stderr, "%s: no memory for the conversation\n", program_name);
        return EXIT_FAILED;
    }
    interrupt_on_signal(model);
    bl_status status = take_turn(t, sequence, params, &result);
    interrupt_on_signal(NULL);
    printf("\n");
    fflush(stdout);
    fclose(t->saying);
    t->turns[t->n - 1].model = t->said;
    if (status == BL_OK && !o->quiet)
        warn_if_full(model, sequence, &result);
    if (status == BL_OK && !o->quiet)
        fprintf(stderr, "[%u + %u tokens, %.1f tok/s, %u in the context]\n", result.n_prompt, result.n_generated,
                result.generate_ns ? result.n_steps * 1e9 / (double)result.generate_ns : 0.0, bl_sequence_length(sequence));
    if (status == BL_ELIMIT) { /* one turn larger than the context: nothing was read, the talk goes on without it */
        t->first = first;
        t->n--;
        free(t->turns[t->n].user);
        free(t->turns[t->n].model);
        (void)report_error();
        return EXIT_OK;
    }
    return status == BL_OK || status == BL_ECANCELLED ? EXIT_OK : report_error();
}

static int converse(const struct options *o, bl_model *model, bl_sequence *sequence, bl_generate_params *params, const struct turn_format *format)
{
    struct input in;
    struct talk talk = {.format = format, .system = o->system};
    params->user = &talk;
    open_input(&in);
    int code = EXIT_OK;
    if (o->prompt)
        code = answer(o, &talk, model, sequence, params, o->prompt);
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "/reset starts again, /exit or Ctrl-D ends, Ctrl-C stops an answer.\n");
    for (char *line; code == EXIT_OK && (line = read_line(&in));) {
        if (strcmp(line, "/exit") == 0)
            break;
        if (strcmp(line, "/reset") == 0) {
            forget(&talk);
            code = bl_sequence_truncate(sequence, 0) == BL_OK ? EXIT_OK : report_error();
        } else if (*line) {
            code = answer(o, &talk, model, sequence, params, line);
        }
    }
    forget(&talk);
    free(talk.turns);
    close_input(&in);
    return code;
}

int verb_chat(struct options *o)
{
    bl_model *model;
    bl_sequence *sequence;
    bl_generate_params params;
    log_to_stderr(o);
    if (!fill_generate_params(o, &params))
        return EXIT_USAGE;
    params.on_text = on_text;
    int code = open_model(o, &model, &sequence);
    if (code != EXIT_OK)
        return code;
    const bl_tokenizer *tokenizer = bl_model_tokenizer(model);
    const struct turn_format *format = tokenizer ? find_format(tokenizer) : NULL;
    if (format) {
        code = converse(o, model, sequence, &params, format);
    } else {
        fprintf(stderr, "bitloom chat: %s: no known turn format (ChatML, Gemma) in the vocabulary; use bitloom run\n", o->model);
        code = EXIT_FAILED;
    }
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return finish_stdout(code);
}
