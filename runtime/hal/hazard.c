/* hazard.c: finds pairs of nodes that touch the same bytes in conflict and are not ordered. Knows only recorded ranges and waits.
 *
 * Order is a clock per node: for each lane, how many of its nodes are known to come first. Ranges are swept buffer by buffer in recorded
 * order over disjoint intervals, each with its last writer and the readers since: a write that comes after all of those comes after all
 * earlier ones too, so every conflicting pair is covered by pairs that are looked at. Buffers that the list only reads (the weights) are
 * passed over. The work is near linear in the number of accesses. */
#include "hal/core.h"

#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct reader { /* shared by the intervals that an interval was cut into; never changed */
    uint32_t node;
    const struct reader *next;
};

struct interval {
    uint64_t begin, end;
    uint32_t writer;
    const struct reader *readers;
};

struct sweep {
    struct bl_list_core *list;
    struct bl_arena arena; /* clocks and readers */
    struct interval *intervals; /* of the buffer being swept: sorted, disjoint */
    uint32_t n_intervals, capacity;
};

static bl_status make_clocks(struct sweep *sweep)
{
    struct bl_list_core *list = sweep->list;
    uint32_t n_lanes = 0;
    for (uint32_t n = 0; n < list->n_nodes; n++)
        if (list->nodes[n].lane >= n_lanes)
            n_lanes = list->nodes[n].lane + 1;
    uint32_t *zero = bl_arena_alloc(&sweep->arena, n_lanes, sizeof *zero);
    uint32_t *last = bl_arena_alloc(&sweep->arena, n_lanes, sizeof *last); /* last node of each lane + 1 */
    if (!zero || !last)
        BL_FAIL(BL_ENOMEM, "list: out of memory for %u lanes", n_lanes);
    for (uint32_t n = 0; n < list->n_nodes; n++) {
        struct list_node *node = &list->nodes[n];
        const struct list_node *before = last[node->lane] ? &list->nodes[last[node->lane] - 1] : NULL;
        bool own = false; /* a clock that no wait changes is shared with the node before */
        node->sequence = before ? before->sequence + 1 : 0;
        node->clock = before ? before->clock : zero;
        for (uint32_t w = 0; w < node->n_waits; w++) {
            const struct list_node *wait = &list->nodes[list->waits[node->first_wait + w]];
            if (wait->lane == node->lane || node->clock[wait->lane] > wait->sequence)
                continue;
            if (!own) {
                uint32_t *copy = bl_arena_alloc(&sweep->arena, n_lanes, sizeof *copy);
                if (!copy)
                    BL_FAIL(BL_ENOMEM, "list: out of memory for the order of %u nodes", list->n_nodes);
                node->clock = memcpy(copy, node->clock, n_lanes * sizeof *copy);
                own = true;
            }
            for (uint32_t lane = 0; lane < n_lanes; lane++)
                if (wait->clock[lane] > node->clock[lane])
                    node->clock[lane] = wait->clock[lane];
            node->clock[wait->lane] = wait->sequence + 1;
        }
        last[node->lane] = n + 1;
    }
    return BL_OK;
}

/* Does `first`, recorded earlier, end before `then` begins? */
static bool is_ordered(const struct bl_list_core *list, uint32_t first, uint32_t then)
{
    const struct list_node *a = &list->nodes[first], *b = &list->nodes[then];
    return first == then || a->lane == b->lane || b->clock[a->lane] > a->sequence;
}

static bl_status check_pair(const struct sweep *sweep, const struct list_access *access, const struct interval *interval, uint32_t other,
                            bool other_writes)
{
    const struct bl_list_core *list = sweep->list;
    if (other == NOBODY || is_ordered(list, other, access->node))
        return BL_OK;
    uint64_t begin = interval->begin > access->begin ? interval->begin : access->begin;
    uint64_t end = interval->end < access->end ? interval->end : access->end;
    BL_FAIL(BL_EINVAL, "bl_list_end: node %u \"%.40s\" (lane %u) %s and node %u \"%.40s\" (lane %u) %s bytes %llu..%llu of \"%.40s\" without "
            "a wait", other, list->nodes[other].label, list->nodes[other].lane, other_writes ? "writes" : "reads", access->node,
            list->nodes[access->node].label, list->nodes[access->node].lane, access->access & BL_WRITE ? "writes" : "reads",
            (unsigned long long)begin, (unsigned long long)end, list->buffers[access->buffer]->label);
}

static bl_status insert_interval(struct sweep *sweep, uint32_t at, struct interval interval)
{
    BL_TRY(bl_grow(&sweep->intervals, &sweep->capacity, sweep->n_intervals, sizeof *sweep->intervals));
    memmove(sweep->intervals + at + 1, sweep->intervals + at, (sweep->n_intervals - at) * sizeof *sweep->intervals);
    sweep->intervals[at] = interval;
    sweep->n_intervals++;
    return BL_OK;
}

