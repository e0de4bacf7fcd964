/* main.c: runs the cases on one device. Each case gets a freshly opened device; what it leaves alive, or an unexpected error line in the
 * log, fails it. Exit: 0, 1 with failures, 2 usage, 77 when the device cannot be opened here. */
#include "conformance.h"

#include <fnmatch.h>
#include <stdatomic.h>

#define BL_BACKEND(name) extern const struct conf_registration conf_register_##name;
#include "hal/backends.inc"
#undef BL_BACKEND
static const struct conf_registration *const registrations[] = {
#define BL_BACKEND(name) &conf_register_##name,
#include "hal/backends.inc"
#undef BL_BACKEND
};
enum { REGISTRATION_COUNT = sizeof registrations / sizeof registrations[0] };

static const struct conf_case *const areas[] = {conf_devices, conf_buffers, conf_lists,   conf_lanes,  conf_hazards,
                                                conf_queues,  conf_kernels, conf_replay, conf_threads, conf_failure};
enum { AREA_COUNT = sizeof areas / sizeof areas[0] };

static _Atomic uint32_t n_log_errors;
static bool verbose;

static void on_log(void *user, bl_log_level level, const char *text)
{
    (void)user;
    if (level == BL_LOG_ERROR)
        n_log_errors++;
    if (verbose)
        fprintf(stderr, "    log: %s\n", text);
}

uint32_t conf_log_errors(void)
{
    return n_log_errors;
}

void conf_fail(struct conf *conf, const char *file, int line, const char *text)
{
    conf->failed = true;
    printf("    %s:%d: %s\n    last error: %s\n", file, line, text, bl_error_text());
}

static const char *exception(const struct conf_exception *list, const char *name)
{
    for (; list->glob; list++)
        if (fnmatch(list->glob, name, 0) == 0)
            return list->reason;
    return NULL;
}

static const char *missing(uint32_t needs, uint32_t has)
{
    static const char *const names[] = {"results", "kernels", "all kernels", "timings", "chaos", "lazy memory", "threads"};
    for (uint32_t bit = 0; bit < sizeof names / sizeof names[0]; bit++)
        if (needs & ~has & 1u << bit)
            return names[bit];
    return NULL;
}

static bool open_all(struct conf *conf)
{
    const bl_buffer_params step = {.bytes = BL_STEP_PAGES * 4u, .kind = BL_MEM_UPLOAD, .label = "step"};
    if (bl_device_open(&conf->params, &conf->device) != BL_OK || bl_queue_create(conf->device, BL_QUEUE_COMPUTE, &conf->queue) != BL_OK ||
        bl_buffer_create(conf->device, &step, &conf->step) != BL_OK)
        return false;
    memset(bl_buffer_host(conf->step), 0, BL_STEP_PAGES * 4u);
    uint32_t *words = bl_buffer_host(conf->step);
    words[BL_STEP_N_ROWS] = words[BL_STEP_N_OUT] = 1;
    return bl_buffer_sync(conf->step, 0, BL_STEP_PAGES * 4u, true) == BL_OK;
}

/* True when it passed. */
static bool run_case(const struct conf_case *c, const bl_device_params *params, uint64_t seed, char *skip)
{
    struct conf conf = {.params = *params, .random = seed};
    uint32_t errors_before = n_log_errors;
    skip[0] = 0;
    if (!open_all(&conf)) {
        conf_fail(&conf, __FILE__, __LINE__, "the device opens");
        return false;
    }
    c->run(&conf);
    strcpy(skip, conf.skip);
    bl_buffer_destroy(conf.step);
    bl_queue_destroy(conf.queue);
    bl_device_close(conf.device);
    if (!conf.failed && n_log_errors - errors_before != conf.n_errors_expected) {
        printf("    %u error lines in the log, %u expected (something was left alive?)\n", n_log_errors - errors_before,
               conf.n_errors_expected);
        conf.failed = true;
    }
    return !conf.failed;
}

static int usage(void)
{
    fprintf(stderr, "usage: conformance [--device=NAME] [--threads=N] [--seed=N] [--case=GLOB] [--list] [--verbose]\n");
    return 2;
}

static bool option(const char *argument, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(argument, name, n) != 0 || argument[n] != '=')
        return false;
    *value = argument + n + 1;
    return true;
}

int main(int argc, char **argv)
{
    const char *device = "cpu", *glob = "*", *threads = "0", *seed = "1";
    bool list = false;
    for (int a = 1; a < argc; a++) {
        if (strcmp(argv[a], "--list") == 0)
            list = true;
        else if (strcmp(argv[a], "--verbose") == 0)
            verbose = true;
        else if (!option(argv[a], "--device", &device) && !option(argv[a], "--case", &glob) && !option(argv[a], "--threads", &threads) &&
                 !option(argv[a], "--seed", &seed))
            return usage();
    }
    const struct conf_registration *registration = NULL;
    for (uint32_t r = 0; r < REGISTRATION_COUNT; r++)
        if (strncmp(registrations[r]->device, device, strcspn(registrations[r]->device, ":(")) == 0)
            registration = registrations[r];
    if (!registration) {
        fprintf(stderr, "conformance: no registration for device %s\n", device);
        return 2;
    }
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = device;
    params.n_threads = (uint32_t)strtoul(threads, NULL, 10);
    params.chaos_seed = strtoull(seed, NULL, 10);
    bl_log_set(on_log, NULL, BL_LOG_WARNING);
    const char *verify = getenv("BL_VERIFY_XFAIL");
    bool verify_expected = verify && strcmp(verify, "1") == 0;

    if (!list) {
        bl_device *probe;
        if (bl_device_open(&params, &probe) != BL_OK) {
            printf("SKIP all: %s\n", bl_error_text());
            return 77;
        }
        bl_device_close(probe);
    }
    uint32_t n_passed = 0, n_failed = 0, n_skipped = 0;
    for (uint32_t area = 0; area < AREA_COUNT; area++) {
        for (const struct conf_case *c = areas[area]; c->name; c++) {
            if (fnmatch(glob, c->name, 0) != 0)
                continue;
            if (list) {
                printf("%s\n", c->name);
                continue;
            }
            const char *lacks = missing(c->needs, registration->has), *reason = exception(registration->unsupported, c->name);
            if (lacks || reason) {
                printf("SKIP %s: %s%s\n", c->name, lacks ? "the device has no " : "", lacks ? lacks : reason);
                n_skipped++;
                continue;
            }
            char skip[160];
            uint64_t begin = conf_now_ns();
            bool passed = run_case(c, &params, params.chaos_seed, skip);
            const char *expected = exception(registration->expected_failures, c->name);
            const char *word = !passed ? "FAIL" : skip[0] ? "SKIP" : "ok  ";
            if (expected && !passed)
                word = "SKIP", snprintf(skip, sizeof skip, "fails as expected: %s", expected);
            else if (expected && verify_expected)
                word = "FAIL", snprintf(skip, sizeof skip, "passes, but is listed as failing: %s", expected);
            printf("%s %s (%.1f ms)%s%s\n", word, c->name, (double)(conf_now_ns() - begin) / 1e6, skip[0] ? ": " : "", skip);
            n_failed += word[0] == 'F';
            n_skipped += word[0] == 'S';
            n_passed += word[0] == 'o';
            fflush(stdout);
        }
    }
    if (!list)
        printf("%u passed, %u failed, %u skipped\n", n_passed, n_failed, n_skipped);
    return n_failed != 0;
}
