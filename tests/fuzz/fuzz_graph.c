/* fuzz_graph.c: any bytes as a graph text, over one fixed model that has the tensors and keys of every built-in family: parse, lower, fuse, all
 * four schedules, plan and every dump. A graph that was accepted must keep what graph.h says of its launches and of its memory. */
#include "graph/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { D = 256, FF = 512, HEAD = 64, BLOCKS = 7 };
static const struct { const char *name; uint32_t columns, rows; enum bl_format format; } tensors[] = {
    {"token_embd.weight", D, 352, BL_FMT_Q8_0}, {"position_embd.weight", D, 128, BL_FMT_F32}, {"output_norm.weight", D, 1, BL_FMT_F32},
    {"output_norm.bias", D, 1, BL_FMT_F32}, {"output.weight", D, 352, BL_FMT_Q6_K}, {"rope_freqs.weight", HEAD / 2, 1, BL_FMT_F32},
    {"strange.weight", 3, 5, BL_FMT_NONE}, {"ln_f.weight", D, 1, BL_FMT_F32},
};
static const struct { const char *name; uint32_t columns, rows; enum bl_format format; } block_tensors[] = {
    {"attn_norm.weight", D, 1, BL_FMT_F32}, {"attn_norm.bias", D, 1, BL_FMT_F32}, {"attn_q.weight", D, D, BL_FMT_Q4_0},
    {"attn_k.weight", D, 2 * HEAD, BL_FMT_Q4_1}, {"attn_v.weight", D, 2 * HEAD, BL_FMT_F16}, {"attn_output.weight", D, D, BL_FMT_Q5_0},
    {"attn_qkv.weight", D, 3 * D, BL_FMT_Q8_0}, {"attn_qkv.bias", 3 * D, 1, BL_FMT_F32}, {"attn_q_norm.weight", HEAD, 1, BL_FMT_F32},
    {"attn_k_norm.weight", HEAD, 1, BL_FMT_F32}, {"post_attention_norm.weight", D, 1, BL_FMT_F32}, {"post_ffw_norm.weight", D, 1, BL_FMT_F32},
    {"ffn_norm.weight", D, 1, BL_FMT_F32}, {"ffn_gate.weight", D, FF, BL_FMT_Q4_K}, {"ffn_up.weight", D, FF, BL_FMT_F32},
    {"ffn_up.bias", FF, 1, BL_FMT_F32}, {"ffn_down.weight", FF, D, BL_FMT_Q6_K},
};
enum { N_PLAIN = sizeof tensors / sizeof tensors[0], N_BLOCK = sizeof block_tensors / sizeof block_tensors[0], N_TENSORS = N_PLAIN + BLOCKS * N_BLOCK };
static const struct { const char *key; double number; const char *text; } keys[] = {
    {"llama.block_count", BLOCKS, NULL}, {"llama.context_length", 512, NULL}, {"llama.attention.head_count", D / HEAD, NULL},
    {"llama.attention.head_count_kv", 2, NULL}, {"llama.attention.layer_norm_rms_epsilon", 1e-5, NULL}, {"llama.attention.key_length", HEAD, NULL},
    {"llama.attention.layer_norm_epsilon", 1e-5, NULL}, {"llama.attention.sliding_window", 16, NULL}, {"llama.rope.dimension_count", HEAD, NULL},
    {"llama.rope.freq_base", 10000, NULL}, {"llama.rope.scaling.type", 0, "linear"}, {"llama.rope.scaling.factor", 2, NULL},
    {"llama.final_logit_softcapping", 30, NULL}, {"llama.huge", 1e300, NULL}, {"llama.negative", -1, NULL},
};

static bl_status find_key(void *user, const char *key, uint64_t index, struct bl_graph_key *out)
{
    (void)user, (void)index;
    *out = (struct bl_graph_key){.kind = BL_KEY_ABSENT};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        out->kind = keys[i].text ? BL_KEY_STRING : BL_KEY_NUMBER;
        out->number = keys[i].number;
        out->text = keys[i].text;
        out->text_bytes = keys[i].text ? strlen(keys[i].text) : 0;
    }
    return BL_OK;
}

