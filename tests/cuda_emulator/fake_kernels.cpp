/* fake_kernels.cpp: the kernels' own source through the emulator, for the fake driver. */
#include "cuda/kernels.cu"

#include <cstdio>

#include "fake.h"

struct fake_kernel {
    const char *name;
    unsigned threads;
    emu::entry_fn *run;
};

static const fake_kernel kernels[] = {
#define BL_CUDA_KERNEL(name, threads, tile_x, tile_y, ...) \
    {#name "_cuda", threads, [](const void *args) { name##_cuda(*static_cast<const bl_cuda_args *>(args)); }},
#include "cuda/kernels.def"
#undef BL_CUDA_KERNEL
};

const fake_kernel *fake_find_kernel(const char *name)
{
    for (const fake_kernel &k : kernels)
        if (!strcmp(k.name, name))
            return &k;
    return nullptr;
}

bool fake_kernel_takes(const fake_kernel *kernel, const unsigned block[3])
{
    return block[0] == kernel->threads && block[1] == 1 && block[2] == 1;
}

size_t fake_argument_bytes()
{
    return sizeof(bl_cuda_args);
}

/* Blocks run in a rotated order, forwards or backwards: a kernel must not rely on any. */
bool fake_run_kernel(const fake_kernel *kernel, const unsigned grid[3], const unsigned char *arguments, bool checked, uint64_t random)
{
    bl_cuda_args args;
    memcpy(&args, arguments, sizeof args);
    for (void *&binding : args.binding) {
        if (!binding)
            continue;
        binding = fake_memory((cu_address)(uintptr_t)binding, 1);
        if (!binding) {
            fprintf(stderr, "fake cuda: %s is given an address that is not device memory\n", kernel->name);
            return false;
        }
    }
    emu::checking = checked;
    const emu_dim3 size = {grid[0], grid[1], grid[2]};
    const uint64_t n = (uint64_t)grid[0] * grid[1] * grid[2];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t b = (i + random / 2) % n;
        b = random & 1 ? n - 1 - b : b;
        const emu_dim3 index = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / grid[0] / grid[1])};
        if (!emu::run_block(kernel->run, &args, size, {kernel->threads, 1, 1}, index)) {
            fprintf(stderr, "fake cuda: %s: %s\n", kernel->name, emu::fault_text());
            return false;
        }
    }
    return true;
}
