/* body/linear_q8.c: body/linear_q8.h at the level whose header the build names. */
#include LEVEL_HEADER

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/linear_q8.h"
