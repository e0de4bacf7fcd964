/* other_kernels.cpp: the CUDA kernels through the emulator, for kernel-check (linked_kernels): finds an entry by its key's name, runs all blocks of a launch.
 * Includes the kernels' own source. Checked unless BITLOOM_EMULATOR_FAST is set. */
#include "cuda/kernels.cu"

#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
#include "hal/kernel_key.h"
}

struct bound { /* as in tests/kernels/check.h, which is C */
    void *data;
    size_t bytes;
    bool is_output;
};

extern "C" {
extern struct options { /* as in tests/kernels/check.h, which is C */
    const char *kernel, *level, *device;
    uint64_t seed;
    uint32_t tuning;
    bool quick, json, partial;
} options;
}

namespace {

constexpr uint32_t WAY_HALF = 3; /* as backends/cuda names it: entries with a prefix */

struct entry {
    const char *name;
    unsigned threads, tile[2];
    emu::entry_fn *run;
};

const entry entries[] = {
#define BL_CUDA_KERNEL(name, threads, tile_x, tile_y, ...) \
    {#name, threads, {tile_x, tile_y}, [](const void *args) { name##_cuda(*static_cast<const bl_cuda_args *>(args)); }},
#include "cuda/kernels.def"
#undef BL_CUDA_KERNEL
};

const entry *find(const char *name)
{
    for (const entry &e : entries)
        if (!strcmp(e.name, name))
            return &e;
    return nullptr;
}

const entry *find(bl_kernel_key key)
{
    char name[96] = "half_";
    bl_kernel_key_name(key, name + (options.tuning == WAY_HALF ? 5 : 0), sizeof name - 5);
    return find(name);
}

bool has(bl_kernel_key key)
{
    return find(key) != nullptr;
}

const char *run(bl_kernel_key key, const bound *bindings, uint32_t n_bindings, const void *push, uint32_t columns, uint32_t rows)
{
    const entry *e = find(key);
    bl_cuda_args args = {};
    for (uint32_t i = 0; i < n_bindings && i < BL_CUDA_BINDINGS; i++)
        args.binding[i] = bindings[i].data;
    memcpy(args.push, push, sizeof args.push);
    static unsigned turn;
    const bool is_attention = key.op == BL_OP_ATTENTION, is_shared = is_attention && turn++ * 2654435761u >> 31;
    if (is_attention && !is_shared && rows > 1) { /* as if it had many rows */
        char name[96] = "tile_";
        bl_kernel_key_name(key, name + 5, sizeof name - 5);
        e = find(name);
    }
    emu_dim3 grid = {(columns + e->tile[0] - 1) / e->tile[0], (rows + e->tile[1] - 1) / e->tile[1], 1};
    if ((key.op == BL_OP_MATVEC || key.op == BL_OP_MATMUL) && bl_push<bl_params_linear>(args).glu)
        grid.x = (columns + bl_glu_tile(e->tile[0]) - 1) / bl_glu_tile(e->tile[0]);
    std::vector<uint32_t> counters, sums;
    if (is_shared) { /* half of the launches as if they had few rows; the sums begin as NaN */
        const bl_params_attention &p = bl_push<bl_params_attention>(args);
        counters.assign(bl_shares_counter_bytes(&p, rows) / 4, 0);
        sums.assign(bl_shares_sum_bytes(&p, rows) / 4, 0xffffffffu);
        args.binding[BL_SHARES_COUNTERS] = counters.data();
        args.binding[BL_SHARES_SUMS] = sums.data();
        grid.z = 1 + turn / 2 % 5;
    }
    emu::checking = !getenv("BITLOOM_EMULATOR_FAST");
    for (unsigned z = grid.z; z-- > 0;)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++)
                if (!emu::run_block(e->run, &args, grid, {e->threads, 1, 1}, {x, y, z}))
                    return emu::fault_text();
    for (uint32_t counter : counters)
        if (counter)
            return "a counter is not 0 after the launch";
    return nullptr;
}
}

struct other_kernels { /* as in tests/kernels/check.h, which is C */
    const char *name;
    bool is_exact;
    uint32_t ways_inexact;
    bool (*has)(bl_kernel_key key);
    const char *(*run)(bl_kernel_key key, const bound *bindings, uint32_t n_bindings, const void *push, uint32_t columns, uint32_t rows);
};
static const struct other_kernels cuda = {"cuda", true, 1u << WAY_HALF, has, run};
extern "C" {
extern const struct other_kernels *const linked_kernels;
const struct other_kernels *const linked_kernels = &cuda;
}