static bool find_tensor(void *user, const char *name, struct bl_graph_tensor *out)
{
    (void)user;
    for (uint32_t i = 0; i < N_PLAIN; i++) {
        if (strcmp(tensors[i].name, name) == 0) {
            *out = (struct bl_graph_tensor){i, tensors[i].format, 0, tensors[i].rows > 1 ? 2 : 1, tensors[i].columns, tensors[i].rows};
            return true;
        }
    }
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] >= '0' + BLOCKS || name[5] != '.')
        return false;
    for (uint32_t i = 0; i < N_BLOCK; i++) {
        if (strcmp(block_tensors[i].name, name + 6) == 0) {
            *out = (struct bl_graph_tensor){N_PLAIN + (uint32_t)(name[4] - '0') * N_BLOCK + i, block_tensors[i].format, 0,
                                            block_tensors[i].rows > 1 ? 2 : 1, block_tensors[i].columns, block_tensors[i].rows};
            return true;
        }
    }
    return false;
}

static const char *tensor_name(void *user, uint32_t id)
{
    (void)user;
    if (id >= N_TENSORS)
        abort();
    return id < N_PLAIN ? tensors[id].name : block_tensors[(id - N_PLAIN) % N_BLOCK].name;
}

/* Zero, negative, tiny, infinite and no numbers among the plain ones. */
static bl_status numbers(void *user, uint32_t id, uint64_t first, uint32_t n, float *out)
{
    static const float strange[] = {1, 0, -1, 1e-45f, INFINITY, NAN, 8};
    (void)user;
    if (id >= N_TENSORS)
        abort();
    for (uint32_t i = 0; i < n; i++)
        out[i] = id % 2 ? strange[(first + i) % 7] : 1.0f + (float)i;
    return BL_OK;
}

static void swallow(void *user, const char *text, size_t bytes)
{
    volatile char *last = user;
    if (bytes)
        *last = text[bytes - 1];
}

static void check_schedule(const struct bl_graph *g, const struct bl_schedule *s, const struct bl_graph_source *source)
{
    char last = 0;
    if (s->n_lanes > BL_SCHEDULE_LANES || s->n_steps > s->n_launches)
        abort();
    for (uint32_t i = 0; i < s->n_launches; i++) {
        const struct bl_launch *launch = &s->launches[i];
        if (launch->lane >= s->n_lanes || launch->n_nodes == 0 || launch->n_nodes > BL_LINEAR_SEGMENTS)
            abort();
        for (uint32_t k = 0; k < launch->n_deps; k++) {
            uint32_t dep = s->deps[launch->first_dep + k];
            if (dep >= i || !bl_schedule_before(s, dep, i) || s->launches[dep].step >= launch->step)
                abort();
        }
    }
    struct bl_plan *plan;
    if (bl_plan_create(g, s, 8, 2, 64, &plan) != BL_OK)
        return;
    for (uint32_t v = 0; v < g->n_values; v++)
        if (plan->offset[v] != UINT64_MAX && (plan->offset[v] % 64 || plan->offset[v] + bl_value_bytes(&g->values[v], 8, 2) > plan->bytes))
            abort();
    bl_plan_destroy(plan);
    for (int kind = BL_DUMP_TEXT; kind <= BL_DUMP_JSON; kind++)
        if (bl_graph_dump(g, s, source, (enum bl_dump_kind)kind, swallow, &last) != BL_OK)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct bl_graph_source source = {NULL, "fuzz", "llama", find_key, find_tensor, N_TENSORS, tensor_name, numbers};
    struct bl_graph *g;
    if (bl_graph_parse((const char *)data, bytes, "text", &source, true, &g) != BL_OK) {
        if (bl_error_text()[0] == 0)
            abort();
        return 0;
    }
    if (bl_graph_lower(g, bytes & 1) == BL_OK && bl_graph_fuse(g) == BL_OK) {
        for (int kind = 0; kind < BL_SCHEDULE_COUNT; kind++) {
            struct bl_schedule *schedule;
            if (bl_schedule_create(g, (enum bl_schedule_kind)kind, &schedule) != BL_OK)
                continue;
            check_schedule(g, schedule, &source);
            bl_schedule_destroy(schedule);
        }
    }
    bl_graph_destroy(g);
    return 0;
}
