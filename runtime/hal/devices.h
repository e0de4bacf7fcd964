/* devices.h: what "auto" goes by, for the runtime's own use. */
#ifndef BL_HAL_DEVICES_H
#define BL_HAL_DEVICES_H
#include <bitloom/device.h>

/* The device with the largest score below `below` that can be opened, the first of equals; false when there is none. A back end whose best
 * score could not win is not asked, so its drivers are left alone. */
bool bl_device_choose(uint32_t below, bl_device_info *out);
#endif
