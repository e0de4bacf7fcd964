/* verb_run.c: bitloom run: a prompt in, its continuation out. */
#include "common.h"
#include "trace.h"
#include "verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct screen {
    bool progress;   /* draw a bar while the prompt is read */
    bool drawn;
    bool failed;     /* stdout is closed or full */
};

static void clear_bar(struct screen *screen)
{
    if (screen->drawn)
        fprintf(stderr, "\r\033[K");
    screen->drawn = false;
}

static bool on_text(void *user, const char *text, size_t bytes)
{
    struct screen *screen = user;
    clear_bar(screen);
    if (fwrite(text, 1, bytes, stdout) != bytes || fflush(stdout) != 0)
        screen->failed = true;
    return !screen->failed;
}

static void on_prompt(void *user, uint32_t done, uint32_t total)
{
    struct screen *screen = user;
    enum { WIDTH = 40 };
    if (!screen->progress || total < 64)
        return;
    char bar[WIDTH + 1];
    uint32_t filled = (uint32_t)((uint64_t)done * WIDTH / total);
    memset(bar, '#', filled);
    memset(bar + filled, '.', WIDTH - filled);
    bar[WIDTH] = 0;
    fprintf(stderr, "\rreading the prompt [%s] %u/%u", bar, done, total);
    screen->drawn = true;
    if (done == total)
        clear_bar(screen);
}

static bool terminal_progress(const struct options *o)
{
    const char *term = getenv("TERM");
    return !o->quiet && isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
}

/* The prompt as bytes, freed by the caller. -p with escapes; -f and standard input without their last newline, as echo and editors put it. */
static char *get_prompt(const struct options *o, size_t *bytes)
{
    if (!o->prompt) {
        char *text = read_text(o->file ? o->file : "-", bytes);
        if (text && *bytes && text[*bytes - 1] == '\n')
            text[--*bytes] = 0;
        return text;
    }
    char *copy = strdup(o->prompt);
    if (copy)
        *bytes = o->escape ? unescape(copy) : strlen(copy);
    return copy;
}

/* False after a line on stderr. */
static bool write_report(const char *path, const bl_model *model, uint64_t load_ns, const bl_generate_result *r)
{
    FILE *f = fopen(path, "w");
    bl_model_info info;
    bl_model_get_info(model, &info);
    if (f) {
        fprintf(f, "{\"model\": ");
        print_json_string(f, info.name);
        fprintf(f, ", \"device\": ");
        print_json_string(f, info.device);
        fprintf(f, ", \"placement\": ");
        print_json_string(f, info.placement);
        fprintf(f, ", \"fallback\": ");
        print_json_string(f, info.fallback);
        fprintf(f, ", \"inexact\": ");
        print_json_string(f, info.inexact);
        fprintf(f, ", \"schedule\": ");
        print_json_string(f, info.schedule);
        fprintf(f, ", \"launches\": %u, \"lanes\": %u, \"lane_steps\": %u, \"idle\": %.2f", info.launches, info.lanes, info.steps, info.idle);
        fprintf(f, ",\n \"load_ms\": %.3f, \"prompt_tokens\": %u, \"prompt_ms\": %.3f, \"generated_tokens\": %u, \"steps\": %u, \"generate_ms\": %.3f}\n",
                (double)load_ns / 1e6, r->n_prompt, (double)r->prompt_ns / 1e6, r->n_generated, r->n_steps, (double)r->generate_ns / 1e6);
    }
    bool failed = !f || ferror(f) != 0;
    if ((f && fclose(f) != 0) || failed) {
        fprintf(stderr, "%s: %s: cannot write: %s\n", program_name, path, strerror(errno));
        return false;
    }
    return true;
}

int run_prompt(struct options *o)
{
    bl_model *model;
    bl_sequence *sequence;
    bl_generate_params params;
    bl_generate_result result;
    struct trace trace;
    struct screen screen = {.progress = terminal_progress(o)};
    size_t prompt_bytes = 0;
    log_to_stderr(o);
    if (!fill_generate_params(o, &params))
        return EXIT_USAGE;
    if (o->prompt && o->file) {
        fprintf(stderr, "bitloom run: give -p or -f, not both\n");
        return EXIT_USAGE;
    }
    uint64_t start = now_ns();
    int code = open_model(o, &model, &sequence);
    if (code != EXIT_OK)
        return code;
    uint64_t load_ns = now_ns() - start;
    char *prompt = get_prompt(o, &prompt_bytes);
    if (!prompt || (o->trace && !trace_open(&trace, o->trace))) {
        code = EXIT_FAILED;
        goto out;
    }
    if (o->trace)
        bl_model_trace(model, trace_step, &trace);
    params.prompt = prompt;
    params.prompt_bytes = prompt_bytes;
    params.on_text = on_text;
    params.on_prompt = on_prompt;
    params.user = &screen;
    interrupt_on_signal(model);
    bl_status status = bl_generate(sequence, &params, &result);
    interrupt_on_signal(NULL);
    clear_bar(&screen);
    if (screen.failed)
        code = finish_stdout(EXIT_FAILED);
    else if (status == BL_ECANCELLED)
        code = 130;
    else if (status != BL_OK)
        code = report_error();
    if (result.n_generated && isatty(STDOUT_FILENO))
        fprintf(stderr, "\n");
    if (!o->quiet && (status == BL_OK || status == BL_ECANCELLED)) {
        warn_if_full(model, sequence, &result);
        print_stats(model, load_ns, &result);
    }
    if (o->report && !write_report(o->report, model, load_ns, &result))
        code = EXIT_FAILED;
    if (o->trace && !trace_close(&trace, o->trace))
        code = EXIT_FAILED;
out:
    free(prompt);
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return code;
}

int verb_run(struct options *options)
{
    return run_prompt(options);
}
