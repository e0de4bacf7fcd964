/* network_attention.c: attention of a window, forward and backward, head by head in blocks of rows, so that of the square of scores about half is
 * never computed. A head is one turn; what heads share (keys and values of a group) is summed afterwards, in their order. */
#include "compress/network_parts.h"
#include "compress/parallel.h"
#include "cpu_fallback/ref/math.h"

#include <string.h>

enum { BLOCK = 128 /* rows */ };

size_t xq_attention_scratch(uint32_t rows)
{
    return (size_t)3 * BLOCK * rows;
}

size_t xq_attention_partial(const struct bl_params_attention *p, uint32_t rows)
{
    return (size_t)p->n_head * rows * (p->d_k + p->d_v);
}

/* One block of one head. Matrices are row-major; strides are those of all heads. */
struct block {
    const struct bl_params_attention *p;
    const float *q, *k, *v;            /* first row of the block; first position that a row of it sees */
    int stride_q, stride_k, stride_v, stride_y;
    uint32_t row, n_rows, from, n;     /* n: positions */
    float *weights, *other, *slopes;   /* [n_rows][n]: softmax; scratch; of the softcap */
};

static uint32_t first_seen(const struct bl_params_attention *p, uint32_t row)
{
    return p->window && row + 1 > p->window ? row + 1 - p->window : 0;
}

static struct block block_at(const struct xq_network *n, const struct bl_node *node, uint32_t head, uint32_t row, float *scratch)
{
    const struct bl_params_attention *p = &node->params.attention;
    const uint32_t group = head / (p->n_head / p->n_head_kv), end = row + BLOCK < n->rows ? row + BLOCK : n->rows;
    const uint32_t from = first_seen(p, row);
    struct block b = {.p = p, .stride_q = (int)(p->n_head * p->d_k), .stride_k = (int)(p->n_head_kv * p->d_k), .stride_v = (int)(p->n_head_kv * p->d_v),
                      .stride_y = (int)(p->n_head * p->d_v), .row = row, .n_rows = end - row, .from = from, .n = end - from};
    b.q = n->value[node->in[0]] + (size_t)row * p->n_head * p->d_k + head * p->d_k;
    b.k = n->value[n->kv[node->layer][0]] + (size_t)from * p->n_head_kv * p->d_k + group * p->d_k;
    b.v = n->value[n->kv[node->layer][1]] + (size_t)from * p->n_head_kv * p->d_v + group * p->d_v;
    b.weights = scratch;
    b.other = scratch + (size_t)BLOCK * n->rows;
    b.slopes = b.other + (size_t)BLOCK * n->rows;
    return b;
}

XQ_WIDE static void cap(float *s, float *slope, uint32_t n, float c)
{
    for (uint32_t j = 0; j < n; j++) {
        const float t = tanh_f32(s[j] / c);
        s[j] = c * t;
        slope[j] = 1 - t * t;
    }
}

XQ_WIDE static void softmax(float *s, uint32_t n)
{
    float lanes[8], m = s[0], total = 0;
    uint32_t j = 0;
    for (uint32_t l = 0; l < 8; l++)
        lanes[l] = m;
    for (; j + 8 <= n; j += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] = s[j + l] > lanes[l] ? s[j + l] : lanes[l];
    for (; j < n; j++)
        m = s[j] > m ? s[j] : m;
    for (uint32_t l = 0; l < 8; l++)
        m = lanes[l] > m ? lanes[l] : m;
    for (j = 0; j < n; j++)
        s[j] = exp_f32(s[j] - m);
    memset(lanes, 0, sizeof lanes);
    for (j = 0; j + 8 <= n; j += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] += s[j + l];
    for (; j < n; j++)
        total += s[j];
    total += ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    const float inverse = 1 / total;
    for (j = 0; j < n; j++)
        s[j] *= inverse;
}

/* weights = softmax(q k^T scale), 0 where a row does not see. */
static void score(const struct xq_network *n, struct block *b)
{
    const int positions = (int)b->n, rows = (int)b->n_rows, d = (int)b->p->d_k;
    const float zero = 0;
    n->blas->sgemm("T", "N", &positions, &rows, &d, &b->p->scale, b->k, &b->stride_k, b->q, &b->stride_q, &zero, b->weights, &positions, 1, 1);
    for (uint32_t r = 0; r < b->n_rows; r++) {
        float *s = b->weights + (size_t)r * b->n;
        const uint32_t first = first_seen(b->p, b->row + r) - b->from, end = b->row + r + 1 - b->from;
        if (b->p->softcap > 0)
            cap(s + first, b->slopes + (size_t)r * b->n + first, end - first, b->p->softcap);
        softmax(s + first, end - first);
        memset(s, 0, first * sizeof *s);
        memset(s + end, 0, (b->n - end) * sizeof *s);
    }
}

struct pass {
    struct xq_network *network;
    const struct bl_node *node;
};

