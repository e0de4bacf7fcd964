/* network_ops.c: the ops of a graph, forward and backward, one row of a table each. Sums are in the order of the code, pieces of fixed size. */
#include "compress/network_parts.h"
#include "compress/parallel.h"
#include "cpu_fallback/ref/math.h"

#include <math.h>
#include <string.h>

enum { ROWS = 64 /* that one turn computes, where rows are independent */, LINEAR_ROWS = 256 };

/* ---- loops ---- */

struct by_rows {
    struct xq_network *network;
    const struct bl_node *node;
    void (*fn)(struct xq_network *network, const struct bl_node *node, uint32_t first, uint32_t end);
};

static void rows_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct by_rows *b = user;
    const uint32_t end = (i + 1) * ROWS;
    b->fn(b->network, b->node, i * ROWS, end < b->network->rows ? end : b->network->rows);
}

static void by_rows(struct xq_network *n, const struct bl_node *node, void (*fn)(struct xq_network *, const struct bl_node *, uint32_t, uint32_t))
{
    struct by_rows b = {n, node, fn};
    xq_parallel(n->threads, (n->rows + ROWS - 1) / ROWS, rows_turn, &b);
}

static float *row_of(struct xq_network *n, uint32_t value, uint32_t row)
{
    return n->value[value] + (size_t)row * xq_columns(n, value);
}

static float *gradient_of(struct xq_network *n, uint32_t value, uint32_t row)
{
    return n->gradient[value] + (size_t)row * xq_columns(n, value);
}

XQ_WIDE static void add_to(float *y, const float *x, size_t n)
{
    for (size_t c = 0; c < n; c++)
        y[c] += x[c];
}

XQ_WIDE static void multiply(float *y, const float *x, size_t n)
{
    for (size_t c = 0; c < n; c++)
        y[c] *= x[c];
}

XQ_WIDE static void add_product(float *y, const float *a, const float *b, size_t n)
{
    for (size_t c = 0; c < n; c++)
        y[c] += a[c] * b[c];
}

/* ---- embed, select ---- */

static void embed_rows(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    for (uint32_t r = first; r < end; r++)
        xq_weights_row(n->weights, &node->weight, node->params.embed.source ? r : (uint32_t)n->tokens[r], row_of(n, node->out, r));
}

static void embed(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, embed_rows);
}

static void select_forward(struct xq_network *n, const struct bl_node *node)
{
    memcpy(n->value[node->out], n->value[node->in[0]], (size_t)n->rows * xq_columns(n, node->out) * sizeof(float));
}

static void select_backward(struct xq_network *n, const struct bl_node *node)
{
    add_to(n->gradient[node->in[0]], n->gradient[node->out], (size_t)n->rows * xq_columns(n, node->out));
}

/* ---- linear ---- */

uint32_t xq_matrix_chunk(uint32_t columns)
{
    const uint32_t rows = XQ_MATRIX_ROOM / columns / XQ_MATRIX_PIECE * XQ_MATRIX_PIECE;
    return rows ? rows : XQ_MATRIX_PIECE;
}

struct linear {
    struct xq_network *network;
    const struct bl_node *node;
    const float *w;         /* rows first .. first + n of the matrix */
    uint32_t first, n, pieces; /* pieces: of columns of the result */
};

static uint32_t pieces_of(uint32_t n, uint32_t piece)
{
    return (n + piece - 1) / piece;
}

static int most(uint32_t n, uint32_t first, uint32_t piece)
{
    return (int)(n - first < piece ? n - first : piece);
}

/* y[rows, n] of rows r0 .. and outputs o0 ..: x W^T + bias. */
static void forward_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct linear *l = user;
    struct xq_network *net = l->network;
    const uint32_t r0 = i / l->pieces * LINEAR_ROWS, o0 = i % l->pieces * XQ_MATRIX_PIECE;
    const int m = most(l->n, o0, XQ_MATRIX_PIECE), n = most(net->rows, r0, LINEAR_ROWS);
    const int k = (int)l->node->weight.columns, stride = (int)xq_columns(net, l->node->out);
    float *y = row_of(net, l->node->out, r0) + l->first + o0;
    const float *gain = xq_gain(net, l->node), *bias = l->node->bias.tensor == BL_NO_ID ? NULL : xq_weights_vector(net->weights, &l->node->bias) + l->first + o0;
    const float one = 1, beta = bias && !gain ? 1 : 0;
    for (int r = 0; beta > 0 && r < n; r++)
        memcpy(y + (size_t)r * (size_t)stride, bias, (size_t)m * sizeof *y);
    net->blas->sgemm("T", "N", &m, &n, &k, &one, l->w + (size_t)o0 * (size_t)k, &k, row_of(net, l->node->in[0], r0), &k, &beta, y, &stride, 1, 1);
    for (int r = 0; gain && r < n; r++)
        for (int o = 0; o < m; o++)
            y[(size_t)r * (size_t)stride + (size_t)o] = y[(size_t)r * (size_t)stride + (size_t)o] * gain[l->first + o0 + (uint32_t)o] + (bias ? bias[o] : 0);
}

