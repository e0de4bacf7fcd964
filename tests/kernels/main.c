/* main.c: kernel-check, the test and benchmark of the kernels. Walks kernels.def; owns the options and the summary line. */
#include "check.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct options options = {.seed = 1};
struct counts counts;
const struct other_kernels *other_kernels;

static void usage(FILE *f)
{
    fputs("usage: kernel-check [--list] [--kernel=GLOB] [--level=NAME] [--device=NAME] [--tuning=N] [--partial] [--seed=N] [--quick] [--bench] [--json]\n"
          "  --list         print the names of the kernels of this machine\n"
          "  --kernel=GLOB  only kernels whose full name matches, for example 'matvec_q4_*'\n"
          "  --level=NAME   only this level\n"
          "  --device=NAME  the kernels of this device (vulkan:0) instead of the CPU's levels; a kernel that it lacks is a failure\n"
          "  --tuning=N     of the device's kernels: 0 (the default) what the back end chooses, others what it defines\n"
          "  --partial      which it is not with this\n"
          "  --seed=N       seed of the inputs (default 1)\n"
          "  --quick        fewer cases, for emulators\n"
          "  --bench        measure instead of checking\n"
          "  --json         one JSON object per line\n",
          f);
}

static void list(const struct bl_kernel_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++) {
            struct bl_cpu_kernel kernel;
            char name[96];
            if (!bl_cpu_kernel_find(keys[i], 1u << level, &kernel) || kernel.level != level || !wanted(keys[i], kernel.level))
                continue;
            full_name(name, sizeof name, keys[i], kernel.level);
            puts(name);
        }
    }
}

static void check(struct bl_kernel_key key)
{
    switch (key.op) {
    case BL_OP_MATVEC:
    case BL_OP_MATMUL:
        check_linear(key);
        break;
    case BL_OP_KV_STORE:
    case BL_OP_ROPE_STORE:
    case BL_OP_ATTENTION:
        check_attention(key);
        break;
    default:
        check_rows(key);
    }
}

static bool any_level_wanted(struct bl_kernel_key key)
{
    for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++)
        if (wanted(key, (enum bl_cpu_level)level))
            return true;
    return false;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"list", no_argument, 0, 'l'},  {"kernel", required_argument, 0, 'k'}, {"level", required_argument, 0, 'v'},
        {"seed", required_argument, 0, 's'}, {"quick", no_argument, 0, 'q'},   {"bench", no_argument, 0, 'b'},
        {"device", required_argument, 0, 'd'}, {"tuning", required_argument, 0, 't'}, {"partial", no_argument, 0, 'p'}, {"json", no_argument, 0, 'j'},  {"help", no_argument, 0, 'h'},         {0},
    };
    bool only_list = false, measure = false;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        char *end = optarg;
        switch (c) {
        case 'l':
            only_list = true;
            break;
        case 'k':
            options.kernel = optarg;
            break;
        case 'v':
            options.level = optarg;
            break;
        case 'd':
            options.device = optarg;
            break;
        case 'p':
            options.partial = true;
            break;
        case 't':
            options.tuning = (uint32_t)strtoul(optarg, &end, 10);
            break;
        case 's':
            options.seed = strtoull(optarg, &end, 10);
            break;
        case 'q':
            options.quick = true;
            break;
        case 'b':
            measure = true;
            break;
        case 'j':
            options.json = true;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
        if ((c == 's' || c == 't') && (end == optarg || *end)) {
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return 2;
    }
    struct bl_kernel_key keys[512];
    const size_t n = bl_kernel_keys(keys, sizeof keys / sizeof keys[0]);
    if (only_list) {
        list(keys, n);
        return 0;
    }
    if (measure)
        return bench();
    other_kernels = linked_kernels;
    if (options.device && !(other_kernels = open_device(options.device))) {
        printf("kernel-check: %s\n", bl_error_text());
        return 77;
    }
    if (!other_kernels)
        check_math();
    size_t wanted = 0, missing = 0;
    for (size_t i = 0; i < n; i++) {
        if (!any_level_wanted(keys[i]))
            continue;
        wanted++;
        if (other_kernels && !other_kernels->has(keys[i])) {
            char name[96];
            bl_kernel_key_name(keys[i], name, sizeof name);
            printf("missing %s_%s\n", name, other_kernels->name);
            missing++;
            counts.failed += options.device && !options.partial;
            continue;
        }
        check(keys[i]);
    }
    if (!wanted) {
        fprintf(stderr, "kernel-check: no kernel of that name and level; see --list\n");
        return 2;
    }
    if (!other_kernels)
        print_limits(stdout, options.json);
    if (options.json)
        printf("{\"digest\": \"%016llx\", \"passed\": %u, \"failed\": %u, \"skipped\": %u}\n", (unsigned long long)counts.digest,
               counts.passed, counts.failed, counts.skipped);
    else
        printf("digest of what level c computed: %016llx (the same on every machine)\n", (unsigned long long)counts.digest);
    if (other_kernels)
        printf("%zu of %zu kernels have no %s; %u launches gave the bits of level c\n", missing, wanted, other_kernels->name, counts.equal);
    if (options.device)
        close_device();
    printf("%u passed, %u failed, %u skipped\n", counts.passed, counts.failed, counts.skipped);
    return counts.failed != 0;
}
