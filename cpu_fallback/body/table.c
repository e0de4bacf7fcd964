/* body/table.c: body/table.h at the level whose header the build names. */
#include LEVEL_HEADER

#include "cpu_fallback/body/table.h"
