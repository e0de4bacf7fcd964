/* register_cuda.c: what the cuda back end promises. */
#include "conformance.h"

static const struct conf_exception none[] = {{0}};

const struct conf_registration conf_register_cuda = {
    .device = "cuda:0",
    .has = HAS_RESULTS | HAS_KERNELS | HAS_ALL_KERNELS | HAS_TIMINGS,
    .unsupported = none,
    .expected_failures = none,
};
