/* kernel.c: which shader serves a kernel, and pipelines made of it. One pipeline layout for all: BINDINGS storage buffers and push
 * constants of the op's parameters followed by where each binding begins. Knows no list. */
#include "backends/vulkan/shaders.h"
#include "vk.h"

#include <stdlib.h>
#include <string.h>

/* A module, or one per weight format. */
#define CODE(name) {SPIRV_##name}

/* By format. "_solo": made for one lane per output. "_dot": with products of packed bytes. "_texels": reads texels. "_subgroup": lanes shuffle. "_shorts": that,
 * packed bytes and halves of words. "_glu": ends in a GLU. */
#define OF_QUANTS(X, NAME, name)                                                                                                                          \
    X(linear_q8, , NAME, name) X(linear_q8, _glu, NAME, name) X(linear_q8, _solo, NAME, name) X(linear_q8, _texels, NAME, name)                            \
    X(linear_q8, _dot, NAME, name) X(linear_q8, _dot_glu, NAME, name) X(linear_q8, _subgroup, NAME, name) X(linear_q8, _subgroup_glu, NAME, name)          \
    X(linear_q8, _subgroup_dot, NAME, name) X(linear_q8, _subgroup_dot_glu, NAME, name) X(tile_q8, , NAME, name) X(tile_q8, _glu, NAME, name)              \
    X(tile_q8, _dot, NAME, name) X(tile_q8, _dot_glu, NAME, name) X(linear_q8, _shorts, NAME, name) X(linear_q8, _shorts_glu, NAME, name)                  \
    X(tile_q8, _shorts, NAME, name) X(tile_q8, _shorts_glu, NAME, name) X(tile_q8, _half, NAME, name) X(tile_q8, _half_glu, NAME, name)
enum {
#define SHADER(shader, end, NAME, name) shader##end,
    OF_QUANTS(SHADER, , )
#undef SHADER
    N_OF_QUANTS
};
static const struct vk_code of_quants[N_OF_QUANTS][BL_FMT_WEIGHT_COUNT] = {
#define SHADER(shader, end, NAME, name) [shader##end][BL_FMT_##NAME] = CODE(shader##_##name##end),
#define FLOAT(NAME, name)
#define QUANT(NAME, name) OF_QUANTS(SHADER, NAME, name)
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) kind(NAME, name)
#include "hal/formats.def"
#undef BL_FORMAT
#undef QUANT
#undef FLOAT
#undef SHADER
}, linear_f32[BL_FMT_WEIGHT_COUNT] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = CODE(linear_f32_##name),
#include "hal/formats.def"
#undef BL_FORMAT
}, linear_f32_solo[BL_FMT_WEIGHT_COUNT] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = CODE(linear_f32_##name##_solo),
#include "hal/formats.def"
#undef BL_FORMAT
}, linear_f32_subgroup[BL_FMT_WEIGHT_COUNT] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = CODE(linear_f32_##name##_subgroup),
#include "hal/formats.def"
#undef BL_FORMAT
}, embed[BL_FMT_WEIGHT_COUNT] = {
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) [BL_FMT_##NAME] = CODE(embed_##name),
#include "hal/formats.def"
#undef BL_FORMAT
}, attention[BL_FMT_WEIGHT_COUNT] = {[BL_FMT_F32] = CODE(attention_f32), [BL_FMT_F16] = CODE(attention_f16)},
attention_subgroup[BL_FMT_WEIGHT_COUNT] = {[BL_FMT_F32] = CODE(attention_f32_subgroup), [BL_FMT_F16] = CODE(attention_f16_subgroup)},
kv_store[BL_FMT_WEIGHT_COUNT] = {[BL_FMT_F32] = CODE(kv_store_f32), [BL_FMT_F16] = CODE(kv_store_f16)},
rope_store[BL_FMT_WEIGHT_COUNT] = {[BL_FMT_F32] = CODE(rope_store_f32), [BL_FMT_F16] = CODE(rope_store_f16)}; /* of its three parts, that of keys */
static const struct vk_code linear_xq_q8_solo = CODE(linear_xq_q8_solo), linear_xq_q8 = CODE(linear_xq_q8), linear_xq_q8_texels = CODE(linear_xq_q8_texels),
                         linear_xq_f32 = CODE(linear_xq_f32),
                         embed_xq = CODE(embed_xq), stage = CODE(stage);
