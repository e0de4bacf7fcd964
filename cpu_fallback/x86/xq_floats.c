/* x86/xq_floats.c: body/xq_floats.h at level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/xq_floats.h"
