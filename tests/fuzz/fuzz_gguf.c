/* fuzz_gguf.c: any bytes as a model file: open, every getter, verify, and a tokenizer if there is a vocabulary. */
#include "model/model_file.h"
#include "model/vocab_load.h"

#include <bitloom/tokenizer.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void walk_meta(const struct bl_model_file *file, const struct bl_meta *meta)
{
    uint64_t u64, length;
    int64_t i64;
    double f64;
    const char *text;
    volatile uint8_t touched = 0;
    if (bl_model_file_meta(file, meta->key) != meta)
        abort();
    for (uint64_t i = 0; i < meta->count && i < 16; i++) {
        (void)!bl_meta_u64(file, meta, i, &u64);
        (void)!bl_meta_i64(file, meta, i, &i64);
        (void)!bl_meta_f64(file, meta, i, &f64);
    }
    if (bl_meta_u64(file, meta, meta->count, &u64) == BL_OK)
        abort();
    if (bl_meta_string(file, meta, &text, &length) == BL_OK && length > 0)
        touched = (uint8_t)(text[0] ^ text[length - 1]);
    struct bl_meta_strings it;
    uint64_t n = 0;
    if (bl_meta_strings_begin(file, meta, &it) == BL_OK) {
        for (; bl_meta_strings_next(&it, &text, &length); n++)
            if (length > 0)
                touched = (uint8_t)(text[0] ^ text[length - 1]);
        if (n != meta->count)
            abort();
    }
    (void)touched;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct bl_model_file *file;
    if (bl_model_file_open_memory(data, bytes, "fuzz", &file) != BL_OK)
        return 0;
    for (uint32_t i = 0; i < bl_model_file_meta_count(file); i++)
        walk_meta(file, bl_model_file_meta_at(file, i));
    for (uint32_t i = 0; i < bl_model_file_tensor_count(file); i++) {
        const struct bl_tensor *tensor = bl_model_file_tensor_at(file, i);
        if (bl_model_file_tensor(file, tensor->name) != tensor || tensor->offset > bytes || tensor->bytes > bytes - tensor->offset)
            abort();
    }
    uint64_t n_findings;
    (void)!bl_model_file_verify(file, NULL, NULL, &n_findings);
    bl_tokenizer *tokenizer;
    if (bl_vocab_tokenizer_create(file, &tokenizer) == BL_OK) {
        static const char text[] = "Hello  <s></s> 123\n\xc3\xa9\xff";
        int32_t ids[64];
        size_t n;
        bl_decoder decoder = {0};
        if (bl_tokenizer_encode(tokenizer, text, sizeof text, 3, ids, 64, &n) == BL_OK)
            for (size_t i = 0; i < n && i < 64; i++) {
                const char *piece;
                size_t length;
                if (bl_tokenizer_decode(tokenizer, &decoder, ids[i], 1, &piece, &length) != BL_OK)
                    abort();
            }
        bl_tokenizer_destroy(tokenizer);
    }
    bl_model_file_close(file);
    return 0;
}
