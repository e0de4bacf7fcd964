/* test_tokenizer.c: tokenizers over tiny vocabularies: the laws that hold for every text, special tokens, streams, refusals, and time. */
#include "base/error.h"
#include "base/limits.h"
#include "vocab_builder.h"

#include <bitloom/log.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static struct tiny v;
static bl_tokenizer *t;
static int32_t ids[1 << 21];
static size_t n_ids;

static void create(void)
{
    bl_tokenizer_destroy(t);
    bl_errors_clear();
    cr_assert_eq(bl_tokenizer_create(&v.vocab, &t), BL_OK, "%s", bl_error_text());
}

static void encode(const char *text, size_t bytes, uint32_t flags)
{
    cr_assert_eq(bl_tokenizer_encode(t, text, bytes, flags, ids, sizeof ids / sizeof ids[0], &n_ids), BL_OK, "%s", bl_error_text());
    size_t n_again;
    cr_assert_eq(bl_tokenizer_encode(t, text, bytes, flags, NULL, 0, &n_again), BL_OK);
    cr_assert_eq(n_again, n_ids);
}

/* Decodes ids[0..n_ids); each piece must be whole UTF-8 if `is_utf8`. */
static size_t decode(char *out, size_t room, uint32_t flags, bool is_utf8)
{
    bl_decoder decoder = {0};
    const char *piece;
    size_t bytes, n = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        if (i == n_ids)
            bl_tokenizer_decode_finish(&decoder, &piece, &bytes);
        else
            cr_assert_eq(bl_tokenizer_decode(t, &decoder, ids[i], flags, &piece, &bytes), BL_OK);
        for (size_t k = 0; is_utf8 && k < bytes;) {
            uint32_t code;
            k += bl_utf8_decode(piece + k, bytes - k, &code);
            cr_assert_lt(code, BL_CHAR_INVALID, "a piece must not end inside a character");
        }
        cr_assert_leq(n + bytes, room);
        memcpy(out + n, piece, bytes);
        n += bytes;
    }
    return n;
}

static void check_round_trip(const char *text, size_t bytes, uint32_t flags, bool is_utf8)
{
    static char out[1 << 16];
    encode(text, bytes, flags);
    size_t n = decode(out, sizeof out, BL_DETOKENIZE_SPECIAL, is_utf8);
    cr_assert(n == bytes && memcmp(out, text, n) == 0, "'%.*s' came back as '%.*s'", (int)bytes, text, (int)n, out);
}

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(random_state >> 33) % n;
}

