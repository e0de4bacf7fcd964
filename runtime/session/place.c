/* place.c: which device takes which units of a graph. Pure arithmetic over bytes and speeds; knows no device and no file.
 *
 * Parts of a step run one after the other, so the layers of one device are a run of neighbours, and a border costs a copy through the host:
 * there are as few as possible. The devices take the last layers, as in llama.cpp, and the output with them when they take all. */
#include "session/session.h"

/* Units first .. end over all devices in their order; by share: as much as the speed says, else as much as fits. */
static bool spread(const struct bl_place_request *r, uint32_t first, uint32_t end, bool by_share, uint32_t *device_of_unit)
{
    double total = 0, speeds = 0, done = 0, done_speed = 0;
    for (uint32_t u = first; u < end; u++)
        total += (double)r->size[u];
    for (uint32_t d = 0; d < r->n_devices; d++)
        speeds += r->devices[d].speed;
    uint32_t at = first;
    for (uint32_t d = 0; d < r->n_devices; d++) {
        uint32_t begin = at;
        done_speed += r->devices[d].speed;
        double until = d + 1 == r->n_devices || !by_share ? total + 1 : total * done_speed / speeds;
        while (at < end && done + (double)r->size[at] / 2 <= until && r->cost(r->user, d, begin, at + 1) <= r->devices[d].room) {
            done += (double)r->size[at];
            device_of_unit[at++] = d;
        }
    }
    return at == end;
}

static bool offload(const struct bl_place_request *r, uint32_t first, uint32_t end, uint32_t *device_of_unit)
{
    for (uint32_t u = 0; u < r->n_units; u++)
        device_of_unit[u] = r->n_devices;
    bool whole = first == 0 && end == r->n_units;
    if (!whole && !r->rest)
        return false;
    return first == end || spread(r, first, end, true, device_of_unit) || spread(r, first, end, false, device_of_unit);
}

bool bl_place(const struct bl_place_request *r, uint32_t *device_of_unit)
{
    uint32_t layers = r->n_units > 2 ? r->n_units - 2 : 0, most = layers + 1, least = 0;
    if (r->gpu_layers >= 0)
        most = least = (uint32_t)r->gpu_layers > layers ? layers + 1 : (uint32_t)r->gpu_layers;
    else if (r->most < most)
        most = r->most;
    if (!r->n_devices)
        most = least = 0;
    for (uint32_t n = most + 1; n-- > least;) {
        bool whole = n > layers;
        if (offload(r, whole ? 0 : 1 + layers - n, whole ? r->n_units : 1 + layers, device_of_unit))
            return true;
    }
    return false;
}
