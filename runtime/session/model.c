/* model.c: opening and closing a model: checks parameters, brings the rooms together. Computes nothing itself (engine.c). */
#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "model/vocab_load.h"
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONTEXT 4096u

const char *bl_version(void)
{
    return BITLOOM_VERSION;
}

void bl_model_default_params(bl_model_params *params)
{
    memset(params, 0, sizeof *params);
    params->struct_size = sizeof *params;
    bl_device_default_params(&params->device);
    params->max_sequences = 1;
    params->batch = BL_STEP_MAX_ROWS;
    params->gpu_layers = BL_LAYERS_AUTO;
}

static bl_status check_params(const bl_model_params *p)
{
    if (p->struct_size != sizeof *p)
        BL_FAIL(BL_EINVAL, "bl_model_params.struct_size is %zu, expected %zu", p->struct_size, sizeof *p);
    if (p->context > BL_LIMIT_CONTEXT && p->context != BL_CONTEXT_FULL)
        BL_FAIL(BL_EINVAL, "context %u, limit %u", p->context, BL_LIMIT_CONTEXT);
    if (p->max_sequences < 1 || p->max_sequences > BL_MAX_SEQUENCES)
        BL_FAIL(BL_EINVAL, "max_sequences %u, limit 1 to %u", p->max_sequences, BL_MAX_SEQUENCES);
    if (p->batch < 1 || p->batch > BL_STEP_MAX_ROWS)
        BL_FAIL(BL_EINVAL, "batch %u, limit 1 to %u", p->batch, BL_STEP_MAX_ROWS);
    if (p->max_outputs > 65536)
        BL_FAIL(BL_EINVAL, "max_outputs %u, limit 65536", p->max_outputs);
    if (p->gpu_layers < BL_LAYERS_AUTO)
        BL_FAIL(BL_EINVAL, "gpu_layers %d, limit -1 (auto) or more", p->gpu_layers);
    if (p->kv == BL_NUMBER_Q8 || (unsigned)p->kv > BL_NUMBER_Q8)
        BL_FAIL(BL_EINVAL, "kv: expected f16 or f32");
    if (p->activations == BL_NUMBER_F16 || (unsigned)p->activations > BL_NUMBER_Q8)
        BL_FAIL(BL_EINVAL, "activations: expected q8 or f32");
    return BL_OK;
}

static void read_name(bl_model *m)
{
    const char *path = bl_model_file_path(m->file), *slash = strrchr(path, '/');
    snprintf(m->name, sizeof m->name, "%s", slash ? slash + 1 : path);
    char name[sizeof m->name];
    if (bl_model_metadata(m, "general.name", name, sizeof name))
        memcpy(m->name, name, sizeof name);
}

/* A context larger than trained is allowed (rope scaling files ask for it) but worth a word. */
static void choose_context(bl_model *m, uint32_t wanted)
{
    const struct bl_graph_param *trained = bl_graph_find_param(m->graph, "context");
    m->trained_context = trained && !trained->is_text && trained->number >= 1 && trained->number <= BL_LIMIT_CONTEXT ? (uint32_t)trained->number : 0;
    m->context = wanted;
    if (wanted == BL_CONTEXT_FULL)
        m->context = m->trained_context ? m->trained_context : DEFAULT_CONTEXT;
    else if (!wanted)
        m->context = m->trained_context && m->trained_context < DEFAULT_CONTEXT ? m->trained_context : DEFAULT_CONTEXT;
    if (m->trained_context && m->context > m->trained_context)
        bl_log(BL_LOG_WARNING, "%s: context %u is longer than the %u that the model was made for", bl_model_file_path(m->file), m->context, m->trained_context);
}