static const struct vk_code binary = CODE(binary), glu = CODE(glu), norm = CODE(norm), quantize = CODE(quantize), rope = CODE(rope),
                         rope_table = CODE(rope_table), select_rows = CODE(select), unary = CODE(unary);

enum way { SOFTWARE, HARDWARE, HARDWARE_DOT, SOFTWARE_TEXELS, SUBGROUP, SUBGROUP_DOT, SHORTS, HALF };
_Static_assert(HALF + 1 == VK_WAY_HALF && VK_WAY_HALF == VK_WAYS, "a key's tuning is a way plus one");

/* How the invocations of a workgroup share the outputs of a matrix product: how many there are, how many neighbours share outputs, how many
 * outputs those have, and of how many rows. Attention: positions instead of outputs. */
struct shape {
    uint32_t invocations, lanes, outputs, rows;
};

/* One row per shader and its constants; the first that fits a key serves it. Constants of all: 1 whether q8, 2 the variant (of a product:
 * the rows), 3 and 4 the shape. The tile is what one workgroup makes, in elements of the op's grid; that of a product comes from its shape.
 * The ways:
 * SOFTWARE: for drivers that work through a workgroup vector by vector on a processor. One invocation has whole outputs.
 * HARDWARE: for those that have thousands of lanes. Neighbours share outputs and exchange through shared memory. No feature is needed.
 * HARDWARE_DOT: the same where packed bytes are multiplied (VK_KHR_shader_integer_dot_product).
 * SOFTWARE_TEXELS: for processors again, where texels are faster to read than storage buffers.
 * SUBGROUP, SUBGROUP_DOT: as HARDWARE and HARDWARE_DOT, but neighbours shuffle what they exchange, without shared memory and barriers
 * (shaders/exchange.glsl). With smaller subgroups than 16 fewer neighbours share. Tiles exchange nothing and norms have one exchange with all
 * invocations of their workgroup, so neither is here.
 * SHORTS: as SUBGROUP_DOT, tiles as HARDWARE_DOT, but blocks that begin within words (18, 22, 34, 110, 210 bytes) are read by halves of words
 * (VK_KHR_16bit_storage) where the others read words and put them together.
 * HALF: tiles of half floats (VK_KHR_shader_float16_int8, shaders/tile_half.glsl), the only way whose bits are not those of the others: caps tell it. */
