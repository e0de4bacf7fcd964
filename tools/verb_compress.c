/* verb_compress.c: bitloom compress: options in, a report of one line out. */
#include "common.h"
#include "compress/compress.h"
#include "compress/curve.h"
#include "compress/parallel.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORTH_A_ROUND 0.97 /* of the loss: rounding the same model another way changes its KL on other text by as much, either way */
enum { TUNE_WINDOWS = 64 /* 4 to 5 seconds each of the default model on two cores */ };
enum { QUICK_TOKENS = 12288, DEFAULT_TOKENS = 65536, MOST_TARGETS = 32 };

/* "60MB", "1.5GB", "64MiB", "70000000", in any case. False: no such size. */
static bool read_size(const char *text, size_t length, uint64_t *bytes)
{
    static const struct { const char *name; double factor; } units[] = {
        {"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
    char *end;
    const double number = strtod(text, &end);
    const size_t rest = end >= text + length ? 0 : (size_t)(text + length - end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (end != text && strlen(units[i].name) == rest && strncasecmp(end, units[i].name, rest) == 0 && number > 0 && number * units[i].factor < 1e18) {
            *bytes = (uint64_t)(number * units[i].factor);
            return true;
        }
    }
    return false;
}

static int refuse_size(const char *option, const char *text)
{
    fprintf(stderr, "bitloom compress: %s ", option);
    print_escaped(stderr, text);
    fprintf(stderr, ": must be a number of bytes, such as 60MB, 64MiB or 70000000\n");
    return EXIT_USAGE;
}

/* Those of a curve. */
static void free_names(struct xq_target *targets, uint32_t n)
{
    for (uint32_t t = 0; t < n; t++)
        free((char *)(uintptr_t)targets[t].out);
}

/* -o OUT.gguf --curve 40MB,60MB: OUT-40MB.gguf and OUT-60MB.gguf, freed by the caller; none where it fails. */
static bool read_curve(const struct options *o, struct xq_target *targets, uint32_t *n)
{
    const char *dot = strrchr(o->output, '.'), *ending = dot && !strchr(dot, '/') ? dot : "";
    const size_t room = strlen(o->output) + 64;
    *n = 0;
    for (const char *s = o->curve; *s; s += strcspn(s, ","), s += *s == ',') {
        const size_t length = strcspn(s, ",");
        char *name = malloc(room);
        if (*n == MOST_TARGETS || length > 32 || !name || !read_size(s, length, &targets[*n].size)) {
            free(name);
            free_names(targets, *n);
            (void)refuse_size("--curve", s);
            return false;
        }
        snprintf(name, room, "%.*s-%.*s%s", (int)(strlen(o->output) - strlen(ending)), o->output, (int)length, s, ending);
        for (uint32_t t = 0; t < *n; t++) {
            if (targets[t].size == targets[*n].size) {
                fprintf(stderr, "bitloom compress: --curve %.*s: given twice\n", (int)length, s);
                free(name);
                free_names(targets, *n);
                return false;
            }
        }
        targets[*n].bits_per_weight = 0;
        targets[(*n)++].out = name;
    }
    return *n > 0;
}

/* Freed by the caller; NULL after a line on stderr. */
static char *add_ending(const char *path, const char *ending)
{
    const size_t room = strlen(path) + strlen(ending) + 1;
    char *out = malloc(room);
    if (out)
        snprintf(out, room, "%s%s", path, ending);
    else
        fprintf(stderr, "bitloom compress: no memory\n");
    return out;
}

/* --size with -c: less what a context takes beside the file. The model as it is says how much: none of it depends on how many bits weights have. */
static int leave_room(const struct options *o, uint64_t *size)
{
    bl_model *model;
    bl_sequence *sequence;
    bl_model_info info;
    const int code = open_model(o, &model, &sequence);
    if (code != EXIT_OK)
        return code;
    bl_sequence_destroy(sequence);
    bl_model_get_info(model, &info);
    const unsigned long long cache = info.kv_bytes, scratch = info.activation_bytes, all = *size;
    if (all <= cache + scratch) {
        fprintf(stderr, "bitloom compress: --size of %llu bytes: the cache of %u tokens takes %llu and scratch memory on %s %llu: they leave nothing for the file: give that much more, or a smaller -c\n", all, info.context,
                cache, info.device, scratch);
        bl_model_close(model);
        return EXIT_FAILED;
    }
    *size = all - cache - scratch;
    if (!o->quiet)
        fprintf(stderr, "%llu bytes: at most %llu bytes for the file, %llu bytes for the cache of %u tokens, %llu bytes of scratch memory on %s\n", all, (unsigned long long)*size, cache, info.context,
                scratch, info.device);
    bl_model_close(model);
    return EXIT_OK;
}

static bl_status print_results(const struct options *o, const struct xq_options *options, const struct xq_result *results)
{
    char error[32];
    if (!o->curve) {
        printf("%s: %llu bytes, %.3f bits per weight, ", o->output, (unsigned long long)results->bytes, 8 * (double)results->bytes / (double)results->parameters);
        if (results->is_judged)
            printf("KL %.4g%s, ratio of perplexities %.4f on held out text, %llu tokens%s\n", results->divergence, xq_error_text(results->divergence_error, error), results->nll_ratio,
                   (unsigned long long)results->held_tokens, results->held_windows < 2 ? " of one window: too few to know the error" : "");
        else
            printf("not judged: the calibration text is too short to hold some of it out\n");
        return BL_OK;
    }
    xq_curve_print(stdout, options->targets, results, options->n_targets);
    return xq_curve_write(options->picture, results, options->n_targets);
}

int verb_compress(struct options *o)
{
    struct xq_target targets[MOST_TARGETS] = {{.out = o->output, .bits_per_weight = o->bits_per_weight, .divergence = o->max_kld}};
    struct xq_options options = {.in = o->model, .targets = targets, .n_targets = 1,
                                 .threads = o->threads > 0 ? (uint32_t)o->threads : xq_cores(), .calibration = o->calib.items, .n_calibration = o->calib.n,
                                 .calibration_tokens = (uint64_t)(o->calib_tokens > 0 ? o->calib_tokens : o->quick ? QUICK_TOKENS : DEFAULT_TOKENS),
                                 .checkpoint = o->checkpoint, .dry_run = o->dry_run, .state = o->state, .save_state = o->save_state, .damp = 0.01, .temper = 0.5, .feedback = true, .sweeps = 2, .rounds = o->quick ? 1 : 2, .worth_a_round = WORTH_A_ROUND, .tune_windows = o->quick ? 0 : TUNE_WINDOWS, .shared = 1, .quick = o->quick, .quiet = o->quiet, .report = o->html};
    if (!o->model || !o->output) {
        fprintf(stderr, "bitloom compress: give a model and -o FILE\n");
        return EXIT_USAGE;
    }
    if (o->method && strcmp(o->method, "xq") != 0) { /* baselines: as these methods are known, but for outliers: without them the scales of this container would clip */
        options.method = strcmp(o->method, "gptq") == 0 ? XQ_METHOD_GPTQ : XQ_METHOD_RTN;
        options.feedback = options.method == XQ_METHOD_GPTQ;
        options.depth = (uint32_t)o->bits;
        options.grouped = !o->group || strcmp(o->group, "0") != 0;
        options.shared = !o->group || strlen(o->group) < 2 ? 1 : (uint32_t)strtoul(o->group, NULL, 10) / 32;
        options.sweeps = 0;
        options.rounds = 1;
        options.tune_windows = 0;
    }
    const int n_targets = (o->size != NULL) + (o->bits_per_weight > 0) + (o->curve != NULL) + (o->max_kld > 0);
    if (options.method != XQ_METHOD_XQ && n_targets) {
        fprintf(stderr, "bitloom compress: --method %s gives all weights the bits of --bits: --size, --bpw, --max-kld and --curve go with --method xq\n", o->method);
        return EXIT_USAGE;
    }
    if (n_targets + (options.method != XQ_METHOD_XQ) != 1) {
        fprintf(stderr, "bitloom compress: give one of --size, --bpw, --max-kld and --curve, or --bits with --method gptq or rtn\n");
        return EXIT_USAGE;
    }
    if (o->asym) {
        fprintf(stderr, "bitloom compress: --asym: the levels of this format are symmetric about 0 (XQ.md): there is no place for zero points\n");
        return EXIT_USAGE;
    }
    if (o->group && options.method == XQ_METHOD_XQ) {
        fprintf(stderr, "bitloom compress: --group goes with --method gptq or rtn\n");
        return EXIT_USAGE;
    }
    if ((options.method != XQ_METHOD_XQ) != (o->bits > 0)) {
        fprintf(stderr, "bitloom compress: --bits goes with --method gptq or rtn\n");
        return EXIT_USAGE;
    }
    if (o->size && !read_size(o->size, strlen(o->size), &targets[0].size))
        return refuse_size("--size", o->size);
    if (o->state && (o->save_state || (o->calib_tokens && !o->calib.n && !o->task))) {
        fprintf(stderr, "bitloom compress: %s does not go with --state: %s\n", o->save_state ? "--save-state" : "--calib-tokens",
                o->save_state ? "nothing is learned" : "what was learned is there, with the text to judge by");
        return EXIT_USAGE;
    }
    const char *objective = o->objective ? o->objective : o->task ? "task" : "kld";
    if ((strcmp(objective, "task") == 0) != (o->task != NULL) || (o->task && o->calib.n)) {
        fprintf(stderr, "bitloom compress: %s\n", o->task && o->calib.n ? "--task stands in place of --calib" : "--objective task goes with --task FILE");
        return EXIT_USAGE;
    }
    options.objective = o->task ? XQ_OBJECTIVE_TASK : o->state && !o->objective ? XQ_OBJECTIVE_OF_STATE : strcmp(objective, "ppl") == 0 ? XQ_OBJECTIVE_PPL : XQ_OBJECTIVE_KLD;
    options.questions = o->task;
    const bool has_context = o->context >= 0;
    if (has_context && !o->size) {
        fprintf(stderr, "bitloom compress: -c goes with --size\n");
        return EXIT_USAGE;
    }
    if (o->ram && !read_size(o->ram, strlen(o->ram), &options.ram))
        return refuse_size("--ram", o->ram);
    if (o->curve && !read_curve(o, targets, &options.n_targets))
        return EXIT_USAGE;
    log_to_stderr(o);
    const int code = has_context ? leave_room(o, &targets[0].size) : EXIT_OK;
    if (code != EXIT_OK)
        return code;
    char *work = add_ending(o->output, ".work");
    if (!work)
        return EXIT_FAILED;
    options.work = work;
    char *picture = o->curve ? add_ending(o->output, ".curve.svg") : NULL;
    options.picture = picture;
    struct xq_result results[MOST_TARGETS] = {{0}};
    bl_status status = o->curve && !picture ? BL_ENOMEM : xq_compress(&options, results);
    if (status == BL_OK && !o->dry_run)
        status = print_results(o, &options, results);
    free(picture);
    free(work);
    if (o->curve)
        free_names(targets, options.n_targets);
    return status == BL_OK ? finish_stdout(EXIT_OK) : report_error();
}