static void forward_turn(void *user, uint32_t head, uint32_t worker)
{
    const struct pass *pass = user;
    struct xq_network *n = pass->network;
    const float one = 1, zero = 0;
    for (uint32_t row = 0; row < n->rows; row += BLOCK) {
        struct block b = block_at(n, pass->node, head, row, n->scratch + worker * n->scratch_floats);
        const int d = (int)b.p->d_v, rows = (int)b.n_rows, positions = (int)b.n;
        score(n, &b);
        n->blas->sgemm("N", "N", &d, &rows, &positions, &one, b.v, &b.stride_v, b.weights, &positions, &zero,
                       n->value[pass->node->out] + (size_t)row * (size_t)b.stride_y + head * b.p->d_v, &b.stride_y, 1, 1);
    }
}

void xq_attention_forward(struct xq_network *n, const struct bl_node *node)
{
    struct pass pass = {n, node};
    xq_parallel(n->threads, node->params.attention.n_head, forward_turn, &pass);
}

/* slope of the loss by the scores: weights * (dp - sum(weights * dp)), times the softcap's; in place of dp. */
XQ_WIDE static void score_slopes(const float *weights, float *dp, const float *cap_slope, uint32_t n)
{
    float lanes[8] = {0}, total = 0;
    uint32_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (uint32_t l = 0; l < 8; l++)
            lanes[l] += weights[j + l] * dp[j + l];
    for (; j < n; j++)
        total += weights[j] * dp[j];
    total += ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    for (j = 0; j < n; j++)
        dp[j] = weights[j] * (dp[j] - total);
    for (j = 0; cap_slope && j < n; j++)
        dp[j] = weights[j] > 0 ? dp[j] * cap_slope[j] : 0; /* no slope was written where nothing is seen */
}

static void backward_turn(void *user, uint32_t head, uint32_t worker)
{
    const struct pass *pass = user;
    struct xq_network *n = pass->network;
    const struct bl_params_attention *p = &pass->node->params.attention;
    const float one = 1, zero = 0;
    float *dk = n->partial + (size_t)head * n->rows * (p->d_k + p->d_v), *dv = dk + (size_t)n->rows * p->d_k;
    const int d_k = (int)p->d_k, d_v = (int)p->d_v;
    memset(dk, 0, (size_t)n->rows * (p->d_k + p->d_v) * sizeof *dk);
    for (uint32_t row = 0; row < n->rows; row += BLOCK) {
        struct block b = block_at(n, pass->node, head, row, n->scratch + worker * n->scratch_floats);
        const int rows = (int)b.n_rows, positions = (int)b.n;
        const float *g = n->gradient[pass->node->out] + (size_t)row * (size_t)b.stride_y + head * p->d_v;
        float *dq = n->gradient[pass->node->in[0]] + (size_t)row * (size_t)b.stride_q + head * p->d_k;
        score(n, &b);
        n->blas->sgemm("T", "N", &positions, &rows, &d_v, &one, b.v, &b.stride_v, g, &b.stride_y, &zero, b.other, &positions, 1, 1);
        n->blas->sgemm("N", "T", &d_v, &positions, &rows, &one, g, &b.stride_y, b.weights, &positions, &one, dv + (size_t)b.from * p->d_v, &d_v, 1, 1);
        for (uint32_t r = 0; r < b.n_rows; r++)
            score_slopes(b.weights + (size_t)r * b.n, b.other + (size_t)r * b.n, p->softcap > 0 ? b.slopes + (size_t)r * b.n : NULL, b.n);
        n->blas->sgemm("N", "N", &d_k, &rows, &positions, &p->scale, b.k, &b.stride_k, b.other, &positions, &one, dq, &b.stride_q, 1, 1);
        n->blas->sgemm("N", "T", &d_k, &positions, &rows, &p->scale, b.q, &b.stride_q, b.other, &positions, &one, dk + (size_t)b.from * p->d_k, &d_k, 1, 1);
    }
}

static void add_heads(struct xq_network *n, const struct bl_node *node, uint32_t part)
{
    const struct bl_params_attention *p = &node->params.attention;
    const uint32_t d = part ? p->d_v : p->d_k, each = p->n_head / p->n_head_kv;
    float *to = n->gradient[n->kv[node->layer][part]];
    for (uint32_t head = 0; head < p->n_head; head++) {
        const float *from = n->partial + (size_t)head * n->rows * (p->d_k + p->d_v) + (part ? (size_t)n->rows * p->d_k : 0);
        for (uint32_t r = 0; r < n->rows; r++)
            for (uint32_t c = 0; c < d; c++)
                to[(size_t)r * p->n_head_kv * d + head / each * d + c] += from[(size_t)r * d + c];
    }
}

void xq_attention_backward(struct xq_network *n, const struct bl_node *node)
{
    struct pass pass = {n, node};
    xq_parallel(n->threads, node->params.attention.n_head, backward_turn, &pass);
    add_heads(n, node, 0);
    add_heads(n, node, 1);
}
