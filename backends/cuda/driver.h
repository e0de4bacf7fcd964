/* driver.h: the part of the CUDA driver's interface that the back end uses, in our own words: its types, its numbers, its functions as one
 * table. The driver keeps these layouts and symbols for good, so no CUDA header is needed to build. Knows no object of ours. */
#ifndef BL_CUDA_DRIVER_H
#define BL_CUDA_DRIVER_H
#include <stddef.h>

typedef int cu_result;
typedef int cu_ordinal;
typedef unsigned long long cu_address;
typedef struct cu_context_object *cu_context;
typedef struct cu_module_object *cu_module;
typedef struct cu_function_object *cu_function;
typedef struct cu_stream_object *cu_stream;
typedef struct cu_event_object *cu_event;
typedef struct cu_graph_object *cu_graph;
typedef struct cu_graph_node_object *cu_graph_node;
typedef struct cu_graph_exec_object *cu_graph_exec;

enum { /* results */
    CU_OK = 0,
    CU_OUT_OF_MEMORY = 2,
    CU_NO_DEVICE = 100,
    CU_INVALID_IMAGE = 200,
    CU_NO_BINARY_FOR_GPU = 209,
    CU_UNSUPPORTED_PTX_VERSION = 222,
    CU_NOT_FOUND = 500,
    CU_NOT_READY = 600,
    CU_UNKNOWN = 999,
};
enum { /* attributes of a device */
    CU_ATTRIBUTE_PROCESSORS = 16,
    CU_ATTRIBUTE_INTEGRATED = 18,
    CU_ATTRIBUTE_MAJOR = 75,
    CU_ATTRIBUTE_MINOR = 76,
    CU_ATTRIBUTE_HOST_REGISTER = 99,
    CU_ATTRIBUTE_READ_ONLY_HOST_REGISTER = 113,
};
enum { /* flags */
    CU_HOST_PORTABLE = 1,
    CU_HOST_MAPPED = 2,
    CU_HOST_READ_ONLY = 8, /* of mem_host_register */
    CU_STREAM_APART = 1,
    CU_EVENT_NO_TIMING = 2,
};
enum { CU_MEMORY_HOST = 1, CU_MEMORY_DEVICE = 2 };

struct cu_kernel_params {
    cu_function function;
    unsigned grid[3], block[3], shared_bytes;
    void **arguments, **extra;
};
struct cu_copy_side {
    size_t x, y, z, lod;
    unsigned memory;
    const void *host;
    cu_address device;
    void *array, *reserved;
    size_t pitch, height;
};
struct cu_copy_params {
    struct cu_copy_side from, to;
    size_t width, height, depth; /* bytes, rows, planes */
};
struct cu_fill_params {
    cu_address to;
    size_t pitch;
    unsigned value, element_bytes;
    size_t width, height; /* elements, rows */
};

struct cu_driver {
    void *library;
#define CU_FN(name, symbol, parameters) cu_result(*name) parameters;
#include "fns.def"
#undef CU_FN
};
#endif
