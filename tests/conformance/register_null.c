/* register_null.c: null computes nothing, so it promises nothing; every case that needs no results runs, and it fails politely. */
#include "conformance.h"

static const struct conf_exception unsupported[] = {
    {"queues.timeout", "its queues wait for nothing"},
    {0},
};
static const struct conf_exception none[] = {{0}};

const struct conf_registration conf_register_null = {
    .device = "null",
    .has = 0,
    .unsupported = unsupported,
    .expected_failures = none,
};
