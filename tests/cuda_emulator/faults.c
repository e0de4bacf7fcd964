/* faults.c: the CUDA back end when its driver fails. The fake driver answers an error to call number k, for every k of three programs:
 * looking for devices, buffers and lists, and, given a model, two steps of the engine. Each time there is the right result or a status with
 * a line of text, nothing crashes, and the driver gets back all that it gave.
 *   cuda-faults [--model FILE] */
#include "hal/kernel_params.h"

#include <bitloom/bitloom.h>
#include <bitloom/device.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the fake driver tells about itself. */
static uint64_t (*fake_calls)(void);
static uint32_t (*fake_leaks)(void), (*fake_open)(void);
static const char *(*fake_failed_call)(void);

static unsigned n_bad;
static char said[512]; /* by the call that failed */

static const struct failure {
    const char *name, *variable, *code;
} failures[] = {{"out of memory", "BITLOOM_FAKE_CUDA_FAIL", ":2"},
                {"an unexpected answer", "BITLOOM_FAKE_CUDA_FAIL", ":1"},
                {"illegal address", "BITLOOM_FAKE_CUDA_FAIL", ":700"},
                {"device lost", "BITLOOM_FAKE_CUDA_LOST", ""}};
enum { FAILURES = sizeof failures / sizeof failures[0] };

static void set_failure(const struct failure *failure, uint64_t k)
{
    char text[64];
    unsetenv("BITLOOM_FAKE_CUDA_FAIL");
    unsetenv("BITLOOM_FAKE_CUDA_LOST");
    snprintf(text, sizeof text, "%llu%s", (unsigned long long)k, failure->code);
    if (k)
        setenv(failure->variable, text, 1);
}

static void find_symbol(void *library, const char *name, void *out)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        printf("SKIP: this is not the fake driver: it has no %s\n", name);
        exit(77);
    }
    memcpy(out, &symbol, sizeof symbol);
}

#define TRY(expr)                          \
    do {                                   \
        bl_status try_status = (expr);     \
        if (try_status != BL_OK)           \
            return try_status;             \
    } while (0)

/* ---- the programs ---- */

/* The reason why there is no device, "" when there is one. */
static const char *reason(char out[160])
{
    bl_device_info infos[16];
    uint32_t n = 0;
    strcpy(out, "no entry");
    if (bl_devices(infos, 16, &n) == BL_OK)
        for (uint32_t i = 0; i < n && i < 16; i++)
            if (strcmp(infos[i].backend, "cuda") == 0)
                memcpy(out, infos[i].why_missing, sizeof infos[i].why_missing);
    return out;
}

struct objects {
    bl_device *device;
    bl_queue *queue, *second;
    bl_buffer *step, *x, *readback;
    bl_list *list;
    uint64_t submitted, submitted_second;
};

static bl_status record(struct objects *o)
{
    const struct bl_params_binary push = {.columns = 8, .kind = BL_BINARY_ADD};
    bl_kernel *kernel;
    TRY(bl_kernel_find(o->device, "binary_f32", &kernel));
    TRY(bl_list_begin(o->device, 0, &o->list));
    const bl_binding bindings[] = {
        {o->step, 0, BL_STEP_PAGES * 4u, BL_READ}, {o->x, 0, 32, BL_READ}, {o->x, 0, 32, BL_READ}, {o->x, 0, 32, BL_WRITE}};
    const bl_dispatch dispatch = {kernel, {8, 1, 1}, bindings, 4, &push, sizeof push};
    TRY(bl_list_dispatch(o->list, &dispatch, NULL, NULL));
    TRY(bl_list_fill(o->list, o->readback, 32, 32, 7, &(bl_order){.lane = 1}, NULL));
    TRY(bl_list_copy(o->list, o->readback, 0, o->x, 0, 32, NULL, NULL));
    return bl_list_end(o->list);
}

static bl_status submit(bl_queue *queue, bl_list *list, const bl_fence *wait, uint64_t *submitted)
{
    uint64_t value;
    TRY(bl_queue_submit(queue, list, wait, wait ? 1 : 0, &value));
    *submitted = value;
    return BL_OK;
}

