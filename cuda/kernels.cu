/* kernels.cu: the one file that instantiates the kernels: an entry NAME_cuda per line of kernels.def. */
#include "cuda/attention_tile.cuh"
#include "cuda/matmul_f32.cuh"
#include "cuda/matmul_half.cuh"
#include "cuda/rows.cuh"
#include "cuda/xq_matvec.cuh"

/* Multiprocessors of other generations have room for fewer threads. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
#define BL_BLOCKS(blocks) (blocks)
#elif __CUDA_ARCH__ == 750
#define BL_BLOCKS(blocks) ((blocks) / 2)
#else
#define BL_BLOCKS(blocks) (((blocks) * 3 + 3) / 4)
#endif
#define BL_ENTRY(bounds, name, ...)                                                           \
    extern "C" __global__ void bounds name##_cuda(const __grid_constant__ bl_cuda_args args) \
    {                                                                                         \
        __VA_ARGS__(args);                                                                    \
    }
#define BL_CUDA_KERNEL(name, threads, tile_x, tile_y, ...) BL_ENTRY(__launch_bounds__(threads), name, __VA_ARGS__)
#define BL_CUDA_KERNEL_DENSE(blocks, name, threads, tile_x, tile_y, ...) \
    BL_ENTRY(__launch_bounds__(threads, BL_BLOCKS(blocks)), name, __VA_ARGS__)
#include "cuda/kernels.def"
#undef BL_CUDA_KERNEL
