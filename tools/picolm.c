/* picolm.c: the program under the name picolm: PicoLM's command line with PicoLM's meanings and defaults, on our engine. */
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

/* Each of PicoLM's flags as the option of ours that means the same. */
static const struct {
    const char *flag, *ours;
} flags[] = {{"-p", "--prompt"}, {"-n", "--predict"}, {"-t", "--temp"}, {"-k", "--top-p"}, {"-s", "--seed"}, {"-c", "--ctx-size"}, {"-j", "--threads"}};

int picolm_main(int argc, char **argv)
{
    static struct options options;
    const struct verb *run = &verbs[0];
    char *translated[64] = {"--predict=256", "--top-p=0.9", "--seed=42", "--threads=4", "--top-k=0", "--min-p=0", "--no-escape"};
    int n = 7;
    bool help = false;
    if (argc == 0)
        return usage(stderr);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "--cache") == 0) {
            fprintf(stderr, "picolm: %s: not yet\n", argv[i]);
            return EXIT_FAILED;
        }
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return usage(stdout);
        if (n + 2 > (int)(sizeof translated / sizeof translated[0]))
            return usage(stderr);
        if (argv[i][0] != '-') {
            translated[n++] = argv[i];
            continue;
        }
        const char *ours = NULL;
        for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++)
            if (strcmp(flags[k].flag, argv[i]) == 0)
                ours = flags[k].ours;
        if (!ours || i + 1 == argc) {
            fprintf(stderr, "picolm: %s '%s'\n", ours ? "no value for" : "unknown option", argv[i]);
            return usage(stderr);
        }
        translated[n++] = (char *)(uintptr_t)ours;
        translated[n++] = argv[++i];
    }
    if (!options_parse(run, n, translated, &options, &help))
        return EXIT_USAGE;
    return run_prompt(&options);
}
