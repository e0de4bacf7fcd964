/* random_model.c: tables and outliers by xq_pack; the tiles are filled here with random bits, for any bits are legal codes. */
#include "bench/random_model.h"

#include "base/error.h"
#include "compress/out_file.h"
#include "hal/formats.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPREAD 0.6            /* depths of a matrix lie so far around their mean */
#define OUTLIER_WEIGHTS 2048u /* one in so many is an outlier */
#define ALIGNMENT 32u
#define ARCHITECTURE "llama"

const struct bench_shape bench_shapes[] = {
    {"1.1B", 22, 2048, 5632, 32, 4, 32000, 0}, /* TinyLlama's */
    {"135M", 30, 576, 1536, 9, 3, 49152, 1},   /* SmolLM's */
    {"15M", 6, 288, 768, 6, 6, 32000, 1},
    {0},
};

static uint32_t random_bits(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* ---- a matrix ---- */

/* What deployed files spend: group scales from 2 to 7 bits. */
static double cost(uint32_t depth)
{
    return depth + (depth > 1 && depth < 8 ? 4.0 / 32 : 0);
}

/* Depth of block b when the mean is about `middle`. */
static uint32_t depth_at(double middle, uint32_t b, uint32_t blocks)
{
    const double depth = floor(middle + SPREAD * (1 - (2.0 * b + 1) / blocks) + 0.5);
    return depth < 1 ? 1 : depth > 8 ? 8 : (uint32_t)depth;
}

static double mean_cost(double middle, uint32_t blocks)
{
    double sum = 0;
    for (uint32_t b = 0; b < blocks; b++)
        sum += cost(depth_at(middle, b, blocks));
    return sum / blocks;
}

/* The middle that spends at most `bits` on a weight. */
static double find_middle(double bits, uint32_t blocks)
{
    double low = 0, high = 9;
    for (int i = 0; i < 40; i++) {
        const double middle = (low + high) / 2;
        *(mean_cost(middle, blocks) <= bits ? &low : &high) = middle;
    }
    return low;
}

/* So large that a product keeps the size of its input: 1 / sqrt(columns) over the root mean square of the levels, and of the group scales. */
static float unit_of(uint32_t depth, uint32_t columns)
{
    static const float levels[9] = {0, 1, 11, 19, 35, 61, 37, 74, 148};
    return 1 / (sqrtf((float)columns) * levels[depth] * (depth > 1 && depth < 8 ? 18 : 1));
}

struct plan {
    struct bl_xq_segment segments[8];
    struct bl_xq_rows all;
    struct bl_xq_shape shape;
};

static void make_plan(uint32_t rows, uint32_t columns, uint32_t input, double bits, uint32_t depth, struct plan *p)
{
    static const uint8_t half2[] = {4, 15}, half3[] = {3, 11, 19, 31}, half4[] = {3, 9, 15, 22, 29, 37, 48, 63};
    static const uint8_t half5[] = {3, 8, 13, 18, 24, 29, 35, 41, 47, 54, 61, 70, 79, 90, 105, 127};
    const uint32_t blocks = columns / 32, n_outliers = (uint32_t)((uint64_t)rows * columns / OUTLIER_WEIGHTS);
    const double others = 8.0 / columns + 8.0 * 5 * n_outliers / ((double)rows * columns), middle = find_middle(bits - others, blocks);
    p->all = (struct bl_xq_rows){0, 0, p->segments};
    for (uint32_t b = 0; b < blocks; b++) {
        const uint32_t d = depth ? depth : depth_at(middle, b, blocks);
        if (!b || p->segments[p->all.n_segments - 1].depth != d)
            p->segments[p->all.n_segments++] = (struct bl_xq_segment){0, (uint8_t)d, d > 1 && d < 8 ? BL_XQ_GROUPED : 0, unit_of(d, columns)};
        p->segments[p->all.n_segments - 1].n_blocks++;
    }
    p->shape = (struct bl_xq_shape){rows, columns, input, -6, half2, half3, half4, half5, 1, &p->all, n_outliers};
}

/* Row scales about 1, the rest random. */
static void fill_tiles(struct bl_xq_header *h)
{
    const struct bl_xq_row_block *r = bl_xq_row_blocks(h);
    uint64_t state = h->rows + ((uint64_t)h->columns << 32);
    uint32_t *word = (uint32_t *)(void *)h + r->data;
    for (uint32_t tile = 0; tile < h->rows / BL_XQ_TILE; tile++, word += r->stride) {
        for (uint32_t i = 0; i < r->stride; i++)
            word[i] = random_bits(&state);
        for (uint32_t i = 0; i < BL_XQ_TILE / 4; i++)
            word[i] = 0x5c5c5c5cu + (word[i] & 0x0f0f0f0fu);
    }
}

void *bench_random_matrix(uint32_t rows, uint32_t columns, uint32_t input, double bits, uint32_t depth, uint64_t *bytes)
{
    struct plan p;
    make_plan(rows, columns, input, bits, depth, &p);
    *bytes = bl_xq_matrix_bytes(&p.shape);
    void *blob = malloc((size_t)*bytes);
    struct bl_xq_outlier *outliers = malloc((p.shape.n_outliers + 1u) * sizeof *outliers);
    if (blob && outliers) {
        for (uint32_t i = 0; i < p.shape.n_outliers; i++) {
            const uint64_t at = (uint64_t)i * OUTLIER_WEIGHTS;
            outliers[i] = (struct bl_xq_outlier){(uint32_t)(at / columns), (uint16_t)(at % columns), 0x2000}; /* 2^-7 */
        }
        bl_xq_matrix_begin(&p.shape, blob);
        fill_tiles(blob);
        bl_xq_set_outliers(blob, outliers);
        bl_xq_matrix_end(blob, *bytes);
    } else {
        free(blob);
        blob = NULL;
    }
    free(outliers);
    return blob;
}

/* A random order, all scales 1. */
static void make_input(uint32_t columns, void *blob)
{
    static uint16_t order[BL_XQ_NO_COLUMN + 1];
    static uint8_t scale[BL_XQ_NO_COLUMN + 1];
    uint64_t state = columns;
    for (uint32_t c = 0; c < columns; c++) {
        const uint32_t other = random_bits(&state) % (c + 1);
        order[c] = order[other];
        order[other] = (uint16_t)c;
        scale[c] = 32;
    }
    bl_xq_input_make(columns, -2, order, scale, blob);
}

/* ---- a file ---- */

enum kind { VECTOR, INPUT, MATRIX };
struct tensor {
    char name[40];
    enum kind kind;
    uint32_t rows, columns, input;
    uint64_t bytes;
};
struct file {
    const struct bench_shape *shape;
    double bits;
    struct tensor *tensors;
    uint32_t n, n_inputs;
};

static void add(struct file *f, enum kind kind, const char *name, uint32_t rows, uint32_t columns)
{
    struct tensor *t = &f->tensors[f->n++];
    *t = (struct tensor){.kind = kind, .rows = rows, .columns = columns, .input = f->n_inputs - 1};
    snprintf(t->name, sizeof t->name, "%s", name);
    if (kind == VECTOR) {
        t->bytes = 4 * (uint64_t)columns;
    } else if (kind == INPUT) {
        t->bytes = bl_xq_input_bytes(columns);
    } else {
        struct plan p;
        make_plan(rows, columns, t->input, f->bits, 0, &p);
        t->bytes = bl_xq_matrix_bytes(&p.shape);
    }
}

static void add_input(struct file *f, uint32_t columns)
{
    char name[40];
    snprintf(name, sizeof name, "xq.input.%u", f->n_inputs++);
    add(f, INPUT, name, 1, columns);
}

static void add_part(struct file *f, enum kind kind, uint32_t layer, const char *part, uint32_t rows, uint32_t columns)
{
    char name[40];
    snprintf(name, sizeof name, "blk.%u.%s.weight%s", layer, part, kind == MATRIX ? ".xq" : "");
    add(f, kind, name, rows, columns);
}

static bl_status list_tensors(const struct bench_shape *s, double bits, struct file *f)
{
    const uint32_t kv = s->width / s->heads * s->kv_heads;
    *f = (struct file){.shape = s, .bits = bits, .tensors = calloc(16 * s->layers + 8, sizeof *f->tensors)};
    if (!f->tensors)
        BL_FAIL(BL_ENOMEM, "no memory for the tensors of a model");
    add_input(f, s->width);
    add(f, MATRIX, "token_embd.weight.xq", s->vocabulary, s->width);
    for (uint32_t i = 0; i < s->layers; i++) {
        add_part(f, VECTOR, i, "attn_norm", 1, s->width);
        add_input(f, s->width);
        add_part(f, MATRIX, i, "attn_q", s->width, s->width);
        add_part(f, MATRIX, i, "attn_k", kv, s->width);
        add_part(f, MATRIX, i, "attn_v", kv, s->width);
        add_input(f, s->width);
        add_part(f, MATRIX, i, "attn_output", s->width, s->width);
        add_part(f, VECTOR, i, "ffn_norm", 1, s->width);
        add_input(f, s->width);
        add_part(f, MATRIX, i, "ffn_gate", s->ff, s->width);
        add_part(f, MATRIX, i, "ffn_up", s->ff, s->width);
        add_input(f, s->ff);
        add_part(f, MATRIX, i, "ffn_down", s->width, s->ff);
    }
    add(f, VECTOR, "output_norm.weight", 1, s->width);
    if (!s->is_tied) {
        add_input(f, s->width);
        add(f, MATRIX, "output.weight.xq", s->vocabulary, s->width);
    }
    return BL_OK;
}

static void put_u32(FILE *f, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    fwrite(b, 1, sizeof b, f);
}

static void put_u64(FILE *f, uint64_t v)
{
    put_u32(f, (uint32_t)v);
    put_u32(f, (uint32_t)(v >> 32));
}

static void put_f32(FILE *f, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_u32(f, bits);
}

static void put_text(FILE *f, const char *text)
{
    put_u64(f, strlen(text));
    fputs(text, f);
}

enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_TEXT = 8, TYPE_ARRAY = 9 };

