/* vocab_pairs.c: llama.cpp's vocabulary files with its test texts (.inp) and the ids they must give (.out). Ends with 77, "skipped", where
 * they are not: in $BITLOOM_TEST_DATA/vocab or ../shared/data/vocab beside the source tree. Extra folders may be given as arguments. */
#include <bitloom/tokenizer.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"
enum { MOST_IDS = 4096 };

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fseek(file, 0, SEEK_SET);
    char *data = calloc(1, (size_t)size + 1);
    *bytes = data ? fread(data, 1, (size_t)size, file) : 0;
    fclose(file);
    return data;
}

static int32_t decoded[MOST_IDS], expected[MOST_IDS];

/* Ids of one line of the .out file; moves past it. */
static size_t read_line(char **at)
{
    size_t n = 0;
    while (**at && **at != '\n' && n < MOST_IDS) {
        char *end = *at;
        long id = strtol(*at, &end, 10);
        if (end == *at)
            break;
        expected[n++] = (int32_t)id;
        *at = end;
        while (**at == ' ')
            (*at)++;
    }
    if (**at == '\n')
        (*at)++;
    return n;
}

static int round_trip(const bl_tokenizer *tokenizer, const char *text, size_t bytes, size_t n_ids)
{
    bl_decoder decoder = {0};
    const char *piece;
    size_t n, at = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        if (i == n_ids)
            bl_tokenizer_decode_finish(&decoder, &piece, &n);
        else if (bl_tokenizer_decode(tokenizer, &decoder, decoded[i], 0, &piece, &n) != BL_OK)
            return 0;
        if (n > bytes - at || memcmp(piece, text + at, n) != 0)
            return 0;
        at += n;
    }
    return at == bytes;
}

/* Failures of one vocabulary; -1: it cannot be opened. */
static int run_pair(const char *inp_path)
{
    char path[4096];
    size_t length = strlen(inp_path) - 4, inp_bytes, out_bytes;
    snprintf(path, sizeof path, "%.*s", (int)length, inp_path);
    bl_tokenizer *tokenizer;
    FILE *probe = fopen(path, "rb");
    if (!probe) {
        printf("%s: no vocabulary file, not tested\n", path);
        return 0;
    }
    fclose(probe);
    if (bl_tokenizer_open(path, &tokenizer) != BL_OK) {
        printf("%s: %s\n", path, bl_error_text());
        return -1;
    }
    snprintf(path, sizeof path, "%.*s.out", (int)length, inp_path);
    char *inp = read_file(inp_path, &inp_bytes), *out = read_file(path, &out_bytes), *at = out;
    int n_tests = 0, n_failed = 0, n_lossy = 0;
    for (char *text = inp, *next; text && at; text = next) {
        next = strstr(text, SEPARATOR);
        size_t bytes = next ? (size_t)(next - text) : strlen(text), n_found, n_expected = read_line(&at);
        next = next ? next + sizeof SEPARATOR - 1 : NULL;
        if (!next && bytes == 0)
            break;
        n_tests++;
        bl_status status = bl_tokenizer_encode(tokenizer, text, bytes, 0, decoded, MOST_IDS, &n_found);
        n_lossy += status == BL_OK && !round_trip(tokenizer, text, bytes, n_found);
        if (status == BL_OK && n_found == n_expected && memcmp(decoded, expected, n_found * sizeof *expected) == 0)
            continue;
        n_failed++;
        printf("%s: '%.*s'\n  expected", path, (int)bytes, text);
        for (size_t i = 0; i < n_expected; i++)
            printf(" %d", (int)expected[i]);
        printf("\n  got     ");
        for (size_t i = 0; i < n_found; i++)
            printf(" %d", (int)decoded[i]);
        printf("\n");
    }
    printf("%.*s: %d texts, %d wrong, %d not restored by decoding\n", (int)length, inp_path, n_tests, n_failed, n_lossy);
    free(inp);
    free(out);
    bl_tokenizer_destroy(tokenizer);
    return n_failed + n_lossy + (n_tests == 0);
}

int main(int argc, char **argv)
{
    const char *data = getenv("BITLOOM_TEST_DATA");
    int n_pairs = 0, n_bad = 0;
    for (int i = 0; i < argc; i++) {
        char pattern[4096];
        if (i == 0)
            snprintf(pattern, sizeof pattern, "%s/vocab/*.gguf.inp", data ? data : TEST_DATA);
        else
            snprintf(pattern, sizeof pattern, "%s/*.gguf.inp", argv[i]);
        glob_t found;
        if (glob(pattern, 0, NULL, &found) != 0)
            continue;
        for (size_t k = 0; k < found.gl_pathc; k++, n_pairs++)
            n_bad += run_pair(found.gl_pathv[k]) != 0;
        globfree(&found);
    }
    if (n_pairs == 0) {
        printf("SKIP: no vocabulary files in %s\n", data ? data : TEST_DATA);
        return 77;
    }
    return n_bad != 0;
}
