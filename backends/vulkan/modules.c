/* modules.c: the shaders' SPIR-V, of which a module is unpacked when a pipeline is made of it (shaders/embed.py says how it is written).
 * Knows no kernel. */
#define SPIRV_PACKED
#include "backends/vulkan/shaders.h"
#include "vk.h"

#include <stdlib.h>

enum { HEAD = 5 };
_Static_assert((SPIRV_WINDOW & (SPIRV_WINDOW - 1)) == 0, "places in the window are masked");

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

/* The row's words up to the module's end; of them the last SPIRV_WINDOW stay, and the module is not longer. */
static void unpack_row(const struct vk_code *code, uint32_t *window)
{
    const uint8_t *at = vk_spirv_packed + code->row;
    for (uint32_t n = 0; n < code->first + code->words;) {
        const uint32_t head = number(&at), end = n + head / 2, back = head & 1 ? number(&at) : 0, most = code->first + code->words;
        for (; n < end && n < most; n++)
            window[n % SPIRV_WINDOW] = back ? window[(n - back) % SPIRV_WINDOW] : number(&at);
    }
}

static void restore(const struct vk_code *code, const uint32_t *window, uint32_t *out)
{
    uint32_t last = SPIRV_GLOBALS;
    for (uint32_t n = 0; n < HEAD; n++)
        out[n] = window[(code->first + n) % SPIRV_WINDOW];
    for (uint32_t n = HEAD; n < code->words;) {
        const struct spirv_form *form = &vk_spirv_forms[window[(code->first + n) % SPIRV_WINDOW]];
        out[n++] = form->first;
        for (uint32_t i = 0; i < (form->first >> 16) - 1; i++, n++) {
            out[n] = window[(code->first + n) % SPIRV_WINDOW];
            if (!(i < 64 && form->ids >> i & 1) || out[n] < SPIRV_GLOBALS)
                continue;
            const uint32_t far = out[n] - SPIRV_GLOBALS;
            out[n] = last - (far >> 1 ^ (0 - (far & 1)));
            if (i == form->defined)
                last = out[n];
        }
    }
}

bl_status vk_module_unpack(const struct vk_code *code, uint32_t **out)
{
    uint32_t *window = malloc(SPIRV_WINDOW * sizeof *window);
    *out = malloc(code->words * sizeof **out);
    if (!window || !*out) {
        free(window);
        free(*out);
        BL_FAIL(BL_ENOMEM, "vulkan: out of memory for a shader");
    }
    unpack_row(code, window);
    restore(code, window, *out);
    free(window);
    return BL_OK;
}
