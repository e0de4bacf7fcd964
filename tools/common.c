/* common.c: see common.h. */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *program_name = "bitloom";

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int report_error(void)
{
    fprintf(stderr, "%s: %s\n", program_name, bl_error_text());
    return EXIT_FAILED;
}

static void log_line(void *user, bl_log_level level, const char *text)
{
    (void)user;
    fprintf(stderr, "%s: %s%s\n", program_name, level == BL_LOG_WARNING ? "warning: " : "", text);
}

void log_to_stderr(const struct options *o)
{
    if (!o->quiet)
        bl_log_set(log_line, NULL, o->verbose ? BL_LOG_DEBUG : BL_LOG_WARNING);
}

/* ---- texts ---- */

void print_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

char *read_text(const char *path, size_t *bytes)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: %s: cannot open: %s\n", program_name, path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        if (n + 1 >= cap) {
            cap = cap ? cap * 2 : 65536;
            char *grown = realloc(text, cap);
            if (!grown) {
                fprintf(stderr, "%s: %s: no memory for %zu bytes\n", program_name, path, cap);
                goto failed;
            }
            text = grown;
        }
        size_t got = fread(text + n, 1, cap - n - 1, f);
        n += got;
        if (got == 0)
            break;
    }
    if (ferror(f)) {
        fprintf(stderr, "%s: %s: cannot read: %s\n", program_name, path, strerror(errno));
        goto failed;
    }
    if (!standard)
        fclose(f);
    text[n] = 0;
    *bytes = n;
    return text;
failed:
    if (!standard)
        fclose(f);
    free(text);
    return NULL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t unescape(char *text)
{
    static const char from[] = "ntr\\\"'", to[] = "\n\t\r\\\"'";
    size_t n = 0;
    for (const char *s = text; *s; s++) {
        const char *found = s[0] == '\\' && s[1] ? strchr(from, s[1]) : NULL;
        if (found) {
            text[n++] = to[found - from];
            s++;
        } else if (s[0] == '\\' && s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
            text[n++] = (char)(hex_digit(s[2]) * 16 + hex_digit(s[3]));
            s += 3;
        } else {
            text[n++] = *s;
        }
    }
    text[n] = 0;
    return n;
}

void write_stdout(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
}

int finish_stdout(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write the output: %s\n", program_name, strerror(errno));
        return EXIT_FAILED;
    }
    return code;
}

/* ---- the model ---- */

static bool is_one_of(const char *text, const char *const *list)
{
    while (*list && strcmp(*list, text) != 0)
        list++;
    return *list != NULL;
}

/* Types of the cache: two can be had, the others that llama.cpp has are known by name. */
static bool check_cache_type(const char *option, const char *type)
{
    static const char *const known[] = {"f16", "f32", NULL}, *const later[] = {"bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1", NULL};
    if (!type || is_one_of(type, known))
        return true;
    fprintf(stderr, "%s: %s ", program_name, option);
    print_escaped(stderr, type);
    fprintf(stderr, is_one_of(type, later) ? ": not yet: must be f16 or f32\n" : ": must be f16 or f32\n");
    return false;
}

static bool choose_cache(const struct options *o, bl_number *out)
{
    const char *k = o->kv_type_k ? o->kv_type_k : "f16", *v = o->kv_type_v ? o->kv_type_v : "f16";
    if (!check_cache_type("--cache-type-k", k) || !check_cache_type("--cache-type-v", v))
        return false;
    if (strcmp(k, v) != 0) {
        fprintf(stderr, "%s: --cache-type-k %s: must be the same as --cache-type-v %s\n", program_name, k, v);
        return false;
    }
    *out = strcmp(k, "f32") == 0 ? BL_NUMBER_F32 : BL_NUMBER_F16;
    return true;
}

