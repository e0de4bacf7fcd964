/* graph.h: a model as a graph of ops on values, and the steps that turn it into lists.
 *
 * text (text.c: lines and tokens) -> eval.c (runs the text, calls build.c for every op) -> struct bl_graph
 * -> lower.c (activation formats) -> fuse.c (table of rewrites) -> schedule.c (launches, dependencies, lanes) -> plan.c (memory)
 * -> emit.c (lists). dump.c prints any stage. Everything is owned by the graph's arena.
 *
 * This room knows no file format and no model family: metadata and tensors come through struct bl_graph_source. It knows no device beyond
 * hal. A value is a matrix [rows, columns]; rows is the step's row count or the number of output rows, never a constant. */
#ifndef BL_GRAPH_GRAPH_H
#define BL_GRAPH_GRAPH_H
#include "base/arena.h"
#include "hal/kernel.h"
#include "hal/kernel_params.h"

#include <bitloom/device.h>
#include <bitloom/file.h>

#define BL_NO_ID UINT32_MAX

/* ---- where metadata and tensors come from ---- */

struct bl_graph_tensor {
    uint32_t id;             /* the source's own number, >= 0 */
    enum bl_format format;   /* BL_FMT_NONE: a type we cannot compute with */
    uint32_t ggml_type;
    uint32_t n_dims;
    uint64_t columns, rows;  /* dims[0]; product of the others */
    uint32_t input;          /* format BX: id of the tables of its input; else BL_NO_ID */
};
enum bl_graph_key_kind { BL_KEY_ABSENT, BL_KEY_NUMBER, BL_KEY_STRING };
struct bl_graph_key {
    enum bl_graph_key_kind kind;
    double number;
    const char *text; /* STRING: not terminated, lives as long as the source */
    uint64_t text_bytes;
};
struct bl_graph_source {
    void *user;
    const char *name; /* the model file, for messages */
    const char *arch; /* general.architecture */
    /* index UINT64_MAX: the scalar; else element `index` of an array (of a scalar: the scalar itself). A wrong type is an error. */
    bl_status (*key)(void *user, const char *key, uint64_t index, struct bl_graph_key *out);
    bool (*tensor)(void *user, const char *name, struct bl_graph_tensor *out);
    uint32_t n_tensors;
    const char *(*tensor_name)(void *user, uint32_t id);
    /* Numbers first .. first + n of a small f32, f16 or bf16 tensor; another type is an error. */
    bl_status (*numbers)(void *user, uint32_t id, uint64_t first, uint32_t n, float *out);
    /* Whether a tensor belongs to other tensors, so that no text names it. NULL: none does. */
    bool (*is_table)(void *user, uint32_t id);
};

/* ---- the graph ---- */

/* X(NAME, name): ops of nodes; the same words in dumps. LINEAR becomes matvec or matmul when a list is recorded. IMPORT and EXPORT are
 * copies at the border of a part (cut.c): from memory that the host fills, to memory that the host reads. ROPE_STORE and LINEAR_GLU are
 * made by rewrites only; the latter is a grouped linear of two matrices with a glu at its end. */
#define BL_NODE_OPS(X)                                                                                                          \
    X(EMBED, embed) X(LINEAR, linear) X(QUANTIZE, quantize) X(STAGE, stage) X(RMS_NORM, rms_norm) X(LAYER_NORM, layer_norm) X(ROPE_TABLE, rope_table) \
    X(ROPE, rope) X(KV_STORE, kv_store) X(ROPE_STORE, rope_store) X(ATTENTION, attention) X(UNARY, unary) X(BINARY, binary) X(GLU, glu) \
    X(LINEAR_GLU, linear_glu) X(SELECT, select) X(IMPORT, import) X(EXPORT, export)
enum bl_node_op {
#define BL_NODE_ENUM(NAME, name) BL_NODE_##NAME,
    BL_NODE_OPS(BL_NODE_ENUM)
#undef BL_NODE_ENUM
    BL_NODE_OP_COUNT
};
const char *bl_node_op_name(enum bl_node_op op);

struct bl_value {
    uint32_t columns;
    uint32_t rows;      /* BL_ROWS_OF_STEP or BL_ROWS_OF_OUTPUT */
    enum bl_format format; /* F32 or Q8 */
    uint32_t producer;  /* node; BL_NO_ID for none */
    const char *name;   /* the text's variable where it has one, for dumps */
};

/* A tensor, or some of its rows, as an operand. */
struct bl_weight {
    uint32_t tensor;    /* source id; BL_NO_ID: absent */
    enum bl_format format;
    uint32_t columns, first_row, rows;
    uint32_t input;     /* format BX: source id of its input's tables */
};