/* Positions index learned tables: a context beyond such a table would read nothing. */
static bl_status check_positions(const bl_model *m)
{
    for (uint32_t i = 0; i < m->graph->n_nodes; i++) {
        const struct bl_node *n = &m->graph->nodes[i];
        if (n->op == BL_NODE_EMBED && n->params.embed.source == 1 && n->params.embed.n_ids < m->context)
            BL_FAIL(BL_ELIMIT, "%s: context %u, the model has %u learned positions", bl_model_file_path(m->file), m->context, n->params.embed.n_ids);
    }
    return BL_OK;
}

static bl_status read_vocabulary(bl_model *m)
{
    m->vocabulary = m->graph->values[m->graph->logits].columns;
    if (!bl_model_file_meta(m->file, "tokenizer.ggml.model"))
        return BL_OK;
    BL_TRY(bl_vocab_tokenizer_create(m->file, &m->tokenizer));
    /* Padded heads are common; a tokenizer that knows more ids than the head or the embedding would index past them. */
    if (bl_tokenizer_vocabulary(m->tokenizer) > m->vocabulary)
        BL_FAIL(BL_EFORMAT, "%s: the tokenizer has %u tokens, the model's output %u", bl_model_file_path(m->file),
                bl_tokenizer_vocabulary(m->tokenizer), m->vocabulary);
    return BL_OK;
}

static void count_weights(bl_model *m)
{
    for (uint32_t i = 0; i < bl_model_file_tensor_count(m->file); i++)
        m->n_parameters += bl_model_file_tensor_at(m->file, i)->rows * bl_model_file_tensor_at(m->file, i)->dims[0];
    for (uint32_t i = 0; i < m->graph->n_nodes; i++) {
        const struct bl_node *n = &m->graph->nodes[i];
        const struct bl_weight *weights[] = {&n->weight, &n->up};
        for (uint32_t k = 0; k < 2; k++) {
            if (weights[k]->tensor == BL_NO_ID)
                continue;
            const struct bl_tensor *t = bl_model_file_tensor_at(m->file, weights[k]->tensor);
            m->weight_bytes_per_token += t->bytes / t->rows * (n->op == BL_NODE_LINEAR || n->op == BL_NODE_LINEAR_GLU ? weights[k]->rows : 1);
        }
    }
}

static bl_status open_model(bl_model *m, const char *path, const bl_model_params *p)
{
    BL_TRY(bl_model_file_open(path, p->no_mmap ? BL_FILE_READ : BL_FILE_MAP, &m->file));
    BL_TRY(bl_graph_source_make(m->file, &m->arena, &m->source));
    struct bl_compile_params compile = {p->graph_text, p->graph_name, p->activations != BL_NUMBER_F32, p->allow_unused_tensors, false};
    m->race_allowed = !p->schedule;
    m->race_asked = p->schedule && strcmp(p->schedule, "auto") == 0;
    BL_TRY(bl_schedule_find(m->race_asked ? NULL : p->schedule, &m->schedule));
    if (p->cache_dir && !(m->cache_dir = bl_arena_string(&m->arena, p->cache_dir, strlen(p->cache_dir))))
        BL_FAIL(BL_ENOMEM, "%s: no memory for the model", path);
    BL_TRY(bl_compile(m->file, &m->source, &compile, &m->graph));
    read_name(m);
    choose_context(m, p->context);
    BL_TRY(check_positions(m));
    BL_TRY(read_vocabulary(m));
    count_weights(m);
    m->max_sequences = p->max_sequences;
    m->batch = p->batch;
    m->max_outputs = p->max_outputs ? p->max_outputs : p->max_sequences;
    m->kv_format = p->kv == BL_NUMBER_F32 ? BL_FMT_F32 : BL_FMT_F16;
    m->gpu_layers = p->gpu_layers;
    m->fit = !p->no_fit;
    m->deterministic = p->deterministic;
    m->fit_margin = p->fit_margin;
    BL_TRY(bl_devices_choose(m, &p->device));
    return bl_engine_init(m);
}

