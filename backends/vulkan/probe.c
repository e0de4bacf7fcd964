/* probe.c: which Vulkan devices there are, told by a child process. */
#include "hal/probe.h"
#include "vk.h"

#include <stdio.h>
#include <unistd.h>

static void describe_device(const struct vk_instance *instance, VkPhysicalDevice physical, uint32_t index, bl_device_info *out)
{
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    instance->GetPhysicalDeviceProperties2(physical, &properties);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    *out = (bl_device_info){.backend = "vulkan"};
    snprintf(out->id, sizeof out->id, "vulkan:%u", index);
    snprintf(out->name, sizeof out->name, "%.100s", p->deviceName);
    out->score = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? BL_SCORE_DISCRETE
                 : p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU        ? BL_SCORE_SOFTWARE
                                                                       : BL_SCORE_INTEGRATED;
    if (p->apiVersion < VK_API_VERSION_1_1)
        snprintf(out->why_missing, sizeof out->why_missing, "Vulkan %u.%u, 1.1 is needed", VK_API_VERSION_MAJOR(p->apiVersion),
                 VK_API_VERSION_MINOR(p->apiVersion));
    else if (p->limits.maxPerStageDescriptorStorageBuffers < 6)
        snprintf(out->why_missing, sizeof out->why_missing, "%u storage buffers per shader, 6 are needed",
                 p->limits.maxPerStageDescriptorStorageBuffers);
}

static void tell(const struct bl_probe *probe, int fd)
{
    struct vk_instance instance;
    VkPhysicalDevice devices[BL_PROBE_MOST];
    uint32_t n = 0;
    const bool ok = vk_instance_open(&instance) == BL_OK && vk_instance_devices(&instance, devices, BL_PROBE_MOST, &n) == BL_OK;
    if (!ok || n == 0) {
        bl_probe_say_missing(probe, fd, ok ? "the Vulkan loader finds no device" : bl_error_text());
        return;
    }
    for (uint32_t d = 0; d < n; d++) {
        bl_device_info info;
        describe_device(&instance, devices[d], d, &info);
        bl_probe_say(fd, &info);
    }
}

/* Without one of these the loader has nothing but processors that play a GPU. */
bool vk_hopeful(void)
{
    static const char *const nodes[] = {"/dev/dri/renderD128", "/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvgpu", "/dev/mali0", "/dev/kgsl-3d0", "/dev/dxg"};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        if (access(nodes[i], F_OK) == 0)
            return true;
    return false;
}

bool vk_probe(uint32_t index, bl_device_info *out)
{
    static struct bl_probe probe = {.backend = "vulkan", .title = "Vulkan", .tell = tell, .lock = PTHREAD_MUTEX_INITIALIZER};
    return bl_probe_describe(&probe, index, out);
}
