/* verb_devices.c: bitloom devices: what can compute here, how fast with --probe, why other back ends cannot, and what "auto" would take. */
#include "common.h"
#include "verbs.h"

#include <string.h>

enum { MOST = 64 };

/* What is known of one device. */
struct row {
    bl_device_info info;
    char why[BL_ERROR_TEXT_BYTES]; /* it cannot be opened; "" */
    uint64_t free_bytes, total_bytes;
    uint32_t threads;
    char facts[1024];
    bl_measure speed;
};

static void look(struct row *row, const struct options *o, uint32_t cpu_mask)
{
    bl_device_params params;
    bl_device *device = NULL;
    bl_device_default_params(&params);
    params.device = row->info.id;
    params.n_threads = o->threads < 0 ? 0 : (uint32_t)o->threads;
    params.cpu_mask = cpu_mask;
    snprintf(row->why, sizeof row->why, "%s", row->info.why_missing);
    if (row->why[0])
        return;
    if (bl_device_open(&params, &device) != BL_OK) { /* after all */
        snprintf(row->why, sizeof row->why, "%s", bl_error_text());
        return;
    }
    row->threads = bl_device_caps(device)->n_threads;
    if (bl_device_caps(device)->facts)
        snprintf(row->facts, sizeof row->facts, "%s", bl_device_caps(device)->facts);
    if (bl_device_memory(device, &row->free_bytes, &row->total_bytes) != BL_OK)
        row->free_bytes = row->total_bytes = 0; /* it does not know */
    if (o->probe && row->info.score && bl_device_measure(device, &row->speed) != BL_OK)
        snprintf(row->why, sizeof row->why, "%s", bl_error_text());
    bl_device_close(device);
}

static void print_json(const struct row *row, bool is_auto, const char *auto_why, bool first)
{
    printf("%s\n  {\"id\": ", first ? "" : ",");
    print_json_string(stdout, row->info.id);
    printf(", \"backend\": ");
    print_json_string(stdout, row->info.backend);
    printf(", \"name\": ");
    print_json_string(stdout, row->info.name);
    printf(", \"score\": %u, \"auto\": %s", row->info.score, is_auto ? "true" : "false");
    if (is_auto) {
        printf(", \"auto_why\": ");
        print_json_string(stdout, auto_why);
    }
    if (row->why[0]) {
        printf(", \"missing\": ");
        print_json_string(stdout, row->why);
    } else {
        printf(", \"threads\": %u, \"free_bytes\": %llu, \"total_bytes\": %llu", row->threads, (unsigned long long)row->free_bytes,
               (unsigned long long)row->total_bytes);
        if (row->facts[0]) {
            printf(", \"facts\": ");
            print_json_string(stdout, row->facts);
        }
    }
    if (row->speed.submit_us > 0)
        printf(", \"copy_gb_per_s\": %.3f, \"matvec_gb_per_s\": %.3f, \"submit_us\": %.1f", row->speed.copy_bytes_per_s / 1e9, row->speed.matvec_bytes_per_s / 1e9,
               row->speed.submit_us);
    printf("}");
}

static void print_text(const struct row *row)
{
    if (row->why[0]) {
        printf("%-10s missing: %s\n", row->info.id, row->why);
        return;
    }
    printf("%-10s %s", row->info.id, row->info.name);
    if (row->threads)
        printf(", %u threads", row->threads);
    if (row->total_bytes)
        printf(", %.1f of %.1f GB free", (double)row->free_bytes / 1e9, (double)row->total_bytes / 1e9);
    printf("\n");
    if (row->facts[0])
        printf("%-10s %s\n", "", row->facts);
    if (row->speed.submit_us > 0)
        printf("%-10s copies %.1f GB/s, matrix times vector %.1f GB/s, submission %.1f us\n", "", row->speed.copy_bytes_per_s / 1e9,
               row->speed.matvec_bytes_per_s / 1e9, row->speed.submit_us);
}

int verb_devices(struct options *o)
{
    bl_device_info infos[MOST], chosen = {.id = ""};
    char why[256] = "";
    uint32_t n = 0, cpu_mask = 0, shown = 0;
    if (o->cpu_mask && bl_cpu_mask_parse(o->cpu_mask, &cpu_mask) != BL_OK) {
        report_error();
        return EXIT_USAGE;
    }
    if (bl_devices(infos, MOST, &n) != BL_OK)
        return report_error();
    bool any = bl_device_auto(&chosen, why) == BL_OK;
    for (uint32_t i = 0; i < n && i < MOST; i++) {
        struct row row = {.info = infos[i]};
        if (o->device && strcmp(o->device, "auto") != 0 && strcmp(o->device, row.info.id) != 0)
            continue;
        if (o->json && !shown)
            printf("[");
        look(&row, o, cpu_mask);
        if (o->json)
            print_json(&row, any && strcmp(chosen.id, row.info.id) == 0, why, shown == 0);
        else
            print_text(&row);
        shown++;
    }
    if (!shown) {
        fprintf(stderr, "bitloom: no device is called '%s'\n", o->device ? o->device : "");
        return EXIT_FAILED;
    }
    if (o->json)
        printf("\n]\n");
    else if (any)
        printf("auto takes %s: %s\n", chosen.id, why);
    return finish_stdout(EXIT_OK);
}
