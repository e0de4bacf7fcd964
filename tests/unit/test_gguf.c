/* test_gguf.c: the GGUF reader on files built here: what is read, what is refused and with which words, every limit at itself and one more. */
#include "base/error.h"
#include "base/limits.h"
#include "gguf_builder.h"
#include "model/model_file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

static struct bl_model_file *file;

static bl_status open_built(const struct builder *b)
{
    bl_model_file_close(file);
    bl_errors_clear();
    return bl_model_file_open_memory(b->data, b->bytes, "test.gguf", &file);
}

#define ACCEPT(b) cr_assert_eq(open_built(&(b)), BL_OK, "%s", bl_error_text())
#define REFUSE(b, status, words)                                                                       \
    do {                                                                                               \
        cr_assert_eq(open_built(&(b)), status, "%s", bl_error_text());                                 \
        cr_assert_null(file);                                                                          \
        cr_assert_not_null(strstr(bl_error_text(), words), "'%s' lacks '%s'", bl_error_text(), words); \
        cr_assert_not_null(strstr(bl_error_text(), "test.gguf"), "%s", bl_error_text());               \
    } while (0)

static const uint64_t shape[4] = {64, 2, 1, 1};

Test(gguf, reads_a_small_file)
{
    for (uint32_t version = 2; version <= 3; version++) {
        struct builder b = {0};
        put_header(&b, version, 2, 5);
        put_meta_text(&b, "general.name", "tiny");
        put_meta_u32(&b, "general.alignment", 64);
        put_meta_array(&b, "numbers", 5, 3);
        put_u32(&b, 1);
        put_u32(&b, (uint32_t)-2);
        put_u32(&b, 3);
        put_meta_array(&b, "words", 8, 2);
        put_text(&b, "a");
        put_text(&b, "");
        put_text(&b, "ratio");
        put_u32(&b, 6);
        put_f32(&b, 0.5f);
        put_tensor(&b, "q", 2, shape, 8, 0);     /* Q8_0: 2 rows of 68 bytes */
        put_tensor(&b, "odd", 1, shape, 16384, 192); /* a type that nobody knows */
        put_padding(&b, 64);
        size_t begin = b.bytes;
        for (int i = 0; i < 256; i++)
            put_number(&b, 0, 1);
        ACCEPT(b);
        cr_assert_eq(bl_model_file_version(file), version);
        cr_assert_eq(bl_model_file_alignment(file), 64);
        cr_assert_eq(bl_model_file_data_offset(file), begin);
        cr_assert_eq(bl_model_file_meta_count(file), 5);
        cr_assert_str_eq(bl_model_file_path(file), "test.gguf");
        const char *text;
        uint64_t bytes, u64;
        int64_t i64;
        double f64;
        cr_assert_eq(bl_meta_string(file, bl_model_file_meta(file, "general.name"), &text, &bytes), BL_OK);
        cr_assert(bytes == 4 && memcmp(text, "tiny", 4) == 0);
        const struct bl_meta *numbers = bl_model_file_meta(file, "numbers");
        cr_assert_eq(bl_meta_i64(file, numbers, 1, &i64), BL_OK);
        cr_assert_eq(i64, -2);
        cr_assert_eq(bl_meta_u64(file, numbers, 1, &u64), BL_EFORMAT, "negative");
        cr_assert_eq(bl_meta_f64(file, numbers, 1, &f64), BL_OK);
        cr_assert_eq(f64, -2.0);
        cr_assert_eq(bl_meta_i64(file, numbers, 3, &i64), BL_EFORMAT, "past the end");
        cr_assert_eq(bl_meta_string(file, numbers, &text, &bytes), BL_EFORMAT);
        cr_assert_eq(bl_meta_u64(file, bl_model_file_meta(file, "ratio"), 0, &u64), BL_EFORMAT);
        cr_assert_eq(bl_meta_f64(file, bl_model_file_meta(file, "ratio"), 0, &f64), BL_OK);
        cr_assert_eq(f64, 0.5);
        struct bl_meta_strings words;
        cr_assert_eq(bl_meta_strings_begin(file, bl_model_file_meta(file, "words"), &words), BL_OK);
        cr_assert(bl_meta_strings_next(&words, &text, &bytes) && bytes == 1 && *text == 'a');
        cr_assert(bl_meta_strings_next(&words, &text, &bytes) && bytes == 0);
        cr_assert_not(bl_meta_strings_next(&words, &text, &bytes));
        cr_assert_null(bl_model_file_meta(file, "absent"));
        cr_assert_null(bl_model_file_meta_at(file, 5));
        const struct bl_tensor *q = bl_model_file_tensor(file, "q"), *odd = bl_model_file_tensor(file, "odd");
        cr_assert(q->format == BL_FMT_Q8_0 && q->rows == 2 && q->bytes == 136 && q->offset == begin);
        cr_assert(odd->format == BL_FMT_NONE && odd->bytes == 0 && odd->dims[3] == 1);
        cr_assert_null(bl_model_file_tensor(file, "Q"));
        free(b.data);
        bl_model_file_close(file);
        file = NULL;
    }
}

