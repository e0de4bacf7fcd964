/* test_emulator.cpp: the emulator finds what it promises to find, and leaves correct kernels alone. Each case is a small kernel and a piece
 * of the text that its fault must contain, or NULL when it must run. */
#include "emulator.h"

#include "base/half.h"

#include <cstdio>

static float out[64];

static void exchange(bool with_barrier)
{
    SHARED(float, box, 64);
    box[threadIdx.x] = 0; /* so that the fault is the race, not a word that nobody wrote */
    __syncthreads();
    box[threadIdx.x] = (float)threadIdx.x;
    if (with_barrier)
        __syncthreads();
    out[threadIdx.x] = box[63 - threadIdx.x];
}
static void correct(const void *)
{
    exchange(true);
}
static void missing_barrier(const void *)
{
    exchange(false);
}
static void missing_second_barrier(const void *)
{
    SHARED(float, box, 64);
    for (int turn = 0; turn < 2; turn++) {
        box[threadIdx.x] = 1;
        __syncthreads();
        out[threadIdx.x] = box[63 - threadIdx.x];
    }
}
static void outside(const void *)
{
    SHARED(float, box, 64);
    box[threadIdx.x + 1] = 0;
}
static void uninitialised(const void *)
{
    SHARED(float, box, 64);
    if (threadIdx.x < 63)
        box[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = box[threadIdx.x];
}
static void divergent(const void *)
{
    if (threadIdx.x < 32)
        __syncthreads();
}
static void two_barriers(const void *)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}
static void inactive_lane(const void *)
{
    if (threadIdx.x % 32 < 31)
        out[threadIdx.x] = __shfl_xor_sync(0x7fffffffu, 1.0f, 1);
}
static void missing_lane(const void *)
{
    if (threadIdx.x % 32 < 31)
        out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
static void warp_only(bool with_barrier)
{
    SHARED(int, box, 64);
    box[threadIdx.x] = 0;
    __syncthreads();
    box[threadIdx.x] = 7;
    if (with_barrier)
        __syncwarp();
    out[threadIdx.x] = (float)box[threadIdx.x ^ 1u];
}
static void warp_correct(const void *)
{
    warp_only(true);
}
static void warp_missing(const void *)
{
    warp_only(false);
}
static void across_warps(const void *)
{
    SHARED(int, box, 64);
    box[threadIdx.x] = 0;
    __syncthreads();
    box[threadIdx.x] = 7;
    __syncwarp();
    out[threadIdx.x] = (float)box[threadIdx.x ^ 32u];
}
/* A copy in two groups; `later` groups may still be under way when the others read. */
static void copy_words(bool with_barrier, unsigned later)
{
    static const uint32_t from[128] = {7};
    SHARED(uint32_t, box, 128);
    box[threadIdx.x] = box[threadIdx.x + 64] = 0; /* so that the fault is the race */
    __syncthreads();
    for (unsigned group = 0; group < 2; group++) {
        BL_COPY_ASYNC(box, 64 * group + threadIdx.x, &from[64 * group + threadIdx.x]);
        BL_COPY_COMMIT();
    }
    BL_COPY_WAIT(later);
    if (with_barrier)
        __syncthreads();
    out[threadIdx.x] = (float)box[127 - threadIdx.x] + (float)box[0];
    BL_COPY_WAIT(0);
    if (threadIdx.x == 63 && with_barrier && later == 0 && (out[63] != 7 || box[64] != 0))
        emu::fault("the copy brought %g", (double)out[63]);
}
static void copy_correct(const void *)
{
    copy_words(true, 0);
}
static void copy_early(const void *)
{
    copy_words(true, 1);
}
static void copy_racing(const void *)
{
    copy_words(false, 0);
}
static void copy_left(const void *)
{
    static const uint32_t from[64] = {};
    SHARED(uint32_t, box, 64);
    BL_COPY_ASYNC(box, threadIdx.x, &from[threadIdx.x]);
    BL_COPY_COMMIT();
}
static void too_much(const void *)
{
    SHARED(float, box, 12289);
    box[0] = 1;
}
/* sum of all lanes, a vote, and one mma against plain sums */
static void arithmetic(const void *)
{
    int value = (int)threadIdx.x % 32;
    for (int d = 16; d; d /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, d);
    if (value != 496)
        emu::fault("a sum of lanes is %d", value);
    if (__ballot_sync(0xffffffffu, threadIdx.x % 2 == 0) != 0x55555555u)
        emu::fault("a vote is wrong");
    const uint32_t l = threadIdx.x % 32, g = l / 4, t = l % 4;
    uint32_t a[2] = {0, 0}, b = 0;
    for (uint32_t i = 0; i < 4; i++) { /* A[r][k] = r - k, B[k][c] = k + 2 c */
        const uint32_t k = 4 * t + i;
        a[0] |= (uint32_t)(uint8_t)(g - k) << 8 * i;
        a[1] |= (uint32_t)(uint8_t)(g + 8 - k) << 8 * i;
        b |= (k + 2 * g) << 8 * i;
    }
    int32_t c[4] = {1, 1, 1, 1};
    bl_mma_s8_16x8x16(c, a, b);
    for (int i = 0; i < 4; i++) {
        const int row = (int)g + i / 2 * 8, column = (int)t * 2 + i % 2;
        int sum = 1;
        for (int k = 0; k < 16; k++)
            sum += (row - k) * (k + 2 * column);
        if (c[i] != sum)
            emu::fault("mma[%d][%d] is %d, not %d", row, column, c[i], sum);
    }
}
/* The same in half floats, whose fragments come from shared memory: A[r][k] = r - k, B[k][c] = k + 2 c, lines of 16 halves. */
static void half_product(unsigned shift, unsigned lines)
{
    SHARED(uint32_t, a_lines, 16 * 8);
    SHARED(uint32_t, b_lines, 16 * 8 + 4);
    const uint32_t lane = threadIdx.x % 32, matrix = lane / 8;
    for (uint32_t i = threadIdx.x; i < lines * 8; i += blockDim.x) {
        const int r = (int)i / 8, k = (int)i % 8 * 2;
        a_lines[i] = bl_f32_to_f16((float)(r - k)) | (uint32_t)bl_f32_to_f16((float)(r - k - 1)) << 16;
        b_lines[i + shift] = bl_f32_to_f16((float)(k + 2 * r)) | (uint32_t)bl_f32_to_f16((float)(k + 1 + 2 * r)) << 16;
    }
    __syncthreads();
    uint32_t a[4], b[4];
    BL_LOAD_MATRICES(a, a_lines, (matrix % 2 * 8 + lane % 8) * 8 + matrix / 2 * 4);
    BL_LOAD_MATRICES(b, b_lines, (matrix / 2 * 8 + lane % 8) * 8 + matrix % 2 * 4 + shift);
    for (uint32_t n = 0; n < 2; n++) {
        float c[4] = {1, 1, 1, 1};
        bl_mma_f16_16x8x16(c, a, b + 2 * n);
        for (int i = 0; i < 4; i++) {
            const int row = (int)lane / 4 + i / 2 * 8, column = (int)(8 * n + lane % 4 * 2) + i % 2;
            int sum = 1;
            for (int k = 0; k < 16; k++)
                sum += (row - k) * (k + 2 * column);
            if (c[i] != (float)sum)
                emu::fault("half mma[%d][%d] is %g, not %d", row, column, (double)c[i], sum);
        }
    }
}
static void half_correct(const void *)
{
    half_product(0, 16);
}
static void half_shifted(const void *)
{
    half_product(1, 16);
}
static void half_missing(const void *)
{
    half_product(0, 15);
}
static void wide_access(unsigned to, unsigned from, bool is_copy)
{
    alignas(16) static const uint32_t words[260] = {};
    SHARED(uint32_t, box, 256);
    if (is_copy)
        BL_COPY_ASYNC4(box, 4 * (threadIdx.x % 63) + to, &words[4 * threadIdx.x + from]);
    else
        BL_STORE4(box, 4 * threadIdx.x + to, words);
    BL_COPY_COMMIT();
    BL_COPY_WAIT(0);
}
static void wide_store(const void *)
{
    wide_access(0, 0, false);
}
static void wide_store_shifted(const void *)
{
    wide_access(1, 0, false);
}
static void wide_copy_to_same(const void *)
{
    wide_access(0, 0, true);
}
static void wide_copy_shifted(const void *)
{
    wide_access(0, 1, true);
}

int main()
{
    static const struct {
        const char *name;
        emu::entry_fn *kernel;
        const char *fault;
    } cases[] = {
        {"correct", correct, nullptr},
        {"missing barrier", missing_barrier, "without a barrier"},
        {"missing second barrier", missing_second_barrier, "without a barrier"},
        {"outside", outside, "outside its 64"},
        {"uninitialised", uninitialised, "nobody wrote"},
        {"divergent barrier", divergent, "32 of 64 threads"},
        {"two barriers", two_barriers, "at the barrier of line"},
        {"inactive lane", inactive_lane, "does not take part"},
        {"missing lane", missing_lane, "do not come"},
        {"warp barrier", warp_correct, nullptr},
        {"missing warp barrier", warp_missing, "without a barrier"},
        {"warp barrier across warps", across_warps, "without a barrier"},
        {"asynchronous copy", copy_correct, nullptr},
        {"copy read too early", copy_early, "under way"},
        {"copy without barrier", copy_racing, "without a barrier"},
        {"copy never waited for", copy_left, "under way"},
        {"too much shared memory", too_much, "48 KiB"},
        {"arithmetic", arithmetic, nullptr},
        {"half floats by matrices", half_correct, nullptr},
        {"matrices off 16 bytes", half_shifted, "multiple of 16"},
        {"matrices that nobody wrote", half_missing, "nobody wrote"},
        {"wide store", wide_store, nullptr},
        {"wide store off 16 bytes", wide_store_shifted, "multiple of 16"},
        {"wide copies to one place", wide_copy_to_same, "without a barrier"},
        {"wide copy off 16 bytes", wide_copy_shifted, "odd address"},
    };
    int failed = 0, passed = 0;
    emu::checking = true;
    for (const auto &c : cases) {
        const bool ran = emu::run_block(c.kernel, nullptr, {1, 1, 1}, {64, 1, 1}, {0, 0, 0});
        const bool ok = c.fault ? !ran && strstr(emu::fault_text(), c.fault) : ran;
        printf("%s %s%s%s\n", ok ? "ok  " : "FAIL", c.name, ran ? "" : ": ", emu::fault_text());
        ok ? passed++ : failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