static bl_status use_device(struct objects *o, float *result)
{
    static const float ones[16] = {1, 2, 3, 4, 5, 6, 7, 8};
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = "cuda:0";
    TRY(bl_device_open(&params, &o->device));
    uint64_t free_bytes, total_bytes;
    TRY(bl_device_memory(o->device, &free_bytes, &total_bytes));
    TRY(bl_queue_create(o->device, BL_QUEUE_COMPUTE, &o->queue));
    TRY(bl_queue_create(o->device, BL_QUEUE_TRANSFER, &o->second));
    TRY(bl_buffer_create(o->device, &(bl_buffer_params){BL_STEP_PAGES * 4u, BL_MEM_UPLOAD, NULL, "step"}, &o->step));
    memset(bl_buffer_host(o->step), 0, BL_STEP_PAGES * 4u);
    ((uint32_t *)bl_buffer_host(o->step))[BL_STEP_N_ROWS] = 1;
    TRY(bl_buffer_sync(o->step, 0, BL_STEP_PAGES * 4u, true));
    TRY(bl_buffer_create(o->device, &(bl_buffer_params){sizeof ones, BL_MEM_DEVICE, NULL, "x"}, &o->x));
    TRY(bl_buffer_create(o->device, &(bl_buffer_params){64, BL_MEM_READBACK, NULL, "readback"}, &o->readback));
    TRY(bl_buffer_write(o->x, 0, ones, sizeof ones));
    TRY(record(o));
    TRY(submit(o->queue, o->list, NULL, &o->submitted));
    TRY(submit(o->second, o->list, &(bl_fence){o->queue, 1}, &o->submitted_second));
    TRY(bl_queue_wait(o->second, o->submitted_second, BL_WAIT_FOREVER));
    bl_node_timing timings[3];
    TRY(bl_list_enable_timings(o->list));
    TRY(submit(o->queue, o->list, NULL, &o->submitted));
    TRY(bl_queue_wait(o->queue, o->submitted, BL_WAIT_FOREVER));
    TRY(bl_list_timings(o->list, timings, 3, &(uint32_t){0}));
    memcpy(result, bl_buffer_host(o->readback), 64);
    return BL_OK;
}

static bl_status drain(bl_queue *queue, uint64_t value)
{
    return queue ? bl_queue_wait(queue, value, BL_WAIT_FOREVER) : BL_OK;
}

static bl_status device_program(const char *model, float *result)
{
    (void)model;
    struct objects o = {0};
    bl_status status = use_device(&o, result);
    snprintf(said, sizeof said, "%s", bl_error_text());
    /* A queue must be idle when it goes; a wait that failed once does not fail again. */
    for (int turn = 0; status != BL_OK && status != BL_EDEVLOST && turn < 2; turn++)
        if (drain(o.queue, o.submitted) == BL_OK && drain(o.second, o.submitted_second) == BL_OK)
            break;
    bl_list_destroy(o.list);
    bl_buffer_destroy(o.readback);
    bl_buffer_destroy(o.x);
    bl_buffer_destroy(o.step);
    bl_queue_destroy(o.second);
    bl_queue_destroy(o.queue);
    bl_device_close(o.device);
    return status;
}

static bl_status use_model(bl_model *model, bl_sequence **sequence, float *result)
{
    TRY(bl_sequence_create(model, sequence));
    const bl_row rows[] = {{*sequence, 1, false}, {*sequence, 2, false}, {*sequence, 3, true}};
    TRY(bl_forward(model, rows, 3));
    TRY(bl_forward(model, &rows[2], 1));
    memcpy(result, bl_logits(model, 0), 64);
    return BL_OK;
}

