/* bitloom/model.h: a model file, ready to compute (tiers 1 and 2 of the API).
 *
 * bl_model_open maps the file, reads its tokenizer, runs its graph text, and records what a step needs; weights are never copied where the
 * device can read host memory. A model owns its device, its KV pages and its sequences' page lists.
 *
 * Threads: one thread at a time per model, and all sequences of a model count as the model, except bl_model_interrupt, which any thread may
 * call at any moment. Different models are independent. */
#ifndef BITLOOM_MODEL_H
#define BITLOOM_MODEL_H
#include <bitloom/device.h>
#include <bitloom/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bl_model bl_model;
typedef struct bl_sequence bl_sequence;

typedef enum bl_number { BL_NUMBER_DEFAULT = 0, BL_NUMBER_F32, BL_NUMBER_F16, BL_NUMBER_Q8 } bl_number;

#define BL_LAYERS_AUTO (-1)        /* as many as fit */
#define BL_LAYERS_ALL INT32_MAX
#define BL_CONTEXT_FULL UINT32_MAX /* all positions that the model was made for; 4,096 if the file does not say */

typedef struct bl_model_params {
    size_t struct_size;        /* sizeof(bl_model_params); set by bl_model_default_params */
    /* Where to compute. device.device may be a comma separated list: what is not "cpu" shares the layers by speed and memory, and "cpu" takes
     * what does not fit there. Every device that is named must open. "auto" (NULL) takes the best one, with the CPU behind it. The other
     * fields hold for each device. */
    bl_device_params device;
    int32_t gpu_layers;        /* the last n layers go to the devices that are not "cpu", with the output when n exceeds the layers, and the
                                  rest to the CPU; BL_LAYERS_AUTO (default), BL_LAYERS_ALL */
    bool no_fit;               /* place layers without asking how much memory is free */
    uint64_t fit_margin;       /* bytes to leave free on each device; 0: 1 GiB, at most an eighth of its memory */
    const char *graph_text;    /* a graph text that replaces the file's and the built-in one; NULL: none */
    const char *graph_name;    /* its name in messages */
    uint32_t context;          /* positions per sequence; 0: what the model was made for, at most 4,096; or BL_CONTEXT_FULL */
    uint32_t max_sequences;    /* sequences alive at once, 1..256; default 1 */
    uint32_t batch;            /* rows computed at once while a prompt is read, 1..512; default 512 */
    uint32_t max_outputs;      /* rows of one bl_forward whose logits can be kept; default max_sequences */
    bl_number kv;              /* F16 (default) or F32 */
    bl_number activations;     /* Q8 (default) or F32, for linears on quantised weights */
    /* "serial", "grouped", "streams" or "grouped-streams"; "auto" tries all four on each device and takes the fastest for one row and for
     * more; NULL: grouped-streams on the CPU, where the four differ little, and "auto" on other devices if cache_dir is given. The bits are
     * the same in any case. */
    const char *schedule;
    /* The same bits for every device, batch, chunking of the prompt and company of sequences. Without it a device that has been raced (with
     * cache_dir) may take faster kernels for many rows that round to half floats, when they win; bl_model_info.inexact says so. */
    bool deterministic;
    const char *cache_dir;     /* folder for what is measured once (speeds, schedules), made if missing; NULL: nothing is kept */
    bool no_mmap;              /* read the file into memory instead of mapping it */
    bool allow_unused_tensors; /* do not refuse a file with tensors that the graph does not use */
} bl_model_params;
BL_API void bl_model_default_params(bl_model_params *params);

/* params NULL: all defaults. Errors name file, offset, field, value and limit. */
BL_API bl_status bl_model_open(const char *path, const bl_model_params *params, bl_model **out) BL_MUST_USE;
/* Sequences of the model must be destroyed before. */
BL_API void bl_model_close(bl_model *model);

