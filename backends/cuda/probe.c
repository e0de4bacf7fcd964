/* probe.c: which CUDA devices there are, told by a child process. */
#include "cuda.h"
#include "hal/probe.h"

#include <stdio.h>
#include <unistd.h>

#define LEAST_CAPABILITY 75 /* int8 matrix units and dp4a; what the fat binary begins with */

bool cu_device_fits(const struct cu_driver *driver, cu_ordinal ordinal, char *reason, size_t bytes)
{
    int major = 0, minor = 0;
    cu_result result = driver->device_get_attribute(&major, CU_ATTRIBUTE_MAJOR, ordinal);
    if (result == CU_OK)
        result = driver->device_get_attribute(&minor, CU_ATTRIBUTE_MINOR, ordinal);
    if (result != CU_OK)
        snprintf(reason, bytes, "cuDeviceGetAttribute answered %s", cu_result_name(driver, result));
    else if (10 * major + minor < LEAST_CAPABILITY)
        snprintf(reason, bytes, "compute capability %d.%d, 7.5 is needed", major, minor);
    else
        return true;
    return false;
}

/* A program built without nvcc has no kernels; what counts is what the driver makes of it. */
static bool image_loads(const struct cu_driver *driver, cu_ordinal ordinal)
{
    cu_context context, popped;
    cu_module module = NULL;
    if (driver->context_retain(&context, ordinal) != CU_OK || driver->context_push(context) != CU_OK)
        return false;
    const bool loads = driver->module_load(&module, cu_image) == CU_OK;
    return driver->context_pop(&popped) == CU_OK && loads;
}

static void describe_device(const struct cu_driver *driver, int index, bl_device_info *out)
{
    cu_ordinal ordinal = 0;
    *out = (bl_device_info){.backend = "cuda"};
    snprintf(out->id, sizeof out->id, "cuda:%d", index);
    int integrated = 0;
    cu_result result = driver->device_get(&ordinal, index);
    if (result == CU_OK)
        result = driver->device_get_name(out->name, (int)sizeof out->name - 1, ordinal);
    if (result == CU_OK)
        result = driver->device_get_attribute(&integrated, CU_ATTRIBUTE_INTEGRATED, ordinal);
    out->score = (integrated ? BL_SCORE_INTEGRATED : BL_SCORE_DISCRETE) + 1;
    if (result != CU_OK)
        snprintf(out->why_missing, sizeof out->why_missing, "the device cannot be asked: %s", cu_result_name(driver, result));
    else if (cu_device_fits(driver, ordinal, out->why_missing, sizeof out->why_missing) && !cu_image_has_kernels &&
             !image_loads(driver, ordinal))
        snprintf(out->why_missing, sizeof out->why_missing, "this program was built without nvcc: it has no CUDA kernels");
}

static void tell(const struct bl_probe *probe, int fd)
{
    struct cu_driver driver;
    int n = 0;
    if (cu_driver_open(&driver) != BL_OK) {
        bl_probe_say_missing(probe, fd, bl_error_text());
        return;
    }
    cu_result result = driver.device_get_count(&n);
    if (result != CU_OK || n <= 0)
        bl_probe_say_missing(probe, fd, result == CU_OK ? "the CUDA driver finds no device" : cu_result_name(&driver, result));
    for (int d = 0; d < n && d < (int)BL_PROBE_MOST; d++) {
        bl_device_info info;
        describe_device(&driver, d, &info);
        bl_probe_say(fd, &info);
    }
}

/* Without one of these there is no card for the driver. */
bool cu_hopeful(void)
{
    static const char *const nodes[] = {"/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvgpu", "/dev/dxg"};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        if (access(nodes[i], F_OK) == 0)
            return true;
    return false;
}

bool cu_probe(uint32_t index, bl_device_info *out)
{
    static struct bl_probe probe = {.backend = "cuda", .title = "CUDA", .tell = tell, .lock = PTHREAD_MUTEX_INITIALIZER};
    return bl_probe_describe(&probe, index, out);
}
