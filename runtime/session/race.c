/* race.c: which schedule is the fastest on a device: the four are played in turns on a part that is ready to compute, once for each device,
 * driver, model shape and row class, and the winner is kept. Knows schedules by their table and devices by their caps.
 *
 * On the CPU no race is run unless it is asked for: the four differ by less than the noise of a shared machine there, and a race costs some
 * twenty steps. Elsewhere the first load of a model pays for it, where a step is so short that launches count. */
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "session/cache.h"
#include "session/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LEAST_GAIN 1.03   /* a winner beats the default by so much; else nothing was won */
#define MOST_SECONDS 0.25 /* for one row class of one part, when at least one round is done */
#define LONG_STEP 0.02    /* of one row: launches are nothing beside it, so no race that was not asked for */
#define ROUNDS 5u
#define ROWS_OF_MORE 32u

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool bl_race_wanted(const bl_model *m, const struct bl_part *p)
{
    return m->race_asked || (m->race_allowed && m->cache_dir && bl_device_caps(p->on->device)->n_threads == 0);
}

/* ---- what the cache says ---- */

/* Everything that the answer depends on: the device, its driver, this program, and the shapes of the part's nodes. */
static void make_key(const struct bl_part *p, uint32_t class, char key[static 320])
{
    const bl_caps *caps = bl_device_caps(p->on->device);
    uint64_t shape = 1;
    for (uint32_t i = 0; i < p->graph->n_nodes; i++) {
        const struct bl_node *n = &p->graph->nodes[i];
        const uint32_t words[] = {(uint32_t)n->op, n->weight.tensor == BL_NO_ID ? 0 : n->weight.rows, n->weight.tensor == BL_NO_ID ? 0 : n->weight.columns,
                                  n->weight.tensor == BL_NO_ID ? 0 : (uint32_t)n->weight.format, n->up.tensor == BL_NO_ID ? 0 : (uint32_t)n->up.format, n->out == BL_NO_ID ? 0 : p->graph->values[n->out].columns};
        shape = bl_hash_bytes(shape, words, sizeof words);
    }
    int length = snprintf(key, 320, "schedule %s %.120s %.60s %u threads, %s, %016llx, %s", caps->backend, caps->name, caps->driver ? caps->driver : "-", caps->n_threads,
                          bl_version(), (unsigned long long)shape, class == BL_ONE_ROW ? "1 row" : "more rows");
    for (int i = 0; i < length && i < 320; i++)
        if ((unsigned char)key[i] < 0x20)
            key[i] = ' ';
}

/* A gain of 0: it was not worth a race. */
static bool recall(const bl_model *m, struct bl_part *p, uint32_t class)
{
    char key[320], value[64], name[32];
    double gain;
    make_key(p, class, key);
    if (!bl_cache_get(m->cache_dir, key, value, sizeof value))
        return false;
    if (sscanf(value, "%31s %lf", name, &gain) == 2 && gain >= 0 && gain < 1000)
        for (int k = 0; k < BL_SCHEDULE_COUNT; k++)
            if (strcmp(name, bl_schedule_name((enum bl_schedule_kind)k)) == 0) {
                p->chosen[class] = (enum bl_schedule_kind)k;
                p->gain[class] = gain;
                return true;
            }
    bl_log(BL_LOG_WARNING, "%s: a remembered schedule is left out: '%s'", m->cache_dir, value);
    return false;
}

static void remember(const bl_model *m, const struct bl_part *p, uint32_t class)
{
    char key[320], value[64];
    make_key(p, class, key);
    snprintf(value, sizeof value, "%s %.3f", bl_schedule_name(p->chosen[class]), p->gain[class]);
    bl_cache_put(m->cache_dir, key, value);
}

/* ---- the race ---- */

/* A step of that many first positions of one sequence. It writes page 0, before any sequence has it or before all are computed again. */
static bl_status fill_step(const bl_model *m, const struct bl_part *p, uint32_t rows)
{
    uint32_t *step = bl_buffer_host(p->step);
    memset(step, 0, (size_t)m->step_bytes);
    step[BL_STEP_N_ROWS] = rows;
    step[BL_STEP_N_OUT] = 1;
    step[BL_STEP_PAGE_STRIDE] = m->page_stride;
    step[BL_STEP_MAX_POSITION] = rows - 1;
    for (uint32_t i = 0; i < rows; i++)
        step[BL_STEP_POS + (int)i] = i;
    if (p->imports) {
        memset(bl_buffer_host(p->imports), 0, (size_t)bl_buffer_bytes(p->imports));
        BL_TRY(bl_buffer_sync(p->imports, 0, bl_buffer_bytes(p->imports), true));
    }
    return bl_buffer_sync(p->step, 0, m->step_bytes, true);
}

