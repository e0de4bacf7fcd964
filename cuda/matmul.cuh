/* matmul.cuh: products of many q8 rows with quantized matrices on the int8 matrix units, bit for bit as kernel_params.h says: the units give
 * exact integer sums over 16 columns, and every output adds its scaled sums in the order of the columns. A block makes 32 outputs of 64 rows;
 * of its four warps each has 16 outputs (the units' rows) of 32 rows (four times the units' columns). Weights are decoded once per block into
 * shared memory, four times 32 columns at a time; a fine plane is added where its row's block is dominant. */
#ifndef BL_CUDA_MATMUL_CUH
#define BL_CUDA_MATMUL_CUH
#include "cuda/matvec.cuh"

#define BL_MATMUL_OUTPUTS 32u
#define BL_MATMUL_ROWS 64u
#define BL_MATMUL_TILES 4u   /* of 8 rows each, of a warp */
#define BL_MATMUL_BLOCKS 4u  /* times 32 columns are staged together */
#define BL_MATMUL_WEIGHT 12u /* words of a staged weight block: 8 of q - offset, two scales, two minima, d, the scale of the minima */
#define BL_MATMUL_INPUT 20u  /* words of a staged input block: 19, and one that keeps rows on different banks */
static_assert(BL_LINEAR_ALIGN % BL_MATMUL_OUTPUTS == 0, "a block lies in one segment");
static_assert(sizeof(bl_q8_block) == 19 * 4, "staged word by word");

#ifndef bl_mma_s8_16x8x16
/* c += a * b on 16 x 16 and 16 x 8 bytes. Lane 4g + t has a: row g and row g + 8, columns 4t .. 4t + 3; b: column g, rows 4t .. 4t + 3;
 * c: rows g, g and g + 8, g + 8, columns 2t, 2t + 1. */
__device__ __forceinline__ void bl_mma_s8_16x8x16(int32_t *c, const uint32_t *a, uint32_t b)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
#else
    for (int i = 0; i < 2; i++)
        asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+r"(c[2 * i]), "+r"(c[2 * i + 1])
            : "r"(a[i]), "r"(b));
#endif
}
#endif

/* True where the two halves of 32 columns have scales of their own. */
template <int FORMAT> __host__ __device__ constexpr bool bl_has_halves()
{
    return FORMAT == BL_FMT_Q2_K || FORMAT == BL_FMT_Q3_K || FORMAT == BL_FMT_Q6_K;
}

__device__ __forceinline__ int32_t bl_low(uint32_t pair)
{
    return (int16_t)(uint16_t)pair;
}

__device__ __forceinline__ int32_t bl_high(uint32_t pair)
{
    return (int16_t)(uint16_t)(pair >> 16);
}

/* limit[r]: above this d a block of row r is dominant. Thread r adds the d of row r in ascending order, 32 staged at a time. */
__device__ __forceinline__ void bl_matmul_limits(const bl_linear_place &t, const uint32_t *x, SHARED_PARAMETER(uint32_t) staged,
                                                 SHARED_PARAMETER(float) limit)
{
    const uint32_t blocks = t.k / 32;
    float sum = 0;
    for (uint32_t b0 = 0; b0 < blocks; b0 += 32) {
        const uint32_t n = bl_min(32, blocks - b0), b = threadIdx.x % 32;
        for (uint32_t r = threadIdx.x / 32; r < t.rows; r += blockDim.x / 32)
            if (b < n)
                staged[r * 33 + b] = x[((size_t)r * blocks + b0 + b) * 19];
        __syncthreads();
        if (threadIdx.x < t.rows) {
#pragma unroll 8
            for (uint32_t i = 0; i < n; i++)
                sum = sum + bl_bits_f32(staged[threadIdx.x * 33 + i]);
        }
        __syncthreads();
    }
    if (threadIdx.x < t.rows)
        limit[threadIdx.x] = BL_Q8_DOMINANT * (sum / (float)blocks);
    __syncthreads();
}

