/* arm/linear_q8.c: body/linear_q8.h at level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/linear_q8.h"
