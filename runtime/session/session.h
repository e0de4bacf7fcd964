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
#define BL_MAX_DEVICES 16u /* of one model */
#define BL_DEFAULT_SCHEDULE BL_SCHEDULE_GROUPED_STREAMS

/* Schedules are chosen for steps of one row and for steps of more. */
enum { BL_ONE_ROW = 0, BL_MORE_ROWS, BL_ROW_CLASSES };

struct bl_sequence {
    bl_model *model;
    uint32_t slot;        /* row of the page table */
    uint32_t length;      /* tokens whose keys and values are in the pages */
    uint32_t n_pages;
    uint32_t *pages;      /* [page stride] */
    int32_t *tokens;      /* [context] */
    int32_t pending;      /* a token that belongs to the sequence but was not computed yet; -1: none */
};

/* One of the devices that a model may use. Those at the end of the list may never be opened. */
struct bl_model_device {
    char id[80];
    bl_device *device;   /* NULL: not opened yet */
    bool is_cpu;         /* takes what the others do not; its memory is not counted, for the host may swap */
    bool gone;           /* lost, or out of memory: nothing is placed there any more */
    double speed;        /* GB/s of a matrix times a vector, 1 where it was not asked; shares of several devices follow it */
};

/* A launch order of a part with its memory plan. */
struct bl_way {
    struct bl_schedule *schedule;
    struct bl_plan *plan; /* for the largest bucket; smaller ones use the same places */
};

/* A value that the host carries from the part that made it. */
struct bl_crossing {
    uint32_t value, from; /* from: index of the part */
};

/* A run of nodes on one device, with everything that it needs there. */
struct bl_part {
    struct bl_model_device *on;
    uint32_t first_unit, end_unit, first_node, end_node;
    struct bl_graph *graph;
    struct bl_way ways[BL_SCHEDULE_COUNT]; /* those that may be used; the activations hold any of them */
    enum bl_schedule_kind chosen[BL_ROW_CLASSES];
    double gain[BL_ROW_CLASSES];  /* time of a serial step / of the chosen one; 0: not known */
    struct bl_weights *weights;
    bl_queue *queue;
    bl_buffer *step, *activations, *kv, *constants;
    bl_buffer *logits;            /* NULL but in the part that makes them */
    bl_buffer *imports, *exports; /* NULL where nothing crosses */
    struct bl_crossing *crossings;
    uint32_t n_crossings;
    uint64_t kv_bytes;
    uint64_t *kv_offset;          /* [kv layers][2]; of its own layers */
    bl_list *lists[BL_BUCKETS][BL_BUCKETS]; /* by row bucket and output bucket, recorded on first use */
};

struct bl_model {
    struct bl_arena arena; /* names */
    struct bl_model_file *file;
    struct bl_graph_source source;
    struct bl_graph *graph;       /* the whole; parts are cut from it */
    bl_tokenizer *tokenizer;

    bl_device_params device_params; /* for those that are opened later */
    struct bl_model_device devices[BL_MAX_DEVICES];
    uint32_t n_devices;
    struct bl_part *parts;        /* in the order of nodes */
    uint32_t n_parts;
    uint32_t *unit_of_node, n_units;
    struct bl_model_device *failed; /* whose call failed last */
    enum bl_schedule_kind schedule; /* without a race */
    bool deterministic;             /* no way of a kernel that is not exact */
    bool race_asked, race_allowed;  /* --schedule auto; or no schedule was named */
    char *cache_dir;              /* NULL: nothing is kept */

    uint32_t vocabulary, context, trained_context, max_sequences, batch, max_outputs;
    uint32_t batch_rows, out_rows; /* largest buckets */
    enum bl_format kv_format;
    int32_t gpu_layers;           /* as in the parameters */
    uint32_t most_offloaded;      /* layers that may go to devices other than the CPU; falls when their memory is out */
    bool fit;
    bool stale;                   /* parts were built anew, so keys and values are to be computed again */
    uint64_t fit_margin;
    uint32_t *step;               /* host: the parts get copies */
    uint64_t step_bytes;

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
    char name[128], placement[256], fallback[256], schedule_text[160], inexact[160];
};

