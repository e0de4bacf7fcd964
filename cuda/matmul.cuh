/* matmul.cuh: products of many rows of q8 activations with matrices of every quantised format and of X bits, on the integer tensor cores. The
 * same bits as matvec.cuh: the dots of 32 columns are exact integers wherever they are computed, and each thread adds its outputs' terms in
 * ascending order. A block has BL_MATMUL_OUTPUTS x BL_MATMUL_ROWS results, four warps of 16 outputs and half of the rows. Activations come
 * through shared memory, one block of 32 columns ahead of the multiplication; weights from global memory into the fragments of the lanes. */
#ifndef BL_CUDA_MATMUL_CUH
#define BL_CUDA_MATMUL_CUH
#include "cuda/matvec.cuh"
#include "cuda/xq.cuh"

#define BL_MATMUL_THREADS 128u
#define BL_MATMUL_OUTPUTS 32u
#define BL_MATMUL_ROWS 128u
#define BL_MATMUL_TILES 8u       /* of eight rows, per warp */
#define BL_Q8_WORDS 19u
#define BL_STAGED_WORDS 20u      /* from row to row in shared memory: then the lanes of a warp meet 32 banks */
static_assert(BL_MATMUL_OUTPUTS == BL_LINEAR_ALIGN, "a block lies in one segment");
static_assert(BL_MATMUL_ROWS == 2 * 8 * BL_MATMUL_TILES && sizeof(bl_q8_block) == 4 * BL_Q8_WORDS, "tile");

#ifndef BL_COPY_ASYNC /* the emulator has its own */
/* Copies a word from global to shared memory; it is there after the wait that leaves at most `later` younger groups under way, for others
 * after a barrier too. Before sm_80 at once. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define BL_COPY_ASYNC(array, index, from)                                                                                      \
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"((uint32_t)__cvta_generic_to_shared(&array[index])), "l"(from) : "memory")
#define BL_COPY_COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define BL_COPY_WAIT(later) asm volatile("cp.async.wait_group %0;" ::"n"(later) : "memory")
#else
#define BL_COPY_ASYNC(array, index, from) ((void)(array[index] = *(from)))
#define BL_COPY_COMMIT() ((void)0)
#define BL_COPY_WAIT(later) ((void)0)
#endif
/* c[16][8] += a[16][16] * b[16][8], bytes with sign; the fragments are those of mma.m16n8k16. */
__device__ __forceinline__ void bl_mma_s8_16x8x16(int32_t (&c)[4], const uint32_t (&a)[2], uint32_t b)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b));
#elif defined(__CUDA_ARCH__) /* Turing: eight rows at a time */
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(c[0]), "+r"(c[1]) : "r"(a[0]), "r"(b));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(c[2]), "+r"(c[3]) : "r"(a[1]), "r"(b));
#endif
}
/* The same over 32 columns: a[0], a[1], b[0] are the first 16. */
__device__ __forceinline__ void bl_mma_s8_16x8x32(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    bl_mma_s8_16x8x16(c, {a[0], a[1]}, b[0]);
    bl_mma_s8_16x8x16(c, {a[2], a[3]}, b[1]);
#endif
}
#endif

/* True when the two halves of a block have scales of their own: then their dots are kept apart. */
template <int FORMAT> __host__ __device__ constexpr bool bl_has_halves()
{
    return FORMAT == BL_FMT_Q2_K || FORMAT == BL_FMT_Q3_K || FORMAT == BL_FMT_Q6_K;
}

/* limit[r]: above this d a block of row r is dominant; thread r adds the row's d in ascending order. */
__device__ __forceinline__ void bl_matmul_limits(const bl_linear_place &t, const bl_q8_block *x, float dominant, SHARED_PARAMETER(float) limit)
{
    const uint32_t blocks = t.k / 32, r = threadIdx.x;
    static_assert(BL_MATMUL_ROWS == BL_MATMUL_THREADS, "a thread per row");
    float sum = 0;
    if (r < t.rows) {
#pragma unroll 8
        for (uint32_t b = 0; b < blocks; b++)
            sum = sum + x[(size_t)r * blocks + b].d;
    }
    limit[r] = dominant * (sum / (float)blocks);
}

