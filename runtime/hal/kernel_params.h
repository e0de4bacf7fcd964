/* kernel_params.h: what every kernel is told. One struct of 32-bit fields per op, so C, CUDA and GLSL push constants share one layout;
 * at most 128 bytes. Beside each struct: the formula, the bindings in order, the grid size in elements (the core divides by the tile).
 *
 * Words used below
 *   M      rows of the step; the list was recorded for a bucket, the true count is in the step buffer and rows beyond it are skipped
 *   rows   every op says which count it follows: BL_ROWS_OF_STEP (n_rows) or BL_ROWS_OF_OUTPUT (n_out, the rows whose logits are asked)
 *   x[M, k] row-major f32, rows contiguous (stride = columns) unless a stride is given; q8 rows are ceil(k / 32) struct bl_q8_block
 *   W[n, k] n rows of k weights in the format's blocks, rows contiguous
 * A binding marked "or none" has a NULL buffer and the matching flag clear.
 *
 * Numbers: one definition for every device, so that the answer does not depend on it. No fused multiply-add anywhere (compile with
 * contraction off), float sums in the order written here, integer sums exact.
 *   dot of q8 activations and quantized weights, per 32 columns in ascending order, one f32 accumulator acc = 0 per output:
 *       isum = exact integer sum over the 32 columns of (integer weight incl. its integer sub-scale) * q     (int32)
 *       msum = exact integer sum of (integer sub-min) * q, only formats with a min                             (int32)
 *       t = d * (float)isum;   t = t - dmin * (float)msum    [Q2_K Q4_K Q5_K]   or   t = t + m * (float)msum   [Q4_1 Q5_1]
 *       acc = acc + da * t          d, dmin, m: the block's f16 scales as f32; da: the activation block's scale
 *     first with the coarse plane of the activations and da = its d; then, where the block is dominant, once more with the fine plane and
 *     da = d * BL_Q8_FINE.
 *     integer weight: Q4_0 q-8, Q5_0 q-16, Q8_0 q, Q4_1/Q5_1 q (min m, msum = sum of q8), Q2_K sc*q (msum = sum m*q8), Q3_K (sc-32)*(q-4),
 *     Q4_K/Q5_K sc*q (msum = m * sum q8), Q6_K sc*(q-32).
 *   dot of f32 activations: the weight row is dequantised to f32 (w), then 8 accumulators s[j] = 0, j = column mod 8,
 *       s[j] = s[j] + x[c] * w[c], c ascending;  acc = ((s0+s4)+(s2+s6)) + ((s1+s5)+(s3+s7)).
 *   after the dot:  y = acc;  y = y + bias (if any);  y = y + residual (if any).
 *   Sums over a row elsewhere (norms, softmax denominators, q.k): the same 8 accumulators and the same final tree.
 *   exp, tanh, erf, sin and cos are the project's own polynomials (cpu_fallback/ref/math.h), not libm's; no kernel computes in double. */
#ifndef BL_HAL_KERNEL_PARAMS_H
#define BL_HAL_KERNEL_PARAMS_H
#include <stdint.h>

/* ---- the step buffer: everything that changes from step to step, as uint32 words, at fixed places ---- */
#define BL_STEP_MAX_ROWS 512u
#define BL_KV_PAGE 32u /* positions per KV page */

enum {
    BL_STEP_N_ROWS = 0,   /* rows in this step */
    BL_STEP_N_OUT = 1,    /* rows whose logits are wanted */
    BL_STEP_PAGE_STRIDE = 2, /* words per sequence in the page table */
    BL_STEP_MAX_POSITION = 3, /* largest position in this step */
    BL_STEP_TOKEN = 16,                               /* [512] token id of each row */
    BL_STEP_POS = BL_STEP_TOKEN + (int)BL_STEP_MAX_ROWS,   /* [512] position of each row in its sequence */
    BL_STEP_SEQ = BL_STEP_POS + (int)BL_STEP_MAX_ROWS,     /* [512] index of each row's sequence in the page table */
    BL_STEP_OUT = BL_STEP_SEQ + (int)BL_STEP_MAX_ROWS,     /* [512] for output row i: which row of the step it is */
    BL_STEP_PAGES = BL_STEP_OUT + (int)BL_STEP_MAX_ROWS    /* [sequences][page stride]: page number of each 32 positions */
};

enum { BL_ROWS_OF_STEP = 0, BL_ROWS_OF_OUTPUT = 1 };