/* dx[rows, k] of rows r0 .. and columns c0 ..: += g W. */
static void backward_turn(void *user, uint32_t i, uint32_t worker)
{
    (void)worker;
    const struct linear *l = user;
    struct xq_network *net = l->network;
    const uint32_t r0 = i / l->pieces * LINEAR_ROWS, c0 = i % l->pieces * XQ_MATRIX_PIECE;
    const int m = most(l->node->weight.columns, c0, XQ_MATRIX_PIECE), n = most(net->rows, r0, LINEAR_ROWS), k = (int)l->n;
    const int columns = (int)l->node->weight.columns, stride = (int)xq_columns(net, l->node->out);
    const float one = 1;
    net->blas->sgemm("N", "N", &m, &n, &k, &one, l->w + c0, &columns, gradient_of(net, l->node->out, r0) + l->first, &stride, &one,
                     gradient_of(net, l->node->in[0], r0) + c0, &columns, 1, 1);
}

static void linear(struct xq_network *n, const struct bl_node *node, xq_turn_fn *turn, bool is_forward)
{
    const uint32_t chunk = xq_matrix_chunk(node->weight.columns);
    for (uint32_t first = 0; first < node->weight.rows; first += chunk) {
        const uint32_t rows = (uint32_t)most(node->weight.rows, first, chunk);
        struct linear l = {n, node, xq_weights_rows(n->weights, &node->weight, first, rows, n->threads, n->weight_room), first, rows,
                           pieces_of(is_forward ? rows : node->weight.columns, XQ_MATRIX_PIECE)};
        xq_parallel(n->threads, pieces_of(n->rows, LINEAR_ROWS) * l.pieces, turn, &l);
    }
}

static void linear_forward(struct xq_network *n, const struct bl_node *node)
{
    linear(n, node, forward_turn, true);
}

/* Nobody reads the gradient of the output any more. */
static void gain_rows_backward(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const float *gain = xq_gain(n, node);
    for (uint32_t r = first; r < end; r++)
        multiply(gradient_of(n, node->out, r), gain, node->weight.rows);
}

static void linear_backward(struct xq_network *n, const struct bl_node *node)
{
    if (xq_gain(n, node))
        by_rows(n, node, gain_rows_backward);
    linear(n, node, backward_turn, false);
}

/* ---- norms: y = (x - mean) s w + b; rms_norm has no mean ---- */