static void check_laws(void)
{
    static const char *const parts[] = {"a", "b", "aab", "hello", " ", "  ", "\n", "\r\n", "'s", "12345", "\xc3\xa9", "\xe2\x96\x81", "\xf0\x9f\x98\x80",
                                        "<ud>", "<0x41>", "...", "\xe6\x97\xa5", "A", "\t"};
    char text[512];
    for (int round = 0; round < 300; round++) {
        size_t n = 0;
        while (n < 200 && random_below(20)) {
            const char *part = parts[random_below(sizeof parts / sizeof parts[0])];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        check_round_trip(text, n, 0, true);
        for (n = 0; n < 100; n++)
            text[n] = (char)random_below(256);
        check_round_trip(text, random_below(100), 0, false);
    }
    for (int byte = 0; byte < 256; byte++) {
        char one = (char)byte;
        check_round_trip(&one, 1, 0, false);
    }
    check_round_trip("", 0, 0, true);
    cr_assert_eq(bl_tokenizer_encode(t, NULL, 0, 0, NULL, 0, &n_ids), BL_OK);
    cr_assert_eq(n_ids, 0);
}

Test(laws, every_splitter)
{
    for (uint32_t i = 0; bl_pre_at(i); i++) {
        make_byte_level(&v, bl_pre_at(i)->name);
        if (bl_pre_at(i)->flags & BL_PRE_RAW) /* needs another kind of vocabulary */
            continue;
        create();
        check_laws();
    }
}

Test(laws, scored)
{
    for (int prefix = 0; prefix <= 1; prefix++) {
        make_scored(&v);
        v.vocab.add_space_prefix = (int8_t)prefix;
        create();
        char text[512];
        for (int round = 0; round < 500; round++) {
            size_t n = 0;
            while (n < 200 && random_below(20))
                n += (size_t)snprintf(text + n, 16, "%s", (const char *[]){"a", "b", "hello", " ", "  ", "\n", "\xc3\xa9", "<ud>", "</s>", "Z"}[random_below(10)]);
            check_round_trip(text, n, 0, true);
        }
        for (int round = 0; round < 300; round++) {
            size_t n = random_below(100);
            for (size_t k = 0; k < n; k++)
                text[k] = (char)random_below(256);
            for (size_t k = 0; k + 2 < n; k++) /* U+2581 is the space here: it cannot come back as itself */
                if (memcmp(text + k, BL_SPACE_MARK, 3) == 0)
                    text[k] = 'x';
            check_round_trip(text, n, 0, false);
        }
    }
}

static void expect(const char *text, uint32_t flags, size_t n, const int32_t *expected)
{
    encode(text, strlen(text), flags);
    cr_assert(n_ids == n && memcmp(ids, expected, n * sizeof *ids) == 0, "'%s': got %zu ids, first %d %d %d", text, n_ids, ids[0], ids[1], ids[2]);
}
#define EXPECT(text, flags, ...) expect(text, flags, sizeof((int32_t[]){__VA_ARGS__}) / 4, (int32_t[]){__VA_ARGS__})

static int32_t id_of(const char *text)
{
    int32_t id = bl_tokenizer_find(t, text, strlen(text));
    cr_assert_geq(id, 0, "%s", text);
    return id;
}

Test(byte_level, merges_by_rank)
{
    make_byte_level(&v, "gpt-2");
    create();
    EXPECT("hello", 0, id_of("hello"));
    EXPECT("hell", 0, id_of("hell"));
    EXPECT("aaab", 0, id_of("aa"), id_of("ab")); /* aa first, leftmost */
    EXPECT("aaaaa", 0, id_of("aaaa"), id_of("a"));
    EXPECT("b a", 0, id_of("b"), id_of("\xc4\xa0" "a")); /* the space belongs to the word after it */
    cr_assert_eq(bl_tokenizer_find(t, "none", 4), -1);
    cr_assert_eq(bl_tokenizer_find(t, "", 0), -1);
}

Test(byte_level, ignore_merges)
{
    make_byte_level(&v, "gpt-2");
    add_token(&v, "xyz", BL_TOKEN_NORMAL, 0);
    add_token(&v, "ctl", BL_TOKEN_CONTROL, 0);
    create();
    EXPECT("xyz", 0, 'x', 'y', 'z'); /* no merge leads there */
    v.vocab.pre = text_of("llama3");
    create();
    EXPECT("xyz", 0, id_of("xyz"));
    EXPECT("ctl", 0, 'c', 't', 'l'); /* never a control token from plain text */
}

Test(special, only_when_asked_for)
{
    make_byte_level(&v, "gpt-2");
    create();
    int32_t end = id_of("<|im_end|>"), longer = id_of("<|im_end|>2"), user = id_of("<ud>");
    EXPECT("<|im_end|>2a", BL_TOKENIZE_PARSE_SPECIAL, longer, 'a');
    EXPECT("<|im_end|><ud>", BL_TOKENIZE_PARSE_SPECIAL, end, user);
    encode("<|im_end|>", 10, 0);
    for (size_t i = 0; i < n_ids; i++)
        cr_assert_lt(ids[i], 256);
    EXPECT("b<ud>b", 0, 'b', user, 'b');
    EXPECT("<u<ud>", 0, '<', 'u', user);
    EXPECT("    ", 0, id_of("  "), id_of("  "));
    cr_assert(bl_tokenizer_is_end(t, end));
    cr_assert_not(bl_tokenizer_is_end(t, longer));
    cr_assert_not(bl_tokenizer_is_end(t, -1));
    cr_assert_not(bl_tokenizer_is_end(t, INT32_MAX));
    cr_assert_eq(bl_tokenizer_special(t, BL_SPECIAL_EOT), end, "found by its text");
    cr_assert_eq(bl_tokenizer_special(t, BL_SPECIAL_PAD), -1);
    cr_assert_eq(bl_tokenizer_special(t, (bl_special)99), -1);
}

Test(special, bos_and_eos)
{
    make_byte_level(&v, "gpt-2");
    create();
    EXPECT("b", BL_TOKENIZE_ADD_SPECIAL, 'b'); /* this name adds nothing by itself */
    int32_t bos = v.vocab.special[BL_SPECIAL_BOS], eos = v.vocab.special[BL_SPECIAL_EOS];
    v.vocab.add_bos = v.vocab.add_eos = 1;
    create();
    EXPECT("b", BL_TOKENIZE_ADD_SPECIAL, bos, 'b', eos);
    EXPECT("b", 0, 'b');
    v.vocab.pre = text_of("llama3");
    v.vocab.add_bos = v.vocab.add_eos = -1;
    create();
    EXPECT("b", BL_TOKENIZE_ADD_SPECIAL, bos, 'b');
    v.vocab.add_bos = 0;
    create();
    EXPECT("b", BL_TOKENIZE_ADD_SPECIAL, 'b');
    make_scored(&v);
    create();
    EXPECT("", BL_TOKENIZE_ADD_SPECIAL, 1);
    EXPECT("hello", BL_TOKENIZE_ADD_SPECIAL, 1, id_of("\xe2\x96\x81hello"));
}

Test(scored, prefix_and_bytes)
{
    make_scored(&v);
    create();
    int32_t space = id_of("\xe2\x96\x81");
    EXPECT("b", 0, space, id_of("b"));
    EXPECT("<ud>b", 0, id_of("<ud>"), space, id_of("b"));
    EXPECT("Z", 0, space, id_of("<0x5A>"));
    EXPECT("\xf0\x9f\x98\x80", 0, space, 3 + 0xf0, 3 + 0x9f, 3 + 0x98, 3 + 0x80);
    EXPECT("</s>", 0, space, id_of("</"), id_of("s>")); /* the pieces join, the control token is not made */
    EXPECT("</s>", BL_TOKENIZE_PARSE_SPECIAL, 2);
    v.vocab.add_space_prefix = 0;
    create();
    EXPECT("b", 0, id_of("b"));
    EXPECT(" b", 0, space, id_of("b"));
}

Test(scored, phi3_strips_after_special)
{
    make_scored(&v);
    add_token(&v, "<|user|>", BL_TOKEN_CONTROL, 0);
    v.vocab.strip_after_special = true;
    v.vocab.add_space_prefix = 0;
    create();
    EXPECT("<|user|> \n b", BL_TOKENIZE_PARSE_SPECIAL, id_of("<|user|>"), id_of("b"));
    EXPECT("<s> b", BL_TOKENIZE_PARSE_SPECIAL, 1, id_of("\xe2\x96\x81"), id_of("b"));
}

Test(raw, utf8_merges)
{
    start_tiny(&v, "gemma4", "");
    for (int byte = 0; byte < 256; byte++) {
        snprintf(v.names[byte], 8, "<0x%02X>", (unsigned)byte);
        add_token(&v, v.names[byte], BL_TOKEN_BYTE, 0);
    }
    add_token(&v, "a", BL_TOKEN_NORMAL, 0);
    add_token(&v, "\xe2\x96\x81", BL_TOKEN_NORMAL, 0);
    add_token(&v, "\n", BL_TOKEN_NORMAL, 0);
    add_token(&v, "\n\n\n", BL_TOKEN_NORMAL, 0);
    add_merge_of(&v, "\xe2\x96\x81 a", "\xe2\x96\x81" "a");
    create();
    EXPECT("a a\n\n\nZ", 0, id_of("a"), id_of("\xe2\x96\x81" "a"), id_of("\n\n\n"), 'Z');
    EXPECT("\n\n", 0, id_of("\n"), id_of("\n"));
    check_round_trip(" a  Z\xc3\xa9\n\n\xff", 10, 0, false);
}

Test(decoder, streams)
{
    make_byte_level(&v, "gpt-2");
    create();
    bl_decoder decoder = {0};
    const char *text;
    size_t bytes;
    static const int32_t smile[] = {0xf0, 0x9f, 0x98, 0x80};
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(bl_tokenizer_decode(t, &decoder, smile[i], 0, &text, &bytes), BL_OK);
        cr_assert_eq(bytes, i == 3 ? 4 : 0);
    }
    cr_assert_eq(memcmp(text, "\xf0\x9f\x98\x80", 4), 0);
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, 0xe2, 0, &text, &bytes), BL_OK);
    cr_assert_eq(bytes, 0);
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, 'a', 0, &text, &bytes), BL_OK);
    cr_assert(bytes == 2 && memcmp(text, "\xe2" "a", 2) == 0, "what can never become UTF-8 passes");
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, 0xc3, 0, &text, &bytes), BL_OK);
    bl_tokenizer_decode_finish(&decoder, &text, &bytes);
    cr_assert(bytes == 1 && *text == '\xc3');
    bl_tokenizer_decode_finish(&decoder, &text, &bytes);
    cr_assert_eq(bytes, 0);
    int32_t end = id_of("<|im_end|>");
    cr_assert(bl_tokenizer_decode(t, &decoder, end, 0, &text, &bytes) == BL_OK && bytes == 0);
    cr_assert(bl_tokenizer_decode(t, &decoder, end, BL_DETOKENIZE_SPECIAL, &text, &bytes) == BL_OK && bytes == 10);
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, -1, 0, &text, &bytes), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, (int32_t)v.vocab.n_tokens, 0, &text, &bytes), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_decode(t, &decoder, 0, 4, &text, &bytes), BL_EINVAL);
    cr_assert_null(bl_tokenizer_token_text(t, -1, &bytes));
    cr_assert_not_null(bl_tokenizer_token_text(t, 'a', &bytes));
    cr_assert_eq(bl_tokenizer_vocabulary(t), v.vocab.n_tokens);
    cr_assert_eq(bl_tokenizer_encode(t, "a", 1, 8, ids, 1, &n_ids), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_encode(NULL, "a", 1, 0, ids, 1, &n_ids), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_encode(t, NULL, 1, 0, ids, 1, &n_ids), BL_EINVAL);
    cr_assert_eq(bl_tokenizer_encode(t, "a", (size_t)INT32_MAX + 1, 0, ids, 1, &n_ids), BL_ELIMIT);
    bl_tokenizer_destroy(NULL);
}

