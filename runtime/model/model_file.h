/* model_file.h: a model file as metadata and a directory of tensors. Format-neutral: GGUF today (gguf.c), others later.
 *
 * Everything returned points into the file map or into the object and lives as long as it. Nothing is trusted: opening has checked every
 * count, length, type, offset and shape against base/limits.h and the file's size, so a user may rely on: names are unique, data ranges
 * lie inside the file, dims are >= 1 and their product fits, quantised rows are whole blocks. Opening touches no tensor data but the
 * headers of X-bit matrices (model/xq.h), which become tensors of format BX with the shape that the model knows: `NAME.xq` in the file
 * answers to NAME.
 * Not thread safe while opening; read-only and safe from any thread afterwards. */
#ifndef BL_MODEL_MODEL_FILE_H
#define BL_MODEL_MODEL_FILE_H
#include "base/file_map.h"
#include "hal/formats.h"

#include <bitloom/status.h>
#include <stdbool.h>
#include <stddef.h>

struct bl_model_file;

enum bl_meta_type { /* GGUF's own numbers */
    BL_META_U8 = 0, BL_META_I8, BL_META_U16, BL_META_I16, BL_META_U32, BL_META_I32, BL_META_F32, BL_META_BOOL, BL_META_STRING,
    BL_META_ARRAY, BL_META_U64, BL_META_I64, BL_META_F64, BL_META_TYPE_COUNT
};

struct bl_meta {
    const char *key;          /* NUL-terminated copy */
    enum bl_meta_type type;   /* of the value; for an array: of its elements, with is_array set (nested arrays: BL_META_ARRAY) */
    bool is_array;
    uint64_t count;           /* elements; 1 for a scalar */
    const uint8_t *data;      /* first element in the file, not aligned; a string element is u64 length + bytes */
    uint64_t data_bytes;
    uint64_t offset;          /* of the key in the file, for error lines */
};

struct bl_tensor {
    const char *name;         /* NUL-terminated copy */
    uint32_t ggml_type;
    enum bl_format format;    /* BL_FMT_NONE for a type that we cannot compute with (the file still opens; using it is refused) */
    uint32_t n_dims;
    uint64_t dims[4];         /* GGUF order: dims[0] = columns (fastest); missing ones are 1 */
    uint64_t rows;            /* product of dims[1..3] */
    uint64_t offset;          /* absolute, in the file */
    uint64_t bytes;           /* rows * bytes per row; 0 when the type's size is unknown */
    uint64_t entry_offset;    /* of the directory entry in the file, for error lines */
    bool is_table;            /* belongs to X-bit matrices ("xq.*"), not to the model: graphs do not see it */
    uint32_t input;           /* format BX: index of the tensor with its permutation and scales */
};

/* Recognises the format by its magic. BL_EFORMAT: a line with file, offset, field, value, limit. */
bl_status bl_model_file_open(const char *path, enum bl_file_mode mode, struct bl_model_file **out) BL_MUST_USE;
/* Same over memory (tests, fuzzing); `name` stands for the path in messages; the memory must outlive the object. */
bl_status bl_model_file_open_memory(const void *data, uint64_t bytes, const char *name, struct bl_model_file **out) BL_MUST_USE;
void bl_model_file_close(struct bl_model_file *file);

const char *bl_model_file_path(const struct bl_model_file *file);
const uint8_t *bl_model_file_data(const struct bl_model_file *file);
uint64_t bl_model_file_bytes(const struct bl_model_file *file);
uint32_t bl_model_file_version(const struct bl_model_file *file);   /* GGUF version */
uint64_t bl_model_file_alignment(const struct bl_model_file *file);
uint64_t bl_model_file_data_offset(const struct bl_model_file *file); /* start of the tensor data section */
/* BL_EIO once the file shrank under its map. Ask after using the data. */
bl_status bl_model_file_check(const struct bl_model_file *file) BL_MUST_USE;

uint32_t bl_model_file_meta_count(const struct bl_model_file *file);
const struct bl_meta *bl_model_file_meta_at(const struct bl_model_file *file, uint32_t index);
const struct bl_meta *bl_model_file_meta(const struct bl_model_file *file, const char *key); /* hash look-up; NULL if absent */
uint32_t bl_model_file_tensor_count(const struct bl_model_file *file);
const struct bl_tensor *bl_model_file_tensor_at(const struct bl_model_file *file, uint32_t index);
const struct bl_tensor *bl_model_file_tensor(const struct bl_model_file *file, const char *name);

/* Numbers first .. first + n of an f32, f16 or bf16 tensor, as f32. Another type is BL_EUNSUPPORTED naming the tensor. */
bl_status bl_model_file_numbers(const struct bl_model_file *file, const struct bl_tensor *tensor, uint64_t first, uint64_t n, float *out) BL_MUST_USE;

/* Typed element access: any integer type (bool counts as 0/1) that fits; any float or integer type for f64. A wrong type, an index past
 * the end or a value that does not fit is BL_EFORMAT naming file, offset, key, type. */
bl_status bl_meta_u64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, uint64_t *out) BL_MUST_USE;
bl_status bl_meta_i64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, int64_t *out) BL_MUST_USE;
bl_status bl_meta_f64(const struct bl_model_file *file, const struct bl_meta *meta, uint64_t index, double *out) BL_MUST_USE;
/* Strings are not NUL-terminated and may hold any byte. For arrays of strings use the iterator: random access would be quadratic. */
bl_status bl_meta_string(const struct bl_model_file *file, const struct bl_meta *meta, const char **text, uint64_t *bytes) BL_MUST_USE;
struct bl_meta_strings { const uint8_t *at, *end; uint64_t left; };
bl_status bl_meta_strings_begin(const struct bl_model_file *file, const struct bl_meta *meta, struct bl_meta_strings *out) BL_MUST_USE;
bool bl_meta_strings_next(struct bl_meta_strings *it, const char **text, uint64_t *bytes);

/* ---- what `bitloom verify` does, as a function ---- */
/* Walks everything: offsets in order and without overlap, padding, every quantised block's scales and every float finite, special token
 * ids inside the vocabulary, vocabulary arrays of equal length. Reports each finding through `report` (one line each, at most 100 then a
 * count) and counts them. Fails only where it cannot look. Streams the file: memory does not grow with it. */
typedef void (*bl_report_fn)(void *user, const char *line);
bl_status bl_model_file_verify(struct bl_model_file *file, bl_report_fn report, void *user, uint64_t *n_findings) BL_MUST_USE;
#endif
