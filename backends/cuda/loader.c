/* loader.c: the CUDA driver by dlopen, and its functions. Nothing here runs before a device is asked for. */
#include "cuda.h"

#include <dlfcn.h>
#include <string.h>

static bl_status load(struct cu_driver *out)
{
    out->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE); /* its threads may outlive a device */
    if (!out->library)
        BL_FAIL(BL_EUNSUPPORTED, "no CUDA driver: %s", dlerror());
    void *symbol;
    /* ISO C has no cast between object and function pointers. */
#define CU_FN(field, name, parameters)                                                                    \
    symbol = dlsym(out->library, #name);                                                                  \
    if (!symbol)                                                                                          \
        BL_FAIL(BL_EUNSUPPORTED, "the CUDA driver is too old: it has no " #name " (11.4 or later has)");  \
    memcpy(&out->field, &symbol, sizeof symbol);
#include "fns.def"
#undef CU_FN
    cu_result result = out->init(0);
    if (result == CU_NO_DEVICE)
        BL_FAIL(BL_EUNSUPPORTED, "the CUDA driver finds no device");
    if (result != CU_OK)
        BL_FAIL(BL_EUNSUPPORTED, "the CUDA driver does not start: cuInit answered %s", cu_result_name(out, result));
    return BL_OK;
}

bl_status cu_driver_open(struct cu_driver *out)
{
    memset(out, 0, sizeof *out);
    bl_status status = load(out);
    if (status != BL_OK)
        cu_driver_close(out);
    return status;
}

void cu_driver_close(struct cu_driver *driver)
{
    if (driver->library)
        dlclose(driver->library);
    memset(driver, 0, sizeof *driver);
}

const char *cu_result_name(const struct cu_driver *driver, cu_result result)
{
    const char *name = NULL;
    return driver->get_error_name(result, &name) == CU_OK && name ? name : "an unknown error";
}