/* Activations in 8 bits: 32 columns in two planes. d = max|x| / 127 (0 when all are 0). Coarse: q = round-half-to-even(x / d) in -127..127,
 * computed as x * (1 / d) with the reciprocal in f32. Fine: what is left, r = x - d * q, in steps of d / 254: q = round(r * (254 * (1 / d))).
 * sum[h] = q[16h] + ... + q[16h+15]. A non-finite x makes d NaN, all q and sum 0, and so the answer NaN. max|x| below BL_Q8_MIN counts as
 * all zeros: the reciprocal would overflow.
 *
 * Few blocks of a row hold most of the rounding error: those with the largest d. Only in these, the dominant ones, does a dot read the fine
 * plane: d > BL_Q8_DOMINANT * (the mean d of the row, summed in ascending order, one accumulator). Measured on SmolLM2-135M: mean KL
 * to float32 2.7e-3 with the coarse plane alone, 1.9e-4 at 0.75 times the mean, 5.3e-5 at 0.5. A row's planes depend on that row alone.
 * The columns of X-bit matrices are scaled, and sorted by what they hold: there 86 of 100 blocks lie above 0.5 times the mean, and the first few
 * hold the error. KL to f32 activations of such a file (5 bits per weight, 0.0215 to the original): 4.4e-5 at 0.5, 2.6e-4 at 1 (29 of 100
 * blocks), 4.2e-4 at 1.5 (11 of 100), 2.8e-3 with the coarse plane alone. */
#define BL_Q8_COLUMNS 32u
#define BL_Q8_MIN 0x1p-120f
#define BL_Q8_FINE (1.0f / 254.0f)
#define BL_Q8_DOMINANT 0.5f
#define BL_XQ_DOMINANT 1.5f /* of weights in format bx */
struct bl_q8_plane {
    int16_t sum[2];
    int8_t q[32];
};
struct bl_q8_block {
    float d;
    struct bl_q8_plane coarse, fine;
};

/* embed: y[M, k] = dequantise(W[ids[row] - first, :]).   bindings: step, W[count, k], y.   grid: {k, M}
 * ids are the step's tokens (source 0) or positions (source 1). A matrix too large for one binding is fetched in pieces: this launch holds
 * the rows first .. first + count and leaves rows of other ids alone; an id >= n_ids gives zeros in the piece with first 0. */
struct bl_params_embed {
    uint32_t columns, n_ids, source, first, count;
};

/* matvec, matmul: for each segment s: y_s[M, n_s] = x[M, k] * W_s[n_s, k]^T (+ bias_s[n_s]) (+ residual_s[M, n_s]).
 * bindings: step, x, then for each segment: W_s, bias_s or none, residual_s or none, y_s.
 * grid: {sum over s of n_s rounded up to a multiple of BL_LINEAR_ALIGN, M}; so a tile never straddles two segments.
 * y_s may be the same range as residual_s. A grouped launch (n_segments > 1) is Q, K, V or gate, up: one input, several matrices; or one
 * matrix too large for a binding, in pieces of its rows. Rows of y_s and residual_s are `stride` apart, stride >= n_s.
 *
 * glu: 0, or BL_LINEAR_GLU + an enum bl_unary without parameter (+ BL_LINEAR_GLU_Q8). Then the segments are two, gate and up, of equal n and
 * without flags, and the launch writes y[M, n] = f(gate) * up, to the bit what linear, linear and the op glu give; f32, or with
 * BL_LINEAR_GLU_Q8 as q8 (n and stride are multiples of 32, rows are stride / 32 blocks apart).
 * bindings: step, x, W_gate, none, none, y, W_up, none, none, none.   grid: {n rounded up to a multiple of BL_LINEAR_ALIGN, M}. The key is
 * that of the same launch without glu: its activation format is x's, its weight format mix where gate's and up's differ. Only segment 0
 * has a y and a stride. */
#define BL_LINEAR_ALIGN 32u
#define BL_LINEAR_SEGMENTS 4u
enum { BL_LINEAR_BIAS = 1, BL_LINEAR_RESIDUAL = 2 };
enum { BL_LINEAR_GLU_KIND = 0xff, BL_LINEAR_GLU = 0x100, BL_LINEAR_GLU_Q8 = 0x200 }; /* in glu; the low byte is the kind */
struct bl_params_linear {
    uint32_t k, n_segments, rows, glu;
    struct {
        uint32_t n, format, flags, stride; /* outputs; enum bl_format; BL_LINEAR_*; floats from row to row of y and residual */
    } segment[BL_LINEAR_SEGMENTS];
    uint32_t first_row[BL_LINEAR_SEGMENTS]; /* bx: of the matrix; else 0 */
};

