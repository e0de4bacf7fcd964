/* register_cpu.c: what the cpu back end promises. */
#include "conformance.h"

static const struct conf_exception none[] = {{0}};

const struct conf_registration conf_register_cpu = {
    .device = "cpu",
    .has = HAS_RESULTS | HAS_KERNELS | HAS_ALL_KERNELS | HAS_TIMINGS | HAS_LAZY_MEMORY | HAS_THREADS,
    .unsupported = none,
    .expected_failures = none,
};
