/* bitloom/log.h: the one way the library speaks without being asked.
 *
 * The library writes nothing to any stream. A program that wants to hear warnings installs a callback, once, before other threads use the
 * library; the callback may be called from any thread, one call at a time, and must not call the library. `text` is one line without a
 * newline, valid during the call. Default: no callback, messages are dropped.
 */
#ifndef BITLOOM_LOG_H
#define BITLOOM_LOG_H
#include <bitloom/status.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum bl_log_level { BL_LOG_ERROR = 0, BL_LOG_WARNING, BL_LOG_INFO, BL_LOG_DEBUG } bl_log_level;
typedef void (*bl_log_fn)(void *user, bl_log_level level, const char *text);

/* Messages above `max_level` are not even formatted. fn = NULL turns logging off. */
BL_API void bl_log_set(bl_log_fn fn, void *user, bl_log_level max_level);

#ifdef __cplusplus
}
#endif
#endif