enum {
    WITH_GLU = 0x100, /* added to the op of a linear: its end is a GLU, so a workgroup makes whole blocks of 32 outputs */
    OF_XQ = 0x200     /* to that of a key with X-bit weights */
};
static const struct row {
    uint16_t op, activation, row_class; /* activation, row_class 0: any */
    bool by_format;
    uint32_t variant, tile[2];
    const struct vk_code *code[VK_WAYS]; /* by enum way; NULL: not in this way */
    struct shape shape[VK_WAYS];
} rows[] = {
#define Q(name) of_quants[name]
    {BL_OP_MATVEC, BL_FMT_Q8, BL_ROWS_1, true, 0, {0},
     {Q(linear_q8_solo), Q(linear_q8), Q(linear_q8_dot), Q(linear_q8_texels), Q(linear_q8_subgroup), Q(linear_q8_subgroup_dot), Q(linear_q8_shorts)},
     {{16, 1, 4, 1}, {64, 16, 4, 1}, {64, 16, 4, 1}, {8, 1, 4, 1}, {64, 16, 4, 1}, {64, 16, 4, 1}, {64, 16, 4, 1}}},
    {BL_OP_MATVEC, BL_FMT_Q8, BL_ROWS_8, true, 0, {0},
     {Q(linear_q8_solo), Q(linear_q8), Q(linear_q8_dot), Q(linear_q8_texels), Q(linear_q8_subgroup), Q(linear_q8_subgroup_dot), Q(linear_q8_shorts)},
     {{16, 1, 4, 8}, {32, 16, 4, 8}, {32, 16, 4, 8}, {16, 1, 4, 8}, {64, 16, 4, 8}, {64, 16, 4, 8}, {64, 16, 4, 8}}},
    {BL_OP_MATMUL, BL_FMT_Q8, 0, true, 0, {0},
     {Q(linear_q8_solo), Q(tile_q8), Q(tile_q8_dot), Q(linear_q8_texels), [SHORTS] = Q(tile_q8_shorts), Q(tile_q8_half)},
     {{16, 1, 4, 8}, {64, 8, 4, 32}, {64, 8, 4, 32}, {16, 1, 4, 8}, [SHORTS] = {64, 8, 4, 32}, {64, 8, 4, 32}}},
    {BL_OP_MATVEC, BL_FMT_F32, BL_ROWS_1, true, 0, {0},
     {linear_f32_solo, linear_f32, [SUBGROUP] = linear_f32_subgroup}, {{8, 1, 1, 1}, {64, 8, 1, 1}, [SUBGROUP] = {64, 8, 1, 1}}},
    {BL_OP_MATVEC, BL_FMT_F32, BL_ROWS_8, true, 0, {0},
     {linear_f32_solo, linear_f32, [SUBGROUP] = linear_f32_subgroup}, {{8, 1, 1, 8}, {64, 8, 1, 8}, [SUBGROUP] = {64, 8, 1, 8}}},
    {BL_OP_MATMUL, BL_FMT_F32, 0, true, 0, {0},
     {linear_f32_solo, linear_f32, [SUBGROUP] = linear_f32_subgroup}, {{8, 1, 1, 8}, {64, 8, 1, 8}, [SUBGROUP] = {64, 8, 1, 8}}},
    {BL_OP_MATVEC | WITH_GLU, BL_FMT_Q8, BL_ROWS_1, true, 0, {0},
     {[HARDWARE] = Q(linear_q8_glu), Q(linear_q8_dot_glu), [SUBGROUP] = Q(linear_q8_subgroup_glu), Q(linear_q8_subgroup_dot_glu), Q(linear_q8_shorts_glu)},
     {[HARDWARE] = {128, 16, 4, 1}, {128, 16, 4, 1}, [SUBGROUP] = {128, 16, 4, 1}, {128, 16, 4, 1}, {128, 16, 4, 1}}},
    {BL_OP_MATVEC | WITH_GLU, BL_FMT_Q8, BL_ROWS_8, true, 0, {0},
     {[HARDWARE] = Q(linear_q8_glu), Q(linear_q8_dot_glu), [SUBGROUP] = Q(linear_q8_subgroup_glu), Q(linear_q8_subgroup_dot_glu), Q(linear_q8_shorts_glu)},
     {[HARDWARE] = {64, 8, 4, 4}, {64, 8, 4, 4}, [SUBGROUP] = {128, 16, 4, 4}, {128, 16, 4, 4}, {128, 16, 4, 4}}},
    {BL_OP_MATMUL | WITH_GLU, BL_FMT_Q8, 0, true, 0, {0},
     {[HARDWARE] = Q(tile_q8_glu), Q(tile_q8_dot_glu), [SHORTS] = Q(tile_q8_shorts_glu), Q(tile_q8_half_glu)},
     {[HARDWARE] = {64, 8, 4, 32}, {64, 8, 4, 32}, [SHORTS] = {64, 8, 4, 32}, {64, 8, 4, 32}}},
    {BL_OP_MATVEC | OF_XQ, BL_FMT_Q8, BL_ROWS_1, false, 0, {0}, {&linear_xq_q8_solo, &linear_xq_q8, NULL, &linear_xq_q8_texels}, {{8, 1, 4, 1}, {64, 8, 1, 1}, {0}, {8, 1, 4, 1}}},
    {BL_OP_MATVEC | OF_XQ, BL_FMT_Q8, BL_ROWS_8, false, 0, {0}, {&linear_xq_q8_solo, &linear_xq_q8, NULL, &linear_xq_q8_texels}, {{8, 1, 4, 8}, {64, 8, 1, 8}, {0}, {8, 1, 4, 8}}},
    {BL_OP_MATMUL | OF_XQ, BL_FMT_Q8, 0, false, 0, {0}, {&linear_xq_q8_solo, &linear_xq_q8, NULL, &linear_xq_q8_texels}, {{8, 1, 4, 8}, {64, 8, 1, 8}, {0}, {8, 1, 4, 8}}},
    {BL_OP_MATVEC | OF_XQ, BL_FMT_F32, BL_ROWS_1, false, 0, {0}, {&linear_xq_f32, &linear_xq_f32}, {{32, 1, 1, 1}, {32, 1, 1, 1}}},
    {BL_OP_MATVEC | OF_XQ, BL_FMT_F32, BL_ROWS_8, false, 0, {0}, {&linear_xq_f32, &linear_xq_f32}, {{32, 1, 1, 8}, {32, 1, 1, 8}}},
    {BL_OP_MATMUL | OF_XQ, BL_FMT_F32, 0, false, 0, {0}, {&linear_xq_f32, &linear_xq_f32}, {{32, 1, 1, 8}, {32, 1, 1, 8}}},
    {BL_OP_EMBED | OF_XQ, 0, 0, false, 0, {32 * 32, 1}, {&embed_xq, &embed_xq}, {{0}}},
    {BL_OP_STAGE, 0, 0, false, 0, {32, 1}, {&stage, &stage}, {{0}}},
    {BL_OP_ATTENTION, 0, 0, true, 0, {1, 1}, {attention, attention, [SUBGROUP] = attention_subgroup}, {{32, 1, 0, 0}, {128, 4, 0, 0}, [SUBGROUP] = {128, 4, 0, 0}}},
    {BL_OP_EMBED, 0, 0, true, 0, {32 * 32, 1}, {embed, embed}, {{0}}},
    {BL_OP_KV_STORE, 0, 0, true, 0, {1, 1}, {kv_store, kv_store}, {{0}}},
    {BL_OP_ROPE_STORE, 0, 0, true, 0, {1, 1}, {rope_store, rope_store}, {{0}}},
    {BL_OP_UNARY, 0, 0, false, 0, {64, 1}, {&unary, &unary}, {{0}}},
    {BL_OP_BINARY, 0, 0, false, 0, {64, 1}, {&binary, &binary}, {{0}}},
    {BL_OP_GLU, 0, 0, false, 0, {64 * 32, 1}, {&glu, &glu}, {{0}}},
    {BL_OP_SELECT, 0, 0, false, 0, {64, 1}, {&select_rows, &select_rows}, {{0}}},
    {BL_OP_QUANTIZE, 0, 0, false, 0, {64, 1}, {&quantize, &quantize}, {{0}}},
    {BL_OP_RMS_NORM, 0, 0, false, 0, {1, 1}, {&norm, &norm}, {{0}}},
    {BL_OP_LAYER_NORM, 0, 0, false, 1, {1, 1}, {&norm, &norm}, {{0}}},
    {BL_OP_ROPE_TABLE, 0, 0, false, 0, {64, 1}, {&rope_table, &rope_table}, {{0}}},
    {BL_OP_ROPE, 0, 0, false, 0, {1, 1}, {&rope, &rope}, {{0}}},
};
#undef Q
enum { SUBGROUP_LEAST = 4, N_ROWS = sizeof rows / sizeof rows[0] };

