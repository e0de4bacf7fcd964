/* emulator.cpp: fibers, barriers, warp operations and the shadow of shared memory. */
#include "emulator.h"

#include "base/half.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emu {

thread_local emu_dim3 thread_index, block_index, block_size, grid_size;
thread_local bool checking = false;

namespace {

constexpr size_t STACK_BYTES = 96 * 1024;
constexpr size_t SHARED_WORDS = 48 * 1024 / 4;
constexpr unsigned MOST_THREADS = 1024;
constexpr uint32_t NOBODY = 0xffffffffu, SEVERAL = 0xfffffffeu;

/* ---- context switch ---- */

#if defined(__x86_64__)
struct context {
    void *stack_pointer;
};
extern "C" void emu_switch(void **save, void *load);
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch, .-emu_switch
)");
void switch_to(context *from, context *to)
{
    emu_switch(&from->stack_pointer, to->stack_pointer);
}
void make_context(context *c, char *stack, void (*start)())
{
    void **top = reinterpret_cast<void **>(stack + STACK_BYTES) - 1; /* a function starts 8 bytes off a multiple of 16 */
    *top = nullptr;
    *--top = reinterpret_cast<void *>(start);
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    c->stack_pointer = top;
}
#else
struct context {
    ucontext_t u;
};
void switch_to(context *from, context *to)
{
    swapcontext(&from->u, &to->u);
}
void make_context(context *c, char *stack, void (*start)())
{
    getcontext(&c->u);
    c->u.uc_stack.ss_sp = stack;
    c->u.uc_stack.ss_size = STACK_BYTES;
    c->u.uc_link = nullptr;
    makecontext(&c->u, start, 0);
}
#endif

enum fiber_state { READY, AT_BARRIER, AT_WARP, DONE };

struct async_copy {
    uint32_t *to;
    uint32_t word, value, group;
    const char *name;
};

struct fiber {
    context where;
    fiber_state state;
    place stop;
    std::vector<async_copy> copies;
    uint32_t groups; /* committed */
};

struct warp {
    uint32_t arrived, mask;
    place stop;
    uint32_t in[32][WORDS], out[32][WORDS];
};

/* Who touched a word of shared memory last, and between which barriers. */
struct shadow {
    uint32_t written, writer, write_epoch, write_warp_epoch;
    uint32_t reader, read_epoch, read_warp_epoch, read_warp;
    bool under_way; /* an asynchronous copy to it */
};

struct declaration {
    const void *key;
    size_t first, words;
};

struct machine {
    std::unique_ptr<char[]> stacks; /* not cleared: most of it is never touched */
    std::vector<fiber> fibers;
    std::vector<warp> warps;
    std::vector<uint32_t> shared, warp_epoch;
    std::vector<shadow> shadows;
    std::vector<declaration> declarations;
    size_t shared_used = 0;
    context scheduler;
    entry_fn *entry = nullptr;
    const void *arguments = nullptr;
    unsigned current = 0, n_threads = 0;
    uint32_t epoch = 0;
    char fault[256] = "";
};
thread_local machine *m;
thread_local std::unique_ptr<machine> owned; /* m, until the thread ends */

void give_way()
{
    switch_to(&m->fibers[m->current].where, &m->scheduler);
}

void start()
{
    m->entry(m->arguments);
    if (!m->fibers[m->current].copies.empty())
        fault("thread %u ends while its copies are under way", m->current);
    m->fibers[m->current].state = DONE;
    for (;;)
        give_way();
}

emu_dim3 index_of(unsigned t)
{
    return {t % block_size.x, t / block_size.x % block_size.y, t / block_size.x / block_size.y};
}

/* All that run are stuck: either all are at one barrier, or it is a fault. */
void release_barrier()
{
    unsigned waiting = 0;
    const fiber *first = nullptr;
    for (unsigned t = 0; t < m->n_threads; t++) {
        const fiber &f = m->fibers[t];
        if (f.state == AT_WARP) {
            fault("%s:%d: thread %u waits in a warp operation for lanes that do not come", f.stop.file, f.stop.line, t);
            return;
        }
        if (f.state != AT_BARRIER)
            continue;
        if (first && (f.stop.line != first->stop.line || strcmp(f.stop.file, first->stop.file))) {
            fault("thread %u is at the barrier of line %d, others at that of line %d", t, f.stop.line, first->stop.line);
            return;
        }
        first = &f;
        waiting++;
    }
    if (waiting != m->n_threads) {
        fault("%s:%d: %u of %u threads reach the barrier", first->stop.file, first->stop.line, waiting, m->n_threads);
        return;
    }
    m->epoch++;
    for (unsigned t = 0; t < m->n_threads; t++)
        m->fibers[t].state = READY;
}
}

