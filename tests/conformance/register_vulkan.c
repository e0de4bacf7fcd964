/* register_vulkan.c: what the vulkan back end promises. */
#include "conformance.h"

static const struct conf_exception none[] = {{0}};
static const struct conf_exception expected_failures[] = {
    {"buffers.import", "host memory is not imported yet"},
    {"buffers.refusals", "asks for IMPORT_HOST, which is refused earlier while it is not in caps.memory_kinds"},
    {0},
};

const struct conf_registration conf_register_vulkan = {
    .device = "vulkan:0",
    .has = HAS_RESULTS | HAS_KERNELS | HAS_ALL_KERNELS,
    .unsupported = none,
    .expected_failures = expected_failures,
};
