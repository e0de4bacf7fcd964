/* verb_eval.c: bitloom eval: perplexity of a model on a text, and how far it is from another model. */
#include "common.h"
#include "compress/parallel.h"
#include "eval/score.h"
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_WINDOW = 512 };

static void show_progress(void *user, uint32_t done, uint32_t all, const struct scored *tokens, size_t n)
{
    const struct options *o = user;
    if (o->quiet || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[Kwindow %u of %u: perplexity %.4f", done, all, perplexity(tokens, n).value);
    fprintf(stderr, "%s", done == all ? "\r\033[K" : "");
    fflush(stderr);
}

static void print_figure(const char *name, struct figure f, const char *unit)
{
    printf("%-30s: %11.6f%s +/- %10.6f%s\n", name, f.value, unit, f.error, unit);
}

static void print_percentiles(const char *what, const double *values, const char *unit)
{
    for (size_t i = 0; i < PERCENTILES; i++) {
        char name[32];
        const double point = percentile_points[i];
        if (point >= 100 || point <= 0)
            snprintf(name, sizeof name, "%s %s", point > 0 ? "Maximum" : "Minimum", what);
        else if (point > 49 && point < 51)
            snprintf(name, sizeof name, "Median  %s", what);
        else
            snprintf(name, sizeof name, "%5.1f%%  %s", point, what);
        printf("%-30s: %11.6f%s\n", name, values[i], unit);
    }
}

static void print_comparison(const struct comparison *c)
{
    printf("====== Perplexity statistics ======\n");
    print_figure("Mean PPL(Q)", c->ppl, "");
    print_figure("Mean PPL(base)", c->base_ppl, "");
    printf("%-30s: %10.2f%%\n", "Cor(ln(PPL(Q)), ln(PPL(base)))", 100 * c->correlation);
    print_figure("Mean ln(PPL(Q)/PPL(base))", c->ln_ratio, "");
    print_figure("Mean PPL(Q)/PPL(base)", c->ratio, "");
    print_figure("Mean PPL(Q)-PPL(base)", c->difference, "");
    printf("\n====== KL divergence statistics ======\n");
    print_figure("Mean    KLD", c->divergence, "");
    print_percentiles("KLD", c->divergences, "");
    printf("\n====== Token probability statistics ======\n");
    print_figure("Mean    dp", c->probability, " %");
    print_percentiles("dp", c->probabilities, "%");
    print_figure("RMS dp    ", c->probability_rms, " %");
    print_figure("Same top p", c->same_top, " %");
}

static double file_bytes(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? (double)s.st_size : 0;
}

static void print_json(const struct options *o, const struct scores *s, const struct comparison *c, double seconds)
{
    const struct figure alone = perplexity(s->tokens, s->n);
    printf("{\"model\": ");
    print_json_string(stdout, o->model);
    printf(", \"bytes\": %.0f, \"windows\": %u, \"n_tokens\": %zu, \"seconds\": %.2f, \"ppl\": %.9g, \"ppl_error\": %.6g", file_bytes(o->model), s->windows, s->n, seconds,
           alone.value, alone.error);
    if (c)
        printf(", \"base_ppl\": %.9g, \"ppl_ratio\": %.9g, \"ppl_ratio_error\": %.6g, \"ln_ppl_ratio\": %.9g, \"mean_kld\": %.9g, \"mean_kld_error\": %.6g, "
               "\"max_kld\": %.9g, \"p999_kld\": %.9g, \"p99_kld\": %.9g, \"median_kld\": %.9g, \"rms_dp\": %.9g, \"same_top\": %.9g, \"same_top_error\": %.6g",
               c->base_ppl.value, c->ratio.value, c->ratio.error, c->ln_ratio.value, c->divergence.value, c->divergence.error, c->divergences[0], c->divergences[1],
               c->divergences[2], c->divergences[5], c->probability_rms.value / 100, c->same_top.value / 100, c->same_top.error / 100);
    printf("}\n");
}

static int print_result(const struct options *o, const struct scores *s, double seconds)
{
    struct comparison c;
    if (o->kld && !compare(s->tokens, s->n, &c)) {
        fprintf(stderr, "bitloom eval: no memory for %zu tokens\n", s->n);
        return EXIT_FAILED;
    }
    if (o->json) {
        print_json(o, s, o->kld ? &c : NULL, seconds);
    } else if (o->kld) {
        print_comparison(&c);
    } else {
        const struct figure f = perplexity(s->tokens, s->n);
        printf("Final estimate: PPL = %.4f +/- %.5f\n", f.value, f.error);
    }
    if (!o->quiet)
        fprintf(stderr, "%u windows of %u, %zu tokens scored in %.1f s\n", s->windows, o->context > 0 ? (uint32_t)o->context : DEFAULT_WINDOW, s->n, seconds);
    return EXIT_OK;
}

static int open_one(const struct options *o, const char *path, uint32_t window, bool is_base, bl_model **out)
{
    bl_model_params p;
    bl_model_default_params(&p);
    p.context = window;
    p.batch = window < 512 ? window : 512;
    p.max_outputs = window / 2;
    p.device.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    p.activations = !o->activations ? BL_NUMBER_DEFAULT : strcmp(o->activations, "f32") == 0 ? BL_NUMBER_F32 : BL_NUMBER_Q8;
    if (is_base && !o->activations) /* what others are compared with has no rounding of its own but the weights' */
        p.activations = BL_NUMBER_F32;
    return bl_model_open(path, &p, out) == BL_OK ? EXIT_OK : report_error();
}

static int evaluate(const struct options *o, const char *text, size_t bytes, uint32_t window)
{
    bl_model *model = NULL, *base = NULL;
    int32_t *ids = NULL;
    size_t n;
    struct scores scores = {0};
    const uint64_t begun = now_ns();
    int code = open_one(o, o->model, window, false, &model);
    if (code == EXIT_OK && o->kld)
        code = open_one(o, o->kld, window, true, &base);
    if (code == EXIT_OK && score_tokenize(bl_model_tokenizer(model), text, bytes, &ids, &n) != BL_OK)
        code = report_error();
    const struct score_options options = {window, (uint32_t)(o->chunks > 0 ? o->chunks : 0), o->threads > 0 ? (uint32_t)o->threads : xq_cores(), show_progress, (void *)(uintptr_t)o};
    if (code == EXIT_OK && score_text(model, base, ids, n, &options, &scores) != BL_OK)
        code = report_error();
    if (code == EXIT_OK)
        code = print_result(o, &scores, (double)(now_ns() - begun) * 1e-9);
    free(scores.tokens);
    free(ids);
    bl_model_close(base);
    bl_model_close(model);
    return code;
}

int verb_eval(struct options *o)
{
    const char *file = o->ppl ? o->ppl : o->file;
    const uint32_t window = o->context > 0 ? (uint32_t)o->context : DEFAULT_WINDOW;
    if (!o->model || !file || (o->ppl && o->file)) {
        fprintf(stderr, "bitloom eval: give a model and one text: --ppl FILE, or --kld REFERENCE -f FILE\n");
        return EXIT_USAGE;
    }
    if (window < 8 || window % 2) {
        fprintf(stderr, "bitloom eval: -c %u: must be an even number from 8 on\n", window);
        return EXIT_USAGE;
    }
    log_to_stderr(o);
    size_t bytes;
    char *text = read_text(file, &bytes);
    if (!text)
        return EXIT_FAILED;
    const int code = evaluate(o, text, bytes, window);
    free(text);
    return finish_stdout(code);
}
