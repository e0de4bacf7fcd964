/* determinism.c: the logits of a row do not depend on how it is computed, bit for bit: threads, chunks, rows of other sequences beside it,
 * schedule, mapping, CPU level, or the order in which the device takes what is unordered. Uses the public API only.
 *
 *     determinism [--full] MODEL...
 *
 * For each model and both kinds of activations one plain run (one thread, one sequence at a time) is the measure of all others. */
#include <bitloom/bitloom.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SEQUENCES 4u
#define MOST_IDS 70u
#define MOST_TEXT 4096u

enum order { TURNS, ONE_BY_ONE, SHUFFLED, TWO_CALLS, N_ORDERS };
static const char *const order_names[] = {"in turns", "one by one", "shuffled", "in two calls"};

struct setup {
    uint32_t threads, batch, n_sequences;
    enum order order;
    const char *schedule, *device, *cpu_levels;
    uint64_t seed;
    bool no_mmap;
};

struct measure {
    const char *path;
    bl_number activations;
    uint32_t n_ids, vocabulary;
    int32_t ids[MOST_SEQUENCES][MOST_IDS];
    float *logits; /* [MOST_SEQUENCES][n_ids][vocabulary] */
    char text[MOST_TEXT];
};

static uint32_t random_state = 1, n_runs;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

static void die(const struct setup *s, const struct measure *m, const char *what)
{
    printf("%s, %s activations: %u threads, batch %u, %u sequences %s, schedule %s, device %s, levels %s, seed %u, %s: %s (%s)\n", m->path,
           m->activations == BL_NUMBER_F32 ? "f32" : "q8", s->threads, s->batch, s->n_sequences, order_names[s->order],
           s->schedule ? s->schedule : "default", s->device, s->cpu_levels ? s->cpu_levels : "all", (unsigned)s->seed,
           s->no_mmap ? "read" : "mapped", what, bl_error_text());
    exit(1);
}

static bl_model *open_model(const struct setup *s, const struct measure *m)
{
    bl_model_params params;
    bl_model_default_params(&params);
    params.device.device = s->device;
    params.device.n_threads = s->threads;
    params.device.chaos_seed = s->seed;
    if (s->cpu_levels && bl_cpu_mask_parse(s->cpu_levels, &params.device.cpu_mask) != BL_OK)
        die(s, m, "cpu levels");
    params.context = 128;
    params.batch = s->batch;
    params.max_sequences = MOST_SEQUENCES;
    params.max_outputs = MOST_SEQUENCES * MOST_IDS;
    params.schedule = s->schedule;
    params.no_mmap = s->no_mmap;
    params.activations = m->activations;
    bl_model *model;
    if (bl_model_open(m->path, &params, &model) != BL_OK)
        die(s, m, "bl_model_open");
    return model;
}

/* Which sequence each row belongs to. */
static uint32_t make_order(const struct setup *s, uint32_t n_ids, uint8_t *of_row)
{
    uint32_t n = s->n_sequences * n_ids;
    for (uint32_t i = 0; i < n; i++)
        of_row[i] = (uint8_t)(s->order == ONE_BY_ONE ? i / n_ids : i % s->n_sequences);
    for (uint32_t i = n; s->order >= SHUFFLED && i > 1; i--) {
        uint32_t j = draw(i);
        uint8_t other = of_row[j];
        of_row[j] = of_row[i - 1];
        of_row[i - 1] = other;
    }
    return n;
}

/* Computes every row of the setup; records the logits, or compares them with what was recorded. */
static void compute(bl_model *model, const struct setup *s, struct measure *m, bool record)
{
    static uint8_t of_row[MOST_SEQUENCES * MOST_IDS];
    static bl_row rows[MOST_SEQUENCES * MOST_IDS];
    bl_sequence *sequences[MOST_SEQUENCES];
    uint32_t done[MOST_SEQUENCES] = {0}, n = make_order(s, m->n_ids, of_row), first = s->order == TWO_CALLS ? n / 3 : n;
    for (uint32_t q = 0; q < s->n_sequences; q++)
        if (bl_sequence_create(model, &sequences[q]) != BL_OK)
            die(s, m, "bl_sequence_create");
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (bl_row){sequences[of_row[i]], m->ids[of_row[i]][done[of_row[i]]++], true};
    memset(done, 0, sizeof done);
    for (uint32_t at = 0, call = first; at < n; at += call, call = n - at) {
        if (bl_forward(model, rows + at, call) != BL_OK)
            die(s, m, "bl_forward");
        for (uint32_t i = 0; i < call; i++) {
            uint32_t q = of_row[at + i], position = done[q]++;
            float *measure = m->logits + ((size_t)q * m->n_ids + position) * m->vocabulary;
            if (record)
                memcpy(measure, bl_logits(model, i), m->vocabulary * sizeof *measure);
            else if (memcmp(measure, bl_logits(model, i), m->vocabulary * sizeof *measure) != 0) {
                char what[80];
                snprintf(what, sizeof what, "sequence %u, position %u: other logits", q, position);
                die(s, m, what);
            }
        }
    }
    for (uint32_t q = 0; q < s->n_sequences; q++)
        bl_sequence_destroy(sequences[q]);
}

