/* placement.c: a model on several devices gives the bits of one device, whatever goes where, and goes on with the same bits when one of them
 * fails at any call. Uses the public API only.
 *
 *     placement MODEL...                       the CPU, and what plays other devices
 *     placement --devices=LISTS MODEL...       these lists of devices instead, separated by blanks; exit code 77 where one cannot be opened
 *
 * The measure is one CPU. */
#include <bitloom/bitloom.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_PROMPT 45u
#define N_GREEDY 32u
#define N_POSITIONS (N_PROMPT + N_GREEDY)

struct setup {
    const char *device;
    int32_t gpu_layers;
    const char *schedule;
    bl_number activations;
    uint64_t seed, fail_at, memory;
};

struct run {
    int32_t tokens[2][N_POSITIONS]; /* of two sequences: prompts that are given, then what is most likely */
    float *logits;                  /* [2][N_POSITIONS][vocabulary] */
    uint32_t vocabulary;
    char placement[256], fallback[256], error[BL_ERROR_TEXT_BYTES];
    bl_status status;
};

static const char *model_path;
static uint32_t n_runs;

static void die(const struct setup *s, const char *what)
{
    printf("%s on %s, gpu_layers %d, seed %u, call %u fails, memory %llu: %s (last error: %s)\n", model_path, s->device, s->gpu_layers, (unsigned)s->seed,
           (unsigned)s->fail_at, (unsigned long long)s->memory, what, bl_error_text());
    exit(1);
}

static bl_status open_model(const struct setup *s, bl_model **model)
{
    bl_model_params params;
    bl_model_default_params(&params);
    params.device.device = s->device;
    params.device.n_threads = 2;
    params.device.chaos_seed = s->seed;
    params.device.chaos_fail_at = s->fail_at;
    params.device.chaos_memory = s->memory;
    params.gpu_layers = s->gpu_layers;
    params.schedule = s->schedule;
    params.activations = s->activations;
    params.context = 128;
    params.batch = 16;
    params.max_sequences = 2;
    params.max_outputs = 2;
    params.fit_margin = 4096;
    return bl_model_open(model_path, &params, model);
}

static int32_t largest(const float *logits, uint32_t n)
{
    int32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = (int32_t)i;
    return best;
}

static void keep(struct run *r, const bl_model *model, uint32_t sequence, uint32_t position, uint32_t output)
{
    float *to = r->logits + ((size_t)sequence * N_POSITIONS + position) * r->vocabulary;
    memcpy(to, bl_logits(model, output), r->vocabulary * sizeof *to);
    if (position + 1 < N_POSITIONS && position + 1 >= N_PROMPT)
        r->tokens[sequence][position + 1] = largest(to, r->vocabulary);
}

/* Both prompts in chunks of unequal rows, then both sequences together, one token each. */
static bl_status compute(struct run *r, bl_model *model, bl_sequence *s[2])
{
    bl_row rows[2 * N_POSITIONS];
    for (uint32_t q = 0; q < 2; q++) {
        for (uint32_t i = 0; i < N_PROMPT; i++)
            rows[i] = (bl_row){s[q], r->tokens[q][i], i + 1 == N_PROMPT};
        bl_status status = bl_forward(model, rows, N_PROMPT);
        if (status != BL_OK)
            return status;
        keep(r, model, q, N_PROMPT - 1, 0);
    }
    for (uint32_t i = N_PROMPT; i < N_POSITIONS; i++) {
        for (uint32_t q = 0; q < 2; q++)
            rows[q] = (bl_row){s[q], r->tokens[q][i], true};
        bl_status status = bl_forward(model, rows, 2);
        if (status != BL_OK)
            return status;
        for (uint32_t q = 0; q < 2; q++)
            keep(r, model, q, i, q);
    }
    return BL_OK;
}

