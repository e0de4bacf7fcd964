/* registry.c: the back ends in this program, the names of their devices, and "auto". Owns the only list of back ends; knows nothing of any
 * of them. The list itself comes from the build: a folder under backends/ and its name in backends/meson.build. */
#include "hal/core.h"
#include "hal/devices.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BL_BACKEND(name) extern const struct bl_backend bl_backend_##name;
#include "hal/backends.inc"
#undef BL_BACKEND

static const struct bl_backend *const backends[] = {
#define BL_BACKEND(name) &bl_backend_##name,
#include "hal/backends.inc"
#undef BL_BACKEND
};
enum { BACKEND_COUNT = sizeof backends / sizeof backends[0] };

bl_status bl_devices(bl_device_info *out, uint32_t n_out, uint32_t *n_found)
{
    bl_errors_clear();
    REQUIRE_OBJECT(n_found);
    *n_found = 0;
    REQUIRE(out != NULL || n_out == 0, "bl_devices: out is NULL and n_out is %u", n_out);
    for (uint32_t b = 0; b < BACKEND_COUNT; b++) {
        bl_device_info info;
        for (uint32_t index = 0; memset(&info, 0, sizeof info), backends[b]->describe(index, &info); index++) {
            if (*n_found < n_out)
                out[*n_found] = info;
            ++*n_found;
        }
    }
    return BL_OK;
}

/* "cpu", "cpu:0", "chaos(cpu)" -> back end, index and inner name. False when the text has another form. */
static bool parse_id(const char *id, char name[static 16], uint32_t *index, char inner[static 64])
{
    size_t n = strcspn(id, ":(");
    if (n == 0 || n >= 16)
        return false;
    memcpy(name, id, n);
    name[n] = 0;
    inner[0] = 0;
    *index = 0;
    const char *rest = id + n;
    if (*rest == 0)
        return true;
    if (*rest == ':') {
        char *end;
        if (rest[1] < '0' || rest[1] > '9')
            return false;
        unsigned long value = strtoul(rest + 1, &end, 10);
        *index = (uint32_t)value;
        return *end == 0 && value <= 4096;
    }
    size_t inner_bytes = strlen(rest + 1);
    if (inner_bytes < 2 || inner_bytes > 64 || rest[inner_bytes] != ')')
        return false;
    memcpy(inner, rest + 1, inner_bytes - 1);
    inner[inner_bytes - 1] = 0;
    return true;
}

bool bl_device_choose(uint32_t below, bl_device_info *out)
{
    bl_device_info best = {0}, info;
    for (uint32_t b = 0; b < BACKEND_COUNT; b++) {
        if (backends[b]->score <= best.score || (backends[b]->hopeful && !backends[b]->hopeful()))
            continue;
        for (uint32_t index = 0; memset(&info, 0, sizeof info), backends[b]->describe(index, &info); index++)
            if (info.why_missing[0] == 0 && info.score > best.score && info.score < below)
                best = info;
    }
    *out = best;
    return best.score > 0;
}

void bl_device_missing(uint32_t above, char out[256])
{
    size_t n = 0;
    bl_device_info info;
    out[0] = 0;
    for (uint32_t b = 0; b < BACKEND_COUNT && n < 250; b++) {
        memset(&info, 0, sizeof info);
        if (backends[b]->score > above && backends[b]->hopeful && backends[b]->hopeful() && backends[b]->describe(0, &info) && info.why_missing[0])
            n += (size_t)snprintf(out + n, 256 - n, "%s%s: %s", n ? "; " : "", info.id, info.why_missing);
    }
}