Test(gguf, every_cut_is_refused)
{
    struct builder b = {0};
    put_header(&b, 3, 1, 2);
    put_meta_array(&b, "words", 8, 1);
    put_text(&b, "word");
    put_meta_array(&b, "nested", 9, 1);
    put_u32(&b, 4);
    put_u64(&b, 2);
    put_u64(&b, 0);
    put_tensor(&b, "t", 1, shape, 0, 0);
    put_padding(&b, 32);
    for (int i = 0; i < 256; i++)
        put_number(&b, 0, 1);
    ACCEPT(b);
    for (size_t bytes = 0; bytes < b.bytes; bytes++) {
        uint8_t *exact = malloc(bytes + 1); /* of its own, so that a tool sees a step past the end */
        cr_assert_not_null(exact);
        memcpy(exact, b.data, bytes);
        struct bl_model_file *cut;
        cr_assert_neq(bl_model_file_open_memory(exact, bytes, "cut", &cut), BL_OK, "%zu", bytes);
        cr_assert_null(cut);
        free(exact);
    }
}

Test(gguf, other_formats_are_refused_by_name)
{
    struct builder b = {0};
    put(&b, "\x93NUMPY__", 8);
    REFUSE(b, BL_EFORMAT, "magic");
    put_reset(&b);
    put_header(&b, 1, 0, 0);
    REFUSE(b, BL_EUNSUPPORTED, "version 1");
    put_reset(&b);
    put_header(&b, 0x03000000, 0, 0);
    REFUSE(b, BL_EUNSUPPORTED, "big-endian");
    put_reset(&b);
    put_header(&b, 4, 0, 0);
    REFUSE(b, BL_EUNSUPPORTED, "version 4");
}

Test(gguf, claimed_counts)
{
    static const uint64_t counts[] = {BL_LIMIT_KEYS, BL_LIMIT_KEYS + 1, 1 << 20, UINT64_MAX / 14, UINT64_MAX};
    struct builder b = {0};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        put_reset(&b);
        put_header(&b, 3, 0, counts[i]);
        REFUSE(b, BL_EFORMAT, "metadata count");
        put_reset(&b);
        put_header(&b, 3, counts[i], 0);
        REFUSE(b, BL_EFORMAT, "tensor count");
    }
    for (int type = 0; type < 13; type++) { /* arrays of every type with impossible counts */
        for (size_t i = 2; i < sizeof counts / sizeof counts[0]; i++) {
            put_reset(&b);
            put_header(&b, 3, 0, 1);
            put_meta_array(&b, "a", (uint32_t)type, counts[i]);
            put_u64(&b, 0);
            put_u64(&b, 0);
            REFUSE(b, BL_EFORMAT, "limit");
        }
    }
}

static void put_keys(struct builder *b, uint32_t n, uint64_t n_claimed)
{
    put_reset(b);
    put_header(b, 3, 0, n_claimed);
    for (uint32_t i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        put_text(b, key);
        put_u32(b, 0);
        put_number(b, i & 255, 1);
    }
}

