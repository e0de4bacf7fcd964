/* options.c: reads the command line and the environment against options.def, and prints help, man page and shell completion from it. */
#include "options.h"

#include <bitloom/bitloom.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, INT, FLOAT, TEXT, LIST };
static const struct option {
    const char *names;
    enum kind kind;
    size_t offset;
    const char *verbs, *argument, *range, *help;
} table[] = {
#define OPTION(field, names, kind, verbs, argument, range, help) {names, kind, offsetof(struct options, field), verbs, argument, range, help},
#include "options.def"
#undef OPTION
};
enum { N_OPTIONS = sizeof table / sizeof table[0], NAME_ROOM = 40 };

/* Takes the next of the comma separated names at *at into `out`, NAME_ROOM bytes; false after the last. */
static bool next_name(const char **at, char *out)
{
    size_t n = strcspn(*at, ",");
    if (n == 0)
        return false;
    snprintf(out, NAME_ROOM, "%.*s", (int)n, *at);
    *at += n + ((*at)[n] == ',');
    return true;
}

static bool is_negation(const char *name)
{
    return strncmp(name, "--no-", 5) == 0;
}

static void set_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    o->n_predict = -1;
    o->fit_target = -1;
    o->checkpoint = 60;
    o->bench_prompt = 512;
    o->bench_tokens = -1; /* which no one can give */
    o->repetitions = 5;
    o->context = -1; /* which no one can give */
    o->batch = 512;
    o->seed = -1;
    o->temperature = 0.8;
    o->top_k = 40;
    o->top_p = 0.95;
    o->min_p = 0.05;
    o->repeat_penalty = 1;
    o->repeat_last_n = 64;
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (table[i].kind == FLAG)
            *(bool *)((char *)o + table[i].offset) = strstr(table[i].names, "--no-") != NULL;
}

static bool takes(const struct option *option, const struct verb *verb)
{
    return strchr(option->verbs, verb->letter) != NULL;
}

/* ---- values ---- */

void print_escaped(FILE *out, const char *text)
{
    bool plain = *text != 0;
    for (const char *s = text; *s; s++)
        plain = plain && !isspace((unsigned char)*s);
    fputs(plain ? "" : "'", out);
    size_t n = 0;
    for (; *text && n < 60; text++, n++)
        fprintf(out, (unsigned char)*text < 0x20 || *text == 0x7f ? "\\x%02x" : "%c", (unsigned char)*text);
    fprintf(out, "%s%s", *text ? "..." : "", plain ? "" : "'");
}

/* What a value must be, in words: "a whole number in 1..512", "q8 or f32", "not empty". */
static void print_range(FILE *out, enum kind kind, const char *range, bool is_number)
{
    size_t n = strlen(range);
    const char *what = is_number ? "" : kind == INT ? "a whole number " : "a number ";
    if (kind == TEXT || kind == LIST) {
        if (*range == '+')
            fprintf(out, "not empty");
        for (const char *s = *range == '+' ? "" : range; *s;) {
            size_t word = strcspn(s, "|"), after = s[word] ? strcspn(s + word + 1, "|") : 0;
            fprintf(out, "%.*s%s", (int)word, s, !s[word] ? "" : s[word + 1 + after] ? ", " : " or ");
            s += word + (s[word] == '|');
        }
    } else if (n > 2 && range[n - 1] == '.') {
        fprintf(out, "%s%.*s or more", what, (int)(n - 2), range);
    } else {
        fprintf(out, "%sin %s", what, range);
    }
}

static bool refuse(const char *who, const char *name, const char *value, enum kind kind, const char *range, bool is_number)
{
    fprintf(stderr, "%s: %s ", who, name);
    print_escaped(stderr, value);
    fprintf(stderr, ": must be ");
    print_range(stderr, kind, range, is_number);
    fprintf(stderr, "\n");
    return false;
}

