/* ways.c: the race of a device's ways of making kernels: it finishes, what it finds is taken, and a device that computes wrongly is found
 * out: with the dispatches left away, no way is right. Without the feature that one way needs that way is not there. */
#include "backends/vulkan/vk.h"
#include "hal/devices.h"
#include "hal/kernel.h"

#include <bitloom/log.h>
#include <stdio.h>
#include <string.h>

static bool broken, bare;
static PFN_vkCmdDispatch real_dispatch;
static PFN_vkGetPhysicalDeviceFeatures2 real_features;
static uint32_t n_warnings;

static void VKAPI_CALL dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    if (!broken)
        real_dispatch(commands, x, y, z);
}

/* Bare: leaves what was asked for as it was, all clear. */
static void VKAPI_CALL features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *out)
{
    if (!bare)
        real_features(physical, out);
}

static void wrap(struct vk_instance *instance, struct vk_device_fns *device)
{
    if (instance && instance->GetPhysicalDeviceFeatures2) { /* the second call, when there is an instance */
        real_features = instance->GetPhysicalDeviceFeatures2;
        instance->GetPhysicalDeviceFeatures2 = features;
    }
    if (!device)
        return;
    real_dispatch = device->CmdDispatch;
    device->CmdDispatch = dispatch;
}

static void count_warning(void *user, bl_log_level level, const char *line)
{
    (void)user;
    n_warnings += level == BL_LOG_WARNING && strstr(line, "wrongly") != NULL;
}

static int fail(const char *what)
{
    printf("FAIL %s: %s\n", what, bl_error_text());
    return 1;
}

int main(void)
{
    const struct bl_kernel_key key = {BL_OP_MATVEC, BL_FMT_Q4_K, BL_FMT_Q8, BL_ROWS_1, 0};
    char ways[BL_WAYS_TEXT];
    bl_device_params params;
    bl_device *device;
    bl_kernel *kernel;
    vk_wrap = wrap;
    bl_log_set(count_warning, NULL, BL_LOG_WARNING);
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    if (bl_device_open(&params, &device) != BL_OK) {
        printf("SKIP %s\n", bl_error_text());
        return 77;
    }
    const uint32_t n_ways = bl_device_caps(device)->n_ways;
    if (n_ways != VK_WAYS)
        return fail("how many ways");
    if (bl_device_tune(device, true, ways) != BL_OK || n_warnings)
        return fail("the race");
    printf("ways by class: %s\n", ways);
    if (strlen(ways) != BL_KERNEL_CLASSES || strspn(ways, "1234567") != BL_KERNEL_CLASSES || !bl_device_use_ways(device, true, ways) || bl_device_is_inexact(device))
        return fail("what the race says is not taken");
    static const char *const refused[] = {"", "1", "111111", "11111111", "111111x", "9111111"};
    for (size_t r = 0; r < sizeof refused / sizeof refused[0]; r++)
        if (bl_device_use_ways(device, false, refused[r]))
            return fail(refused[r]);
    for (char way = '1'; way < '1' + (char)n_ways; way++) {
        memset(ways, way, BL_KERNEL_CLASSES);
        if (bl_device_use_ways(device, true, ways) != (way != '0' + (char)VK_WAY_HALF))
            return fail("the inexact way is taken where bits must be the same, or another is not");
        if (!bl_device_use_ways(device, false, ways) || bl_device_is_inexact(device) != (way == '0' + (char)VK_WAY_HALF))
            return fail("a device does not say whether it is exact");
        if (way != '0' + (char)VK_WAY_HALF && (bl_kernel_get(device, key, &kernel) != BL_OK || kernel->key.tuning != way - '0'))
            return fail("a kernel is not made the way that was chosen");
    }
    broken = true;
    if (bl_device_tune(device, true, ways) != BL_EUNSUPPORTED || n_warnings != n_ways - 1 || /* the inexact way has no kernel of the first class */ !strstr(bl_error_text(), "rightly"))
        return fail("a device that computes nothing passes");
    bl_device_close(device);
    struct bl_kernel_key packed = key;
    packed.tuning = 3;
    bare = true;
    if (bl_device_open(&params, &device) != BL_OK || bl_kernel_get(device, packed, &kernel) != BL_EUNSUPPORTED)
        return fail("packed bytes without the feature");
    bl_device_close(device);
    return 0;
}