static bl_status play(const struct bl_part *p, bl_list *list, double *best)
{
    uint64_t value = 0;
    double start = seconds();
    BL_TRY(bl_queue_submit(p->queue, list, NULL, 0, &value));
    BL_TRY(bl_queue_wait(p->queue, value, BL_WAIT_FOREVER));
    double taken = seconds() - start;
    if (best && taken < *best)
        *best = taken;
    return BL_OK;
}

/* Each once to warm up, unless that takes long already: then all count alike; else in turns. */
static bl_status play_all(const bl_model *m, const struct bl_part *p, uint32_t r, bl_list **lists, double *best)
{
    double end = seconds() + MOST_SECONDS;
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        best[k] = INFINITY;
        BL_TRY(bl_part_record(m, p, (enum bl_schedule_kind)k, r, 0, &lists[k]));
        BL_TRY(play(p, lists[k], &best[k]));
    }
    const bool is_slow = seconds() > end + 4 * MOST_SECONDS;
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++)
        best[k] = is_slow ? 1 : INFINITY;
    if (is_slow)
        return BL_OK;
    for (uint32_t round = 0; round < ROUNDS && (round == 0 || seconds() < end); round++)
        for (uint32_t i = 0; i < BL_SCHEDULE_COUNT; i++) {
            uint32_t k = (i + round) % BL_SCHEDULE_COUNT;
            BL_TRY(play(p, lists[k], &best[k]));
        }
    return BL_OK;
}

/* Is a step of one row, the second that is played, so long that no race is worth its time? */
static bl_status step_is_long(const bl_model *m, const struct bl_part *p, bool *is_long)
{
    double first = INFINITY, second = INFINITY;
    bl_list *list = NULL;
    BL_TRY(fill_step(m, p, 1));
    bl_status status = bl_part_record(m, p, m->schedule, 0, 0, &list);
    if (status == BL_OK)
        status = play(p, list, &first);
    if (status == BL_OK && first > LONG_STEP)
        status = play(p, list, &second);
    bl_list_destroy(list);
    *is_long = first > LONG_STEP && second > LONG_STEP;
    return status;
}

static bl_status race(bl_model *m, struct bl_part *p, uint32_t class)
{
    uint32_t rows = class == BL_ONE_ROW ? 1 : ROWS_OF_MORE < m->batch_rows ? ROWS_OF_MORE : m->batch_rows, r = 0;
    if (rows > m->context)
        rows = 1;
    while (1u << (r + 1) <= rows)
        r++;
    bl_list *lists[BL_SCHEDULE_COUNT] = {NULL};
    double best[BL_SCHEDULE_COUNT];
    BL_TRY(fill_step(m, p, 1u << r));
    bl_status status = play_all(m, p, r, lists, best);
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++)
        bl_list_destroy(lists[k]);
    BL_TRY(status);
    enum bl_schedule_kind winner = m->schedule;
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++)
        if (best[k] * LEAST_GAIN < best[m->schedule] && best[k] < best[winner])
            winner = (enum bl_schedule_kind)k;
    p->chosen[class] = winner;
    p->gain[class] = (double)(uint64_t)(1000 * best[BL_SCHEDULE_SERIAL] / best[winner] + 0.5) / 1000; /* as it is kept: said the same next time */
    bl_log(BL_LOG_INFO, "%s, %u row%s: serial %.0f us, grouped %.0f, streams %.0f, grouped-streams %.0f: %s", p->on->id, 1u << r, r ? "s" : "", best[0] * 1e6, best[1] * 1e6,
           best[2] * 1e6, best[3] * 1e6, bl_schedule_name(winner));
    return BL_OK;
}

bl_status bl_race_run(bl_model *m, struct bl_part *p)
{
    bool known[BL_ROW_CLASSES], is_long = false;
    for (uint32_t class = 0; class < BL_ROW_CLASSES; class++)
        known[class] = recall(m, p, class);
    if (!m->race_asked && !known[BL_ONE_ROW])
        BL_TRY(step_is_long(m, p, &is_long));
    for (uint32_t class = 0; class < BL_ROW_CLASSES; class++) {
        if (known[class])
            continue;
        if (!is_long)
            BL_TRY(race(m, p, class));
        remember(m, p, class);
    }
    return BL_OK;
}
