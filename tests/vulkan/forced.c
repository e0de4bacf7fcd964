/* forced.c: a model on a driver that passes for a card's, in ways that the test chose: the logits of a prompt of more than 8 tokens, of a few together
 * and of single ones are those of the CPU, to the bit. The ways are what the runtime finds in its cache: forced MODEL WAYS...; "smollm2" is
 * BITLOOM_TEST_MODEL. */
#include "backends/vulkan/vk.h"
#include "session/cache.h"

#include <bitloom/bitloom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT = 21, FEW = 5, TOKENS = 6 };
static PFN_vkGetPhysicalDeviceProperties2 real_properties;
static uint32_t n_races;

static void VKAPI_CALL properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *out)
{
    real_properties(physical, out);
    out->properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
}

static void wrap(struct vk_instance *instance, struct vk_device_fns *device)
{
    (void)device;
    if (instance && instance->GetPhysicalDeviceProperties2) {
        real_properties = instance->GetPhysicalDeviceProperties2;
        instance->GetPhysicalDeviceProperties2 = properties;
    }
}

static void count_race(void *user, bl_log_level level, const char *line)
{
    (void)user;
    (void)level;
    n_races += strstr(line, "ways of the kernels") != NULL;
}

/* As runtime/session/devices.c writes it; another key would let a race begin, which is counted. */
static bl_status remember(const char *folder, const char *ways)
{
    bl_device_params params;
    bl_device *device;
    char key[320];
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    BL_TRY(bl_device_open(&params, &device));
    const bl_caps *caps = bl_device_caps(device);
    snprintf(key, sizeof key, "exact ways of %u vulkan %.120s %.60s %u threads, %s", caps->n_ways, caps->name, caps->driver, caps->n_threads, bl_version());
    bl_cache_put(folder, key, ways);
    bl_device_close(device);
    return BL_OK;
}

/* Greedy. Keeps the logits of each forward's last row. */
static bl_status write_tokens(bl_model *model, bl_sequence *sequence, uint32_t vocabulary, float *logits)
{
    bl_row rows[PROMPT] = {{0}};
    for (uint32_t i = 0, step = 0; step < 2 + TOKENS; step++) {
        const uint32_t n = step == 0 ? PROMPT : step == 1 ? FEW : 1;
        for (uint32_t r = 0; r < n; r++)
            rows[r] = (bl_row){sequence, (int32_t)(step < 2 ? 20 + 13 * i++ % 200 : 0), r + 1 == n};
        for (uint32_t t = 0; step >= 2 && t < vocabulary; t++)
            if (logits[t] > logits[rows[0].token])
                rows[0].token = (int32_t)t;
        logits += step ? vocabulary : 0;
        BL_TRY(bl_forward(model, rows, n));
        memcpy(logits, bl_logits(model, 0), vocabulary * sizeof *logits);
    }
    return BL_OK;
}

static bl_status run(const char *path, const char *device, const char *folder, float **logits, size_t *n)
{
    bl_model_params params;
    bl_model *model = NULL;
    bl_sequence *sequence = NULL;
    bl_model_info info;
    bl_model_default_params(&params);
    params.device.device = device;
    params.context = 64;
    params.deterministic = true;
    params.schedule = "serial";
    params.cache_dir = folder;
    bl_status status = bl_model_open(path, &params, &model);
    if (status == BL_OK)
        status = bl_sequence_create(model, &sequence);
    if (status == BL_OK) {
        bl_model_get_info(model, &info);
        *n = (size_t)info.vocabulary * (2 + TOKENS);
        *logits = calloc(*n, sizeof **logits);
        status = *logits ? write_tokens(model, sequence, info.vocabulary, *logits) : BL_ENOMEM;
    }
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return status;
}

int main(int argc, char **argv)
{
    float *right = NULL;
    size_t n = 0;
    const char *path = argc > 2 && strcmp(argv[1], "smollm2") == 0 ? getenv("BITLOOM_TEST_MODEL") : argv[1];
    if (!path) {
        printf("SKIP: BITLOOM_TEST_MODEL is not set\n");
        return 77;
    }
    if (run(path, "cpu", NULL, &right, &n) != BL_OK) {
        printf("FAIL on the CPU: %s\n", bl_error_text());
        return 1;
    }
    vk_wrap = wrap;
    bl_log_set(count_race, NULL, BL_LOG_INFO);
    int n_bad = 0;
    for (int a = 2; a < argc; a++) {
        char folder[] = "/tmp/forced-XXXXXX", command[64];
        float *got = NULL;
        if (!mkdtemp(folder))
            return 1;
        bl_status status = remember(folder, argv[a]);
        if (status == BL_OK)
            status = run(path, "vulkan:0", folder, &got, &n);
        const bool is_right = status == BL_OK && !n_races && memcmp(got, right, n * sizeof *right) == 0;
        printf("%s ways %s%s%s%s\n", is_right ? "ok" : "FAIL", argv[a], n_races ? ", raced" : "", status ? ": " : "", status ? bl_error_text() : "");
        n_bad += !is_right;
        free(got);
        snprintf(command, sizeof command, "rm -rf %s", folder);
        n_bad += system(command) != 0;
    }
    free(right);
    return n_bad != 0;
}
