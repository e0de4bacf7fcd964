/* probe.c: which Vulkan devices there are, found out by a child process: a driver that crashes or hangs while it starts takes the child
 * with it and becomes a reason in words. Asked once per process. */
#include "vk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_DEVICES 8u
#define PROBE_MS 10000

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bl_device_info found[MOST_DEVICES];
static uint32_t n_found;

static void describe_device(const struct vk_instance *instance, VkPhysicalDevice physical, uint32_t index, bl_device_info *out)
{
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    instance->GetPhysicalDeviceProperties2(physical, &properties);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    *out = (bl_device_info){.backend = "vulkan"};
    snprintf(out->id, sizeof out->id, "vulkan:%u", index);
    snprintf(out->name, sizeof out->name, "%.100s", p->deviceName);
    out->score = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? BL_SCORE_DISCRETE
                 : p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU        ? BL_SCORE_SOFTWARE
                                                                       : BL_SCORE_INTEGRATED;
    if (p->apiVersion < VK_API_VERSION_1_1)
        snprintf(out->why_missing, sizeof out->why_missing, "Vulkan %u.%u, 1.1 is needed", VK_API_VERSION_MAJOR(p->apiVersion),
                 VK_API_VERSION_MINOR(p->apiVersion));
    else if (p->limits.maxPerStageDescriptorStorageBuffers < 6)
        snprintf(out->why_missing, sizeof out->why_missing, "%u storage buffers per shader, 6 are needed",
                 p->limits.maxPerStageDescriptorStorageBuffers);
}

/* In the child: writes one record per device, or one that says why there is none. */
static void tell(int fd)
{
    struct vk_instance instance;
    VkPhysicalDevice devices[MOST_DEVICES];
    bl_device_info info = {.backend = "vulkan", .name = "Vulkan", .id = "vulkan"};
    uint32_t n = 0;
    bool ok = vk_instance_open(&instance) == BL_OK && vk_instance_devices(&instance, devices, MOST_DEVICES, &n) == BL_OK;
    if (!ok || n == 0) {
        snprintf(info.why_missing, sizeof info.why_missing, "%.150s", ok ? "the Vulkan loader finds no device" : bl_error_text());
        if (write(fd, &info, sizeof info) != (ssize_t)sizeof info)
            _exit(1);
        _exit(0);
    }
    for (uint32_t d = 0; d < n; d++) {
        describe_device(&instance, devices[d], d, &info);
        if (write(fd, &info, sizeof info) != (ssize_t)sizeof info) /* below PIPE_BUF: whole or not at all */
            _exit(1);
    }
    _exit(0); /* destroys nothing: a driver may crash there too */
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads records until the child has closed the pipe; false when it took too long. */
static bool listen_to(int fd)
{
    char bytes[sizeof found];
    size_t got = 0;
    const int64_t until = now_ms() + PROBE_MS;
    bool in_time = true;
    while (got < sizeof bytes) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0) {
            in_time = false;
            break;
        }
        ssize_t n = read(fd, bytes + got, sizeof bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    n_found = (uint32_t)(got / sizeof found[0]);
    memcpy(found, bytes, n_found * sizeof found[0]);
    return in_time;
}

static void say_missing(const char *reason, int detail)
{
    n_found = 1;
    found[0] = (bl_device_info){.backend = "vulkan", .name = "Vulkan", .id = "vulkan"};
    snprintf(found[0].why_missing, sizeof found[0].why_missing, reason, detail);
}

static void probe(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        say_missing("no pipe to a probing process (errno %d)", errno);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC); /* drivers like to talk */
        if (nowhere >= 0) {
            dup2(nowhere, 1);
            dup2(nowhere, 2);
        }
        tell(ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        say_missing("no probing process (errno %d)", errno);
        return;
    }
    bool in_time = listen_to(ends[0]);
    close(ends[0]);
    if (!in_time)
        kill(child, SIGKILL);
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        say_missing("the Vulkan driver does not answer in %d ms", PROBE_MS);
    else if (n_found == 0)
        say_missing("the Vulkan driver ends the probing process (signal %d)", WIFSIGNALED(state) ? WTERMSIG(state) : 0);
}

/* Without one of these the loader has nothing but processors that play a GPU. */
bool vk_hopeful(void)
{
    static const char *const nodes[] = {"/dev/dri/renderD128", "/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvgpu", "/dev/mali0", "/dev/kgsl-3d0", "/dev/dxg"};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        if (access(nodes[i], F_OK) == 0)
            return true;
    return false;
}

bool vk_probe(uint32_t index, bl_device_info *out)
{
    pthread_once(&once, probe);
    if (index >= n_found)
        return false;
    *out = found[index];
    return true;
}
