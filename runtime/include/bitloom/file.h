/* bitloom/file.h: looking into a model file without loading it: `bitloom inspect`, `verify` and `graph` as functions. Text goes to a
 * callback in pieces. Inspect and graph read no tensor data, but inspect the heads of X-bit matrices; verify
 * streams through all of it. */
#ifndef BITLOOM_FILE_H
#define BITLOOM_FILE_H
#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*bl_text_fn)(void *user, const char *text, size_t bytes);

typedef struct bl_inspect_params {
    size_t struct_size;
    bool json;
    bool tensors; /* one line (or object) per tensor too */
} bl_inspect_params;
BL_API bl_status bl_file_inspect(const char *path, const bl_inspect_params *params, bl_text_fn write, void *user) BL_MUST_USE;

/* Every finding is one line to `write`: about the bytes, then whether the graph and the tokenizer would load. BL_EFORMAT when there was any. */
BL_API bl_status bl_file_verify(const char *path, bl_text_fn write, void *user) BL_MUST_USE;

typedef enum bl_graph_form { BL_GRAPH_TEXT = 0, BL_GRAPH_DOT, BL_GRAPH_JSON, BL_GRAPH_STATS } bl_graph_form;
typedef struct bl_graph_params {
    size_t struct_size;
    const char *schedule;     /* "serial", "grouped", "streams", "grouped-streams"; NULL: the default */
    const char *graph_text, *graph_name; /* as in bl_model_params */
    bl_graph_form form;
    bool f32_activations;
    bool allow_unused_tensors;
} bl_graph_params;
BL_API bl_status bl_file_graph(const char *path, const bl_graph_params *params, bl_text_fn write, void *user) BL_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