enum { BL_NODE_MAX_IN = 4 };
struct bl_node {
    enum bl_node_op op;
    uint32_t n_in;
    uint32_t in[BL_NODE_MAX_IN]; /* values. linear: x, residual or BL_NO_ID. rope: x, table. rope_store: q, k, v, table.
                                  * attention: q. glu: gate, up */
    uint32_t out;                /* value; BL_NO_ID for kv_store and export */
    struct bl_weight weight, bias;
    struct bl_weight up;         /* linear_glu: the second matrix, `weight` is the gate's; else absent */
    uint32_t constant;           /* rope_table: first word of its turns in the graph's constants */
    uint32_t layer;              /* kv_store, rope_store, attention: which KV layer; else BL_NO_ID */
    uint32_t kv_part;            /* kv_store: 0 = keys, 1 = values */
    union {                      /* rows fields are filled when recorded */
        struct bl_params_embed embed;
        struct bl_params_stage stage;
        struct bl_params_norm norm;
        struct bl_params_rope_table rope_table;
        struct bl_params_rope rope;
        struct bl_params_kv_store kv_store;
        struct bl_params_rope_store rope_store;
        struct bl_params_attention attention;
        struct bl_params_unary unary;
        struct bl_params_binary binary;
        struct bl_params_glu glu;
    } params;
    uint32_t line;               /* of the text */
    uint32_t block;              /* iteration of the outermost repeat; BL_NO_ID outside */
    bool dead;                   /* a rewrite removed it */
};

/* One layer's cache: what its attention says about it. */
struct bl_kv_layer {
    uint32_t heads, d_k, d_v;
};

struct bl_graph_param {
    const char *name;
    bool is_text;
    double number;
    const char *text;
};

struct bl_graph {
    struct bl_arena arena;
    const char *text_name;
    struct bl_node *nodes;
    uint32_t n_nodes, cap_nodes;
    struct bl_value *values;
    uint32_t n_values, cap_values;
    struct bl_kv_layer *kv_layers;
    uint32_t n_kv_layers, cap_kv_layers;
    struct bl_graph_param *params;
    uint32_t n_params, cap_params;
    uint32_t *constants;         /* words worked out by the text, for kernels */
    uint32_t n_constants, cap_constants;
    uint32_t logits;             /* value; BL_NO_ID in a part that does not make them */
    uint8_t *tensor_used;        /* [source.n_tensors] */
};

/* Runs `text` against the source. Unknown op, key or tensor: BL_EFORMAT naming text, line and word. A tensor of the source that no node
 * uses: refused by name, unless allow_unused. *out is owned by the caller. */
bl_status bl_graph_parse(const char *text, uint64_t text_bytes, const char *text_name, const struct bl_graph_source *source,
                         bool allow_unused, struct bl_graph **out) BL_MUST_USE;
void bl_graph_destroy(struct bl_graph *graph);
/* NULL when the text has no such param. */
const struct bl_graph_param *bl_graph_find_param(const struct bl_graph *graph, const char *name);

/* lower.c: q8 = true: linears on quantised weights read q8, through quantize nodes that are shared per value. X-bit matrices read what a
 * stage node makes, shared per value and input tables.
 * fuse.c: applies the rewrite table until nothing changes. Both keep the order of nodes a legal serial order. */
bl_status bl_graph_lower(struct bl_graph *graph, bool q8) BL_MUST_USE;
bl_status bl_graph_fuse(struct bl_graph *graph) BL_MUST_USE;

/* cut.c: a graph for several devices. A unit is one iteration of the outermost repeat, or what lies before or after all
 * iterations: 0 .. count - 1 in the order of nodes. unit_of_node (may be NULL) has room for n_nodes. Returns the count. */
uint32_t bl_graph_units(const struct bl_graph *graph, uint32_t *unit_of_node);
/* Nodes first .. end as a graph of its own, with import nodes for what earlier nodes made and export nodes for what later ones read.
 * Values, KV layers and constants keep their numbers; names are borrowed from `graph`, which must live longer. Every node: a copy. */
bl_status bl_graph_cut(const struct bl_graph *graph, uint32_t first, uint32_t end, struct bl_graph **out) BL_MUST_USE;

/* build.c: node constructors with shape inference; messages go through BL_FAIL with the line. Used by eval.c only. */
bl_status bl_graph_add_value(struct bl_graph *g, uint32_t rows, uint32_t columns, enum bl_format format, uint32_t *out) BL_MUST_USE;
/* Appends a constant of n words; *first is where it begins, a multiple of BL_CONSTANT_ALIGN words. */
#define BL_CONSTANT_ALIGN 64u
bl_status bl_graph_add_constant(struct bl_graph *g, const uint32_t *words, uint32_t n, uint32_t *first) BL_MUST_USE;
bl_status bl_graph_add_node(struct bl_graph *g, const struct bl_node *node, uint32_t rows, uint32_t columns, uint32_t *value) BL_MUST_USE;

/* ---- schedules ---- */

/* X(NAME, name, grouped, lanes). "serial" runs one node after the other; "grouped" makes one launch of linears that share an input;
 * "streams" puts independent nodes on parallel lanes; the fourth does both. */
#define BL_SCHEDULES(X)                                              \
    X(SERIAL, "serial", 0, 1) X(GROUPED, "grouped", 1, 1) X(STREAMS, "streams", 0, BL_SCHEDULE_LANES) \
    X(GROUPED_STREAMS, "grouped-streams", 1, BL_SCHEDULE_LANES)
