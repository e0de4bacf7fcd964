/* emulator.h: the part of CUDA that the kernels under cuda/ use, for a C++17 compiler: blocks of fibers, barriers, warp operations, shared
 * memory that knows who touched it. Included before a kernel source by the compiler's -include. Knows no kernel and no driver.
 *
 * A host thread runs one block at a time. Threads of a block are fibers that give way at barriers and warp operations only. In checked mode
 * every access to shared memory is compared with what other threads did since the barrier that orders them: an access outside the array, a
 * read of what nobody wrote, a write and another access without a barrier between. Always checked: barriers that not all threads reach, and
 * warp operations that wait for a lane that does not come. The first fault ends the block; its text is in emu::fault_text(). */
#ifndef BL_CUDA_EMULATOR_H
#define BL_CUDA_EMULATOR_H
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

struct emu_dim3 {
    unsigned x, y, z;
};

namespace emu {

struct place { /* where an operation stands in the source */
    const char *file;
    int line;
};

extern thread_local emu_dim3 thread_index, block_index, block_size, grid_size;
extern thread_local bool checking;

void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *fault_text(); /* "" when the last block ran well */

void barrier(place where);
/* Waits for the lanes of `mask`; then `combine` makes all outputs from all inputs, once. Words of 32 bits, WORDS at most. */
constexpr unsigned WORDS = 10;
typedef void combine_fn(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t mask, const void *what);
void warp_operation(place where, uint32_t mask, const uint32_t *in, unsigned n_in, uint32_t *out, unsigned n_out, combine_fn *combine,
                    const void *what);

/* Storage of one __shared__ array of the running block; the same for all of its threads. */
struct shared_words {
    uint32_t *data;
    uint32_t first; /* index of its first word in the block's shadow */
};
shared_words shared_declare(const void *key, size_t words);
void shared_note(uint32_t word, bool is_write, const char *name);

template <typename T> struct shared_reference {
    T *at;
    uint32_t word;
    const char *name;
    operator T() const
    {
        if (checking)
            shared_note(word, false, name);
        return *at;
    }
    shared_reference &operator=(T value)
    {
        if (checking)
            shared_note(word, true, name);
        *at = value;
        return *this;
    }
    shared_reference &operator=(const shared_reference &other)
    {
        return *this = (T)other;
    }
};

template <typename T> struct shared_array {
    static_assert(sizeof(T) == 4, "shared memory is arrays of 32-bit words");
    shared_words words;
    size_t count;
    const char *name;
    shared_reference<T> operator[](size_t i) const
    {
        if (i >= count) {
            fault("%s[%zu] is outside its %zu elements", name, i, count);
            i = 0;
        }
        return {reinterpret_cast<T *>(words.data + i), words.first + (uint32_t)i, name};
    }
};

/* Runs one block; false when it faulted. */
typedef void entry_fn(const void *arguments);
bool run_block(entry_fn *entry, const void *arguments, emu_dim3 grid, emu_dim3 block, emu_dim3 index);

uint32_t shuffle(place where, uint32_t mask, uint32_t value, uint32_t source_lane);
uint32_t lane();
void mma_s8_16x8x16(place where, int32_t c[4], const uint32_t a[2], uint32_t b);
void mma_s8_16x8x32(place where, int32_t c[4], const uint32_t a[4], const uint32_t b[2]);
/* Products of half floats, two to a word; sums in f32, in an order that is the emulator's. */
void mma_f16_16x8x16(place where, float c[4], const uint32_t a[4], const uint32_t b[2]);
/* ldmatrix.x4: lanes 8 i .. 8 i + 7 name the rows of matrix i, four words each; lane l gets word l % 4 of row l / 4 of every matrix. */
void load_matrices(place where, const shared_array<uint32_t> &array, size_t index, uint32_t out[4]);
/* Asynchronous copies of the running thread: the word is written, and may be read by others after a barrier, when a wait leaves fewer groups
 * under way than were committed since; from the copy to the wait it is poison. */
void copy_async(const shared_reference<uint32_t> &to, const uint32_t *from);
/* Accesses of 16 bytes: both ends begin at a multiple of them. */
void copy_async4(const shared_array<uint32_t> &to, size_t index, const void *from);
void check_alignment(const char *name, size_t index, size_t word);
template <typename T> void store4(const shared_array<T> &to, size_t index, const T *w)
{
    check_alignment(to.name, index, to.words.first + index);
    for (size_t i = 0; i < 4; i++)
        to[index + i] = w[i];
}
template <typename T> void load4(const shared_array<T> &from, size_t index, T *out)
{
    check_alignment(from.name, index, from.words.first + index);
    for (size_t i = 0; i < 4; i++)
        out[i] = from[index + i];
}
void copy_commit();
void copy_wait(unsigned later);
uint32_t ballot(place where, uint32_t mask, bool predicate);
}

