/* buffers.c: kinds of memory, refusals, synchronisation, import, memory that is only promised. */
#include "conformance.h"

#include <stdlib.h>
#include <unistd.h>

static void creates_every_kind(struct conf *conf)
{
    const bl_caps *caps = bl_device_caps(conf->device);
    static const uint64_t sizes[] = {1, 3, 4096, 300001};
    for (uint32_t kind = BL_MEM_DEVICE; kind <= BL_MEM_SHARED; kind++) {
        if (!(caps->memory_kinds >> kind & 1u))
            continue;
        for (uint32_t s = 0; s < 4; s++) {
            bl_buffer *buffer;
            CHECK_OK(bl_buffer_create(conf->device, &(bl_buffer_params){.bytes = sizes[s], .kind = (bl_memory_kind)kind}, &buffer));
            CHECK(bl_buffer_bytes(buffer) == sizes[s]);
            unsigned char *host = bl_buffer_host(buffer);
            CHECK(host != NULL || kind == BL_MEM_DEVICE);
            if (host) {
                memset(host, 7, (size_t)sizes[s]);
                CHECK_OK(bl_buffer_sync(buffer, 0, sizes[s], true));
                CHECK(host[sizes[s] - 1] == 7);
            }
            bl_buffer_destroy(buffer);
        }
    }
}

static void refuses_mistakes(struct conf *conf)
{
    bl_buffer *buffer = (bl_buffer *)1;
    _Alignas(64) static unsigned char memory[64];
    bl_buffer_params params = {.bytes = 0, .label = "lemon"};
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EINVAL, "lemon");
    CHECK(buffer == NULL);
    params.bytes = 16;
    CHECK_REFUSED(bl_buffer_create(NULL, &params, &buffer), BL_EINVAL, "device");
    CHECK_REFUSED(bl_buffer_create(conf->device, NULL, &buffer), BL_EINVAL, "params");
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, NULL), BL_EINVAL, "out");
    params.kind = (bl_memory_kind)9;
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EINVAL, "kind 9");
    params.kind = BL_MEM_IMPORT_HOST;
    const bool imports = bl_device_caps(conf->device)->memory_kinds >> BL_MEM_IMPORT_HOST & 1u;
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EINVAL, imports ? "host_memory" : "memory_kinds");
    if (imports && bl_device_caps(conf->device)->buffer_alignment > 1) {
        params.host_memory = memory + 1;
        CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EINVAL, "host_memory");
    }
    params.kind = BL_MEM_DEVICE;
    params.host_memory = memory;
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EINVAL, "host_memory");
    params.host_memory = NULL;
    params.bytes = UINT64_MAX - 7;
    CHECK_REFUSED(bl_buffer_create(conf->device, &params, &buffer), BL_EDEVMEM, "");
    CHECK(buffer == NULL);

    CHECK_REFUSED(bl_buffer_sync(NULL, 0, 0, true), BL_EINVAL, "buffer");
    uint64_t bytes = bl_buffer_bytes(conf->step);
    CHECK_OK(bl_buffer_sync(conf->step, bytes, 0, true));
    CHECK_REFUSED(bl_buffer_sync(conf->step, 1, bytes, true), BL_EINVAL, "step");
    CHECK_REFUSED(bl_buffer_sync(conf->step, UINT64_MAX, 2, false), BL_EINVAL, "step");
}

static void imports_host_memory(struct conf *conf)
{
    _Alignas(64) static uint32_t words[1024];
    uint32_t back[1024];
    bl_buffer *import, *device;
    if (!(bl_device_caps(conf->device)->memory_kinds >> BL_MEM_IMPORT_HOST & 1u)) {
        snprintf(conf->skip, sizeof conf->skip, "the device does not import host memory");
        return;
    }
    for (uint32_t i = 0; i < 1024; i++)
        words[i] = i * 2654435761u;
    const bl_buffer_params params = {.bytes = sizeof words, .kind = BL_MEM_IMPORT_HOST, .host_memory = words, .label = "import"};
    CHECK_OK(bl_buffer_create(conf->device, &params, &import));
    if (bl_device_caps(conf->device)->unified)
        CHECK(bl_buffer_host(import) == words);
    CHECK_OK(conf_buffer(conf, sizeof words, "device", &device));
    CHECK_OK(conf_read(conf, import, 0, back, sizeof back));
    CHECK(memcmp(words, back, sizeof words) == 0);

    bl_list *list;
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_REFUSED(bl_list_copy(list, import, 0, device, 0, 4, NULL, NULL), BL_EINVAL, "import");
    bl_list_destroy(list);
    bl_buffer_destroy(device);
    bl_buffer_destroy(import);
    CHECK(words[1] == 2654435761u);
}

/* More than both staging buffers, and an odd tail. */
static void writes_any_kind(struct conf *conf)
{
    const uint64_t bytes = (UINT64_C(20) << 20) + 5, at = 4;
    unsigned char *data = malloc((size_t)bytes), *back = malloc((size_t)bytes);
    bl_status written = BL_ENOMEM, read = BL_ENOMEM;
    bl_buffer *buffer = NULL;
    if (data && back) {
        for (uint64_t i = 0; i < bytes; i++)
            data[i] = (unsigned char)(i * 2654435761u >> 13);
        if (conf_buffer(conf, bytes + at, "written", &buffer) == BL_OK) {
            written = bl_buffer_write(buffer, at, data, bytes);
            read = conf_read(conf, buffer, at, back, bytes);
        }
        if (read == BL_OK && memcmp(data, back, (size_t)bytes) != 0)
            read = BL_EINTERNAL;
    }
    free(data);
    free(back);
    CHECK_OK(written);
    CHECK_OK(read);
    CHECK_OK(bl_buffer_write(buffer, bytes + at, "", 0));
    CHECK_REFUSED(bl_buffer_write(buffer, 8, "x", bytes), BL_EINVAL, "written");
    CHECK_REFUSED(bl_buffer_write(buffer, 0, NULL, 4), BL_EINVAL, "data");
    CHECK_REFUSED(bl_buffer_write(NULL, 0, "", 0), BL_EINVAL, "buffer");
    bl_buffer_destroy(buffer);
    CHECK_OK(bl_buffer_create(conf->device, &(bl_buffer_params){.bytes = 16, .kind = BL_MEM_READBACK, .label = "back"}, &buffer));
    CHECK_REFUSED(bl_buffer_write(buffer, 0, "abc", 4), BL_EINVAL, "back");
    bl_buffer_destroy(buffer);
}

static uint64_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void promises_memory_lazily(struct conf *conf)
{
    bl_buffer *buffers[8];
    uint64_t before = resident_bytes();
    if (before == 0) {
        snprintf(conf->skip, sizeof conf->skip, "/proc/self/statm cannot be read");
        return;
    }
    for (int i = 0; i < 8; i++)
        CHECK_OK(conf_buffer(conf, UINT64_C(64) << 20, "large", &buffers[i]));
    CHECK(resident_bytes() < before + (UINT64_C(16) << 20));
    for (int i = 0; i < 8; i++)
        bl_buffer_destroy(buffers[i]);
}

const struct conf_case conf_buffers[] = {
    {"buffers.kinds", creates_every_kind, 0},
    {"buffers.refusals", refuses_mistakes, 0},
    {"buffers.import", imports_host_memory, HAS_RESULTS},
    {"buffers.write", writes_any_kind, HAS_RESULTS},
    {"buffers.lazy", promises_memory_lazily, HAS_LAZY_MEMORY},
    {0},
};
