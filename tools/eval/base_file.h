/* base_file.h: llama-perplexity's file of a base model's predictions (what its --kl-divergence-base writes), read in place.
 *
 * All little endian: "_logits_", u32 tokens of a window, i32 vocabulary, i32 windows; the tokens of all windows, i32 each, before a begin token
 * is put in; then for every scored token of every window (those of the second half that have a next one) a row: f32 scale, f32 lowest,
 * and one u16 per vocabulary entry, rounded up to an even number of them: ln p = scale * u16 + lowest.
 * The file is a stranger's: it must be exactly as long as its header says, and a window's tokens and scales are checked before they are used. */
#ifndef BL_EVAL_BASE_FILE_H
#define BL_EVAL_BASE_FILE_H
#include <bitloom/status.h>
#include <stdint.h>

struct bl_file_map;
struct base_file {
    struct bl_file_map *map;
    const char *path;
    const uint8_t *data;
    uint32_t window, windows, vocabulary, scored; /* scored: rows of a window */
    uint64_t rows_offset, row_bytes;
};
/* Errors name file, offset, field, value and limit. */
bl_status base_file_open(const char *path, struct base_file *out) BL_MUST_USE;
void base_file_close(struct base_file *file);
/* The `window` tokens of window w. BL_EFORMAT when one is outside the vocabulary or a row's scale is no finite number. */
bl_status base_file_window(const struct base_file *file, uint32_t w, int32_t *ids) BL_MUST_USE;
/* ln p of the whole vocabulary in row i of window w, which was checked. */
void base_file_row(const struct base_file *file, uint32_t w, uint32_t i, float *out);
/* BL_EIO when the file shrank while it was read. */
bl_status base_file_check(const struct base_file *file) BL_MUST_USE;
#endif
