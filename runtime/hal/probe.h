/* probe.h: devices found out by a child process, for back ends whose driver may crash or hang while it starts: it takes the child with it
 * and becomes a reason in words. Asked once per process. Any thread. */
#ifndef BL_HAL_PROBE_H
#define BL_HAL_PROBE_H
#include <bitloom/device.h>
#include <pthread.h>

#define BL_PROBE_MOST 16u

struct bl_probe {
    const char *backend, *title;  /* "vulkan", "Vulkan" */
    /* In the child: calls bl_probe_say for every device, or once with the reason why there is none. What it opens dies with the child. */
    void (*tell)(const struct bl_probe *probe, int fd);
    pthread_mutex_t lock;         /* PTHREAD_MUTEX_INITIALIZER; the rest starts as 0 */
    bool asked;
    uint32_t n_found;
    bl_device_info found[BL_PROBE_MOST];
};

/* Describes device `index`; false past the last. A back end without a device has one entry, with why_missing. */
bool bl_probe_describe(struct bl_probe *probe, uint32_t index, bl_device_info *out);
void bl_probe_say(int fd, const bl_device_info *info);
void bl_probe_say_missing(const struct bl_probe *probe, int fd, const char *reason);
#endif
