/* levels.c: names of CPU levels for people. Knows only the level table of cpu_fallback/ops.h. */
#include "base/error.h"
#include "cpu_fallback/ops.h"

#include <bitloom/device.h>
#include <stdio.h>
#include <string.h>

static bool level_bit(const char *word, size_t n, uint32_t *bit)
{
    for (int level = 0; level < BL_CPU_LEVEL_COUNT; level++) {
        const char *name = bl_cpu_level_name((enum bl_cpu_level)level);
        if (strlen(name) == n && memcmp(name, word, n) == 0) {
            *bit = 1u << level;
            return true;
        }
    }
    return false;
}

bl_status bl_cpu_mask_parse(const char *levels, uint32_t *mask)
{
    bl_errors_clear();
    if (!levels || !mask)
        BL_FAIL(BL_EINVAL, "bl_cpu_mask_parse: levels or mask is NULL");
    *mask = 0;
    for (const char *word = levels; *word;) {
        size_t n = strcspn(word, ",");
        uint32_t bit = 0;
        if (!level_bit(word, n, &bit)) {
            char known[128] = "";
            for (int level = 0; level < BL_CPU_LEVEL_COUNT; level++)
                snprintf(known + strlen(known), sizeof known - strlen(known), " %s", bl_cpu_level_name((enum bl_cpu_level)level));
            BL_FAIL(BL_EINVAL, "CPU level '%.*s' is unknown; this program has%s", (int)(n < 64 ? n : 64), word, known);
        }
        *mask |= bit;
        word += n + (word[n] == ',');
    }
    return BL_OK;
}