static void run(const struct setup *s, struct run *r)
{
    bl_model *model;
    bl_sequence *sequences[2] = {NULL};
    bl_model_info info;
    r->error[0] = r->fallback[0] = r->placement[0] = 0;
    r->status = open_model(s, &model);
    n_runs++;
    if (r->status == BL_OK) {
        bl_model_get_info(model, &info);
        r->vocabulary = info.vocabulary;
        if (!r->logits)
            r->logits = calloc((size_t)2 * N_POSITIONS * r->vocabulary, sizeof *r->logits);
        for (uint32_t q = 0; q < 2; q++)
            for (uint32_t i = 0; i < N_PROMPT; i++)
                r->tokens[q][i] = (int32_t)((i * 31 + q * 97 + i * i * q + 5) % r->vocabulary);
        if (!r->logits || bl_sequence_create(model, &sequences[0]) != BL_OK || bl_sequence_create(model, &sequences[1]) != BL_OK)
            die(s, "no sequences");
        r->status = compute(r, model, sequences);
        if (r->status != BL_OK)
            snprintf(r->error, sizeof r->error, "%s", bl_error_text());
        bl_model_get_info(model, &info);
        snprintf(r->placement, sizeof r->placement, "%s", info.placement);
        snprintf(r->fallback, sizeof r->fallback, "%s", info.fallback);
        for (uint32_t q = 0; q < 2; q++)
            bl_sequence_destroy(sequences[q]);
        bl_model_close(model);
    } else {
        snprintf(r->error, sizeof r->error, "%s", bl_error_text());
    }
}

static void must_be_same(const struct setup *s, const struct run *r, const struct run *measure)
{
    if (r->status != BL_OK)
        die(s, r->error);
    if (memcmp(r->tokens, measure->tokens, sizeof r->tokens) != 0)
        die(s, "other tokens");
    for (uint32_t q = 0; q < 2; q++)
        for (uint32_t i = N_PROMPT - 1; i < N_POSITIONS; i++) {
            size_t at = ((size_t)q * N_POSITIONS + i) * r->vocabulary;
            if (memcmp(r->logits + at, measure->logits + at, r->vocabulary * sizeof *r->logits) != 0)
                die(s, "other logits");
        }
}

/* ---- every way to place the layers ---- */

static void every_placement(const struct run *measure, struct setup s)
{
    static const char *const lists[] = {"null,cpu", "cpu,cpu", "cpu,cpu,cpu", "chaos(cpu)", "chaos(cpu),cpu", "cpu,chaos(cpu)", "chaos(cpu),chaos(cpu)",
                                        "chaos(cpu),chaos(cpu),cpu"};
    struct run r = {.logits = NULL};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (int32_t layers = BL_LAYERS_AUTO; layers <= 4; layers++) {
            s.device = lists[i];
            s.gpu_layers = layers;
            s.seed = (uint64_t)layers + 2;
            s.schedule = layers % 2 ? "auto" : NULL;
            run(&s, &r);
            must_be_same(&s, &r, measure);
            bool cpus_only = strstr(lists[i], "chaos") == NULL, null = strstr(lists[i], "null") != NULL;
            if (null && layers ? !strstr(r.fallback, "has no kernel") : (r.fallback[0] != 0) != (cpus_only && !null && layers >= 0))
                die(&s, r.fallback);
            if (layers == 1 && !cpus_only && (!strstr(r.placement, "chaos(cpu): layer ") || !strstr(r.placement, "cpu: output")))
                die(&s, r.placement);
        }
    free(r.logits);
}

/* Real devices: what the program would do, and the last layer alone. */
static void on_devices(const struct run *measure, struct setup s, const char *lists)
{
    static const int32_t layers[] = {BL_LAYERS_AUTO, 1};
    struct run r = {.logits = NULL};
    char copy[1024], *state = NULL;
    snprintf(copy, sizeof copy, "%s", lists);
    for (s.device = strtok_r(copy, " ", &state); s.device; s.device = strtok_r(NULL, " ", &state))
        for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
            s.gpu_layers = layers[i];
            run(&s, &r);
            if (r.status == BL_EUNSUPPORTED && !r.placement[0]) {
                printf("%s\n", r.error);
                exit(77);
            }
            must_be_same(&s, &r, measure);
            if (r.fallback[0] || (layers[i] == 1) != (strstr(r.placement, "cpu: output") != NULL))
                die(&s, r.fallback[0] ? r.fallback : r.placement);
            printf("%s\n", r.placement);
        }
    free(r.logits);
}

/* ---- memory ---- */

