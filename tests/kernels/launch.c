/* launch.c: one launch with guard zones around everything, run at every level and compared. */
#include "check.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_BYTE 0xa5
#define OUTPUT_BYTE 0xcd
#define SCRATCH_BYTE 0xff /* NaN when read as a float */

static void *allocate(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    if (!p) {
        fputs("kernel-check: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

void launch_init(struct launch *l, struct bl_kernel_key key)
{
    memset(l, 0, sizeof *l);
    l->key = key;
}

static struct buffer *append(struct launch *l, size_t bytes, size_t shift, uint8_t fill, bool is_output)
{
    struct buffer *b = &l->buffers[l->n];
    b->block = allocate(bytes + 2 * GUARD + shift);
    memset(b->block, GUARD_BYTE, bytes + 2 * GUARD + shift);
    b->data = b->block + GUARD + shift;
    b->bytes = bytes;
    b->initial = allocate(bytes);
    b->expected = allocate(bytes);
    b->is_output = is_output;
    memset(b->data, fill, bytes);
    l->bindings[l->n++] = b->data;
    return b;
}

void *launch_input(struct launch *l, size_t bytes, size_t shift)
{
    return append(l, bytes, shift, 0, false)->data;
}

uint32_t launch_weights(struct launch *l, uint32_t format, uint32_t n, uint32_t k, uint32_t depth, enum style style)
{
    if (format != BL_FMT_BX) {
        fill_weights(launch_input(l, weight_bytes(format, n, k), random_below(64)), format, n, k, style);
        return 0;
    }
    const uint32_t first = 32 * random_below(3);
    size_t bytes;
    uint8_t *blob = xq_random(first + n + random_below(9), k, depth, style, &bytes);
    memcpy(launch_input(l, bytes, 8 * random_below(8)), blob, bytes);
    free(blob);
    return first;
}

void *launch_output(struct launch *l, size_t bytes, size_t shift)
{
    return append(l, bytes, shift, OUTPUT_BYTE, true)->data;
}

uint32_t *launch_step(struct launch *l, uint32_t n_rows, uint32_t n_out, uint32_t n_page_words)
{
    uint32_t *step = launch_input(l, ((size_t)BL_STEP_PAGES + n_page_words) * sizeof(uint32_t), 0);
    step[BL_STEP_N_ROWS] = n_rows;
    step[BL_STEP_N_OUT] = n_out;
    return step;
}

void launch_none(struct launch *l)
{
    l->buffers[l->n].is_alias = true;
    l->bindings[l->n++] = NULL;
}

void launch_alias(struct launch *l, uint32_t binding)
{
    l->buffers[l->n].is_alias = true;
    l->bindings[l->n++] = l->bindings[binding];
}

void launch_in_place(struct launch *l, uint32_t binding)
{
    l->buffers[binding].is_output = true;
}

void launch_free(struct launch *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        free(l->buffers[i].block);
        free(l->buffers[i].initial);
        free(l->buffers[i].expected);
    }
}

static bool guards_hold(const struct buffer *b)
{
    for (const uint8_t *p = b->block; p < b->data; p++)
        if (*p != GUARD_BYTE)
            return false;
    for (const uint8_t *p = b->data + b->bytes; p < b->data + b->bytes + GUARD; p++)
        if (*p != GUARD_BYTE)
            return false;
    return true;
}

void full_name(char *out, size_t bytes, struct bl_kernel_key key, enum bl_cpu_level level)
{
    size_t n = bl_kernel_key_name(key, out, bytes);
    snprintf(out + n, bytes - n, "_%s", bl_cpu_level_name(level));
}

bool wanted(struct bl_kernel_key key, enum bl_cpu_level level)
{
    char name[96];
    full_name(name, sizeof name, key, level);
    return (!options.kernel || fnmatch(options.kernel, name, 0) == 0) && (!options.level || !strcmp(options.level, bl_cpu_level_name(level)));
}

void report_failure(const struct launch *l, const char *kernel_name, const char *what)
{
    printf("FAIL %s: %s: %s (seed %llu)\n", kernel_name, l->label, what, (unsigned long long)options.seed);
}

static void fresh_outputs(struct launch *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->buffers[i].is_output)
            memcpy(l->buffers[i].data, l->buffers[i].initial, l->buffers[i].bytes);
}

/* NULL, or what was touched that should not be. */
static const char *harm_done(const struct launch *l)
{
    const char *what = NULL;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct buffer *b = &l->buffers[i];
        if (b->is_alias)
            continue;
        if (!guards_hold(b))
            what = "wrote outside a binding";
        if (!b->is_output && memcmp(b->data, b->initial, b->bytes))
            what = "wrote to an input";
    }
    return what;
}

