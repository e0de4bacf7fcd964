/* inspect.c: the functions of bitloom/file.h: looking into a file without loading it. */
#include "base/error.h"
#include "base/print.h"
#include "model/vocab_load.h"
#include "model/xq.h"
#include "session/session.h"

#include <inttypes.h>
#include <string.h>

struct printer {
    const struct bl_model_file *file;
    struct bl_printer out;
    bool json;
};

static bl_status print_number(const struct printer *p, const struct bl_meta *meta, uint64_t index)
{
    if (meta->type == BL_META_F32 || meta->type == BL_META_F64) {
        double v;
        BL_TRY(bl_meta_f64(p->file, meta, index, &v));
        bool finite = v - v == 0;
        if (finite || !p->json)
            bl_print(&p->out, meta->type == BL_META_F32 ? "%.9g" : "%.17g", v);
        else
            bl_print(&p->out, "\"%g\"", v); /* JSON has no infinity */
    } else if (meta->type == BL_META_BOOL) {
        uint64_t v;
        BL_TRY(bl_meta_u64(p->file, meta, index, &v));
        bl_print(&p->out, "%s", v ? "true" : "false");
    } else if (meta->type == BL_META_U64) {
        uint64_t v;
        BL_TRY(bl_meta_u64(p->file, meta, index, &v));
        bl_print(&p->out, "%" PRIu64, v);
    } else {
        int64_t v;
        BL_TRY(bl_meta_i64(p->file, meta, index, &v));
        bl_print(&p->out, "%" PRId64, v);
    }
    return BL_OK;
}

enum { SHOWN_ELEMENTS = 6, SHOWN_STRING = 200 };

static bl_status print_array(const struct printer *p, const struct bl_meta *meta)
{
    uint64_t n = meta->count < SHOWN_ELEMENTS ? meta->count : SHOWN_ELEMENTS;
    if (meta->type == BL_META_ARRAY) { /* arrays of arrays have no use in any file known; their number says enough */
        bl_print(&p->out, p->json ? "[]" : "[%" PRIu64 " arrays]", meta->count);
        return BL_OK;
    }
    struct bl_meta_strings it;
    if (meta->type == BL_META_STRING)
        BL_TRY(bl_meta_strings_begin(p->file, meta, &it));
    bl_print(&p->out, "[");
    for (uint64_t i = 0; i < n; i++) {
        bl_print(&p->out, "%s", i ? ", " : "");
        const char *text;
        uint64_t bytes;
        if (meta->type == BL_META_STRING && bl_meta_strings_next(&it, &text, &bytes))
            bl_print_quoted(&p->out, text, bytes, SHOWN_STRING);
        else
            BL_TRY(print_number(p, meta, i));
    }
    bl_print(&p->out, !p->json && n < meta->count ? ", ... %" PRIu64 " in all]" : "]", meta->count);
    return BL_OK;
}

static bl_status print_meta_value(const struct printer *p, const struct bl_meta *meta)
{
    if (meta->is_array)
        return print_array(p, meta);
    if (meta->type != BL_META_STRING)
        return print_number(p, meta, 0);
    const char *text;
    uint64_t bytes;
    BL_TRY(bl_meta_string(p->file, meta, &text, &bytes));
    bl_print_quoted(&p->out, text, bytes, p->json ? UINT64_MAX : SHOWN_STRING);
    return BL_OK;
}

static void print_type(const struct printer *p, const struct bl_tensor *t)
{
    const char *name = t->format == BL_FMT_BX ? "XQ" : bl_ggml_type_name(t->ggml_type);
    if (name)
        bl_print(&p->out, "%s", name);
    else
        bl_print(&p->out, "type %u", t->ggml_type);
}

/* How many bits the columns of one X-bit matrix, or of all, have. */
struct depths {
    struct bl_xq_histogram h;
    uint64_t parameters;
    uint32_t n; /* matrices */
};

