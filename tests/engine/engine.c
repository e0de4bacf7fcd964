/* engine.c: what sequences, bl_forward and bl_generate promise at their edges: limits, failures that change nothing, tokens that are owed,
 * pages that are used again, stops, interrupts, and a file that shrinks. Uses the public API only.
 *
 *     engine MODEL      a tiny llama */
#include <bitloom/bitloom.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VOCABULARY 352u
#define PROMPT "the end of it was in the"

static const char *model_path;

static void fail(int line, const char *what)
{
    printf("engine.c:%d: %s (last error: %s)\n", line, what, bl_error_text());
    exit(1);
}
#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
/* The call fails with `code` and the message has both words. */
#define CHECK_FAILS(call, code, word1, word2) \
    do { \
        CHECK((call) == (code)); \
        CHECK(strstr(bl_error_text(), word1) && strstr(bl_error_text(), word2)); \
    } while (0)

static bl_model *open_model(const char *path, uint32_t context, uint32_t max_sequences, uint32_t max_outputs)
{
    bl_model_params params;
    bl_model_default_params(&params);
    params.device.n_threads = 2;
    params.context = context;
    params.max_sequences = max_sequences;
    params.max_outputs = max_outputs;
    bl_model *model;
    CHECK(bl_model_open(path, &params, &model) == BL_OK);
    return model;
}

static bl_sequence *create(bl_model *model)
{
    bl_sequence *s;
    CHECK(bl_sequence_create(model, &s) == BL_OK);
    return s;
}

/* The token at a position of text number `kind`. */
static int32_t token_of(uint32_t kind, uint32_t position)
{
    return (int32_t)((kind * 97 + position * 31 + position * position * kind) % VOCABULARY);
}

/* Appends positions [from, to) of a text; the logits of the last one can be read. */
static bl_status append(bl_sequence *s, bl_model *model, uint32_t kind, uint32_t from, uint32_t to)
{
    bl_row rows[256];
    for (uint32_t i = from; i < to; i++)
        rows[i - from] = (bl_row){s, token_of(kind, i), i + 1 == to};
    return bl_forward(model, rows, to - from);
}

static bool same_logits(const float *a, const float *b)
{
    return memcmp(a, b, VOCABULARY * sizeof *a) == 0;
}

static void keep_logits(const bl_model *model, float *out)
{
    CHECK(bl_logits(model, 0));
    memcpy(out, bl_logits(model, 0), VOCABULARY * sizeof *out);
}

static int32_t largest(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < (int32_t)VOCABULARY; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* ---- bl_generate with its text collected ---- */

struct text {
    char bytes[8192];
    size_t n, ends[512]; /* where each piece ended */
    uint32_t n_pieces, stop_after; /* pieces after which the callback stops; 0: never */
};

static bool collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    CHECK(t->n + bytes < sizeof t->bytes && t->n_pieces < 512);
    memcpy(t->bytes + t->n, text, bytes);
    t->n += bytes;
    t->bytes[t->n] = 0;
    t->ends[t->n_pieces++] = t->n;
    return !t->stop_after || t->n_pieces < t->stop_after;
}

static bl_generate_params greedy(const char *prompt, int32_t max_tokens, struct text *text)
{
    bl_generate_params p;
    bl_generate_default_params(&p);
    p.prompt = prompt;
    p.prompt_bytes = strlen(prompt);
    p.max_tokens = max_tokens;
    p.sampler.temperature = 0;
    p.ignore_end = p.special = true;
    p.on_text = text ? collect : NULL;
    p.user = text;
    return p;
}

static bl_generate_result generate(bl_sequence *s, const char *prompt, int32_t max_tokens, struct text *text)
{
    bl_generate_params p = greedy(prompt, max_tokens, text);
    bl_generate_result r;
    CHECK(bl_generate(s, &p, &r) == BL_OK);
    return r;
}

/* ---- limits and failures ---- */