/* $XDG_CACHE_HOME/bitloom or ~/.cache/bitloom; NULL where neither is known. */
static const char *cache_folder(void)
{
    static char folder[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/')
        snprintf(folder, sizeof folder, "%s/bitloom", cache);
    else if (home && *home == '/')
        snprintf(folder, sizeof folder, "%s/.cache/bitloom", home);
    return *folder ? folder : NULL;
}

/* What can be refused without the model; exit code. The caller frees graph_text. */
static int fill_model_params(const struct options *o, bl_model_params *p)
{
    bl_model_default_params(p);
    if (!o->model) {
        fprintf(stderr, "%s: no model: give a file with -m FILE\n", program_name);
        return EXIT_USAGE;
    }
    if (!choose_cache(o, &p->kv))
        return EXIT_USAGE;
    if (o->cpu_mask && bl_cpu_mask_parse(o->cpu_mask, &p->device.cpu_mask) != BL_OK) {
        report_error();
        return EXIT_USAGE;
    }
    char *graph = NULL;
    size_t graph_bytes;
    if (o->graph && !(graph = read_text(o->graph, &graph_bytes)))
        return EXIT_FAILED;
    p->graph_text = graph;
    p->graph_name = o->graph;
    p->context = o->context < 0 ? 0 : o->context == 0 ? BL_CONTEXT_FULL : (uint32_t)o->context;
    p->batch = (uint32_t)o->batch;
    p->device.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    p->device.device = o->device && strcmp(o->device, "none") == 0 ? "cpu" : o->device; /* llama.cpp's word */
    if (o->gpu_layers && strcmp(o->gpu_layers, "auto") != 0 && strcmp(o->gpu_layers, "-1") != 0)
        p->gpu_layers = strcmp(o->gpu_layers, "all") == 0 ? BL_LAYERS_ALL : (int32_t)strtol(o->gpu_layers, NULL, 10);
    p->no_fit = o->fit && strcmp(o->fit, "off") == 0;
    if (o->fit_target >= 0)
        p->fit_margin = o->fit_target ? (uint64_t)o->fit_target << 20 : 1;
    p->schedule = o->schedule;
    p->deterministic = o->deterministic;
    p->cache_dir = cache_folder();
    p->activations = !o->activations ? BL_NUMBER_DEFAULT : strcmp(o->activations, "f32") == 0 ? BL_NUMBER_F32 : BL_NUMBER_Q8;
    p->no_mmap = !o->mmap;
    p->allow_unused_tensors = o->allow_unused;
    return EXIT_OK;
}

int open_model(const struct options *o, bl_model **model, bl_sequence **sequence)
{
    bl_model_params p;
    int code = fill_model_params(o, &p);
    if (code != EXIT_OK)
        return code;
    bl_status status = bl_model_open(o->model, &p, model);
    free((char *)(uintptr_t)p.graph_text);
    if (status != BL_OK)
        return report_error();
    if (bl_sequence_create(*model, sequence) != BL_OK) {
        bl_model_close(*model);
        return report_error();
    }
    return EXIT_OK;
}

static bool read_bias(const char *text, bl_logit_bias *out)
{
    char *end;
    errno = 0;
    long id = strtol(text, &end, 10);
    if (end == text || errno || id < 0 || id > INT32_MAX || (*end != '+' && *end != '-'))
        return false;
    const char *number = end;
    double bias = strtod(number, &end);
    if (end == number || *end || isnan(bias))
        return false;
    *out = (bl_logit_bias){(int32_t)id, (float)bias};
    return true;
}

bool fill_generate_params(const struct options *o, bl_generate_params *p)
{
    static bl_logit_bias biases[MAX_LIST];
    static char *stops[MAX_LIST];
    bl_generate_default_params(p);
    p->max_tokens = o->n_predict < 0 ? -1 : (int32_t)o->n_predict; /* -2 ends where -1 does: no context is shifted */
    p->sampler.temperature = (float)o->temperature;
    p->sampler.top_k = o->top_k < 0 ? 0 : (int32_t)o->top_k;
    p->sampler.top_p = (float)o->top_p;
    p->sampler.min_p = (float)o->min_p;
    p->sampler.repeat_penalty = (float)o->repeat_penalty;
    p->sampler.presence_penalty = (float)o->presence_penalty;
    p->sampler.frequency_penalty = (float)o->frequency_penalty;
    p->sampler.repeat_last_n = (int32_t)o->repeat_last_n;
    p->sampler.seed = o->seed < 0 ? (uint64_t)time(NULL) ^ now_ns() : (uint64_t)o->seed;
    for (uint32_t i = 0; i < o->logit_bias.n; i++) {
        if (!read_bias(o->logit_bias.items[i], &biases[i])) {
            fprintf(stderr, "%s: --logit-bias ", program_name);
            print_escaped(stderr, o->logit_bias.items[i]);
            fprintf(stderr, ": must be ID+X or ID-X\n");
            return false;
        }
    }
    p->sampler.logit_bias = biases;
    p->sampler.n_logit_bias = o->logit_bias.n;
    for (uint32_t i = 0; i < o->stop.n; i++) {
        stops[i] = strdup(o->stop.items[i]);
        if (!stops[i])
            return false;
        if (o->escape)
            unescape(stops[i]);
    }
    p->stop = (const char *const *)stops;
    p->n_stop = o->stop.n;
    p->ignore_end = o->ignore_eos;
    p->special = o->special;
    return true;
}

/* "VmHWM:   1234 kB" of /proc/self/status in bytes; 0 where there is no such thing. */
static uint64_t process_memory(const char *field)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kilobytes = 0;
    size_t n = strlen(field);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, n) == 0 && line[n] == ':')
            kilobytes = strtoull(line + n + 1, NULL, 10);
    if (f)
        fclose(f);
    return kilobytes * 1024;
}

