/* kernel.c: the module of the kernels and its functions, by name. Knows the table under cuda/, no op. */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct row {
    const char *name; /* of the key */
    uint32_t threads, tile[2];
} rows[] = {
#define BL_CUDA_KERNEL(name, threads, tile_x, tile_y, ...) {#name, threads, {tile_x, tile_y}},
#include "cuda/kernels.def"
#undef BL_CUDA_KERNEL
};

bl_status cu_module_open(struct cu_device *device)
{
    cu_result result = device->cu.module_load(&device->module, cu_image);
    if (result != CU_OK)
        device->module = NULL;
    if (result == CU_NO_BINARY_FOR_GPU || result == CU_INVALID_IMAGE || result == CU_UNSUPPORTED_PTX_VERSION)
        BL_FAIL(BL_EUNSUPPORTED, "%s: this program has no code for compute capability %u.%u that this driver takes (%s)", device->name,
                device->capability / 10, device->capability % 10, cu_result_name(&device->cu, result));
    return cu_answer(device, result, "cuModuleLoadData");
}

/* The row of a key that is in the table of kernels; others may have the name of one. Way 1 is the usual one; way 2 swaps dp4a and the
 * matrix units; way 3, which is not exact, multiplies many rows in half floats. */
static const struct row *find(struct bl_kernel_key key)
{
    struct bl_kernel_key keys[512];
    char name[64];
    const uint32_t way = key.tuning;
    key.tuning = 0;
    const size_t n = bl_kernel_keys(keys, 512);
    size_t k = 0;
    while (k < n && !bl_kernel_key_equal(keys[k], key))
        k++;
    if (k == n)
        return NULL;
    if (way > CU_WAYS)
        return NULL;
    if (way == 2) { /* a product of several rows by the other unit: matmul takes few rows too, and matvec8 many */
        const bool is_matvec8 = key.op == BL_OP_MATVEC && key.row_class == BL_ROWS_8;
        if (key.activation != BL_FMT_Q8 || !(is_matvec8 || key.op == BL_OP_MATMUL))
            return NULL;
        key.op = is_matvec8 ? BL_OP_MATMUL : BL_OP_MATVEC;
        key.row_class = is_matvec8 ? BL_ROWS_512 : BL_ROWS_8;
    }
    if (way == CU_WAY_HALF && key.op != BL_OP_MATMUL)
        return NULL;
    const size_t prefix = way == CU_WAY_HALF ? (size_t)snprintf(name, sizeof name, "half_") : 0;
    bl_kernel_key_name(key, name + prefix, sizeof name - prefix);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        if (strcmp(rows[r].name, name) == 0)
            return &rows[r];
    return NULL;
}

static bl_status get_functions(struct cu_device *device, uint32_t op, struct cu_kernel *kernel)
{
    char name[sizeof kernel->base.name + 8];
    BL_TRY(cu_answer(device, device->cu.module_get_function(&kernel->function, device->module, kernel->base.name), kernel->base.name));
    if (op != BL_OP_ATTENTION)
        return BL_OK;
    snprintf(name, sizeof name, "tile_%s", kernel->base.name);
    return cu_answer(device, device->cu.module_get_function(&kernel->tile, device->module, name), name);
}

bl_status cu_kernel_create(bl_device *base, struct bl_kernel_key key, bl_kernel **out)
{
    struct cu_device *device = (struct cu_device *)base;
    const struct row *row = find(key);
    if (!row)
        return BL_EUNSUPPORTED;
    struct cu_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "kernel: out of memory");
    kernel->threads = row->threads;
    memcpy(kernel->base.tile, (uint32_t[3]){row->tile[0], row->tile[1], 1}, sizeof kernel->base.tile);
    snprintf(kernel->base.name, sizeof kernel->base.name, "%s_cuda", row->name);
    bl_status status = cu_enter(device);
    if (status == BL_OK)
        status = cu_leave(device, get_functions(device, key.op, kernel));
    if (status != BL_OK) {
        free(kernel);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    *out = &kernel->base;
    return BL_OK;
}

void cu_kernel_destroy(bl_kernel *base)
{
    free(base);
}
