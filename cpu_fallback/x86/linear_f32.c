/* x86/linear_f32.c: body/linear_f32.h at level AVX2. */
#include "cpu_fallback/x86/avx2.h"

#include "cpu_fallback/body/level.h"
#include "cpu_fallback/body/linear_f32.h"
