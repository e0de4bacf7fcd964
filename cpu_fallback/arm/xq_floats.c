/* arm/xq_floats.c: body/xq_floats.h at level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/xq_floats.h"