/* First interval that ends after `offset`; n_intervals if none. */
static uint32_t find_interval(const struct sweep *sweep, uint64_t offset)
{
    uint32_t low = 0, high = sweep->n_intervals;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sweep->intervals[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Cuts the interval that has `offset` inside, if there is one. */
static bl_status cut_at(struct sweep *sweep, uint64_t offset)
{
    uint32_t at = find_interval(sweep, offset);
    if (at == sweep->n_intervals || sweep->intervals[at].begin >= offset)
        return BL_OK;
    struct interval left = sweep->intervals[at];
    left.end = offset;
    sweep->intervals[at].begin = offset;
    BL_TRY(insert_interval(sweep, at, left));
    return BL_OK;
}

static bl_status add_reader(struct sweep *sweep, struct interval *interval, uint32_t node)
{
    const struct reader *rest = interval->readers;
    if (rest && rest->node == node)
        return BL_OK;
    /* A later node of the same lane stands for the earlier one. */
    if (rest && sweep->list->nodes[rest->node].lane == sweep->list->nodes[node].lane)
        rest = rest->next;
    struct reader *reader = bl_arena_alloc(&sweep->arena, 1, sizeof *reader);
    if (!reader)
        BL_FAIL(BL_ENOMEM, "list: out of memory for its hazard check");
    *reader = (struct reader){node, rest};
    interval->readers = reader;
    return BL_OK;
}

static bl_status sweep_read(struct sweep *sweep, const struct list_access *access)
{
    BL_TRY(cut_at(sweep, access->begin));
    BL_TRY(cut_at(sweep, access->end));
    uint64_t offset = access->begin;
    for (uint32_t at = find_interval(sweep, offset); offset < access->end; at++) {
        uint64_t gap_end = at < sweep->n_intervals ? sweep->intervals[at].begin : access->end;
        if (gap_end > access->end)
            gap_end = access->end;
        if (gap_end > offset)
            BL_TRY(insert_interval(sweep, at, (struct interval){offset, gap_end, NOBODY, NULL}));
        struct interval *interval = &sweep->intervals[at];
        BL_TRY(check_pair(sweep, access, interval, interval->writer, true));
        BL_TRY(add_reader(sweep, interval, access->node));
        offset = interval->end;
    }
    return BL_OK;
}

static bl_status sweep_write(struct sweep *sweep, const struct list_access *access)
{
    BL_TRY(cut_at(sweep, access->begin));
    BL_TRY(cut_at(sweep, access->end));
    uint32_t first = find_interval(sweep, access->begin), last = first;
    for (; last < sweep->n_intervals && sweep->intervals[last].begin < access->end; last++) {
        const struct interval *interval = &sweep->intervals[last];
        BL_TRY(check_pair(sweep, access, interval, interval->writer, true));
        for (const struct reader *reader = interval->readers; reader; reader = reader->next)
            BL_TRY(check_pair(sweep, access, interval, reader->node, false));
    }
    struct interval written = {access->begin, access->end, access->node, NULL};
    if (first == last)
        return insert_interval(sweep, first, written);
    sweep->intervals[first] = written;
    memmove(sweep->intervals + first + 1, sweep->intervals + last, (sweep->n_intervals - last) * sizeof *sweep->intervals);
    sweep->n_intervals -= last - first - 1;
    return BL_OK;
}

/* accesses: of one buffer, in recorded order. Within a node reads come before writes. */
static bl_status sweep_buffer(struct sweep *sweep, const struct list_access *accesses, uint32_t n)
{
    bool written = false;
    for (uint32_t a = 0; a < n; a++)
        written |= (accesses[a].access & BL_WRITE) != 0;
    if (!written)
        return BL_OK;
    sweep->n_intervals = 0;
    for (uint32_t a = 0; a < n;) {
        uint32_t end = a;
        for (; end < n && accesses[end].node == accesses[a].node; end++)
            if (accesses[end].access & BL_READ)
                BL_TRY(sweep_read(sweep, &accesses[end]));
        for (; a < end; a++)
            if (accesses[a].access & BL_WRITE)
                BL_TRY(sweep_write(sweep, &accesses[a]));
    }
    return BL_OK;
}

static bl_status sweep_all(struct sweep *sweep)
{
    struct bl_list_core *list = sweep->list;
    BL_TRY(make_clocks(sweep));
    /* Accesses by buffer, recorded order kept. */
    uint32_t *first = bl_arena_alloc(&sweep->arena, (uint64_t)list->n_buffers + 1, sizeof *first);
    struct list_access *sorted = bl_arena_alloc(&sweep->arena, list->n_accesses, sizeof *sorted);
    if (!first || !sorted)
        BL_FAIL(BL_ENOMEM, "list: out of memory for its hazard check");
    for (uint32_t a = 0; a < list->n_accesses; a++)
        first[list->accesses[a].buffer + 1]++;
    for (uint32_t b = 0; b < list->n_buffers; b++)
        first[b + 1] += first[b];
    for (uint32_t a = 0; a < list->n_accesses; a++)
        sorted[first[list->accesses[a].buffer]++] = list->accesses[a]; /* first[b] ends up as the end of b */
    for (uint32_t b = 0; b < list->n_buffers; b++) {
        uint32_t begin = b ? first[b - 1] : 0;
        BL_TRY(sweep_buffer(sweep, sorted + begin, first[b] - begin));
    }
    return BL_OK;
}

bl_status bl_list_check_hazards(struct bl_list_core *core)
{
    struct sweep sweep = {.list = core};
    bl_arena_init(&sweep.arena, 0);
    bl_status status = sweep_all(&sweep);
    bl_arena_finish(&sweep.arena);
    free(sweep.intervals);
    for (uint32_t n = 0; n < core->n_nodes; n++)
        core->nodes[n].clock = NULL;
    return status == BL_OK ? BL_OK : bl_error_trace(status, __FILE__, __LINE__);
}