/* "LO..HI" among the words stands for a whole number in it. */
static bool is_number_of(const char *text, const char *range)
{
    char *end;
    const char *high = strstr(range, "..");
    if (!high || high >= range + strcspn(range, "|") || !isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return !*end && !errno && number >= strtoll(range, NULL, 10) && number <= strtoll(high + 2, NULL, 10);
}

static bool is_word_of(const char *text, const char *words)
{
    size_t n = strlen(text);
    for (const char *s = words; *s; s += strcspn(s, "|"), s += *s == '|')
        if (is_number_of(text, s) || (strcspn(s, "|") == n && strncmp(s, text, n) == 0))
            return true;
    return false;
}

/* The whole text must be a number of the kind and inside the range; nothing is cut off, wrapped or clamped. */
static bool set_number(const char *who, const struct option *option, const char *name, const char *range, const char *text, void *field)
{
    char *end = (char *)(uintptr_t)text;
    const char *high = strstr(range, "..") + 2;
    bool is_whole = option->kind == INT, starts = isdigit((unsigned char)text[0]) || text[0] == '-' || (!is_whole && text[0] == '.');
    int64_t whole = 0;
    double real = 0;
    errno = 0;
    if (starts && is_whole)
        whole = strtoll(text, &end, 10);
    else if (starts)
        real = strtod(text, &end);
    if (end == text || *end || !isfinite(real))
        return refuse(who, name, text, option->kind, range, false);
    if (is_whole ? errno || whole < strtoll(range, NULL, 10) || (*high && whole > strtoll(high, NULL, 10))
                 : real < strtod(range, NULL) || (*high && real > strtod(high, NULL)))
        return refuse(who, name, text, option->kind, range, true);
    if (is_whole)
        *(int64_t *)field = whole;
    else
        *(double *)field = real;
    return true;
}

static bool set_value(const char *who, const struct option *option, const char *name, const char *range, const char *text, struct options *out)
{
    void *field = (char *)out + option->offset;
    if (option->kind == FLAG) {
        *(bool *)field = !is_negation(name);
        return true;
    }
    if (option->kind == INT || option->kind == FLOAT)
        return set_number(who, option, name, range, text, field);
    if (*range && (*range == '+' ? !*text : !is_word_of(text, range)))
        return refuse(who, name, text, option->kind, range, true);
    if (option->kind == TEXT) {
        *(const char **)field = text;
        return true;
    }
    struct text_list *list = field;
    if (list->n == MAX_LIST) {
        fprintf(stderr, "%s: %s: given more than %d times\n", who, name, MAX_LIST);
        return false;
    }
    list->items[list->n++] = text;
    return true;
}

/* ---- environment ---- */

/* 1 and 0 in the spellings that llama.cpp takes; nothing else is guessed at. */
static bool set_flag(const char *who, const struct option *option, const char *variable, const char *name, const char *text, struct options *out)
{
    if (!*text) /* as good as not there */
        return true;
    bool yes = is_word_of(text, "1|on|true|yes");
    if (!yes && !is_word_of(text, "0|off|false|no"))
        return refuse(who, variable, text, TEXT, "1|on|true|yes|0|off|false|no", true);
    *(bool *)((char *)out + option->offset) = yes != is_negation(name);
    return true;
}

static bool read_environment(const char *who, const struct verb *verb, struct options *out)
{
    char name[NAME_ROOM];
    for (size_t i = 0; i < N_OPTIONS; i++) {
        for (const char *at = table[i].names; takes(&table[i], verb) && next_name(&at, name);) {
            char variable[16 + NAME_ROOM] = "BITLOOM_ARG_";
            size_t n = strlen(variable);
            if (name[1] != '-')
                continue;
            for (const char *s = name + 2; *s; s++)
                variable[n++] = *s == '-' ? '_' : (char)toupper((unsigned char)*s);
            const char *value = getenv(variable);
            if (value && !(table[i].kind == FLAG ? set_flag(who, &table[i], variable, name, value, out)
                                                 : set_value(who, &table[i], variable, table[i].range, value, out)))
                return false;
        }
    }
    return true;
}

/* ---- arguments ---- */

/* The option of the verb that `arg` names, and the value after = if there is one. */
static const struct option *find_option(const struct verb *verb, const char *arg, const char **value)
{
    char name[NAME_ROOM];
    size_t length = arg[0] == '-' && arg[1] == '-' ? strcspn(arg, "=") : strlen(arg);
    *value = arg[length] ? arg + length + 1 : NULL;
    for (size_t i = 0; i < N_OPTIONS; i++)
        for (const char *at = table[i].names; takes(&table[i], verb) && next_name(&at, name);)
            if (strlen(name) == length && strncmp(name, arg, length) == 0)
                return &table[i];
    return NULL;
}

bool options_set(const char *who, const char *name, const char *option_name, const char *range, const char *value, struct options *out)
{
    const char *none;
    return set_value(who, find_option(&verbs[0], option_name, &none), name, range, value, out);
}

bool options_environment(const char *who, const struct verb *verb, struct options *out)
{
    set_defaults(out);
    return read_environment(who, verb, out);
}

static bool unknown(const struct verb *verb, const char *arg)
{
    fprintf(stderr, "bitloom %s: unknown argument ", verb->name);
    print_escaped(stderr, arg);
    fprintf(stderr, "; see bitloom %s --help\n", verb->name);
    return false;
}

/* The model file, which may stand without -m, once. */
static bool take_plain(const struct verb *verb, const char *arg, bool *model_given, struct options *out)
{
    if (!strchr("rcivtgzeb", verb->letter) || *model_given)
        return unknown(verb, arg);
    *model_given = true;
    out->model = arg;
    return true;
}

bool options_parse(const struct verb *verb, int argc, char **argv, struct options *out, bool *help)
{
    char who[32];
    snprintf(who, sizeof who, "bitloom %s", verb->name);
    *help = false;
    if (!options_environment(who, verb, out))
        return false;
    bool model_given = false, only_plain = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *value;
        if (only_plain || arg[0] != '-') {
            if (!take_plain(verb, arg, &model_given, out))
                return false;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_plain = true;
            continue;
        }
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            *help = true;
            return true;
        }
        const struct option *option = find_option(verb, arg, &value);
        if (!option)
            return unknown(verb, arg);
        if (option->kind == FLAG && value) {
            fprintf(stderr, "%s: %s takes no value\n", who, arg);
            return false;
        }
        char name[NAME_ROOM];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(arg, option->kind == FLAG ? "" : "="), arg);
        if (option->kind != FLAG && !value) {
            const bool may_lack = option->argument[0] == '[';
            if (i + 1 == argc && !may_lack) {
                fprintf(stderr, "%s: %s needs a value\n", who, arg);
                return false;
            }
            value = may_lack && (i + 1 == argc || !isdigit((unsigned char)argv[i + 1][0])) ? "" : argv[++i];
        }
        if (!set_value(who, option, name, option->range, value, out))
            return false;
        if (option->offset == offsetof(struct options, model))
            model_given = true;
    }
    return true;
}

