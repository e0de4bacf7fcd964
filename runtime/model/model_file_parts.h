/* model_file_parts.h: the inside of struct bl_model_file, shared by the readers (gguf.c), the getters (model_file.c) and verify.c. Nobody
 * else includes it. */
#ifndef BL_MODEL_MODEL_FILE_PARTS_H
#define BL_MODEL_MODEL_FILE_PARTS_H
#include "base/arena.h"
#include "model/model_file.h"

/* Open addressing over indices + 1 (0 = empty), a power of two of slots, never more than half full. */
struct bl_name_table {
    uint32_t *slots;
    uint32_t mask;
};

struct bl_model_file {
    struct bl_file_map *map; /* NULL when over memory */
    const uint8_t *data;
    uint64_t bytes;
    const char *path;
    struct bl_arena arena; /* everything below, and the names */
    uint32_t version;
    uint32_t n_meta, n_tensors;
    struct bl_meta *meta;
    struct bl_tensor *tensors;
    struct bl_name_table meta_table, tensor_table;
    uint64_t alignment, data_offset;
};

/* gguf.c: fills everything behind `arena`. */
bl_status bl_gguf_read(struct bl_model_file *file) BL_MUST_USE;

/* The two tables differ only in how an index gives its name. */
typedef const char *(*bl_name_of_fn)(const struct bl_model_file *file, uint32_t index);
const char *bl_name_of_meta(const struct bl_model_file *file, uint32_t index);
const char *bl_name_of_tensor(const struct bl_model_file *file, uint32_t index);
bl_status bl_name_table_create(struct bl_model_file *file, struct bl_name_table *table, uint32_t capacity) BL_MUST_USE;
/* The index of `name`, or UINT32_MAX. */
uint32_t bl_name_table_find(const struct bl_model_file *file, const struct bl_name_table *table, bl_name_of_fn name_of, const char *name);
/* False if the name is already there. Never called more often than the capacity. */
bool bl_name_table_add(const struct bl_model_file *file, struct bl_name_table *table, bl_name_of_fn name_of, uint32_t index);

/* Bytes of one element in a file; 0 for strings and arrays. */
uint32_t bl_meta_type_bytes(enum bl_meta_type type);
const char *bl_meta_type_name(enum bl_meta_type type);

struct bl_block_shape { uint32_t elements, bytes; };
/* Geometry of any ggml type, ours or not; bytes 0 when it is unknown. */
struct bl_block_shape bl_ggml_block_shape(uint32_t ggml_type);
#endif