void fault(const char *format, ...)
{
    if (!m->fault[0]) {
        va_list list;
        va_start(list, format);
        vsnprintf(m->fault, sizeof m->fault, format, list);
        va_end(list);
    }
}

const char *fault_text()
{
    return m ? m->fault : "";
}

void barrier(place where)
{
    fiber &f = m->fibers[m->current];
    f.state = AT_BARRIER;
    f.stop = where;
    give_way();
}

uint32_t lane()
{
    return m->current % 32;
}

void warp_operation(place where, uint32_t mask, const uint32_t *in, unsigned n_in, uint32_t *out, unsigned n_out, combine_fn *combine,
                    const void *what)
{
    const unsigned self = m->current, l = self % 32, base = self - l;
    warp &w = m->warps[self / 32];
    if (!(mask >> l & 1u))
        fault("%s:%d: lane %u is not in the mask %08x of its warp operation", where.file, where.line, l, mask);
    if (w.arrived && (w.mask != mask || w.stop.line != where.line || strcmp(w.stop.file, where.file)))
        fault("lanes of a warp are at line %d and at line %d", w.stop.line, where.line);
    w.mask = mask;
    w.stop = where;
    w.arrived |= 1u << l;
    for (unsigned i = 0; i < n_in; i++)
        w.in[l][i] = in[i];
    if (w.arrived == mask) {
        if (combine)
            combine(w.in, w.out, mask, what);
        w.arrived = 0;
        m->warp_epoch[self / 32]++;
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1u && base + i < m->n_threads)
                m->fibers[base + i].state = READY;
    } else {
        m->fibers[self].state = AT_WARP;
        m->fibers[self].stop = where;
        give_way();
    }
    for (unsigned i = 0; i < n_out; i++)
        out[i] = w.out[l][i];
}

static void combine_shuffle(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t mask, const void *)
{
    for (unsigned l = 0; l < 32; l++) {
        if (!(mask >> l & 1u))
            continue;
        const uint32_t source = in[l][1] & 31u;
        if (!(mask >> source & 1u))
            fault("lane %u shuffles from lane %u, which does not take part", l, source);
        out[l][0] = in[source][0];
    }
}

uint32_t shuffle(place where, uint32_t mask, uint32_t value, uint32_t source_lane)
{
    const uint32_t in[2] = {value, source_lane};
    uint32_t out;
    warp_operation(where, mask, in, 2, &out, 1, combine_shuffle, nullptr);
    return out;
}

static void combine_ballot(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t mask, const void *)
{
    uint32_t votes = 0;
    for (unsigned l = 0; l < 32; l++)
        votes |= (mask >> l & 1u && in[l][0]) ? 1u << l : 0u;
    for (unsigned l = 0; l < 32; l++)
        out[l][0] = votes;
}

uint32_t ballot(place where, uint32_t mask, bool predicate)
{
    const uint32_t in = predicate;
    uint32_t out;
    warp_operation(where, mask, &in, 1, &out, 1, combine_ballot, nullptr);
    return out;
}

/* Fragments as in the PTX manual: g = lane / 4, t = lane % 4. a0: row g, a1: row g + 8, columns 4t..4t+3. b: column g, rows 4t..4t+3.
 * c0, c1: row g, columns 2t, 2t+1; c2, c3: row g + 8. */
static void combine_mma(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t, const void *)
{
    for (unsigned l = 0; l < 32; l++) {
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
            int32_t sum = (int32_t)in[l][3 + i];
            for (unsigned k = 0; k < 16; k++)
                sum += (int8_t)(in[row % 8 * 4 + k / 4][row / 8] >> k % 4 * 8) * (int8_t)(in[column * 4 + k / 4][2] >> k % 4 * 8);
            out[l][i] = (uint32_t)sum;
        }
    }
}

