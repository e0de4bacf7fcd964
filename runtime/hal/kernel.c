/* kernel.c: the kernel cache: one bl_kernel per key and device, and what is unsupported is remembered too. */
#include "hal/kernel.h"

#include "hal/core.h"

#include <stdio.h>
#include <string.h>

/* The lock is held. *out stays NULL when the device has no such kernel. */
static bl_status find_or_make(bl_device *device, struct bl_kernel_key key, bl_kernel **out)
{
    struct bl_device_core *core = device->core;
    bl_status status = BL_OK;
    uint32_t k = 0;
    while (k < core->n_kernels && !bl_kernel_key_equal(core->kernels[k].key, key))
        k++;
    if (k == core->n_kernels) {
        bl_kernel *kernel = NULL;
        status = bl_grow(&core->kernels, &core->kernel_capacity, core->n_kernels, sizeof *core->kernels);
        if (status == BL_OK)
            status = bl_device_answer(device, device->fns->kernel_create(device, key, &kernel));
        if (status == BL_OK || status == BL_EUNSUPPORTED) {
            if (status == BL_OK) {
                kernel->device = device;
                kernel->key = key;
            }
            core->kernels[core->n_kernels++] = (struct kernel_entry){key, status == BL_OK ? kernel : NULL};
            status = BL_OK;
        }
    }
    if (status == BL_OK)
        *out = core->kernels[k].kernel;
    return status;
}

bl_status bl_kernel_get(bl_device *device, struct bl_kernel_key key, bl_kernel **out)
{
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    REQUIRE_OBJECT(device);
    BL_TRY(bl_device_usable(device));
    struct bl_device_core *core = device->core;
    struct bl_kernel_key raced = key;
    const uint32_t class = bl_kernel_class(key);
    bl_status status = BL_OK;
    pthread_mutex_lock(&core->kernel_lock);
    if (!key.tuning && class < BL_KERNEL_CLASSES)
        raced.tuning = core->ways[class];
    if (raced.tuning != key.tuning) /* a way need not be there for every format */
        status = find_or_make(device, raced, out);
    if (status == BL_OK && !*out)
        status = find_or_make(device, key, out);
    pthread_mutex_unlock(&core->kernel_lock);
    if (status != BL_OK)
        return bl_error_trace(status, __FILE__, __LINE__);
    if (!*out) {
        char name[64], variant[48] = "";
        bl_kernel_key_name(key, name, sizeof name);
        if (key.row_class || key.tuning)
            snprintf(variant, sizeof variant, " (rows %u, tuning %u)", key.row_class, key.tuning);
        BL_FAIL(BL_EUNSUPPORTED, "device %s cannot compute this: it has no kernel %s%s", core->id, name, variant);
    }
    return BL_OK;
}

bl_status bl_kernel_find(bl_device *device, const char *name, bl_kernel **out)
{
    struct bl_kernel_key keys[512];
    size_t n = bl_kernel_keys(keys, sizeof keys / sizeof keys[0]);
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    *out = NULL;
    REQUIRE_OBJECT(device);
    REQUIRE_OBJECT(name);
    for (size_t i = 0; i < n && i < sizeof keys / sizeof keys[0]; i++) {
        char known[64];
        bl_kernel_key_name(keys[i], known, sizeof known);
        if (strcmp(known, name) == 0)
            return bl_kernel_get(device, keys[i], out);
    }
    BL_FAIL(BL_EINVAL, "bl_kernel_find: no kernel is called \"%.64s\"", name);
}

const char *bl_kernel_table(uint32_t index, char *buffer)
{
    struct bl_kernel_key keys[512];
    size_t n = bl_kernel_keys(keys, sizeof keys / sizeof keys[0]);
    if (index >= n || index >= sizeof keys / sizeof keys[0])
        return NULL;
    bl_kernel_key_name(keys[index], buffer, 64);
    return buffer;
}

const char *bl_kernel_name(const bl_kernel *kernel)
{
    return kernel->name;
}
