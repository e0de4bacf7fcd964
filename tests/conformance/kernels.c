/* kernels.c: the kernel cache, grids from tiles, push bytes and bindings, optional ones. */
#include "conformance.h"

#include <pthread.h>

static const struct bl_kernel_key binary_key = {BL_OP_BINARY, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0};

static void refuses_unknown_keys(struct conf *conf)
{
    bl_kernel *kernel = (bl_kernel *)1;
    const struct bl_kernel_key nonsense = {BL_OP_BINARY, BL_FMT_Q4_0, BL_FMT_Q8, BL_ROWS_8, 7};
    for (int i = 0; i < 3; i++) {
        CHECK_REFUSED(bl_kernel_get(conf->device, nonsense, &kernel), BL_EUNSUPPORTED, "binary8_q4_0_q8");
        CHECK(kernel == NULL);
    }
    CHECK_REFUSED(bl_kernel_get(NULL, binary_key, &kernel), BL_EINVAL, "device");
    CHECK_REFUSED(bl_kernel_find(conf->device, "binary_f33", &kernel), BL_EINVAL, "binary_f33");
    CHECK_REFUSED(bl_kernel_find(conf->device, NULL, &kernel), BL_EINVAL, "name");
}

static void has_all_keys(struct conf *conf)
{
    struct bl_kernel_key keys[512];
    bl_kernel *kernel, *again;
    size_t n = bl_kernel_keys(keys, 512);
    CHECK(n > 50 && n <= 512);
    for (size_t k = 0; k < n; k++) {
        char name[64];
        CHECK_OK(bl_kernel_get(conf->device, keys[k], &kernel));
        CHECK_OK(bl_kernel_get(conf->device, keys[k], &again));
        CHECK(kernel == again);
        bl_kernel_key_name(keys[k], name, sizeof name);
        CHECK_OK(bl_kernel_find(conf->device, name, &again));
        CHECK(kernel == again);
        CHECK(strncmp(bl_kernel_name(kernel), name, strlen(name)) == 0 && bl_kernel_name(kernel)[strlen(name)] == '_');
    }
}

static void *get_kernel(void *argument)
{
    struct {
        bl_device *device;
        bl_kernel *kernel;
    } *job = argument;
    if (bl_kernel_get(job->device, binary_key, &job->kernel) != BL_OK)
        job->kernel = NULL;
    return NULL;
}

static void makes_one_for_many_threads(struct conf *conf)
{
    pthread_t threads[4];
    struct {
        bl_device *device;
        bl_kernel *kernel;
    } jobs[4];
    for (int t = 0; t < 4; t++) {
        jobs[t].device = conf->device;
        CHECK(pthread_create(&threads[t], NULL, get_kernel, &jobs[t]) == 0);
    }
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    for (int t = 0; t < 4; t++)
        CHECK(jobs[t].kernel && jobs[t].kernel == jobs[0].kernel);
}

/* Sizes around the tile, whatever it is: every element is computed, none beside them. */
static void covers_odd_sizes(struct conf *conf)
{
    enum { MOST = 5000, GUARD = 64 };
    static float x[MOST + GUARD], back[MOST + GUARD];
    static const uint32_t sizes[] = {1, 2, 3, 31, 32, 33, 255, 257, 1023, 1025, 4097, MOST};
    bl_buffer *buffer, *result;
    for (uint32_t i = 0; i < MOST + GUARD; i++)
        x[i] = (float)(i % 1000);
    CHECK_OK(conf_buffer(conf, sizeof x, "x", &buffer));
    CHECK_OK(conf_buffer(conf, sizeof x, "y", &result));
    CHECK_OK(conf_write(conf, buffer, 0, x, sizeof x));
    for (uint32_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        bl_list *list;
        CHECK_OK(bl_list_begin(conf->device, 0, &list));
        CHECK_OK(bl_list_fill(list, result, 0, sizeof x, 0xbf800000u, NULL, NULL)); /* -1 */
        CHECK_OK(conf_binary(conf, list, BL_BINARY_ADD, (struct conf_range){buffer, 0}, (struct conf_range){buffer, 0},
                             (struct conf_range){result, 0}, sizes[s], NULL, NULL));
        CHECK_OK(bl_list_end(list));
        CHECK_OK(conf_run(conf, list));
        CHECK_OK(conf_read(conf, result, 0, back, sizeof x));
        for (uint32_t i = 0; i < MOST + GUARD; i++)
            CHECK(back[i] == (i < sizes[s] ? 2 * x[i] : -1.0f));
        bl_list_destroy(list);
    }
    bl_buffer_destroy(result);
    bl_buffer_destroy(buffer);
}

