/* arm/xq_linear.c: body/xq_linear.h at level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/xq_linear.h"
