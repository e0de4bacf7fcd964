/* log.c: the log callback. Owns the one global of the library that a program may set. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bl_log_fn log_fn;
static void *log_user;
static bl_log_level log_max;

void bl_log_set(bl_log_fn fn, void *user, bl_log_level max_level)
{
    pthread_mutex_lock(&lock);
    log_fn = fn;
    log_user = user;
    log_max = max_level;
    pthread_mutex_unlock(&lock);
}

void bl_log(bl_log_level level, const char *format, ...)
{
    pthread_mutex_lock(&lock);
    if (log_fn && level <= log_max) {
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        log_fn(log_user, level, text);
    }
    pthread_mutex_unlock(&lock);
}
