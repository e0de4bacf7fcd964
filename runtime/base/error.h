/* error.h: making and passing on errors inside the library. Owns the thread-local error stack; the public view is bitloom/status.h.
 *
 * Two macros only. BL_FAIL makes the first frame and returns its code; BL_TRY passes a failure on and adds a frame.
 * Where something must be released first, keep the status in a variable, `goto out`, and release at one label. */
#ifndef BL_BASE_ERROR_H
#define BL_BASE_ERROR_H
#include <bitloom/status.h>

/* Adds a frame and returns `code`. The text is cut at 240 bytes; bytes < 0x20, 0x7f and invalid UTF-8 are written as \xNN. */
bl_status bl_error_push(bl_status code, const char *file, int line, const char *format, ...) BL_PRINTF(4, 5);
/* Adds a frame without text. A full stack keeps the earliest frames: the cause is what matters. */
bl_status bl_error_trace(bl_status code, const char *file, int line);
/* Called on entry of each public function that can fail. */
void bl_errors_clear(void);

#define BL_FAIL(code, ...) return bl_error_push((code), __FILE__, __LINE__, __VA_ARGS__)
#define BL_TRY(expr)                                                    \
    do {                                                                \
        bl_status bl_try_status_ = (expr);                              \
        if (bl_try_status_ != BL_OK)                                    \
            return bl_error_trace(bl_try_status_, __FILE__, __LINE__);  \
    } while (0)
#endif
