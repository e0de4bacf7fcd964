/* fake_work.cpp: streams, events and launches of graphs. One worker thread takes a random stream that can go on, and in a launch a random
 * node whose predecessors are done; so an order that nobody asked for is soon not the order that happens. */
#include "fake.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

struct fake_exec { /* shared by launches: it may be destroyed while they run */
    std::vector<fake_node> nodes;
    std::deque<uint64_t> launches; /* serial numbers under way, in order: a graph does not run beside itself */
};
struct cu_graph_exec_object {
    std::shared_ptr<fake_exec> exec;
};

namespace {
struct task {
    enum { WAIT, RECORD, LAUNCH } kind;
    std::shared_ptr<fake_record> record;
    std::shared_ptr<fake_exec> exec;
    uint64_t serial;
    std::vector<size_t> missing; /* predecessors not done; of a node that ran: SIZE_MAX */
    size_t left;
};
}
struct cu_stream_object {
    std::deque<task> tasks;
};

namespace {
/* Never destroyed: a program may end while the worker waits. */
struct work {
    std::mutex lock;
    std::condition_variable changed;
    std::thread *worker = nullptr;
    std::vector<cu_stream> streams;
    bool stop = false, failed = false, checked = false, running = false; /* running: a node, without the lock */
    uint64_t random = 1, serial = 0;
};
work &w = *new work;

uint64_t next_random()
{
    w.random = w.random * 6364136223846793005u + 1442695040888963407u;
    return w.random >> 33;
}

double now_ms()
{
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool can_go_on(const task &t)
{
    if (t.kind == task::WAIT)
        return t.record->done;
    return t.kind == task::RECORD || t.exec->launches.front() == t.serial;
}

void finish(const std::shared_ptr<fake_record> &record)
{
    record->ms = now_ms();
    record->done = true;
}

/* The lock is not held. */
bool run_node(const fake_node &node, uint64_t random)
{
    if (node.kind == FAKE_KERNEL)
        return fake_run_kernel(node.kernel, node.grid, node.arguments.data(), w.checked, random);
    char *to = static_cast<char *>(fake_memory(node.to, node.bytes));
    const void *from = node.kind == FAKE_COPY ? fake_memory(node.from, node.bytes) : to;
    if (!to || !from)
        return false;
    if (node.kind == FAKE_COPY)
        memcpy(to, from, node.bytes);
    for (size_t i = 0; node.kind == FAKE_FILL && i + 4 <= node.bytes; i += 4)
        memcpy(to + i, &node.value, 4);
    return true;
}

void step(std::unique_lock<std::mutex> &guard, cu_stream stream)
{
    task &t = stream->tasks.front();
    if (t.kind == task::RECORD)
        finish(t.record);
    if (t.kind == task::LAUNCH && t.left > 0) {
        size_t ready = 0, chosen = 0;
        for (size_t n = 0; n < t.missing.size(); n++) /* each ready one with the same chance */
            if (t.missing[n] == 0 && next_random() % ++ready == 0)
                chosen = n;
        const fake_node &node = t.exec->nodes[chosen];
        if (node.kind == FAKE_EVENT) {
            node.event->last = std::make_shared<fake_record>();
            finish(node.event->last);
        } else {
            const uint64_t random = next_random();
            w.running = true;
            guard.unlock();
            if (random % 16 == 0)
                std::this_thread::sleep_for(std::chrono::microseconds(30));
            const bool ran = run_node(node, random);
            guard.lock();
            w.running = false;
            w.failed |= !ran;
            w.changed.notify_all();
        }
        t.missing[chosen] = SIZE_MAX;
        for (size_t n = 0; n < t.missing.size(); n++)
            for (size_t a : t.exec->nodes[n].after)
                t.missing[n] -= a == chosen;
        if (--t.left > 0)
            return;
    }
    if (t.kind == task::LAUNCH)
        t.exec->launches.pop_front();
    stream->tasks.pop_front();
    w.changed.notify_all();
}

void work_main()
{
    std::unique_lock<std::mutex> guard(w.lock);
    while (!w.stop) {
        cu_stream chosen = nullptr;
        uint64_t ready = 0;
        for (cu_stream s : w.streams)
            if (!s->tasks.empty() && can_go_on(s->tasks.front()) && next_random() % ++ready == 0)
                chosen = s;
        if (chosen && !w.failed)
            step(guard, chosen);
        else
            w.changed.wait(guard);
    }
}

void push(cu_stream stream, task t)
{
    stream->tasks.push_back(std::move(t));
    w.changed.notify_all();
}
}

void fake_work_start(uint64_t seed, bool checked)
{
    w.random = seed;
    w.checked = checked;
    w.stop = false;
    w.worker = new std::thread(work_main);
}

void fake_work_stop()
{
    {
        std::lock_guard<std::mutex> guard(w.lock);
        w.stop = true;
        w.changed.notify_all();
    }
    w.worker->join();
    delete w.worker;
    fake_work_mend();
}

void fake_work_mend()
{
    std::lock_guard<std::mutex> guard(w.lock);
    w.failed = false;
}

void fake_work_fail()
{
    std::unique_lock<std::mutex> guard(w.lock);
    w.failed = true;
    w.changed.notify_all();
    w.changed.wait(guard, [] { return !w.running; });
}

bool fake_work_failed()
{
    std::lock_guard<std::mutex> guard(w.lock);
    return w.failed;
}

cu_stream fake_stream_create()
{
    std::lock_guard<std::mutex> guard(w.lock);
    w.streams.push_back(new cu_stream_object);
    return w.streams.back();
}

void fake_stream_synchronize(cu_stream stream)
{
    std::unique_lock<std::mutex> guard(w.lock);
    w.changed.wait(guard, [&] { return stream->tasks.empty() || w.failed; });
}

void fake_stream_destroy(cu_stream stream)
{
    fake_stream_synchronize(stream);
    std::lock_guard<std::mutex> guard(w.lock);
    for (size_t s = 0; s < w.streams.size(); s++)
        if (w.streams[s] == stream)
            w.streams.erase(w.streams.begin() + (ptrdiff_t)s--);
    delete stream;
}

void fake_stream_wait(cu_stream stream, cu_event event)
{
    std::lock_guard<std::mutex> guard(w.lock);
    if (event->last)
        push(stream, {task::WAIT, event->last, nullptr, 0, {}, 0});
}

void fake_stream_record(cu_stream stream, cu_event event)
{
    std::lock_guard<std::mutex> guard(w.lock);
    event->last = std::make_shared<fake_record>();
    push(stream, {task::RECORD, event->last, nullptr, 0, {}, 0});
}

cu_graph_exec fake_exec_create(const cu_graph_object &graph)
{
    auto exec = std::make_shared<fake_exec>();
    exec->nodes = graph.nodes;
    return new cu_graph_exec_object{exec};
}

void fake_exec_destroy(cu_graph_exec exec)
{
    delete exec;
}

void fake_stream_launch(cu_stream stream, cu_graph_exec exec)
{
    std::lock_guard<std::mutex> guard(w.lock);
    task t = {task::LAUNCH, nullptr, exec->exec, ++w.serial, {}, exec->exec->nodes.size()};
    for (const fake_node &node : exec->exec->nodes)
        t.missing.push_back(node.after.size());
    exec->exec->launches.push_back(t.serial);
    push(stream, std::move(t));
}

bool fake_event_done(cu_event event)
{
    std::lock_guard<std::mutex> guard(w.lock);
    return !event->last || event->last->done;
}

void fake_event_synchronize(cu_event event)
{
    std::unique_lock<std::mutex> guard(w.lock);
    const std::shared_ptr<fake_record> record = event->last;
    w.changed.wait(guard, [&] { return !record || record->done || w.failed; });
}

bool fake_event_time(cu_event event, double *ms)
{
    std::lock_guard<std::mutex> guard(w.lock);
    if (!event->last || !event->last->done)
        return false;
    *ms = event->last->ms;
    return true;
}
