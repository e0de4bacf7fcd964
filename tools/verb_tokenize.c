/* verb_tokenize.c: bitloom tokenize: text to ids on one line, comma separated, or back. */
#include "common.h"
#include "verbs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int encode(const struct options *o, const bl_tokenizer *tokenizer, const char *text, size_t bytes)
{
    uint32_t flags = (o->add_special ? BL_TOKENIZE_ADD_SPECIAL : 0u) | (o->parse_special ? BL_TOKENIZE_PARSE_SPECIAL : 0u);
    size_t n = 0;
    if (bl_tokenizer_encode(tokenizer, text, bytes, flags, NULL, 0, &n) != BL_OK)
        return report_error();
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids) {
        fprintf(stderr, "bitloom: no memory for %zu ids\n", n);
        return EXIT_FAILED;
    }
    int code = EXIT_OK;
    if (bl_tokenizer_encode(tokenizer, text, bytes, flags, ids, n, &n) != BL_OK)
        code = report_error();
    for (size_t i = 0; code == EXIT_OK && i < n; i++)
        printf("%s%d", i ? "," : "", ids[i]);
    if (code == EXIT_OK)
        printf("\n");
    free(ids);
    return code;
}

static int decode(const bl_tokenizer *tokenizer, const char *text)
{
    bl_decoder decoder = {.n_pending = 0};
    const char *piece;
    size_t bytes;
    for (const char *s = text; *s;) {
        if (*s == ',' || isspace((unsigned char)*s)) {
            s++;
            continue;
        }
        char *end;
        errno = 0;
        long id = strtol(s, &end, 10);
        if (end == s || errno || id < 0 || id > INT32_MAX) {
            char word[24];
            snprintf(word, sizeof word, "%.*s", (int)(strcspn(s, ", \t\r\n") > 20 ? 20 : strcspn(s, ", \t\r\n")), s);
            fprintf(stderr, "bitloom tokenize: offset %zu: ", (size_t)(s - text));
            print_escaped(stderr, word);
            fprintf(stderr, ": must be a token id, 0 to %u\n", bl_tokenizer_vocabulary(tokenizer) - 1);
            return EXIT_FAILED;
        }
        if (bl_tokenizer_decode(tokenizer, &decoder, (int32_t)id, BL_DETOKENIZE_SPECIAL, &piece, &bytes) != BL_OK)
            return report_error();
        fwrite(piece, 1, bytes, stdout);
        s = end;
    }
    bl_tokenizer_decode_finish(&decoder, &piece, &bytes);
    fwrite(piece, 1, bytes, stdout);
    return EXIT_OK;
}

int verb_tokenize(struct options *o)
{
    if (!o->model) {
        fprintf(stderr, "bitloom tokenize: no model: give a file with -m FILE\n");
        return EXIT_USAGE;
    }
    log_to_stderr(o);
    bl_tokenizer *tokenizer;
    if (bl_tokenizer_open(o->model, &tokenizer) != BL_OK)
        return report_error();
    size_t bytes;
    char *text = read_text(o->file ? o->file : "-", &bytes);
    int code = EXIT_FAILED;
    if (text)
        code = o->decode ? decode(tokenizer, text) : encode(o, tokenizer, text, bytes);
    free(text);
    bl_tokenizer_destroy(tokenizer);
    return finish_stdout(code);
}
