/* arm/attention.c: body/attention.h at level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/attention.h"