/* X-bit matrices (weight format bx, hal/xq.h): W_s is the whole blob, first_row[s] the row of the matrix that is output 0 (a multiple of 32),
 * x the columns that stage gives, k = 32 * blocks. Per output row i:
 *   q8:  acc = 0; per block of 32 stored columns, in ascending order: isum = exact sum of L * q over the coarse plane;
 *        acc = acc + (d * unit) * (float)(m * isum);  where the block is dominant (by BL_XQ_DOMINANT), once more with the fine plane and
 *        d * BL_Q8_FINE for d.
 *   f32: w = unit * (float)(m * L); 8 accumulators and the tree as above, over the stored columns.
 *   acc = r_i * acc;  then the row's outliers in ascending order: acc = acc + v * x[c], x[c] of q8 as d * q + (d * BL_Q8_FINE) * fine;
 *   then bias and residual.     m of a segment without group scales is 1.
 * embed of bx: bindings: step, W, input tables, y.   grid: {32 * blocks, M}.   y[perm[c]] = (r_i * (unit * (float)(m * L)) + v) * g_c, v: the
 * weight's correction, 0 where it has none. */

/* stage: the input of X-bit matrices: y[M, 32 * blocks], y[c] = x[perm[c]] * g_c, 0 where perm[c] is none; as f32 or q8.
 * bindings: step, x[M, columns], input tables (struct bl_xq_input, perm, scales), y.   grid: {blocks, M} */
struct bl_params_stage {
    uint32_t columns, blocks, rows;
};

/* quantize: y[M, k] as q8.   bindings: step, x, y.   grid: {k / 32, M} (a tail shorter than 32 columns is padded with zeros) */
struct bl_params_quantize {
    uint32_t columns, rows;
};

/* rms_norm:   y = x / sqrt(mean(x^2) + eps) * w          layer_norm:  y = (x - mean(x)) / sqrt(var(x) + eps) * w + b
 * over each group of `columns` elements; a row holds `groups` of them (heads) and w[columns] is shared by the groups.
 * As computed: s = 1 / sqrt(sum / columns + eps) in f32; y = (x * s) * w; layer_norm: x - mean first, var = sum((x-mean)^2) / columns.
 * bindings: step, x, w or none, b or none, y.   grid: {groups, M}.   q8 output: columns is a multiple of 32. */
enum { BL_NORM_WEIGHT = 1, BL_NORM_BIAS = 2 };
struct bl_params_norm {
    uint32_t columns, groups, rows, flags;
    float eps;
};

/* rope_table: cos and sin of each row's position.   bindings: step, turns[n_rot / 2], y[M, n_rot] = {cos, sin} pairs.   grid: {n_rot / 2, M}
 * turns[j]: how far pair j turns per position, as the fraction of a whole turn in units of 2^-64: two words, low first. What makes it (base,
 * interpolation, YaRN, factors) is the graph's affair (graph/rope_turns.h). In integers: u = (turns[j] * position mod 2^64) >> 32, the phase;
 * quarter = (u + 2^29) >> 30 mod 4; a = (float)(int32)(u - (quarter << 30)) * BL_ROPE_PHASE, so |a| <= pi / 4. s, c = sin(a), cos(a);
 * {cos, sin} of the phase by quarter: 0 {c, s}, 1 {-s, c}, 2 {-c, -s}, 3 {s, -c}, each times attn_factor. */
#define BL_ROPE_PHASE 1.462918079267159e-9f /* 2 pi / 2^32 */
struct bl_params_rope_table {
    uint32_t n_rot;
    float attn_factor;
};

/* rope: rotates the first n_rot of each head's d_head columns, copies the rest.  y may be x.
 * pair j: layout NORM: columns 2j, 2j+1; layout NEOX: columns j, j + n_rot/2.  (a, b) -> (a*cos - b*sin, a*sin + b*cos), unfused.
 * bindings: step, x[M, heads * d_head], table[M, n_rot], y.   grid: {heads, M} */
enum { BL_ROPE_NORM = 0, BL_ROPE_NEOX = 1 };
struct bl_params_rope {
    uint32_t heads, d_head, n_rot, layout;
};

/* kv_store: writes each row's heads into the pages of its sequence: pages[page][head][position mod 32][d_head], in the KV format.
 * page = table[seq][position / 32].   bindings: step, x[M, heads * d_head], pages.   grid: {heads, M} */