static void put_key(FILE *f, const char *key, uint32_t type, uint32_t *n)
{
    put_text(f, key);
    put_u32(f, type);
    ++*n;
}

static void put_list(FILE *f, const char *key, uint32_t type, uint64_t length, uint32_t *n)
{
    put_key(f, key, TYPE_ARRAY, n);
    put_u32(f, type);
    put_u64(f, length);
}

/* Control tokens, bytes, and words that no one says. */
static void put_vocabulary(FILE *f, uint32_t size, uint32_t *n)
{
    static const char *const control[] = {"<unk>", "<s>", "</s>"};
    char text[24];
    put_key(f, "tokenizer.ggml.model", TYPE_TEXT, n);
    put_text(f, "llama");
    put_list(f, "tokenizer.ggml.tokens", TYPE_TEXT, size, n);
    for (uint32_t i = 0; i < size; i++) {
        snprintf(text, sizeof text, i < 259 ? "<0x%02X>" : "<unused%u>", i < 259 ? i - 3 : i);
        put_text(f, i < 3 ? control[i] : text);
    }
    put_list(f, "tokenizer.ggml.scores", TYPE_F32, size, n);
    for (uint32_t i = 0; i < size; i++)
        put_f32(f, 0);
    put_list(f, "tokenizer.ggml.token_type", TYPE_I32, size, n);
    for (uint32_t i = 0; i < size; i++)
        put_u32(f, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 5);
    put_key(f, "tokenizer.ggml.bos_token_id", TYPE_U32, n);
    put_u32(f, 1);
    put_key(f, "tokenizer.ggml.eos_token_id", TYPE_U32, n);
    put_u32(f, 2);
    put_key(f, "tokenizer.ggml.unknown_token_id", TYPE_U32, n);
    put_u32(f, 0);
}