/* ---- what is printed from the table ---- */

void print_usage(FILE *out)
{
    fprintf(out, "bitloom %s: language models on whatever hardware there is\n\nusage: bitloom VERB [options]\n\n", bl_version());
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(out, "  %-10s %s\n", v->name, v->help);
    fprintf(out, "\nbitloom VERB --help lists the options of a verb.\n");
}

/* "-n, --predict, --n-predict N" */
static void name_list(const struct option *option, char *out, size_t room, int *length)
{
    char name[NAME_ROOM];
    int n = 0;
    for (const char *at = option->names; next_name(&at, name);)
        n += snprintf(out + n, room - (size_t)n, "%s%s", n ? ", " : "", name);
    *length = n + snprintf(out + n, room - (size_t)n, "%s%s", *option->argument ? " " : "", option->argument);
}

/* " [0..1]" after the help of an option that has limits worth a word. */
static void print_limits(FILE *out, const struct option *option)
{
    if (!*option->range || *option->range == '+')
        return;
    fprintf(out, " [");
    for (const char *s = option->range; *s; s++)
        fprintf(out, *s == '|' ? ", " : "%c", *s);
    fprintf(out, "]");
}

/* A part of a help text: words, and the letters of the verbs that they are for; those of the first are for all. */
struct part { const char *letters, *text; size_t n_letters, n; };

static struct part first_part(const char *help)
{
    return (struct part){help, help, 0, strcspn(help, "|")};
}

/* False after the last. */
static bool next_part(struct part *p)
{
    if (!p->text[p->n])
        return false;
    p->letters = p->text + p->n + 1;
    p->n_letters = strcspn(p->letters, ":");
    p->text = p->letters + p->n_letters + 1;
    p->n = strcspn(p->text, "|");
    return true;
}

static void print_help(FILE *out, const char *help, const struct verb *verb)
{
    struct part part = first_part(help);
    const char *separator = "";
    do {
        if (!part.n || (part.n_letters && !memchr(part.letters, verb->letter, part.n_letters)))
            continue;
        fprintf(out, "%s%.*s", separator, (int)part.n, part.text);
        separator = "; ";
    } while (next_part(&part));
}

void print_verb_help(FILE *out, const struct verb *verb)
{
    fprintf(out, "usage: bitloom %s %s\n\n%s.\n\n", verb->name, verb->synopsis, verb->help);
    for (size_t i = 0; verb->letter && i < N_OPTIONS; i++) {
        if (!takes(&table[i], verb))
            continue;
        char left[128];
        int n = 0;
        name_list(&table[i], left, sizeof left, &n);
        fprintf(out, "  %-34s%s ", left, n > 34 ? "\n                                    " : "");
        print_help(out, table[i].help, verb);
        print_limits(out, &table[i]);
        fprintf(out, "\n");
    }
}

static void man_words(FILE *out, const char *s, size_t n)
{
    for (; n--; s++) {
        if (*s == '-' || *s == '\\')
            fputs(*s == '-' ? "\\-" : "\\e", out);
        else
            fputc(*s, out);
    }
}

static void man_text(FILE *out, const char *s)
{
    man_words(out, s, strlen(s));
}

