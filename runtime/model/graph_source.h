/* graph_source.h: lets the graph room read a model file's metadata and tensors, and finds the graph text of a file.
 * Knows no family: the text comes from --graph, the key bitloom.graph, or the built-in text named like general.architecture. */
#ifndef BL_MODEL_GRAPH_SOURCE_H
#define BL_MODEL_GRAPH_SOURCE_H
#include "graph/graph.h"
#include "model/model_file.h"

/* *arch is a terminated copy owned by the caller's arena. The source borrows `file`. */
bl_status bl_graph_source_make(const struct bl_model_file *file, struct bl_arena *arena, struct bl_graph_source *out) BL_MUST_USE;

struct bl_graph_text {
    const char *name; /* "llama", "bitloom.graph of FILE", "FILE" */
    const char *text;
    uint64_t bytes;
};
/* override: a text that replaces all others, empty or not; NULL: none. BL_EUNSUPPORTED naming the architecture when there is no text for it. */
bl_status bl_graph_text_find(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_graph_text *override,
                             struct bl_graph_text *out) BL_MUST_USE;
#endif