#define BL_SCHEDULE_LANES 8u
enum bl_schedule_kind {
#define BL_SCHEDULE_ENUM(NAME, name, grouped, lanes) BL_SCHEDULE_##NAME,
    BL_SCHEDULES(BL_SCHEDULE_ENUM)
#undef BL_SCHEDULE_ENUM
    BL_SCHEDULE_COUNT
};
const char *bl_schedule_name(enum bl_schedule_kind kind);

struct bl_launch {
    uint32_t nodes[BL_LINEAR_SEGMENTS]; /* one node, or several linears that share x */
    uint32_t n_nodes;
    uint32_t lane, index_in_lane;
    uint32_t step;                      /* 1 + the largest step it waits for: equal steps may run at the same time */
    uint32_t first_dep, n_deps;         /* into schedule->deps: every launch that must come first (direct, other lanes and own) */
    uint32_t first_wait, n_waits;       /* into schedule->waits: those of other lanes that nothing else implies */
};
struct bl_schedule {
    enum bl_schedule_kind kind;
    struct bl_arena arena;
    struct bl_launch *launches;         /* in recorded order, a legal serial order */
    uint32_t n_launches, n_lanes, n_steps;
    uint32_t *deps, *waits;
    uint32_t n_deps, n_waits;
    uint32_t *clocks;                   /* [n_launches][n_lanes]: launches of the lane that happen before (count) */
    uint32_t *launch_of_node;
};
/* Share of the lanes' time in which they wait for others, if a launch takes as long as it reads bytes: an estimate, before any device. */
double bl_schedule_idle(const struct bl_graph *graph, const struct bl_schedule *schedule);
bl_status bl_schedule_create(const struct bl_graph *graph, enum bl_schedule_kind kind, struct bl_schedule **out) BL_MUST_USE;
void bl_schedule_destroy(struct bl_schedule *schedule);
/* True when launch a is complete before b starts, whatever the timing. */
bool bl_schedule_before(const struct bl_schedule *schedule, uint32_t a, uint32_t b);

/* Steps of the attention block of `layer`: its linears, norms, ropes, stores, attention and output linear. */
void bl_schedule_block_steps(const struct bl_graph *graph, const struct bl_schedule *schedule, uint32_t layer, uint32_t *n_launches,
                             uint32_t *n_steps);

/* ---- memory plan: where each value lives in the activation buffer ---- */

struct bl_plan {
    uint64_t *offset;  /* [graph->n_values]; UINT64_MAX for unused values and for the logits, which have a buffer of their own */
    uint64_t bytes;    /* size of the activation buffer */
    uint64_t *border;  /* [graph->n_values]; where an imported or exported value lies in the buffer that crosses; else UINT64_MAX */
    uint64_t import_bytes, export_bytes; /* sizes of these two buffers; 0: nothing crosses there */
};
/* For `rows` step rows and `out_rows` output rows. Two values share bytes only if the schedule's partial order separates their lives. */
bl_status bl_plan_create(const struct bl_graph *graph, const struct bl_schedule *schedule, uint32_t rows, uint32_t out_rows,
                         uint64_t alignment, struct bl_plan **out) BL_MUST_USE;
void bl_plan_destroy(struct bl_plan *plan);
/* Bytes of a value with that many rows. */
uint64_t bl_value_bytes(const struct bl_value *value, uint32_t rows, uint32_t out_rows);

/* ---- emission ---- */

/* What a list is recorded against. All buffers stay alive while the list does. */
struct bl_emit_target {
    bl_device *device;
    bl_buffer *activations, *step, *logits, *constants; /* constants: those of the graph; NULL if it has none */
    bl_buffer *imports, *exports;           /* for plan->border; NULL where nothing crosses */
    uint64_t logits_bytes_per_row;
    bl_buffer *kv;
    enum bl_format kv_format;
    uint32_t n_pages;                       /* per layer and part */
    const uint64_t *kv_offset;              /* [n_kv_layers][2] of the page pools in `kv` */
    uint64_t step_bytes;
    /* Where a weight's bytes are; vectors (norms, biases) are given as f32. */
    bl_status (*weight)(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out);
    void *user;
};
bl_status bl_emit_list(const struct bl_graph *graph, const struct bl_schedule *schedule, const struct bl_plan *plan,
                       const struct bl_emit_target *target, uint32_t rows, uint32_t out_rows, bl_list **out) BL_MUST_USE;

/* ---- dumps ---- */
/* Launches, lanes and steps of the graph and of its first attention block, by schedule. */
bl_status bl_graph_dump_schedules(const struct bl_graph *graph, enum bl_schedule_kind chosen, bl_text_fn write, void *user) BL_MUST_USE;
enum bl_dump_kind { BL_DUMP_TEXT, BL_DUMP_DOT, BL_DUMP_JSON, BL_DUMP_STATS };
bl_status bl_graph_dump(const struct bl_graph *graph, const struct bl_schedule *schedule, const struct bl_graph_source *source,
                        enum bl_dump_kind kind, bl_text_fn write, void *user) BL_MUST_USE;
#endif
