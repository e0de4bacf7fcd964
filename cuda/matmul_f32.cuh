/* matmul_f32.cuh: products of many rows of f32 activations with matrices of every format, bit for bit as matvec.cuh: eight lanes have the
 * columns mod 8 of an output, and each adds them in ascending order. A block has 32 outputs x 32 rows, a warp 16 x 16; weights, dequantised, and
 * activations come through shared memory, 128 columns at a time. */
#ifndef BL_CUDA_MATMUL_F32_CUH
#define BL_CUDA_MATMUL_F32_CUH
#include "cuda/matvec.cuh"

#define BL_SQUARE 32u         /* outputs and rows of a block */
#define BL_SQUARE_THREADS 128u
#define BL_SQUARE_COLUMNS 128u
#define BL_SQUARE_STRIDE 136u /* from line to line: the lanes of a warp meet 32 banks */
static_assert(BL_SQUARE_COLUMNS == BL_SQUARE_THREADS && BL_SQUARE * BL_SQUARE_COLUMNS / 32 == BL_SQUARE_THREADS, "who stages what");

/* n columns from c0 on; lines that are not there repeat the last one and are never stored. */
template <int FORMAT>
__device__ __forceinline__ void bl_square_stage(const bl_cuda_args &args, const bl_linear_place &t, uint32_t c0, uint32_t n,
                                                SHARED_PARAMETER(float) weights, SHARED_PARAMETER(float) input)
{
    const float *x = bl_binding<const float>(args, 1) + (size_t)t.row * t.k + c0;
    const size_t row_bytes = bl_row_bytes<FORMAT>(t.k);
    const uint32_t thread = threadIdx.x;
    if constexpr (bl_is_quant<FORMAT>()) {
        const uint32_t line = thread / 4, block = thread % 4;
        if (32 * block < n) {
            bl_block32 b;
            bl_decode32<FORMAT>(t.weights + bl_min(t.output + line, t.n - 1) * row_bytes, c0 / 32 + block, b);
#pragma unroll
            for (uint32_t c = 0; c < 32; c += 4) {
                const float w[4] = {bl_weight<FORMAT>(b, c), bl_weight<FORMAT>(b, c + 1), bl_weight<FORMAT>(b, c + 2), bl_weight<FORMAT>(b, c + 3)};
                BL_STORE4(weights, line * BL_SQUARE_STRIDE + 32 * block + c, w);
            }
        }
    } else {
#pragma unroll 8
        for (uint32_t line = 0; line < BL_SQUARE; line++)
            if (thread < n)
                weights[line * BL_SQUARE_STRIDE + thread] =
                    bl_float_weight<FORMAT>(t.weights + bl_min(t.output + line, t.n - 1) * row_bytes, c0 + thread);
    }
#pragma unroll 8
    for (uint32_t line = 0; line < BL_SQUARE; line++)
        if (thread < n)
            input[line * BL_SQUARE_STRIDE + thread] = x[(size_t)bl_min(line, t.rows - 1) * t.k + thread];
}

template <int FORMAT>
__device__ __forceinline__ void bl_square_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(float) weights,
                                               SHARED_PARAMETER(float) input, SHARED_PARAMETER(float) sides)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, j = lane % 8, output = warp % 2 * 16 + lane / 8, first = warp / 2 * 16;
    float s[4][16] = {};
    for (uint32_t c0 = 0; c0 < t.k; c0 += BL_SQUARE_COLUMNS) {
        const uint32_t n = bl_min(BL_SQUARE_COLUMNS, t.k - c0);
        bl_square_stage<FORMAT>(args, t, c0, n, weights, input);
        __syncthreads();
        for (uint32_t c = j; c < n && first < t.rows; c += 8) {
            float w[4];
#pragma unroll
            for (uint32_t o = 0; o < 4; o++)
                w[o] = weights[(output + 4 * o) * BL_SQUARE_STRIDE + c];
#pragma unroll
            for (uint32_t r = 0; r < 16; r++) {
                const float x = input[(first + r) * BL_SQUARE_STRIDE + c];
#pragma unroll
                for (uint32_t o = 0; o < 4; o++)
                    s[o][r] = s[o][r] + x * w[o];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (uint32_t i = 0; i < 64; i++) {
        const uint32_t o = t.output + output + i / 16 * 4, r = first + i % 16;
        const float y = bl_tree8(s[i / 16][i % 16]);
        if (j == 0 && o < t.n && r < t.rows)
            bl_matvec_result<BL_SQUARE>(args, t, o, r, y, sides);
    }
}

template <int FORMAT> __device__ __forceinline__ void bl_matmul_f32(const bl_cuda_args &args)
{
    SHARED(float, weights, BL_SQUARE * BL_SQUARE_STRIDE);
    SHARED(float, input, BL_SQUARE * BL_SQUARE_STRIDE);
    SHARED(float, sides, 2 * BL_SQUARE * 32);
    bl_linear_place t;
    if (!bl_linear_find_at<BL_SQUARE>(args, blockIdx.x * BL_SQUARE, t))
        return;
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
#pragma unroll 1
    for (uint32_t side = 0; side < (is_glu ? 2 : 1); side++) {
        if (side == 1)
            bl_linear_side(args, t, 1);
        bl_of_format<FORMAT, true>(t.format, [&](auto tag) { bl_square_tile<tag.format>(args, t, weights, input, sides); });
    }
    if (!is_glu)
        return;
    __syncthreads();
    bl_matvec_finish<BL_SQUARE_THREADS / 32, BL_SQUARE>(args, t, sides);
}
#endif