/* The parts for some verbs begin with their names: "run, chat: ...". */
static void man_help(FILE *out, const char *help)
{
    struct part part = first_part(help);
    const char *separator = "";
    do {
        if (!part.n)
            continue;
        for (const struct verb *v = verbs; v->name; v++) {
            if (!v->letter || !part.n_letters || !memchr(part.letters, v->letter, part.n_letters))
                continue;
            fprintf(out, "%s%s", separator, v->name);
            separator = ", ";
        }
        fputs(part.n_letters ? ": " : separator, out);
        man_words(out, part.text, part.n);
        separator = "; ";
    } while (next_part(&part));
}

void print_man_page(FILE *out)
{
    fprintf(out, ".TH BITLOOM 1 \"\" \"bitloom %s\" \"User Commands\"\n.SH NAME\nbitloom \\- run language models\n.SH SYNOPSIS\n.B bitloom\nVERB\n[options]\n",
            bl_version());
    fprintf(out, ".SH DESCRIPTION\nRuns language models from GGUF files. Generated text goes to standard output, everything else to standard error.\n.SH VERBS\n");
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, ".TP\n.B %s\n", v->name);
        man_text(out, v->help);
        fprintf(out, ".\n");
    }
    fprintf(out, ".SH OPTIONS\n");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        char name[NAME_ROOM];
        const char *comma = ".TP\n.B ";
        for (const char *at = table[i].names; next_name(&at, name); comma = ", ") {
            fputs(comma, out);
            man_text(out, name);
        }
        fprintf(out, " \\fI%s\\fR\n", table[i].argument);
        man_help(out, table[i].help);
        print_limits(out, &table[i]);
        fprintf(out, ". (");
        const char *separator = "";
        for (const struct verb *v = verbs; v->name; v++) {
            if (!v->letter || !takes(&table[i], v))
                continue;
            fprintf(out, "%s%s", separator, v->name);
            separator = ", ";
        }
        fprintf(out, ")\n");
    }
    fprintf(out, ".SH ENVIRONMENT\nEvery option can be given as BITLOOM_ARG_NAME, e.g. BITLOOM_ARG_TOP_K for \\-\\-top\\-k; the option wins.\n"
                 "XDG_CACHE_HOME (~/.cache) holds models and bitloom/measured: speeds and schedules that were measured once; it may be deleted.\n"
                 ".SH EXIT STATUS\n0 done; 1 failed, with a line that says why; 2 the command line is wrong; 130 interrupted.\n");
}

static void complete_words(FILE *out, const struct option *option)
{
    char name[NAME_ROOM];
    for (const char *at = option->names; next_name(&at, name);)
        if (name[1] == '-')
            fprintf(out, " %s", name);
}

static void complete_bash(FILE *out)
{
    fprintf(out, "_bitloom() {\n  local cur=${COMP_WORDS[COMP_CWORD]} words=\"\"\n  if [ \"$COMP_CWORD\" = 1 ]; then words=\"");
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(out, "%s ", v->name);
    fprintf(out, "\"; else case ${COMP_WORDS[1]} in\n");
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, "    %s) words=\"--help", v->name);
        for (size_t i = 0; v->letter && i < N_OPTIONS; i++)
            if (takes(&table[i], v))
                complete_words(out, &table[i]);
        fprintf(out, "\" ;;\n");
    }
    fprintf(out, "  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _bitloom bitloom\n");
}

static void complete_fish(FILE *out)
{
    char name[NAME_ROOM];
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, "complete -c bitloom -n __fish_use_subcommand -a %s -d \"%s\"\n", v->name, v->help);
        for (size_t i = 0; v->letter && i < N_OPTIONS; i++)
            for (const char *at = table[i].names; takes(&table[i], v) && next_name(&at, name);)
                if (name[1] == '-')
                    fprintf(out, "complete -c bitloom -n \"__fish_seen_subcommand_from %s\" -l %s%s\n", v->name, name + 2, *table[i].argument ? " -r" : "");
        }
}

static void complete_zsh(FILE *out)
{
    fprintf(out, "#compdef bitloom\n_bitloom() {\n  if (( CURRENT == 2 )); then\n    compadd");
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(out, " %s", v->name);
    fprintf(out, "\n    return\n  fi\n  case $words[2] in\n");
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, "    %s) compadd -- --help", v->name);
        for (size_t i = 0; v->letter && i < N_OPTIONS; i++)
            if (takes(&table[i], v))
                complete_words(out, &table[i]);
        fprintf(out, " ;;\n");
    }
    fprintf(out, "  esac\n  _files\n}\n_bitloom\n");
}

bool print_completion(FILE *out, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        complete_bash(out);
    else if (strcmp(shell, "zsh") == 0)
        complete_zsh(out);
    else if (strcmp(shell, "fish") == 0)
        complete_fish(out);
    else
        return false;
    return true;
}
