/* x86/table.c: the rows of level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/table.h"