XQ_WIDE static float sum_of(const float *x, uint32_t n)
{
    float s[8] = {0};
    uint32_t c = 0;
    for (; c + 8 <= n; c += 8)
        for (uint32_t j = 0; j < 8; j++)
            s[j] += x[c + j];
    for (; c < n; c++)
        s[c % 8] += x[c];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

XQ_WIDE static float dot(const float *x, const float *z, uint32_t n)
{
    float s[8] = {0};
    uint32_t c = 0;
    for (; c + 8 <= n; c += 8)
        for (uint32_t j = 0; j < 8; j++)
            s[j] += x[c + j] * z[c + j];
    for (; c < n; c++)
        s[c % 8] += x[c] * z[c];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* d = x - mean. Returns s. */
static float centre(const struct bl_node *node, const float *x, float *d)
{
    const struct bl_params_norm *p = &node->params.norm;
    const float mean = node->op == BL_NODE_LAYER_NORM ? sum_of(x, p->columns) / (float)p->columns : 0;
    for (uint32_t c = 0; c < p->columns; c++)
        d[c] = x[c] - mean;
    return 1 / sqrtf(dot(d, d, p->columns) / (float)p->columns + p->eps);
}

static void norm_rows(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const struct bl_params_norm *p = &node->params.norm;
    const float *w = p->flags & BL_NORM_WEIGHT ? xq_weights_vector(n->weights, &node->weight) : NULL;
    const float *b = p->flags & BL_NORM_BIAS ? xq_weights_vector(n->weights, &node->bias) : NULL, *gain = xq_gain(n, node);
    for (uint32_t i = first * p->groups; i < end * p->groups; i++) {
        const float *x = n->value[node->in[0]] + (size_t)i * p->columns;
        float *y = n->value[node->out] + (size_t)i * p->columns;
        const float s = centre(node, x, y);
        for (uint32_t c = 0; c < p->columns; c++)
            y[c] = y[c] * s * (w ? w[c] : 1) * (gain ? gain[c] : 1) + (b ? b[c] : 0);
    }
}

static void norm(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, norm_rows);
}

/* With u = w g, h = (x - mean) s: dx = s (u - mean(u) - h mean(u h)); rms_norm without mean(u). u lies in the gradient of the output, which
 * nobody reads any more. */
static void norm_rows_backward(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const struct bl_params_norm *p = &node->params.norm;
    const float *w = p->flags & BL_NORM_WEIGHT ? xq_weights_vector(n->weights, &node->weight) : NULL, *gain = xq_gain(n, node);
    const float count = (float)p->columns;
    for (uint32_t i = first * p->groups; i < end * p->groups; i++) {
        const float *x = n->value[node->in[0]] + (size_t)i * p->columns;
        float *u = n->gradient[node->out] + (size_t)i * p->columns, *dx = n->gradient[node->in[0]] + (size_t)i * p->columns;
        if (w)
            multiply(u, w, p->columns);
        if (gain)
            multiply(u, gain, p->columns);
        const bool centred = node->op == BL_NODE_LAYER_NORM;
        const float mean = centred ? sum_of(x, p->columns) / count : 0, mean_u = centred ? sum_of(u, p->columns) / count : 0;
        float squares = 0, product = 0;
        if (centred) { /* few models: plain sums */
            for (uint32_t c = 0; c < p->columns; c++) {
                squares += (x[c] - mean) * (x[c] - mean);
                product += u[c] * (x[c] - mean);
            }
        } else {
            squares = dot(x, x, p->columns);
            product = dot(u, x, p->columns);
        }
        const float s = 1 / sqrtf(squares / count + p->eps), along = s * s * (product / count);
        for (uint32_t c = 0; c < p->columns; c++)
            dx[c] += s * (u[c] - mean_u - (x[c] - mean) * along);
    }
}

static void norm_backward(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, norm_rows_backward);
}

/* ---- gains ---- */

/* y = gain h + b, so that the derivative by the logarithm of the gain is the gradient times y - b. */
void xq_network_gain_gradient(const struct xq_network *n, uint32_t node, const float *gradient, float *sum)
{
    const struct bl_node *at = &n->graph->nodes[node];
    const uint32_t all = xq_columns(n, at->out), columns = at->op == BL_NODE_LINEAR ? all : at->params.norm.columns;
    const float *b = at->bias.tensor == BL_NO_ID ? NULL : xq_weights_vector(n->weights, &at->bias);
    sum += at->weight.first_row;
    for (uint32_t r = 0; r < n->rows * (all / columns); r++) {
        const float *g = gradient + (size_t)r * columns;
        add_product(sum, g, n->value[at->out] + (size_t)r * columns, columns);
        for (uint32_t c = 0; b && c < columns; c++)
            sum[c] -= g[c] * b[c];
    }
}

/* ---- rope ---- */

static void rope_table(struct xq_network *n, const struct bl_node *node)
{
    const struct bl_params_rope_table *p = &node->params.rope_table;
    const uint32_t *turns = n->graph->constants + node->constant;
    for (uint32_t r = 0; r < n->rows; r++) {
        float *y = row_of(n, node->out, r);
        for (uint32_t j = 0; j < p->n_rot / 2; j++) {
            const uint64_t phase = ((uint64_t)turns[2 * j + 1] << 32 | turns[2 * j]) * r; /* of a turn, in units of 2^-64 */
            const double angle = (double)(int64_t)phase * 0x1p-64 * 6.283185307179586;
            y[2 * j] = (float)cos(angle) * p->attn_factor;
            y[2 * j + 1] = (float)sin(angle) * p->attn_factor;
        }
    }
}

/* sign -1 turns back: the transpose. y += or = by `add`. */
static void rotate(const struct bl_params_rope *p, const float *x, const float *table, float sign, bool add, float *y)
{
    for (uint32_t j = 0; j < p->n_rot / 2; j++) {
        const uint32_t c0 = p->layout == BL_ROPE_NORM ? 2 * j : j, c1 = p->layout == BL_ROPE_NORM ? 2 * j + 1 : j + p->n_rot / 2;
        const float cosine = table[2 * j], sine = sign * table[2 * j + 1], a = x[c0], b = x[c1];
        y[c0] = (add ? y[c0] : 0) + (a * cosine - b * sine);
        y[c1] = (add ? y[c1] : 0) + (a * sine + b * cosine);
    }
    for (uint32_t c = p->n_rot; c < p->d_head; c++)
        y[c] = (add ? y[c] : 0) + x[c];
}

