/* driver_layout.c: our own words for the driver's interface (backends/cuda/driver.h) beside NVIDIA's header: sizes, places, numbers. Compiled
 * by nvcc, which knows where cuda.h is; what it has to say is said by the compiler. */
#include "backends/cuda/driver.h"

#include <cuda.h>

#define SAME(ours, theirs) _Static_assert((long)(ours) == (long)(theirs), #ours " is not " #theirs)
#define PLACE(ours, field, theirs, name)                                    \
    SAME(offsetof(struct ours, field), offsetof(theirs, name));             \
    SAME(sizeof(((struct ours *)0)->field), sizeof(((theirs *)0)->name))

SAME(sizeof(cu_result), sizeof(CUresult));
SAME(sizeof(cu_ordinal), sizeof(CUdevice));
SAME(sizeof(cu_address), sizeof(CUdeviceptr));
SAME(CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
SAME(CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
SAME(CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE);
SAME(CU_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU);
SAME(CU_UNSUPPORTED_PTX_VERSION, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
SAME(CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
SAME(CU_NOT_READY, CUDA_ERROR_NOT_READY);
SAME(CU_UNKNOWN, CUDA_ERROR_UNKNOWN);
SAME(CU_ATTRIBUTE_PROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(CU_ATTRIBUTE_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED);
SAME(CU_ATTRIBUTE_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(CU_ATTRIBUTE_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(CU_ATTRIBUTE_HOST_REGISTER, CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED);
SAME(CU_ATTRIBUTE_READ_ONLY_HOST_REGISTER, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED);
SAME(CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
SAME(CU_HOST_MAPPED, CU_MEMHOSTALLOC_DEVICEMAP);
SAME(CU_HOST_MAPPED, CU_MEMHOSTREGISTER_DEVICEMAP);
SAME(CU_HOST_READ_ONLY, CU_MEMHOSTREGISTER_READ_ONLY);
SAME(CU_STREAM_APART, CU_STREAM_NON_BLOCKING);
SAME(CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING);
SAME(CU_MEMORY_HOST, CU_MEMORYTYPE_HOST);
SAME(CU_MEMORY_DEVICE, CU_MEMORYTYPE_DEVICE);

/* cuGraphAddKernelNode is the first version; the header redirects the name to the second, which begins the same. */
PLACE(cu_kernel_params, function, CUDA_KERNEL_NODE_PARAMS_v1, func);
PLACE(cu_kernel_params, shared_bytes, CUDA_KERNEL_NODE_PARAMS_v1, sharedMemBytes);
PLACE(cu_kernel_params, arguments, CUDA_KERNEL_NODE_PARAMS_v1, kernelParams);
PLACE(cu_kernel_params, extra, CUDA_KERNEL_NODE_PARAMS_v1, extra);
SAME(offsetof(struct cu_kernel_params, grid), offsetof(CUDA_KERNEL_NODE_PARAMS_v1, gridDimX));
SAME(offsetof(struct cu_kernel_params, block), offsetof(CUDA_KERNEL_NODE_PARAMS_v1, blockDimX));
SAME(sizeof(struct cu_kernel_params), sizeof(CUDA_KERNEL_NODE_PARAMS_v1));

PLACE(cu_copy_params, from.x, CUDA_MEMCPY3D, srcXInBytes);
PLACE(cu_copy_params, from.memory, CUDA_MEMCPY3D, srcMemoryType);
PLACE(cu_copy_params, from.host, CUDA_MEMCPY3D, srcHost);
PLACE(cu_copy_params, from.device, CUDA_MEMCPY3D, srcDevice);
PLACE(cu_copy_params, from.array, CUDA_MEMCPY3D, srcArray);
PLACE(cu_copy_params, from.pitch, CUDA_MEMCPY3D, srcPitch);
PLACE(cu_copy_params, from.height, CUDA_MEMCPY3D, srcHeight);
PLACE(cu_copy_params, to.x, CUDA_MEMCPY3D, dstXInBytes);
PLACE(cu_copy_params, to.memory, CUDA_MEMCPY3D, dstMemoryType);
PLACE(cu_copy_params, to.host, CUDA_MEMCPY3D, dstHost);
PLACE(cu_copy_params, to.device, CUDA_MEMCPY3D, dstDevice);
PLACE(cu_copy_params, to.height, CUDA_MEMCPY3D, dstHeight);
PLACE(cu_copy_params, width, CUDA_MEMCPY3D, WidthInBytes);
PLACE(cu_copy_params, height, CUDA_MEMCPY3D, Height);
PLACE(cu_copy_params, depth, CUDA_MEMCPY3D, Depth);
SAME(sizeof(struct cu_copy_params), sizeof(CUDA_MEMCPY3D));

PLACE(cu_fill_params, to, CUDA_MEMSET_NODE_PARAMS, dst);
PLACE(cu_fill_params, pitch, CUDA_MEMSET_NODE_PARAMS, pitch);
PLACE(cu_fill_params, value, CUDA_MEMSET_NODE_PARAMS, value);
PLACE(cu_fill_params, element_bytes, CUDA_MEMSET_NODE_PARAMS, elementSize);
PLACE(cu_fill_params, width, CUDA_MEMSET_NODE_PARAMS, width);
PLACE(cu_fill_params, height, CUDA_MEMSET_NODE_PARAMS, height);
