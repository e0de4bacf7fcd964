/* sha256.h: the checksum by which people tell files from each other (sha256sum). Not for passwords, not fast: some 200 MB a second. */
#ifndef XQ_SHA256_H
#define XQ_SHA256_H
#include <bitloom/status.h>

/* 64 digits and a terminator. */
void xq_sha256(const void *data, uint64_t bytes, char out[65]);
/* Of a file; BL_EIO with path and reason. */
bl_status xq_sha256_file(const char *path, char out[65]) BL_MUST_USE;
#endif
