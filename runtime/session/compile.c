/* compile.c: from a model file to a graph that can be scheduled. */
#include "base/error.h"
#include "session/session.h"

#include <string.h>

bl_status bl_schedule_find(const char *name, enum bl_schedule_kind *out)
{
    *out = BL_DEFAULT_SCHEDULE;
    if (!name)
        return BL_OK;
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        if (strcmp(name, bl_schedule_name((enum bl_schedule_kind)k)) == 0) {
            *out = (enum bl_schedule_kind)k;
            return BL_OK;
        }
    }
    BL_FAIL(BL_EINVAL, "schedule '%s': expected serial, grouped, streams or grouped-streams", name);
}

bl_status bl_compile(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_compile_params *params,
                     struct bl_graph **graph)
{
    *graph = NULL;
    struct bl_graph_text own = {params->graph_name ? params->graph_name : "--graph", params->graph_text,
                                params->graph_text ? strlen(params->graph_text) : 0};
    struct bl_graph_text text;
    BL_TRY(bl_graph_text_find(file, source, own.text ? &own : NULL, &text));
    BL_TRY(bl_graph_parse(text.text, text.bytes, text.name, source, params->allow_unused, graph));
    bl_status status = params->as_written ? BL_OK : bl_graph_lower(*graph, params->q8);
    if (status == BL_OK && !params->as_written)
        status = bl_graph_fuse(*graph);
    if (status != BL_OK) {
        bl_graph_destroy(*graph);
        *graph = NULL;
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    return BL_OK;
}