static char logged[512];
static void on_log(void *user, bl_log_level level, const char *text)
{
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
}

static void refuse(bl_status status, const char *words)
{
    bl_tokenizer *refused = (bl_tokenizer *)1;
    bl_errors_clear();
    cr_assert_eq(bl_tokenizer_create(&v.vocab, &refused), status, "%s", bl_error_text());
    cr_assert_null(refused);
    cr_assert_not_null(strstr(bl_error_text(), words), "'%s' lacks '%s'", bl_error_text(), words);
}

Test(refusals, by_name)
{
    make_byte_level(&v, "gpt-2");
    v.vocab.model = text_of("bert");
    refuse(BL_EUNSUPPORTED, "'bert'");
    make_byte_level(&v, "no-such-pre");
    refuse(BL_EUNSUPPORTED, "'no-such-pre'");
    make_byte_level(&v, "");
    bl_log_set(on_log, NULL, BL_LOG_WARNING);
    create();
    bl_log_set(NULL, NULL, BL_LOG_ERROR);
    cr_assert_not_null(strstr(logged, "tokenizer.ggml.pre is missing"));
}

Test(refusals, hostile_vocabularies)
{
    static const char *const byte_names[] = {"<0x-1>", "<0x 1>", "<0x+1>", "<0x1>", "<0x100>", "<0xGG>", "0x41", ""};
    for (size_t i = 0; i < sizeof byte_names / sizeof byte_names[0]; i++) {
        make_scored(&v);
        v.tokens[3] = text_of(byte_names[i]);
        refuse(BL_EFORMAT, "byte token 3");
    }
    make_scored(&v);
    v.types[5] = BL_TOKEN_BYTE + 1;
    refuse(BL_EFORMAT, "type of token 5: got 7, limit 6");
    make_scored(&v);
    v.scores[7] = NAN;
    refuse(BL_EFORMAT, "score of token 7");
    make_byte_level(&v, "gpt-2");
    v.tokens[9] = v.tokens[8];
    refuse(BL_EFORMAT, "token 9");
    static const char *const merges[] = {"a", "", " ", "a ", "ab", "a zz", "zz a", "b b", "a  a"};
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        make_byte_level(&v, "gpt-2");
        v.merges[2] = text_of(merges[i]);
        refuse(BL_EFORMAT, "merge 2");
    }
    for (int i = 0; i < BL_SPECIAL_COUNT; i++) {
        make_byte_level(&v, "gpt-2");
        v.vocab.special[i] = (int32_t)v.vocab.n_tokens;
        refuse(BL_EFORMAT, "special token");
    }
    make_byte_level(&v, "gpt-2");
    v.vocab.special[BL_SPECIAL_BOS] = -1;
    v.vocab.add_bos = 1;
    refuse(BL_EFORMAT, "add_bos_token");
    make_byte_level(&v, "gpt-2");
    v.vocab.n_tokens = 0;
    refuse(BL_EFORMAT, "got 0 tokens");
    v.vocab.n_tokens = BL_LIMIT_VOCABULARY + 1;
    refuse(BL_EFORMAT, "got 2097153, limit 2097152");
    make_byte_level(&v, "gpt-2");
    char *big = calloc(1, BL_LIMIT_TOKEN_BYTES + 1);
    cr_assert_not_null(big);
    memset(big, 'q', BL_LIMIT_TOKEN_BYTES + 1);
    v.tokens[300] = (struct bl_text){big, BL_LIMIT_TOKEN_BYTES};
    v.vocab.n_tokens = 301;
    v.vocab.n_merges = 0;
    create();
    cr_assert_eq(bl_tokenizer_find(t, big, BL_LIMIT_TOKEN_BYTES), 300);
    v.tokens[300].bytes++;
    refuse(BL_EFORMAT, "length of token 300: got 65537, limit 65536");
    free(big);
}