Test(gguf, key_limit, .timeout = 20)
{
    struct builder b = {0};
    put_keys(&b, BL_LIMIT_KEYS, BL_LIMIT_KEYS);
    clock_t begin = clock();
    ACCEPT(b);
    cr_assert_lt((double)(clock() - begin) / CLOCKS_PER_SEC, 2.0, "look-ups are hashed");
    uint64_t value;
    cr_assert_eq(bl_meta_u64(file, bl_model_file_meta(file, "k65535"), 0, &value), BL_OK);
    cr_assert_eq(value, 255);
    put_keys(&b, BL_LIMIT_KEYS + 1, BL_LIMIT_KEYS + 1);
    REFUSE(b, BL_EFORMAT, "got 65537, limit 65536");
}

Test(gguf, tensor_limit, .timeout = 20)
{
    static const uint64_t one[1] = {1};
    struct builder b = {0};
    for (uint32_t n = BL_LIMIT_TENSORS; n <= BL_LIMIT_TENSORS + 1; n++) {
        put_reset(&b);
        put_header(&b, 3, n, 0);
        for (uint32_t i = 0; i < n; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%u", i);
            put_tensor(&b, name, 1, one, 0, 0);
        }
        put_padding(&b, 32);
        put_u32(&b, 0);
        if (n == BL_LIMIT_TENSORS)
            ACCEPT(b);
        else
            REFUSE(b, BL_EFORMAT, "tensor count: got 65537, limit 65536");
    }
}

Test(gguf, length_limits)
{
    struct builder b = {0};
    char *big = calloc(1, BL_LIMIT_STRING_BYTES + 1);
    cr_assert_not_null(big);
    memset(big, 'k', BL_LIMIT_STRING_BYTES + 1);
    for (uint32_t extra = 0; extra <= 1; extra++) {
        put_reset(&b);
        put_header(&b, 3, 0, 1);
        put_u64(&b, BL_LIMIT_KEY_BYTES + extra);
        put(&b, big, BL_LIMIT_KEY_BYTES + extra);
        put_u32(&b, 0);
        put_number(&b, 1, 1);
        if (extra)
            REFUSE(b, BL_EFORMAT, "metadata key: got 65537, limit 65536");
        else
            ACCEPT(b);
        put_reset(&b);
        put_header(&b, 3, 0, 1);
        put_text(&b, "s");
        put_u32(&b, 8);
        put_u64(&b, BL_LIMIT_STRING_BYTES + extra);
        put(&b, big, BL_LIMIT_STRING_BYTES + extra);
        if (extra)
            REFUSE(b, BL_EFORMAT, "s: got 16777217, limit 16777216");
        else
            ACCEPT(b);
    }
    put_reset(&b);
    put_header(&b, 3, 0, 1);
    put_u64(&b, UINT64_MAX); /* length + anything wraps */
    put(&b, big, 64);
    REFUSE(b, BL_EFORMAT, "metadata key");
    put_reset(&b);
    put_header(&b, 3, 0, 1);
    put_text(&b, "");
    put_u32(&b, 0);
    put_u32(&b, 0);
    REFUSE(b, BL_EFORMAT, "empty name");
    put_reset(&b);
    put_header(&b, 3, 0, 1);
    put_u64(&b, 3);
    put(&b, "a\0b", 3);
    put_u32(&b, 0);
    put_u32(&b, 0);
    REFUSE(b, BL_EFORMAT, "NUL");
    free(big);
}

Test(gguf, array_depth)
{
    struct builder b = {0};
    for (uint32_t depth = 1; depth <= BL_LIMIT_ARRAY_DEPTH + 1; depth++) {
        put_reset(&b);
        put_header(&b, 3, 0, 2);
        put_text(&b, "deep");
        put_u32(&b, 9);
        for (uint32_t i = 1; i < depth; i++) {
            put_u32(&b, 9);
            put_u64(&b, 1);
        }
        put_u32(&b, 0);
        put_u64(&b, 1);
        put_number(&b, 7, 1);
        put_meta_u32(&b, "after", 5); /* found only if the array was skipped exactly */
        if (depth <= BL_LIMIT_ARRAY_DEPTH) {
            ACCEPT(b);
            cr_assert_not_null(bl_model_file_meta(file, "after"));
        } else {
            REFUSE(b, BL_EFORMAT, "array depth of 'deep': got 5, limit 4");
        }
    }
    put_reset(&b); /* uneven nesting: {{1, 2}, {}, {"x"}} */
    put_header(&b, 3, 0, 2);
    put_meta_array(&b, "uneven", 9, 3);
    put_u32(&b, 0), put_u64(&b, 2), put_number(&b, 0x201, 2);
    put_u32(&b, 9), put_u64(&b, 0);
    put_u32(&b, 8), put_u64(&b, 1), put_text(&b, "x");
    put_meta_u32(&b, "after", 5);
    ACCEPT(b);
    cr_assert_not_null(bl_model_file_meta(file, "after"));
    put_reset(&b); /* a megabyte of nesting must not touch the program's stack */
    put_header(&b, 3, 0, 1);
    put_text(&b, "deep");
    put_u32(&b, 9);
    for (int i = 0; i < 100000; i++)
        put_u32(&b, 9), put_u64(&b, 1);
    REFUSE(b, BL_EFORMAT, "array depth");
}

