/* example.c: the library in 40 lines: load a model, generate with a streaming callback, stop after 200 characters. */
#include <bitloom/bitloom.h>
#include <stdio.h>
#include <string.h>

static bool on_text(void *user, const char *text, size_t bytes)
{
    size_t *left = user;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    *left -= bytes < *left ? bytes : *left;
    return *left > 0; /* false stops the generation */
}

int main(int argc, char **argv)
{
    bl_model *model = NULL;
    bl_sequence *sequence = NULL;
    bl_generate_params params;
    size_t left = 200;
    if (argc != 3) {
        fprintf(stderr, "usage: example MODEL PROMPT\n");
        return 2;
    }
    bl_generate_default_params(&params);
    params.prompt = argv[2];
    params.prompt_bytes = strlen(argv[2]);
    params.sampler.temperature = 0;
    params.on_text = on_text;
    params.user = &left;
    bl_status status = bl_model_open(argv[1], NULL, &model);
    if (status == BL_OK)
        status = bl_sequence_create(model, &sequence);
    if (status == BL_OK)
        status = bl_generate(sequence, &params, NULL);
    if (status != BL_OK)
        fprintf(stderr, "example: %s\n", bl_error_text());
    bl_sequence_destroy(sequence);
    bl_model_close(model);
    return status == BL_OK ? 0 : 1;
}
