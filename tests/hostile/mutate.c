/* mutate.c: a tiny model cut at every byte and with every bit of its first bytes flipped. Each variant is opened as a user would open it and,
 * where it still opens, verified, shown and run for two tokens. Passes when nothing ends the process, every refusal is one line that begins
 * with the file's name, no variant takes more than a second, and memory stays below the file's size + 32 MiB.
 *
 *   mutate MODEL [--bits BYTES] [--cut-step N] [--bit-step N]      steps > 1 take every n-th variant (for slow sanitizers) */
#include <bitloom/bitloom.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static unsigned char *original, *copy;
static size_t bytes;
static int fd;
static char path[64];
static unsigned failures, refused, opened;
static double slowest;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void swallow(void *user, const char *text, size_t n)
{
    size_t *total = user;
    *total += n + (text == NULL);
}

static void complain(const char *what, size_t variant, const char *text)
{
    if (failures++ < 20)
        printf("%s %zu: %s\n", what, variant, text);
}

static void check_line(const char *what, size_t variant)
{
    const char *text = bl_error_text();
    if (strncmp(text, path, strlen(path)) != 0 || strchr(text, '\n') || strlen(text) > 240)
        complain(what, variant, *text ? text : "refused without a line");
}

static void use_model(const char *what, size_t variant, bl_model *model)
{
    bl_sequence *sequence;
    if (bl_sequence_create(model, &sequence) != BL_OK) {
        complain(what, variant, bl_error_text());
        return;
    }
    bl_generate_params params;
    bl_generate_default_params(&params);
    params.prompt = "he";
    params.prompt_bytes = 2;
    params.max_tokens = 2;
    params.sampler.seed = 1;
    bl_status status = bl_generate(sequence, &params, NULL); /* weights may be anything now: NaN logits are a proper refusal */
    if (status != BL_OK && bl_error_text()[0] == 0)
        complain(what, variant, "generation failed without a line");
    bl_sequence_destroy(sequence);
}

static void try_variant(const char *what, size_t variant, size_t size)
{
    double start = now();
    size_t printed = 0;
    if (pwrite(fd, copy, size, 0) != (ssize_t)size || ftruncate(fd, (off_t)size) != 0) {
        complain(what, variant, strerror(errno));
        return;
    }
    bl_model_params params;
    bl_model_default_params(&params);
    params.device.n_threads = 1;
    params.batch = 32;
    bl_model *model;
    if (bl_model_open(path, &params, &model) == BL_OK) {
        opened++;
        use_model(what, variant, model);
        bl_model_close(model);
    } else {
        refused++;
        check_line(what, variant);
    }
    bl_inspect_params inspect = {.struct_size = sizeof inspect, .json = variant & 1, .tensors = true};
    if (bl_file_inspect(path, &inspect, swallow, &printed) != BL_OK)
        check_line(what, variant);
    if (bl_file_verify(path, swallow, &printed) != BL_OK)
        check_line(what, variant);
    double took = now() - start;
    if (took > slowest)
        slowest = took;
    if (took > 1.0)
        complain(what, variant, "took more than a second");
}

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

int main(int argc, char **argv)
{
    size_t bits = 8192, cut_step = 1, bit_step = 1;
    for (int i = 2; i + 1 < argc; i += 2) {
        size_t value = (size_t)strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--bits") == 0)
            bits = value;
        else if (strcmp(argv[i], "--cut-step") == 0 && value)
            cut_step = value;
        else if (strcmp(argv[i], "--bit-step") == 0 && value)
            bit_step = value;
    }
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f) {
        fprintf(stderr, "usage: mutate MODEL [--bits BYTES] [--cut-step N] [--bit-step N]\n");
        return 2;
    }
    original = malloc(1 << 20);
    copy = malloc(1 << 20);
    bytes = original && copy ? fread(original, 1, 1 << 20, f) : 0;
    fclose(f);
    fd = memfd_create("hostile", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || bytes == 0)
        return 1;
    memcpy(copy, original, bytes);
    try_variant("whole file", 0, bytes);
    if (opened != 1) {
        printf("the unchanged file does not open: %s\n", bl_error_text());
        return 1;
    }
    long before = peak_kib();
    for (size_t cut = 1; cut < bytes; cut += cut_step)
        try_variant("cut at byte", cut, cut);
    for (size_t bit = 0; bit < 8 * (bits < bytes ? bits : bytes); bit += bit_step) {
        copy[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        try_variant("flipped bit", bit, bytes);
        copy[bit / 8] = original[bit / 8];
    }
    long grown = peak_kib() - before, limit = 32 * 1024 + (long)(bytes / 1024);
#if !defined(__SANITIZE_ADDRESS__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_MEMORY_CHECK
#endif
#endif
#else
#define NO_MEMORY_CHECK
#endif
#ifndef NO_MEMORY_CHECK
    if (grown > limit)
        complain("memory", (size_t)grown, "KiB more than before, above the limit");
#endif
    printf("%u variants refused, %u opened, slowest %.3f s, memory grew by %ld of %ld KiB allowed, %u complaints\n", refused, opened, slowest, grown,
           limit, failures);
    return failures ? 1 : 0;
}
