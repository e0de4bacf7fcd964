/* register_chaos.c: what chaos(cpu) promises. */
#include "conformance.h"

static const struct conf_exception none[] = {{0}};

const struct conf_registration conf_register_chaos = {
    .device = "chaos(cpu)",
    .has = HAS_RESULTS | HAS_KERNELS | HAS_ALL_KERNELS | HAS_CHAOS | HAS_THREADS,
    .unsupported = none,
    .expected_failures = none,
};
