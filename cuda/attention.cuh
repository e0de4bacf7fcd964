/* attention.cuh: attention over paged KV, in the splits and the order of kernel_params.h. One block per row and head, or several (shares.h);
 * warps compute splits of BL_ATTENTION_SPLIT positions side by side, then one block merges them in ascending order. For many rows see
 * attention_tile.cuh. */
#ifndef BL_CUDA_ATTENTION_CUH
#define BL_CUDA_ATTENTION_CUH
#include "cuda/device.cuh"
#include "cuda/shares.h"
#include "hal/formats.h"

#define BL_ATTENTION_WARPS 8u
#define BL_HEAD_MOST 1024u /* as the graph's limit */

template <int FORMAT> __device__ __forceinline__ float bl_load_kv(const void *pages, size_t at)
{
    return FORMAT == BL_FMT_F16 ? bl_half(static_cast<const uint16_t *>(pages)[at]) : static_cast<const float *>(pages)[at];
}

/* Eight numbers that begin at a multiple of 16 bytes. */
template <int FORMAT> __device__ __forceinline__ void bl_load_kv8(const void *pages, size_t at, float *out)
{
    if (FORMAT == BL_FMT_F16) {
        const bl_words4 x = *reinterpret_cast<const bl_words4 *>(static_cast<const uint16_t *>(pages) + at);
#pragma unroll
        for (uint32_t i = 0; i < 8; i++)
            out[i] = bl_half((uint16_t)(x.w[i / 2] >> i % 2 * 16));
    } else {
        const bl_words4 *x = reinterpret_cast<const bl_words4 *>(static_cast<const float *>(pages) + at);
        const bl_words4 low = x[0], high = x[1];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            out[i] = bl_bits_f32(low.w[i]);
            out[4 + i] = bl_bits_f32(high.w[i]);
        }
    }
}

/* q . k, the eight accumulators of one thread. */
template <int FORMAT> __device__ __forceinline__ float bl_score(const bl_params_attention &p, const float *q, const void *pages, size_t at)
{
    float s[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    uint32_t c = 0;
    const bool is_aligned = p.d_k % 8 == 0 && (reinterpret_cast<uintptr_t>(q) | reinterpret_cast<uintptr_t>(pages)) % 16 == 0;
    for (; is_aligned && c < p.d_k; c += 8) {
        float a[8], b[8];
        bl_load_kv8<BL_FMT_F32>(q, c, a);
        bl_load_kv8<FORMAT>(pages, at + c, b);
#pragma unroll
        for (uint32_t i = 0; i < 8; i++)
            s[i] = s[i] + a[i] * b[i];
    }
    for (; c + 8 <= p.d_k; c += 8) {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++)
            s[i] = s[i] + q[c + i] * bl_load_kv<FORMAT>(pages, at + c + i);
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        if (c + i < p.d_k)
            s[i] = s[i] + q[c + i] * bl_load_kv<FORMAT>(pages, at + c + i);
    const float total = (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))) * p.scale;
    return p.softcap > 0 ? p.softcap * tanh_f32(total / p.softcap) : total;
}

