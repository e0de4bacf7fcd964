/* rows.cuh: the ops that walk rows: quantize, norms, rope, kv_store, unary, binary, glu, select, embed. Numbers as in kernel_params.h, bit
 * for bit; knows no matrix product. Block sizes and tiles stand in kernels.def. */
#ifndef BL_CUDA_ROWS_CUH
#define BL_CUDA_ROWS_CUH
#include "cuda/decode.cuh"
#include "cuda/device.cuh"

/* One warp per block of 32 columns. */
__device__ __forceinline__ void bl_quantize(const bl_cuda_args &args)
{
    const bl_params_quantize &p = bl_push<bl_params_quantize>(args);
    const uint32_t row = blockIdx.y, lane = threadIdx.x % 32, blocks = (p.columns + 31) / 32;
    const uint32_t block = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, c = 32 * block + lane;
    if (row >= bl_rows(args, p.rows) || block >= blocks)
        return;
    const float x = c < p.columns ? bl_binding<const float>(args, 1)[(size_t)row * p.columns + c] : 0.0f;
    bl_quantize_warp(x, lane, bl_binding<bl_q8_block>(args, 2) + (size_t)row * blocks + block);
}

/* The sum over a row in the defined order, for all threads of the block: values are made side by side, eight threads add them up. */
#define BL_SUM_CHUNK 1024u
template <typename F> __device__ __forceinline__ float bl_row_sum(uint32_t columns, SHARED_PARAMETER(float) values, F value)
{
    float s = 0;
    for (uint32_t c0 = 0; c0 < columns; c0 += BL_SUM_CHUNK) {
        const uint32_t n = bl_min(BL_SUM_CHUNK, columns - c0);
        for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
            values[i] = value(c0 + i);
        __syncthreads();
        if (threadIdx.x < 8) {
#pragma unroll 8
            for (uint32_t i = threadIdx.x; i < n; i += 8)
                s = s + values[i];
        }
        __syncthreads();
    }
    if (threadIdx.x < 8)
        values[threadIdx.x] = s;
    __syncthreads();
    const float total = ((values[0] + values[4]) + (values[2] + values[6])) + ((values[1] + values[5]) + (values[3] + values[7]));
    __syncthreads();
    return total;
}

/* One block per group. */
template <bool CENTRED, bool TO_Q8> __device__ __forceinline__ void bl_norm(const bl_cuda_args &args)
{
    SHARED(float, values, BL_SUM_CHUNK);
    const bl_params_norm &p = bl_push<bl_params_norm>(args);
    const uint32_t row = blockIdx.y, lane = threadIdx.x % 32, columns = p.columns;
    if (row >= bl_rows(args, p.rows))
        return;
    const size_t at = ((size_t)row * p.groups + blockIdx.x) * columns;
    const float *x = bl_binding<const float>(args, 1) + at, *w = bl_binding<const float>(args, 2), *b = bl_binding<const float>(args, 3);
    float mean = 0;
    if (CENTRED)
        mean = bl_row_sum(columns, values, [=](uint32_t c) { return x[c]; }) / (float)columns;
    const float squares = bl_row_sum(columns, values, [=](uint32_t c) { return (x[c] - mean) * (x[c] - mean); });
    const float scale = 1.0f / sqrtf(squares / (float)columns + p.eps);
    for (uint32_t c0 = threadIdx.x - lane; c0 < columns; c0 += blockDim.x) {
        const uint32_t c = c0 + lane;
        float y = 0;
        if (c < columns) {
            y = (x[c] - mean) * scale;
            if (p.flags & BL_NORM_WEIGHT)
                y = y * w[c];
            if (p.flags & BL_NORM_BIAS)
                y = y + b[c];
        }
        if (TO_Q8)
            bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 4) + (at + c0) / 32);
        else if (c < columns)
            bl_binding<float>(args, 4)[at + c] = y;
    }
}

__device__ __forceinline__ void bl_rope_table(const bl_cuda_args &args)
{
    const bl_params_rope_table &p = bl_push<bl_params_rope_table>(args);
    const uint32_t j = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || j >= p.n_rot / 2)
        return;
    const uint32_t *words = bl_binding<const uint32_t>(args, 1) + 2 * j;
    const uint64_t turns = (uint64_t)words[1] << 32 | words[0];
    const uint32_t phase = (uint32_t)(turns * bl_step(args, (uint32_t)BL_STEP_POS + row) >> 32), quarter = (phase + (1u << 29)) >> 30;
    const float a = (float)(int32_t)(phase - (quarter << 30)) * BL_ROPE_PHASE, s = sin_f32(a), c = cos_f32(a);
    float *y = bl_binding<float>(args, 2) + (size_t)row * p.n_rot + 2 * j;
    y[0] = (quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s) * p.attn_factor;
    y[1] = (quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c) * p.attn_factor;
}

