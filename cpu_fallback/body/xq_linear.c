/* body/xq_linear.c: body/xq_linear.h at the level whose header the build names. */
#include LEVEL_HEADER

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/xq_linear.h"