static void rope_rows(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const struct bl_params_rope *p = &node->params.rope;
    for (uint32_t r = first; r < end; r++)
        for (uint32_t h = 0; h < p->heads; h++)
            rotate(p, row_of(n, node->in[0], r) + h * p->d_head, row_of(n, node->in[1], r), 1, false, row_of(n, node->out, r) + h * p->d_head);
}

static void rope(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, rope_rows);
}

static void rope_rows_backward(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const struct bl_params_rope *p = &node->params.rope;
    for (uint32_t r = first; r < end; r++)
        for (uint32_t h = 0; h < p->heads; h++)
            rotate(p, gradient_of(n, node->out, r) + h * p->d_head, row_of(n, node->in[1], r), -1, true, gradient_of(n, node->in[0], r) + h * p->d_head);
}

static void rope_backward(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, rope_rows_backward);
}

/* ---- unary, binary ---- */

/* One loop per kind, so that each can be compiled to vectors. */
XQ_WIDE static void unary_values(uint32_t kind, float a, const float *x, float *y, size_t n)
{
#define CASE(k)                                     \
    case k:                                         \
        for (size_t c = 0; c < n; c++)              \
            y[c] = unary_value(k, a, x[c]);         \
        break;
    switch (kind) {
        CASE(BL_UNARY_SILU) CASE(BL_UNARY_GELU) CASE(BL_UNARY_GELU_TANH) CASE(BL_UNARY_GELU_QUICK) CASE(BL_UNARY_RELU) CASE(BL_UNARY_RELU2)
        CASE(BL_UNARY_SIGMOID) CASE(BL_UNARY_TANH) CASE(BL_UNARY_SCALE) CASE(BL_UNARY_SOFTCAP)
    }
#undef CASE
}

static inline float slope_of(uint32_t kind, float a, float x)
{
    float s, t;
    switch (kind) {
    case BL_UNARY_SILU:
        s = 1 / (1 + exp_f32(-x));
        return s + x * s * (1 - s);
    case BL_UNARY_GELU:
        return 0.5f * (1 + erf_f32(x * 0.707106781f)) + x * 0.398942280f * exp_f32(-0.5f * x * x);
    case BL_UNARY_GELU_TANH:
        t = tanh_f32(0.797884561f * (x + 0.044715f * ((x * x) * x)));
        return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.797884561f * (1 + 0.134145f * (x * x));
    case BL_UNARY_GELU_QUICK:
        s = 1 / (1 + exp_f32(-1.702f * x));
        return s + 1.702f * x * s * (1 - s);
    case BL_UNARY_RELU:
        return x > 0 ? 1.0f : 0.0f;
    case BL_UNARY_RELU2:
        return x > 0 ? 2 * x : 0.0f;
    case BL_UNARY_SIGMOID:
        s = 1 / (1 + exp_f32(-x));
        return s * (1 - s);
    case BL_UNARY_TANH:
        t = tanh_f32(x);
        return 1 - t * t;
    case BL_UNARY_SCALE:
        return a;
    default: /* BL_UNARY_SOFTCAP */
        t = tanh_f32(x / a);
        return 1 - t * t;
    }
}

XQ_WIDE static void unary_slopes(uint32_t kind, float a, const float *x, const float *g, float *dx, size_t n)
{
#define CASE(k)                                     \
    case k:                                         \
        for (size_t c = 0; c < n; c++)              \
            dx[c] += g[c] * slope_of(k, a, x[c]);   \
        break;
    switch (kind) {
        CASE(BL_UNARY_SILU) CASE(BL_UNARY_GELU) CASE(BL_UNARY_GELU_TANH) CASE(BL_UNARY_GELU_QUICK) CASE(BL_UNARY_RELU) CASE(BL_UNARY_RELU2)
        CASE(BL_UNARY_SIGMOID) CASE(BL_UNARY_TANH) CASE(BL_UNARY_SCALE) CASE(BL_UNARY_SOFTCAP)
    }
#undef CASE
}

static void unary_rows(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    unary_values(node->params.unary.kind, node->params.unary.a, row_of(n, node->in[0], first), row_of(n, node->out, first),
                 (size_t)(end - first) * xq_columns(n, node->out));
}

static void unary(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, unary_rows);
}

static void unary_rows_backward(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    unary_slopes(node->params.unary.kind, node->params.unary.a, row_of(n, node->in[0], first), gradient_of(n, node->out, first),
                 gradient_of(n, node->in[0], first), (size_t)(end - first) * xq_columns(n, node->out));
}

