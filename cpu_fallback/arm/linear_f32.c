/* arm/linear_f32.c: body/linear_f32.h at level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/linear_f32.h"
