/* fake_memory.cpp: device memory as two equal ranges of addresses: one that is given out and that nobody may touch, one where the bytes are.
 * Every allocation has its own pages and a page without access behind it. Freed memory has no access either. */
#include "fake.h"

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>

static constexpr size_t RANGE = (size_t)1 << 36, PAGE = 4096;

namespace {
struct host_range {
    size_t bytes;
    bool pinned;
};
struct memory {
    std::mutex lock;
    char *given = nullptr, *real = nullptr;
    uint64_t limit = 0, used = 0;
    std::map<size_t, size_t> taken; /* offset -> bytes */
    std::map<char *, host_range> host;
};
memory &m = *new memory; /* outlives everything */

bool reserve()
{
    if (m.given)
        return true;
    void *both = mmap(nullptr, 2 * RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (both == MAP_FAILED)
        return false;
    m.given = static_cast<char *>(both);
    m.real = m.given + RANGE;
    return true;
}

size_t pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}
}

void fake_memory_limit(uint64_t bytes)
{
    std::lock_guard<std::mutex> guard(m.lock);
    m.limit = bytes;
}

uint64_t fake_memory_used()
{
    std::lock_guard<std::mutex> guard(m.lock);
    return m.used;
}

cu_address fake_allocate(size_t bytes)
{
    std::lock_guard<std::mutex> guard(m.lock);
    if (!reserve() || bytes == 0 || bytes > m.limit - m.used)
        return 0;
    size_t at = PAGE; /* the first hole that is large enough */
    for (const auto &t : m.taken) {
        if (t.first - at >= pages(bytes) + PAGE)
            break;
        at = t.first + pages(t.second) + PAGE;
    }
    if (at + pages(bytes) + PAGE > RANGE || mprotect(m.real + at, pages(bytes), PROT_READ | PROT_WRITE) != 0)
        return 0;
    if (bytes <= (size_t)1 << 20)
        memset(m.real + at, 0xcd, pages(bytes)); /* contents are undefined, and look so */
    m.taken[at] = bytes;
    m.used += bytes;
    return (cu_address)(uintptr_t)(m.given + at);
}

bool fake_free(cu_address address)
{
    std::lock_guard<std::mutex> guard(m.lock);
    const auto t = m.taken.find((size_t)((char *)(uintptr_t)address - m.given));
    if (t == m.taken.end())
        return false;
    char *at = m.real + t->first;
    m.used -= t->second;
    mmap(at, pages(t->second), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    m.taken.erase(t);
    return true;
}

void fake_free_all()
{
    for (;;) {
        size_t at;
        {
            std::lock_guard<std::mutex> guard(m.lock);
            if (m.taken.empty())
                return;
            at = m.taken.begin()->first;
        }
        fake_free((cu_address)(uintptr_t)(m.given + at));
    }
}

void fake_add_host(void *host, size_t bytes, bool pinned)
{
    std::lock_guard<std::mutex> guard(m.lock);
    m.host[static_cast<char *>(host)] = {bytes, pinned};
}

bool fake_remove_host(void *host, bool pinned)
{
    std::lock_guard<std::mutex> guard(m.lock);
    const auto h = m.host.find(static_cast<char *>(host));
    if (h == m.host.end() || h->second.pinned != pinned)
        return false;
    m.host.erase(h);
    return true;
}

void *fake_memory(cu_address address, size_t bytes)
{
    std::lock_guard<std::mutex> guard(m.lock);
    char *p = (char *)(uintptr_t)address;
    if (m.given && p >= m.given && p < m.given + RANGE) {
        const size_t at = (size_t)(p - m.given);
        auto t = m.taken.upper_bound(at);
        if (t == m.taken.begin())
            return nullptr;
        --t;
        return at - t->first <= t->second && bytes <= t->second - (at - t->first) ? m.real + at : nullptr;
    }
    auto h = m.host.upper_bound(p);
    if (h == m.host.begin())
        return nullptr;
    --h;
    const size_t at = (size_t)(p - h->first);
    return at <= h->second.bytes && bytes <= h->second.bytes - at ? p : nullptr;
}