bl_status bl_device_auto(bl_device_info *out, char why[256])
{
    bl_errors_clear();
    REQUIRE_OBJECT(out);
    REQUIRE_OBJECT(why);
    if (!bl_device_choose(UINT32_MAX, out))
        BL_FAIL(BL_EUNSUPPORTED, "no back end of this program can be opened here");
    const char *what = out->score >= BL_SCORE_DISCRETE     ? "a GPU with memory of its own"
                       : out->score >= BL_SCORE_INTEGRATED ? "a GPU that shares the processor's memory"
                       : out->score >= BL_SCORE_CPU        ? "the best that there is"
                                                           : "a processor that plays a GPU, and nothing better";
    size_t n = (size_t)snprintf(why, 256, "%s", what);
    char missing[256];
    bl_device_missing(out->score, missing);
    if (missing[0] && n < 200)
        n += (size_t)snprintf(why + n, 256 - n, "; %s", missing);
    for (uint32_t b = 0; b < BACKEND_COUNT; b++)
        if (backends[b]->score > out->score && backends[b]->hopeful && !backends[b]->hopeful() && n < 200)
            n += (size_t)snprintf(why + n, 256 - n, "; %s was not asked: this machine shows no GPU", backends[b]->name);
    return BL_OK;
}

/* Cuts the names of the back ends to what fits: it is for a message. */
static const char *known_names(char out[static 128])
{
    size_t n = 0;
    out[0] = 0;
    for (uint32_t b = 0; b < BACKEND_COUNT && n < 100; b++)
        n += (size_t)snprintf(out + n, 128 - n, "%s%s%s", b ? ", " : "", backends[b]->name, backends[b]->wraps ? "(...)" : "");
    return out;
}

bl_status bl_backend_open(const char *id, const bl_device_params *params, bl_device **out)
{
    char name[16], inner[64], known[128];
    uint32_t index;
    bl_device_info best;
    *out = NULL;
    if (!id || strcmp(id, "auto") == 0) {
        if (!bl_device_choose(UINT32_MAX, &best))
            BL_FAIL(BL_EUNSUPPORTED, "device \"auto\": no back end of this program can be opened here (built in: %s)", known_names(known));
        id = best.id;
    }
    if (!parse_id(id, name, &index, inner))
        BL_FAIL(BL_EUNSUPPORTED, "device \"%.64s\": not of the form NAME, NAME:INDEX or NAME(DEVICE)", id);
    const struct bl_backend *backend = NULL;
    for (uint32_t b = 0; b < BACKEND_COUNT; b++)
        if (strcmp(backends[b]->name, name) == 0)
            backend = backends[b];
    if (!backend)
        BL_FAIL(BL_EUNSUPPORTED, "device \"%.64s\": no back end \"%s\" in this program (built in: %s)", id, name, known_names(known));
    assert(backend->abi == BL_BACKEND_ABI);
    if (backend->wraps != (inner[0] != 0))
        BL_FAIL(BL_EUNSUPPORTED, "device \"%.64s\": %s %s", id, name,
                backend->wraps ? "wraps another device, say for example chaos(cpu)" : "does not wrap another device");
    if (!backend->wraps) {
        bl_device_info info = {0};
        if (!backend->describe(index, &info))
            BL_FAIL(BL_EUNSUPPORTED, "device \"%.64s\": %s has no device %u", id, name, index);
        if (info.why_missing[0] != 0)
            BL_FAIL(BL_EUNSUPPORTED, "device \"%.64s\": %s", id, info.why_missing);
    }

    struct bl_device_core *core = calloc(1, sizeof *core);
    if (!core)
        BL_FAIL(BL_ENOMEM, "device \"%.64s\": out of memory", id);
    bl_device_params inner_params = *params;
    inner_params.device = backend->wraps ? inner : id;
    bl_status status = backend->open(index, &inner_params, out);
    if (status != BL_OK) {
        free(core);
        *out = NULL;
        return bl_error_trace(status, __FILE__, __LINE__);
    }
    core->backend = backend;
    snprintf(core->id, sizeof core->id, "%s", id);
    pthread_mutex_init(&core->lock, NULL);
    pthread_mutex_init(&core->kernel_lock, NULL);
    (*out)->core = core;
    return BL_OK;
}
