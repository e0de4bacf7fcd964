/* loader.c: the Vulkan loader by dlopen, and the function tables. Nothing here runs before a device is asked for. */
#include "vk.h"

#include <dlfcn.h>
#include <string.h>

void (*vk_wrap)(struct vk_instance *instance, struct vk_device_fns *device);

/* ISO C has no cast between object and function pointers. */
static PFN_vkGetInstanceProcAddr entry_of(void *library)
{
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    PFN_vkGetInstanceProcAddr entry;
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

static bl_status create(struct vk_instance *out)
{
    out->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!out->library)
        BL_FAIL(BL_EUNSUPPORTED, "no Vulkan loader: %s", dlerror());
    PFN_vkGetInstanceProcAddr get = entry_of(out->library);
    if (!get)
        BL_FAIL(BL_EUNSUPPORTED, "libvulkan.so.1 has no vkGetInstanceProcAddr");
#define VK_GLOBAL(name) out->name = (PFN_vk##name)get(VK_NULL_HANDLE, "vk" #name);
#include "vk_fns.def"
    if (vk_wrap)
        vk_wrap(out, NULL);
    uint32_t version = 0;
    if (!out->EnumerateInstanceVersion || !out->CreateInstance || out->EnumerateInstanceVersion(&version) != VK_SUCCESS ||
        version < VK_API_VERSION_1_1)
        BL_FAIL(BL_EUNSUPPORTED, "the Vulkan loader knows no Vulkan 1.1");
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "bitloom",
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkResult result = out->CreateInstance(&info, NULL, &out->handle);
    if (result != VK_SUCCESS) {
        out->handle = VK_NULL_HANDLE;
        BL_FAIL(BL_EUNSUPPORTED, "no Vulkan driver: vkCreateInstance answered %s", vk_result_name(result));
    }
#define VK_INSTANCE(name)                                                   \
    out->name = (PFN_vk##name)get(out->handle, "vk" #name);                 \
    if (!out->name)                                                         \
        BL_FAIL(BL_EUNSUPPORTED, "the Vulkan loader has no vk" #name);
#include "vk_fns.def"
    if (vk_wrap)
        vk_wrap(out, NULL);
    return BL_OK;
}

bl_status vk_instance_open(struct vk_instance *out)
{
    memset(out, 0, sizeof *out);
    bl_status status = create(out);
    if (status != BL_OK)
        vk_instance_close(out);
    return status;
}

void vk_instance_close(struct vk_instance *instance)
{
    if (instance->handle && instance->DestroyInstance)
        instance->DestroyInstance(instance->handle, NULL);
    if (instance->library)
        dlclose(instance->library);
    memset(instance, 0, sizeof *instance);
}

bl_status vk_device_load(const struct vk_instance *instance, VkDevice device, struct vk_device_fns *out)
{
#define VK_OPTIONAL(name) out->name = (PFN_vk##name)instance->GetDeviceProcAddr(device, "vk" #name);
#define VK_DEVICE(name)                                                               \
    out->name = (PFN_vk##name)instance->GetDeviceProcAddr(device, "vk" #name);        \
    if (!out->name)                                                                   \
        BL_FAIL(BL_EUNSUPPORTED, "the Vulkan driver has no vk" #name);
#include "vk_fns.def"
    if (vk_wrap)
        vk_wrap(NULL, out);
    return BL_OK;
}

bl_status vk_instance_devices(const struct vk_instance *instance, VkPhysicalDevice *out, uint32_t n_out, uint32_t *n)
{
    *n = n_out;
    VkResult result = instance->EnumeratePhysicalDevices(instance->handle, n, out);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        BL_FAIL(BL_EUNSUPPORTED, "no Vulkan devices: vkEnumeratePhysicalDevices answered %s", vk_result_name(result));
    return BL_OK;
}

const char *vk_result_name(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "initialisation failed";
    case VK_ERROR_DEVICE_LOST:
        return "device lost";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "incompatible driver";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "too many objects";
    default:
        return "an unexpected error";
    }
}
