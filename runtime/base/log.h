/* log.h: handing a line to the program's callback (bitloom/log.h). Safe from any thread. */
#ifndef BL_BASE_LOG_H
#define BL_BASE_LOG_H
#include <bitloom/log.h>
void bl_log(bl_log_level level, const char *format, ...) BL_PRINTF(2, 3);
#endif