Test(gguf, values)
{
    struct builder b = {0};
    put_header(&b, 3, 0, 1);
    put_text(&b, "flag");
    put_u32(&b, 7);
    put_number(&b, 2, 1);
    REFUSE(b, BL_EFORMAT, "flag: got 2, limit 1");
    put_reset(&b);
    put_header(&b, 3, 0, 1);
    put_text(&b, "odd");
    put_u32(&b, 13);
    put_u64(&b, 0);
    REFUSE(b, BL_EFORMAT, "type of 'odd': got 13, limit 12");
    put_reset(&b);
    put_header(&b, 3, 0, 2);
    put_meta_u32(&b, "twice", 1);
    put_meta_u32(&b, "twice", 2);
    REFUSE(b, BL_EFORMAT, "'twice' twice");
    put_reset(&b);
    put_header(&b, 3, 0, 1);
    put_text(&b, "big");
    put_u32(&b, 10);
    put_u64(&b, UINT64_MAX);
    ACCEPT(b);
    int64_t i64;
    uint64_t u64;
    double f64;
    const struct bl_meta *big = bl_model_file_meta(file, "big");
    cr_assert_eq(bl_meta_i64(file, big, 0, &i64), BL_EFORMAT);
    cr_assert(bl_meta_u64(file, big, 0, &u64) == BL_OK && u64 == UINT64_MAX);
    cr_assert(bl_meta_f64(file, big, 0, &f64) == BL_OK && f64 > 1.8e19);
}

Test(gguf, alignment)
{
    static const uint32_t good[] = {8, 16, 32, 4096, 65536}, bad[] = {0, 1, 4, 7, 24, 65535, 131072, 0x80000000u, UINT32_MAX};
    struct builder b = {0};
    for (size_t i = 0; i < sizeof good / sizeof good[0] + sizeof bad / sizeof bad[0]; i++) {
        bool is_good = i < sizeof good / sizeof good[0];
        uint32_t alignment = is_good ? good[i] : bad[i - sizeof good / sizeof good[0]];
        put_reset(&b);
        put_header(&b, 3, 1, 1);
        put_meta_u32(&b, "general.alignment", alignment);
        put_tensor(&b, "t", 1, shape, 0, 0);
        if (!is_good) {
            REFUSE(b, BL_EFORMAT, "general.alignment");
            continue;
        }
        put_padding(&b, alignment);
        for (int k = 0; k < 64; k++)
            put_u32(&b, 0);
        ACCEPT(b);
        cr_assert_eq(bl_model_file_alignment(file), alignment);
        cr_assert_eq(bl_model_file_data_offset(file) % alignment, 0);
    }
}

/* One tensor over 256 bytes of data. */
static void put_one(struct builder *b, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
    put_reset(b);
    put_header(b, 3, 1, 0);
    put_tensor(b, "t", n_dims, dims, type, offset);
    put_padding(b, 32);
    for (int i = 0; i < 64; i++)
        put_u32(b, 0);
}