static void context_is_a_limit(void)
{
    bl_model *model = open_model(model_path, 40, 2, 1);
    bl_sequence *a = create(model), *b = create(model);
    CHECK_FAILS(append(a, model, 0, 0, 41), BL_ELIMIT, "41", "40");
    CHECK(bl_sequence_length(a) == 0);
    CHECK(append(a, model, 0, 0, 30) == BL_OK && append(b, model, 1, 0, 5) == BL_OK);
    CHECK_FAILS(append(a, model, 0, 30, 41), BL_ELIMIT, "30", "11");
    bl_row mixed[12];
    for (uint32_t i = 0; i < 12; i++)
        mixed[i] = (bl_row){i ? a : b, 5, false};
    CHECK_FAILS(bl_forward(model, mixed, 12), BL_ELIMIT, "context", "40");
    CHECK(bl_sequence_length(a) == 30 && bl_sequence_length(b) == 5);
    CHECK(append(a, model, 0, 30, 40) == BL_OK && bl_sequence_length(a) == 40);
    CHECK_FAILS(append(a, model, 0, 40, 41), BL_ELIMIT, "40", "1");
    /* A full context still has a next token; it is shown, but there is no place for it. */
    float full[VOCABULARY];
    CHECK(append(b, model, 1, 5, 6) == BL_OK && bl_sequence_truncate(a, 39) == BL_OK && append(a, model, 0, 39, 40) == BL_OK);
    keep_logits(model, full);
    bl_generate_result r = generate(a, "", 5, NULL);
    CHECK(r.end == BL_END_LENGTH && r.n_generated == 1 && bl_sequence_length(a) == 40);
    bl_generate_params p = greedy("the the the the the the the the the the the the the the the the the the the the", 4, NULL);
    CHECK_FAILS(bl_generate(a, &p, NULL), BL_ELIMIT, "40", "context");
    CHECK(bl_sequence_length(a) == 40);
    CHECK(bl_sequence_truncate(a, 39) == BL_OK && append(a, model, 0, 39, 40) == BL_OK && same_logits(full, bl_logits(model, 0)));
    bl_sequence_destroy(a);
    bl_sequence_destroy(b);
    bl_model_close(model);
}

static void wrong_arguments_change_nothing(void)
{
    bl_model *model = open_model(model_path, 64, 2, 4), *other = open_model(model_path, 64, 1, 1);
    bl_sequence *s = create(model), *t = create(model), *stranger = create(other), *third = s;
    CHECK_FAILS(bl_sequence_create(model, &third), BL_ELIMIT, "2", "max_sequences");
    CHECK(third == NULL);
    bl_row rows[8];
    for (uint32_t i = 0; i < 8; i++)
        rows[i] = (bl_row){i % 2 ? s : t, 7, i < 4};
    CHECK(bl_forward(model, rows, 8) == BL_OK && bl_logits(model, 3) && !bl_logits(model, 4));
    rows[7].logits = true;
    CHECK_FAILS(bl_forward(model, rows, 8), BL_ELIMIT, "5", "max_outputs");
    CHECK(!bl_logits(model, 0));
    rows[7] = (bl_row){s, (int32_t)VOCABULARY, false};
    CHECK_FAILS(bl_forward(model, rows, 8), BL_EINVAL, "352", "row 7");
    rows[7].token = -1;
    CHECK_FAILS(bl_forward(model, rows, 8), BL_EINVAL, "-1", "row 7");
    rows[7] = (bl_row){stranger, 7, false};
    CHECK_FAILS(bl_forward(model, rows, 8), BL_EINVAL, "row 7", "sequence");
    CHECK_FAILS(bl_sequence_truncate(s, 5), BL_EINVAL, "5", "4");
    CHECK(bl_sequence_length(s) == 4 && bl_sequence_length(t) == 4 && bl_sequence_length(stranger) == 0);
    CHECK(bl_forward(model, NULL, 0) == BL_OK);
    bl_generate_params p = greedy("", 4, NULL);
    p.tokenize_flags = 0;
    CHECK_FAILS(bl_generate(stranger, &p, NULL), BL_EINVAL, "prompt", "token");
    bl_sequence_destroy(t);
    CHECK(bl_sequence_create(model, &t) == BL_OK && bl_sequence_length(t) == 0);
    bl_sequence_destroy(stranger);
    bl_sequence_destroy(s);
    bl_sequence_destroy(t);
    bl_model_close(other);
    bl_model_close(model);
}

