/* split.c: running the stages of a splitter, and the small matchers. Knows no name of a model (pre_names.c). */
#include "text/split.h"

#include <string.h>

static void run_stage(const struct bl_stage *stage, uint32_t *chars, size_t n_chars)
{
    struct bl_span span = {chars, 0, 0, 0, 0};
    for (size_t begin = 0; begin < n_chars; begin = span.end) {
        span.end = begin + 1;
        while (span.end < n_chars && !(chars[span.end] & BL_CHAR_STARTS))
            span.end++;
        span.run_begin = span.run_end = begin;
        for (size_t at = begin; at < span.end;) {
            size_t end = stage->match(&span, at, stage->rule);
            if (end == at) {
                at++;
                continue;
            }
            chars[at] |= BL_CHAR_STARTS;
            if (end < span.end)
                chars[end] |= BL_CHAR_STARTS;
            at = end;
        }
    }
}

void bl_split(const struct bl_splitter *splitter, uint32_t *chars, size_t n_chars)
{
    if (n_chars == 0)
        return;
    chars[0] |= BL_CHAR_STARTS;
    for (uint32_t i = 0; i < splitter->n_stages; i++)
        run_stage(&splitter->stages[i], chars, n_chars);
}

static bool in_ranges(const struct bl_charset *set, uint32_t code)
{
    uint32_t low = 0, high = set->n_ranges;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (code > set->ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->n_ranges && code >= set->ranges[low].first;
}

static bool in_set(const struct bl_charset *set, uint32_t c)
{
    uint32_t code = BL_CHAR_CODE(c);
    bool is_in = (BL_CHAR_BIT(c) & set->classes) != 0 || (set->ascii && code > 0 && code < 128 && strchr(set->ascii, (int)code) != NULL) ||
                 in_ranges(set, code);
    return is_in != set->negated;
}

size_t bl_match_run(struct bl_span *span, size_t at, const void *run_rule)
{
    const struct bl_run_rule *rule = run_rule;
    uint32_t c = span->chars[at];
    bool has_lead = rule->lead == BL_LEAD_WHITE ? (BL_CHAR_BIT(c) & BL_SET_SPACE) != 0 : rule->lead == BL_LEAD_SPACE && BL_CHAR_CODE(c) == ' ';
    for (size_t begin = has_lead ? at + 1 : at;; begin = at) { /* with the lead, and if that fails without */
        size_t end = begin;
        while (end < span->end && end - begin < rule->max && in_set(&rule->set, span->chars[end]))
            end++;
        if (end - begin >= rule->min)
            return end;
        if (begin == at)
            return at;
    }
}

static size_t skip_classes(const struct bl_span *span, size_t at, uint32_t classes)
{
    while (at < span->end && (BL_CHAR_BIT(span->chars[at]) & classes))
        at++;
    return at;
}

size_t bl_match_groups(struct bl_span *span, size_t at, const void *group_rule)
{
    const struct bl_group_rule *rule = group_rule;
    const uint32_t word = BL_SET_LETTER | BL_SET_MARK | BL_BIT(ND) | BL_BIT(NL) | BL_BIT(HAN_NL) | BL_BIT(PC);
    if (!(BL_CHAR_BIT(span->chars[at]) & rule->classes))
        return at;
    if (at >= span->run_end)
        span->run_end = skip_classes(span, at, rule->classes);
    if (rule->is_edge_required && span->run_end < span->end && (BL_CHAR_BIT(span->chars[span->run_end]) & word))
        return at;
    size_t rest = (span->run_end - at) % 3;
    return at + (rest ? rest : 3);
}

/* (?=(\d{3})+(?!\d)): borders without width. A piece reaches from one to the next; before the first there is no match. */
size_t bl_match_digit_borders(struct bl_span *span, size_t at, const void *unused)
{
    (void)unused;
    if (at >= span->run_end)
        span->run_end = skip_classes(span, at, BL_BIT(ND));
    size_t left = span->run_end - at;
    if (left == 0 || left % 3 != 0)
        return at;
    if (left > 3)
        return at + 3;
    for (at = span->run_end; at < span->end; at = span->run_end) { /* on to the first border of the next number that has one */
        at = skip_classes(span, at, ~BL_BIT(ND));
        span->run_end = skip_classes(span, at, BL_BIT(ND));
        if (span->run_end - at >= 3)
            return at + (span->run_end - at) % 3;
    }
    return span->end;
}

/* \s+$ */
size_t bl_match_trailing_space(struct bl_span *span, size_t at, const void *unused)
{
    (void)unused;
    if (at >= span->run_end)
        span->run_end = skip_classes(span, at, BL_SET_SPACE);
    return span->run_end == span->end ? span->end : at;
}

static bool is_text_at(const struct bl_span *span, size_t at, const char *text)
{
    for (size_t i = 0; text[i]; i++)
        if (at + i >= span->end || BL_CHAR_CODE(span->chars[at + i]) != (unsigned char)text[i])
            return false;
    return true;
}

static size_t skip_ascii(const struct bl_span *span, size_t at, uint32_t first, uint32_t last)
{
    while (at < span->end && BL_CHAR_CODE(span->chars[at]) >= first && BL_CHAR_CODE(span->chars[at]) <= last)
        at++;
    return at;
}

/* <sentinel:[0-9]+> */
size_t bl_match_sentinel(struct bl_span *span, size_t at, const void *unused)
{
    static const char head[] = "<sentinel:";
    (void)unused;
    if (!is_text_at(span, at, head))
        return at;
    size_t begin = at + sizeof head - 1, end = skip_ascii(span, begin, '0', '9');
    return end > begin && is_text_at(span, end, ">") ? end + 1 : at;
}

/* IMGIMG[A-I]{1,4}Z */
size_t bl_match_image(struct bl_span *span, size_t at, const void *unused)
{
    static const char head[] = "IMGIMG";
    (void)unused;
    if (!is_text_at(span, at, head))
        return at;
    size_t begin = at + sizeof head - 1, end = skip_ascii(span, begin, 'A', 'I');
    return end > begin && end - begin <= 4 && is_text_at(span, end, "Z") ? end + 1 : at;
}

/* [\t\n]|    |  */
size_t bl_match_indent(struct bl_span *span, size_t at, const void *unused)
{
    (void)unused;
    if (is_text_at(span, at, "\t") || is_text_at(span, at, "\n"))
        return at + 1;
    return is_text_at(span, at, "    ") ? at + 4 : is_text_at(span, at, "  ") ? at + 2 : at;
}