struct bl_params_kv_store {
    uint32_t heads, d_head, n_pages;
};

/* rope_store: what comes between the linears and attention, to the bit what rope of q, rope of k, kv_store of k and kv_store of v give.
 * q and k have heads of d_k columns and one table, v heads of d_v.  q_out may be q.
 * bindings: step, q[M, n_head * d_k], k[M, n_head_kv * d_k], v[M, n_head_kv * d_v], table[M, n_rot], q_out[M, n_head * d_k], k pages,
 * v pages.   grid: {n_head + 2 * n_head_kv, M}: the heads of q, then of k, then of v */
struct bl_params_rope_store {
    uint32_t n_head, n_head_kv, d_k, d_v;
    uint32_t n_rot, layout, n_pages;
};

/* attention: for each row r and head h (kv head g = h / (n_head / n_head_kv)), over positions j of the row's sequence with
 * first <= j <= p, p = position of r, first = window ? max(0, p - window + 1) : 0:
 *     s_j = (q . k_j) * scale;  softcap c > 0: s_j = c * tanh(s_j / c);   y = sum_j softmax(s)_j * v_j
 * In splits of BL_ATTENTION_SPLIT positions (j / BL_ATTENTION_SPLIT), each an online softmax over its pages in ascending order (one block = the positions of one page that are in range): m_new = max(m, max s);
 * f = exp(m - m_new); l = l * f + sum exp(s_j - m_new) (8 accumulators by j mod 32 mod 8, same tree); acc = acc * f, then for j ascending
 * acc = acc + exp(s_j - m_new) * v_j. The splits that hold positions in range are merged in ascending order, beginning with the first one's
 * m, l, acc: m_new = max(m, m_split); f = exp(m - m_new), g = exp(m_split - m_new); l = l * f + l_split * g; acc = acc * f + acc_split * g.
 * y = acc * (1 / l). So splits may be computed side by side.
 * bindings: step, q[M, n_head * d_k], k pages, v pages, y[M, n_head * d_v].   grid: {n_head, M}.   q8 output: d_v is a multiple of 32.
 * The rows' own keys and values are already in the pages. */
#define BL_ATTENTION_SPLIT 256u
struct bl_params_attention {
    uint32_t n_head, n_head_kv, d_k, d_v;
    uint32_t window, n_pages;
    float scale, softcap;
};

/* unary: y = f(x), over M rows of `columns`.   bindings: step, x, y (may be x).   grid: {columns, M} */
enum bl_unary {
    BL_UNARY_SILU = 0,   /* x / (1 + exp(-x)) */
    BL_UNARY_GELU,       /* 0.5 x (1 + erf(x / sqrt 2)) */
    BL_UNARY_GELU_TANH,  /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    BL_UNARY_GELU_QUICK, /* x / (1 + exp(-1.702 x)) */
    BL_UNARY_RELU,
    BL_UNARY_RELU2,      /* max(x, 0)^2 */
    BL_UNARY_SIGMOID,
    BL_UNARY_TANH,
    BL_UNARY_SCALE,      /* a x */
    BL_UNARY_SOFTCAP,    /* a tanh(x / a) */
    BL_UNARY_COUNT
};
struct bl_params_unary {
    uint32_t columns, rows, kind;
    float a;
};

/* binary: y = x + z, x * z or x - z.   z is [M, columns], or [columns] (a weight vector) with broadcast = 1.
 * bindings: step, x, z, y (may be x or z).   grid: {columns, M} */
enum { BL_BINARY_ADD = 0, BL_BINARY_MUL = 1, BL_BINARY_SUB = 2 };
struct bl_params_binary {
    uint32_t columns, rows, kind, broadcast;
};

/* glu: y = f(gate) * up, f a unary kind without parameter.   bindings: step, gate, up, y.   grid: {columns, M}; q8: columns multiple of 32 */
struct bl_params_glu {
    uint32_t columns, rows, kind;
};

/* select: y[i, :] = x[out[i], :] for the n_out output rows.   bindings: step, x[M, columns], y.   grid: {columns, n_out} */
struct bl_params_select {
    uint32_t columns;
};

#ifdef __cplusplus
static_assert(sizeof(struct bl_q8_block) == 76, "q8 block has no padding");
static_assert(sizeof(struct bl_params_linear) <= 128, "push constants");
#else
_Static_assert(sizeof(struct bl_q8_block) == 76, "q8 block has no padding");
_Static_assert(sizeof(struct bl_params_linear) <= 128, "push constants");
#endif
#endif
