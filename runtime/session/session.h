/* session.h: what a model and its sequences are made of. Private to this room; the contract is bitloom/model.h. */
#ifndef BL_SESSION_SESSION_H
#define BL_SESSION_SESSION_H
#include "graph/graph.h"
#include "model/graph_source.h"
#include "model/model_file.h"
#include "model/weights.h"

#include <bitloom/bitloom.h>
#include <stdatomic.h>

#define BL_MAX_SEQUENCES 256u
#define BL_BUCKETS 10u /* 1, 2, 4 ... 512 rows */
#define BL_DEFAULT_SCHEDULE BL_SCHEDULE_GROUPED_STREAMS

struct bl_sequence {
    bl_model *model;
    uint32_t slot;        /* row of the page table */
    uint32_t length;      /* tokens whose keys and values are in the pages */
    uint32_t n_pages;
    uint32_t *pages;      /* [page stride] */
    int32_t *tokens;      /* [context] */
    int32_t pending;      /* a token that belongs to the sequence but was not computed yet; -1: none */
};

struct bl_model {
    struct bl_arena arena; /* names */
    struct bl_model_file *file;
    bl_device *device;
    bl_queue *queue;
    struct bl_graph_source source;
    struct bl_graph *graph;
    struct bl_schedule *schedule;
    struct bl_plan *plan;  /* for the largest bucket; smaller ones use the same places */
    struct bl_weights *weights;
    bl_tokenizer *tokenizer;

    uint32_t vocabulary, context, trained_context, max_sequences, batch, max_outputs, out_rows; /* out_rows: largest output bucket */
    enum bl_format kv_format;
    bl_buffer *step, *activations, *logits, *kv, *constants;
    uint64_t step_bytes, kv_bytes;
    uint64_t *kv_offset;   /* [kv layers][2] */
    bl_list *lists[BL_BUCKETS][BL_BUCKETS]; /* by row bucket and output bucket, recorded on first use */

    uint32_t page_stride, n_pages, n_free_pages;
    uint32_t *free_pages;
    bl_sequence *sequences[BL_MAX_SEQUENCES];

    float *kept_logits;    /* [max_outputs][vocabulary] of the last bl_forward */
    uint32_t n_kept;
    atomic_bool interrupted;
    bl_trace_fn trace;
    void *trace_user;
    bl_node_timing *timings;
    uint32_t n_timings;   /* room */
    uint64_t n_parameters, weight_bytes_per_token;
    char name[128];
};

/* engine.c: buffers, lists and steps. */
bl_status bl_engine_init(bl_model *model) BL_MUST_USE;
void bl_engine_finish(bl_model *model);

/* compile.c: file -> graph -> schedule, shared by opening a model and by bl_file_graph. */
struct bl_compile_params {
    const char *schedule, *graph_text, *graph_name;
    bool q8, allow_unused;
};
bl_status bl_compile(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_compile_params *params,
                     struct bl_graph **graph, struct bl_schedule **schedule) BL_MUST_USE;
#endif
