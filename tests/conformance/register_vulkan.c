/* register_vulkan.c: what the vulkan back end promises. */
#include "conformance.h"

static const struct conf_exception none[] = {{0}};

const struct conf_registration conf_register_vulkan = {
    .device = "vulkan:0",
    .has = HAS_RESULTS | HAS_KERNELS | HAS_TIMINGS | HAS_ALL_KERNELS,
    .unsupported = none,
    .expected_failures = none,
};
