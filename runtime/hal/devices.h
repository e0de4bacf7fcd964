/* devices.h: what "auto" goes by, for the runtime's own use. */
#ifndef BL_HAL_DEVICES_H
#define BL_HAL_DEVICES_H
#include "hal/kernel_key.h"

#include <bitloom/device.h>

/* The device with the largest score below `below` that can be opened, the first of equals; false when there is none. A back end whose best
 * score could not win is not asked, so its drivers are left alone. */
bool bl_device_choose(uint32_t below, bl_device_info *out);

/* Why back ends that might have a better device than one of this score have none, though the machine shows what they drive; "" when there is
 * nothing to say. */
void bl_device_missing(uint32_t above, char out[256]);

/* measure.c: seals the list, plays it and takes the best of some rounds; ends the list's life. status: what recording it gave. */
bl_status bl_time_list(bl_queue *queue, bl_list *list, bl_status status, double *best) BL_MUST_USE;

/* tune.c: where caps.n_ways says that kernels come in several ways, races them: a digit per class of kernels, 0 for the back end's own
 * choice. A way that computes a known case wrongly is left out, and with `exact` one of caps.ways_inexact; BL_EUNSUPPORTED when none is
 * left. Takes a second or so. */
#define BL_KERNEL_CLASSES 7u
#define BL_WAYS_TEXT (BL_KERNEL_CLASSES + 1)
bl_status bl_device_tune(bl_device *device, bool exact, char out[BL_WAYS_TEXT]) BL_MUST_USE;
/* Uses what a race found, for kernels that are asked for from now on; false, and nothing is changed, when the text is not of that form or
 * names a way that `exact` leaves out. */
bool bl_device_use_ways(bl_device *device, bool exact, const char *ways);
/* Whether some class of kernels is made in a way that is not exact. */
bool bl_device_is_inexact(const bl_device *device);
/* The class of a key; BL_KERNEL_CLASSES when it is in none. */
uint32_t bl_kernel_class(struct bl_kernel_key key);
#endif