static void selects_rows(struct conf *conf)
{
    enum { ROWS = 9, COLUMNS = 70, OUT = 4 };
    float x[ROWS][COLUMNS], back[OUT][COLUMNS];
    const uint32_t wanted[OUT] = {8, 0, 3, 3};
    bl_kernel *kernel;
    bl_buffer *from, *to;
    bl_list *list;
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLUMNS; c++)
            x[r][c] = (float)(r * 100 + c);
    CHECK_OK(bl_kernel_get(conf->device, (struct bl_kernel_key){BL_OP_SELECT, BL_FMT_NONE, BL_FMT_F32, BL_ROWS_ANY, 0}, &kernel));
    CHECK_OK(conf_buffer(conf, sizeof x, "x", &from));
    CHECK_OK(conf_buffer(conf, sizeof back, "y", &to));
    CHECK_OK(conf_write(conf, from, 0, x, sizeof x));
    uint32_t *step = bl_buffer_host(conf->step);
    step[BL_STEP_N_OUT] = OUT;
    memcpy(step + BL_STEP_OUT, wanted, sizeof wanted);
    CHECK_OK(bl_buffer_sync(conf->step, 0, bl_buffer_bytes(conf->step), true));
    const bl_binding bindings[] = {{conf->step, 0, bl_buffer_bytes(conf->step), BL_READ},
                                   {from, 0, sizeof x, BL_READ},
                                   {to, 0, sizeof back, BL_WRITE}};
    const struct bl_params_select push = {COLUMNS};
    const bl_dispatch dispatch = {kernel, {COLUMNS, OUT, 1}, bindings, 3, &push, sizeof push};
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    CHECK_OK(bl_list_dispatch(list, &dispatch, NULL, NULL));
    CHECK_OK(bl_list_end(list));
    CHECK_OK(conf_run(conf, list));
    CHECK_OK(conf_read(conf, to, 0, back, sizeof back));
    for (uint32_t i = 0; i < OUT; i++)
        CHECK(memcmp(back[i], x[wanted[i]], sizeof x[0]) == 0);
    bl_list_destroy(list);
    bl_buffer_destroy(to);
    bl_buffer_destroy(from);
}

static void refuses_bad_dispatches(struct conf *conf)
{
    bl_kernel *kernel;
    bl_buffer *x;
    bl_list *list;
    static bl_binding many[64];
    static uint32_t long_push[256];
    CHECK_OK(bl_kernel_get(conf->device, binary_key, &kernel));
    CHECK_OK(conf_buffer(conf, 64, "grape", &x));
    CHECK_OK(bl_list_begin(conf->device, 0, &list));
    const bl_order order = {.label = "bad"};
    bl_binding binding = {x, 0, 64, BL_READ};
    bl_dispatch d = {.kernel = kernel, .size = {1, 1, 1}, .bindings = &binding, .n_bindings = 1};
    CHECK_REFUSED(bl_list_dispatch(list, NULL, &order, NULL), BL_EINVAL, "dispatch");
    d.kernel = NULL;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "kernel");
    d.kernel = kernel;
    binding.bytes = 65;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "bindings[0] is 65 bytes");
    CHECK(strstr(bl_error_text(), "\"bad\"") && strstr(bl_error_text(), "\"grape\""));
    binding = (bl_binding){x, 1, 4, BL_READ};
    if (bl_device_caps(conf->device)->buffer_alignment > 1)
        CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "bindings[0].offset");
    binding = (bl_binding){x, 0, 4, (bl_access)0};
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "access");
    binding = (bl_binding){x, 0, 4, (bl_access)4};
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "access");
    binding = (bl_binding){conf->step, 0, 4, BL_WRITE};
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "UPLOAD");
    binding = (bl_binding){x, 0, 64, BL_READ};
    d.bindings = NULL;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "bindings is NULL");
    d.bindings = many;
    d.n_bindings = bl_device_caps(conf->device)->max_bindings + 1;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "max_bindings");
    d.bindings = &binding;
    d.n_bindings = 1;
    d.push = long_push;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "push");
    d.push_bytes = bl_device_caps(conf->device)->max_push_bytes + 1;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "max_push_bytes");
    d.push = NULL;
    d.push_bytes = 0;
    d.size[0] = d.size[1] = d.size[2] = UINT32_MAX;
    CHECK_REFUSED(bl_list_dispatch(list, &d, &order, NULL), BL_EINVAL, "workgroups");
    bl_list_destroy(list);
    bl_buffer_destroy(x);
}

const struct conf_case conf_kernels[] = {
    {"kernels.unknown", refuses_unknown_keys, 0},
    {"kernels.all", has_all_keys, HAS_ALL_KERNELS},
    {"kernels.shared", makes_one_for_many_threads, HAS_KERNELS},
    {"kernels.sizes", covers_odd_sizes, HAS_RESULTS | HAS_KERNELS},
    {"kernels.select", selects_rows, HAS_RESULTS | HAS_KERNELS},
    {"kernels.refusals", refuses_bad_dispatches, HAS_KERNELS},
    {0},
};
