/* random_list.h: random lists with a host model: what they compute when run in recorded order, and whether their waits suffice, both found
 * the slow and obvious way. */
#ifndef BL_CONFORMANCE_RANDOM_LIST_H
#define BL_CONFORMANCE_RANDOM_LIST_H
#include "conformance.h"

enum { RANDOM_BUFFERS = 3, RANDOM_UNITS = 48, RANDOM_MAX_NODES = 160 };

struct random_range {
    uint32_t buffer, first, n; /* in units */
};

enum random_kind { RANDOM_FILL = 0, RANDOM_COPY, RANDOM_BINARY };
struct random_node {
    enum random_kind kind;
    struct random_range x, z, y; /* reads x (copy, binary) and z (binary), writes y */
    uint32_t operation;          /* BL_BINARY_ADD or _SUB; the pattern of a fill */
    uint32_t lane, n_waits, waits[RANDOM_MAX_NODES];
};

struct random_list {
    uint32_t n_nodes, unit; /* unit: floats */
    bool is_ordered;        /* every conflicting pair is */
    struct random_node nodes[RANDOM_MAX_NODES];
};

/* drop_percent of the waits that are needed are left out. scale: makes every range so many times larger. */
void random_list_make(struct conf *conf, struct random_list *out, uint32_t n_nodes, uint32_t n_lanes, uint32_t drop_percent, bool kernels,
                      uint32_t scale);
bl_status random_list_record(struct conf *conf, const struct random_list *random, bl_buffer *const *buffers, bl_list **out);
uint32_t random_list_floats(const struct random_list *random); /* per buffer */
void random_list_model(const struct random_list *random, float *const *buffers);
#endif