bool launch_run(struct launch *l, const struct bl_cpu_kernel *kernel, bool in_pieces)
{
    char name[96];
    full_name(name, sizeof name, l->key, kernel->level);
    struct bl_cpu_call call = {l->bindings, &l->push, {(l->columns + kernel->tile[0] - 1) / kernel->tile[0],
                                                       (l->rows + kernel->tile[1] - 1) / kernel->tile[1], 1}};
    const uint32_t total = call.grid[0] * call.grid[1];
    const size_t scratch_bytes = kernel->scratch_bytes ? kernel->scratch_bytes(&l->push) : 0;
    uint8_t *scratch = allocate(scratch_bytes + GUARD);
    memset(scratch, SCRATCH_BYTE, scratch_bytes);
    memset(scratch + scratch_bytes, GUARD_BYTE, GUARD);
    fresh_outputs(l);
    if (!in_pieces) {
        kernel->fn(&call, 0, total, scratch);
    } else { /* pieces of one to three workgroups, last piece first, the scratch spoiled in between */
        for (uint32_t end = total; end > 0;) {
            uint32_t begin = end - (1 + random_below(3 < end ? 3 : end));
            kernel->fn(&call, begin, end, scratch);
            memset(scratch, SCRATCH_BYTE, scratch_bytes);
            end = begin;
        }
    }
    const char *what = harm_done(l);
    for (size_t i = 0; i < GUARD; i++)
        if (scratch[scratch_bytes + i] != GUARD_BYTE)
            what = "wrote past its scratch";
    free(scratch);
    if (what)
        report_failure(l, name, what);
    return !what;
}

void run_level_c(struct bl_kernel_key key, void *const *bindings, const void *push, uint32_t columns, uint32_t rows)
{
    struct bl_cpu_kernel kernel;
    if (!bl_cpu_kernel_find(key, 1u << BL_CPU_C, &kernel))
        abort();
    const struct bl_cpu_call call = {bindings, push, {(columns + kernel.tile[0] - 1) / kernel.tile[0], (rows + kernel.tile[1] - 1) / kernel.tile[1], 1}};
    void *scratch = allocate(kernel.scratch_bytes ? kernel.scratch_bytes(push) : 0);
    kernel.fn(&call, 0, call.grid[0] * call.grid[1], scratch);
    free(scratch);
}

static bool outputs_match(struct launch *l, const char *level)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct buffer *b = &l->buffers[i];
        if (b->is_alias || !b->is_output || !memcmp(b->data, b->expected, b->bytes))
            continue;
        size_t at = 0;
        while (b->data[at] == b->expected[at])
            at++;
        char name[96], what[160];
        const size_t length = bl_kernel_key_name(l->key, name, sizeof name);
        snprintf(name + length, sizeof name - length, "_%s", level);
        uint32_t got, want;
        memcpy(&got, b->data + at / 4 * 4, 4);
        memcpy(&want, b->expected + at / 4 * 4, 4);
        snprintf(what, sizeof what, "binding %u differs from level c at byte %zu of %zu: %08x, not %08x", i, at, b->bytes, got, want);
        report_failure(l, name, what);
        return false;
    }
    return true;
}

static void keep_expected(struct launch *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct buffer *b = &l->buffers[i];
        if (b->is_alias)
            continue;
        memcpy(b->expected, b->data, b->bytes);
        for (size_t at = 0; at < b->bytes && b->is_output; at++)
            counts.digest = (counts.digest ^ b->data[at]) * 1099511628211u;
    }
}