void mma_s8_16x8x16(place where, int32_t c[4], const uint32_t a[2], uint32_t b)
{
    const uint32_t in[7] = {a[0], a[1], b, (uint32_t)c[0], (uint32_t)c[1], (uint32_t)c[2], (uint32_t)c[3]};
    uint32_t out[4];
    warp_operation(where, 0xffffffffu, in, 7, out, 4, combine_mma, nullptr);
    for (unsigned i = 0; i < 4; i++)
        c[i] = (int32_t)out[i];
}

void mma_s8_16x8x32(place where, int32_t c[4], const uint32_t a[4], const uint32_t b[2])
{
    mma_s8_16x8x16(where, c, a, b[0]);
    mma_s8_16x8x16(where, c, a + 2, b[1]);
}

/* As above with 16 columns of halves: a0, a1: rows g, g + 8, columns 2t, 2t + 1; a2, a3: columns 8 higher; b0, b1 likewise along their rows. */
static void combine_mma_f16(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t, const void *)
{
    for (unsigned l = 0; l < 32; l++) {
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
            float sum = __uint_as_float(in[l][6 + i]);
            for (unsigned k = 0; k < 16; k++) {
                const unsigned t = k % 8 / 2, shift = k % 2 * 16;
                sum += bl_f16_to_f32((uint16_t)(in[row % 8 * 4 + t][k / 8 * 2 + row / 8] >> shift)) *
                       bl_f16_to_f32((uint16_t)(in[column * 4 + t][4 + k / 8] >> shift));
            }
            out[l][i] = __float_as_uint(sum);
        }
    }
}

