/* test_vocab_load.c: tokenizer.ggml.* keys, right and wrong, from files built here. */
#include "base/error.h"
#include "gguf_builder.h"
#include "model/vocab_load.h"

#include <bitloom/tokenizer.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

/* A scored vocabulary of five tokens, with one thing wrong if asked. */
enum fault {
    NONE, NO_TOKENS, TOKENS_OF_NUMBERS, SHORT_SCORES, TEXT_SCORES, SMALL_SCORES, SCALAR_TYPES, LONG_TYPES, WILD_TYPE, FLOAT_TYPES, WILD_BOS,
    MISSING_BOS, NEGATIVE_BOS, TEXT_BOS, ARRAY_BOS, WILD_FLAG, NO_MODEL, NUMBER_MODEL, MERGES_OF_NUMBERS, FAULTS
};

static void put_vocabulary(struct builder *b, enum fault fault)
{
    static const char *const tokens[5] = {"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a"};
    uint64_t n_meta = fault == NO_TOKENS || fault == NO_MODEL ? 6 : 7;
    put_reset(b);
    put_header(b, 3, 0, n_meta);
    if (fault == NUMBER_MODEL)
        put_meta_u32(b, "tokenizer.ggml.model", 5);
    else if (fault != NO_MODEL)
        put_meta_text(b, "tokenizer.ggml.model", "llama");
    if (fault != NO_TOKENS) {
        put_meta_array(b, "tokenizer.ggml.tokens", fault == TOKENS_OF_NUMBERS ? 10 : 8, 5);
        for (int i = 0; i < 5; i++)
            fault == TOKENS_OF_NUMBERS ? put_u64(b, 0) : put_text(b, tokens[i]);
    }
    uint64_t n_scores = fault == SHORT_SCORES ? 4 : 5;
    put_meta_array(b, "tokenizer.ggml.scores", fault == TEXT_SCORES ? 8 : fault == SMALL_SCORES ? 1 : 6, n_scores);
    for (uint64_t i = 0; i < n_scores; i++)
        fault == TEXT_SCORES ? put_text(b, "1") : fault == SMALL_SCORES ? put_number(b, 0xff, 1) : put_f32(b, -(float)i);
    if (fault == SCALAR_TYPES) {
        put_meta_u32(b, "tokenizer.ggml.token_type", 1);
    } else {
        uint64_t n_types = fault == LONG_TYPES ? 6 : 5;
        put_meta_array(b, "tokenizer.ggml.token_type", fault == FLOAT_TYPES ? 6 : 5, n_types);
        for (uint64_t i = 0; i < n_types; i++)
            put_u32(b, i == 0 ? 2 : i < 3 ? 3 : fault == WILD_TYPE ? 0x80000001u : 1);
    }
    if (fault == TEXT_BOS) {
        put_meta_text(b, "tokenizer.ggml.bos_token_id", "1");
    } else if (fault == ARRAY_BOS) {
        put_meta_array(b, "tokenizer.ggml.bos_token_id", 4, 1);
        put_u32(b, 1);
    } else if (fault == NEGATIVE_BOS) {
        put_text(b, "tokenizer.ggml.bos_token_id");
        put_u32(b, 5);
        put_u32(b, UINT32_MAX);
    } else {
        put_meta_u32(b, "tokenizer.ggml.bos_token_id", fault == WILD_BOS ? 5 : fault == MISSING_BOS ? UINT32_MAX : 1);
    }
    put_meta_u32(b, "tokenizer.ggml.add_bos_token", fault == WILD_FLAG ? 2 : fault != MISSING_BOS);
    put_meta_array(b, "tokenizer.ggml.merges", fault == MERGES_OF_NUMBERS ? 0 : 8, 0);
}

Test(vocab_load, faults_are_refused_with_the_key)
{
    static const char *const words[FAULTS] = {
        [NO_TOKENS] = "tokenizer.ggml.tokens is missing", [TOKENS_OF_NUMBERS] = "tokens: got type array of u64, expected an array of strings",
        [SHORT_SCORES] = "length of tokenizer.ggml.scores: got 4, limit 5", [TEXT_SCORES] = "scores: got type array of string",
        [SCALAR_TYPES] = "token_type: got a single value", [LONG_TYPES] = "length of tokenizer.ggml.token_type: got 6, limit 5",
        [WILD_TYPE] = "token_type (i32): got a negative number", [FLOAT_TYPES] = "token_type: got type array of f32",
        [WILD_BOS] = "token id of tokenizer.ggml.bos_token_id: got 5, limit 5", [NEGATIVE_BOS] = "bos_token_id (i32): got a negative number",
        [TEXT_BOS] = "bos_token_id: got type string", [ARRAY_BOS] = "bos_token_id: got an array",
        [WILD_FLAG] = "value of tokenizer.ggml.add_bos_token: got 2, limit 1", [NO_MODEL] = "tokenizer.ggml.model: got ''",
        [NUMBER_MODEL] = "model: got type u32, expected a string", [MERGES_OF_NUMBERS] = "merges: got type array of u8",
    };
    struct builder b = {0};
    for (int fault = NONE; fault < FAULTS; fault++) {
        put_vocabulary(&b, (enum fault)fault);
        struct bl_model_file *file;
        bl_tokenizer *tokenizer;
        bl_errors_clear();
        cr_assert_eq(bl_model_file_open_memory(b.data, b.bytes, "test.gguf", &file), BL_OK, "%s", bl_error_text());
        bl_status status = bl_vocab_tokenizer_create(file, &tokenizer);
        if (words[fault]) {
            cr_assert_neq(status, BL_OK, "fault %d", fault);
            cr_assert_null(tokenizer);
            cr_assert_not_null(strstr(bl_error_text(), words[fault]), "'%s' lacks '%s'", bl_error_text(), words[fault]);
        } else {
            cr_assert_eq(status, BL_OK, "%s", bl_error_text());
            cr_assert_eq(bl_tokenizer_special(tokenizer, BL_SPECIAL_BOS), fault == MISSING_BOS ? -1 : 1);
            cr_assert_eq(bl_tokenizer_special(tokenizer, BL_SPECIAL_EOS), 2, "the default of this model");
        }
        bl_tokenizer_destroy(tokenizer);
        bl_model_file_close(file);
    }
    free(b.data);
}

Test(vocab_load, the_file_lives_in_the_tokenizer)
{
    struct builder b = {0};
    put_vocabulary(&b, NONE);
    char path[] = "/tmp/bitloom_vocab_XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, b.data, b.bytes), (ssize_t)b.bytes);
    close(fd);
    bl_tokenizer *tokenizer;
    cr_assert_eq(bl_tokenizer_open(path, &tokenizer), BL_OK, "%s", bl_error_text());
    unlink(path);
    int32_t ids[8];
    size_t n;
    cr_assert_eq(bl_tokenizer_encode(tokenizer, "a", 1, BL_TOKENIZE_ADD_SPECIAL, ids, 8, &n), BL_OK);
    cr_assert(n == 3 && ids[0] == 1 && ids[1] == 3 && ids[2] == 4);
    bl_tokenizer_destroy(tokenizer);
    cr_assert_eq(bl_tokenizer_open("/nonexistent", &tokenizer), BL_EIO);
    cr_assert_eq(bl_tokenizer_open(NULL, &tokenizer), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_open("x", NULL), BL_EINVAL);
    free(b.data);
}
