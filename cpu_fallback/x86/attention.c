/* x86/attention.c: body/attention.h at level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/attention.h"