Test(gguf, tensors)
{
    struct builder b = {0};
    put_one(&b, 4, (const uint64_t[]){2, 2, 2, 8}, 0, 0);
    ACCEPT(b);
    put_one(&b, 1, (const uint64_t[]){65}, 0, 0);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_one(&b, 1, shape, 0, 32);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_one(&b, 1, (const uint64_t[]){56}, 0, 32);
    ACCEPT(b);
    put_one(&b, 1, (const uint64_t[]){1}, 0, 8);
    REFUSE(b, BL_EFORMAT, "offset of tensor 't': got 8, limit: a multiple of 32");
    put_one(&b, 1, (const uint64_t[]){1}, 0, UINT64_MAX - 31);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_one(&b, 1, (const uint64_t[]){1}, 16384, UINT64_MAX - 31);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_one(&b, 0, shape, 0, 0);
    REFUSE(b, BL_EFORMAT, "n_dims of tensor 't': got 0");
    put_one(&b, 5, (const uint64_t[]){1, 1, 1, 1, 1}, 0, 0);
    REFUSE(b, BL_EFORMAT, "n_dims of tensor 't': got 5, limit 4");
    put_reset(&b);
    put_header(&b, 3, 1, 0);
    put_text(&b, "t");
    put_u32(&b, UINT32_MAX);
    put(&b, (const uint64_t[]){1, 1, 1, 1, 1}, 40);
    REFUSE(b, BL_EFORMAT, "n_dims of tensor 't': got 4294967295, limit 4");
    for (int d = 0; d < 4; d++) {
        uint64_t dims[4] = {1, 1, 1, 1};
        dims[d] = 0;
        put_one(&b, 4, dims, 0, 0);
        REFUSE(b, BL_EFORMAT, "got 0, limit: at least 1");
    }
    put_one(&b, 1, (const uint64_t[]){BL_LIMIT_ELEMENTS + 1}, 0, 0);
    REFUSE(b, BL_EFORMAT, "elements of tensor 't'");
    put_one(&b, 1, (const uint64_t[]){BL_LIMIT_ELEMENTS}, 0, 0);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_one(&b, 1, (const uint64_t[]){BL_LIMIT_ELEMENTS}, 16384, 0);
    ACCEPT(b);
    put_one(&b, 4, (const uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 32, 4, 4}, 0, 0);
    REFUSE(b, BL_EFORMAT, "elements of tensor 't'");
    put_one(&b, 2, (const uint64_t[]){UINT64_MAX, UINT64_MAX}, 0, 0);
    REFUSE(b, BL_EFORMAT, "elements of tensor 't'");
    put_one(&b, 1, (const uint64_t[]){33}, 8, 0);
    REFUSE(b, BL_EFORMAT, "a multiple of 32");
    put_one(&b, 1, (const uint64_t[]){128}, 12, 0);
    REFUSE(b, BL_EFORMAT, "a multiple of 256");
    put_one(&b, 1, (const uint64_t[]){256}, 12, 0);
    ACCEPT(b);
    put_one(&b, 1, (const uint64_t[]){256}, 16, 0); /* IQ2_XXS: no kernel, but its size is known */
    ACCEPT(b);
    cr_assert(bl_model_file_tensor(file, "t")->format == BL_FMT_NONE && bl_model_file_tensor(file, "t")->bytes == 66);
    put_one(&b, 2, (const uint64_t[]){256, 4}, 16, 0);
    REFUSE(b, BL_EFORMAT, "end of tensor 't'");
    put_reset(&b);
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "t", 1, shape, 0, 0);
    put_tensor(&b, "t", 1, shape, 0, 0);
    put_padding(&b, 32);
    for (int i = 0; i < 64; i++)
        put_u32(&b, 0);
    REFUSE(b, BL_EFORMAT, "'t' twice");
}

/* ---- verify ---- */

static char reports[128][512];
static uint32_t n_reports;

static void report(void *user, const char *line)
{
    (void)user;
    if (n_reports < 128)
        snprintf(reports[n_reports], sizeof reports[0], "%s", line);
    n_reports++;
}

static bl_status verify(void)
{
    n_reports = 0;
    uint64_t n_findings;
    bl_status status = bl_model_file_verify(file, report, NULL, &n_findings);
    return status == BL_OK && n_findings ? BL_EFORMAT : status;
}

