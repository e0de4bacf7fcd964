/* cpu.c: the CPU as a device: facts, buffers in host memory, kernels from cpu_fallback/, queues. Knows neither ops nor formats.
 * How lists become tasks is in list.c, who runs them in pool.c. */
#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

/* From here on buffers are mapped: pages that nobody touches cost nothing. */
#define MAP_FROM_BYTES (256u * 1024u)

/* The levels that kernels may be taken from, weakest first. */
static void describe_levels(uint32_t mask, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++) {
        const char *text = bl_cpu_level_text((enum bl_cpu_level)level);
        if ((level == BL_CPU_C || mask >> level & 1u) && n < out_bytes)
            n += (size_t)snprintf(out + n, out_bytes - n, "%s%s", n ? ", " : "", text);
    }
}

static void processor_name(char *out, size_t out_bytes)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out, out_bytes, "CPU");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (value && (strncmp(line, "model name", 10) == 0 || strncmp(line, "Model", 5) == 0)) {
            value += 1 + strspn(value + 1, " \t");
            value[strcspn(value, "\n")] = 0;
            snprintf(out, out_bytes, "%s", value);
            break;
        }
    }
    if (file)
        fclose(file);
}

static bool describe(uint32_t index, bl_device_info *out)
{
    if (index > 0)
        return false;
    *out = (bl_device_info){.backend = "cpu", .id = "cpu", .score = BL_SCORE_CPU};
    processor_name(out->name, sizeof out->name);
    return true;
}

static bl_status memory_info(bl_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    (void)device;
    char line[128];
    unsigned long long kib;
    FILE *file = fopen("/proc/meminfo", "re");
    struct sysinfo info;
    if (!file && sysinfo(&info) == 0) { /* no /proc: what is free, less what could be freed */
        *total_bytes = (uint64_t)info.totalram * info.mem_unit;
        *free_bytes = (uint64_t)info.freeram * info.mem_unit;
        return BL_OK;
    }
    if (!file)
        BL_FAIL(BL_EIO, "/proc/meminfo cannot be opened");
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %llu kB", &kib) == 1)
            *total_bytes = (uint64_t)kib * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            *free_bytes = (uint64_t)kib * 1024;
    }
    fclose(file);
    return BL_OK;
}

/* ---- buffers ---- */

static bl_status buffer_create(bl_device *device, const bl_buffer_params *params, bl_buffer **out)
{
    (void)device;
    struct cpu_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        BL_FAIL(BL_ENOMEM, "buffer: out of memory");
    if (params->kind == BL_MEM_IMPORT_HOST) {
        uintptr_t address = (uintptr_t)params->host_memory; /* read only by contract: the core refuses writes */
        buffer->base.host = (void *)address;
    } else if (params->bytes > SIZE_MAX / 2) {
        buffer->base.host = NULL;
    } else if (params->bytes >= MAP_FROM_BYTES) {
        void *p = mmap(NULL, (size_t)params->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        buffer->base.host = p == MAP_FAILED ? NULL : p;
        buffer->mapped = (size_t)params->bytes;
    } else {
        buffer->base.host = aligned_alloc(64, ((size_t)params->bytes + 63) & ~(size_t)63);
    }
    if (!buffer->base.host) {
        free(buffer);
        BL_FAIL(BL_EDEVMEM, "buffer \"%s\": no %llu bytes of memory", params->label ? params->label : "unnamed",
                (unsigned long long)params->bytes);
    }
    *out = &buffer->base;
    return BL_OK;
}

static void buffer_destroy(bl_buffer *base)
{
    struct cpu_buffer *buffer = (struct cpu_buffer *)base;
    if (buffer->mapped)
        munmap(base->host, buffer->mapped);
    else if (base->kind != BL_MEM_IMPORT_HOST)
        free(base->host);
    free(buffer);
}

/* ---- kernels ---- */

static bl_status kernel_create(bl_device *device, struct bl_kernel_key key, bl_kernel **out)
{
    struct bl_cpu_kernel found;
    if (!bl_cpu_kernel_find(key, ((struct cpu_device *)device)->mask, &found))
        return BL_EUNSUPPORTED;
    struct cpu_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "kernel: out of memory");
    kernel->cpu = found;
    memcpy(kernel->base.tile, found.tile, sizeof found.tile);
    size_t n = bl_kernel_key_name(key, kernel->base.name, sizeof kernel->base.name);
    if (n < sizeof kernel->base.name)
        snprintf(kernel->base.name + n, sizeof kernel->base.name - n, "_%s", bl_cpu_level_name(found.level));
    *out = &kernel->base;
    return BL_OK;
}

