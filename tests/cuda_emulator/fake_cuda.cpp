/* fake_cuda.cpp: the entry points of the fake driver: every call is counted, refused where the rules are broken, and failed where a knob
 * says so. What releases something releases it even when the call is failed: a driver does so too when its context goes. */
#include "fake.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#define CU_FN(field, name, parameters) extern "C" __attribute__((visibility("default"))) cu_result name parameters;
#include "backends/cuda/fns.def"
#undef CU_FN

struct cu_context_object {
    int unused;
};
struct cu_module_object {
    int unused;
};

namespace {
enum object { PINNED, REGISTERED, MODULE, STREAM, EVENT, GRAPH, EXEC, OBJECTS };
const char *const object_names[OBJECTS] = {"pinned memories", "registered memories", "modules", "streams", "events", "graphs", "launchable graphs"};

struct state {
    std::mutex lock;
    bool is_on = false, integrated = false, checked = false, no_code = false;
    uint64_t seed = 1, fail_at = 0, lost_at = 0;
    int fail_code = 0, devices = 1, capability = 90;
    std::atomic<uint64_t> calls{0};
    std::atomic<bool> lost{false};
    std::atomic<int> live[OBJECTS];
    uint32_t retained = 0, leaks = 0;
    const char *failed_call = nullptr;
    uint64_t total = 0;
};
state s;
cu_context_object the_context;
thread_local cu_context current[16];
thread_local unsigned depth;

uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}

/* What the call answers before it does anything; CU_OK: go on. A lost context can still be made current. */
cu_result begin(const char *name, bool needs_context, bool also_when_lost = false)
{
    const uint64_t call = ++s.calls;
    if (!s.lost && (fake_work_failed() || (s.lost_at && call >= s.lost_at))) {
        s.lost = true;
        s.failed_call = name;
        fake_work_fail();
    }
    if (s.lost && !also_when_lost)
        return FAKE_LAUNCH_FAILED;
    if (call == s.fail_at) {
        s.failed_call = name;
        return s.fail_code;
    }
    return needs_context && depth == 0 ? (cu_result)FAKE_INVALID_CONTEXT : (cu_result)CU_OK;
}

cu_result made(object kind)
{
    s.live[kind]++;
    return CU_OK;
}

cu_result let_go(object kind, cu_result answer)
{
    s.live[kind]--;
    return answer;
}
}