Test(refusals, empty_tokens_are_no_duplicates)
{
    make_byte_level(&v, "gpt-2");
    add_token(&v, "", BL_TOKEN_NORMAL, 0);
    add_token(&v, "", BL_TOKEN_CONTROL, 0);
    create();
    check_round_trip("hello", 5, BL_TOKENIZE_PARSE_SPECIAL, true);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MOST_SECONDS 20.0
#define LONG_WORD (1 << 17)
#else
#define MOST_SECONDS 2.0
#define LONG_WORD (1 << 20)
#endif

static double seconds(const char *text, size_t bytes)
{
    clock_t begin = clock();
    size_t n;
    cr_assert_eq(bl_tokenizer_encode(t, text, bytes, BL_TOKENIZE_PARSE_SPECIAL, NULL, 0, &n), BL_OK);
    return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

Test(time, long_words_are_not_quadratic, .timeout = 120)
{
    char *text = malloc(LONG_WORD);
    cr_assert_not_null(text);
    static const char fills[] = "a \n1'.<\xc3";
    for (size_t f = 0; f < sizeof fills; f++) {
        size_t bytes = f < 2 || !fills[f] ? LONG_WORD : LONG_WORD / 8; /* where quadratic would still be minutes */
        for (size_t i = 0; i < bytes; i++)
            text[i] = fills[f] ? fills[f] : (char)('a' + random_below(26));
        for (uint32_t i = 0; bl_pre_at(i); i++) {
            if ((bl_pre_at(i)->flags & BL_PRE_RAW) || (i > 0 && bl_pre_at(i)->splitter == bl_pre_at(i - 1)->splitter))
                continue;
            make_byte_level(&v, bl_pre_at(i)->name);
            create();
            double took = seconds(text, bytes);
            cr_assert_lt(took, MOST_SECONDS, "'%c' with %s: %.2f s", fills[f], bl_pre_at(i)->name, took);
        }
        make_scored(&v);
        create();
        double took = seconds(text, bytes);
        cr_assert_lt(took, MOST_SECONDS, "'%c' scored: %.2f s", fills[f], took);
    }
    free(text);
}