#define EMU_HERE emu::place{__FILE__, __LINE__}
#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define threadIdx emu::thread_index
#define blockIdx emu::block_index
#define blockDim emu::block_size
#define gridDim emu::grid_size
#define __syncthreads() emu::barrier(EMU_HERE)
#define __threadfence() ((void)0) /* blocks run one after the other */
#define __syncwarp() emu::warp_operation(EMU_HERE, 0xffffffffu, nullptr, 0, nullptr, 0, nullptr, nullptr)
#define __shfl_xor_sync(mask, value, distance) bl_shuffle_typed(EMU_HERE, mask, value, emu::lane() ^ (uint32_t)(distance))
#define __shfl_sync(mask, value, source) bl_shuffle_typed(EMU_HERE, mask, value, (uint32_t)(source))
#define __ballot_sync(mask, predicate) emu::ballot(EMU_HERE, mask, predicate)
#define SHARED(type, name, count)                     \
    static const char name##_key = 0;                 \
    const emu::shared_array<type> name                \
    {                                                 \
        emu::shared_declare(&name##_key, count), count, #name \
    }
#define SHARED_PARAMETER(type) const emu::shared_array<type> &
#define bl_mma_s8_16x8x16(c, a, b) emu::mma_s8_16x8x16(EMU_HERE, c, a, b)
#define bl_mma_s8_16x8x32(c, a, b) emu::mma_s8_16x8x32(EMU_HERE, c, a, b)
#define bl_mma_f16_16x8x16(c, a, b) emu::mma_f16_16x8x16(EMU_HERE, c, a, b)
#define BL_LOAD_MATRICES(out, array, index) emu::load_matrices(EMU_HERE, array, index, out)
#define BL_STORE4(array, index, from) emu::store4(array, index, from)
#define BL_LOAD4(array, index, out) emu::load4(array, index, out)
#define BL_COPY_ASYNC4(array, index, from) emu::copy_async4(array, index, from)
#define BL_PREFETCH(address) ((void)(address))
#define BL_COPY_ASYNC(array, index, from) emu::copy_async(array[index], from)
#define BL_COPY_COMMIT() emu::copy_commit()
#define BL_COPY_WAIT(later) emu::copy_wait(later)

template <typename T> inline T bl_shuffle_typed(emu::place where, uint32_t mask, T value, uint32_t source)
{
    static_assert(sizeof(T) == 4, "shuffles move 32 bits");
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits = emu::shuffle(where, mask, bits, source);
    memcpy(&value, &bits, 4);
    return value;
}

inline uint32_t atomicAdd(uint32_t *at, uint32_t value)
{
    const uint32_t before = *at;
    *at += value;
    return before;
}
inline int32_t __dp4a(int32_t a, int32_t b, int32_t c)
{
    for (int i = 0; i < 4; i++)
        c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}
/* Four of the eight bytes of b and a; three bits of each half byte of `selectors` count. */
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selectors)
{
    const uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t out = 0;
    for (unsigned i = 0; i < 4; i++)
        out |= (uint32_t)(bytes >> 8 * (selectors >> 4 * i & 7u) & 255u) << 8 * i;
    return out;
}
inline float __uint_as_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
inline uint32_t __float_as_uint(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}
#endif
