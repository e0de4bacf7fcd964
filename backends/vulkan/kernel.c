/* kernel.c: which shader serves a kernel, and pipelines made of it. One pipeline layout for all: BINDINGS storage buffers and push
 * constants of the op's parameters followed by where each binding begins. Knows no list. */
#include "backends/vulkan/shaders.h"
#include "vk.h"

#include <stdlib.h>
#include <string.h>

/* One row per op that there is a shader for: which key parts become specialisation constants 0 (weight format) and 1 (q8) is the same for
 * all, constant 2 is the row's own. The tile is what one workgroup makes, in elements of the op's grid. */
static const struct row {
    const uint32_t *code;
    size_t bytes;
    uint32_t tile[2], variant;
} rows[BL_OP_COUNT] = {
#define SHADER(name) spirv_##name, sizeof spirv_##name
    [BL_OP_BINARY] = {SHADER(binary), {64, 1}, 0},
    [BL_OP_UNARY] = {SHADER(unary), {64, 1}, 0},
    [BL_OP_GLU] = {SHADER(glu), {64 * 32, 1}, 0},
    [BL_OP_SELECT] = {SHADER(select), {64, 1}, 0},
    [BL_OP_QUANTIZE] = {SHADER(quantize), {64, 1}, 0},
    [BL_OP_RMS_NORM] = {SHADER(norm), {1, 1}, 0},
    [BL_OP_LAYER_NORM] = {SHADER(norm), {1, 1}, 1},
    [BL_OP_ROPE_TABLE] = {SHADER(rope_table), {64, 1}, 0},
    [BL_OP_ROPE] = {SHADER(rope), {1, 1}, 0},
#undef SHADER
};

bl_status vk_layout_create(struct vk_device *device)
{
    VkDescriptorSetLayoutBinding bindings[VK_BINDINGS];
    for (uint32_t b = 0; b < VK_BINDINGS; b++)
        bindings[b] = (VkDescriptorSetLayoutBinding){.binding = b, .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = 1, .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                 .bindingCount = VK_BINDINGS, .pBindings = bindings};
    BL_TRY(vk_answer(device, device->fns.CreateDescriptorSetLayout(device->handle, &set, NULL, &device->set_layout),
                     "vkCreateDescriptorSetLayout"));
    const VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = sizeof(struct vk_push)};
    const VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1,
                                               .pSetLayouts = &device->set_layout, .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &push};
    return vk_answer(device, device->fns.CreatePipelineLayout(device->handle, &layout, NULL, &device->layout), "vkCreatePipelineLayout");
}

static bl_status make_pipeline(struct vk_device *device, const struct row *row, struct bl_kernel_key key, VkPipeline *out)
{
    const uint32_t constants[3] = {key.weight, key.activation == BL_FMT_Q8, row->variant};
    const VkSpecializationMapEntry entries[3] = {{0, 0, 4}, {1, 4, 4}, {2, 8, 4}};
    const VkSpecializationInfo specialization = {3, entries, sizeof constants, constants};
    const VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = row->bytes,
                                           .pCode = row->code};
    VkShaderModule module = VK_NULL_HANDLE;
    BL_TRY(vk_answer(device, device->fns.CreateShaderModule(device->handle, &code, NULL, &module), "vkCreateShaderModule"));
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module,
                  .pName = "main", .pSpecializationInfo = &specialization},
        .layout = device->layout};
    VkResult result = device->fns.CreateComputePipelines(device->handle, VK_NULL_HANDLE, 1, &info, NULL, out);
    device->fns.DestroyShaderModule(device->handle, module, NULL);
    return vk_answer(device, result, "vkCreateComputePipelines");
}

static bool is_row(struct bl_kernel_key key)
{
    struct bl_kernel_key keys[512];
    const size_t n = bl_kernel_keys(keys, 512);
    for (size_t k = 0; k < n; k++)
        if (bl_kernel_key_equal(keys[k], key))
            return true;
    return false;
}

bl_status vk_kernel_create(bl_device *base, struct bl_kernel_key key, bl_kernel **out)
{
    struct vk_device *device = (struct vk_device *)base;
    if (key.op >= BL_OP_COUNT || !rows[key.op].code || !is_row(key))
        return BL_EUNSUPPORTED;
    struct vk_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "kernel: out of memory");
    bl_status status = make_pipeline(device, &rows[key.op], key, &kernel->pipeline);
    if (status != BL_OK) {
        free(kernel);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    memcpy(kernel->base.tile, (uint32_t[3]){rows[key.op].tile[0], rows[key.op].tile[1], 1}, sizeof kernel->base.tile);
    size_t n = bl_kernel_key_name(key, kernel->base.name, sizeof kernel->base.name);
    if (n + sizeof "_vulkan" <= sizeof kernel->base.name)
        memcpy(kernel->base.name + n, "_vulkan", sizeof "_vulkan");
    *out = &kernel->base;
    return BL_OK;
}

void vk_kernel_destroy(bl_kernel *base)
{
    struct vk_device *device = (struct vk_device *)base->device;
    device->fns.DestroyPipeline(device->handle, ((struct vk_kernel *)base)->pipeline, NULL);
    free(base);
}
