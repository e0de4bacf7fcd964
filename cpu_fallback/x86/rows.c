/* x86/rows.c: body/rows.h at level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/rows.h"