/* What a way needs of a device. */
enum { NEEDS_DOT = 1, NEEDS_TEXELS = 2, NEEDS_SHUFFLE = 4, NEEDS_SHORTS = 8, NEEDS_HALF = 16 };
static const uint8_t needs[VK_WAYS] = {
    [HARDWARE_DOT] = NEEDS_DOT, [SOFTWARE_TEXELS] = NEEDS_TEXELS, [SUBGROUP] = NEEDS_SHUFFLE, [SUBGROUP_DOT] = NEEDS_SHUFFLE | NEEDS_DOT,
    [SHORTS] = NEEDS_SHUFFLE | NEEDS_DOT | NEEDS_SHORTS, [HALF] = NEEDS_HALF};

static uint32_t find_row(struct bl_kernel_key key)
{
    const uint32_t op = key.op | (key.weight == BL_FMT_BX ? OF_XQ : 0u);
    uint32_t r = 0;
    while (r < N_ROWS && (rows[r].op != op || (rows[r].activation && rows[r].activation != key.activation) ||
                          (rows[r].row_class && rows[r].row_class != key.row_class)))
        r++;
    return r;
}

bl_status vk_layout_create(struct vk_device *device)
{
    VkDescriptorSetLayoutBinding bindings[VK_BINDINGS + VK_TEXELS];
    for (uint32_t b = 0; b < VK_BINDINGS + VK_TEXELS; b++)
        bindings[b] = (VkDescriptorSetLayoutBinding){
            .binding = b, .descriptorType = b < VK_BINDINGS ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER,
            .descriptorCount = 1, .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                 .bindingCount = VK_BINDINGS + (device->texels ? VK_TEXELS : 0), .pBindings = bindings};
    BL_TRY(vk_answer(device, device->fns.CreateDescriptorSetLayout(device->handle, &set, NULL, &device->set_layout),
                     "vkCreateDescriptorSetLayout"));
    const VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = sizeof(struct vk_push)};
    const VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1,
                                               .pSetLayouts = &device->set_layout, .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &push};
    return vk_answer(device, device->fns.CreatePipelineLayout(device->handle, &layout, NULL, &device->layout), "vkCreatePipelineLayout");
}