/* Pages page .. last of one split by one warp: lane j has position j of the page; acc[at + c] belongs to lane c % 32. */
template <int FORMAT> __device__ __forceinline__ void bl_attend(const bl_cuda_args &args, uint32_t row, uint32_t head, uint32_t begin,
                                                                uint32_t page, uint32_t last, SHARED_PARAMETER(float) acc, uint32_t at,
                                                                float *m_out, float *l_out)
{
    const bl_params_attention &p = bl_push<bl_params_attention>(args);
    const uint32_t lane = threadIdx.x % 32, position = bl_step(args, (uint32_t)BL_STEP_POS + row), group = head / (p.n_head / p.n_head_kv);
    const float *q = bl_binding<const float>(args, 1) + ((size_t)row * p.n_head + head) * p.d_k;
    const void *k_pages = args.binding[2], *v_pages = args.binding[3];
    float m = -bl_bits_f32(0x7f800000u), l = 0;
    for (uint32_t c = lane; c < p.d_v; c += 32)
        acc[at + c] = 0.0f;
    for (; page <= last; page++) {
        const size_t place = ((size_t)bl_page(args, row, page * BL_KV_PAGE) * p.n_head_kv + group) * BL_KV_PAGE;
        const uint32_t j0 = page == begin / BL_KV_PAGE ? begin % BL_KV_PAGE : 0;
        const uint32_t j1 = page == position / BL_KV_PAGE ? position % BL_KV_PAGE + 1 : BL_KV_PAGE;
        const bool is_in = lane >= j0 && lane < j1;
        const float s = is_in ? bl_score<FORMAT>(p, q, k_pages, (place + lane) * p.d_k) : 0.0f;
        float largest = is_in ? max_f32(s, m) : m;
        for (uint32_t distance = 16; distance > 0; distance /= 2)
            largest = max_f32(__shfl_xor_sync(0xffffffffu, largest, distance), largest);
        const float e = is_in ? exp_f32(s - largest) : 0.0f, f = exp_f32(m - largest);
        float sum = __shfl_sync(0xffffffffu, e, lane % 8);
#pragma unroll
        for (uint32_t i = 1; i < 4; i++)
            sum = sum + __shfl_sync(0xffffffffu, e, lane % 8 + 8 * i);
        l = l * f + bl_tree8(sum);
        m = largest;
        for (uint32_t c0 = 0; c0 < p.d_v; c0 += 32) {
            const uint32_t c = c0 + lane;
            float a = c < p.d_v ? acc[at + c] * f : 0.0f;
            for (uint32_t j = j0; j < j1; j++) {
                const float weight = __shfl_sync(0xffffffffu, e, j);
                if (c < p.d_v)
                    a = a + weight * bl_load_kv<FORMAT>(v_pages, (place + j) * p.d_v + c);
            }
            if (c < p.d_v)
                acc[at + c] = a;
        }
    }
    *m_out = m;
    *l_out = l;
}

/* What the splits of a row and head give together. The thread has total[c] of its own c. */
struct bl_merged {
    float m, l;
};

/* Adds a split with m, l and the factor of its sums; total[c] = total[c] * old + other * added, or the split alone when it is the first. */
__device__ __forceinline__ void bl_merge(bl_merged &all, float other_m, float other_l, bool is_first, float &old, float &added)
{
    const float largest = is_first ? other_m : max_f32(other_m, all.m), f = exp_f32(all.m - largest), g = exp_f32(other_m - largest);
    all.l = is_first ? other_l : all.l * f + other_l * g;
    all.m = largest;
    old = f;
    added = g;
}

template <bool TO_Q8>
__device__ __forceinline__ void bl_attention_store(const bl_cuda_args &args, uint32_t row, uint32_t head, SHARED_PARAMETER(float) total, float l)
{
    const bl_params_attention &p = bl_push<bl_params_attention>(args);
    const size_t at = ((size_t)row * p.n_head + head) * p.d_v;
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t c0 = threadIdx.x - lane; c0 < p.d_v; c0 += blockDim.x) { /* a thread reads what it wrote itself */
        const uint32_t c = c0 + lane;
        const float y = c < p.d_v ? total[c] * (1.0f / l) : 0.0f;
        if (TO_Q8)
            bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 4) + (at + c0) / 32);
        else if (c < p.d_v)
            bl_binding<float>(args, 4)[at + c] = y;
    }
}

