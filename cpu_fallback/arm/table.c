/* arm/table.c: the rows of level NEON. */
#include "cpu_fallback/arm/neon.h"

#include "cpu_fallback/body/table.h"
