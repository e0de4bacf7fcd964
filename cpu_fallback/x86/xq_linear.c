/* x86/xq_linear.c: body/xq_linear.h at level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/xq_linear.h"
