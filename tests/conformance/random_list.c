/* random_list.c: see random_list.h. Knows nothing of how lanes and hazards are handled, on purpose. */
#include "random_list.h"

static bool overlaps(struct random_range a, struct random_range b)
{
    return a.n && b.n && a.buffer == b.buffer && a.first < b.first + b.n && b.first < a.first + a.n;
}

static bool conflicts(const struct random_node *a, const struct random_node *b)
{
    return overlaps(a->y, b->y) || overlaps(a->y, b->x) || overlaps(a->y, b->z) || overlaps(a->x, b->y) || overlaps(a->z, b->y);
}

static struct random_range random_range(struct conf *conf, uint32_t n)
{
    return (struct random_range){(uint32_t)(conf_random(conf) % RANDOM_BUFFERS), (uint32_t)(conf_random(conf) % (RANDOM_UNITS - n + 1)), n};
}

static struct random_node random_node(struct conf *conf, uint32_t n_lanes, bool kernels)
{
    uint64_t kind = conf_random(conf) % (kernels ? 5 : 2);
    struct random_node node = {.kind = kind == 0 ? RANDOM_FILL : kind == 1 ? RANDOM_COPY : RANDOM_BINARY,
                               .lane = (uint32_t)(conf_random(conf) % n_lanes)};
    uint32_t n = 1 + (uint32_t)(conf_random(conf) % 8);
    node.y = random_range(conf, n);
    if (node.kind == RANDOM_FILL) {
        node.operation = 0x3f800000u | (uint32_t)(conf_random(conf) & 0x7fff00u);
        return node;
    }
    do
        node.x = random_range(conf, n);
    while (overlaps(node.x, node.y));
    if (node.kind == RANDOM_BINARY) {
        node.operation = conf_random(conf) % 2 ? BL_BINARY_ADD : BL_BINARY_SUB;
        do
            node.z = random_range(conf, n);
        while (overlaps(node.z, node.y));
        if (conf_random(conf) % 3 == 0)
            node.y = node.x; /* in place */
        if (overlaps(node.z, node.y))
            node.z = node.y;
    }
    return node;
}

void random_list_make(struct conf *conf, struct random_list *out, uint32_t n_nodes, uint32_t n_lanes, uint32_t drop_percent, bool kernels,
                      uint32_t scale)
{
    static _Thread_local bool before[RANDOM_MAX_NODES][RANDOM_MAX_NODES]; /* [b][a]: a comes before b for certain */
    uint64_t alignment = bl_device_caps(conf->device)->buffer_alignment;
    memset(before, 0, sizeof before);
    out->n_nodes = n_nodes;
    out->unit = scale * (alignment > 4 ? (uint32_t)alignment / 4 : 1);
    out->is_ordered = true;
    for (uint32_t b = 0; b < n_nodes; b++) {
        struct random_node *node = &out->nodes[b];
        *node = random_node(conf, n_lanes, kernels);
        for (uint32_t a = 0; a < b; a++) {
            if (out->nodes[a].lane != node->lane)
                continue;
            before[b][a] = true;
            for (uint32_t c = 0; c < a; c++)
                before[b][c] |= before[a][c];
        }
        for (uint32_t a = b; a-- > 0;) {
            bool needed = conflicts(&out->nodes[a], node) && !before[b][a];
            bool extra = conf_random(conf) % 40 == 0;
            if ((needed && conf_random(conf) % 100 >= drop_percent) || extra) {
                node->waits[node->n_waits++] = a;
                before[b][a] = true;
                for (uint32_t c = 0; c < a; c++)
                    before[b][c] |= before[a][c];
            }
        }
        for (uint32_t a = 0; a < b; a++)
            if (conflicts(&out->nodes[a], node) && !before[b][a])
                out->is_ordered = false;
    }
}

bl_status random_list_record(struct conf *conf, const struct random_list *random, bl_buffer *const *buffers, bl_list **out)
{
    bl_status status = bl_list_begin(conf->device, 0, out);
    uint64_t unit = random->unit;
    for (uint32_t n = 0; n < random->n_nodes && status == BL_OK; n++) {
        const struct random_node *node = &random->nodes[n];
        const bl_order order = {node->lane, node->n_waits ? node->waits : NULL, node->n_waits, NULL};
        bl_buffer *y = buffers[node->y.buffer];
        if (node->kind == RANDOM_FILL)
            status = bl_list_fill(*out, y, node->y.first * unit * 4, node->y.n * unit * 4, node->operation, &order, NULL);
        else if (node->kind == RANDOM_COPY)
            status = bl_list_copy(*out, y, node->y.first * unit * 4, buffers[node->x.buffer], node->x.first * unit * 4,
                                  node->y.n * unit * 4, &order, NULL);
        else
            status = conf_binary(conf, *out, node->operation, (struct conf_range){buffers[node->x.buffer], node->x.first * unit},
                                 (struct conf_range){buffers[node->z.buffer], node->z.first * unit},
                                 (struct conf_range){y, node->y.first * unit}, node->y.n * random->unit, &order, NULL);
    }
    return status;
}

uint32_t random_list_floats(const struct random_list *random)
{
    return RANDOM_UNITS * random->unit;
}

void random_list_model(const struct random_list *random, float *const *buffers)
{
    for (uint32_t n = 0; n < random->n_nodes; n++) {
        const struct random_node *node = &random->nodes[n];
        float *y = buffers[node->y.buffer] + node->y.first * random->unit, fill;
        const float *x = buffers[node->x.buffer] + node->x.first * random->unit;
        const float *z = buffers[node->z.buffer] + node->z.first * random->unit;
        memcpy(&fill, &node->operation, 4);
        for (uint32_t i = 0; i < node->y.n * random->unit; i++)
            y[i] = node->kind == RANDOM_FILL ? fill
                   : node->kind == RANDOM_COPY ? x[i]
                   : node->operation == BL_BINARY_ADD ? x[i] + z[i]
                                                      : x[i] - z[i];
    }
}
