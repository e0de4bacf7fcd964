/* options.h: the command line as data. Owns parsing and everything that is printed about options; knows no verb's work. */
#ifndef BL_TOOLS_OPTIONS_H
#define BL_TOOLS_OPTIONS_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_LIST = 64 };
struct text_list {
    const char *items[MAX_LIST];
    uint32_t n;
};
typedef bool options_FLAG;
typedef int64_t options_INT;
typedef double options_FLOAT;
typedef const char *options_TEXT;
typedef struct text_list options_LIST;

struct options {
#define OPTION(field, names, kind, verbs, argument, range, help) options_##kind field;
#include "options.def"
#undef OPTION
};

struct verb {
    const char *name;
    char letter;               /* as in options.def; 0: takes no options */
    const char *synopsis, *help;
    int (*run)(struct options *options);
};
/* The verbs of the program (bitloom.c); the last has no name. */
extern const struct verb verbs[];

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Environment, then arguments. False after a line on stderr: program and verb, option, value, limit. Sets *help for -h. */
bool options_parse(const struct verb *verb, int argc, char **argv, struct options *out, bool *help);
/* The two halves, for a front end with names of its own: defaults and environment; then one value for the option `option_name` of the first verb, checked
 * against `range` (in the words of options.def) and called `name` in the line that refuses it. `who` begins that line. */
bool options_environment(const char *who, const struct verb *verb, struct options *out);
bool options_set(const char *who, const char *name, const char *option_name, const char *range, const char *value, struct options *out);

/* A user's text on one line of a terminal: control bytes as \xNN, quoted if it is empty or holds blanks, cut when long. */
void print_escaped(FILE *out, const char *text);
void print_usage(FILE *out);
void print_verb_help(FILE *out, const struct verb *verb);
void print_man_page(FILE *out);
/* shell: bash, zsh or fish. */
bool print_completion(FILE *out, const char *shell);
#endif
