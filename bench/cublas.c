/* cublas.c: what the vendor's library makes of a product in half floats, as a measure for ours. It and the driver are opened with dlopen, and
 * their few functions are declared here; without them: exit 77 with the reason. One JSON object per line.
 *
 *     bench-cublas [N K M]...      y[M, N] = x[M, K] * W[N, K]^T */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *open_any(const char *const *names)
{
    void *library = NULL;
    for (; *names && !library; names++)
        library = dlopen(*names, RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        printf("SKIP: %s\n", dlerror());
        exit(77);
    }
    return library;
}

/* ISO C has no cast between object and function pointers. */
#define FUNCTION(library, name)                                          \
    do {                                                                 \
        void *symbol = dlsym(library, #name);                            \
        if (!symbol) {                                                   \
            printf("SKIP: there is no " #name "\n");                     \
            exit(77);                                                    \
        }                                                                \
        memcpy(&name, &symbol, sizeof symbol);                           \
    } while (0)

static void check(int result, const char *what)
{
    if (result == 0)
        return;
    fprintf(stderr, "bench-cublas: %s answered %d\n", what, result);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static const char *const driver_names[] = {"libcuda.so.1", NULL}, *const cublas_names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so", NULL};
    enum { HALF = 2, SUMS_IN_F32 = 68, TRANSPOSED = 1, PLAIN = 0, DEFAULT = -1, TIMES = 20 };
    int (*cuInit)(unsigned), (*cuDevicePrimaryCtxRetain)(void **, int), (*cuCtxSetCurrent)(void *), (*cuMemAlloc_v2)(unsigned long long *, size_t);
    int (*cuMemFree_v2)(unsigned long long), (*cuCtxSynchronize)(void), (*cuMemsetD16_v2)(unsigned long long, unsigned short, size_t);
    int (*cublasCreate_v2)(void **);
    int (*cublasGemmEx)(void *, int, int, int, int, int, const void *, unsigned long long, int, int, unsigned long long, int, int, const void *,
                        unsigned long long, int, int, int, int);
    void *driver = open_any(driver_names), *cublas = open_any(cublas_names), *context, *handle;
    FUNCTION(driver, cuInit);
    FUNCTION(driver, cuDevicePrimaryCtxRetain);
    FUNCTION(driver, cuCtxSetCurrent);
    FUNCTION(driver, cuMemAlloc_v2);
    FUNCTION(driver, cuMemFree_v2);
    FUNCTION(driver, cuMemsetD16_v2);
    FUNCTION(driver, cuCtxSynchronize);
    FUNCTION(cublas, cublasCreate_v2);
    FUNCTION(cublas, cublasGemmEx);
    check(cuInit(0), "cuInit");
    check(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
    check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
    check(cublasCreate_v2(&handle), "cublasCreate");
    for (int i = 1; i + 2 < argc; i += 3) {
        const size_t n = strtoul(argv[i], NULL, 10), k = strtoul(argv[i + 1], NULL, 10), m = strtoul(argv[i + 2], NULL, 10);
        const float one = 1, zero = 0;
        unsigned long long w, x, y;
        check(cuMemAlloc_v2(&w, 2 * n * k), "cuMemAlloc");
        check(cuMemAlloc_v2(&x, 2 * m * k), "cuMemAlloc");
        check(cuMemAlloc_v2(&y, 2 * m * n), "cuMemAlloc");
        check(cuMemsetD16_v2(w, 0x2c2c, n * k), "cuMemset");
        check(cuMemsetD16_v2(x, 0x2c2c, m * k), "cuMemset");
        double begin = 0;
        for (int t = -3; t < TIMES; t++) {
            if (t == 0) {
                check(cuCtxSynchronize(), "cuCtxSynchronize");
                begin = now();
            }
            check(cublasGemmEx(handle, TRANSPOSED, PLAIN, (int)n, (int)m, (int)k, &one, w, HALF, (int)k, x, HALF, (int)k, &zero, y, HALF, (int)n,
                               SUMS_IN_F32, DEFAULT),
                  "cublasGemmEx");
        }
        check(cuCtxSynchronize(), "cuCtxSynchronize");
        const double seconds = (now() - begin) / TIMES;
        printf("{\"what\": \"cublas f16\", \"n\": %zu, \"k\": %zu, \"m\": %zu, \"us\": %.3f, \"tmac_s\": %.3f}\n", n, k, m, seconds * 1e6,
               (double)n * (double)k * (double)m / seconds * 1e-12);
        check(cuMemFree_v2(y), "cuMemFree");
        check(cuMemFree_v2(x), "cuMemFree");
        check(cuMemFree_v2(w), "cuMemFree");
    }
    return 0;
}
