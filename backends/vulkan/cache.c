/* cache.c: the driver's pipeline cache, kept in a file between runs: some drivers need seconds to compile what a model wants, and have no
 * cache of their own. One file per device and driver version. Knows no kernel. */
#include "base/kept_file.h"
#include "vk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)64 << 20)

/* In front of the driver's bytes. A driver must look through what it is given; not every one does, and none sees a turned bit. */
struct head {
    char magic[16];
    uint32_t vendor, device, driver, bytes;
    uint8_t cache[VK_UUID_SIZE], uuid[VK_UUID_SIZE];
    uint64_t checksum;
};

/* FNV-1a. */
static uint64_t checksum_of(const void *data, size_t bytes)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t b = 0; b < bytes; b++)
        sum = (sum ^ ((const uint8_t *)data)[b]) * UINT64_C(0x100000001b3);
    return sum;
}

static struct head head_of(const struct vk_device *device, const void *data, size_t bytes)
{
    VkPhysicalDeviceIDProperties ids = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &ids};
    device->instance.GetPhysicalDeviceProperties2(device->physical, &properties);
    struct head head = {.magic = "bl pipelines 1", .vendor = properties.properties.vendorID, .device = properties.properties.deviceID,
                        .driver = properties.properties.driverVersion, .bytes = (uint32_t)bytes, .checksum = checksum_of(data, bytes)};
    memcpy(head.cache, properties.properties.pipelineCacheUUID, sizeof head.cache);
    memcpy(head.uuid, ids.deviceUUID, sizeof head.uuid);
    return head;
}

static void make_name(const struct vk_device *device, char name[static 80])
{
    const struct head head = head_of(device, NULL, 0);
    int n = snprintf(name, 80, "vulkan-%08x-", head.driver);
    for (size_t b = 0; b < sizeof head.uuid; b++)
        n += snprintf(name + n, 80 - (size_t)n, "%02x", head.uuid[b]);
}

void vk_cache_open(struct vk_device *device, const char *folder)
{
    char name[80];
    size_t bytes = 0;
    make_name(device, name);
    device->cache_dir = folder ? strdup(folder) : NULL;
    char *file = device->cache_dir ? bl_kept_read(device->cache_dir, name, MOST_BYTES, &bytes) : NULL;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (file && bytes > sizeof(struct head)) {
        const char *data = file + sizeof(struct head);
        const struct head wanted = head_of(device, data, bytes - sizeof(struct head));
        if (memcmp(file, &wanted, sizeof wanted) == 0) {
            info.initialDataSize = bytes - sizeof(struct head);
            info.pInitialData = data;
        }
    }
    if (device->fns.CreatePipelineCache(device->handle, &info, NULL, &device->pipelines) != VK_SUCCESS)
        device->pipelines = VK_NULL_HANDLE;
    device->kept_bytes = info.initialDataSize;
    free(file);
}

/* Nothing of a device that is lost; nothing that has not grown. */
static void keep(const struct vk_device *device)
{
    size_t bytes = 0;
    if (device->lost || !device->cache_dir ||
        device->fns.GetPipelineCacheData(device->handle, device->pipelines, &bytes, NULL) != VK_SUCCESS || bytes <= device->kept_bytes ||
        bytes > MOST_BYTES - sizeof(struct head))
        return;
    char name[80], *file = malloc(sizeof(struct head) + bytes);
    if (file && device->fns.GetPipelineCacheData(device->handle, device->pipelines, &bytes, file + sizeof(struct head)) == VK_SUCCESS) {
        const struct head head = head_of(device, file + sizeof head, bytes);
        memcpy(file, &head, sizeof head);
        make_name(device, name);
        bl_kept_write(device->cache_dir, name, file, sizeof head + bytes);
    }
    free(file);
}

void vk_cache_close(struct vk_device *device)
{
    if (device->pipelines) {
        keep(device);
        device->fns.DestroyPipelineCache(device->handle, device->pipelines, NULL);
    }
    free(device->cache_dir);
}