/* Of the ways with subgroups a product of q8 has at most as many neighbours as a subgroup; the others are made for so many
 * as the table says, and tiles (more than 8 rows) do not shuffle. */
static struct shape shape_of(const struct vk_device *device, const struct row *row, uint32_t way)
{
    struct shape shape = row->shape[way];
    if ((needs[way] & NEEDS_SHUFFLE) && row->activation == BL_FMT_Q8 && shape.rows <= 8 && shape.lanes > device->subgroup)
        shape.lanes = device->subgroup;
    return shape;
}

/* A key's tuning above 0 says which plus one. */
static uint32_t way_of(const struct vk_device *device, struct bl_kernel_key key, const struct row *row)
{
    if (key.tuning)
        return key.tuning - 1u;
    return !device->base.caps.software ? HARDWARE : device->texels && row->code[SOFTWARE_TEXELS] ? SOFTWARE_TEXELS : SOFTWARE;
}

static bool has_way(const struct vk_device *device, const struct row *row, uint32_t way)
{
    if (way >= VK_WAYS || !row->code[way])
        return false;
    const uint32_t there = (device->dot ? NEEDS_DOT : 0) | (device->texels ? NEEDS_TEXELS : 0) | (device->subgroup ? NEEDS_SHUFFLE : 0) |
                           (device->shorts ? NEEDS_SHORTS : 0) | (device->half ? NEEDS_HALF : 0);
    const uint32_t lanes = shape_of(device, row, way).lanes;
    return !(needs[way] & ~there) && (!(needs[way] & NEEDS_SHUFFLE) || row->shape[way].rows > 8 || (lanes >= SUBGROUP_LEAST && lanes <= device->subgroup));
}

static bl_status make_pipeline(struct vk_device *device, const struct row *row, uint32_t way, uint32_t format, bool q8, VkPipeline *out)
{
    const struct vk_code *source = &row->code[way][row->by_format ? format : 0];
    const struct shape shape = shape_of(device, row, way);
    const uint32_t constants[4] = {q8, shape.rows ? shape.rows : row->variant, shape.invocations, shape.lanes};
    const VkSpecializationMapEntry entries[4] = {{1, 0, 4}, {2, 4, 4}, {3, 8, 4}, {4, 12, 4}};
    const VkSpecializationInfo specialization = {4, entries, sizeof constants, constants};
    uint32_t *words;
    BL_TRY(vk_module_unpack(source, &words));
    const VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = source->words * sizeof *words, .pCode = words};
    VkShaderModule module = VK_NULL_HANDLE;
    VkResult result = device->fns.CreateShaderModule(device->handle, &code, NULL, &module);
    free(words);
    BL_TRY(vk_answer(device, result, "vkCreateShaderModule"));
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module,
                  .pName = "main", .pSpecializationInfo = &specialization},
        .layout = device->layout};
    result = device->fns.CreateComputePipelines(device->handle, device->pipelines, 1, &info, NULL, out);
    device->fns.DestroyShaderModule(device->handle, module, NULL);
    return vk_answer(device, result, "vkCreateComputePipelines");
}