static void unary_backward(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, unary_rows_backward);
}

XQ_WIDE static void binary_values(uint32_t kind, const float *x, const float *z, float *y, size_t n)
{
    for (size_t c = 0; kind == BL_BINARY_ADD && c < n; c++)
        y[c] = x[c] + z[c];
    for (size_t c = 0; kind == BL_BINARY_MUL && c < n; c++)
        y[c] = x[c] * z[c];
    for (size_t c = 0; kind == BL_BINARY_SUB && c < n; c++)
        y[c] = x[c] - z[c];
}

/* The other operand of a row: a value or a vector of the file. */
static const float *operand(struct xq_network *n, const struct bl_node *node, uint32_t row)
{
    return node->params.binary.broadcast ? xq_weights_vector(n->weights, &node->weight) : row_of(n, node->in[1], row);
}

static void binary_rows(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    for (uint32_t r = first; r < end; r++)
        binary_values(node->params.binary.kind, row_of(n, node->in[0], r), operand(n, node, r), row_of(n, node->out, r), xq_columns(n, node->out));
}

static void binary(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, binary_rows);
}

XQ_WIDE static void subtract(float *y, const float *x, size_t n)
{
    for (size_t c = 0; c < n; c++)
        y[c] -= x[c];
}

static void binary_rows_backward(struct xq_network *n, const struct bl_node *node, uint32_t first, uint32_t end)
{
    const uint32_t columns = xq_columns(n, node->out), kind = node->params.binary.kind;
    for (uint32_t r = first; r < end; r++) {
        const float *g = gradient_of(n, node->out, r);
        float *dx = gradient_of(n, node->in[0], r);
        if (kind == BL_BINARY_MUL)
            add_product(dx, g, operand(n, node, r), columns);
        else
            add_to(dx, g, columns);
        if (node->params.binary.broadcast)
            continue;
        float *dz = gradient_of(n, node->in[1], r); /* may be dx */
        if (kind == BL_BINARY_MUL)
            add_product(dz, g, row_of(n, node->in[0], r), columns);
        else if (kind == BL_BINARY_ADD)
            add_to(dz, g, columns);
        else
            subtract(dz, g, columns);
    }
}

static void binary_backward(struct xq_network *n, const struct bl_node *node)
{
    by_rows(n, node, binary_rows_backward);
}

/* ---- the table ---- */

static void nothing(struct xq_network *n, const struct bl_node *node)
{
    (void)n;
    (void)node;
}

enum { FIRST = 1, SECOND = 2, THIRD = 4 };
static const struct xq_network_op ops[BL_NODE_OP_COUNT] = {
    [BL_NODE_EMBED] = {embed, nothing, 0, 0, false},
    [BL_NODE_LINEAR] = {linear_forward, linear_backward, FIRST, FIRST, true}, /* it is a hook that reads the input */
    [BL_NODE_RMS_NORM] = {norm, norm_backward, FIRST, FIRST, false},
    [BL_NODE_LAYER_NORM] = {norm, norm_backward, FIRST, FIRST, false},
    [BL_NODE_ROPE_TABLE] = {rope_table, nothing, 0, 0, false},
    [BL_NODE_ROPE] = {rope, rope_backward, SECOND, FIRST, false},
    [BL_NODE_KV_STORE] = {nothing, nothing, 0, 0, false}, /* attention reads what is stored where it was made */
    [BL_NODE_ATTENTION] = {xq_attention_forward, xq_attention_backward, FIRST | SECOND | THIRD, FIRST | SECOND | THIRD, true},
    [BL_NODE_UNARY] = {unary, unary_backward, FIRST, FIRST, false},
    [BL_NODE_BINARY] = {binary, binary_backward, FIRST | SECOND, FIRST | SECOND, false},
    [BL_NODE_SELECT] = {select_forward, select_backward, 0, FIRST, false},
};
/* A sum needs no value for its gradient; and keeping it saves what it is the sum of. */
static const struct xq_network_op sum = {binary, binary_backward, 0, FIRST | SECOND, true};

const struct xq_network_op *xq_network_op(const struct bl_node *node)
{
    if (node->op == BL_NODE_BINARY && node->params.binary.kind != BL_BINARY_MUL)
        return &sum;
    const bool as_parsed = node->op != BL_NODE_LINEAR || node->n_in < 2 || node->in[1] == BL_NO_ID;
    return node->op < BL_NODE_OP_COUNT && ops[node->op].forward && as_parsed ? &ops[node->op] : NULL;
}
