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
typedef bool options_FLAG, options_NOFLAG;
typedef uint64_t options_UINT;
typedef int64_t options_INT;
typedef double options_FLOAT;
typedef const char *options_TEXT;
typedef struct text_list options_LIST;

struct options {
#define OPTION(field, long_name, short_name, kind, verbs, argument, help) options_##kind field;
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

void options_defaults(struct options *options);
/* Environment, then arguments. False after a line on stderr that names the option. Sets *help for -h. */
bool options_parse(const struct verb *verb, int argc, char **argv, struct options *out, bool *help);

void print_usage(FILE *out);
void print_verb_help(FILE *out, const struct verb *verb);
void print_man_page(FILE *out);
/* shell: bash, zsh or fish. */
bool print_completion(FILE *out, const char *shell);
#endif