void mma_f16_16x8x16(place where, float c[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t in[10] = {a[0], a[1], a[2], a[3], b[0], b[1]}, out[4];
    memcpy(in + 6, c, 16);
    warp_operation(where, 0xffffffffu, in, 10, out, 4, combine_mma_f16, nullptr);
    memcpy(c, out, 16);
}

static void combine_matrices(const uint32_t in[32][WORDS], uint32_t out[32][WORDS], uint32_t, const void *)
{
    for (unsigned l = 0; l < 32; l++)
        for (unsigned i = 0; i < 4; i++)
            out[l][i] = in[8 * i + l / 4][l % 4];
}

void check_alignment(const char *name, size_t index, size_t word)
{
    if (word % 4)
        fault("%s[%zu] is not at a multiple of 16 bytes", name, index);
}

void load_matrices(place where, const shared_array<uint32_t> &array, size_t index, uint32_t out[4])
{
    check_alignment(array.name, index, array.words.first + index);
    const uint32_t in[4] = {array[index], array[index + 1], array[index + 2], array[index + 3]};
    warp_operation(where, 0xffffffffu, in, 4, out, 4, combine_matrices, nullptr);
}

void copy_async4(const shared_array<uint32_t> &to, size_t index, const void *from)
{
    check_alignment(to.name, index, to.words.first + index);
    if ((uintptr_t)from % 16)
        fault("a copy of 16 bytes to %s[%zu] begins at an odd address", to.name, index);
    for (size_t i = 0; i < 4; i++)
        copy_async(to[index + i], static_cast<const uint32_t *>(from) + i);
}

/* A write when it is asked for, because it may happen then, and once more when it is waited for. */
void copy_async(const shared_reference<uint32_t> &to, const uint32_t *from)
{
    fiber &f = m->fibers[m->current];
    f.copies.push_back({to.at, to.word, *from, f.groups, to.name});
    if (checking) {
        shared_note(to.word, true, to.name);
        m->shadows[to.word].under_way = true;
    }
    *to.at = 0xffffffffu;
}

void copy_commit()
{
    m->fibers[m->current].groups++;
}

void copy_wait(unsigned later)
{
    fiber &f = m->fibers[m->current];
    size_t done = 0;
    for (; done < f.copies.size() && f.copies[done].group + later < f.groups; done++) {
        if (checking) {
            m->shadows[f.copies[done].word].under_way = false;
            shared_note(f.copies[done].word, true, f.copies[done].name);
        }
        *f.copies[done].to = f.copies[done].value;
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + (ptrdiff_t)done);
}

shared_words shared_declare(const void *key, size_t words)
{
    words = (words + 3) / 4 * 4; /* arrays begin at multiples of 16 bytes */
    for (const declaration &d : m->declarations)
        if (d.key == key)
            return {m->shared.data() + d.first, (uint32_t)d.first};
    if (m->shared_used + words > SHARED_WORDS) {
        fault("more than 48 KiB of shared memory");
        return {m->shared.data(), 0};
    }
    const declaration d = {key, m->shared_used, words};
    m->declarations.push_back(d);
    m->shared_used += words;
    if (checking) {
        const shadow fresh = {0, NOBODY, 0, 0, NOBODY, 0, 0, 0, false};
        for (size_t i = 0; i < words; i++) {
            m->shared[d.first + i] = 0xffffffffu; /* NaN when read as a float */
            m->shadows[d.first + i] = fresh;
        }
    }
    return {m->shared.data() + d.first, (uint32_t)d.first};
}

/* True when nothing orders an earlier access by `thread` before the running one. */
static bool unordered(uint32_t thread, uint32_t thread_warp, uint32_t epoch, uint32_t warp_epoch)
{
    const uint32_t self = m->current;
    if (thread == NOBODY || thread == self || epoch != m->epoch)
        return false;
    return thread_warp != self / 32 || warp_epoch == m->warp_epoch[self / 32];
}

void shared_note(uint32_t word, bool is_write, const char *name)
{
    shadow &s = m->shadows[word];
    const uint32_t self = m->current, epoch = m->epoch, warp_epoch = m->warp_epoch[self / 32];
    if (!is_write && !s.written)
        fault("thread %u reads a word of %s that nobody wrote", self, name);
    if (s.under_way)
        fault("thread %u touches a word of %s while a copy to it is under way", self, name);
    if (unordered(s.writer, s.writer / 32, s.write_epoch, s.write_warp_epoch))
        fault("threads %u and %u: %s of a word of %s after a write, without a barrier", s.writer, self, is_write ? "write" : "read", name);
    if (is_write) {
        if (unordered(s.reader, s.read_warp, s.read_epoch, s.read_warp_epoch))
            fault("thread %u writes a word of %s that another reads, without a barrier", self, name);
        s.written = 1;
        s.writer = self;
        s.write_epoch = epoch;
        s.write_warp_epoch = warp_epoch;
        s.reader = NOBODY;
    } else {
        const bool same = s.reader != NOBODY && s.read_epoch == epoch;
        s.read_warp = same && s.read_warp != self / 32 ? NOBODY : self / 32;
        s.reader = same && s.reader != self ? SEVERAL : self;
        s.read_epoch = epoch;
        s.read_warp_epoch = warp_epoch;
    }
}

bool run_block(entry_fn *entry, const void *arguments, emu_dim3 grid, emu_dim3 block, emu_dim3 index)
{
    if (!m) {
        owned.reset(new machine);
        m = owned.get();
        m->shared.resize(SHARED_WORDS);
        m->shadows.resize(SHARED_WORDS);
    }
    const unsigned n = block.x * block.y * block.z;
    if (n == 0 || n > MOST_THREADS)
        abort();
    if (m->fibers.size() < n) {
        m->fibers.resize(n);
        m->stacks.reset(new char[n * STACK_BYTES]);
        m->warps.resize((n + 31) / 32);
        m->warp_epoch.resize((n + 31) / 32);
    }
    m->entry = entry;
    m->arguments = arguments;
    m->n_threads = n;
    m->epoch = 0;
    m->declarations.clear();
    m->shared_used = 0;
    m->fault[0] = 0;
    block_size = block;
    grid_size = grid;
    block_index = index;
    for (unsigned w = 0; w < (n + 31) / 32; w++) {
        m->warps[w].arrived = 0;
        m->warp_epoch[w] = 0;
    }
    for (unsigned t = 0; t < n; t++) {
        make_context(&m->fibers[t].where, m->stacks.get() + t * STACK_BYTES, start);
        m->fibers[t].state = READY;
        m->fibers[t].copies.clear();
        m->fibers[t].groups = 0;
    }
    for (unsigned done = 0; done < n && !m->fault[0];) {
        bool moved = false;
        for (unsigned t = 0; t < n && !m->fault[0]; t++) {
            if (m->fibers[t].state != READY)
                continue;
            moved = true;
            m->current = t;
            thread_index = index_of(t);
            switch_to(&m->scheduler, &m->fibers[t].where);
            done += m->fibers[t].state == DONE;
        }
        if (!moved)
            release_barrier();
    }
    return !m->fault[0];
}
}