static void add_depths(const struct printer *p, const struct bl_tensor *t, struct depths *d)
{
    if (t->format != BL_FMT_BX)
        return;
    struct bl_xq_histogram h;
    bl_xq_histogram(bl_model_file_data(p->file) + t->offset, t->bytes, &h);
    for (uint32_t depth = 1; depth <= 8; depth++)
        d->h.weights[depth] += h.weights[depth];
    d->h.bits += h.bits;
    d->parameters += t->rows * t->dims[0];
    d->n++;
}

static struct depths all_depths(const struct printer *p)
{
    struct depths d = {0};
    for (uint32_t i = 0; i < bl_model_file_tensor_count(p->file); i++)
        add_depths(p, bl_model_file_tensor_at(p->file, i), &d);
    return d;
}

/* "3.41 bits: 2 31%, 3 42%, 4 27%": each depth and the part of the weights that have it. */
static void print_depths(const struct printer *p, const struct depths *d)
{
    uint64_t all = 0;
    for (uint32_t depth = 1; depth <= 8; depth++)
        all += d->h.weights[depth];
    bl_print(&p->out, p->json ? "\"bits_per_weight\": %.4f, \"depths\": [" : "%.2f bits:", (double)d->h.bits / (double)d->parameters);
    const char *separator = p->json ? "" : " ";
    for (uint32_t depth = 1; depth <= 8; depth++) {
        const double share = (double)d->h.weights[depth] / (double)all;
        if (p->json)
            bl_print(&p->out, "%s%.6f", separator, share);
        else if (d->h.weights[depth])
            bl_print(&p->out, "%s%u %.0f%%", separator, depth, 100 * share);
        if (p->json || d->h.weights[depth])
            separator = ", ";
    }
    bl_print(&p->out, "%s", p->json ? "]" : "");
}

static void print_depths_of(const struct printer *p, const struct bl_tensor *t)
{
    struct depths d = {0};
    add_depths(p, t, &d);
    if (!d.n)
        return;
    bl_print(&p->out, ", ");
    print_depths(p, &d);
}

static bl_status inspect_text(const struct printer *p, bool tensors)
{
    const struct bl_model_file *f = p->file;
    uint64_t parameters = 0;
    for (uint32_t i = 0; i < bl_model_file_tensor_count(f); i++)
        if (!bl_model_file_tensor_at(f, i)->is_table)
            parameters += bl_model_file_tensor_at(f, i)->rows * bl_model_file_tensor_at(f, i)->dims[0];
    bl_print(&p->out, "GGUF version %u, %" PRIu64 " bytes, alignment %" PRIu64 ", data at %" PRIu64 "\n", bl_model_file_version(f), bl_model_file_bytes(f),
          bl_model_file_alignment(f), bl_model_file_data_offset(f));
    bl_print(&p->out, "%u keys, %u tensors, %" PRIu64 " parameters\n", bl_model_file_meta_count(f), bl_model_file_tensor_count(f), parameters);
    const struct depths depths = all_depths(p);
    if (depths.n) {
        bl_print(&p->out, "%u X-bit matrices of %" PRIu64 " parameters, ", depths.n, depths.parameters);
        print_depths(p, &depths);
        bl_print(&p->out, " of the weights\n");
    }
    for (uint32_t i = 0; i < bl_model_file_meta_count(f); i++) {
        const struct bl_meta *meta = bl_model_file_meta_at(f, i);
        bl_print_quoted(&p->out, meta->key, strlen(meta->key), SHOWN_STRING);
        bl_print(&p->out, " = ");
        BL_TRY(print_meta_value(p, meta));
        bl_print(&p->out, "\n");
    }
    for (uint32_t i = 0; tensors && i < bl_model_file_tensor_count(f); i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(f, i);
        bl_print_quoted(&p->out, t->name, strlen(t->name), SHOWN_STRING);
        bl_print(&p->out, " ");
        print_type(p, t);
        bl_print(&p->out, " [");
        for (uint32_t d = 0; d < t->n_dims; d++)
            bl_print(&p->out, "%s%" PRIu64, d ? ", " : "", t->dims[d]);
        bl_print(&p->out, "] at %" PRIu64 ", %" PRIu64 " bytes", t->offset, t->bytes);
        print_depths_of(p, t);
        bl_print(&p->out, "\n");
    }
    return BL_OK;
}

