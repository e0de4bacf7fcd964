/* options.c: reads the command line and the environment against options.def, and prints help, man page and shell completion from it. */
#include "options.h"

#include <bitloom/bitloom.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, NOFLAG, UINT, INT, FLOAT, TEXT, LIST };
static const struct option {
    const char *long_name, *short_name;
    enum kind kind;
    size_t offset;
    const char *verbs, *argument, *help;
} table[] = {
#define OPTION(field, long_name, short_name, kind, verbs, argument, help) \
    {long_name, short_name, kind, offsetof(struct options, field), verbs, argument, help},
#include "options.def"
#undef OPTION
};
enum { N_OPTIONS = sizeof table / sizeof table[0] };

void options_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    o->n_predict = -1;
    o->batch = 512;
    o->seed = -1;
    o->temperature = 0.8;
    o->top_k = 40;
    o->top_p = 0.95;
    o->min_p = 0.05;
    o->repeat_penalty = 1;
    o->repeat_last_n = 64;
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (table[i].kind == NOFLAG)
            *(bool *)((char *)o + table[i].offset) = true;
}

static bool takes(const struct option *option, const struct verb *verb)
{
    return strchr(option->verbs, verb->letter) != NULL;
}

/* The whole text must be a number of the kind; nothing is cut off or wrapped. */
static bool set_value(const struct option *option, const char *name, const char *text, struct options *out)
{
    void *field = (char *)out + option->offset;
    char *end = (char *)(uintptr_t)text;
    errno = 0;
    switch (option->kind) {
    case FLAG:
    case NOFLAG: *(bool *)field = option->kind == FLAG; return true;
    case TEXT: *(const char **)field = text; return true;
    case LIST: {
        struct text_list *list = field;
        if (list->n == MAX_LIST) {
            fprintf(stderr, "bitloom: %s: given more than %d times\n", name, MAX_LIST);
            return false;
        }
        list->items[list->n++] = text;
        return true;
    }
    case UINT:
        if (isdigit((unsigned char)text[0]))
            *(uint64_t *)field = strtoull(text, &end, 10);
        break;
    case INT:
        if (isdigit((unsigned char)text[0]) || text[0] == '-')
            *(int64_t *)field = strtoll(text, &end, 10);
        break;
    case FLOAT: *(double *)field = strtod(text, &end); break;
    }
    if (end == text || *end || errno) {
        fprintf(stderr, "bitloom: %s: got '%s', expected a %s\n", name, text, option->kind == FLOAT ? "number" : "whole number");
        return false;
    }
    return true;
}

static bool read_environment(const struct verb *verb, struct options *out)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        char name[64] = "BITLOOM_ARG_";
        size_t n = strlen(name);
        for (const char *s = table[i].long_name; *s && n + 1 < sizeof name; s++)
            name[n++] = *s == '-' ? '_' : (char)toupper((unsigned char)*s);
        const char *value = takes(&table[i], verb) ? getenv(name) : NULL;
        if (!value)
            continue;
        if (table[i].kind == FLAG || table[i].kind == NOFLAG) {
            static const char *const no[] = {"", "0", "off", "false", "no"};
            bool off = false;
            for (size_t k = 0; k < sizeof no / sizeof no[0]; k++)
                off |= strcmp(value, no[k]) == 0;
            if (off)
                continue;
        }
        if (!set_value(&table[i], name, value, out))
            return false;
    }
    return true;
}

static const struct option *find_option(const char *arg, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (arg[0] == '-' && arg[1] != '-' && *table[i].short_name && strcmp(arg + 1, table[i].short_name) == 0)
            return &table[i];
        size_t n = strlen(table[i].long_name);
        if (arg[0] == '-' && arg[1] == '-' && strncmp(arg + 2, table[i].long_name, n) == 0) {
            if (arg[2 + n] == 0)
                return &table[i];
            if (arg[2 + n] == '=') {
                *value = arg + 3 + n;
                return &table[i];
            }
        }
    }
    return NULL;
}

bool options_parse(const struct verb *verb, int argc, char **argv, struct options *out, bool *help)
{
    *help = false;
    options_defaults(out);
    if (!read_environment(verb, out))
        return false;
    bool model_given = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *value;
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            *help = true;
            return true;
        }
        if (arg[0] != '-' && strchr("rcivtg", verb->letter) && !model_given) {
            out->model = arg;
            model_given = true;
            continue;
        }
        const struct option *option = find_option(arg, &value);
        if (!option || !takes(option, verb)) {
            fprintf(stderr, "bitloom %s: unknown argument '%s'; see bitloom %s --help\n", verb->name, arg, verb->name);
            return false;
        }
        bool flag = option->kind == FLAG || option->kind == NOFLAG;
        if (flag && value) {
            fprintf(stderr, "bitloom: %s takes no value\n", arg);
            return false;
        }
        if (!flag && !value) {
            if (i + 1 == argc) {
                fprintf(stderr, "bitloom: %s needs a value\n", arg);
                return false;
            }
            value = argv[++i];
        }
        if (!set_value(option, arg, value, out))
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

void print_verb_help(FILE *out, const struct verb *verb)
{
    fprintf(out, "usage: bitloom %s %s\n\n%s.\n\n", verb->name, verb->synopsis, verb->help);
    for (size_t i = 0; verb->letter && i < N_OPTIONS; i++) {
        if (!takes(&table[i], verb))
            continue;
        char left[64];
        int n = snprintf(left, sizeof left, "%s%s%s--%s %s", *table[i].short_name ? "-" : "", table[i].short_name,
                         *table[i].short_name ? ", " : "", table[i].long_name, table[i].argument);
        fprintf(out, "  %-34s%s %s\n", left, n > 34 ? "\n                                   " : "", table[i].help);
    }
}

static void man_text(FILE *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '-' || *s == '\\')
            fputs(*s == '-' ? "\\-" : "\\e", out);
        else
            fputc(*s, out);
    }
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
        fprintf(out, ".TP\n.B ");
        if (*table[i].short_name)
            fprintf(out, "\\-%s, ", table[i].short_name);
        man_text(out, "--");
        man_text(out, table[i].long_name);
        fprintf(out, " \\fI%s\\fR\n", table[i].argument);
        man_text(out, table[i].help);
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
                 ".SH EXIT STATUS\n0 done; 1 failed, with a line that says why; 2 the command line is wrong; 130 interrupted.\n");
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
                fprintf(out, " --%s", table[i].long_name);
        fprintf(out, "\" ;;\n");
    }
    fprintf(out, "  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _bitloom bitloom\n");
}

static void complete_fish(FILE *out)
{
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, "complete -c bitloom -n __fish_use_subcommand -a %s -d \"%s\"\n", v->name, v->help);
        for (size_t i = 0; v->letter && i < N_OPTIONS; i++)
            if (takes(&table[i], v))
                fprintf(out, "complete -c bitloom -n \"__fish_seen_subcommand_from %s\" -l %s%s\n", v->name, table[i].long_name,
                        *table[i].argument ? " -r" : "");
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
                fprintf(out, " --%s", table[i].long_name);
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
