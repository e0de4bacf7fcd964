/* probe.c: the child process of a probe, the pipe to it, and how long it may take. Knows no back end. */
#include "hal/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_MS 10000

static bl_device_info nameless(const struct bl_probe *probe)
{
    bl_device_info info = {0};
    snprintf(info.backend, sizeof info.backend, "%s", probe->backend);
    snprintf(info.name, sizeof info.name, "%s", probe->title);
    snprintf(info.id, sizeof info.id, "%s", probe->backend);
    return info;
}

void bl_probe_say(int fd, const bl_device_info *info)
{
    if (write(fd, info, sizeof *info) != (ssize_t)sizeof *info) /* below PIPE_BUF: whole or not at all */
        _exit(1);
}

void bl_probe_say_missing(const struct bl_probe *probe, int fd, const char *reason)
{
    bl_device_info info = nameless(probe);
    snprintf(info.why_missing, sizeof info.why_missing, "%s", reason);
    bl_probe_say(fd, &info);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads records until the child has closed the pipe; false when it took too long. */
static bool listen_to(struct bl_probe *probe, int fd)
{
    char bytes[sizeof probe->found];
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
    probe->n_found = (uint32_t)(got / sizeof probe->found[0]);
    memcpy(probe->found, bytes, probe->n_found * sizeof probe->found[0]);
    return in_time;
}

static void missing(struct bl_probe *probe, const char *reason, int detail)
{
    probe->n_found = 1;
    probe->found[0] = nameless(probe);
    snprintf(probe->found[0].why_missing, sizeof probe->found[0].why_missing, reason, detail);
}

static void ask(struct bl_probe *probe)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        missing(probe, "no pipe to a probing process (errno %d)", errno);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC); /* drivers like to talk */
        if (nowhere >= 0) {
            dup2(nowhere, 1);
            dup2(nowhere, 2);
        }
        probe->tell(probe, ends[1]);
        _exit(0); /* destroys nothing: a driver may crash there too */
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        missing(probe, "no probing process (errno %d)", errno);
        return;
    }
    bool in_time = listen_to(probe, ends[0]);
    close(ends[0]);
    if (!in_time)
        kill(child, SIGKILL);
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        missing(probe, "the driver does not answer in %d ms", PROBE_MS);
    else if (probe->n_found == 0)
        missing(probe, "the driver ends the probing process (signal %d)", WIFSIGNALED(state) ? WTERMSIG(state) : 0);
}

bool bl_probe_describe(struct bl_probe *probe, uint32_t index, bl_device_info *out)
{
    pthread_mutex_lock(&probe->lock);
    if (!probe->asked)
        ask(probe);
    probe->asked = true;
    const bool found = index < probe->n_found;
    if (found)
        *out = probe->found[index];
    pthread_mutex_unlock(&probe->lock);
    return found;
}
