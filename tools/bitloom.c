/* bitloom.c: the program: picks the verb. What the verbs do is in verb_*.c, what they take in options.def. */
#include "common.h"
#include "verbs.h"

#include <string.h>

const struct verb verbs[] = {
    {"run", 'r', "-m FILE [-p TEXT | -f FILE] [options]", "continue a prompt; the generated text alone goes to standard output", verb_run},
    {"chat", 'c', "-m FILE [options]", "talk to a model, turn by turn", verb_chat},
    {"inspect", 'i', "FILE [--json] [--tensors]", "show what a model file says of itself, without loading it", verb_inspect},
    {"verify", 'v', "FILE", "walk through all of a model file and report everything that is wrong", verb_verify},
    {"tokenize", 't', "-m FILE [-f FILE] [--decode]", "text from a file or standard input to token ids, on one line, or back", verb_tokenize},
    {"graph", 'g', "-m FILE [--schedule NAME] [--dot | --json | --stats]", "show the graph of a model and its schedule", verb_graph},
    {"compress", 'z', "FILE -o FILE (--size SIZE | --curve SIZES | --bpw BITS | --max-kld X | --method gptq|rtn --bits N) [options]", "make a model smaller: learn how many bits each column of each matrix needs", verb_compress},
    {"eval", 'e', "-m FILE (--ppl TEXT | --kld REFERENCE -f TEXT | --arc FILE | ...) [options]", "how well a model predicts texts and answers questions, and how far it is from another one", verb_eval},
    {"bench", 'b', "-m FILE | --kernels | --bits [options]", "measure how fast a model, single kernels, or models of several bit rates are", verb_bench},
    {"devices", 'd', "[--json] [--probe]", "list devices, and why others are missing", verb_devices},
    {"completion", 0, "bash|zsh|fish", "print a shell completion script", NULL},
    {"man", 0, "", "print the manual page", NULL},
    {"version", 0, "", "print the version", NULL},
    {"help", 0, "[VERB]", "print this help, or that of a verb", NULL},
    {NULL, 0, NULL, NULL, NULL},
};

static const struct verb *find_verb(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

/* The verbs that take no options. */
static int run_plain(const struct verb *verb, int argc, char **argv)
{
    bool takes_none = strcmp(verb->name, "version") == 0 || strcmp(verb->name, "man") == 0;
    if (argc && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        print_verb_help(stdout, verb);
    } else if (argc > (takes_none ? 0 : 1)) {
        fprintf(stderr, "bitloom %s: unknown argument '%s'; see bitloom %s --help\n", verb->name, argv[takes_none ? 0 : 1], verb->name);
        return EXIT_USAGE;
    } else if (strcmp(verb->name, "version") == 0) {
        printf("bitloom %s\n", bl_version());
    } else if (strcmp(verb->name, "man") == 0) {
        print_man_page(stdout);
    } else if (strcmp(verb->name, "completion") == 0) {
        if (argc != 1 || !print_completion(stdout, argv[0])) {
            fprintf(stderr, "bitloom completion: expected bash, zsh or fish\n");
            return EXIT_USAGE;
        }
    } else if (argc) {
        const struct verb *other = find_verb(argv[0]);
        if (!other) {
            fprintf(stderr, "bitloom help: unknown verb '%s'\n", argv[0]);
            return EXIT_USAGE;
        }
        print_verb_help(stdout, other);
    } else {
        print_usage(stdout);
    }
    return finish_stdout(EXIT_OK);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (strcmp(name, "picolm") == 0)
        return picolm_main(argc - 1, argv + 1);
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0)
        word = "version";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    const struct verb *verb = find_verb(word);
    if (!verb) {
        fprintf(stderr, "bitloom: unknown verb '%s'; see bitloom help\n", word);
        return EXIT_USAGE;
    }
    if (!verb->run)
        return run_plain(verb, argc - 2, argv + 2);
    static struct options options;
    bool help;
    if (!options_parse(verb, argc - 2, argv + 2, &options, &help))
        return EXIT_USAGE;
    if (help) {
        print_verb_help(stdout, verb);
        return finish_stdout(EXIT_OK);
    }
    return verb->run(&options);
}
