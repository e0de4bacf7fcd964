/* no_linked.c: kernel-check has no other implementation inside it; --device opens one. */
#include "check.h"

const struct other_kernels *const linked_kernels = NULL;
