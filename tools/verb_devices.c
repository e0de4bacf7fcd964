/* verb_devices.c: bitloom devices: what can compute here, and why other back ends cannot. */
#include "common.h"
#include "verbs.h"

#include <string.h>

static void describe(const bl_device_info *info, const struct options *o, uint32_t cpu_mask, bool first)
{
    bl_device_params params;
    bl_device_default_params(&params);
    params.device = info->id;
    params.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    params.cpu_mask = cpu_mask;
    bl_device *device = NULL;
    uint64_t free_bytes = 0, total_bytes = 0;
    uint32_t threads = 0;
    char why[sizeof info->why_missing];
    snprintf(why, sizeof why, "%s", info->why_missing);
    if (!why[0]) { /* one that cannot be opened after all is a line like the others */
        if (bl_device_open(&params, &device) != BL_OK || bl_device_memory(device, &free_bytes, &total_bytes) != BL_OK)
            snprintf(why, sizeof why, "%s", bl_error_text());
        else
            threads = bl_device_caps(device)->n_threads;
        bl_device_close(device);
    }
    bool missing = why[0] != 0;
    if (o->json) {
        printf("%s\n  {\"id\": ", first ? "" : ",");
        print_json_string(stdout, info->id);
        printf(", \"backend\": ");
        print_json_string(stdout, info->backend);
        printf(", \"name\": ");
        print_json_string(stdout, info->name);
        if (missing) {
            printf(", \"missing\": ");
            print_json_string(stdout, why);
        } else {
            printf(", \"threads\": %u, \"free_bytes\": %llu, \"total_bytes\": %llu", threads, (unsigned long long)free_bytes, (unsigned long long)total_bytes);
        }
        printf("}");
    } else if (missing) {
        printf("%-10s missing: %s\n", info->id, why);
    } else {
        printf("%-10s %s", info->id, info->name);
        if (threads)
            printf(", %u threads", threads);
        if (total_bytes)
            printf(", %.1f of %.1f GB free", (double)free_bytes / 1e9, (double)total_bytes / 1e9);
        printf("\n");
    }
}

int verb_devices(struct options *o)
{
    bl_device_info infos[64];
    uint32_t n = 0;
    if (bl_devices(infos, 64, &n) != BL_OK)
        return report_error();
    uint32_t cpu_mask = 0, shown = 0;
    if (o->cpu_mask && bl_cpu_mask_parse(o->cpu_mask, &cpu_mask) != BL_OK) {
        report_error();
        return EXIT_USAGE;
    }
    if (o->json)
        printf("[");
    for (uint32_t i = 0; i < n && i < 64; i++)
        if (!o->device || strcmp(o->device, "auto") == 0 || strcmp(o->device, infos[i].id) == 0)
            describe(&infos[i], o, cpu_mask, shown++ == 0);
    if (!shown) {
        fprintf(stderr, "bitloom: no device is called '%s'\n", o->device ? o->device : "");
        return EXIT_FAILED;
    }
    if (o->json)
        printf("\n]\n");
    return finish_stdout(EXIT_OK);
}