static void put_keys(FILE *f, const struct bench_shape *s, uint32_t *n)
{
    const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {
        {ARCHITECTURE ".block_count", s->layers}, {ARCHITECTURE ".context_length", 65536}, {ARCHITECTURE ".embedding_length", s->width},
        {ARCHITECTURE ".feed_forward_length", s->ff}, {ARCHITECTURE ".attention.head_count", s->heads}, {ARCHITECTURE ".attention.head_count_kv", s->kv_heads},
        {ARCHITECTURE ".rope.dimension_count", s->width / s->heads},
    };
    put_key(f, "general.architecture", TYPE_TEXT, n);
    put_text(f, ARCHITECTURE);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_key(f, sizes[i].key, TYPE_U32, n);
        put_u32(f, sizes[i].value);
    }
    put_key(f, ARCHITECTURE ".attention.layer_norm_rms_epsilon", TYPE_F32, n);
    put_f32(f, 1e-5f);
    put_vocabulary(f, s->vocabulary, n);
}

static uint64_t aligned(uint64_t at)
{
    return (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_tensor(FILE *f, const struct tensor *t, uint64_t offset)
{
    put_text(f, t->name);
    put_u32(f, 1);
    put_u64(f, t->kind == VECTOR ? t->columns : t->bytes);
    put_u32(f, t->kind == VECTOR ? 0 : BL_GGML_I8);
    put_u64(f, offset);
}

/* Everything before the data; `end` of the file. NULL: no memory. */
static char *make_head(const struct file *file, size_t *bytes, uint64_t *end)
{
    char *keys = NULL, *head = NULL;
    size_t n_key_bytes = 0;
    uint32_t n_keys = 0;
    uint64_t offset = 0;
    FILE *k = open_memstream(&keys, &n_key_bytes), *f = k ? open_memstream(&head, bytes) : NULL;
    if (f) {
        put_keys(k, file->shape, &n_keys);
        fflush(k);
        fputs("GGUF", f);
        put_u32(f, 3);
        put_u64(f, file->n);
        put_u64(f, n_keys);
        fwrite(keys, 1, n_key_bytes, f);
        for (uint32_t i = 0; i < file->n; i++) {
            put_tensor(f, &file->tensors[i], offset);
            offset += aligned(file->tensors[i].bytes);
        }
        fflush(f);
        for (size_t fill = aligned(*bytes) - *bytes; fill; fill--)
            fputc(0, f);
    }
    const bool failed = !f || ferror(f) || ferror(k);
    if (f && fclose(f) == 0 && !failed)
        *end = *bytes + offset;
    if (k)
        fclose(k);
    free(keys);
    if (!failed)
        return head;
    free(head);
    return NULL;
}

static void *make_tensor(const struct file *f, const struct tensor *t)
{
    if (t->kind == MATRIX) {
        uint64_t bytes;
        return bench_random_matrix(t->rows, t->columns, t->input, f->bits, 0, &bytes);
    }
    void *data = malloc((size_t)t->bytes);
    for (uint32_t i = 0; data && t->kind == VECTOR && i < t->columns; i++)
        ((float *)data)[i] = 1;
    if (data && t->kind == INPUT)
        make_input(t->columns, data);
    return data;
}

static bl_status write_file(const struct file *file, struct xq_out_file *out)
{
    size_t head_bytes;
    uint64_t end, at;
    char *head = make_head(file, &head_bytes, &end);
    bl_status status = head ? xq_out_write(out, head, head_bytes, 0) : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for its head", out->path);
    free(head);
    at = head_bytes;
    for (uint32_t i = 0; status == BL_OK && i < file->n; i++) {
        static const uint8_t zeros[ALIGNMENT];
        const struct tensor *t = &file->tensors[i];
        void *data = make_tensor(file, t);
        if (!data)
            BL_FAIL(BL_ENOMEM, "%s: no memory for %llu bytes of '%s'", out->path, (unsigned long long)t->bytes, t->name);
        status = xq_out_write(out, data, t->bytes, at);
        free(data);
        if (status == BL_OK)
            status = xq_out_write(out, zeros, aligned(t->bytes) - t->bytes, at + t->bytes);
        at += aligned(t->bytes);
    }
    return status;
}

uint64_t bench_model_bytes(const struct bench_shape *shape, double bits)
{
    struct file file;
    size_t head_bytes;
    uint64_t end = UINT64_MAX;
    if (list_tensors(shape, bits, &file) == BL_OK)
        free(make_head(&file, &head_bytes, &end));
    free(file.tensors);
    return end;
}

bl_status bench_write_model(const char *path, const struct bench_shape *shape, double bits)
{
    struct file file;
    struct xq_out_file out = {0};
    bl_status status = list_tensors(shape, bits, &file);
    if (status == BL_OK)
        status = xq_out_open(&out, path);
    if (status == BL_OK)
        status = write_file(&file, &out);
    if (status == BL_OK)
        status = xq_out_finish(&out);
    xq_out_discard(&out);
    free(file.tensors);
    return status;
}
