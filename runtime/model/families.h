/* families.h: the built-in graph texts by architecture name, generated from graphs/. The only place where C meets a family's name,
 * and it comes from a file name. */
#ifndef BL_MODEL_FAMILIES_H
#define BL_MODEL_FAMILIES_H
#include <stdint.h>

struct bl_family {
    const char *name; /* general.architecture */
    const char *text;
    uint32_t bytes;
};
extern const struct bl_family bl_families[];
extern const uint32_t bl_n_families;
#endif