uint32_t push_bytes(uint32_t op)
{
    const struct launch *l = NULL;
    switch ((enum bl_op)op) {
    case BL_OP_EMBED: return sizeof l->push.embed;
    case BL_OP_MATVEC:
    case BL_OP_MATMUL: return sizeof l->push.linear;
    case BL_OP_STAGE: return sizeof l->push.stage;
    case BL_OP_QUANTIZE: return sizeof l->push.quantize;
    case BL_OP_RMS_NORM:
    case BL_OP_LAYER_NORM: return sizeof l->push.norm;
    case BL_OP_ROPE_TABLE: return sizeof l->push.rope_table;
    case BL_OP_ROPE: return sizeof l->push.rope;
    case BL_OP_KV_STORE: return sizeof l->push.kv_store;
    case BL_OP_ROPE_STORE: return sizeof l->push.rope_store;
    case BL_OP_ATTENTION: return sizeof l->push.attention;
    case BL_OP_UNARY: return sizeof l->push.unary;
    case BL_OP_BINARY: return sizeof l->push.binary;
    case BL_OP_GLU: return sizeof l->push.glu;
    case BL_OP_SELECT: return sizeof l->push.select;
    case BL_OP_NONE:
    case BL_OP_COUNT: break;
    }
    fprintf(stderr, "kernel-check: op %u has no parameters\n", op);
    exit(1);
}

static bool all_equal(const struct launch *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!l->buffers[i].is_alias && l->buffers[i].is_output && memcmp(l->buffers[i].data, l->buffers[i].expected, l->buffers[i].bytes))
            return false;
    return true;
}

static bool run_other(struct launch *l)
{
    struct bound bound[MAX_BINDINGS];
    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t same = 0;
        while (l->bindings[same] != l->bindings[i])
            same++;
        bound[i] = (struct bound){l->bindings[i], l->buffers[same].bytes, l->buffers[same].is_output};
    }
    fresh_outputs(l);
    const char *what = other_kernels->run(l->key, bound, l->n, &l->push, l->columns, l->rows);
    what = what ? what : harm_done(l);
    if (!what && all_equal(l)) {
        counts.equal++;
        return true;
    }
    const bool is_inexact = other_kernels->ways_inexact >> options.tuning & 1u;
    if (!what && other_kernels->is_exact && !is_inexact)
        return outputs_match(l, other_kernels->name);
    for (uint32_t i = 0; i < l->n && !what; i++)
        if (!l->buffers[i].is_alias && l->buffers[i].is_output)
            is_close(l, i, is_inexact, &what);
    if (what) {
        char name[96];
        const size_t length = bl_kernel_key_name(l->key, name, sizeof name);
        snprintf(name + length, sizeof name - length, "_%s", other_kernels->name);
        report_failure(l, name, what);
    }
    return !what;
}

void launch_check(struct launch *l, oracle_fn *oracle)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!l->buffers[i].is_alias)
            memcpy(l->buffers[i].initial, l->buffers[i].data, l->buffers[i].bytes);
    for (uint32_t level = 0; level < BL_CPU_LEVEL_COUNT; level++) {
        struct bl_cpu_kernel kernel;
        const bool is_c = level == BL_CPU_C;
        if (!is_c && !(bl_cpu_levels_present() >> level & 1u)) {
            counts.skipped++;
            continue;
        }
        if (!bl_cpu_kernel_find(l->key, 1u << level, &kernel)) {
            report_failure(l, "dispatch", "no kernel");
            counts.failed++;
            continue;
        }
        if (kernel.level != level || (!is_c && !wanted(l->key, kernel.level)))
            continue; /* inherited from the level below, or not asked for */
        bool ok = launch_run(l, &kernel, false);
        if (is_c) /* level C always runs: it is the reference */
            keep_expected(l);
        if (other_kernels) /* level C itself is for the run without them */
            break;
        ok = ok && outputs_match(l, bl_cpu_level_name(kernel.level)) && launch_run(l, &kernel, true) && outputs_match(l, bl_cpu_level_name(kernel.level));
        if (ok && is_c && oracle && !oracle(l)) {
            report_failure(l, "c", "too far from double precision");
            ok = false;
        }
        if (!wanted(l->key, kernel.level) && ok)
            continue;
        counts.passed += ok;
        counts.failed += !ok;
    }
    if (other_kernels && other_kernels->has(l->key)) {
        const bool ok = run_other(l);
        counts.passed += ok;
        counts.failed += !ok;
    }
}