/* Decodes blocks b0 .. b0 + n of the outputs; a thread has one of them. What is beyond the matrix is zero. */
template <int FORMAT> __device__ __forceinline__ void bl_stage_weights(const bl_linear_place &t, uint32_t b0, uint32_t n,
                                                                       SHARED_PARAMETER(uint32_t) staged)
{
    const uint32_t block = threadIdx.x % BL_MATMUL_BLOCKS, row = threadIdx.x / BL_MATMUL_BLOCKS;
    const uint32_t at = (block * BL_MATMUL_OUTPUTS + row) * BL_MATMUL_WEIGHT, sign = 0x80808080u;
    if (block >= n)
        return;
    if (t.output + row >= t.n) {
        for (uint32_t i = 0; i < BL_MATMUL_WEIGHT; i++)
            staged[at + i] = 0;
        return;
    }
    bl_block32 w;
    bl_decode32<FORMAT>(t.weights + (t.output + row) * bl_row_bytes<FORMAT>(t.k), b0 + block, w);
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) /* each byte less the offset; where there is one, q is below 64 */
        staged[at + i] = w.offset ? ((w.q[i] | sign) - (uint32_t)w.offset * 0x01010101u) ^ sign : w.q[i];
    staged[at + 8] = (uint32_t)(uint16_t)w.scale[0] | (uint32_t)w.scale[1] << 16;
    staged[at + 9] = (uint32_t)(uint16_t)w.min[0] | (uint32_t)w.min[1] << 16;
    staged[at + 10] = bl_f32_bits(bl_half(w.d));
    staged[at + 11] = bl_f32_bits(bl_min_scale(bl_is_k<FORMAT>(), w.e));
}

/* The input of the same columns; rows up to a multiple of 8, those beyond the last are zero. */
__device__ __forceinline__ void bl_stage_input(const bl_linear_place &t, const uint32_t *x, uint32_t b0, uint32_t n,
                                               SHARED_PARAMETER(uint32_t) staged)
{
    const uint32_t words = n * 19, blocks = t.k / 32, rows = (t.rows + 7) / 8 * 8;
    for (uint32_t r = threadIdx.x / 32; r < rows; r += blockDim.x / 32)
        for (uint32_t w = threadIdx.x % 32; w < words; w += 32)
            staged[(w / 19 * BL_MATMUL_ROWS + r) * BL_MATMUL_INPUT + w % 19] = r < t.rows ? x[((size_t)r * blocks + b0) * 19 + w] : 0;
}

/* What a lane knows of its two weight rows in one block. */
struct bl_matmul_rows {
    uint32_t a[2][2]; /* half, row */
    uint32_t scale[2], min[2];
    float d[2], e[2];
};

/* Adds one plane of 32 columns: `words` of its sums and bytes begin at `at` for the lane's own input row, at `columns` for its two outputs'. */
template <int FORMAT>
__device__ __forceinline__ void bl_matmul_plane(const bl_matmul_rows &w, SHARED_PARAMETER(uint32_t) input, uint32_t at, const uint32_t *columns,
                                                uint32_t plane, const float *factor, const bool *is_added, float *acc)
{
    const uint32_t word = threadIdx.x % 4, q = plane + 1;
    int32_t dot[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    constexpr uint32_t second = bl_has_halves<FORMAT>() ? 1 : 0;
    bl_mma_s8_16x8x16(dot[0], w.a[0], input[at + q + word]);
    bl_mma_s8_16x8x16(dot[second], w.a[1], input[at + q + 4 + word]);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = i / 2, column = i % 2;
        int32_t isum = bl_low(w.scale[row]) * dot[0][i];
        if (bl_has_halves<FORMAT>())
            isum += bl_high(w.scale[row]) * dot[1][i];
        float y = w.d[row] * (float)isum;
        if (bl_has_min<FORMAT>()) {
            const uint32_t sums = input[columns[column] + plane];
            y = y + w.e[row] * (float)(bl_low(w.min[row]) * bl_low(sums) + bl_high(w.min[row]) * bl_high(sums));
        }
        if (is_added[column])
            acc[i] = acc[i] + factor[column] * y;
    }
}