typedef struct bl_model_info {
    const char *name;         /* general.name, or the file name */
    const char *architecture;
    const char *schedule;     /* in words, with its gain where it was raced */
    const char *device;       /* name of the device that computes the first layers */
    uint32_t launches, lanes, steps; /* of a token, over all devices; lanes: the most of one */
    double idle;              /* share of the lanes' time in which they wait, by an estimate of the work; of the first layers' device */
    const char *placement;    /* what is computed where: "vulkan:0: layers 20-29 and output; cpu: embedding, layers 0-19" */
    const char *fallback;     /* what did not go as asked for, in words; "" when all did */
    const char *inexact;      /* which devices compute what in a way whose bits are not those of the definition; "" when none */
    uint64_t file_bytes, n_parameters;
    uint64_t weight_bytes_per_token; /* bytes of weights that one token reads */
    uint32_t vocabulary, context, trained_context, layers, batch;
    uint64_t kv_bytes;        /* page pool, touched as it fills */
    uint64_t activation_bytes, other_bytes; /* activations and logits; copies of weights, step buffer */
} bl_model_info;
BL_API void bl_model_get_info(const bl_model *model, bl_model_info *info);
/* Borrowed. NULL for a file without a tokenizer. */
BL_API const bl_tokenizer *bl_model_tokenizer(const bl_model *model);
/* A metadata value as text (numbers in decimal, strings as they are, arrays not): false when absent or it does not fit `bytes`. */
BL_API bool bl_model_metadata(const bl_model *model, const char *key, char *out, size_t bytes);

/* ---- sequences ---- */

/* A sequence is a growing list of tokens with its KV pages. BL_ELIMIT when max_sequences are alive. */
BL_API bl_status bl_sequence_create(bl_model *model, bl_sequence **out) BL_MUST_USE;
BL_API void bl_sequence_destroy(bl_sequence *sequence);
BL_API uint32_t bl_sequence_length(const bl_sequence *sequence);
/* Forgets every token from position `length` on. BL_EINVAL when it is longer than the sequence. */
BL_API bl_status bl_sequence_truncate(bl_sequence *sequence, uint32_t length) BL_MUST_USE;

/* ---- forward (tier 2) ---- */

typedef struct bl_row {
    bl_sequence *sequence;
    int32_t token;
    bool logits; /* keep this row's logits */
} bl_row;
/* Appends each row's token to its sequence and computes; rows of several sequences may be mixed in any order, the order within a sequence
 * is the order of its tokens. Any number of rows: they are computed `batch` at a time. The result of a row does not depend on how rows are
 * cut or mixed. On failure no sequence has changed its length (what was computed is forgotten). A device that is lost or out of memory is
 * no failure while others of the model's devices can take its layers: everything is computed again there, a warning is logged, and
 * bl_model_info.fallback says so from then on.
 * Errors: BL_ELIMIT for a full context, with numbers, or more than max_outputs rows with logits; BL_EINVAL for a token outside the
 * vocabulary; BL_ECANCELLED after bl_model_interrupt. */
BL_API bl_status bl_forward(bl_model *model, const bl_row *rows, uint32_t n_rows) BL_MUST_USE;
/* Logits of the i-th row with `logits` set in the last bl_forward: [vocabulary] floats, valid until the next one. NULL past the last. */
BL_API const float *bl_logits(const bl_model *model, uint32_t i);

/* Makes the running (or else the next) bl_forward or bl_generate stop at its next step with BL_ECANCELLED. Any thread, also signal
 * handlers. */
BL_API void bl_model_interrupt(bl_model *model);

/* Timings of every node of every step from now on, for tracing; NULL turns it off. Called on the thread of bl_forward, once per step and
 * part (a run of layers on one device). Times count from one start for all calls; lanes of part p begin at p * BL_MAX_LANES. */
typedef void (*bl_trace_fn)(void *user, uint32_t rows, const bl_node_timing *nodes, uint32_t n_nodes);
BL_API void bl_model_trace(bl_model *model, bl_trace_fn fn, void *user);

#ifdef __cplusplus
}
#endif
#endif
