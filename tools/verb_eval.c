/* verb_eval.c: bitloom eval: how well a model predicts texts and answers questions, and how far it is from another model. */
#include "common.h"
#include "compress/parallel.h"
#include "eval/base_file.h"
#include "eval/report.h"
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_WINDOW = 512, DEFAULT_SNIPPET = 1024 };

/* ---- progress ---- */

struct progress {
    const struct options *options;
    const char *unit, *figure;
    uint64_t told; /* when, where there is no terminal; 0: never */
};

static const uint64_t minute = UINT64_C(60000000000);

/* On a terminal one line that changes; else a line a minute. */
static void show_progress(void *user, double done, uint32_t all, double figure)
{
    struct progress *p = user;
    const bool is_terminal = isatty(STDERR_FILENO);
    const uint64_t now = now_ns();
    if (!p->told)
        p->told = now;
    if (p->options->quiet || (!is_terminal && now - p->told < minute))
        return;
    p->told = now;
    fprintf(stderr, "%s%s %.*f of %u", is_terminal ? "\r\033[K" : "", p->unit, done > floor(done) ? 2 : 0, done, all);
    if (!isnan(figure))
        fprintf(stderr, ": %s %.4f", p->figure, figure);
    fputs(is_terminal ? "" : "\n", stderr);
    fflush(stderr);
}