static void kernel_destroy(bl_kernel *kernel)
{
    free(kernel);
}

/* ---- queues ---- */

static bl_status queue_create(bl_device *device, bl_queue_kind kind, bl_queue **out)
{
    (void)kind; /* a copy is a task like others */
    struct cpu_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        BL_FAIL(BL_ENOMEM, "queue: out of memory");
    cpu_pool_add(((struct cpu_device *)device)->pool, queue);
    *out = &queue->base;
    return BL_OK;
}

static void queue_destroy(bl_queue *base)
{
    cpu_pool_remove(((struct cpu_device *)base->device)->pool, (struct cpu_queue *)base);
    free(base);
}

static bl_status queue_submit(bl_queue *queue, bl_list *list, const bl_fence *waits, uint32_t n_waits, uint64_t value)
{
    struct cpu_submission *submission = malloc(sizeof *submission + n_waits * sizeof submission->waits[0]);
    if (!submission)
        BL_FAIL(BL_ENOMEM, "submission: out of memory");
    *submission = (struct cpu_submission){.queue = (struct cpu_queue *)queue,
                                          .list = (struct cpu_list *)list,
                                          .value = value,
                                          .timed = list->timed,
                                          .n_waits = n_waits};
    for (uint32_t w = 0; w < n_waits; w++)
        submission->waits[w] = (struct cpu_fence){(struct cpu_queue *)waits[w].queue, waits[w].value};
    if (list->timed) {
        bl_status status = cpu_list_prepare_timings(submission->list);
        if (status != BL_OK) {
            free(submission);
            return bl_error_trace(status, __FILE__, __LINE__);
        }
    }
    cpu_pool_submit(((struct cpu_device *)queue->device)->pool, submission);
    return BL_OK;
}

static bl_status queue_wait(bl_queue *queue, uint64_t value, uint64_t timeout_ns)
{
    return cpu_pool_wait(((struct cpu_device *)queue->device)->pool, (struct cpu_queue *)queue, value, timeout_ns);
}

/* ---- the device ---- */

static void device_close(bl_device *base)
{
    struct cpu_device *device = (struct cpu_device *)base;
    cpu_pool_destroy(device->pool);
    if (device->scratch)
        cpu_scratch_unref(device, device->scratch);
    pthread_mutex_destroy(&device->scratch_lock);
    free(device);
}

static const struct bl_device_fns fns = {
    .device_close = device_close,
    .memory_info = memory_info,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .queue_submit = queue_submit,
    .queue_wait = queue_wait,
    .list_begin = cpu_list_begin,
    .list_dispatch = cpu_list_dispatch,
    .list_copy = cpu_list_copy,
    .list_fill = cpu_list_fill,
    .list_end = cpu_list_end,
    .list_destroy = cpu_list_destroy,
    .list_timings = cpu_list_timings,
};

static bl_status open_device(uint32_t index, const bl_device_params *params, bl_device **out)
{
    (void)index;
    if (params->n_threads > CPU_MAX_THREADS)
        BL_FAIL(BL_EINVAL, "bl_device_open: n_threads %u > %u", params->n_threads, CPU_MAX_THREADS);
    struct cpu_device *device = calloc(1, sizeof *device);
    if (!device)
        BL_FAIL(BL_ENOMEM, "cpu: out of memory");
    bl_status status = cpu_pool_create(params->n_threads ? params->n_threads : cpu_cores_allowed(), &device->pool);
    if (status != BL_OK) {
        free(device);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    pthread_mutex_init(&device->scratch_lock, NULL);
    device->mask = bl_cpu_levels_present() & (params->cpu_mask ? params->cpu_mask : UINT32_MAX);
    processor_name(device->name, sizeof device->name);
    describe_levels(device->mask, device->facts, sizeof device->facts);
    device->base.fns = &fns;
    device->base.caps = (bl_caps){
        .backend = "cpu",
        .name = device->name,
        .facts = device->facts,
        .memory_kinds = 1u << BL_MEM_DEVICE | 1u << BL_MEM_UPLOAD | 1u << BL_MEM_READBACK | 1u << BL_MEM_SHARED | 1u << BL_MEM_IMPORT_HOST,
        .max_push_bytes = 128,
        .max_bindings = 18,
        .buffer_alignment = 4, /* kernels read floats in place */
        .n_threads = cpu_pool_threads(device->pool),
        .coherent = true,
        .timestamps = true,
        .unified = true,
    };
    *out = &device->base;
    return BL_OK;
}

const struct bl_backend bl_backend_cpu = {
    .name = "cpu",
    .abi = BL_BACKEND_ABI,
    .score = BL_SCORE_CPU,
    .describe = describe,
    .open = open_device,
};
