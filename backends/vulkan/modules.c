/* modules.c: the shaders' SPIR-V, unpacked for a device that is open (shaders/embed.py packs it). Knows no kernel. */
#define SPIRV_PACKED
#include "backends/vulkan/shaders.h"
#include "vk.h"

#include <stdlib.h>

static uint32_t number(const uint8_t **at)
{
    uint32_t n = 0;
    for (uint32_t shift = 0;; shift += 7) {
        const uint8_t byte = *(*at)++;
        n |= (uint32_t)(byte & 127) << shift;
        if (byte < 128)
            return n;
    }
}

bl_status vk_modules_unpack(struct vk_device *device)
{
    const uint8_t *at = vk_spirv_packed;
    uint32_t *words = device->modules = malloc(SPIRV_WORDS * sizeof *words);
    if (!words)
        BL_FAIL(BL_ENOMEM, "%s: out of memory for shaders", device->name);
    for (uint32_t n = 0; n < SPIRV_WORDS;) {
        const uint32_t head = number(&at), end = n + head / 2, back = head & 1 ? number(&at) : 0;
        for (; n < end; n++)
            words[n] = back ? words[n - back] : number(&at);
    }
    return BL_OK;
}
