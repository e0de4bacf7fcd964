/* calibration.h: text to learn from, as windows of tokens, and other windows, never learned from, to judge by. Owns reading of text files and the
 * choice of windows; knows no model beyond its tokenizer. */
#ifndef XQ_CALIBRATION_H
#define XQ_CALIBRATION_H
#include <bitloom/tokenizer.h>
#include <stdint.h>

struct xq_calibration {
    uint32_t window;            /* tokens of each */
    int32_t *train, *held;      /* [n_train][window], [n_held][window] */
    uint8_t *train_counts, *held_counts; /* the same shape: whether the answer at a token counts; NULL: all do */
    uint32_t n_train, n_held;
    uint64_t hash;              /* of all of that */
    uint64_t available;         /* tokens of the whole text, of which the windows are a part */
    bool is_short;              /* all windows of it were taken, and fewer than were asked for */
};

/* paths: text files; of a .jsonl file the string "text" of each line; no path: the built-in text. tokens: about how many to learn from, 0:
 * all. Windows are taken evenly from the whole of every file, and as many from each as it has; every sixteenth, but at least one of two, is held
 * out. Where the model begins texts with a token of its own, every window begins with it. BL_EIO for an unreadable file, BL_EFORMAT naming
 * file and line, BL_EINVAL for a text shorter than a window. */
bl_status xq_calibration_read(const bl_tokenizer *tokenizer, const char *const *paths, uint32_t n_paths, uint32_t window, uint64_t tokens,
                              struct xq_calibration *out) BL_MUST_USE;
/* path: a .jsonl file of questions (jsonl.h). Windows hold whole questions with their answers, one after the other, the last again from the first on; what
 * counts is where the model has to say the next token of an answer. */
bl_status xq_calibration_read_questions(const bl_tokenizer *tokenizer, const char *path, uint32_t window, uint64_t tokens, struct xq_calibration *out) BL_MUST_USE;
void xq_calibration_free(struct xq_calibration *calibration);
#endif