static bl_status model_program(const char *path, float *result)
{
    bl_model_params params;
    bl_model *model = NULL;
    bl_sequence *sequence = NULL;
    bl_model_default_params(&params);
    params.device.device = "cuda:0";
    params.context = 512; /* two splits of attention: scratch memory too */
    bl_status status = bl_model_open(path, &params, &model);
    if (status == BL_OK)
        status = use_model(model, &sequence, result);
    snprintf(said, sizeof said, "%s", bl_error_text());
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return status;
}

/* ---- every k ---- */

static void bad(const char *program, const struct failure *failure, uint64_t k, const char *what)
{
    printf("FAIL %s, %s at call %llu (%s): %s: %s\n", program, failure->name, (unsigned long long)k,
           fake_failed_call() ? fake_failed_call() : "-", what, said);
    n_bad++;
}

/* Looking for devices happens once per process, in a child of it: one process for each k. */
static void try_probe(const struct failure *failure)
{
    uint64_t k = 1;
    for (bool found = false; !found && k < 100; k++) {
        pid_t child = fork();
        if (child == 0) {
            char why[160];
            set_failure(failure, k);
            _exit(reason(why)[0] != 0);
        }
        int state = 0;
        if (child < 0 || waitpid(child, &state, 0) != child || !WIFEXITED(state))
            bad("devices", failure, k, "the process ends badly");
        found = WIFEXITED(state) && WEXITSTATUS(state) == 0;
    }
    printf("ok   devices, %s at each of %llu calls\n", failure->name, (unsigned long long)k - 2);
    if (k < 6 || k == 100)
        bad("devices", failure, k, "too few calls failed, or all");
}

static void try_every_call(const char *name, bl_status (*program)(const char *, float *), const char *model, uint64_t stride)
{
    float right[16], result[16];
    const uint32_t before = fake_leaks();
    set_failure(&failures[0], 0);
    if (program(model, right) != BL_OK || fake_leaks() != before || fake_open())
        bad(name, &failures[0], 0, "fails, or leaks, with nothing failing");
    for (uint32_t f = 0; f < FAILURES; f++) {
        uint64_t k = 1, n_failed = 0;
        for (;; k += stride) {
            const uint32_t leaks = fake_leaks();
            set_failure(&failures[f], k);
            bl_status status = program(model, result);
            if (fake_calls() < k)
                break;
            n_failed += status != BL_OK;
            if (status == BL_OK ? memcmp(right, result, sizeof right) != 0 : said[0] == 0)
                bad(name, &failures[f], k, "a wrong result, or no line");
            if (status != BL_OK && status != BL_EDEVMEM && status != BL_EDEVLOST && status != BL_EUNSUPPORTED && status != BL_EINTERNAL)
                bad(name, &failures[f], k, "an unexpected status");
            if (fake_open()) {
                bad(name, &failures[f], k, "the device stays open");
                return;
            }
            /* Nothing can be given back without a context; the driver then frees it with the context. */
            if (fake_leaks() != leaks && !(fake_failed_call() && strcmp(fake_failed_call(), "cuCtxPushCurrent") == 0))
                bad(name, &failures[f], k, "something is left");
        }
        printf("ok   %s, %s at each of %llu calls: %llu refused\n", name, failures[f].name, (unsigned long long)(k - 1) / stride,
               (unsigned long long)n_failed);
        if (n_failed < 20)
            bad(name, &failures[f], k, "too few calls failed");
    }
}

int main(int argc, char **argv)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW); /* held, so that its counts outlive a device */
    if (!library) {
        printf("SKIP: %s\n", dlerror());
        return 77;
    }
    find_symbol(library, "fake_cuda_calls", &fake_calls);
    find_symbol(library, "fake_cuda_leaks", &fake_leaks);
    find_symbol(library, "fake_cuda_open", &fake_open);
    find_symbol(library, "fake_cuda_failed_call", &fake_failed_call);
    for (uint32_t f = 0; f < FAILURES; f++)
        try_probe(&failures[f]);
    try_every_call("device", device_program, NULL, 1);
    if (argc == 3 && strcmp(argv[1], "--model") == 0)
        try_every_call("model", model_program, argv[2], 5);
    return n_bad != 0;
}