static bl_status inspect_json(const struct printer *p, bool tensors)
{
    const struct bl_model_file *f = p->file;
    bl_print(&p->out, "{\"format\": \"GGUF\", \"version\": %u, \"bytes\": %" PRIu64 ", \"alignment\": %" PRIu64 ", \"data_offset\": %" PRIu64
             ", \"tensor_count\": %u",
          bl_model_file_version(f), bl_model_file_bytes(f), bl_model_file_alignment(f), bl_model_file_data_offset(f), bl_model_file_tensor_count(f));
    const struct depths depths = all_depths(p);
    if (depths.n) {
        bl_print(&p->out, ", \"xq\": {\"matrices\": %u, \"parameters\": %" PRIu64 ", ", depths.n, depths.parameters);
        print_depths(p, &depths);
        bl_print(&p->out, "}");
    }
    bl_print(&p->out, ", \"metadata\": {");
    for (uint32_t i = 0; i < bl_model_file_meta_count(f); i++) {
        const struct bl_meta *meta = bl_model_file_meta_at(f, i);
        bl_print(&p->out, "%s\n  ", i ? "," : "");
        bl_print_quoted(&p->out, meta->key, strlen(meta->key), UINT64_MAX);
        bl_print(&p->out, ": ");
        if (meta->is_array)
            bl_print(&p->out, "{\"count\": %" PRIu64 ", \"first\": ", meta->count);
        BL_TRY(print_meta_value(p, meta));
        bl_print(&p->out, "%s", meta->is_array ? "}" : "");
    }
    bl_print(&p->out, "\n}");
    if (tensors)
        bl_print(&p->out, ", \"tensors\": [");
    for (uint32_t i = 0; tensors && i < bl_model_file_tensor_count(f); i++) {
        const struct bl_tensor *t = bl_model_file_tensor_at(f, i);
        bl_print(&p->out, "%s\n  {\"name\": ", i ? "," : "");
        bl_print_quoted(&p->out, t->name, strlen(t->name), UINT64_MAX);
        bl_print(&p->out, ", \"type\": \"");
        print_type(p, t);
        bl_print(&p->out, "\", \"dims\": [");
        for (uint32_t d = 0; d < t->n_dims; d++)
            bl_print(&p->out, "%s%" PRIu64, d ? ", " : "", t->dims[d]);
        bl_print(&p->out, "], \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64, t->offset, t->bytes);
        print_depths_of(p, t);
        bl_print(&p->out, "}");
    }
    bl_print(&p->out, "%s}\n", tensors ? "\n]" : "");
    return BL_OK;
}

bl_status bl_file_inspect(const char *path, const bl_inspect_params *params, bl_text_fn write, void *user)
{
    bl_errors_clear();
    if (!path || !write || !params || params->struct_size != sizeof *params)
        BL_FAIL(BL_EINVAL, "bl_file_inspect: path, write or params is NULL, or struct_size is wrong");
    struct bl_model_file *file;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    struct printer p = {file, {write, user}, params->json};
    bl_status status = params->json ? inspect_json(&p, params->tensors) : inspect_text(&p, params->tensors);
    if (status == BL_OK)
        status = bl_model_file_check(file);
    bl_model_file_close(file);
    return status;
}

static void report_line(void *user, const char *line)
{
    bl_print(user, "%s\n", line);
}

/* Would it run? Its graph on its tensors and, where the vocabulary has no finding yet, its tokenizer. Weights are not loaded. */
static bl_status verify_use(const struct bl_model_file *file, bool vocabulary)
{
    for (uint32_t i = 0; i < bl_model_file_tensor_count(file); i++)
        if (bl_model_file_tensor_at(file, i)->format == BL_FMT_NONE && !bl_model_file_tensor_at(file, i)->is_table) /* a finding already */
            return BL_OK;
    struct bl_arena arena;
    bl_arena_init(&arena, 0);
    struct bl_graph *graph = NULL;
    struct bl_schedule *schedule = NULL;
    struct bl_graph_source source;
    struct bl_compile_params params = {.q8 = true};
    bl_tokenizer *tokenizer = NULL;
    bl_status status = BL_OK;
    if (bl_model_file_tensor_count(file)) { /* else a vocabulary on its own */
        status = bl_graph_source_make(file, &arena, &source);
        if (status == BL_OK)
            status = bl_compile(file, &source, &params, &graph);
        if (status == BL_OK)
            status = bl_schedule_create(graph, BL_DEFAULT_SCHEDULE, &schedule);
    }
    if (status == BL_OK && vocabulary && bl_model_file_meta(file, "tokenizer.ggml.model"))
        status = bl_vocab_tokenizer_create(file, &tokenizer);
    bl_tokenizer_destroy(tokenizer);
    bl_schedule_destroy(schedule);
    bl_graph_destroy(graph);
    bl_arena_finish(&arena);
    return status;
}

bl_status bl_file_verify(const char *path, bl_text_fn write, void *user)
{
    bl_errors_clear();
    if (!path || !write)
        BL_FAIL(BL_EINVAL, "bl_file_verify: path or write is NULL");
    struct bl_model_file *file;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    struct bl_printer p = {write, user};
    uint64_t n_findings = 0;
    bl_status status = bl_model_file_verify(file, report_line, &p, &n_findings);
    if (status == BL_OK && verify_use(file, n_findings == 0) != BL_OK) {
        report_line(&p, bl_error_text());
        bl_errors_clear();
        n_findings++;
    }
    if (status == BL_OK && n_findings)
        status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: %" PRIu64 " finding%s", path, n_findings, n_findings == 1 ? "" : "s");
    bl_model_file_close(file);
    return status;
}

/* The nodes of the text as they stand there, beside what the rewrites make of them. */
static bl_status dump_as_written(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_compile_params *params,
                                 enum bl_schedule_kind kind, bl_text_fn write, void *user)
{
    struct bl_compile_params as_written = *params;
    as_written.as_written = true;
    struct bl_graph *graph;
    BL_TRY(bl_compile(file, source, &as_written, &graph));
    const struct bl_printer out = {write, user};
    bl_print(&out, "\nas the text has it, before any rewrite: %u nodes\n", graph->n_nodes);
    bl_status status = bl_graph_dump_schedules(graph, kind, write, user);
    bl_graph_destroy(graph);
    return status;
}

bl_status bl_file_graph(const char *path, const bl_graph_params *params, bl_text_fn write, void *user)
{
    bl_errors_clear();
    if (!path || !write || !params || params->struct_size != sizeof *params)
        BL_FAIL(BL_EINVAL, "bl_file_graph: path, write or params is NULL, or struct_size is wrong");
    struct bl_arena arena;
    bl_arena_init(&arena, 0);
    struct bl_model_file *file;
    struct bl_graph *graph = NULL;
    struct bl_schedule *schedule = NULL;
    struct bl_graph_source source;
    BL_TRY(bl_model_file_open(path, BL_FILE_MAP, &file));
    bl_status status = bl_graph_source_make(file, &arena, &source);
    enum bl_schedule_kind kind;
    if (status == BL_OK)
        status = bl_schedule_find(params->schedule, &kind);
    struct bl_compile_params compile = {params->graph_text, params->graph_name, !params->f32_activations, params->allow_unused_tensors, false};
    if (status == BL_OK)
        status = bl_compile(file, &source, &compile, &graph);
    if (status == BL_OK)
        status = bl_schedule_create(graph, kind, &schedule);
    static const enum bl_dump_kind kinds[] = {BL_DUMP_TEXT, BL_DUMP_DOT, BL_DUMP_JSON, BL_DUMP_STATS};
    if (status == BL_OK)
        status = bl_graph_dump(graph, schedule, &source, kinds[params->form], write, user);
    if (status == BL_OK && params->form == BL_GRAPH_STATS)
        status = dump_as_written(file, &source, &compile, kind, write, user);
    bl_schedule_destroy(schedule);
    bl_graph_destroy(graph);
    bl_model_file_close(file);
    bl_arena_finish(&arena);
    return status;
}