Test(verify, finds_every_bad_scale)
{
    /* format, its ggml type, elements and bytes of a block, where scales are (-1: none) */
    static const struct { uint32_t type, elements, bytes; int scales[2]; } formats[] = {
        {2, 32, 18, {0, -1}}, {3, 32, 20, {0, 2}}, {6, 32, 22, {0, -1}}, {7, 32, 24, {0, 2}}, {8, 32, 34, {0, -1}},
        {10, 256, 84, {80, 82}}, {11, 256, 110, {108, -1}}, {12, 256, 144, {0, 2}}, {13, 256, 176, {0, 2}}, {14, 256, 210, {208, -1}},
        {1, 1, 2, {0, -1}},
    };
    struct builder b = {0};
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        put_reset(&b);
        put_header(&b, 3, 1, 0);
        put_tensor(&b, "weight", 2, (const uint64_t[]){formats[f].elements, 3}, formats[f].type, 0);
        put_padding(&b, 32);
        size_t begin = b.bytes;
        for (uint32_t i = 0; i < 3 * formats[f].bytes; i++)
            put_number(&b, 0x3c, 1);
        ACCEPT(b);
        cr_assert_eq(verify(), BL_OK, "type %u: %s", formats[f].type, bl_error_text());
        for (int s = 0; s < 2 && formats[f].scales[s] >= 0; s++) {
            uint8_t *scale = b.data + begin + formats[f].bytes + (size_t)formats[f].scales[s];
            for (int nan = 0; nan <= 1; nan++) {
                memcpy(scale, nan ? "\x01\xfe" : "\x00\x7c", 2);
                cr_assert_eq(verify(), BL_EFORMAT, "type %u", formats[f].type);
                cr_assert_eq(n_reports, 1);
                cr_assert_not_null(strstr(reports[0], "weight"), "%s", reports[0]);
                memcpy(scale, "\x3c\x3c", 2);
            }
        }
    }
    static const uint32_t f32_bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u};
    for (size_t i = 0; i < 4; i++) {
        put_one(&b, 1, shape, 0, 0);
        memcpy(b.data + b.bytes - 4, &f32_bad[i], 4);
        ACCEPT(b);
        cr_assert_eq(verify(), BL_EFORMAT);
    }
}

Test(verify, layout_and_vocabulary)
{
    struct builder b = {0};
    put_header(&b, 3, 2, 4);
    put_meta_array(&b, "tokenizer.ggml.tokens", 8, 2);
    put_text(&b, "a");
    put_text(&b, "b");
    put_meta_array(&b, "tokenizer.ggml.scores", 6, 1);
    put_f32(&b, 0);
    put_meta_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    put_meta_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    put_tensor(&b, "first", 1, (const uint64_t[]){16}, 0, 0);
    put_tensor(&b, "second", 1, (const uint64_t[]){16}, 0, 32);
    put_padding(&b, 32);
    for (int i = 0; i < 64; i++)
        put_u32(&b, 0);
    ACCEPT(b);
    cr_assert_eq(verify(), BL_EFORMAT);
    cr_assert_eq(n_reports, 3);
    cr_assert_not_null(strstr(reports[0], "scores: got 1 elements, limit 2"), "%s", reports[0]);
    cr_assert_not_null(strstr(reports[1], "eos_token_id: got 2, limit 2"), "%s", reports[1]);
    cr_assert_not_null(strstr(reports[2], "overlaps"), "%s", reports[2]);

    put_reset(&b); /* 150 findings: 100 lines and a count */
    put_header(&b, 3, 150, 0);
    for (int i = 0; i < 150; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%d", i);
        put_tensor(&b, name, 1, (const uint64_t[]){1}, 0, 32 * (uint64_t)i);
    }
    put_padding(&b, 32);
    for (int i = 0; i < 150; i++) {
        put_f32(&b, NAN);
        put_padding(&b, 32);
    }
    ACCEPT(b);
    cr_assert_eq(verify(), BL_EFORMAT);
    cr_assert_eq(n_reports, 101);
    cr_assert_str_eq(reports[100], "and 50 findings more");
    memset(b.data + b.bytes - 28, 1, 1); /* after the last one: not between tensors */
    memset(b.data + b.bytes - 60, 1, 1);
    ACCEPT(b);
    cr_assert_eq(verify(), BL_EFORMAT);
    cr_assert_not_null(strstr(reports[0], "padding before tensor 't149' is not zero"), "%s", reports[0]);
}
