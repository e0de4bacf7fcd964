/* split_words.c: the matcher of "word" expressions, which nearly all tokenizers share up to its details (struct bl_word_rule). */
#include "text/split.h"

#include <string.h>

/* Past the end: a character of no class that equals nothing. */
#define NO_CHAR 0x1fffffu

static uint32_t code_at(const struct bl_span *span, size_t at)
{
    return at < span->end ? BL_CHAR_CODE(span->chars[at]) : NO_CHAR;
}

/* The class bit; 0 past the end, so that it is in no set. Characters that are Han can be asked to be no letters. */
static uint32_t bit_at(const struct bl_span *span, size_t at)
{
    return at < span->end ? BL_CHAR_BIT(span->chars[at]) : 0;
}

static size_t skip_set(const struct bl_span *span, size_t at, uint32_t set)
{
    while (bit_at(span, at) & set)
        at++;
    return at;
}

static bool is_line_end(uint32_t code)
{
    return code == '\r' || code == '\n';
}

static bool is_ascii_letter(uint32_t code)
{
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
}

/* 's 't 'm 'd 're 've 'll */
static size_t match_contraction(const struct bl_span *span, size_t at, bool is_any_case)
{
    if (code_at(span, at) != '\'')
        return at;
    uint32_t a = code_at(span, at + 1), b = code_at(span, at + 2);
    if (is_any_case) {
        a = is_ascii_letter(a) ? a | 0x20u : a;
        b = is_ascii_letter(b) ? b | 0x20u : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : at;
}

/* upper* lower+, and if that fails upper+ lower*, where caseless letters and marks are both. Han is left out of all of them if asked. */
static size_t match_cased(const struct bl_span *span, size_t at, uint32_t letters, bool is_second)
{
    uint32_t both = (BL_SET_CASELESS | BL_SET_MARK) & letters;
    uint32_t upper = BL_BIT(LU) | BL_BIT(LT) | both, lower = BL_BIT(LL) | both;
    size_t middle = skip_set(span, at, upper), end = skip_set(span, middle, lower);
    if (is_second)
        return middle > at ? end : at;
    if (end > middle)
        return end;
    while (middle > at) /* give back until one of the upper run can be the lower one that is needed */
        if (bit_at(span, --middle) & both)
            return middle + 1;
    return at;
}

/* (?:L M* (?: ' ' L M*)*)+ : letters, each with its marks, that single spaces may join */
static size_t match_spaced(const struct bl_span *span, size_t at)
{
    size_t end = at;
    for (size_t next = at; bit_at(span, next) & BL_SET_LETTER; next = code_at(span, end) == ' ' ? end + 1 : end)
        end = skip_set(span, next + 1, BL_SET_MARK);
    return end;
}

static size_t match_letters(const struct bl_span *span, size_t at, const struct bl_word_rule *rule, bool is_second)
{
    switch (rule->word) {
    case BL_WORD_CASED: return match_cased(span, at, rule->letters, is_second);
    case BL_WORD_SPACED: return match_spaced(span, at);
    default: return skip_set(span, at, rule->letters);
    }
}

static size_t match_word(const struct bl_span *span, size_t at, const struct bl_word_rule *rule)
{
    uint32_t code = code_at(span, at);
    bool has_prefix = rule->prefix_not ? !is_line_end(code) && !(bit_at(span, at) & rule->prefix_not) : code == ' ';
    for (int second = 0; second <= (rule->word == BL_WORD_CASED); second++) {
        for (int prefix = has_prefix; prefix >= 0; prefix--) {
            size_t begin = at + (size_t)prefix, end = match_letters(span, begin, rule, second != 0);
            if (end > begin)
                return rule->contract == BL_CONTRACT_SUFFIX ? match_contraction(span, end, true) : end;
        }
    }
    return at;
}

static size_t match_number(const struct bl_span *span, size_t at, const struct bl_word_rule *rule)
{
    size_t begin = at + (rule->is_number_spaced && code_at(span, at) == ' '), end = begin;
    while ((bit_at(span, end) & BL_SET_NUMBER) && end - begin < rule->number_max)
        end++;
    return end > begin ? end : at;
}

static size_t match_marks(const struct bl_span *span, size_t at, const struct bl_word_rule *rule)
{
    size_t begin = at + (code_at(span, at) == ' '), end = begin;
    while (end < span->end && !(bit_at(span, end) & rule->mark_not) && !(rule->is_mark_inline && is_line_end(code_at(span, end))))
        end++;
    if (end == begin)
        return at;
    for (size_t n = 0; rule->mark_tail && code_at(span, end) < 128 && code_at(span, end) != 0 && !(rule->is_tail_single && n > 0); n++) {
        if (!strchr(rule->mark_tail, (int)code_at(span, end)))
            break;
        end++;
    }
    return end;
}

/* Measures the run of white space at `at` once, however often a rule comes back to it. */
static void measure_space(struct bl_span *span, size_t at)
{
    if (at >= span->run_begin && at < span->run_end)
        return;
    span->run_begin = span->newline_end = at;
    for (span->run_end = at; bit_at(span, span->run_end) & BL_SET_SPACE; span->run_end++)
        if (is_line_end(code_at(span, span->run_end)))
            span->newline_end = span->run_end + 1;
}

static size_t match_space(struct bl_span *span, size_t at, const struct bl_word_rule *rule)
{
    if (!(bit_at(span, at) & BL_SET_SPACE))
        return at;
    measure_space(span, at);
    if (rule->newline == BL_NEWLINE_RUN && span->newline_end > at)
        return span->newline_end; /* \s*[\r\n]+ */
    if (rule->newline == BL_NEWLINE_SINGLE && is_line_end(code_at(span, at)))
        return at + 1;
    size_t run = span->run_end - at;
    bool is_last = span->run_end == span->end;
    if (rule->is_cascade) { /* \s{512}(?!\S)| ... |\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} */
        for (size_t step = 512; step >= 2; step /= 2)
            if (run > step || (run == step && is_last))
                return at + step;
        return at + 1;
    }
    return at + (run > 1 && !is_last ? run - 1 : run); /* \s+(?!\S)|\s+ */
}

static bool is_ascii_mark(uint32_t code)
{
    return code > ' ' && code < 127 && !is_ascii_letter(code) && !(code >= '0' && code <= '9');
}

size_t bl_match_words(struct bl_span *span, size_t at, const void *word_rule)
{
    const struct bl_word_rule *rule = word_rule;
    if (rule->is_identifier && is_ascii_mark(code_at(span, at)) && is_ascii_letter(code_at(span, at + 1))) {
        size_t after = at + 2;
        while (is_ascii_letter(code_at(span, after)))
            after++;
        return after;
    }
    size_t end = at;
    if (rule->contract == BL_CONTRACT_LOWER || rule->contract == BL_CONTRACT_ANY)
        end = match_contraction(span, at, rule->contract == BL_CONTRACT_ANY);
    if (end == at && rule->is_han_apart)
        end = skip_set(span, at, BL_SET_HAN);
    if (end == at)
        end = match_word(span, at, rule);
    if (end == at && rule->number_max)
        end = match_number(span, at, rule);
    if (end == at)
        end = match_marks(span, at, rule);
    return end == at ? match_space(span, at, rule) : end;
}