/* ---- sequences ---- */

#define KINDS 5u
#define LONGEST 120u

static void pages_are_used_again(void)
{
    static float expected[KINDS][LONGEST][VOCABULARY];
    bl_model *model = open_model(model_path, LONGEST, 3, LONGEST);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        bl_row rows[LONGEST];
        bl_sequence *s = create(model);
        for (uint32_t i = 0; i < LONGEST; i++)
            rows[i] = (bl_row){s, token_of(kind, i), true};
        CHECK(bl_forward(model, rows, LONGEST) == BL_OK);
        for (uint32_t i = 0; i < LONGEST; i++)
            memcpy(expected[kind][i], bl_logits(model, i), sizeof expected[kind][i]);
        bl_sequence_destroy(s);
    }
    CHECK(!same_logits(expected[1][60], expected[2][60]));
    bl_sequence *alive[3] = {NULL};
    uint32_t kinds[3] = {0}, lengths[3] = {0}, random = 3;
    for (uint32_t step = 0; step < 300; step++) {
        random = random * 1664525u + 1013904223u;
        uint32_t i = (random >> 8) % 3, what = (random >> 16) % 8, amount = (random >> 20) % 50;
        if (!alive[i]) {
            alive[i] = create(model);
            kinds[i] = (random >> 24) % KINDS;
            lengths[i] = 0;
        } else if (what == 0) {
            bl_sequence_destroy(alive[i]);
            alive[i] = NULL;
        } else if (what == 1) {
            lengths[i] = amount < lengths[i] ? amount : lengths[i];
            CHECK(bl_sequence_truncate(alive[i], lengths[i]) == BL_OK);
        } else {
            uint32_t to = lengths[i] + amount + 1 < LONGEST ? lengths[i] + amount + 1 : LONGEST;
            if (to == lengths[i])
                continue;
            CHECK(append(alive[i], model, kinds[i], lengths[i], to) == BL_OK);
            CHECK(same_logits(expected[kinds[i]][to - 1], bl_logits(model, 0)));
            lengths[i] = to;
        }
        CHECK(!alive[i] || bl_sequence_length(alive[i]) == lengths[i]);
    }
    for (uint32_t i = 0; i < 3; i++)
        bl_sequence_destroy(alive[i]);
    bl_model_close(model);
}

static void truncated_goes_on_like_fresh(void)
{
    float fresh[VOCABULARY];
    bl_model *model = open_model(model_path, 128, 1, 1);
    bl_sequence *s = create(model);
    CHECK(append(s, model, 1, 0, 33) == BL_OK && append(s, model, 2, 33, 70) == BL_OK);
    keep_logits(model, fresh);
    bl_sequence_destroy(s);
    s = create(model);
    CHECK(append(s, model, 1, 0, 100) == BL_OK && bl_sequence_truncate(s, 33) == BL_OK && append(s, model, 2, 33, 70) == BL_OK);
    CHECK(same_logits(fresh, bl_logits(model, 0)));
    CHECK(bl_sequence_truncate(s, 0) == BL_OK && append(s, model, 1, 0, 33) == BL_OK && append(s, model, 2, 33, 70) == BL_OK);
    CHECK(same_logits(fresh, bl_logits(model, 0)));
    bl_sequence_destroy(s);
    bl_model_close(model);
}

/* ---- generation ---- */

