/* kernel.h: kernels by key, for the runtime's own use (the public API finds them by name).
 * The cache lives in the device: one bl_kernel per key, and UNSUPPORTED is remembered too. */
#ifndef BL_HAL_KERNEL_H
#define BL_HAL_KERNEL_H
#include "hal/kernel_key.h"

#include <bitloom/device.h>

/* Borrowed: owned by the device, alive until it closes. BL_EUNSUPPORTED is a normal answer (and the only capability test). */
bl_status bl_kernel_get(bl_device *device, struct bl_kernel_key key, bl_kernel **out) BL_MUST_USE;
#endif
