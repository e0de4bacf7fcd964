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
/* The last tensor of a file that the compressor wrote: checksums of everything else in it, so that `verify` finds any changed bit.
 * SipHash-1-3 under the key BL_XQ_INDEX_MAGIC; then u64 checksum[n_tensors], of the tensors' data in the order of the directory. */
#define BL_XQ_INDEX_NAME "xq.index"
#define BL_XQ_INDEX_MAGIC 0x58584c42u /* "BLXX" */
struct bl_xq_index {
    uint32_t magic;
    uint16_t version, reserved;
    uint64_t checksum;      /* of the bytes after it, as in the other blobs */
    uint64_t head_bytes, head_checksum; /* all bytes before the data of the first tensor */
    uint32_t n_tensors, reserved2;      /* without the index */
};
bl_status bl_xq_check_index(const char *path, uint64_t offset, const void *data, uint64_t bytes, uint32_t n_tensors) BL_MUST_USE;
/* Weights per depth 1 .. 8 in [1] .. [8], those of grouped segments also in grouped; bits: of the whole blob. */
struct bl_xq_histogram {
    uint64_t weights[9], grouped[9], bits;
};
void bl_xq_histogram(const void *matrix, uint64_t bytes, struct bl_xq_histogram *out);
#endif
