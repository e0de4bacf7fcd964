/* logits.c: writes the logits of a list of token ids as raw f32, one row per id: what the golden tests and bench/agreement compare. Takes ids
 * from a file so that nothing but the forward pass is looked at. Knows only the public API. */
#include <bitloom/bitloom.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what)
{
    fprintf(stderr, "logits: %s: %s\n", what, bl_error_text());
    return 1;
}

static bool read_ids(const char *path, int32_t **ids, uint32_t *n)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    *ids = NULL;
    *n = 0;
    for (int32_t id; fscanf(f, "%d%*[, \n]", &id) >= 1;) {
        int32_t *grown = realloc(*ids, (*n + 1) * sizeof **ids);
        if (!grown)
            break;
        *ids = grown;
        (*ids)[(*n)++] = id;
    }
    fclose(f);
    return *n > 0;
}

int main(int argc, char **argv)
{
    bl_model_params params;
    bl_model_default_params(&params);
    const char *files[3];
    int n_files = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--f32") == 0)
            params.activations = BL_NUMBER_F32;
        else if (strcmp(argv[i], "--kv-f32") == 0)
            params.kv = BL_NUMBER_F32;
        else if (strcmp(argv[i], "--threads") == 0)
            params.device.n_threads = (uint32_t)atoi(value), i++;
        else if (strcmp(argv[i], "--batch") == 0)
            params.batch = (uint32_t)atoi(value), i++;
        else if (strcmp(argv[i], "--cpu-mask") == 0)
            params.device.cpu_mask = (uint32_t)atoi(value), i++;
        else if (strcmp(argv[i], "--device") == 0)
            params.device.device = value, i++;
        else if (strcmp(argv[i], "--gpu-layers") == 0)
            params.gpu_layers = (int32_t)strtol(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--cache") == 0)
            params.cache_dir = value, i++;
        else if (strcmp(argv[i], "--schedule") == 0)
            params.schedule = value, i++;
        else if (n_files < 3)
            files[n_files++] = argv[i];
    }
    int32_t *ids;
    uint32_t n;
    if (n_files != 3 || !read_ids(files[1], &ids, &n)) {
        fprintf(stderr, "usage: logits MODEL IDS OUT [--f32] [--kv-f32] [--threads N] [--batch N] [--cpu-mask N] [--device D] [--gpu-layers N] [--schedule S] [--cache FOLDER]\n");
        return 2;
    }
    params.context = n;
    params.max_outputs = 64;
    bl_model *model;
    bl_sequence *sequence;
    if (bl_model_open(files[0], &params, &model) != BL_OK)
        return fail("open");
    if (bl_sequence_create(model, &sequence) != BL_OK)
        return fail("sequence");
    bl_model_info info;
    bl_model_get_info(model, &info);
    FILE *out = fopen(files[2], "wb");
    bl_row rows[64];
    for (uint32_t at = 0; out && at < n;) {
        uint32_t k = 0;
        for (; k < 64 && at + k < n; k++)
            rows[k] = (bl_row){sequence, ids[at + k], true};
        if (bl_forward(model, rows, k) != BL_OK)
            return fail("forward");
        for (uint32_t i = 0; i < k; i++)
            fwrite(bl_logits(model, i), 4, info.vocabulary, out);
        at += k;
    }
    bool written = out && fclose(out) == 0;
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    free(ids);
    return written ? 0 : 1;
}