/* Block b of all rows to one half of the staging memory; rows that are not there repeat the last one and are never stored. */
__device__ __forceinline__ void bl_matmul_stage(const bl_linear_place &t, const bl_q8_block *x, uint32_t b, SHARED_PARAMETER(uint32_t) staged)
{
    const uint32_t half = b % 2 * (BL_MATMUL_ROWS * BL_STAGED_WORDS), rows = (t.rows + 7) / 8 * 8;
    for (uint32_t i = threadIdx.x; i < rows * BL_Q8_WORDS; i += BL_MATMUL_THREADS) {
        const uint32_t row = i / BL_Q8_WORDS, word = i % BL_Q8_WORDS;
        const uint32_t *from = reinterpret_cast<const uint32_t *>(&x[(size_t)bl_min(row, t.rows - 1) * (t.k / 32) + b]) + word;
        BL_COPY_ASYNC(staged, half + row * BL_STAGED_WORDS + word, from);
    }
    BL_COPY_COMMIT();
}

__device__ __forceinline__ int32_t bl_low_half(uint32_t word)
{
    return (int16_t)(word & 0xffffu);
}

__device__ __forceinline__ int32_t bl_high_half(uint32_t word)
{
    return (int16_t)(word >> 16);
}

/* Adds one plane of one block to the results of eight rows. plane: its first word in `staged`, of row 0 of the tile; factor 0: not this one. */
template <int FORMAT>
__device__ __forceinline__ void bl_matmul_plane(const bl_scales (&w)[2], const uint32_t (&a)[4], SHARED_PARAMETER(uint32_t) staged,
                                                uint32_t plane, const float (&factor)[2], const bool (&counts)[2], float (&acc)[4])
{
    const uint32_t lane = threadIdx.x % 32, column = plane + lane / 4 * BL_STAGED_WORDS + 1 + lane % 4;
    const uint32_t b[2] = {staged[column], staged[column + 4]};
    int32_t dot[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (bl_has_halves<FORMAT>()) {
        const uint32_t first[2] = {a[0], a[1]}, second[2] = {a[2], a[3]};
        bl_mma_s8_16x8x16(dot[0], first, b[0]);
        bl_mma_s8_16x8x16(dot[1], second, b[1]);
    } else { /* both halves have one scale: which of them a column is counted in does not matter */
        bl_mma_s8_16x8x32(dot[0], a, b);
    }
#pragma unroll
    for (uint32_t c = 0; c < 2; c++) {
        const uint32_t sums = staged[plane + (lane % 4 * 2 + c) * BL_STAGED_WORDS];
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            const float term = factor[c] * bl_scale_dot<FORMAT>(w[r], dot[0][2 * r + c], dot[1][2 * r + c], bl_low_half(sums), bl_high_half(sums));
            if (counts[c])
                acc[2 * r + c] = acc[2 * r + c] + term;
        }
    }
}

/* Adds both planes of block b, of which `a` are the bytes and w the scales, to the results of the warp; X-bit weights have one more factor. */
template <int FORMAT>
__device__ __forceinline__ void bl_matmul_block(const bl_linear_place &t, const bl_scales (&w)[2], const uint32_t (&a)[4], SHARED_PARAMETER(uint32_t) staged,
                                                uint32_t b, float unit, SHARED_PARAMETER(float) limit, float (&acc)[BL_MATMUL_TILES][4])
{
    const uint32_t lane = threadIdx.x % 32, first = threadIdx.x / 64 * 8 * BL_MATMUL_TILES;
#pragma unroll
    for (uint32_t tile = 0; tile < BL_MATMUL_TILES; tile++) {
        const uint32_t r = first + 8 * tile, at = b % 2 * (BL_MATMUL_ROWS * BL_STAGED_WORDS) + r * BL_STAGED_WORDS;
        if (r < t.rows) { /* the same for the whole warp */
            float coarse[2], fine[2];
            bool is_dominant[2];
            const bool always[2] = {true, true};
#pragma unroll
            for (uint32_t c = 0; c < 2; c++) {
                const uint32_t column = lane % 4 * 2 + c;
                const float d = __uint_as_float(staged[at + column * BL_STAGED_WORDS]);
                coarse[c] = FORMAT == BL_FMT_BX ? d * unit : d;
                fine[c] = FORMAT == BL_FMT_BX ? (d * BL_Q8_FINE) * unit : d * BL_Q8_FINE;
                is_dominant[c] = d > limit[r + column];
            }
            bl_matmul_plane<FORMAT>(w, a, staged, at + 1, coarse, always, acc[tile]);
            bl_matmul_plane<FORMAT>(w, a, staged, at + 10, fine, is_dominant, acc[tile]);
        }
    }
}

