/* verb_file.c: the verbs that look into a file without computing: inspect, verify, graph. */
#include "common.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

static int need_model(const struct options *o)
{
    if (o->model)
        return EXIT_OK;
    fprintf(stderr, "bitloom: no model: give a file\n");
    return EXIT_USAGE;
}

int verb_inspect(struct options *o)
{
    if (need_model(o) != EXIT_OK)
        return EXIT_USAGE;
    bl_inspect_params params = {.struct_size = sizeof params, .json = o->json, .tensors = o->tensors};
    return finish_stdout(bl_file_inspect(o->model, &params, write_stdout, NULL) == BL_OK ? EXIT_OK : report_error());
}

int verb_verify(struct options *o)
{
    if (need_model(o) != EXIT_OK)
        return EXIT_USAGE;
    if (bl_file_verify(o->model, write_stdout, NULL) != BL_OK)
        return finish_stdout(report_error());
    printf("%s: ok\n", o->model);
    return finish_stdout(EXIT_OK);
}

int verb_graph(struct options *o)
{
    if (need_model(o) != EXIT_OK)
        return EXIT_USAGE;
    if (o->json + o->dot + o->stats > 1) {
        fprintf(stderr, "bitloom graph: give one of --json, --dot, --stats\n");
        return EXIT_USAGE;
    }
    char *text = NULL;
    size_t bytes;
    if (o->graph && !(text = read_text(o->graph, &bytes)))
        return EXIT_FAILED;
    bl_graph_params params = {
        .struct_size = sizeof params,
        .schedule = o->schedule && strcmp(o->schedule, "auto") != 0 ? o->schedule : NULL,
        .graph_text = text,
        .graph_name = o->graph,
        .form = o->json ? BL_GRAPH_JSON : o->dot ? BL_GRAPH_DOT : o->stats ? BL_GRAPH_STATS : BL_GRAPH_TEXT,
        .f32_activations = o->activations && strcmp(o->activations, "f32") == 0,
        .allow_unused_tensors = o->allow_unused,
    };
    int code = bl_file_graph(o->model, &params, write_stdout, NULL) == BL_OK ? EXIT_OK : report_error();
    free(text);
    return finish_stdout(code);
}
