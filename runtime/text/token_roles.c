/* token_roles.c: what tokens are for, as far as only their text tells: ends of a turn, and types that files are known to get wrong. Owns
 * the lists of such texts. */
#include "text/tokenizer_parts.h"

#include <string.h>

/* Ends of a turn, the ones that can be "the" end-of-turn token first. */
static const char *const turn_ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>", "<end_of_utterance>",
};
static const char *const other_ends[] = {
    "<|eom_id|>", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "</s>", "[EOS]", "<eos>", "<turn|>", "<|tool_response>", "[e~[",
    /* what follows in a fill-in-the-middle answer is another file */
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>",
    "<|file_sep|>",
};
/* Channel marks that a reader must see. */
static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static int32_t find(const bl_tokenizer *t, const char *text)
{
    return bl_token_by_text(t, text, strlen(text));
}

static void mark_end(bl_tokenizer *t, const char *text)
{
    int32_t id = find(t, text);
    if (id < 0)
        return;
    t->is_end[id] = 1;
    t->types[id] = BL_TOKEN_CONTROL;
}

static void unmark_end(bl_tokenizer *t, const char *text, enum bl_token_type type)
{
    int32_t id = find(t, text);
    if (id < 0)
        return;
    t->is_end[id] = 0;
    t->types[id] = (uint8_t)type;
}

void bl_token_roles_find(bl_tokenizer *t)
{
    for (size_t i = 0; i < COUNT(turn_ends); i++) {
        mark_end(t, turn_ends[i]);
        if (t->special[BL_SPECIAL_EOT] < 0)
            t->special[BL_SPECIAL_EOT] = find(t, turn_ends[i]);
    }
    for (size_t i = 0; i < COUNT(other_ends); i++)
        mark_end(t, other_ends[i]);
    for (size_t i = 0; i < COUNT(shown); i++)
        unmark_end(t, shown[i], BL_TOKEN_USER_DEFINED);
    /* Where messages end in <|return|> or <|flush|>, <|end|> only ends a part of one. */
    bool has_call = find(t, "<|call|>") >= 0 || find(t, "<|calls|>") >= 0;
    if (has_call && (find(t, "<|return|>") >= 0 || find(t, "<|flush|>") >= 0)) {
        if (t->special[BL_SPECIAL_EOT] == find(t, "<|end|>"))
            t->special[BL_SPECIAL_EOT] = -1;
        unmark_end(t, "<|end|>", BL_TOKEN_USER_DEFINED);
    }
    if (find(t, "<|tool_response>") >= 0) /* there </s> is a piece of HTML */
        unmark_end(t, "</s>", BL_TOKEN_NORMAL);
    if (t->special[BL_SPECIAL_EOS] >= 0)
        t->is_end[t->special[BL_SPECIAL_EOS]] = 1;
    if (t->special[BL_SPECIAL_EOT] >= 0)
        t->is_end[t->special[BL_SPECIAL_EOT]] = 1;
}
