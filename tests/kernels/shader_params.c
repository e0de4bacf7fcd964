/* shader_params.c: every constant of shaders/params.glsl beside the header that it mirrors. A constant that is in one place only is a failure
 * too: shader-params params.glsl. */
#include "hal/formats.h"
#include "hal/kernel_params.h"
#include "hal/xq.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD(type, field) ((uint32_t)offsetof(struct bl_params_##type, field) / 4)
#define XQ_WORD(type, field) ((uint32_t)offsetof(struct bl_xq_##type, field) / 4)
static struct {
    const char *name;
    uint32_t value;
    int seen;
} table[] = {
#define ENUM(name) {#name, BL_##name, 0}
#define FIELD(name, type, field) {#name, WORD(type, field), 0}
#define XQ_FIELD(name, type, field) {#name, XQ_WORD(type, field), 0}
    ENUM(STEP_N_ROWS), ENUM(STEP_N_OUT), ENUM(STEP_PAGE_STRIDE), ENUM(STEP_TOKEN), ENUM(STEP_POS), ENUM(STEP_SEQ), ENUM(STEP_OUT),
    ENUM(STEP_PAGES), ENUM(ROWS_OF_STEP), ENUM(ROWS_OF_OUTPUT), ENUM(KV_PAGE), ENUM(ATTENTION_SPLIT),
    {"Q8_WORDS", sizeof(struct bl_q8_block) / 4, 0}, {"Q8_COARSE", offsetof(struct bl_q8_block, coarse) / 4, 0},
    {"Q8_FINE", offsetof(struct bl_q8_block, fine) / 4, 0},
#define BL_FORMAT(NAME, name, id, elements, bytes, kind) ENUM(FMT_##NAME),
#include "hal/formats.def"
#undef BL_FORMAT
    FIELD(EMBED_COLUMNS, embed, columns), FIELD(EMBED_N_IDS, embed, n_ids), FIELD(EMBED_SOURCE, embed, source),
    FIELD(EMBED_FIRST, embed, first), FIELD(EMBED_COUNT, embed, count),
    FIELD(LINEAR_K, linear, k), FIELD(LINEAR_ROWS, linear, rows), FIELD(LINEAR_N, linear, segment[0].n),
    FIELD(LINEAR_FLAGS, linear, segment[0].flags), FIELD(LINEAR_STRIDE, linear, segment[0].stride), ENUM(LINEAR_BIAS), ENUM(LINEAR_RESIDUAL),
    FIELD(LINEAR_GLU, linear, glu), ENUM(LINEAR_GLU_KIND), ENUM(LINEAR_GLU_Q8),
    FIELD(QUANTIZE_COLUMNS, quantize, columns), FIELD(QUANTIZE_ROWS, quantize, rows),
    FIELD(NORM_COLUMNS, norm, columns), FIELD(NORM_GROUPS, norm, groups), FIELD(NORM_ROWS, norm, rows), FIELD(NORM_FLAGS, norm, flags),
    FIELD(NORM_EPS, norm, eps), ENUM(NORM_WEIGHT), ENUM(NORM_BIAS),
    FIELD(ROPE_TABLE_N_ROT, rope_table, n_rot), FIELD(ROPE_TABLE_ATTN_FACTOR, rope_table, attn_factor),
    FIELD(ROPE_HEADS, rope, heads), FIELD(ROPE_D_HEAD, rope, d_head), FIELD(ROPE_N_ROT, rope, n_rot), FIELD(ROPE_LAYOUT, rope, layout),
    ENUM(ROPE_NORM),
    FIELD(KV_STORE_HEADS, kv_store, heads), FIELD(KV_STORE_D_HEAD, kv_store, d_head),
    FIELD(ATTENTION_N_HEAD, attention, n_head), FIELD(ATTENTION_N_HEAD_KV, attention, n_head_kv), FIELD(ATTENTION_D_K, attention, d_k),
    FIELD(ATTENTION_D_V, attention, d_v), FIELD(ATTENTION_WINDOW, attention, window), FIELD(ATTENTION_SCALE, attention, scale),
    FIELD(ATTENTION_SOFTCAP, attention, softcap),
    FIELD(UNARY_COLUMNS, unary, columns), FIELD(UNARY_ROWS, unary, rows), FIELD(UNARY_KIND, unary, kind), FIELD(UNARY_A, unary, a),
    ENUM(UNARY_SILU), ENUM(UNARY_GELU), ENUM(UNARY_GELU_TANH), ENUM(UNARY_GELU_QUICK), ENUM(UNARY_RELU), ENUM(UNARY_RELU2),
    ENUM(UNARY_SIGMOID), ENUM(UNARY_TANH), ENUM(UNARY_SCALE), ENUM(UNARY_SOFTCAP),
    FIELD(BINARY_COLUMNS, binary, columns), FIELD(BINARY_ROWS, binary, rows), FIELD(BINARY_KIND, binary, kind),
    FIELD(BINARY_BROADCAST, binary, broadcast), ENUM(BINARY_ADD), ENUM(BINARY_MUL),
    FIELD(GLU_COLUMNS, glu, columns), FIELD(GLU_ROWS, glu, rows), FIELD(GLU_KIND, glu, kind), FIELD(SELECT_COLUMNS, select, columns),
    {"LINEAR_FIRST_ROW", WORD(linear, segment[1]), 0},
    FIELD(STAGE_COLUMNS, stage, columns), FIELD(STAGE_BLOCKS, stage, blocks), FIELD(STAGE_ROWS, stage, rows),
    XQ_FIELD(XQ_EXPONENT, header, row_exponent), XQ_FIELD(XQ_ROWS, header, rows), XQ_FIELD(XQ_N_ROW_BLOCKS, header, n_row_blocks),
    XQ_FIELD(XQ_N_OUTLIERS, header, n_outliers), XQ_FIELD(XQ_OUTLIERS, header, outliers), XQ_FIELD(XQ_HALVES, header, half2),
    {"XQ_HEAD", sizeof(struct bl_xq_header) / 4, 0}, {"XQ_ROW_BLOCK_WORDS", sizeof(struct bl_xq_row_block) / 4, 0},
    {"XQ_SEGMENT_WORDS", sizeof(struct bl_xq_segment) / 4, 0}, {"XQ_INPUT_HEAD", sizeof(struct bl_xq_input) / 4, 0},
    XQ_FIELD(XQ_FIRST_ROW, row_block, first_row), XQ_FIELD(XQ_FIRST_SEGMENT, row_block, first_segment),
    XQ_FIELD(XQ_N_GROUPED, row_block, n_grouped), XQ_FIELD(XQ_DATA, row_block, data), XQ_FIELD(XQ_STRIDE, row_block, stride),
    ENUM(XQ_UNIT), ENUM(XQ_TILE), ENUM(XQ_GROUP_BASE), ENUM(XQ_NO_COLUMN),
    XQ_FIELD(XQ_INPUT_EXPONENT, input, exponent), XQ_FIELD(XQ_INPUT_BLOCKS, input, blocks),
};
enum { N = sizeof table / sizeof table[0] };