/* 40 tokens at once, in two parts, and by hand with bl_forward are the same text, the same length and the same state afterwards. */
static void generation_in_parts(void)
{
    static struct text once, twice;
    float after_once[VOCABULARY];
    bl_model *model = open_model(model_path, 256, 1, 1);
    bl_sequence *s = create(model);
    bl_generate_result r = generate(s, PROMPT, 40, &once);
    uint32_t length = bl_sequence_length(s), n_prompt = r.n_prompt;
    CHECK(r.n_generated == 40 && r.end == BL_END_LENGTH && length == n_prompt + 40);
    bl_row next = {s, 9, true};
    CHECK(bl_forward(model, &next, 1) == BL_OK && bl_sequence_length(s) == length + 1);
    keep_logits(model, after_once);
    bl_sequence_destroy(s);

    for (int32_t first = 1; first < 40; first++) {
        memset(&twice, 0, sizeof twice);
        s = create(model);
        CHECK(generate(s, PROMPT, first, &twice).n_generated == (uint32_t)first && generate(s, "", 40 - first, &twice).n_generated == 40u - (uint32_t)first);
        CHECK(strcmp(once.bytes, twice.bytes) == 0 && bl_sequence_length(s) == length);
        CHECK(bl_sequence_truncate(s, length) == BL_OK); /* to its own length: nothing */
        next.sequence = s;
        CHECK(bl_forward(model, &next, 1) == BL_OK && same_logits(after_once, bl_logits(model, 0)));
        bl_sequence_destroy(s);
    }

    int32_t ids[64];
    size_t n;
    s = create(model);
    CHECK(bl_tokenizer_encode(bl_model_tokenizer(model), PROMPT, strlen(PROMPT), BL_TOKENIZE_ADD_SPECIAL, ids, 64, &n) == BL_OK && n == n_prompt);
    for (size_t i = 0; i < n; i++)
        CHECK(bl_forward(model, &(bl_row){s, ids[i], true}, 1) == BL_OK);
    for (int i = 0; i < 40; i++)
        CHECK(bl_forward(model, &(bl_row){s, largest(bl_logits(model, 0)), true}, 1) == BL_OK);
    next.sequence = s;
    CHECK(bl_forward(model, &next, 1) == BL_OK && same_logits(after_once, bl_logits(model, 0)));
    /* An empty prompt on a sequence that owes nothing: the last token is computed once more. */
    CHECK(bl_sequence_truncate(s, n_prompt) == BL_OK);
    memset(&twice, 0, sizeof twice);
    r = generate(s, "", 40, &twice);
    CHECK(r.n_generated == 40 && strcmp(once.bytes, twice.bytes) == 0 && bl_sequence_length(s) == length);
    /* A shorter length than the owed token's forgets it. */
    CHECK(bl_sequence_truncate(s, n_prompt) == BL_OK && bl_sequence_length(s) == n_prompt);
    memset(&twice, 0, sizeof twice);
    CHECK(generate(s, "", 40, &twice).n_generated == 40 && strcmp(once.bytes, twice.bytes) == 0);
    bl_sequence_destroy(s);
    bl_model_close(model);
}

static void stops(void)
{
    static struct text plain, text;
    bl_model *model = open_model(model_path, 256, 1, 1);
    bl_sequence *s = create(model);
    CHECK(generate(s, PROMPT, 40, &plain).n_generated == 40);
    bl_sequence_destroy(s);
    uint32_t n_tried = 0;
    for (uint32_t border = 1; border + 1 < plain.n_pieces; border++) {
        char stop[5] = {0};
        size_t at = plain.ends[border];
        if (at < 2 || at + 2 > plain.n)
            continue;
        memcpy(stop, plain.bytes + at - 2, 4); /* two bytes on each side of a border of pieces */
        const char *const list[] = {"never there", stop};
        bl_generate_params p = greedy(PROMPT, 40, &text);
        bl_generate_result r;
        p.stop = list;
        p.n_stop = 2;
        memset(&text, 0, sizeof text);
        s = create(model);
        CHECK(bl_generate(s, &p, &r) == BL_OK && r.end == BL_END_STOP && r.n_generated <= 40);
        const char *found = strstr(plain.bytes, stop);
        CHECK(found && text.n == (size_t)(found - plain.bytes) && memcmp(text.bytes, plain.bytes, text.n) == 0);
        bl_sequence_destroy(s);
        n_tried++;
    }
    CHECK(n_tried > 10);
    /* The callback stops; going on gives the rest. */
    memset(&text, 0, sizeof text);
    text.stop_after = 5;
    s = create(model);
    bl_generate_result r = generate(s, PROMPT, 40, &text);
    CHECK(r.end == BL_END_CALLBACK && text.n_pieces == 5 && r.n_generated < 40 && bl_sequence_length(s) == r.n_prompt + r.n_generated);
    text.stop_after = 0;
    CHECK(generate(s, "", (int32_t)(40 - r.n_generated), &text).end == BL_END_LENGTH && strcmp(plain.bytes, text.bytes) == 0);
    bl_sequence_destroy(s);
    bl_model_close(model);
}