/* One warp per head: put(c, y) with every column after the rotation; both of a pair are read before. */
template <typename F>
__device__ __forceinline__ void bl_rotate(const float *x, const float *table, uint32_t d_head, uint32_t n_rot, uint32_t layout, F put)
{
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t j = lane; j < n_rot / 2; j += 32) {
        const uint32_t c0 = layout == BL_ROPE_NORM ? 2 * j : j, c1 = layout == BL_ROPE_NORM ? 2 * j + 1 : j + n_rot / 2;
        const float a = x[c0], b = x[c1], cosine = table[2 * j], sine = table[2 * j + 1];
        put(c0, a * cosine - b * sine);
        put(c1, a * sine + b * cosine);
    }
    for (uint32_t c = n_rot + lane; c < d_head; c += 32)
        put(c, x[c]);
}

/* One warp per head; y may be x. */
__device__ __forceinline__ void bl_rope(const bl_cuda_args &args)
{
    const bl_params_rope &p = bl_push<bl_params_rope>(args);
    const uint32_t row = blockIdx.y, head = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || head >= p.heads)
        return;
    const size_t at = ((size_t)row * p.heads + head) * p.d_head;
    const float *x = bl_binding<const float>(args, 1) + at, *table = bl_binding<const float>(args, 2) + (size_t)row * p.n_rot;
    float *y = bl_binding<float>(args, 3) + at;
    bl_rotate(x, table, p.d_head, p.n_rot, p.layout, [=](uint32_t c, float value) { y[c] = value; });
}

template <int FORMAT> __device__ __forceinline__ void bl_put_kv(void *pages, size_t at, float value)
{
    if (FORMAT == BL_FMT_F16)
        static_cast<uint16_t *>(pages)[at] = bl_f32_to_f16(value);
    else
        static_cast<float *>(pages)[at] = value;
}

/* The place of a row's head among those of all pages. */
__device__ __forceinline__ size_t bl_kv_place(const bl_cuda_args &args, uint32_t row, uint32_t heads, uint32_t head)
{
    const uint32_t position = bl_step(args, (uint32_t)BL_STEP_POS + row);
    return ((size_t)bl_page(args, row, position) * heads + head) * BL_KV_PAGE + position % BL_KV_PAGE;
}

/* One warp per head. */
template <int FORMAT> __device__ __forceinline__ void bl_kv_store(const bl_cuda_args &args)
{
    const bl_params_kv_store &p = bl_push<bl_params_kv_store>(args);
    const uint32_t row = blockIdx.y, lane = threadIdx.x % 32, head = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || head >= p.heads)
        return;
    const float *x = bl_binding<const float>(args, 1) + ((size_t)row * p.heads + head) * p.d_head;
    const size_t at = bl_kv_place(args, row, p.heads, head) * p.d_head;
    for (uint32_t c = lane; c < p.d_head; c += 32)
        bl_put_kv<FORMAT>(args.binding[2], at + c, x[c]);
}

/* One warp per head: those of q, then of k, then of v. */
template <int FORMAT> __device__ __forceinline__ void bl_rope_store(const bl_cuda_args &args)
{
    const bl_params_rope_store &p = bl_push<bl_params_rope_store>(args);
    const uint32_t row = blockIdx.y, lane = threadIdx.x % 32, h = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || h >= p.n_head + 2 * p.n_head_kv)
        return;
    const float *table = bl_binding<const float>(args, 4) + (size_t)row * p.n_rot;
    if (h < p.n_head) {
        const size_t at = ((size_t)row * p.n_head + h) * p.d_k;
        float *y = bl_binding<float>(args, 5) + at;
        bl_rotate(bl_binding<const float>(args, 1) + at, table, p.d_k, p.n_rot, p.layout, [=](uint32_t c, float value) { y[c] = value; });
        return;
    }
    const uint32_t head = (h - p.n_head) % p.n_head_kv;
    const size_t place = bl_kv_place(args, row, p.n_head_kv, head), from = (size_t)row * p.n_head_kv + head;
    if (h < p.n_head + p.n_head_kv) {
        void *pages = args.binding[6];
        bl_rotate(bl_binding<const float>(args, 2) + from * p.d_k, table, p.d_k, p.n_rot, p.layout,
                  [=](uint32_t c, float value) { bl_put_kv<FORMAT>(pages, place * p.d_k + c, value); });
        return;
    }
    const float *v = bl_binding<const float>(args, 3) + from * p.d_v;
    for (uint32_t c = lane; c < p.d_v; c += 32)
        bl_put_kv<FORMAT>(args.binding[7], place * p.d_v + c, v[c]);
}