bl_status bl_model_open(const char *path, const bl_model_params *params, bl_model **out)
{
    bl_errors_clear();
    if (!path || !out)
        BL_FAIL(BL_EINVAL, "bl_model_open: path or out is NULL");
    *out = NULL;
    bl_model_params defaults;
    bl_model_default_params(&defaults);
    if (!params)
        params = &defaults;
    BL_TRY(check_params(params));
    bl_model *m = calloc(1, sizeof *m);
    if (!m)
        BL_FAIL(BL_ENOMEM, "%s: no memory for the model", path);
    bl_arena_init(&m->arena, 0);
    bl_status status = open_model(m, path, params);
    if (status != BL_OK) {
        bl_model_close(m);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = m;
    return BL_OK;
}

void bl_model_close(bl_model *model)
{
    if (!model)
        return;
    bl_engine_finish(model);
    bl_tokenizer_destroy(model->tokenizer);
    bl_graph_destroy(model->graph);
    bl_model_file_close(model->file);
    bl_arena_finish(&model->arena);
    free(model);
}

void bl_model_get_info(const bl_model *m, bl_model_info *info)
{
    *info = (bl_model_info){
        .name = m->name,
        .architecture = m->source.arch,
        .schedule = m->schedule_text,
        .device = m->n_parts ? bl_device_caps(m->parts[0].on->device)->name : "none",
        .placement = m->placement,
        .fallback = m->fallback,
        .inexact = m->inexact,
        .file_bytes = bl_model_file_bytes(m->file),
        .n_parameters = m->n_parameters,
        .weight_bytes_per_token = m->weight_bytes_per_token,
        .vocabulary = m->vocabulary,
        .context = m->context,
        .trained_context = m->trained_context,
        .layers = m->graph->n_kv_layers,
        .batch = m->batch,
        .activation_bytes = (uint64_t)m->max_outputs * m->vocabulary * 4,
        .other_bytes = m->step_bytes,
    };
    for (uint32_t i = 0; i < m->n_parts; i++) {
        const struct bl_part *p = &m->parts[i];
        const struct bl_schedule *schedule = p->ways[p->chosen[BL_ONE_ROW]].schedule;
        info->launches += schedule->n_launches;
        info->steps += schedule->n_steps;
        info->lanes = schedule->n_lanes > info->lanes ? schedule->n_lanes : info->lanes;
        info->idle = i ? info->idle : bl_schedule_idle(p->graph, schedule);
        info->kv_bytes += p->kv_bytes;
        info->activation_bytes += bl_buffer_bytes(p->activations) + (p->logits ? bl_buffer_bytes(p->logits) : 0);
        info->other_bytes += bl_weights_copied_bytes(p->weights) + m->step_bytes +
                             (p->imports ? bl_buffer_bytes(p->imports) : 0) + (p->exports ? bl_buffer_bytes(p->exports) : 0);
    }
}

const bl_tokenizer *bl_model_tokenizer(const bl_model *model)
{
    return model->tokenizer;
}

bool bl_model_metadata(const bl_model *model, const char *key, char *out, size_t bytes)
{
    const struct bl_meta *meta = bl_model_file_meta(model->file, key);
    if (!meta || meta->is_array || !bytes)
        return false;
    if (meta->type == BL_META_STRING) {
        const char *text;
        uint64_t n;
        if (bl_meta_string(model->file, meta, &text, &n) != BL_OK || n >= bytes)
            return false;
        memcpy(out, text, (size_t)n);
        out[n] = 0;
        return true;
    }
    double number;
    return bl_meta_f64(model->file, meta, 0, &number) == BL_OK && (size_t)snprintf(out, bytes, "%.17g", number) < bytes;
}

void bl_model_interrupt(bl_model *model)
{
    atomic_store(&model->interrupted, true);
}

void bl_model_trace(bl_model *model, bl_trace_fn fn, void *user)
{
    model->trace = fn;
    model->trace_user = user;
}
