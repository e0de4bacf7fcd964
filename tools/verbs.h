/* verbs.h: the entry points of the verbs, one file each. They return the exit code of the program. */
#ifndef BL_TOOLS_VERBS_H
#define BL_TOOLS_VERBS_H
#include "options.h"

int verb_run(struct options *options);
int verb_chat(struct options *options);
int verb_inspect(struct options *options);
int verb_verify(struct options *options);
int verb_tokenize(struct options *options);
int verb_graph(struct options *options);
int verb_devices(struct options *options);
int verb_compress(struct options *options);
int verb_eval(struct options *options);
int verb_bench(struct options *options);
/* The program under the name picolm: MODEL -p -n -t TEMP -k TOPP -s -c -j --json --cache, with PicoLM's meanings and defaults. */
int picolm_main(int argc, char **argv);
/* Generates from o->prompt (NULL: standard input) to stdout; shared by run and picolm. */
int run_prompt(struct options *o);
#endif
