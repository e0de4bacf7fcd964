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

static bool on_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

static const struct turn_format *find_format(const bl_tokenizer *tokenizer)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (bl_tokenizer_find(tokenizer, formats[i].mark, strlen(formats[i].mark)) >= 0)
            return &formats[i];
    return NULL;
}

/* The text of a user's turn, freed by the caller. Gemma has no system turn: its text goes before the first user's. */
static char *make_turn(const struct turn_format *f, const char *system, bool first, const char *text)
{
    bool joined = strcmp(f->system_before, f->user_before) == 0;
    size_t bytes = strlen(text) + (system ? strlen(system) : 0) + 256;
    char *turn = malloc(bytes);
    if (!turn)
        return NULL;
    int n = snprintf(turn, bytes, "%s", first ? "" : f->again);
    if (first && system)
        n += snprintf(turn + n, bytes - (size_t)n, "%s%s%s", f->system_before, system, f->system_after);
    snprintf(turn + n, bytes - (size_t)n, "%s%s%s", first && system && joined ? "" : f->user_before, text, f->user_after);
    return turn;
}

static int answer(const struct options *o, bl_model *model, bl_sequence *sequence, bl_generate_params *params, const struct turn_format *format,
                  const char *text)
{
    char *turn = make_turn(format, o->system, bl_sequence_length(sequence) == 0, text);
    if (!turn)
        return EXIT_FAILED;
    params->prompt = turn;
    params->prompt_bytes = strlen(turn);
    bl_generate_result result;
    interrupt_on_signal(model);
    bl_status status = bl_generate(sequence, params, &result);
    interrupt_on_signal(NULL);
    free(turn);
    printf("\n");
    fflush(stdout);
    if (status == BL_OK && !o->quiet)
        warn_if_full(model, sequence, &result);
    if (status == BL_OK && !o->quiet)
        fprintf(stderr, "[%u + %u tokens, %.1f tok/s, %u in the context]\n", result.n_prompt, result.n_generated,
                result.generate_ns ? result.n_generated * 1e9 / (double)result.generate_ns : 0.0, bl_sequence_length(sequence));
    return status == BL_OK || status == BL_ECANCELLED ? EXIT_OK : report_error();
}

static int converse(const struct options *o, bl_model *model, bl_sequence *sequence, bl_generate_params *params, const struct turn_format *format)
{
    struct input in;
    open_input(&in);
    int code = EXIT_OK;
    if (o->prompt)
        code = answer(o, model, sequence, params, format, o->prompt);
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "/reset starts again, /exit or Ctrl-D ends, Ctrl-C stops an answer.\n");
    for (char *line; code == EXIT_OK && (line = read_line(&in));) {
        if (strcmp(line, "/exit") == 0)
            break;
        if (strcmp(line, "/reset") == 0)
            code = bl_sequence_truncate(sequence, 0) == BL_OK ? EXIT_OK : report_error();
        else if (*line)
            code = answer(o, model, sequence, params, format, line);
    }
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