static void end_progress(const struct options *o)
{
    if (!o->quiet && isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static double seconds_since(uint64_t begun)
{
    return (double)(now_ns() - begun) * 1e-9;
}

/* ---- models ---- */

static uint32_t threads_of(const struct options *o)
{
    return o->threads > 0 ? (uint32_t)o->threads : xq_cores();
}

static int open_one(const struct options *o, const char *path, uint32_t context, uint32_t outputs, bool is_base, bl_model **out)
{
    bl_model_params p;
    bl_model_default_params(&p);
    p.context = context;
    p.batch = context && context < 512 ? context : 512;
    p.max_outputs = outputs;
    p.device.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    p.activations = strcmp(activations_of(o, is_base), "f32") == 0 ? BL_NUMBER_F32 : BL_NUMBER_Q8;
    return bl_model_open(path, &p, out) == BL_OK ? EXIT_OK : report_error();
}

/* ---- windows of texts ---- */

static uint32_t window_of(const struct options *o, uint32_t by_default)
{
    return o->context > 0 ? (uint32_t)o->context : by_default;
}

static struct score_options score_options(const struct options *o, uint32_t window, struct progress *progress)
{
    return (struct score_options){window, o->chunks > 0 ? (uint32_t)o->chunks : 0, threads_of(o), show_progress, progress};
}

static int print_scores(const struct options *o, const struct scores *s, const char *base, uint32_t window, uint32_t models, uint64_t begun)
{
    const double seconds = seconds_since(begun);
    end_progress(o);
    if (!report_text(o, s, base, seconds)) {
        fprintf(stderr, "bitloom eval: no memory for %zu tokens\n", s->n);
        return EXIT_FAILED;
    }
    if (!o->quiet)
        fprintf(stderr, "%u windows of %u, %zu tokens scored in %.1f s, %.0f tokens/s\n", s->windows, window, s->n, seconds, (double)models * s->windows * window / seconds);
    return EXIT_OK;
}

static int evaluate_text(const struct options *o, const char *name, const char *text, size_t bytes)
{
    (void)name;
    bl_model *model = NULL, *base = NULL;
    int32_t *ids = NULL;
    size_t n;
    struct scores scores = {0};
    struct progress progress = {o, "window", "perplexity", 0};
    const uint32_t window = window_of(o, DEFAULT_WINDOW);
    const struct score_options options = score_options(o, window, &progress);
    const uint64_t begun = now_ns();
    int code = open_one(o, o->model, window, score_outputs(window), false, &model);
    if (code == EXIT_OK && o->kld)
        code = open_one(o, o->kld, window, score_outputs(window), true, &base);
    if (code == EXIT_OK && (score_tokenize(bl_model_tokenizer(model), text, bytes, &ids, &n) != BL_OK || score_text(model, base, ids, n, &options, &scores) != BL_OK))
        code = report_error();
    if (code == EXIT_OK)
        code = print_scores(o, &scores, o->kld, window, base ? 2 : 1, begun);
    free(scores.tokens);
    free(ids);
    bl_model_close(base);
    bl_model_close(model);
    return code;
}

/* Against a file of llama-perplexity's. */
static int evaluate_stored(const struct options *o)
{
    bl_model *model = NULL;
    struct base_file base;
    struct scores scores = {0};
    struct progress progress = {o, "window", "perplexity", 0};
    const uint64_t begun = now_ns();
    if (base_file_open(o->kl_divergence_base, &base) != BL_OK)
        return report_error();
    const struct score_options options = score_options(o, base.window, &progress);
    int code = open_one(o, o->model, base.window, score_outputs(base.window), false, &model);
    if (code == EXIT_OK && score_stored(model, &base, &options, &scores) != BL_OK)
        code = report_error();
    if (code == EXIT_OK)
        code = print_scores(o, &scores, o->kl_divergence_base, base.window, 1, begun);
    free(scores.tokens);
    bl_model_close(model);
    base_file_close(&base);
    return code;
}

static int evaluate_snippets(const struct options *o, const char *name, const char *text, size_t bytes)
{
    bl_model *model = NULL;
    struct texts texts = {0};
    struct snippets snippets = {0};
    struct progress progress = {o, "text", "perplexity", 0};
    const uint32_t window = window_of(o, DEFAULT_SNIPPET);
    const struct score_options options = score_options(o, window, &progress);
    const uint64_t begun = now_ns();
    int code = texts_read(name, text, bytes, &texts) == BL_OK ? open_one(o, o->model, window, score_outputs(window), false, &model) : report_error();
    if (code == EXIT_OK && score_snippets(model, &texts, &options, &snippets) != BL_OK)
        code = report_error();
    if (code == EXIT_OK) {
        const double seconds = seconds_since(begun);
        end_progress(o);
        report_snippets(o, &snippets, seconds);
        if (!o->quiet)
            fprintf(stderr, "%u texts of %u tokens in %.1f s, %.0f tokens/s\n", snippets.n, window, seconds, (double)snippets.n * window / seconds);
    }
    free(snippets.perplexities);
    bl_model_close(model);
    texts_free(&texts);
    return code;
}

/* ---- tasks ---- */

static int answer(const struct options *o, const char *path, bool is_base, const struct tasks *tasks, struct chosen *out)
{
    bl_model *model;
    struct progress progress = {o, is_base ? "other model, task" : "task", "accuracy", 0};
    int code = open_one(o, path, o->context > 0 ? (uint32_t)o->context : o->context == 0 ? BL_CONTEXT_FULL : 0, CHOOSE_OUTPUTS, is_base, &model);
    if (code != EXIT_OK)
        return code;
    if (choose(model, tasks, &(struct choose_options){threads_of(o), show_progress, &progress}, out) != BL_OK)
        code = report_error();
    bl_model_close(model);
    end_progress(o);
    return code;
}

static int evaluate_tasks(const struct options *o, enum task_kind kind, const char *name, const char *text, size_t bytes)
{
    static const char *const names[] = {"arc", "mmlu", "hellaswag"};
    struct tasks tasks = {0};
    struct chosen model = {0}, other = {0};
    const uint64_t begun = now_ns();
    int code = tasks_read(kind, name, text, bytes, (uint32_t)o->tasks, &tasks) == BL_OK ? answer(o, o->model, false, &tasks, &model) : report_error();
    if (code == EXIT_OK && o->against) /* one model after the other: the memory of one */
        code = answer(o, o->against, true, &tasks, &other);
    if (code == EXIT_OK) {
        const double seconds = seconds_since(begun);
        report_tasks(o, names[kind], name, &model, o->against ? &other : NULL, seconds);
        if (!o->quiet)
            fprintf(stderr, "%u tasks in %.1f s, %.2f tasks/s, %.0f tokens/s\n", model.n, seconds, (model.n + other.n) / seconds,
                    (double)(model.tokens + other.tokens) / seconds);
    }
    free(other.right);
    free(model.right);
    tasks_free(&tasks);
    return code;
}

static int evaluate_arc(const struct options *o, const char *name, const char *text, size_t bytes)
{
    return evaluate_tasks(o, TASKS_ARC, name, text, bytes);
}

static int evaluate_mmlu(const struct options *o, const char *name, const char *text, size_t bytes)
{
    return evaluate_tasks(o, TASKS_MMLU, name, text, bytes);
}

static int evaluate_hellaswag(const struct options *o, const char *name, const char *text, size_t bytes)
{
    return evaluate_tasks(o, TASKS_HELLASWAG, name, text, bytes);
}

/* ---- the verb ---- */

int verb_eval(struct options *o)
{
    const struct {
        const char *option, *file;
        bool in_windows, in_tasks;
        int (*run)(const struct options *o, const char *name, const char *text, size_t bytes); /* NULL: it opens the file itself */
    } kinds[] = {
        {"--ppl", o->ppl, true, false, evaluate_text}, {"-f", o->file, true, false, evaluate_text}, {"--ppl-c4", o->ppl_c4, true, false, evaluate_snippets},
        {"--kl-divergence-base", o->kl_divergence_base, true, false, NULL}, {"--arc", o->arc, false, true, evaluate_arc}, {"--mmlu", o->mmlu, false, true, evaluate_mmlu},
        {"--hellaswag", o->hellaswag, false, true, evaluate_hellaswag},
    };
    const uint32_t n_kinds = sizeof kinds / sizeof *kinds;
    uint32_t kind = n_kinds;
    for (uint32_t i = 0; i < n_kinds; i++) {
        if (!kinds[i].file)
            continue;
        if (kind < n_kinds) {
            fprintf(stderr, "bitloom eval: %s and %s: only one of them at a time\n", kinds[kind].option, kinds[i].option);
            return EXIT_USAGE;
        }
        kind = i;
    }
    if (o->model && o->kld && kind == n_kinds) {
        fprintf(stderr, "bitloom eval: --kld needs a text to compare on: -f FILE\n");
        return EXIT_USAGE;
    }
    if (!o->model || kind == n_kinds) {
        fprintf(stderr, "bitloom eval: give a model and one of --ppl FILE, --kld REFERENCE -f FILE, --kl-divergence-base FILE, --ppl-c4 FILE, --arc FILE, --mmlu FILE, "
                        "--hellaswag FILE\n");
        return EXIT_USAGE;
    }
    const char *wrong = o->kld && kinds[kind].run != evaluate_text          ? "--kld goes with -f or --ppl"
                        : (o->against || o->tasks) && !kinds[kind].in_tasks ? "--against and --tasks go with --arc, --mmlu and --hellaswag"
                        : o->chunks > 0 && kinds[kind].in_tasks             ? "--chunks goes with texts; --tasks N limits tasks"
                        : o->context >= 0 && !kinds[kind].run               ? "-c does not go with --kl-divergence-base: the file says how long a window is"
                                                                            : NULL;
    if (wrong) {
        fprintf(stderr, "bitloom eval: %s\n", wrong);
        return EXIT_USAGE;
    }
    if (o->context > 0 && (o->context < 8 || (kinds[kind].in_windows && o->context % 2))) {
        fprintf(stderr, "bitloom eval: -c %u: must be %s from 8 on\n", (uint32_t)o->context, kinds[kind].in_windows ? "an even number" : "a number");
        return EXIT_USAGE;
    }
    log_to_stderr(o);
    if (!kinds[kind].run)
        return finish_stdout(evaluate_stored(o));
    size_t bytes;
    char *text = read_text(kinds[kind].file, &bytes);
    if (!text)
        return EXIT_FAILED;
    const int code = kinds[kind].run(o, kinds[kind].file, text, bytes);
    free(text);
    return finish_stdout(code);
}
