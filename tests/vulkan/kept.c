/* kept.c: what a driver compiled comes back at the next start as it was, and only so: not with a bit turned, cut short, of another driver or
 * device, nor larger than it may be. The driver's part is played here: what software drivers give away is a head of 32 bytes. */
#include "backends/vulkan/vk.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYTES = 5000 };
static struct vk_instance real_instance;
static struct vk_device_fns real;
static uint8_t made[BYTES], given[BYTES];
static size_t n_made = BYTES, n_given;
static bool refuses;
static uint32_t newer;           /* added to the driver's version */
static uint8_t other_cache;      /* added to the cache's UUID */
static char folder[] = "/tmp/bitloom-kept-XXXXXX", path[300];

static VkResult VKAPI_CALL create_cache(VkDevice device, const VkPipelineCacheCreateInfo *info, const VkAllocationCallbacks *c, VkPipelineCache *out)
{
    const VkPipelineCacheCreateInfo none = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    n_given = info->initialDataSize;
    memcpy(given, info->pInitialData ? info->pInitialData : "", n_given <= BYTES ? n_given : 0);
    return refuses ? VK_ERROR_OUT_OF_HOST_MEMORY : real.CreatePipelineCache(device, &none, c, out);
}

static VkResult VKAPI_CALL get_data(VkDevice device, VkPipelineCache cache, size_t *bytes, void *out)
{
    (void)device;
    (void)cache;
    if (out)
        memcpy(out, made, *bytes);
    else
        *bytes = n_made;
    return VK_SUCCESS;
}

static void VKAPI_CALL properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *out)
{
    real_instance.GetPhysicalDeviceProperties2(physical, out);
    out->properties.driverVersion += newer;
    out->properties.pipelineCacheUUID[15] = (uint8_t)(out->properties.pipelineCacheUUID[15] + other_cache);
}

static void wrap(struct vk_instance *instance, struct vk_device_fns *device)
{
    if (instance && instance->GetPhysicalDeviceProperties2) {
        real_instance = *instance;
        instance->GetPhysicalDeviceProperties2 = properties;
    }
    if (device) {
        real = *device;
        device->CreatePipelineCache = create_cache;
        device->GetPipelineCacheData = get_data;
    }
}

/* Opens the device, makes a kernel, closes it. */
static bool use(const char *cache_dir)
{
    bl_device_params params;
    bl_device *device;
    bl_kernel *kernel;
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    params.cache_dir = cache_dir;
    if (bl_device_open(&params, &device) != BL_OK)
        return false;
    const bool ok = bl_kernel_find(device, "binary_f32", &kernel) == BL_OK;
    bl_device_close(device);
    return ok;
}

/* How many files there are; path becomes the last one's. */
static int count_files(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            n++;
        }
    if (d)
        closedir(d);
    return n;
}

static void must(bool holds, const char *what, long where)
{
    if (holds)
        return;
    printf("FAIL %s (%ld): %s\n", what, where, bl_error_text());
    exit(1);
}

static bool is_given(void)
{
    return n_given == BYTES && memcmp(given, made, BYTES) == 0;
}

/* Flips bits of a byte of the file, or cuts it there. */
static void spoil(long at, uint8_t bits, bool cut)
{
    FILE *f = fopen(path, "r+b");
    must(f && fseek(f, at, SEEK_SET) == 0, "the file opens", at);
    const int byte = fgetc(f);
    must(byte != EOF && fseek(f, at, SEEK_SET) == 0 && fputc(byte ^ bits, f) != EOF && fclose(f) == 0 && (!cut || truncate(path, at) == 0),
         "the file can be spoiled", at);
}

int main(void)
{
    struct stat before, after;
    vk_wrap = wrap;
    must(mkdtemp(folder) != NULL, "a folder", 0);
    for (int b = 0; b < BYTES; b++)
        made[b] = (uint8_t)(b * 7 + b / 256);
    if (!use(NULL)) {
        printf("SKIP %s\n", bl_error_text());
        rmdir(folder);
        return 77;
    }
    must(count_files() == 0 && n_given == 0, "without a folder nothing is kept", 0);
    must(use(folder) && n_given == 0 && count_files() == 1, "the first start keeps", 0);
    must(stat(path, &before) == 0 && (before.st_mode & 0777) == 0600, "a file of this user alone", 0);
    must(use(folder) && is_given() && stat(path, &after) == 0 && before.st_ino == after.st_ino, "the second start is given it, and writes nothing", 0);
    for (long at = 0; at < before.st_size; at += at < 100 ? 1 : 317) {
        spoil(at, (uint8_t)(1u << at % 8), false);
        must(use(folder) && n_given == 0, "a turned bit is seen", at);
        must(use(folder) && is_given(), "what was spoiled is made anew", at);
        spoil(at, 0, true);
        must(use(folder) && n_given == 0, "a cut is seen", at);
        must(use(folder) && is_given(), "what was cut is made anew", at);
    }
    other_cache = 1;
    must(use(folder) && n_given == 0 && count_files() == 1 && use(folder) && is_given(), "what a driver's caches of another kind are not for", 0);
    newer = 1;
    must(use(folder) && n_given == 0 && count_files() == 2 && use(folder) && is_given(), "every version of a driver has its own", 0);
    must(unlink(path) == 0, "the newer one goes", 0);
    newer = 2;
    n_made = (size_t)64 << 20;
    must(use(folder) && count_files() == 1, "what is too large is not kept", 0);
    newer = 0;
    n_made = BYTES;
    refuses = true;
    must(use(folder) && count_files() == 1, "a driver that makes no cache makes kernels", 0);
    count_files();
    unlink(path);
    rmdir(folder);
    printf("ok\n");
    return 0;
}
