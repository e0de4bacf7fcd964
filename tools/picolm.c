/* picolm.c: the program under the name picolm: PicoLM's command line with PicoLM's meanings, limits and defaults, on our engine. */
#include "common.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

static int usage(FILE *out)
{
    fprintf(out, "usage: picolm <model.gguf> [options]\n\n"
                 "  -p <prompt>   input prompt (or pipe via stdin)\n"
                 "  -n <int>      max tokens to generate (default: 256)\n"
                 "  -t <float>    temperature (default: 0.8, 0=greedy)\n"
                 "  -k <float>    top-p / nucleus sampling (default: 0.9)\n"
                 "  -s <int>      RNG seed (default: 42)\n"
                 "  -c <int>      context length override\n"
                 "  -j <int>      number of threads (default: 4)\n"
                 "  --json        grammar-constrained JSON output (not yet)\n"
                 "  --cache <file>  KV cache file (not yet)\n");
    return out == stdout ? EXIT_OK : EXIT_USAGE;
}

/* Each of PicoLM's flags as the option of ours that means the same, and what it may be. */
static const struct {
    const char *flag, *ours, *range, *otherwise;
} flags[] = {
    {"-p", "--prompt", "", NULL},         {"-n", "--predict", "0..2147483647", "256"}, {"-t", "--temp", "0..1000", "0.8"},
    {"-k", "--top-p", "0..1", "0.9"},     {"-s", "--seed", "0..", "42"},               {"-c", "--ctx-size", "1..16777216", NULL},
    {"-j", "--threads", "1..1024", "4"},  {NULL, "--top-k", "-1..0", "0"},             {NULL, "--min-p", "0..1", "0"},
};
enum { N_FLAGS = sizeof flags / sizeof flags[0] };

static bool read_flag(int *at, int argc, char **argv, struct options *options)
{
    for (size_t k = 0; k < N_FLAGS; k++) {
        if (!flags[k].flag || strcmp(flags[k].flag, argv[*at]) != 0)
            continue;
        if (*at + 1 < argc) {
            ++*at;
            return options_set("picolm", flags[k].flag, flags[k].ours, flags[k].range, argv[*at], options);
        }
        fprintf(stderr, "picolm: %s needs a value\n", argv[*at]);
        return false;
    }
    fprintf(stderr, "picolm: unknown argument ");
    print_escaped(stderr, argv[*at]);
    fprintf(stderr, "; see picolm --help\n");
    return false;
}

int picolm_main(int argc, char **argv)
{
    static struct options options;
    const struct verb *run = &verbs[0];
    bool has_model = false;
    if (argc == 0)
        return usage(stderr);
    if (!options_environment("picolm", run, &options))
        return EXIT_USAGE;
    for (size_t k = 0; k < N_FLAGS; k++)
        if (flags[k].otherwise && !options_set("picolm", flags[k].ours, flags[k].ours, flags[k].range, flags[k].otherwise, &options))
            return EXIT_USAGE;
    options.escape = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "--cache") == 0) {
            fprintf(stderr, "picolm: %s: not yet\n", argv[i]);
            return EXIT_FAILED;
        }
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return usage(stdout);
        if (argv[i][0] != '-' && !has_model) {
            options.model = argv[i];
            has_model = true;
        } else if (!read_flag(&i, argc, argv, &options)) {
            return EXIT_USAGE;
        }
    }
    program_name = "picolm";
    return run_prompt(&options);
}
