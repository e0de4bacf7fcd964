/* gguf_write.h: writes a GGUF file: the metadata of another file and a few keys more, then tensors one after the other. The file appears under
 * its name only when it is complete and on disk: temporary name beside it, fsync, rename. The last tensor, xq.index, is the writer's: the
 * checksums of everything before (XQ.md). */
#ifndef XQ_GGUF_WRITE_H
#define XQ_GGUF_WRITE_H
#include "model/model_file.h"

struct xq_out_tensor {
    const char *name;
    uint32_t ggml_type, n_dims;
    uint64_t dims[4], bytes;
};
/* A key more, and its value: a string, a whole number or a real one (stored as f32). */
enum xq_key_kind { XQ_KEY_TEXT, XQ_KEY_WHOLE, XQ_KEY_REAL };
struct xq_out_key {
    const char *key;
    enum xq_key_kind kind;
    const char *text;
    uint64_t whole;
    double real;
};
struct xq_writer;

/* Bytes of the whole file, to the byte. Keys of `source` that begin with "xq." are left out. */
uint64_t xq_file_bytes(const struct bl_model_file *source, const struct xq_out_key *keys, uint32_t n_keys, const struct xq_out_tensor *tensors, uint32_t n);
/* Checks that the disk has room, creates the temporary file and writes the head. BL_EIO with path and reason. */
bl_status xq_writer_create(const char *path, const struct bl_model_file *source, const struct xq_out_key *keys, uint32_t n_keys,
                           const struct xq_out_tensor *tensors, uint32_t n, struct xq_writer **out) BL_MUST_USE;
/* The next tensor's data, all of it. */
bl_status xq_writer_add(struct xq_writer *writer, const void *data) BL_MUST_USE;
/* Another of the same size in place of a tensor that was added; what was sealed is to be sealed again. */
bl_status xq_writer_replace(struct xq_writer *writer, uint32_t tensor, const void *data) BL_MUST_USE;
/* After the last tensor: the temporary file is complete, and can be opened under the name that is returned; NULL with an error. */
const char *xq_writer_seal(struct xq_writer *writer);
/* After that: fsync, rename. keys: as at the creation, with other numbers, or NULL. */
bl_status xq_writer_finish(struct xq_writer *writer, const struct xq_out_key *keys) BL_MUST_USE;
/* Also removes the temporary file if finish has not succeeded; NULL is allowed. */
void xq_writer_destroy(struct xq_writer *writer);
#endif
