/* fuzz_xq.c: any X-bit matrix: a legal one of a shape that the first bytes choose, its codes and scales from the rest, then some bytes of it changed.
 * What the check accepts is read by every level's kernels: inside the blob (which is as long as it says, on the heap) and with the same bits. */
#include "base/error.h"
#include "cpu_fallback/ops.h"
#include "hal/kernel_params.h"
#include "model/xq.h"
#include "model/xq_pack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct source {
    const uint8_t *data;
    size_t left;
};

static uint32_t take(struct source *s, uint32_t below)
{
    if (!s->left)
        return 0;
    s->left--;
    return *s->data++ % below;
}

enum { ROWS = 96, BLOCKS = 8, ROW_BLOCKS = 3, OUTLIERS = 8, CHANGES = 8 };

/* NULL: no memory. */
static uint8_t *make_blob(struct source *s, uint64_t *bytes)
{
    static const uint8_t half2[2] = {5, 15}, half3[4] = {4, 13, 22, 31}, half4[8] = {6, 14, 22, 30, 38, 46, 54, 63},
                         half5[16] = {7, 15, 23, 31, 39, 47, 55, 63, 71, 79, 87, 95, 103, 111, 119, 127};
    struct bl_xq_segment segments[ROW_BLOCKS][BLOCKS];
    struct bl_xq_rows row_blocks[ROW_BLOCKS];
    struct bl_xq_outlier outliers[OUTLIERS];
    const uint32_t rows = 1 + take(s, ROWS), columns = 1 + take(s, 32 * BLOCKS - 1), blocks = (columns + 31) / 32;
    struct bl_xq_shape shape = {rows, columns, 0, (int16_t)(-(int)take(s, 20)), half2, half3, half4, half5, 1 + take(s, (rows + 31) / 32), row_blocks, 0};
    for (uint32_t i = 0; i < shape.n_row_blocks; i++) {
        uint32_t n = 0;
        for (uint32_t b = 0; b < blocks; n++) {
            const uint16_t run = (uint16_t)(1 + take(s, blocks - b));
            segments[i][n] = (struct bl_xq_segment){run, (uint8_t)(1 + take(s, 8)), (uint8_t)take(s, 2), 0.01f * (float)(1 + take(s, 200))};
            b += run;
        }
        row_blocks[i] = (struct bl_xq_rows){32 * i, n, segments[i]};
    }
    for (uint32_t want = take(s, OUTLIERS); shape.n_outliers < want && shape.n_outliers < rows; shape.n_outliers++)
        outliers[shape.n_outliers] = (struct bl_xq_outlier){shape.n_outliers, (uint16_t)take(s, columns), (uint16_t)((take(s, 256) << 8 | take(s, 256)) & 0xbfff)}; /* finite */
    *bytes = bl_xq_matrix_bytes(&shape);
    uint8_t *blob = malloc((size_t)*bytes);
    if (!blob)
        return NULL;
    bl_xq_matrix_begin(&shape, blob);
    for (uint32_t r = 0; r < rows; r++) {
        bl_xq_set_row_scale(blob, r, (uint8_t)take(s, 256));
        const struct bl_xq_rows *at = &row_blocks[r / 32 < shape.n_row_blocks ? r / 32 : shape.n_row_blocks - 1];
        for (uint32_t b = 0, segment = 0, end = at->segments[0].n_blocks; b < blocks; b++) {
            uint8_t codes[32];
            if (b == end)
                end += at->segments[++segment].n_blocks;
            const uint32_t first = take(s, 256);
            for (uint32_t c = 0; c < 32; c++)
                codes[c] = (uint8_t)((first + 7 * c) % (1u << at->segments[segment].depth));
            bl_xq_set_codes(blob, r, b, codes, first % 16);
        }
    }
    bl_xq_set_outliers(blob, outliers);
    bl_xq_matrix_end(blob, *bytes);
    return blob;
}

static void compare(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && (a[i] == a[i] || b[i] == b[i])) /* one NaN is as good as another */
            abort();
}

static void launch(struct bl_kernel_key key, uint32_t level, void *const *bindings, const void *push, uint32_t x, uint32_t y)
{
    struct bl_cpu_kernel kernel;
    if (!bl_cpu_kernel_find(key, 1u << level, &kernel))
        abort();
    struct bl_cpu_call call = {bindings, push, {(x + kernel.tile[0] - 1) / kernel.tile[0], (y + kernel.tile[1] - 1) / kernel.tile[1], 1}};
    const size_t scratch = kernel.scratch_bytes ? kernel.scratch_bytes(push) : 0;
    void *memory = aligned_alloc(64, (scratch + 63) / 64 * 64 + 64);
    if (!memory)
        abort();
    kernel.fn(&call, 0, call.grid[0] * call.grid[1], memory);
    free(memory);
}

