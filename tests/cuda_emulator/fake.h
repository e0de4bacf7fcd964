/* fake.h: the stand-in for the CUDA driver: libcuda.so.1 with the entry points that the back end uses, computing through the emulator.
 * Private to the fake driver. It is strict where a driver forgives: a call without a current context is refused, device memory faults when
 * the host touches it, work runs in a random legal order, and what was not given back is counted.
 *
 * Knobs in the environment, read at cuInit:
 *   BITLOOM_FAKE_CUDA_SEED        the random order (1)
 *   BITLOOM_FAKE_CUDA_FAIL        N:CODE, the N-th call answers CODE
 *   BITLOOM_FAKE_CUDA_LOST        N, from the N-th call on every call answers 719
 *   BITLOOM_FAKE_CUDA_MEMORY      bytes of device memory (8 GiB)
 *   BITLOOM_FAKE_CUDA_DEVICES     number of devices (1)
 *   BITLOOM_FAKE_CUDA_CAPABILITY  90
 *   BITLOOM_FAKE_CUDA_INTEGRATED  1: the processor and the device share memory
 *   BITLOOM_FAKE_CUDA_CHECKED     1: the emulator checks every access to shared memory (slow)
 *   BITLOOM_FAKE_CUDA_NO_CODE     1: no module fits the device */
#ifndef BL_FAKE_CUDA_H
#define BL_FAKE_CUDA_H
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/cuda/driver.h"

enum { FAKE_INVALID_VALUE = 1, FAKE_INVALID_CONTEXT = 201, FAKE_ILLEGAL_ADDRESS = 700, FAKE_LAUNCH_FAILED = 719 };

/* ---- memory (fake_memory.cpp); the caller holds no lock ---- */

void fake_memory_limit(uint64_t bytes);
uint64_t fake_memory_used();
cu_address fake_allocate(size_t bytes); /* 0: out of memory */
bool fake_free(cu_address address);
void fake_free_all();
void fake_add_host(void *host, size_t bytes, bool pinned);
/* Forgets host memory of that kind; false when there is none at that address. */
bool fake_remove_host(void *host, bool pinned);
/* Where the host really finds a range of device memory or of memory that the device may use; nullptr when it is neither. */
void *fake_memory(cu_address address, size_t bytes);

/* ---- kernels (fake_kernels.cpp) ---- */

struct fake_kernel;
const fake_kernel *fake_find_kernel(const char *name);
/* True when the block is what the table says. */
bool fake_kernel_takes(const fake_kernel *kernel, const unsigned block[3]);
/* The arguments as given by the host; translated before the kernel sees them. False with a line on stderr. */
bool fake_run_kernel(const fake_kernel *kernel, const unsigned grid[3], const unsigned char *arguments, bool checked, uint64_t random);
size_t fake_argument_bytes();

/* ---- work (fake_work.cpp) ---- */

enum fake_node_kind { FAKE_KERNEL, FAKE_COPY, FAKE_FILL, FAKE_EVENT };
struct fake_record { /* one recording of an event */
    bool done = false;
    double ms = 0;
};
struct cu_event_object {
    std::shared_ptr<fake_record> last;
    bool timed = false;
};
struct fake_node {
    fake_node_kind kind;
    std::vector<size_t> after;
    const fake_kernel *kernel;
    unsigned grid[3];
    std::vector<unsigned char> arguments;
    cu_address to, from;
    size_t bytes;
    uint32_t value;
    cu_event event;
};
struct cu_graph_object {
    std::vector<fake_node> nodes;
};

void fake_work_start(uint64_t seed, bool checked);
void fake_work_stop();
void fake_work_fail();   /* the device is lost: nothing runs any more when it returns */
void fake_work_mend();
bool fake_work_failed(); /* a kernel or a copy went wrong: the device is lost */
cu_stream fake_stream_create();
void fake_stream_destroy(cu_stream stream); /* waits for its work */
void fake_stream_synchronize(cu_stream stream);
void fake_stream_wait(cu_stream stream, cu_event event);
void fake_stream_record(cu_stream stream, cu_event event);
cu_graph_exec fake_exec_create(const cu_graph_object &graph);
void fake_exec_destroy(cu_graph_exec exec);
void fake_stream_launch(cu_stream stream, cu_graph_exec exec);
bool fake_event_done(cu_event event);
void fake_event_synchronize(cu_event event);
bool fake_event_time(cu_event event, double *ms);
#endif
