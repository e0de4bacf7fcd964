/* split.h: cutting a text into the pieces that byte-pair merges may not cross ("pre-tokenisation"), by the name a model file gives.
 *
 * A splitter is a list of stages. Each stage looks, inside every piece so far, for the leftmost matches of one pattern; matches and what
 * lies between them become pieces of their own. The patterns are hand-written matchers, each the exact meaning of one regular expression
 * of the model it comes from; there is no regular expression engine. Time is linear in the text. */
#ifndef BL_TEXT_SPLIT_H
#define BL_TEXT_SPLIT_H
#include "text/unicode.h"
#include "text/vocab.h"

/* A character as splitters see it: code (21 bits), class (5 bits), and whether a piece starts here. */
#define BL_CHAR_CODE(c) ((c) & 0x1fffffu)
#define BL_CHAR_BIT(c) (1u << ((c) >> 21 & 31u))
#define BL_CHAR_STARTS 0x80000000u
static inline uint32_t bl_char_pack(uint32_t code)
{
    return code | (uint32_t)bl_char_class(code) << 21;
}

/* The piece that a stage works on, and what it remembers of the run of white space or digits that it last measured. */
struct bl_span {
    const uint32_t *chars;
    size_t end;
    size_t run_begin, run_end, newline_end;
};

/* The end of a match that begins at `at`, or `at` when there is none. `rule` is the stage's own constant data. */
typedef size_t (*bl_match_fn)(struct bl_span *span, size_t at, const void *rule);
struct bl_stage { bl_match_fn match; const void *rule; };
struct bl_splitter { uint32_t n_stages; const struct bl_stage *stages; };

/* ---- rules ---- */

struct bl_range { uint32_t first, last; };
struct bl_charset {
    uint32_t classes;              /* any of these classes, */
    const char *ascii;             /* or one of these (NULL: none), */
    const struct bl_range *ranges; /* or in one of these, ascending */
    uint32_t n_ranges;
    bool negated;                  /* then the opposite of all that */
};
/* [lead]? set{min,max} */
struct bl_run_rule {
    struct bl_charset set;
    uint32_t min, max;
    enum { BL_LEAD_NONE = 0, BL_LEAD_SPACE, BL_LEAD_WHITE } lead; /* "", " ?", "\s?" */
};
size_t bl_match_run(struct bl_span *span, size_t at, const void *run_rule);

/* Digits in threes from the right. */
struct bl_group_rule {
    uint32_t classes;
    bool is_edge_required; /* only if the number ends at a word's end */
};
size_t bl_match_groups(struct bl_span *span, size_t at, const void *group_rule);
size_t bl_match_digit_borders(struct bl_span *span, size_t at, const void *unused);

/* The alternatives of a "word" expression, tried in the order of this struct. */
struct bl_word_rule {
    bool is_identifier;    /* ASCII punctuation, then ASCII letters */
    enum { BL_CONTRACT_NONE = 0, BL_CONTRACT_LOWER, BL_CONTRACT_ANY, BL_CONTRACT_SUFFIX } contract; /* 's 't 're ...; SUFFIX: ends a word */
    bool is_han_apart;     /* runs of Han, which then are no letters */
    enum { BL_WORD_PLAIN = 0, BL_WORD_CASED, BL_WORD_SPACED } word; /* letters+; upper* lower+ or upper+ lower*; words joined by spaces */
    uint32_t letters;
    uint32_t prefix_not;   /* one character before a word that is in none of these classes and no line end; 0: only a space */
    uint32_t number_max;   /* digits in a number; 0: numbers are no alternative */
    bool is_number_spaced; /* " ?" before a number */
    uint32_t mark_not;     /* " ?[^classes]+" */
    const char *mark_tail; /* then any of these */
    bool is_tail_single;   /* at most one of them */
    bool is_mark_inline;   /* marks exclude line ends */
    enum { BL_NEWLINE_NONE = 0, BL_NEWLINE_RUN, BL_NEWLINE_SINGLE } newline; /* "\s*[\r\n]+"; "[\r\n]" */
    bool is_cascade;       /* white space in powers of two */
};
size_t bl_match_words(struct bl_span *span, size_t at, const void *word_rule);

size_t bl_match_trailing_space(struct bl_span *span, size_t at, const void *unused);
size_t bl_match_sentinel(struct bl_span *span, size_t at, const void *unused);
size_t bl_match_image(struct bl_span *span, size_t at, const void *unused);
size_t bl_match_indent(struct bl_span *span, size_t at, const void *unused);

/* ---- names ---- */

enum {
    BL_PRE_IGNORE_MERGES = 1, /* a piece that is a token stays whole */
    BL_PRE_ADD_BOS = 2,       /* unless the file says otherwise */
    BL_PRE_RAW = 4,           /* merges work on UTF-8 characters, not on bytes written as characters */
    BL_PRE_ESCAPE = 8,        /* spaces are written as U+2581 */
    BL_PRE_NEWLINES = 16      /* a piece of line ends that is a token stays whole */
};
struct bl_pre {
    const char *name;
    const struct bl_splitter *splitter;
    uint32_t flags;
};
/* NULL for a name that is not known. */
const struct bl_pre *bl_pre_find(struct bl_text name);
/* For tests: every name there is. */
const struct bl_pre *bl_pre_at(uint32_t index);

/* Sets BL_CHAR_STARTS on the first character of every piece. */
void bl_split(const struct bl_splitter *splitter, uint32_t *chars, size_t n_chars);
#endif
