/* kernels.cu: the one file that instantiates the kernels: an entry NAME_cuda per line of kernels.def. */
#include "cuda/attention.cuh"
#include "cuda/matmul_half.cuh"
#include "cuda/rows.cuh"

#define BL_CUDA_KERNEL(name, threads, tile_x, tile_y, ...)                                                     \
    extern "C" __global__ void __launch_bounds__(threads) name##_cuda(const __grid_constant__ bl_cuda_args args) \
    {                                                                                                          \
        __VA_ARGS__(args);                                                                                     \
    }
#include "cuda/kernels.def"
#undef BL_CUDA_KERNEL