/* engine.c: pages and steps; moves the work of a device that fails. */
bl_status bl_engine_init(bl_model *model) BL_MUST_USE;
void bl_engine_finish(bl_model *model);

/* devices.c: which devices a model may use. `params->device` is "auto", a name or a list of names; named ones are opened. */
bl_status bl_devices_choose(bl_model *model, const bl_device_params *params) BL_MUST_USE;
void bl_devices_close(bl_model *model);
/* Places every unit on a device and builds the parts; where that fails for lack of memory, or a device is lost, and others may take its
 * layers, they do. On failure no part is left. Says what went where in model->placement. */
bl_status bl_devices_build(bl_model *model) BL_MUST_USE;
/* After a failure of model->failed: true when others took its layers (model->stale is set). Else the error stands. */
bool bl_devices_replace(bl_model *model);

/* place.c: which device takes which units. Pure arithmetic. */
struct bl_place_device {
    uint64_t room; /* bytes for what `cost` counts */
    double speed;
};
struct bl_place_request {
    uint32_t n_units;
    const uint64_t *size;       /* [n_units] bytes of weights: what shares are measured in */
    const struct bl_place_device *devices;
    uint32_t n_devices;
    bool rest;                  /* there is a CPU that takes what the devices do not: number n_devices */
    int32_t gpu_layers;         /* layers for the devices, the last ones; more than there are: all of the model; -1: what fits */
    uint32_t most;              /* with gpu_layers -1: not more layers than this; more than there are: all of the model */
    uint64_t (*cost)(void *user, uint32_t device, uint32_t first, uint32_t end); /* bytes of units first .. end on a device */
    void *user;
};
/* device_of_unit[n_units]. False when it does not fit. */
bool bl_place(const struct bl_place_request *request, uint32_t *device_of_unit);

/* part.c: the buffers and lists of a part, and running it. */
bl_status bl_part_create(bl_model *model, struct bl_part *part) BL_MUST_USE;
void bl_part_destroy(struct bl_part *part);
/* A list for 1 << r rows and 1 << o outputs. */
bl_status bl_part_record(const bl_model *model, const struct bl_part *part, enum bl_schedule_kind kind, uint32_t r, uint32_t o, bl_list **out) BL_MUST_USE;
/* A step of n rows and n_out outputs from model->step, after the parts before it. */
bl_status bl_part_run(bl_model *model, struct bl_part *part, uint32_t n, uint32_t n_out) BL_MUST_USE;
/* Bytes of keys and values of the layers of nodes first .. end; offset (may be NULL) as in struct bl_part. */
bl_status bl_part_kv_bytes(const bl_model *model, const struct bl_graph *graph, uint32_t first, uint32_t end, uint64_t *offset, uint64_t *bytes) BL_MUST_USE;

/* race.c: which schedules a part may use, and the choice between them. */
/* Whether all schedules are to be made ready; else model->schedule alone. */
bool bl_race_wanted(const bl_model *model, const struct bl_part *part);
/* Chooses for both row classes: what the cache says, or a race of some steps, which is then kept. */
bl_status bl_race_run(bl_model *model, struct bl_part *part) BL_MUST_USE;

/* compile.c: file -> graph, shared by opening a model and by bl_file_graph. */
struct bl_compile_params {
    const char *graph_text, *graph_name;
    bool q8, allow_unused;
    bool as_written; /* the text's nodes, before any rewrite */
};
bl_status bl_compile(const struct bl_model_file *file, const struct bl_graph_source *source, const struct bl_compile_params *params,
                     struct bl_graph **graph) BL_MUST_USE;
/* NULL: the default. */
bl_status bl_schedule_find(const char *name, enum bl_schedule_kind *out) BL_MUST_USE;
#endif