__device__ __forceinline__ void bl_unary_rows(const bl_cuda_args &args)
{
    const bl_params_unary &p = bl_push<bl_params_unary>(args);
    const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (row >= bl_rows(args, p.rows) || c >= p.columns)
        return;
    const size_t at = (size_t)row * p.columns + c;
    bl_binding<float>(args, 2)[at] = unary_value(p.kind, p.a, bl_binding<const float>(args, 1)[at]);
}

__device__ __forceinline__ void bl_binary(const bl_cuda_args &args)
{
    const bl_params_binary &p = bl_push<bl_params_binary>(args);
    const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (row >= bl_rows(args, p.rows) || c >= p.columns)
        return;
    const size_t at = (size_t)row * p.columns + c;
    const float x = bl_binding<const float>(args, 1)[at], z = bl_binding<const float>(args, 2)[p.broadcast ? c : at];
    bl_binding<float>(args, 3)[at] = p.kind == BL_BINARY_ADD ? x + z : p.kind == BL_BINARY_MUL ? x * z : x - z;
}

/* A warp has 32 columns side by side: a block of the q8 output. */
template <bool TO_Q8> __device__ __forceinline__ void bl_glu(const bl_cuda_args &args)
{
    const bl_params_glu &p = bl_push<bl_params_glu>(args);
    const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y, lane = threadIdx.x % 32;
    if (row >= bl_rows(args, p.rows) || c >= p.columns)
        return;
    const size_t at = (size_t)row * p.columns + c;
    const float y = unary_value(p.kind, 0, bl_binding<const float>(args, 1)[at]) * bl_binding<const float>(args, 2)[at];
    if (TO_Q8)
        bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 3) + at / 32);
    else
        bl_binding<float>(args, 3)[at] = y;
}

__device__ __forceinline__ void bl_select(const bl_cuda_args &args)
{
    const bl_params_select &p = bl_push<bl_params_select>(args);
    const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (row >= bl_rows(args, BL_ROWS_OF_OUTPUT) || c >= p.columns)
        return;
    const size_t from = bl_step(args, (uint32_t)BL_STEP_OUT + row);
    bl_binding<float>(args, 2)[(size_t)row * p.columns + c] = bl_binding<const float>(args, 1)[from * p.columns + c];
}

/* One thread per 32 columns. */
template <int FORMAT> __device__ __forceinline__ void bl_embed(const bl_cuda_args &args)
{
    const bl_params_embed &p = bl_push<bl_params_embed>(args);
    const uint32_t block = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP) || 32 * block >= p.columns)
        return;
    const uint32_t id = bl_step(args, (uint32_t)(p.source ? BL_STEP_POS : BL_STEP_TOKEN) + row), n = bl_min(32, p.columns - 32 * block);
    float *y = bl_binding<float>(args, 2) + (size_t)row * p.columns + 32 * block;
    for (uint32_t c = 0; id >= p.n_ids && p.first == 0 && c < n; c++)
        y[c] = 0;
    if (id >= p.n_ids || id - p.first >= p.count) /* below first: wraps to far above count */
        return;
    const uint8_t *weights = bl_binding<const uint8_t>(args, 1) + (size_t)(id - p.first) * bl_row_bytes<FORMAT>(p.columns);
    if (bl_is_quant<FORMAT>()) {
        bl_block32 b;
        bl_decode32<FORMAT>(weights, block, b);
#pragma unroll
        for (uint32_t c = 0; c < 32; c++)
            y[c] = bl_weight<FORMAT>(b, c);
    } else {
        for (uint32_t c = 0; c < n; c++)
            y[c] = bl_float_weight<FORMAT>(weights, 32 * block + c);
    }
}
#endif