template <int FORMAT>
__device__ __forceinline__ void bl_matmul_q8_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(uint32_t) staged,
                                                  SHARED_PARAMETER(float) limit, float (&acc)[BL_MATMUL_TILES][4])
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, blocks = t.k / 32;
    const uint32_t output = t.output + warp % 2 * 16 + lane / 4;
    const bl_q8_block *x = bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * blocks;
    const size_t row_bytes = bl_row_bytes<FORMAT>(t.k);
    const uint8_t *row[2];
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) /* outputs that are not there repeat the last one and are never stored */
        row[r] = t.weights + bl_min(output + 8 * r, t.n - 1) * row_bytes;
    bl_matmul_stage(t, x, 0, staged);
    for (uint32_t b = 0; b < blocks; b++) {
        if (b + 1 < blocks) {
            bl_matmul_stage(t, x, b + 1, staged);
            BL_COPY_WAIT(1);
        } else {
            BL_COPY_WAIT(0);
        }
        const uint32_t j = bl_is_k<FORMAT>() ? b % 8 : 0;
        bl_scales w[2];
        uint32_t a[4];
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            const uint8_t *block = bl_block_at<FORMAT>(row[r], b);
            bl_decode_scales<FORMAT>(block, j, w[r]);
            a[r] = bl_quant_word<FORMAT>(block, j, lane % 4);
            a[r + 2] = bl_quant_word<FORMAT>(block, j, lane % 4 + 4);
        }
        __syncthreads();
        bl_matmul_block<FORMAT>(t, w, a, staged, b, 1.0f, limit, acc);
        __syncthreads();
    }
}

/* Of X-bit weights: a warp has two tiles of eight outputs. */
__device__ __forceinline__ void bl_matmul_xq_tile(const bl_cuda_args &args, const bl_linear_place &t, SHARED_PARAMETER(uint32_t) staged,
                                                  SHARED_PARAMETER(float) limit, float (&acc)[BL_MATMUL_TILES][4])
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, blocks = t.k / 32, first = warp / 2 * 8 * BL_MATMUL_TILES + lane % 4 * 2;
    const bl_q8_block *x = bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * blocks;
    const bl_xq_tile unit = bl_xq_tile_of(t.weights, bl_push<bl_params_linear>(args).first_row[t.segment] + t.output);
    const uint32_t last = (t.n - 1 - t.output) / BL_XQ_TILE; /* tiles that are not there repeat the last one and are never stored */
    const bl_xq_tile tile[2] = {bl_xq_tile_after(unit, bl_min(warp % 2 * 2, last)), bl_xq_tile_after(unit, bl_min(warp % 2 * 2 + 1, last))};
    bl_xq_walk walk;
    bl_xq_begin(unit, walk);
    bl_matmul_stage(t, x, 0, staged);
    for (uint32_t b = 0; b < blocks; b++) {
        if (b + 1 < blocks) {
            bl_matmul_stage(t, x, b + 1, staged);
            BL_COPY_WAIT(1);
        } else {
            BL_COPY_WAIT(0);
        }
        bl_scales w[2];
        uint32_t a[4];
        bl_xq_seek(unit, walk, b);
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            bl_xq_levels levels;
            bl_xq_load(tile[r], walk, b, lane / 4, lane % 4, levels);
            a[r] = levels.w[0];
            a[r + 2] = levels.w[1];
            w[r].scale[0] = levels.scale;
            w[r].min[0] = levels.offset;
        }
        __syncthreads();
        bl_matmul_block<BL_FMT_BX>(t, w, a, staged, b, walk.unit, limit, acc);
        __syncthreads();
    }
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        const float scale = bl_xq_row_scale(tile[r], lane / 4);
#pragma unroll
        for (uint32_t i = 0; i < 2 * BL_MATMUL_TILES; i++)
            acc[i / 2][2 * r + i % 2] = scale * acc[i / 2][2 * r + i % 2];
        bl_xq_outliers(unit.header, tile[r].row + lane / 4, [&](uint32_t c, float value) {
#pragma unroll
            for (uint32_t i = 0; i < 2 * BL_MATMUL_TILES; i++) {
                const size_t m = bl_min(first + i / 2 * 8 + i % 2, t.rows - 1); /* rows that are not there are never stored */
                acc[i / 2][2 * r + i % 2] = acc[i / 2][2 * r + i % 2] + value * bl_xq_q8_column(x + m * blocks, c);
            }
        });
    }
}

