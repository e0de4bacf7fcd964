/* blas.c: finds OpenBLAS. */
#include "compress/blas.h"

#include "base/error.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>

static struct xq_blas functions;

static bool find(void *library, const char *name, void *out)
{
    char symbol[32];
    snprintf(symbol, sizeof symbol, "%s_", name);
    void *found = dlsym(library, symbol);
    *(void **)out = found;
    return found != NULL;
}

bl_status xq_blas_open(const struct xq_blas **out)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    *out = &functions;
    if (functions.sgemm)
        return BL_OK;
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof names[0]; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        BL_FAIL(BL_EUNSUPPORTED, "compress needs OpenBLAS, which is not there (%s): install libopenblas0", dlerror());
    const char *missing = NULL;
#define FIND(type, name, arguments) missing = find(library, #name, &functions.name) ? missing : #name;
    XQ_BLAS_FUNCTIONS(FIND)
#undef FIND
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    if (missing) {
        functions = (struct xq_blas){0};
        BL_FAIL(BL_EUNSUPPORTED, "compress needs OpenBLAS with LAPACK: this one has no %s", missing);
    }
    if (set_threads)
        set_threads(1);
    return BL_OK;
}
