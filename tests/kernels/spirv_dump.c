/* spirv_dump.c: writes every module of the program, unpacked, into a folder: spirv-dump FOLDER. */
#include "backends/vulkan/shaders.h"
#include "backends/vulkan/vk.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct vk_code code;
    } modules[] = {
#define MODULE(name) {#name, {SPIRV_##name}},
        SPIRV_MODULES(MODULE)
#undef MODULE
    };
    for (size_t m = 0; argc == 2 && m < sizeof modules / sizeof modules[0]; m++) {
        char path[4096];
        uint32_t *words;
        snprintf(path, sizeof path, "%s/%s.spv", argv[1], modules[m].name);
        FILE *file = fopen(path, "wb");
        if (!file || vk_module_unpack(&modules[m].code, &words) != BL_OK)
            return 1;
        const size_t n = fwrite(words, sizeof *words, modules[m].code.words, file);
        free(words);
        if (fclose(file) || n != modules[m].code.words)
            return 1;
    }
    return argc != 2;
}
