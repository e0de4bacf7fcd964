/* body/linear_f32.c: body/linear_f32.h at the level whose header the build names. */
#include LEVEL_HEADER

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/linear_f32.h"