/* `timed`: the tokens that the time was spent on; with none there is no rate. */
static void print_phase(const char *name, uint32_t tokens, uint32_t timed, uint64_t ns)
{
    double ms = (double)ns / 1e6;
    fprintf(stderr, "%-10s %6u tokens %10.1f ms", name, tokens, ms);
    if (timed && ns)
        fprintf(stderr, " %8.2f ms/token %9.2f tok/s\n", ms / timed, timed * 1e3 / ms);
    else
        fprintf(stderr, " %8s ms/token %9s tok/s\n", "-", "-");
}

void print_stats(const bl_model *model, uint64_t load_ns, const bl_generate_result *r)
{
    bl_model_info info;
    bl_model_get_info(model, &info);
    fprintf(stderr, "\n%-10s %-13s %10.1f ms   %s, %s, schedule %s\n", "load", "", (double)load_ns / 1e6, info.name, info.device, info.schedule);
    if (*info.inexact)
        fprintf(stderr, "%-10s %s (not with --deterministic)\n", "inexact", info.inexact);
    if (strchr(info.placement, ';'))
        fprintf(stderr, "%-10s %s\n", "placement", info.placement);
    print_phase("prompt", r->n_prompt, r->n_prompt, r->prompt_ns);
    print_phase("generated", r->n_generated, r->n_steps, r->generate_ns);
    fprintf(stderr, "%-10s file %.1f MB, KV %.1f MB for %u positions, activations %.1f MB; process: %.1f MB anonymous, %.1f MB peak with the file\n",
            "memory", (double)info.file_bytes / 1e6, (double)info.kv_bytes / 1e6, info.context, (double)info.activation_bytes / 1e6,
            (double)process_memory("RssAnon") / 1e6, (double)process_memory("VmHWM") / 1e6);
}

void warn_if_full(const bl_model *model, const bl_sequence *sequence, const bl_generate_result *result)
{
    bl_model_info info;
    bl_model_get_info(model, &info);
    if (result->end == BL_END_LENGTH && bl_sequence_length(sequence) >= info.context)
        fprintf(stderr, "\n%s: warning: the text ends here because the context of %u tokens is full; -c N makes it larger\n", program_name,
                info.context);
}

static bl_model *signalled;
static volatile sig_atomic_t interruptions;

static void on_signal(int number)
{
    (void)number;
    if (interruptions++)
        _exit(130);
    bl_model_interrupt(signalled);
}

void interrupt_on_signal(bl_model *model)
{
    signalled = model;
    interruptions = 0;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = model ? on_signal : SIG_DFL;
    sigaction(SIGINT, &action, NULL);
}

bool was_interrupted(void)
{
    return interruptions != 0;
}
