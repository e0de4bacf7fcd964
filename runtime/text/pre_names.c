/* pre_names.c: every splitter by name: the values of tokenizer.ggml.pre, the expressions behind them as tables. Knows no matcher's inside.
 *
 * Each rule stands under the expression that it means; where a converter's expression only approximates the one the model was trained
 * with, the model's is meant. */
#include "text/split.h"

#include <string.h>

#define COUNT(a) (uint32_t)(sizeof(a) / sizeof(a)[0])
#define RUN(rule) {bl_match_run, &(rule)}
#define WORDS(rule) {bl_match_words, &(rule)}
#define SPLITTER(name, ...)                                          \
    static const struct bl_stage name##_stages[] = {__VA_ARGS__};    \
    static const struct bl_splitter name = {COUNT(name##_stages), name##_stages}

/* ---- runs ---- */

static const struct bl_run_rule number1 = {{BL_SET_NUMBER}, 1, 1};           /* \p{N} */
static const struct bl_run_rule number3 = {{BL_SET_NUMBER}, 1, 3};           /* \p{N}{1,3} */
static const struct bl_run_rule numbers = {{BL_SET_NUMBER}, 1, UINT32_MAX};  /* \p{N}+ */
static const struct bl_run_rule ascii3 = {{.ascii = "0123456789"}, 3, 3};    /* [0-9][0-9][0-9] */
static const struct bl_run_rule line_end = {{.ascii = "\r\n"}, 1, 1};        /* [\r\n] */
static const struct bl_run_rule newlines = {{.ascii = "\n"}, 1, UINT32_MAX}; /* [^\n]+|[\n]+ : the rest is what lies between */
static const struct bl_run_rule not_space = {{BL_SET_SPACE, .negated = true}, 1, UINT32_MAX};          /* \S+ */
static const struct bl_run_rule marks = {{BL_SET_PUNCT, "$+<=>^~|"}, 1, UINT32_MAX};                   /* [\p{P}$+<=>^~|]+ */
static const struct bl_run_rule falcon_marks = {{BL_SET_PUNCT, "$+<=>^~|`"}, 1, UINT32_MAX};           /* [\p{P}$+<=>^~|`]+ */
static const struct bl_run_rule mark1 = {{BL_SET_PUNCT, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}, 1, 1};  /* [\p{P}!-/:-@\[-`{-~] */
static const struct bl_run_rule white_letters = {{BL_SET_LETTER}, 1, UINT32_MAX, BL_LEAD_WHITE};       /* \s?\p{L}+ */
static const struct bl_run_rule white_marks = {{BL_SET_PUNCT}, 1, UINT32_MAX, BL_LEAD_WHITE};          /* \s?\p{P}+ */

/* \s?[letters with case, as listed]+ */
static const struct bl_range cased_ranges[] = {
    {0x41, 0x5a}, {0x61, 0x7a}, {0xb5, 0xb5}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0x1ba}, {0x1bc, 0x1bf}, {0x1c4, 0x293}, {0x295, 0x2af},
    {0x370, 0x373}, {0x376, 0x377}, {0x37b, 0x37d}, {0x37f, 0x37f}, {0x386, 0x386}, {0x388, 0x38a}, {0x38c, 0x38c}, {0x38e, 0x3a1},
    {0x3a3, 0x3f5}, {0x3f7, 0x481}, {0x48a, 0x52f}, {0x531, 0x556}, {0x10a0, 0x10c5}, {0x13a0, 0x13f5}, {0x13f8, 0x13fd}, {0x1c90, 0x1cba},
    {0x1cbd, 0x1cbf}, {0x1d00, 0x1d2b}, {0x1d6b, 0x1d77}, {0x1d79, 0x1d9a}, {0x1e00, 0x1f15}, {0x1f18, 0x1f1d}, {0x1f20, 0x1f45},
    {0x1f48, 0x1f4d}, {0x1f50, 0x1f57}, {0x1f59, 0x1f59}, {0x1f5b, 0x1f5b}, {0x1f5d, 0x1f5d}, {0x1f5f, 0x1f7d}, {0x1f80, 0x1fb4},
    {0x1fb6, 0x1fbc}, {0x1fbe, 0x1fbe}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fcc}, {0x1fd0, 0x1fd3}, {0x1fd6, 0x1fdb}, {0x1fe0, 0x1fec},
    {0x1ff2, 0x1ff4}, {0x1ff6, 0x1ffc}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210a, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211d},
    {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212a, 0x212d}, {0x212f, 0x2134}, {0x2139, 0x2139}, {0x213c, 0x213f},
    {0x2145, 0x2149}, {0x214e, 0x214e}, {0x2183, 0x2184}, {0x2c00, 0x2c7b}, {0x2c7e, 0x2ce4}, {0x2ceb, 0x2cee}, {0x2cf2, 0x2cf3},
    {0xa640, 0xa66d}, {0xa680, 0xa69b}, {0xa722, 0xa76f}, {0xa771, 0xa787}, {0xa78b, 0xa78e}, {0xab70, 0xabbf}, {0xfb00, 0xfb06},
    {0xfb13, 0xfb17}, {0xff21, 0xff3a}, {0xff41, 0xff5a}, {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2},
    {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
static const struct bl_run_rule white_cased = {{.ranges = cased_ranges, .n_ranges = COUNT(cased_ranges)}, 1, UINT32_MAX, BL_LEAD_WHITE};

/* \s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+ */
static const struct bl_range wide_mark_ranges[] = {{'!', '/'}, {':', '~'}, {0x2018, 0x201f}, {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
static const struct bl_run_rule white_wide_marks = {{.ranges = wide_mark_ranges, .n_ranges = COUNT(wide_mark_ranges)}, 1, UINT32_MAX, BL_LEAD_WHITE};

/* [\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+ */
static const struct bl_range east_ranges[] = {{0x800, 0x9fa5}, {0xac00, 0xd7ff}};
static const struct bl_run_rule east = {{.ranges = east_ranges, .n_ranges = COUNT(east_ranges)}, 1, UINT32_MAX};

/* [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+ */
static const struct bl_range cjk_ranges[] = {{0x3040, 0x30ff}, {0x4e00, 0x9fa5}};
static const struct bl_run_rule cjk = {{.ranges = cjk_ranges, .n_ranges = COUNT(cjk_ranges)}, 1, UINT32_MAX};

/* Four alternatives over sets without a common character, so stages of their own: Hangul, wide marks, Bopomofo, cjk as above. */
static const struct bl_range hangul_ranges[] = {{0x3131, 0x318e}, {0xac00, 0xd7a3}};
static const struct bl_run_rule hangul = {{.ranges = hangul_ranges, .n_ranges = COUNT(hangul_ranges)}, 1, UINT32_MAX};
static const struct bl_range youtu_mark_ranges[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201c, 0x201d}, {0x2026, 0x2026}, {0x3001, 0x303f},
                                                    {0xfe30, 0xfe4f}, {0xff01, 0xff01}, {0xff0c, 0xff0c}, {0xff1a, 0xff1b}};
static const struct bl_run_rule youtu_marks = {{.ranges = youtu_mark_ranges, .n_ranges = COUNT(youtu_mark_ranges)}, 1, UINT32_MAX};
static const struct bl_range bopomofo_ranges[] = {{0x3105, 0x312f}};
static const struct bl_run_rule bopomofo = {{.ranges = bopomofo_ranges, .n_ranges = COUNT(bopomofo_ranges)}, 1, UINT32_MAX};

/* CJK, Kana, Thai, Lao, Khmer, Myanmar, Hangul */
static const struct bl_range asian_ranges[] = {{0xe40, 0xeff}, {0x1000, 0x109f}, {0x1100, 0x11ff}, {0x1780, 0x17ff}, {0x2f00, 0x2fdf},
                                               {0x3040, 0x30ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff}, {0xa9e0, 0xa9ff}, {0xaa60, 0xaa7f},
                                               {0xac00, 0xd7af}, {0xf900, 0xfaff}, {0xff65, 0xff9f}};
static const struct bl_run_rule asian = {{.ranges = asian_ranges, .n_ranges = COUNT(asian_ranges)}, 1, UINT32_MAX};

/* " ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+" */
static const struct bl_range stop_ranges[] = {{0x60c, 0x60c}, {0x6d4, 0x6d4}, {0x964, 0x964}, {0x2026, 0x2026}, {0x3001, 0x3002}, {0xff0c, 0xff0c}};
static const struct bl_run_rule not_stops = {{BL_SET_SPACE, "(|.,!?)", stop_ranges, COUNT(stop_ranges), true}, 1, UINT32_MAX, BL_LEAD_SPACE};

static const struct bl_group_rule groups = {BL_SET_NUMBER, false};
static const struct bl_group_rule digit_groups = {BL_BIT(ND), true};           /* \d{1,3}(?=(?:\d{3})*\b) */

/* ---- words ---- */

#define SLN (BL_SET_SPACE | BL_SET_LETTER | BL_SET_NUMBER)
#define LN (BL_SET_LETTER | BL_SET_NUMBER)
#define LM (BL_SET_LETTER | BL_SET_MARK)

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const struct bl_word_rule gpt2_words = {
    .contract = BL_CONTRACT_LOWER, .letters = BL_SET_LETTER, .number_max = UINT32_MAX, .is_number_spaced = true, .mark_not = SLN};

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define LLAMA3(max) .contract = BL_CONTRACT_ANY, .letters = BL_SET_LETTER, .prefix_not = LN, .number_max = (max), .mark_not = SLN, \
    .mark_tail = "\r\n", .newline = BL_NEWLINE_RUN
static const struct bl_word_rule llama3_words = {LLAMA3(3)};
static const struct bl_word_rule jais2_words = {LLAMA3(3), .is_cascade = true};
static const struct bl_word_rule qwen2_words = {LLAMA3(1)};
static const struct bl_word_rule minicpm5_words = {LLAMA3(UINT32_MAX)};

/* qwen2 with [\p{L}\p{M}]+ and [^\s\p{L}\p{M}\p{N}]+ */
static const struct bl_word_rule qwen35_words = {.contract = BL_CONTRACT_ANY, .letters = LM, .prefix_not = LN, .number_max = 1,
    .mark_not = SLN | BL_SET_MARK, .mark_tail = "\r\n", .newline = BL_NEWLINE_RUN};

/* qwen2 without contractions, so that suffixes after an apostrophe stay with their word */
static const struct bl_word_rule ufakzeka_words = {.letters = BL_SET_LETTER, .prefix_not = LN, .number_max = 1, .mark_not = SLN,
    .mark_tail = "\r\n", .newline = BL_NEWLINE_RUN};

/* qwen2 with " ?[^\s\p{L}\p{N}\r\n]+" */
static const struct bl_word_rule seed_words = {.contract = BL_CONTRACT_ANY, .letters = BL_SET_LETTER, .prefix_not = LN, .number_max = 1,
    .mark_not = SLN, .is_mark_inline = true, .newline = BL_NEWLINE_RUN};

/* ...|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+ */
static const struct bl_word_rule exaone_moe_words = {.contract = BL_CONTRACT_ANY, .word = BL_WORD_SPACED, .letters = LM, .prefix_not = LN,
    .number_max = 1, .mark_not = SLN, .mark_tail = "\r\n/", .is_tail_single = true, .newline = BL_NEWLINE_RUN};

/* [ASCII mark][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define DEEPSEEK3 .is_identifier = true, .letters = LM, .prefix_not = BL_SET_LETTER | BL_SET_PUNCT | BL_SET_SYMBOL, \
    .mark_not = ~(BL_SET_PUNCT | BL_SET_SYMBOL)
static const struct bl_word_rule deepseek3_words = {DEEPSEEK3, .mark_tail = "\r\n", .newline = BL_NEWLINE_RUN};
static const struct bl_word_rule spark_words = {DEEPSEEK3, .newline = BL_NEWLINE_SINGLE};

/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|...)?
 * |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|...)?
 * |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define CASED(max, tail) .word = BL_WORD_CASED, .prefix_not = LN, .number_max = (max), .mark_not = SLN, .mark_tail = (tail), .newline = BL_NEWLINE_RUN
static const struct bl_word_rule gpt4o_words = {CASED(3, "\r\n/"), .letters = LM, .contract = BL_CONTRACT_SUFFIX};
static const struct bl_word_rule youtu_words = {CASED(1, "\r\n/"), .letters = LM, .contract = BL_CONTRACT_SUFFIX};
static const struct bl_word_rule tekken_words = {CASED(1, "\r\n/"), .letters = LM};
static const struct bl_word_rule kimi_words = {CASED(3, "\r\n"), .letters = LM & ~BL_SET_HAN, .contract = BL_CONTRACT_SUFFIX, .is_han_apart = true};

/* ---- splitters ---- */

SPLITTER(fallback, RUN(marks), WORDS(gpt2_words), RUN(numbers), RUN(ascii3));
SPLITTER(gpt2, WORDS(gpt2_words));
SPLITTER(starcoder, RUN(number1), WORDS(gpt2_words));
SPLITTER(falcon, RUN(falcon_marks), WORDS(gpt2_words), RUN(ascii3));
SPLITTER(llama3, WORDS(llama3_words));
SPLITTER(jais2, WORDS(jais2_words));
SPLITTER(qwen2, WORDS(qwen2_words));
SPLITTER(qwen35, WORDS(qwen35_words));
SPLITTER(minicpm5, RUN(number3), WORDS(minicpm5_words));
SPLITTER(ufakzeka, WORDS(ufakzeka_words));
SPLITTER(seed_coder, WORDS(seed_words));
SPLITTER(laguna, RUN(newlines), WORDS(qwen2_words));
SPLITTER(exaone_moe, WORDS(exaone_moe_words));
SPLITTER(deepseek_llm, RUN(line_end), RUN(white_cased), RUN(white_wide_marks), {bl_match_trailing_space, NULL}, RUN(east), RUN(numbers));
SPLITTER(deepseek_coder, RUN(line_end), RUN(white_letters), RUN(white_marks), RUN(east), RUN(number1));
SPLITTER(deepseek3, RUN(number3), RUN(cjk), WORDS(deepseek3_words));
SPLITTER(spark, RUN(number3), RUN(cjk), WORDS(spark_words), RUN(number1));
SPLITTER(afmoe, {bl_match_groups, &groups}, RUN(asian), WORDS(deepseek3_words));
SPLITTER(gpt4o, WORDS(gpt4o_words));
SPLITTER(tiny_aya, {bl_match_groups, &digit_groups}, WORDS(gpt4o_words));
SPLITTER(youtu, RUN(hangul), RUN(youtu_marks), RUN(bopomofo), RUN(cjk), WORDS(youtu_words));
SPLITTER(tekken, WORDS(tekken_words));
SPLITTER(kimi, WORDS(kimi_words));
SPLITTER(bloom, RUN(not_stops));
SPLITTER(viking, RUN(not_stops), RUN(number1));
SPLITTER(superbpe, RUN(numbers), {bl_match_digit_borders, NULL});
SPLITTER(chameleon, {bl_match_sentinel, NULL}, {bl_match_image, NULL}, {bl_match_indent, NULL}, RUN(number1), RUN(mark1), WORDS(gpt2_words));
SPLITTER(lines, RUN(newlines));
SPLITTER(spaces, RUN(not_space));

#define MERGELESS BL_PRE_IGNORE_MERGES
#define SARVAM_FLAGS (BL_PRE_RAW | BL_PRE_ESCAPE)
#define GEMMA4_FLAGS (SARVAM_FLAGS | BL_PRE_NEWLINES | BL_PRE_ADD_BOS)
#define LLAMA_FLAGS (BL_PRE_IGNORE_MERGES | BL_PRE_ADD_BOS)
static const struct bl_pre names[] = {
    {"default", &fallback, 0},
    {"llama3", &llama3, LLAMA_FLAGS}, {"llama-v3", &llama3, LLAMA_FLAGS}, {"llama-bpe", &llama3, LLAMA_FLAGS},
    {"falcon3", &llama3, LLAMA_FLAGS}, {"falcon-h1", &llama3, LLAMA_FLAGS}, {"pixtral", &llama3, LLAMA_FLAGS},
    {"midm-2.0", &llama3, LLAMA_FLAGS}, {"lfm2", &llama3, LLAMA_FLAGS}, {"jina-v5-nano", &llama3, LLAMA_FLAGS},
    {"dbrx", &llama3, 0}, {"smaug-bpe", &llama3, 0}, {"chatglm-bpe", &llama3, 0},
    {"glm4", &llama3, MERGELESS}, {"glm5", &llama3, MERGELESS},
    {"jais-2", &jais2, 0},
    {"minicpm5", &minicpm5, MERGELESS},
    {"qwen2", &qwen2, 0}, {"deepseek-r1-qwen", &qwen2, 0}, {"kormo", &qwen2, 0}, {"f2llmv2", &qwen2, 0}, {"megrez", &qwen2, 0},
    {"stablelm2", &qwen2, 0}, {"hunyuan", &qwen2, 0}, {"solar-open", &qwen2, 0}, {"bailingmoe", &qwen2, 0}, {"bailingmoe2", &qwen2, 0},
    {"llada-moe", &qwen2, 0}, {"grok-2", &qwen2, 0},
    {"qwen35", &qwen35, 0},
    {"ufakzeka", &ufakzeka, 0},
    {"seed-coder", &seed_coder, 0},
    {"laguna", &laguna, 0},
    {"exaone-moe", &exaone_moe, 0},
    {"gpt-2", &gpt2, 0}, {"phi-2", &gpt2, 0}, {"jina-es", &gpt2, 0}, {"jina-de", &gpt2, 0}, {"gigachat", &gpt2, 0},
    {"jina-v1-en", &gpt2, 0}, {"jina-v2-es", &gpt2, 0}, {"jina-v2-de", &gpt2, 0}, {"jina-v2-code", &gpt2, 0}, {"a.x-4.0", &gpt2, 0},
    {"mellum", &gpt2, 0}, {"modern-bert", &gpt2, 0}, {"roberta-bpe", &gpt2, 0}, {"exaone4", &gpt2, 0}, {"mpt", &gpt2, 0},
    {"olmo", &gpt2, 0}, {"jais", &gpt2, 0}, {"trillion", &gpt2, 0}, {"granite-docling", &gpt2, 0},
    {"starcoder", &starcoder, 0}, {"refact", &starcoder, 0}, {"command-r", &starcoder, 0}, {"smollm", &starcoder, 0},
    {"codeshell", &starcoder, 0}, {"exaone", &starcoder, 0}, {"minerva-7b", &starcoder, 0}, {"mellum2", &starcoder, 0},
    {"falcon", &falcon, 0},
    {"deepseek-llm", &deepseek_llm, 0},
    {"deepseek-coder", &deepseek_coder, 0},
    {"deepseek-v3", &deepseek3, 0}, {"hunyuan-dense", &deepseek3, 0}, {"hy_v4", &deepseek3, 0}, {"joyai-llm", &deepseek3, 0},
    {"spark2_5", &spark, 0},
    {"gpt-4o", &gpt4o, 0}, {"llama4", &gpt4o, 0}, {"kanana2", &gpt4o, 0}, {"talkie", &gpt4o, 0}, {"minimax-m2", &gpt4o, 0},
    {"granite-embed-multi-97m", &gpt4o, MERGELESS},
    {"tiny_aya", &tiny_aya, 0}, {"cohere2moe", &tiny_aya, 0},
    {"youtu", &youtu, MERGELESS},
    {"tekken", &tekken, LLAMA_FLAGS},
    {"kimi-k2", &kimi, 0},
    {"afmoe", &afmoe, 0},
    {"bloom", &bloom, 0}, {"gpt3-finnish", &bloom, 0}, {"poro-chat", &bloom, 0},
    {"viking", &viking, 0},
    {"superbpe", &superbpe, 0},
    {"chameleon", &chameleon, BL_PRE_ADD_BOS},
    {"gemma4", &lines, GEMMA4_FLAGS},
    {"granite-embed-multi-311m", &lines, GEMMA4_FLAGS},
    {"sarvam-moe", &lines, SARVAM_FLAGS},
    {"whitespace", &spaces, BL_PRE_RAW},
};

const struct bl_pre *bl_pre_at(uint32_t index)
{
    return index < COUNT(names) ? &names[index] : NULL;
}

const struct bl_pre *bl_pre_find(struct bl_text name)
{
    for (uint32_t i = 0; i < COUNT(names); i++)
        if (strlen(names[i].name) == name.bytes && memcmp(names[i].name, name.text, name.bytes) == 0)
            return &names[i];
    return NULL;
}