/* Every row, and every row times one of activations; what level C gives is what the others must give. */
static void read_all(uint8_t *blob)
{
    const struct bl_xq_header *h = (const void *)blob;
    const uint32_t padded = 32 * h->blocks, rows = h->rows;
    uint32_t step[BL_STEP_PAGES] = {[BL_STEP_N_ROWS] = rows < BL_STEP_MAX_ROWS ? rows : BL_STEP_MAX_ROWS, [BL_STEP_N_OUT] = 1};
    for (uint32_t r = 0; r < step[BL_STEP_N_ROWS]; r++)
        step[(uint32_t)BL_STEP_TOKEN + r] = r;
    uint16_t perm[32 * BL_XQ_MAX_BLOCKS];
    uint8_t scale[32 * BL_XQ_MAX_BLOCKS];
    for (uint32_t c = 0; c < padded; c++) {
        perm[c] = c < h->columns ? (uint16_t)c : BL_XQ_NO_COLUMN;
        scale[c] = c < h->columns ? 200 : 0;
    }
    void *input = malloc((size_t)bl_xq_input_bytes(h->columns));
    struct bl_q8_block *x = calloc(h->blocks, sizeof *x);
    float *plain = calloc(padded, sizeof *plain), *dense[2], *y[2][2]; /* of level C, of another; y: f32, q8 */
    const size_t n_dense = (size_t)step[BL_STEP_N_ROWS] * padded;
    for (int i = 0; i < 2; i++) {
        dense[i] = calloc(n_dense + 16, sizeof **dense);
        for (int q8 = 0; q8 < 2; q8++)
            if (!(y[i][q8] = calloc(rows, sizeof ***y)))
                abort();
    }
    if (!input || !x || !plain || !dense[0] || !dense[1])
        abort();
    bl_xq_input_make(h->columns, -12, perm, scale, input);
    for (uint32_t c = 0; c < padded; c++) {
        x[c / 32].d = 0.01f * (float)(1 + c / 32 % 3 * 4);
        x[c / 32].coarse.q[c % 32] = x[c / 32].fine.q[c % 32] = (int8_t)(c * 37 % 255 - 127);
        plain[c] = 0.02f * (float)(c % 11) - 0.1f;
    }
    for (uint32_t b = 0; b < h->blocks; b++)
        for (uint32_t c = 0; c < 32; c++) {
            x[b].coarse.sum[c / 16] = (int16_t)(x[b].coarse.sum[c / 16] + x[b].coarse.q[c]);
            x[b].fine.sum[c / 16] = x[b].coarse.sum[c / 16];
        }
    const struct bl_params_embed embed = {.columns = padded, .n_ids = rows, .count = rows};
    const struct bl_params_linear linear = {.k = padded, .n_segments = 1, .rows = BL_ROWS_OF_OUTPUT, .segment = {{rows, BL_FMT_BX, 0, rows}}};
    for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++) {
        if (!(bl_cpu_levels_present() >> level & 1))
            continue;
        const int i = level > 0;
        launch((struct bl_kernel_key){BL_OP_EMBED, BL_FMT_BX, BL_FMT_F32, BL_ROWS_ANY, 0}, level, (void *[]){step, blob, input, dense[i]}, &embed, padded, step[BL_STEP_N_ROWS]);
        compare(dense[0], dense[i], n_dense);
        for (int q8 = 0; q8 < 2; q8++) {
            launch((struct bl_kernel_key){BL_OP_MATVEC, BL_FMT_BX, q8 ? BL_FMT_Q8 : BL_FMT_F32, BL_ROWS_1, 0}, level,
                   (void *[]){step, q8 ? (void *)x : (void *)plain, blob, NULL, NULL, y[i][q8]}, &linear, (rows + BL_LINEAR_ALIGN - 1) / BL_LINEAR_ALIGN * BL_LINEAR_ALIGN, 1);
            compare(y[0][q8], y[i][q8], rows);
        }
    }
    free(input);
    free(x);
    free(plain);
    for (int i = 0; i < 2; i++) {
        free(dense[i]);
        free(y[i][0]);
        free(y[i][1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct source s = {data, bytes};
    uint64_t n;
    uint8_t *blob = make_blob(&s, &n);
    if (!blob)
        return 0;
    if (bl_xq_check_matrix("fuzz", 0, "matrix", blob, n) != BL_OK)
        abort(); /* it was legal */
    for (uint32_t changes = take(&s, CHANGES); changes-- > 0 && s.left;) {
        const uint32_t at = take(&s, 2) ? take(&s, 256) : take(&s, 256) << 8 | take(&s, 256);
        blob[at % n] ^= (uint8_t)take(&s, 256);
    }
    bl_errors_clear();
    if (bl_xq_check_matrix("fuzz", 0, "matrix", blob, n) == BL_OK) {
        struct bl_xq_histogram histogram;
        bl_xq_histogram(blob, n, &histogram);
        read_all(blob);
    }
    free(blob);
    return 0;
}
