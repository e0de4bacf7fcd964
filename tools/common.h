/* common.h: what several verbs share: opening a model from options, statistics, interruption, texts. Owns no verb. */
#ifndef BL_TOOLS_COMMON_H
#define BL_TOOLS_COMMON_H
#include "options.h"

#include <bitloom/bitloom.h>

/* What lines on stderr begin with: "bitloom", or the name under which the program was called. */
extern const char *program_name;

uint64_t now_ns(void);
/* Prints program_name and the cause of the last failure on one line; returns EXIT_FAILED. */
int report_error(void);
/* Warnings of the library on stderr, unless quiet. */
void log_to_stderr(const struct options *o);

/* Opens o->model; texts that options name are read. Returns EXIT_OK or an exit code after a line on stderr. */
int open_model(const struct options *o, bl_model **model, bl_sequence **sequence);
/* Sampler and limits from options into params; the tables it points to live until the program ends. */
bool fill_generate_params(const struct options *o, bl_generate_params *params);
void print_stats(const bl_model *model, uint64_t load_ns, const bl_generate_result *result);

/* Says so on stderr when a text ended because the context is full. */
void warn_if_full(const bl_model *model, const bl_sequence *sequence, const bl_generate_result *result);

/* The first Ctrl-C stops the model; a second one ends the program. */
void interrupt_on_signal(bl_model *model);
bool was_interrupted(void);

/* In quotes, with escapes. */
void print_json_string(FILE *out, const char *text);
/* Whole file as a terminated string, "-" is standard input; NULL after a line on stderr. The caller frees. */
char *read_text(const char *path, size_t *bytes);
/* \n \t \r \\ \" \' \xNN become characters, in place; returns the new length. */
size_t unescape(char *text);
/* For bl_text_fn: to stdout. */
void write_stdout(void *user, const char *text, size_t bytes);
/* Flushes stdout; a full disk or a closed pipe is a failure. */
int finish_stdout(int code);
#endif