template <int FORMAT> __device__ __forceinline__ void bl_matmul_q8(const bl_cuda_args &args)
{
    SHARED(uint32_t, staged, 2 * BL_MATMUL_ROWS * BL_STAGED_WORDS);
    SHARED(float, limit, BL_MATMUL_ROWS);
    static_assert(33 * BL_MATMUL_ROWS <= 2 * BL_MATMUL_ROWS * BL_STAGED_WORDS, "results fit where activations were");
    bl_linear_place t;
    if (!bl_linear_find_at<BL_MATMUL_ROWS>(args, blockIdx.x * BL_MATMUL_OUTPUTS, t))
        return;
    bl_matmul_limits(t, bl_binding<const bl_q8_block>(args, 1) + (size_t)t.row * (t.k / 32), FORMAT == BL_FMT_BX ? BL_XQ_DOMINANT : BL_Q8_DOMINANT, limit);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, output = warp % 2 * 16 + lane / 4, first = warp / 2 * 8 * BL_MATMUL_TILES;
    const bool is_glu = bl_push<bl_params_linear>(args).glu;
    float acc[BL_MATMUL_TILES][4] = {};
    volatile float gate[BL_MATMUL_TILES][4]; /* in memory: the second side needs the registers */
#pragma unroll 1
    for (uint32_t side = 0; side < (is_glu ? 2 : 1); side++) {
        if (side == 1) {
            bl_linear_side(args, t, 1);
#pragma unroll
            for (uint32_t i = 0; i < 4 * BL_MATMUL_TILES; i++) {
                gate[i / 4][i % 4] = acc[i / 4][i % 4];
                acc[i / 4][i % 4] = 0;
            }
        }
        if constexpr (FORMAT == BL_FMT_BX)
            bl_matmul_xq_tile(args, t, staged, limit, acc);
        else
            bl_of_format<FORMAT, false>(t.format, [&](auto tag) { bl_matmul_q8_tile<tag.format>(args, t, staged, limit, acc); });
    }
#pragma unroll
    for (uint32_t i = 0; i < 4 * BL_MATMUL_TILES; i++) {
        const uint32_t r = first + i / 4 * 8 + lane % 4 * 2 + i % 2, o = output + i / 2 % 2 * 8;
        const float y = acc[i / 4][i % 4];
        if (is_glu)
            staged[r * 33 + o] = bl_f32_bits(bl_linear_glu(args, gate[i / 4][i % 4], y));
        else if (r < t.rows && t.output + o < t.n)
            bl_linear_store(args, t, t.output + o, r, y);
    }
    if (!is_glu)
        return;
    __syncthreads();
    for (uint32_t r = warp; r < t.rows; r += BL_MATMUL_THREADS / 32)
        bl_linear_store_glu(args, t, r, bl_bits_f32(staged[r * 33 + lane]));
}
#endif
