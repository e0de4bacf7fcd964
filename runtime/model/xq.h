/* xq.h: X-bit matrices in a model file: finding and checking them when a file is opened, and saying what is in them. The format in words
 * is XQ.md; the structs that the kernels read are hal/xq.h. */
#ifndef BL_MODEL_XQ_H
#define BL_MODEL_XQ_H
#include "hal/xq.h"
#include "model/model_file.h"

/* Checks everything of a blob that a kernel relies on: header, tables, places, outliers, but no code and not the checksum: those can be
 * any bits. `what` names the tensor in messages, `offset` is its place in the file. BL_EFORMAT: file, offset, field, value, limit. */
bl_status bl_xq_check_matrix(const char *path, uint64_t offset, const char *what, const void *data, uint64_t bytes) BL_MUST_USE;
bl_status bl_xq_check_input(const char *path, uint64_t offset, const char *what, const void *data, uint64_t bytes) BL_MUST_USE;
/* The checksum that a blob of either kind should carry: SipHash-1-3 of the bytes from 16 on, under the key that its first 8 bytes are. */
uint64_t bl_xq_checksum(const void *data, uint64_t bytes);
/* Weights per depth 1 .. 8 in [1] .. [8], those of grouped segments also in grouped; bits: of the whole blob. */
struct bl_xq_histogram {
    uint64_t weights[9], grouped[9], bits;
};
void bl_xq_histogram(const void *matrix, uint64_t bytes, struct bl_xq_histogram *out);
#endif