struct text {
    char bytes[MOST_TEXT];
    size_t n;
};

static bool append(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    if (t->n + bytes >= sizeof t->bytes)
        return false;
    memcpy(t->bytes + t->n, text, bytes);
    t->n += bytes;
    t->bytes[t->n] = 0;
    return true;
}

static void generate(bl_model *model, const struct setup *s, struct measure *m, bool record)
{
    struct text text = {.n = 0};
    bl_sequence *sequence;
    bl_generate_params params;
    bl_generate_default_params(&params);
    params.prompt = "the end of it was in the";
    params.prompt_bytes = strlen(params.prompt);
    params.max_tokens = 24;
    params.sampler.temperature = 0;
    params.ignore_end = params.special = true;
    params.on_text = append;
    params.user = &text;
    if (bl_sequence_create(model, &sequence) != BL_OK || bl_generate(sequence, &params, NULL) != BL_OK)
        die(s, m, "bl_generate");
    bl_sequence_destroy(sequence);
    if (record)
        memcpy(m->text, text.bytes, sizeof m->text);
    else if (strcmp(m->text, text.bytes) != 0)
        die(s, m, "another text");
}

static void run(struct setup s, struct measure *m)
{
    bl_model *model = open_model(&s, m);
    compute(model, &s, m, false);
    generate(model, &s, m, false);
    bl_model_close(model);
    n_runs++;
}

static void record(struct measure *m)
{
    struct setup plain = {.threads = 1, .batch = 512, .n_sequences = MOST_SEQUENCES, .order = ONE_BY_ONE, .schedule = "serial", .device = "cpu"};
    bl_model *model = open_model(&plain, m);
    bl_model_info info;
    bl_model_get_info(model, &info);
    m->vocabulary = info.vocabulary;
    m->logits = malloc((size_t)MOST_SEQUENCES * m->n_ids * m->vocabulary * sizeof *m->logits);
    if (!m->logits)
        die(&plain, m, "no memory");
    random_state = 7;
    for (uint32_t q = 0; q < MOST_SEQUENCES; q++)
        for (uint32_t i = 0; i < m->n_ids; i++)
            m->ids[q][i] = (int32_t)draw(m->vocabulary);
    compute(model, &plain, m, true);
    generate(model, &plain, m, true);
    if (memcmp(m->logits, m->logits + (size_t)m->n_ids * m->vocabulary, m->vocabulary * sizeof *m->logits) == 0)
        die(&plain, m, "two sequences have the same logits: the test would see nothing");
    for (uint32_t again = 0; again < 4; again++)
        compute(model, &plain, m, false);
    bl_model_close(model);
}

static void check(const char *path, bl_number activations, bool full)
{
    static const char *const schedules[] = {"serial", "grouped", "streams", "grouped-streams"};
    static const uint32_t threads[] = {3, 1, 2, 4, 7}, batches[] = {7, 512, 1, 32};
    struct measure m = {.path = path, .activations = activations, .n_ids = full ? MOST_IDS : 36};
    struct setup s = {.threads = 3, .batch = 512, .n_sequences = 3, .order = TURNS, .device = "cpu"}, t;
    record(&m);
    for (uint32_t a = 0; a < (full ? 5 : 2); a++)
        for (uint32_t b = 0; b < (full ? 4 : 2); b++)
            for (uint32_t q = full ? 1 : 3; q <= (full ? MOST_SEQUENCES : 3); q++) {
                t = s;
                t.threads = threads[a];
                t.batch = batches[b];
                t.n_sequences = q;
                t.order = (enum order)((a + b + q) % N_ORDERS);
                run(t, &m);
            }
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t levels = 0; levels <= full; levels++)
            for (uint32_t order = 0; order < (full ? N_ORDERS : 1); order++) {
                t = s;
                t.schedule = schedules[i];
                t.cpu_levels = levels ? "c" : NULL;
                t.order = (enum order)order;
                run(t, &m);
            }
    for (uint32_t seed = 1; seed <= (full ? 8 : 2); seed++) {
        t = s;
        t.device = "chaos(cpu)";
        t.seed = seed;
        t.batch = seed % 2 ? 512 : 7;
        t.schedule = seed % 3 ? NULL : "streams";
        run(t, &m);
    }
    t = s;
    t.no_mmap = true;
    run(t, &m);
    t = s;
    t.cpu_levels = "c";
    run(t, &m);
    free(m.logits);
}

int main(int argc, char **argv)
{
    bool full = false;
    uint32_t n_models = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) {
            full = true;
            continue;
        }
        check(argv[i], BL_NUMBER_Q8, full);
        check(argv[i], BL_NUMBER_F32, full);
        n_models++;
    }
    printf("%u models, %u ways to compute them, equal to the last bit\n", n_models, n_runs);
    return n_models ? 0 : 2;
}
