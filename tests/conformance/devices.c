/* devices.c: names, parameters, facts, closing. */
#include "conformance.h"

static void lists_every_device(struct conf *conf)
{
    bl_device_info info[16];
    uint32_t n = 0, n_again = 0;
    bool cpu = false;
    CHECK_OK(bl_devices(NULL, 0, &n));
    CHECK(n >= 3);
    CHECK_OK(bl_devices(info, 1, &n_again));
    CHECK(n_again == n);
    CHECK_OK(bl_devices(info, 16, &n));
    for (uint32_t i = 0; i < n && i < 16; i++)
        cpu |= strcmp(info[i].id, "cpu") == 0 && info[i].why_missing[0] == 0 && info[i].name[0] != 0;
    CHECK(cpu);
    CHECK_REFUSED(bl_devices(NULL, 1, &n), BL_EINVAL, "out");
}

static void opens_exact_names_only(struct conf *conf)
{
    static const char *const refused[] = {"nope",  "",        "cpu:1",       "cpu:",  "cpu:x", "cpu(null)", "chaos",
                                          "chaos(", "chaos()", "chaos(nope)", "Cpu",   "cpu ",  "chaos(cpu", "a-name-longer-than-any-back-end"};
    bl_device_params params;
    bl_device *device;
    bl_device_default_params(&params);
    for (uint32_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        params.device = refused[i];
        device = (bl_device *)1;
        CHECK_REFUSED(bl_device_open(&params, &device), BL_EUNSUPPORTED, "device \"");
        CHECK(device == NULL);
    }
    static const char *const opened[] = {"cpu", "cpu:0", "null", "null:0", "chaos(cpu)", "chaos(null)", "auto", NULL};
    static const char *const backends[] = {"cpu", "cpu", "null", "null", "chaos", "chaos", "cpu", "cpu"};
    for (uint32_t i = 0; i < sizeof opened / sizeof opened[0]; i++) {
        params.device = opened[i];
        CHECK_OK(bl_device_open(&params, &device));
        bool as_named = strcmp(bl_device_caps(device)->backend, backends[i]) == 0;
        bl_device_close(device);
        CHECK(as_named || i >= 6); /* a better device than the CPU may be here */
    }
}

static void checks_parameters(struct conf *conf)
{
    bl_device_params params = conf->params;
    bl_device *device;
    CHECK_REFUSED(bl_device_open(&params, NULL), BL_EINVAL, "out");
    CHECK_REFUSED(bl_device_open(NULL, &device), BL_EINVAL, "params");
    params.struct_size = 0;
    CHECK_REFUSED(bl_device_open(&params, &device), BL_EINVAL, "struct_size");
    params.struct_size = sizeof params + 8;
    CHECK_REFUSED(bl_device_open(&params, &device), BL_EINVAL, "struct_size");
}

static void checks_threads(struct conf *conf)
{
    bl_device_params params = conf->params;
    bl_device *device;
    params.n_threads = UINT32_MAX;
    CHECK_REFUSED(bl_device_open(&params, &device), BL_EINVAL, "n_threads");
    params.n_threads = 3;
    CHECK_OK(bl_device_open(&params, &device));
    uint32_t n_threads = bl_device_caps(device)->n_threads;
    bl_device_close(device);
    CHECK(n_threads == 3);
}

static void keeps_the_minimum_caps(struct conf *conf)
{
    const bl_caps *caps = bl_device_caps(conf->device);
    uint64_t free_bytes = 1, total_bytes = 0;
    CHECK(caps->backend && caps->name && caps->name[0]);
    CHECK(caps->max_push_bytes >= 128);
    CHECK(caps->max_bindings >= 18);
    CHECK(caps->buffer_alignment >= 1 && (caps->buffer_alignment & (caps->buffer_alignment - 1)) == 0);
    CHECK((caps->memory_kinds & 7u) == 7u);
    CHECK_OK(bl_device_memory(conf->device, &free_bytes, &total_bytes));
    CHECK(free_bytes <= total_bytes);
}

static void measures_itself(struct conf *conf)
{
    bl_measure measure;
    CHECK_OK(bl_device_measure(conf->device, &measure));
    CHECK(measure.submit_us > 0 && measure.copy_bytes_per_s > 0 && measure.matvec_bytes_per_s >= 0);
}

static void closes_only_without_children(struct conf *conf)
{
    bl_device *device;
    bl_buffer *buffer;
    bl_list *list;
    CHECK_OK(bl_device_open(&conf->params, &device));
    CHECK_OK(bl_buffer_create(device, &(bl_buffer_params){.bytes = 16, .label = "left"}, &buffer));
    CHECK_OK(bl_list_begin(device, 0, &list));
    conf->n_errors_expected = 1;
    uint32_t before = conf_log_errors();
    bl_device_close(device);
    CHECK(conf_log_errors() == before + 1);
    CHECK(bl_buffer_bytes(buffer) == 16);
    bl_list_destroy(list);
    bl_buffer_destroy(buffer);
    bl_device_close(device);
    bl_device_close(NULL);
    bl_buffer_destroy(NULL);
    bl_list_destroy(NULL);
    bl_queue_destroy(NULL);
}

const struct conf_case conf_devices[] = {
    {"devices.list", lists_every_device, 0},
    {"devices.names", opens_exact_names_only, 0},
    {"devices.params", checks_parameters, 0},
    {"devices.threads", checks_threads, HAS_THREADS},
    {"devices.caps", keeps_the_minimum_caps, 0},
    {"devices.measure", measures_itself, 0},
    {"devices.close", closes_only_without_children, 0},
    {0},
};
