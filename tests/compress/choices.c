/* choices.c: steps that are taken only where text held out says so: the second round of allocation, made to happen however little it promises, and tuning.
 * Argument: a tiny model. Exit 77 without OpenBLAS. */
#include "base/error.h"
#include "tools/compress/blas.h"
#include "tools/compress/compress.h"

#include <bitloom/file.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZES = 3, MOST = 1 << 22 };

static int failures;

static void check(bool ok, const char *what, double number)
{
    if (!ok) {
        printf("FAILED %s (%g)\n", what, number);
        failures++;
    }
}

static size_t read_file(const char *path, char *out)
{
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(out, 1, MOST, f) : 0;
    if (f)
        fclose(f);
    return n;
}

static void ignore(void *user, const char *text, size_t length)
{
    (void)user;
    (void)text;
    (void)length;
}

static struct xq_result compress(const char *in, const char *folder, double bits, uint32_t rounds, uint32_t windows, uint32_t threads, const char *work, char *bytes, size_t *n)
{
    char out[256];
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    const struct xq_target target = {.out = out, .bits_per_weight = bits};
    const struct xq_options options = {.in = in, .targets = &target, .n_targets = 1, .shared = 1, .threads = threads, .calibration_tokens = 4096, .work = work, .damp = 0.01, .temper = 0.5,
                                       .feedback = true, .sweeps = 1, .rounds = rounds, .worth_a_round = INFINITY, .tune_windows = windows, .quiet = true};
    struct xq_result result = {0};
    if (xq_compress(&options, &result) != BL_OK) {
        printf("FAILED: %s\n", bl_error_text());
        exit(1);
    }
    check(bl_file_verify(out, ignore, NULL) == BL_OK, "a whole file with the right checksums", bits);
    *n = read_file(out, bytes);
    unlink(out);
    return result;
}

int main(int argc, char **argv)
{
    static char bytes[3][MOST];
    char folder[] = "/tmp/bitloom-rounds-XXXXXX", work[64];
    const struct xq_blas *blas;
    if (argc < 2)
        return 2;
    if (xq_blas_open(&blas) != BL_OK) {
        printf("SKIP %s\n", bl_error_text());
        return 77;
    }
    if (!mkdtemp(folder))
        return 1;
    snprintf(work, sizeof work, "%s/work", folder);
    uint32_t second = 0, tuned = 0, refused = 0;
    for (uint32_t i = 0; i < SIZES; i++) {
        const double bits = 2 + i;
        const uint32_t windows = i == 1 ? 2 : 10; /* two are a single step: no better at 3 bits */
        size_t n[2];
        const struct xq_result once = compress(argv[1], folder, bits, 1, 0, 2, NULL, bytes[0], &n[0]);
        const struct xq_result twice = compress(argv[1], folder, bits, 2, 0, 2, work, bytes[0], &n[0]);
        const struct xq_result again = compress(argv[1], folder, bits, 2, 0, 3, NULL, bytes[1], &n[1]);
        check(once.round == 1 && twice.cost <= once.cost, "two rounds cost no more than one", twice.cost - once.cost);
        check(twice.round != 2 || !(twice.first_cost < once.cost || twice.first_cost > once.cost), "what the first round cost", twice.first_cost);
        check((double)twice.bytes <= bits * (double)twice.parameters / 8 && twice.bytes == n[0], "bytes", (double)twice.bytes);
        check(n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0 && again.round == twice.round, "the same file without a work folder and with other threads", bits);
        second += twice.round == 2;
        const struct xq_result with = compress(argv[1], folder, bits, 2, windows, 2, work, bytes[2], &n[0]);
        const struct xq_result same = compress(argv[1], folder, bits, 2, windows, 3, NULL, bytes[1], &n[1]);
        check(with.tuned != XQ_TUNE_NOT_TRIED && with.round == twice.round && with.bytes == twice.bytes, "tuning was tried, on the file of the better round", with.tuned);
        check(!(with.untuned_cost < twice.cost || with.untuned_cost > twice.cost), "what the file before tuning cost", with.untuned_cost);
        check(with.tuned == XQ_TUNE_KEPT ? with.cost < twice.cost : !(with.cost < twice.cost || with.cost > twice.cost), "what tuning is kept for", with.cost);
        check((memcmp(bytes[0], bytes[2], n[0]) != 0) == (with.tuned == XQ_TUNE_KEPT), "what is refused leaves no trace", bits);
        check(n[0] == n[1] && memcmp(bytes[2], bytes[1], n[0]) == 0 && same.tuned == with.tuned, "the same tuned file without a work folder and with other threads", bits);
        printf("%g bits: %.4g, two rounds %.4g, tuned %.4g\n", bits, once.cost, twice.cost, with.cost);
        tuned += with.tuned == XQ_TUNE_KEPT;
        refused += with.tuned == XQ_TUNE_NO_BETTER;
    }
    check(second > 0, "no second round was better", second);
    check(tuned > 0 && refused > 0, "tuning was always better, or never", tuned);
    check(rmdir(folder) == 0, "the work folder is gone", 0);
    return failures ? 1 : 0;
}
