/* blas.h: the linear algebra of the compressor: OpenBLAS with its LAPACK, opened at run time, so that the program starts without it. One
 * thread a call (the compressor has threads of its own, and sums must not depend on their number). */
#ifndef XQ_BLAS_H
#define XQ_BLAS_H
#include <bitloom/status.h>

/* X(return type, name, arguments): Fortran's functions: column-major, everything by address, the lengths of the letters last. */
#define XQ_BLAS_FUNCTIONS(X)                                                                                                          \
    X(void, sgemm, (const char *ta, const char *tb, const int *m, const int *n, const int *k, const float *alpha, const float *a,      \
                    const int *lda, const float *b, const int *ldb, const float *beta, float *c, const int *ldc, long, long))        \
    X(void, dpotrf, (const char *uplo, const int *n, double *a, const int *lda, int *info, long))                                     \
    X(void, dtrtri, (const char *uplo, const char *diag, const int *n, double *a, const int *lda, int *info, long, long))

struct xq_blas {
#define XQ_BLAS_POINTER(type, name, arguments) type(*name) arguments;
    XQ_BLAS_FUNCTIONS(XQ_BLAS_POINTER)
#undef XQ_BLAS_POINTER
};
/* The functions, opened once; not thread safe the first time. BL_EUNSUPPORTED with a line that says what to install. */
bl_status xq_blas_open(const struct xq_blas **out);
#endif