template <int FORMAT>
__device__ __forceinline__ void bl_matmul_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(uint32_t) weights,
                                               SHARED_PARAMETER(uint32_t) input, SHARED_PARAMETER(float) limit)
{
    const uint32_t *x = bl_binding<const uint32_t>(args, 1) + (size_t)t.row * (t.k / 32) * 19;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, blocks = t.k / 32;
    const uint32_t first_output = warp % 2 * 16, first_row = warp / 2 * 8 * BL_MATMUL_TILES;
    float acc[BL_MATMUL_TILES][4];
#pragma unroll
    for (uint32_t tile = 0; tile < BL_MATMUL_TILES; tile++)
        for (uint32_t i = 0; i < 4; i++)
            acc[tile][i] = 0;
    for (uint32_t b0 = 0; b0 < blocks; b0 += BL_MATMUL_BLOCKS) {
        const uint32_t n = bl_min(BL_MATMUL_BLOCKS, blocks - b0);
        bl_stage_weights<FORMAT>(t, b0, n, weights);
        bl_stage_input(t, x, b0, n, input);
        __syncthreads();
        for (uint32_t b = 0; b < n; b++) {
            bl_matmul_rows w;
#pragma unroll
            for (uint32_t row = 0; row < 2; row++) {
                const uint32_t at = (b * BL_MATMUL_OUTPUTS + first_output + group + 8 * row) * BL_MATMUL_WEIGHT;
                w.a[0][row] = weights[at + lane % 4];
                w.a[1][row] = weights[at + 4 + lane % 4];
                w.scale[row] = weights[at + 8];
                w.min[row] = weights[at + 9];
                w.d[row] = bl_bits_f32(weights[at + 10]);
                w.e[row] = bl_bits_f32(weights[at + 11]);
            }
#pragma unroll
            for (uint32_t tile = 0; tile < BL_MATMUL_TILES; tile++) {
                const uint32_t row = first_row + 8 * tile;
                if (row >= t.rows) /* the same for the whole warp */
                    break;
                const uint32_t base = b * BL_MATMUL_ROWS, at = (base + row + group) * BL_MATMUL_INPUT;
                uint32_t columns[2];
                float d[2], fine[2];
                bool always[2], dominant[2];
#pragma unroll
                for (uint32_t column = 0; column < 2; column++) {
                    const uint32_t r = row + 2 * (lane % 4) + column;
                    columns[column] = (base + r) * BL_MATMUL_INPUT;
                    d[column] = bl_bits_f32(input[columns[column]]);
                    fine[column] = d[column] * BL_Q8_FINE;
                    always[column] = true;
                    dominant[column] = r < t.rows && d[column] > limit[r];
                }
                bl_matmul_plane<FORMAT>(w, input, at, columns, 1, d, always, acc[tile]);
                bl_matmul_plane<FORMAT>(w, input, at, columns, 10, fine, dominant, acc[tile]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (uint32_t tile = 0; tile < BL_MATMUL_TILES; tile++) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t output = t.output + first_output + group + i / 2 * 8, row = first_row + 8 * tile + 2 * (lane % 4) + i % 2;
            if (output < t.n && row < t.rows)
                bl_linear_store(args, t, output, row, acc[tile][i]);
        }
    }
}

template <int FORMAT> __device__ __forceinline__ void bl_matmul_q8(const bl_cuda_args &args)
{
    SHARED(uint32_t, weights, BL_MATMUL_BLOCKS * BL_MATMUL_OUTPUTS * BL_MATMUL_WEIGHT);
    SHARED(uint32_t, input, BL_MATMUL_BLOCKS * BL_MATMUL_ROWS * BL_MATMUL_INPUT);
    SHARED(float, limit, BL_MATMUL_ROWS);
    bl_linear_place t;
    if (!bl_linear_find<BL_MATMUL_OUTPUTS, BL_MATMUL_ROWS>(args, t))
        return;
    bl_matmul_limits(t, bl_binding<const uint32_t>(args, 1) + (size_t)t.row * (t.k / 32) * 19, input, limit);
    if (FORMAT != BL_FMT_MIX) {
        bl_matmul_tile<FORMAT == BL_FMT_MIX ? BL_FMT_Q8_0 : FORMAT>(args, t, weights, input, limit);
        return;
    }
    switch (t.format) {
#define BL_CASE(NAME)                                                          \
    case BL_FMT_##NAME:                                                        \
        if (FORMAT == BL_FMT_MIX)                                              \
            bl_matmul_tile<BL_FMT_##NAME>(args, t, weights, input, limit);     \
        break;
        BL_FOR_QUANTS(BL_CASE)
#undef BL_CASE
    }
}
#endif
