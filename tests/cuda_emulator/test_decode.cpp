/* test_decode.cpp: cuda/decode.cuh gives the integers, scales and minima of the reference's decoder for random bits of every format. */
#include "cuda/decode.cuh"

#include <cstdio>

struct ref_block { /* as in cpu_fallback/ref/ref.h, which is C */
    int32_t q[32], scale[2], min[2];
    float d, e;
    bool has_min;
};
extern "C" void bl_ref_decode(uint32_t format, const uint8_t *row, uint32_t block, ref_block *out);

template <int FORMAT> static bool same()
{
    alignas(16) uint8_t row[4 * 256];
    uint32_t state = 12345u + FORMAT;
    for (int turn = 0; turn < 200; turn++) {
        for (uint8_t &byte : row)
            byte = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
        for (uint32_t block = 0; block < 2 * bl_formats[FORMAT].block_elements / 32; block++) {
            ref_block want;
            bl_block32 got;
            bl_ref_decode(FORMAT, row, block, &want);
            bl_decode32<FORMAT>(row, block, got);
            for (uint32_t c = 0; c < 32; c++)
                if ((int8_t)(got.q[c / 4] >> c % 4 * 8) - got.offset != want.q[c])
                    return false;
            for (uint32_t h = 0; h < 2; h++)
                if (got.scale[h] != want.scale[h] || got.min[h] != want.min[h])
                    return false;
        }
    }
    return true;
}

int main()
{
    int failed = 0;
#define CHECK_FORMAT(name)                                   \
    if (!same<BL_FMT_##name>()) {                            \
        printf("FAIL " #name "\n");                          \
        failed++;                                            \
    }
    CHECK_FORMAT(Q4_0) CHECK_FORMAT(Q4_1) CHECK_FORMAT(Q5_0) CHECK_FORMAT(Q5_1) CHECK_FORMAT(Q8_0)
    CHECK_FORMAT(Q2_K) CHECK_FORMAT(Q3_K) CHECK_FORMAT(Q4_K) CHECK_FORMAT(Q5_K) CHECK_FORMAT(Q6_K)
    printf("%d passed, %d failed\n", 10 - failed, failed);
    return failed != 0;
}