static int check(const char *name, size_t length, unsigned long value)
{
    for (int i = 0; i < N; i++) {
        if (strlen(table[i].name) != length || memcmp(table[i].name, name, length))
            continue;
        table[i].seen++;
        if (table[i].value == value)
            return 0;
        printf("FAIL %s is %lu, in the header %u\n", table[i].name, value, table[i].value);
        return 1;
    }
    printf("FAIL %.*s is not compared with a header\n", (int)length, name);
    return 1;
}

int main(int argc, char **argv)
{
    char line[1024];
    int failed = 0;
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!file) {
        fputs("usage: shader-params params.glsl\n", stderr);
        return 2;
    }
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "const uint ", 11))
            continue;
        for (char *at = line; (at = strchr(at, '=')); at++) { /* NAME = value */
            char *end = at;
            while (end > line && isspace((unsigned char)end[-1]))
                end--;
            char *name = end;
            while (name > line && (isalnum((unsigned char)name[-1]) || name[-1] == '_'))
                name--;
            failed += check(name, (size_t)(end - name), strtoul(at + 1, NULL, 10));
        }
    }
    fclose(file);
    for (int i = 0; i < N; i++)
        if (table[i].seen != 1) {
            printf("FAIL %s is there %d times\n", table[i].name, table[i].seen);
            failed++;
        }
    printf("%d constants, %d failed\n", N, failed);
    return failed != 0;
}