/* acc: BL_ATTENTION_WARPS * BL_HEAD_MOST; total: BL_HEAD_MOST. */
template <int FORMAT, bool TO_Q8>
__device__ __forceinline__ void bl_attention_of_row(const bl_cuda_args &args, SHARED_PARAMETER(float) acc, SHARED_PARAMETER(float) total)
{
    SHARED(float, split_m, BL_ATTENTION_WARPS);
    SHARED(float, split_l, BL_ATTENTION_WARPS);
    SHARED(uint32_t, arrived, 1);
    const bl_params_attention &p = bl_push<bl_params_attention>(args);
    const uint32_t head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (row >= bl_rows(args, BL_ROWS_OF_STEP))
        return;
    const uint32_t position = bl_step(args, (uint32_t)BL_STEP_POS + row), split_pages = BL_ATTENTION_SPLIT / BL_KV_PAGE;
    const uint32_t begin = p.window && position + 1 > p.window ? position + 1 - p.window : 0;
    const uint32_t first_page = begin / BL_KV_PAGE, last_page = position / BL_KV_PAGE;
    const uint32_t first = first_page / split_pages, last = last_page / split_pages, shares = bl_min(gridDim.z, last - first + 1);
    if (blockIdx.z >= shares)
        return;
    bl_merged all = {0, 0};
    float old, added;
    if (shares > 1) {
        const uint32_t splits = BL_SHARES_SPLITS(p.n_pages), place = row * p.n_head + head;
        uint32_t *counter = bl_binding<uint32_t>(args, BL_SHARES_COUNTERS) + place;
        /* Volatile: other blocks write it, and a cache of this one must not answer. */
        volatile float *scratch = bl_binding<float>(args, BL_SHARES_SUMS) + (size_t)place * splits * (p.d_v + 2);
        for (uint32_t split = first + blockIdx.z + warp * shares; split <= last; split += BL_ATTENTION_WARPS * shares) {
            const uint32_t page = split == first ? first_page : split * split_pages;
            float m_split, l_split;
            bl_attend<FORMAT>(args, row, head, begin, page, bl_min(last_page, (split + 1) * split_pages - 1), acc, warp * BL_HEAD_MOST,
                              &m_split, &l_split);
            volatile float *out = scratch + (size_t)(split - first) * (p.d_v + 2);
            if (lane == 0) {
                out[0] = m_split;
                out[1] = l_split;
            }
            for (uint32_t c = lane; c < p.d_v; c += 32)
                out[2 + c] = acc[warp * BL_HEAD_MOST + c];
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0)
            arrived[0] = atomicAdd(counter, 1u);
        __syncthreads();
        if (arrived[0] != shares - 1)
            return;
        __threadfence();
        for (uint32_t i = 0; i <= last - first; i++) {
            volatile float *in = scratch + (size_t)i * (p.d_v + 2);
            bl_merge(all, in[0], in[1], i == 0, old, added);
            for (uint32_t c = threadIdx.x; c < p.d_v; c += blockDim.x) {
                const float other = in[2 + c];
                if (i == 0)
                    total[c] = other;
                else
                    total[c] = total[c] * old + other * added;
            }
        }
        if (threadIdx.x == 0)
            *counter = 0;
        bl_attention_store<TO_Q8>(args, row, head, total, all.l);
        return;
    }
    for (uint32_t round = first; round <= last; round += BL_ATTENTION_WARPS) {
        const uint32_t split = round + warp;
        if (split <= last) {
            const uint32_t page = split == first ? first_page : split * split_pages;
            float m_split, l_split;
            bl_attend<FORMAT>(args, row, head, begin, page, bl_min(last_page, (split + 1) * split_pages - 1), acc, warp * BL_HEAD_MOST,
                              &m_split, &l_split);
            if (lane == 0) {
                split_m[warp] = m_split;
                split_l[warp] = l_split;
            }
        }
        __syncthreads();
        for (uint32_t i = 0; i < BL_ATTENTION_WARPS && round + i <= last; i++) {
            const bool is_first = round + i == first;
            bl_merge(all, split_m[i], split_l[i], is_first, old, added);
            for (uint32_t c = threadIdx.x; c < p.d_v; c += blockDim.x) {
                const float other = acc[i * BL_HEAD_MOST + c];
                if (is_first)
                    total[c] = other;
                else
                    total[c] = total[c] * old + other * added;
            }
        }
        __syncthreads();
    }
    bl_attention_store<TO_Q8>(args, row, head, total, all.l);
}

template <int FORMAT, bool TO_Q8> __device__ __forceinline__ void bl_attention(const bl_cuda_args &args)
{
    SHARED(float, acc, BL_ATTENTION_WARPS * BL_HEAD_MOST);
    SHARED(float, total, BL_HEAD_MOST);
    bl_attention_of_row<FORMAT, TO_Q8>(args, acc, total);
}
#endif
