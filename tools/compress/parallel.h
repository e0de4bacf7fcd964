/* parallel.h: the compressor's threads: a loop whose turns do not depend on each other. The result never depends on the number of threads:
 * a turn writes only what is its own, and sums over turns are made by the caller in their order. */
#ifndef XQ_PARALLEL_H
#define XQ_PARALLEL_H
#include <stdint.h>

/* Runs turn(user, i, worker) for i < n, worker < n_threads; returns when all are done. Falls back to fewer threads where none can be made. */
typedef void xq_turn_fn(void *user, uint32_t i, uint32_t worker);
void xq_parallel(uint32_t n_threads, uint32_t n, xq_turn_fn *turn, void *user);
/* Compiled twice, for AVX2 and for all: loops whose turns are independent, so that both give the same bits. */
#if defined(__SANITIZE_THREAD__)
#define XQ_ONCE /* the sanitizer is not there yet when the program chooses between the two */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define XQ_ONCE
#endif
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(XQ_ONCE)
#define XQ_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define XQ_WIDE
#endif
/* Cores that this process may use. */
uint32_t xq_cores(void);
#endif