/* ---- interrupt ---- */

struct interrupter {
    bl_model *model;
    atomic_bool go, done;
};

static void *interrupt(void *user)
{
    struct interrupter *i = user;
    while (!atomic_load(&i->go))
        sched_yield();
    bl_model_interrupt(i->model);
    atomic_store(&i->done, true);
    return NULL;
}

static bool wait_for_interrupter(void *user, const char *text, size_t bytes)
{
    struct interrupter *i = user;
    (void)text;
    (void)bytes;
    atomic_store(&i->go, true);
    while (!atomic_load(&i->done))
        sched_yield();
    return true;
}

static void interrupts(void)
{
    float before[VOCABULARY];
    bl_model *model = open_model(model_path, 256, 1, 1);
    bl_sequence *s = create(model);
    CHECK(append(s, model, 1, 0, 9) == BL_OK && append(s, model, 1, 9, 10) == BL_OK);
    keep_logits(model, before);
    CHECK(bl_sequence_truncate(s, 9) == BL_OK);
    bl_model_interrupt(model); /* while nothing runs: the next call */
    CHECK_FAILS(append(s, model, 1, 9, 10), BL_ECANCELLED, "interrupted", "");
    CHECK(bl_sequence_length(s) == 9);
    CHECK(append(s, model, 1, 9, 10) == BL_OK && same_logits(before, bl_logits(model, 0)));

    struct interrupter i = {.model = model};
    pthread_t thread;
    bl_generate_params p = greedy(PROMPT, 200, NULL);
    bl_generate_result r;
    p.on_text = wait_for_interrupter;
    p.user = &i;
    CHECK(pthread_create(&thread, NULL, interrupt, &i) == 0);
    CHECK_FAILS(bl_generate(s, &p, &r), BL_ECANCELLED, "interrupted", "");
    pthread_join(thread, NULL);
    CHECK(r.n_generated >= 1 && r.n_generated < 200);
    CHECK(generate(s, "", 5, NULL).n_generated == 5);
    bl_sequence_destroy(s);
    bl_model_close(model);
}

/* ---- a file that shrinks ---- */

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char buffer[4096];
    CHECK(in && out);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, in)) > 0;)
        CHECK(fwrite(buffer, 1, n, out) == n);
    CHECK(fclose(out) == 0);
    fclose(in);
}

static void file_shrinks_while_in_use(void)
{
    char path[] = "/tmp/bitloom-engine-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    copy_file(model_path, path);
    bl_model *model = open_model(path, 64, 1, 1);
    bl_sequence *s = create(model);
    CHECK(append(s, model, 1, 0, 9) == BL_OK);
    CHECK(ftruncate(fd, 8192) == 0);
    CHECK_FAILS(append(s, model, 1, 9, 20), BL_EIO, path, "");
    CHECK(bl_sequence_length(s) == 9);
    CHECK_FAILS(append(s, model, 1, 9, 20), BL_EIO, path, "");
    bl_sequence_destroy(s);
    bl_model_close(model);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"context is a limit", context_is_a_limit}, {"wrong arguments change nothing", wrong_arguments_change_nothing},
                 {"pages are used again", pages_are_used_again}, {"truncated goes on like fresh", truncated_goes_on_like_fresh},
                 {"generation in parts", generation_in_parts}, {"stops", stops}, {"interrupts", interrupts},
                 {"file shrinks while in use", file_shrinks_while_in_use}};
    if (argc != 2)
        return 2;
    model_path = argv[1];
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        printf("%s\n", tests[i].name);
        fflush(stdout);
        tests[i].run();
    }
    return 0;
}