#define BEGIN(name)                                          \
    do {                                                     \
        const cu_result begun = begin(#name, true);          \
        if (begun != CU_OK)                                  \
            return begun;                                    \
    } while (0)
#define BEGIN_ANYWHERE(name)                                 \
    do {                                                     \
        const cu_result begun = begin(#name, false);         \
        if (begun != CU_OK)                                  \
            return begun;                                    \
    } while (0)

/* For tests. */
extern "C" __attribute__((visibility("default"))) uint64_t fake_cuda_calls()
{
    return s.calls;
}
extern "C" __attribute__((visibility("default"))) uint32_t fake_cuda_leaks()
{
    return s.leaks;
}
extern "C" __attribute__((visibility("default"))) uint32_t fake_cuda_open()
{
    return s.retained;
}
extern "C" __attribute__((visibility("default"))) const char *fake_cuda_failed_call()
{
    return s.failed_call;
}

cu_result cuGetErrorName(cu_result result, const char **name)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {{1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {100, "CUDA_ERROR_NO_DEVICE"},
                 {200, "CUDA_ERROR_INVALID_IMAGE"}, {201, "CUDA_ERROR_INVALID_CONTEXT"}, {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                 {500, "CUDA_ERROR_NOT_FOUND"}, {600, "CUDA_ERROR_NOT_READY"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                 {719, "CUDA_ERROR_LAUNCH_FAILED"}};
    for (const auto &n : names) {
        if (n.code == result) {
            *name = n.name;
            return CU_OK;
        }
    }
    return FAKE_INVALID_VALUE;
}

cu_result cuInit(unsigned)
{
    std::lock_guard<std::mutex> guard(s.lock);
    s.is_on = true;
    s.calls = 0;
    s.lost = false;
    s.failed_call = nullptr;
    if (s.retained == 0)
        fake_work_mend();
    s.seed = number("BITLOOM_FAKE_CUDA_SEED", 1);
    s.lost_at = number("BITLOOM_FAKE_CUDA_LOST", 0);
    s.total = number("BITLOOM_FAKE_CUDA_MEMORY", (uint64_t)8 << 30);
    s.devices = (int)number("BITLOOM_FAKE_CUDA_DEVICES", 1);
    s.capability = (int)number("BITLOOM_FAKE_CUDA_CAPABILITY", 90);
    s.integrated = number("BITLOOM_FAKE_CUDA_INTEGRATED", 0) != 0;
    s.checked = number("BITLOOM_FAKE_CUDA_CHECKED", 0) != 0;
    s.no_code = number("BITLOOM_FAKE_CUDA_NO_CODE", 0) != 0;
    s.fail_at = 0;
    if (const char *fail = getenv("BITLOOM_FAKE_CUDA_FAIL")) {
        char *end;
        s.fail_at = strtoull(fail, &end, 10);
        s.fail_code = *end == ':' ? atoi(end + 1) : FAKE_INVALID_VALUE;
    }
    fake_memory_limit(s.total);
    BEGIN_ANYWHERE(cuInit);
    return s.devices > 0 ? CU_OK : CU_NO_DEVICE;
}

cu_result cuDriverGetVersion(int *version)
{
    BEGIN_ANYWHERE(cuDriverGetVersion);
    *version = 13000;
    return CU_OK;
}

cu_result cuDeviceGetCount(int *count)
{
    BEGIN_ANYWHERE(cuDeviceGetCount);
    *count = s.devices;
    return CU_OK;
}

cu_result cuDeviceGet(cu_ordinal *device, int index)
{
    BEGIN_ANYWHERE(cuDeviceGet);
    *device = index;
    return index >= 0 && index < s.devices ? CU_OK : 101;
}

cu_result cuDeviceGetName(char *name, int bytes, cu_ordinal device)
{
    BEGIN_ANYWHERE(cuDeviceGetName);
    snprintf(name, (size_t)bytes, "emulated CUDA device %d", device);
    return CU_OK;
}

cu_result cuDeviceGetAttribute(int *value, int attribute, cu_ordinal)
{
    BEGIN_ANYWHERE(cuDeviceGetAttribute);
    switch (attribute) {
    case CU_ATTRIBUTE_MAJOR:
        *value = s.capability / 10;
        return CU_OK;
    case CU_ATTRIBUTE_MINOR:
        *value = s.capability % 10;
        return CU_OK;
    case CU_ATTRIBUTE_PROCESSORS:
        *value = 4;
        return CU_OK;
    case CU_ATTRIBUTE_INTEGRATED:
        *value = s.integrated;
        return CU_OK;
    case CU_ATTRIBUTE_HOST_REGISTER:
    case CU_ATTRIBUTE_READ_ONLY_HOST_REGISTER:
        *value = 1;
        return CU_OK;
    default:
        return FAKE_INVALID_VALUE;
    }
}

cu_result cuDevicePrimaryCtxRetain(cu_context *context, cu_ordinal)
{
    BEGIN_ANYWHERE(cuDevicePrimaryCtxRetain);
    std::lock_guard<std::mutex> guard(s.lock);
    if (!s.is_on)
        return 3;
    if (s.retained++ == 0)
        fake_work_start(s.seed, s.checked);
    *context = &the_context;
    return CU_OK;
}

/* With the last release everything must have been given back. */
cu_result cuDevicePrimaryCtxRelease_v2(cu_ordinal)
{
    const cu_result answer = begin("cuDevicePrimaryCtxRelease", false);
    std::lock_guard<std::mutex> guard(s.lock);
    if (s.retained == 0)
        return FAKE_INVALID_CONTEXT;
    if (--s.retained == 0) {
        uint32_t leaks = 0;
        fake_work_stop();
        for (int o = 0; o < OBJECTS; o++) {
            if (s.live[o])
                fprintf(stderr, "fake cuda: %d %s left at the release of the context\n", s.live[o].load(), object_names[o]);
            leaks += s.live[o] != 0;
            s.live[o] = 0;
        }
        if (fake_memory_used())
            fprintf(stderr, "fake cuda: %llu bytes of device memory left at the release of the context\n", (unsigned long long)fake_memory_used());
        leaks += fake_memory_used() != 0;
        fake_free_all();
        s.leaks += leaks;
        if (leaks && !s.failed_call)
            abort();
    }
    return answer;
}

cu_result cuCtxPushCurrent_v2(cu_context context)
{
    const cu_result begun = begin("cuCtxPushCurrent", false, true);
    if (begun != CU_OK)
        return begun;
    if (context != &the_context || depth == 16)
        return FAKE_INVALID_CONTEXT;
    current[depth++] = context;
    return CU_OK;
}

cu_result cuCtxPopCurrent_v2(cu_context *context)
{
    const cu_result answer = begin("cuCtxPopCurrent", true, true);
    if (depth == 0)
        return FAKE_INVALID_CONTEXT;
    *context = current[--depth];
    return answer;
}

/* ---- memory ---- */

cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    BEGIN(cuMemGetInfo);
    *total_bytes = s.total;
    *free_bytes = s.total - fake_memory_used();
    return CU_OK;
}

cu_result cuMemAlloc_v2(cu_address *address, size_t bytes)
{
    BEGIN(cuMemAlloc);
    *address = fake_allocate(bytes);
    return *address ? CU_OK : CU_OUT_OF_MEMORY;
}

cu_result cuMemFree_v2(cu_address address)
{
    const cu_result answer = begin("cuMemFree", true);
    return fake_free(address) ? answer : (cu_result)FAKE_INVALID_VALUE;
}

cu_result cuMemHostAlloc(void **host, size_t bytes, unsigned)
{
    BEGIN(cuMemHostAlloc);
    *host = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*host)
        return CU_OUT_OF_MEMORY;
    memset(*host, 0xcd, bytes < 65536 ? bytes : 65536);
    fake_add_host(*host, bytes, true);
    return made(PINNED);
}

cu_result cuMemFreeHost(void *host)
{
    const cu_result answer = begin("cuMemFreeHost", true);
    if (!fake_remove_host(host, true))
        return FAKE_INVALID_VALUE;
    free(host);
    return let_go(PINNED, answer);
}

cu_result cuMemHostRegister_v2(void *host, size_t bytes, unsigned)
{
    BEGIN(cuMemHostRegister);
    fake_add_host(host, bytes, false);
    return made(REGISTERED);
}

cu_result cuMemHostUnregister(void *host)
{
    const cu_result answer = begin("cuMemHostUnregister", true);
    return fake_remove_host(host, false) ? let_go(REGISTERED, answer) : (cu_result)FAKE_INVALID_VALUE;
}

cu_result cuMemHostGetDevicePointer_v2(cu_address *address, void *host, unsigned)
{
    BEGIN(cuMemHostGetDevicePointer);
    *address = (cu_address)(uintptr_t)host;
    return fake_memory(*address, 1) ? (cu_result)CU_OK : (cu_result)FAKE_INVALID_VALUE;
}

cu_result cuMemsetD8_v2(cu_address to, unsigned char value, size_t bytes)
{
    BEGIN(cuMemsetD8);
    void *memory = fake_memory(to, bytes);
    if (!memory)
        return FAKE_INVALID_VALUE;
    memset(memory, value, bytes);
    return CU_OK;
}

cu_result cuMemcpyHtoD_v2(cu_address to, const void *from, size_t bytes)
{
    BEGIN(cuMemcpyHtoD);
    void *memory = fake_memory(to, bytes);
    if (!memory)
        return FAKE_INVALID_VALUE;
    memcpy(memory, from, bytes);
    return CU_OK;
}

/* ---- modules ---- */

cu_result cuModuleLoadData(cu_module *module, const void *image)
{
    BEGIN(cuModuleLoadData);
    if (!image || s.no_code)
        return CU_NO_BINARY_FOR_GPU;
    *module = new cu_module_object;
    return made(MODULE);
}

cu_result cuModuleUnload(cu_module module)
{
    const cu_result answer = begin("cuModuleUnload", true);
    delete module;
    return let_go(MODULE, answer);
}

cu_result cuModuleGetFunction(cu_function *function, cu_module, const char *name)
{
    BEGIN(cuModuleGetFunction);
    const fake_kernel *kernel = fake_find_kernel(name);
    *function = reinterpret_cast<cu_function>(const_cast<fake_kernel *>(kernel));
    return kernel ? CU_OK : CU_NOT_FOUND;
}

/* ---- streams and events ---- */

cu_result cuStreamCreate(cu_stream *stream, unsigned)
{
    BEGIN(cuStreamCreate);
    *stream = fake_stream_create();
    return made(STREAM);
}

cu_result cuStreamDestroy_v2(cu_stream stream)
{
    const cu_result answer = begin("cuStreamDestroy", true);
    fake_stream_destroy(stream);
    return let_go(STREAM, answer);
}

cu_result cuStreamSynchronize(cu_stream stream)
{
    BEGIN(cuStreamSynchronize);
    if (stream) /* what goes to the common stream is done at once */
        fake_stream_synchronize(stream);
    return CU_OK;
}

cu_result cuStreamWaitEvent(cu_stream stream, cu_event event, unsigned)
{
    BEGIN(cuStreamWaitEvent);
    fake_stream_wait(stream, event);
    return CU_OK;
}

cu_result cuEventCreate(cu_event *event, unsigned flags)
{
    BEGIN(cuEventCreate);
    *event = new cu_event_object;
    (*event)->timed = !(flags & CU_EVENT_NO_TIMING);
    return made(EVENT);
}

cu_result cuEventDestroy_v2(cu_event event)
{
    const cu_result answer = begin("cuEventDestroy", true);
    delete event;
    return let_go(EVENT, answer);
}

cu_result cuEventRecord(cu_event event, cu_stream stream)
{
    BEGIN(cuEventRecord);
    fake_stream_record(stream, event);
    return CU_OK;
}

cu_result cuEventQuery(cu_event event)
{
    BEGIN(cuEventQuery);
    return fake_event_done(event) ? CU_OK : CU_NOT_READY;
}

cu_result cuEventSynchronize(cu_event event)
{
    BEGIN(cuEventSynchronize);
    fake_event_synchronize(event);
    return fake_work_failed() ? (cu_result)FAKE_LAUNCH_FAILED : (cu_result)CU_OK;
}

cu_result cuEventElapsedTime(float *milliseconds, cu_event first, cu_event last)
{
    BEGIN(cuEventElapsedTime);
    double from = 0, to = 0;
    if (!first->timed || !last->timed)
        return 400;
    if (!fake_event_time(first, &from) || !fake_event_time(last, &to))
        return CU_NOT_READY;
    *milliseconds = (float)(to - from);
    return CU_OK;
}

/* ---- graphs ---- */

cu_result cuGraphCreate(cu_graph *graph, unsigned)
{
    BEGIN(cuGraphCreate);
    *graph = new cu_graph_object;
    return made(GRAPH);
}

cu_result cuGraphDestroy(cu_graph graph)
{
    const cu_result answer = begin("cuGraphDestroy", true);
    delete graph;
    return let_go(GRAPH, answer);
}

/* A node's handle is its number + 1. Predecessors must be nodes of the graph, each once. */
static cu_result add_node(cu_graph_node *out, cu_graph graph, const cu_graph_node *after, size_t n_after, fake_node node)
{
    for (size_t a = 0; a < n_after; a++) {
        const size_t number = reinterpret_cast<size_t>(after[a]);
        if (number == 0 || number > graph->nodes.size())
            return FAKE_INVALID_VALUE;
        for (size_t other : node.after)
            if (other == number - 1)
                return FAKE_INVALID_VALUE;
        node.after.push_back(number - 1);
    }
    graph->nodes.push_back(std::move(node));
    *out = reinterpret_cast<cu_graph_node>(graph->nodes.size());
    return CU_OK;
}

cu_result cuGraphAddKernelNode(cu_graph_node *out, cu_graph graph, const cu_graph_node *after, size_t n_after, const cu_kernel_params *params)
{
    BEGIN(cuGraphAddKernelNode);
    fake_node node = {};
    node.kind = FAKE_KERNEL;
    node.kernel = reinterpret_cast<const fake_kernel *>(params->function);
    memcpy(node.grid, params->grid, sizeof node.grid);
    if (!node.kernel || !params->arguments || params->extra || params->shared_bytes || !fake_kernel_takes(node.kernel, params->block) ||
        params->grid[0] == 0 || params->grid[1] == 0 || params->grid[2] == 0 || params->grid[1] > 65535 || params->grid[2] > 65535)
        return FAKE_INVALID_VALUE;
    const unsigned char *bytes = static_cast<const unsigned char *>(params->arguments[0]);
    node.arguments.assign(bytes, bytes + fake_argument_bytes());
    return add_node(out, graph, after, n_after, std::move(node));
}

static cu_address address_of(const cu_copy_side &side)
{
    return side.memory == CU_MEMORY_HOST ? (cu_address)(uintptr_t)side.host : side.device;
}

cu_result cuGraphAddMemcpyNode(cu_graph_node *out, cu_graph graph, const cu_graph_node *after, size_t n_after, const cu_copy_params *params,
                               cu_context)
{
    BEGIN(cuGraphAddMemcpyNode);
    fake_node node = {};
    node.kind = FAKE_COPY;
    node.to = address_of(params->to);
    node.from = address_of(params->from);
    node.bytes = params->width;
    if (params->width == 0 || params->width > (1u << 30) || params->from.pitch != params->width || params->to.pitch != params->width ||
        params->from.height != 1 || params->to.height != 1 || params->height != 1 || params->depth != 1 || !fake_memory(node.to, node.bytes) || !fake_memory(node.from, node.bytes))
        return FAKE_INVALID_VALUE;
    return add_node(out, graph, after, n_after, std::move(node));
}

cu_result cuGraphAddMemsetNode(cu_graph_node *out, cu_graph graph, const cu_graph_node *after, size_t n_after, const cu_fill_params *params,
                               cu_context)
{
    BEGIN(cuGraphAddMemsetNode);
    fake_node node = {};
    node.kind = FAKE_FILL;
    node.to = params->to;
    node.bytes = params->width * 4;
    node.value = params->value;
    if (params->element_bytes != 4 || params->width == 0 || params->height != 1 || !fake_memory(node.to, node.bytes))
        return FAKE_INVALID_VALUE;
    return add_node(out, graph, after, n_after, std::move(node));
}

cu_result cuGraphAddEventRecordNode(cu_graph_node *out, cu_graph graph, const cu_graph_node *after, size_t n_after, cu_event event)
{
    BEGIN(cuGraphAddEventRecordNode);
    fake_node node = {};
    node.kind = FAKE_EVENT;
    node.event = event;
    return add_node(out, graph, after, n_after, std::move(node));
}

cu_result cuGraphInstantiateWithFlags(cu_graph_exec *exec, cu_graph graph, unsigned long long)
{
    BEGIN(cuGraphInstantiate);
    *exec = fake_exec_create(*graph);
    return made(EXEC);
}

cu_result cuGraphExecDestroy(cu_graph_exec exec)
{
    const cu_result answer = begin("cuGraphExecDestroy", true);
    fake_exec_destroy(exec);
    return let_go(EXEC, answer);
}

cu_result cuGraphLaunch(cu_graph_exec exec, cu_stream stream)
{
    BEGIN(cuGraphLaunch);
    fake_stream_launch(stream, exec);
    return CU_OK;
}