/* A device with ever less memory takes ever fewer layers, never with other bits; alone it says what it lacks. */
static void every_memory(const struct run *measure, struct setup s)
{
    struct run r = {.logits = NULL};
    uint32_t n_whole = 0, n_split = 0, n_none = 0, n_refused = 0;
    for (uint64_t memory = UINT64_C(16) << 20; memory > 1000; memory -= memory / 5) {
        s.device = "chaos(cpu),cpu";
        s.memory = memory;
        s.gpu_layers = BL_LAYERS_AUTO;
        run(&s, &r);
        must_be_same(&s, &r, measure);
        bool whole = strcmp(r.placement, "chaos(cpu): everything") == 0, none = strcmp(r.placement, "cpu: everything") == 0;
        if (whole != (r.fallback[0] == 0))
            die(&s, r.placement);
        n_whole += whole;
        n_none += none;
        n_split += !whole && !none;
        s.device = "chaos(cpu)";
        run(&s, &r);
        if (whole) {
            must_be_same(&s, &r, measure);
            continue;
        }
        if (r.status != BL_EDEVMEM || !strstr(r.error, "MB") || !strstr(r.error, "chaos(cpu)"))
            die(&s, r.error);
        n_refused++;
    }
    if (!n_whole || !n_split || !n_none || !n_refused) {
        printf("%s: %u whole, %u split, %u none, %u refused\n", model_path, n_whole, n_split, n_none, n_refused);
        exit(1);
    }
    free(r.logits);
}

/* ---- every call fails once ---- */

/* What comes after the last call of a run does not fail: the first such k ends the test. */
enum { FIRST_CALLS = 3 };

static void every_failure(const struct run *measure, struct setup s, const char *device, bool alone)
{
    struct run r = {.logits = NULL};
    uint32_t n_fell_back = 0, n_refused = 0;
    s.device = device;
    for (s.fail_at = 1;; s.fail_at += s.fail_at < 50 ? 1 : 1 + s.fail_at / 6) {
        run(&s, &r);
        if (r.status == BL_OK) {
            must_be_same(&s, &r, measure);
            if (!r.fallback[0] && s.fail_at <= FIRST_CALLS) /* the weights could not be imported: they are copied */
                continue;
            if (!r.fallback[0])
                break;
            if (alone)
                die(&s, "a device alone was replaced");
            n_fell_back++;
        } else {
            if (!alone || !r.error[0] || (r.status != BL_EDEVMEM && r.status != BL_EDEVLOST))
                die(&s, r.error);
            n_refused++;
        }
    }
    if ((alone ? n_refused : n_fell_back) < 20)
        die(&s, "too few failures");
    free(r.logits);
}

int main(int argc, char **argv)
{
    const char *lists = argc > 1 && strncmp(argv[1], "--devices=", 10) == 0 ? argv[1] + 10 : NULL;
    int first = lists ? 2 : 1;
    if (argc <= first)
        return 2;
    for (int i = first; i < argc; i++)
        for (bl_number activations = BL_NUMBER_F32; activations <= BL_NUMBER_Q8; activations += BL_NUMBER_Q8 - BL_NUMBER_F32) {
            struct setup s = {.device = "cpu", .gpu_layers = BL_LAYERS_AUTO, .activations = activations, .seed = 1};
            struct run measure = {.logits = NULL};
            model_path = argv[i];
            run(&s, &measure);
            if (measure.status != BL_OK || measure.fallback[0] || strcmp(measure.placement, "cpu: everything") != 0)
                die(&s, measure.error);
            if (lists && activations == BL_NUMBER_Q8) { /* real devices take their time */
                on_devices(&measure, s, lists);
            } else if (!lists) {
                every_placement(&measure, s);
                if (activations == BL_NUMBER_Q8)
                    every_memory(&measure, s);
                if (activations == BL_NUMBER_Q8 && i == first) {
                    every_failure(&measure, s, "chaos(cpu)", true);
                    every_failure(&measure, s, "chaos(cpu),cpu", false);
                    s.schedule = "serial";
                    every_failure(&measure, s, "cpu,chaos(cpu),cpu", false);
                    s.schedule = "auto";
                    every_failure(&measure, s, "chaos(cpu),cpu", false);
                }
            }
            free(measure.logits);
        }
    printf("%u runs on several devices, equal to the last bit\n", n_runs);
    return 0;
}