bl_status vk_kernel_pipeline(bl_kernel *base, uint32_t format, VkPipeline *out)
{
    struct vk_kernel *kernel = (struct vk_kernel *)base;
    bl_status status = BL_OK;
    pthread_mutex_lock(&kernel->lock);
    if (!kernel->pipelines[format])
        status = make_pipeline((struct vk_device *)base->device, &rows[kernel->row], kernel->way, format, base->key.activation == BL_FMT_Q8,
                               &kernel->pipelines[format]);
    *out = kernel->pipelines[format];
    pthread_mutex_unlock(&kernel->lock);
    return status;
}

bool vk_kernel_has_texels(const bl_kernel *kernel)
{
    return ((const struct vk_kernel *)kernel)->way == SOFTWARE_TEXELS;
}

static bool is_row(struct bl_kernel_key key)
{
    key.tuning = 0;
    struct bl_kernel_key keys[512];
    const size_t n = bl_kernel_keys(keys, 512);
    for (size_t k = 0; k < n; k++)
        if (bl_kernel_key_equal(keys[k], key))
            return true;
    return false;
}

/* A pipeline that is not made here is made when it is asked for. */
static bl_status make_kernel(struct vk_device *device, struct bl_kernel_key key, uint32_t r, uint32_t way, bool with_pipeline, bl_kernel **out)
{
    struct vk_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel)
        BL_FAIL(BL_ENOMEM, "kernel: out of memory");
    kernel->row = r;
    kernel->way = way;
    kernel->base.device = &device->base;
    kernel->base.key = key;
    bl_status status = BL_OK;
    if (with_pipeline)
        status = make_pipeline(device, &rows[r], way, key.weight, key.activation == BL_FMT_Q8, &kernel->pipelines[key.weight]);
    if (status != BL_OK) {
        free(kernel);
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    pthread_mutex_init(&kernel->lock, NULL);
    const struct shape shape = shape_of(device, &rows[r], way);
    kernel->base.tile[0] = shape.rows ? shape.invocations / shape.lanes * shape.outputs : rows[r].tile[0];
    kernel->base.tile[1] = shape.rows ? shape.rows : rows[r].tile[1];
    kernel->base.tile[2] = 1;
    size_t n = bl_kernel_key_name(key, kernel->base.name, sizeof kernel->base.name);
    if (n + sizeof "_vulkan" <= sizeof kernel->base.name)
        memcpy(kernel->base.name + n, "_vulkan", sizeof "_vulkan");
    *out = &kernel->base;
    return BL_OK;
}

bl_status vk_kernel_create(bl_device *base, struct bl_kernel_key key, bl_kernel **out)
{
    struct vk_device *device = (struct vk_device *)base;
    const uint32_t r = find_row(key), way = r < N_ROWS ? way_of(device, key, &rows[r]) : VK_WAYS;
    if (r == N_ROWS || !has_way(device, &rows[r], way) || !is_row(key))
        return BL_EUNSUPPORTED;
    return make_kernel(device, key, r, way, key.weight != BL_FMT_MIX, out);
}

bl_status vk_kernel_with_glu(bl_kernel *base, bl_kernel **out)
{
    struct vk_kernel *kernel = (struct vk_kernel *)base;
    struct bl_kernel_key key = base->key;
    bl_status status = BL_OK;
    key.op |= WITH_GLU;
    const uint32_t r = find_row(key);
    *out = NULL;
    if (r == N_ROWS || !has_way((const struct vk_device *)base->device, &rows[r], kernel->way))
        return BL_OK;
    pthread_mutex_lock(&kernel->lock);
    if (!kernel->with_glu)
        status = make_kernel((struct vk_device *)base->device, base->key, r, kernel->way, false, &kernel->with_glu);
    *out = kernel->with_glu;
    pthread_mutex_unlock(&kernel->lock);
    return status;
}

void vk_kernel_destroy(bl_kernel *base)
{
    struct vk_device *device = (struct vk_device *)base->device;
    struct vk_kernel *kernel = (struct vk_kernel *)base;
    for (uint32_t f = 0; f < BL_FMT_COUNT; f++)
        device->fns.DestroyPipeline(device->handle, kernel->pipelines[f], NULL); /* none: ignored */
    if (kernel->with_glu)
        vk_kernel_destroy(kernel->with_glu);
    pthread_mutex_destroy(&kernel->lock);
    free(kernel);
}
