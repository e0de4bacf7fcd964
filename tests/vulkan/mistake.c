/* mistake.c: asks Vulkan for a buffer of no bytes, so that the gate can see the validation layer speak. */
#include "backends/vulkan/vk.h"

#include <stdio.h>

int main(void)
{
    bl_device_params params;
    bl_device *device;
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    if (bl_device_open(&params, &device) != BL_OK) {
        fprintf(stderr, "%s\n", bl_error_text());
        return 77;
    }
    struct vk_device *vk = (struct vk_device *)device;
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VkBuffer buffer = VK_NULL_HANDLE;
    if (vk->fns.CreateBuffer(vk->handle, &info, NULL, &buffer) == VK_SUCCESS)
        vk->fns.DestroyBuffer(vk->handle, buffer, NULL);
    bl_device_close(device);
    return 0;
}
