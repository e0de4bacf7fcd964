/* device.cuh: what the kernels stand on: the arguments of an entry, the project's own functions compiled for the device, shared memory by
 * macros (tests/cuda_emulator gives its own before this file is read), rows and pages of the step. Knows no op. */
#ifndef BL_CUDA_DEVICE_CUH
#define BL_CUDA_DEVICE_CUH
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifndef _Static_assert
#define _Static_assert static_assert
#endif
#include "hal/kernel_params.h"

#ifndef SHARED
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define SHARED_PARAMETER(type) type *
#endif

#ifndef BL_LOAD4 /* the emulator has its own */
/* 16 bytes of shared memory, words or floats, in one access; index is a multiple of 4. */
#define BL_LOAD4(array, index, out) bl_load4(&array[index], out)
#define BL_STORE4(array, index, from) bl_store4(&array[index], from)
__device__ __forceinline__ void bl_load4(const float *at, float *out)
{
    const float4 x = *reinterpret_cast<const float4 *>(at);
    out[0] = x.x;
    out[1] = x.y;
    out[2] = x.z;
    out[3] = x.w;
}
__device__ __forceinline__ void bl_store4(float *at, const float *from)
{
    *reinterpret_cast<float4 *>(at) = make_float4(from[0], from[1], from[2], from[3]);
}
__device__ __forceinline__ void bl_store4(uint32_t *at, const uint32_t *from)
{
    *reinterpret_cast<uint4 *>(at) = make_uint4(from[0], from[1], from[2], from[3]);
}
#endif

/* One source of exp, tanh, erf, sin, cos and of the half floats for every device: the reference's own text, as device functions. */
#define inline __device__ __forceinline__
#include "base/half.h"
#include "cpu_fallback/ref/math.h"
#undef inline

/* What every entry takes, by value. binding: device addresses in the order of kernel_params.h, NULL for "or none"; push: the op's params. */
#define BL_CUDA_BINDINGS 18
struct bl_cuda_args {
    void *binding[BL_CUDA_BINDINGS];
    uint32_t push[32];
};
static_assert(BL_CUDA_BINDINGS == 2 + 4 * BL_LINEAR_SEGMENTS, "a grouped launch has the most bindings");

template <typename T> __device__ __forceinline__ const T &bl_push(const bl_cuda_args &args)
{
    return *reinterpret_cast<const T *>(args.push);
}

template <typename T> __device__ __forceinline__ T *bl_binding(const bl_cuda_args &args, uint32_t i)
{
    return static_cast<T *>(args.binding[i]);
}

struct alignas(16) bl_words4 { /* one access */
    uint32_t w[4];
};

__device__ __forceinline__ uint32_t bl_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

__device__ __forceinline__ uint32_t bl_step(const bl_cuda_args &args, uint32_t word)
{
    return bl_binding<const uint32_t>(args, 0)[word];
}

__device__ __forceinline__ uint32_t bl_rows(const bl_cuda_args &args, uint32_t rows)
{
    return bl_step(args, rows == BL_ROWS_OF_OUTPUT ? BL_STEP_N_OUT : BL_STEP_N_ROWS);
}

/* Where a row's sequence keeps a position: the number of its page. */
__device__ __forceinline__ uint32_t bl_page(const bl_cuda_args &args, uint32_t row, uint32_t position)
{
    const uint32_t sequence = bl_step(args, (uint32_t)BL_STEP_SEQ + row);
    return bl_step(args, (uint32_t)BL_STEP_PAGES + sequence * bl_step(args, BL_STEP_PAGE_STRIDE) + position / BL_KV_PAGE);
}

__device__ __forceinline__ float bl_half(uint16_t bits)
{
#ifdef __CUDA_ARCH__
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
    return f;
#else
    return bl_f16_to_f32(bits);
#endif
}

/* The fixed tree over eight accumulators, one per lane of each group of eight; all lanes get the total. */
__device__ __forceinline__ float bl_tree8(float s)
{
    s = s + __shfl_xor_sync(0xffffffffu, s, 4);
    s = s + __shfl_xor_sync(0xffffffffu, s, 2);
    return s + __shfl_xor_sync(0xffffffffu, s, 1);
}

/* One block of q8: lane i of a whole warp holds column i. */
__device__ __forceinline__ void bl_quantize_warp(float x, uint32_t lane, bl_q8_block *out)
{
    uint32_t largest = bl_f32_bits(x) & 0x7fffffffu; /* compared as bits: NaN is above infinity */
    for (uint32_t distance = 16; distance > 0; distance /= 2) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, largest, distance);
        largest = other > largest ? other : largest;
    }
    const bool is_finite = largest < 0x7f800000u, is_zero = !is_finite || bl_bits_f32(largest) < BL_Q8_MIN;
    float d = is_finite ? 0.0f : bl_bits_f32(0x7fc00000u);
    int32_t q = 0, q_fine = 0;
    if (!is_zero) {
        d = bl_bits_f32(largest) / 127.0f;
        const float inverse = 1.0f / d, coarse = (x * inverse + ROUND_MAGIC) - ROUND_MAGIC, left = x - d * coarse;
        q = (int32_t)coarse;
        q_fine = (int32_t)((left * (254.0f * inverse) + ROUND_MAGIC) - ROUND_MAGIC);
    }
    int32_t sum = q, sum_fine = q_fine;
    for (uint32_t distance = 8; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        sum_fine += __shfl_xor_sync(0xffffffffu, sum_fine, distance);
    }
    out->coarse.q[lane] = (int8_t)q;
    out->fine.q[lane] = (int8_t)q_fine;
    if (lane % 16 == 0) {
        out->coarse.sum[lane / 16] = (int16_t)sum;
        out->fine.sum[lane / 16] = (int16_t)sum_fine;
    }
    if (lane == 0)
        out->d = d;
}
#endif
