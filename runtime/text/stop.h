/* stop.h: finding stop strings in a stream of text pieces, also across piece borders.
 * Text that could still become a stop string is held back; text before a stop is released, the stop itself never. */
#ifndef BL_TEXT_STOP_H
#define BL_TEXT_STOP_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

struct bl_stop;
#define BL_STOP_STRINGS 16u
#define BL_STOP_BYTES 1024u
#define BL_STOP_PIECE_BYTES 65544u /* the longest piece that a tokenizer decodes to; feed longer text in parts */
/* At most 16 strings of 1..1024 bytes, copied. */
bl_status bl_stop_create(const char *const *strings, uint32_t n_strings, struct bl_stop **out) BL_MUST_USE;
void bl_stop_destroy(struct bl_stop *stop);
/* Feeds a piece of at most BL_STOP_PIECE_BYTES. *text, *bytes: what may be printed now (valid until the next call). True: a stop string
 * was completed (the one that ends first, the longest of those that end together, however the text was cut); feed nothing more. */
bool bl_stop_feed(struct bl_stop *stop, const char *piece, size_t piece_bytes, const char **text, size_t *bytes);
/* The stream ended without a stop: what was held back. */
void bl_stop_finish(struct bl_stop *stop, const char **text, size_t *bytes);
void bl_stop_reset(struct bl_stop *stop);
#endif
