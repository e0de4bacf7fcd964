/* bitloom/status.h: what every function of the library answers, and the words behind a failure.
 *
 * Every function that can fail returns a bl_status: 0 (BL_OK) or a negative code from the table below. Results come back through
 * `out` pointers, which are set to NULL or 0 before anything can fail. Destroy functions return nothing and accept NULL.
 *
 * Three kinds of failure are kept apart. A caller's mistake (NULL where an object is needed, a range outside a buffer) is checked once,
 * at the border of the library, and is BL_EINVAL. What the world does (memory, files, drivers, hostile input) is one of the other codes.
 * A bug of ours is an assertion, never a status.
 *
 * Detail is in a thread-local error stack of at most 8 frames that needs no allocation, so lack of memory can be reported too. The first
 * frame is the cause (one line, at most 240 bytes, control characters escaped: file, offset, field, value, limit), later frames say on
 * whose behalf. It is cleared when a public function is entered and is valid until the next call on this thread. The library never
 * prints, exits or aborts on its own.
 */
#ifndef BITLOOM_STATUS_H
#define BITLOOM_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define BL_API __declspec(dllexport)
#elif defined(__GNUC__)
#define BL_API __attribute__((visibility("default")))
#else
#define BL_API
#endif
#if defined(__GNUC__)
#define BL_MUST_USE __attribute__((warn_unused_result))
#define BL_PRINTF(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))
#else
#define BL_MUST_USE
#define BL_PRINTF(format_arg, first_arg)
#endif

/* X(name, value, text). Values never change once released. */
#define BL_STATUS_TABLE(X)                                             \
    X(OK, 0, "ok")                                                     \
    X(EINVAL, -1, "invalid argument")                                  \
    X(ENOMEM, -2, "out of memory")                                     \
    X(EDEVMEM, -3, "out of device memory")                             \
    X(EUNSUPPORTED, -4, "not supported")                               \
    X(EFORMAT, -5, "malformed input")                                  \
    X(EIO, -6, "input/output error")                                   \
    X(ETIMEOUT, -7, "timeout")                                         \
    X(EDEVLOST, -8, "device lost")                                     \
    X(ECANCELLED, -9, "cancelled")                                     \
    X(ELIMIT, -10, "limit exceeded")                                   \
    X(EINTERNAL, -11, "internal error")

typedef enum bl_status {
#define BL_STATUS_ENUM(name, value, text) BL_##name = value,
    BL_STATUS_TABLE(BL_STATUS_ENUM)
#undef BL_STATUS_ENUM
} bl_status;

/* The short text of a code; "unknown status" for a number that is none. Never NULL, static. */
BL_API const char *bl_status_text(bl_status status);

#define BL_ERROR_FRAMES 8
#define BL_ERROR_TEXT_BYTES 241

typedef struct bl_error_frame {
    bl_status code;
    int line;         /* source line in the library */
    const char *file; /* source file in the library, static */
    char text[BL_ERROR_TEXT_BYTES]; /* one line, NUL-terminated; empty in frames that only trace */
} bl_error_frame;

/* The error stack of this thread, cause first. *count is 0 when the last call succeeded. The pointer stays valid for the thread's life. */
BL_API const bl_error_frame *bl_errors(uint32_t *count);

/* The cause of the last failure on this thread as one line; "" when there was none. */
BL_API const char *bl_error_text(void);

#ifdef __cplusplus
}
#endif
#endif
