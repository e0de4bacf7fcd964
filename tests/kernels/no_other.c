/* no_other.c: kernel-check checks the levels of the CPU and nothing else. */
#include "check.h"

const struct other_kernels *const other_kernels = NULL;
