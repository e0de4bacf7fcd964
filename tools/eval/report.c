/* report.c: see report.h. The block of a comparison is laid out as llama-perplexity prints it. */
#include "eval/report.h"

#include "common.h"

#include <sys/stat.h>

const char *activations_of(const struct options *o, bool is_base)
{
    return o->activations ? o->activations : is_base ? "f32" : "q8";
}

/* ---- in words ---- */

/* `base`: the option that names the other model, NULL where none computes. */
static void print_activations(const struct options *o, const char *base)
{
    printf("%-30s: %s", "Activations", activations_of(o, false));
    if (base)
        printf(", of the other model %s", activations_of(o, true));
    printf("\n");
}

static void print_figure(const char *name, struct figure f, const char *unit)
{
    printf("%-30s: %11.6f%s +/- %10.6f%s\n", name, f.value, unit, f.error, unit);
}

static void print_percentiles(const char *what, const double *values, const char *unit)
{
    for (size_t i = 0; i < PERCENTILES; i++) {
        char name[32];
        const double point = percentile_points[i];
        if (point >= 100 || point <= 0)
            snprintf(name, sizeof name, "%s %s", point > 0 ? "Maximum" : "Minimum", what);
        else if (point > 49 && point < 51)
            snprintf(name, sizeof name, "Median  %s", what);
        else
            snprintf(name, sizeof name, "%5.1f%%  %s", point, what);
        printf("%-30s: %11.6f%s\n", name, values[i], unit);
    }
}

static void print_comparison(const struct comparison *c)
{
    printf("====== Perplexity statistics ======\n");
    print_figure("Mean PPL(Q)", c->ppl, "");
    print_figure("Mean PPL(base)", c->base_ppl, "");
    printf("%-30s: %10.2f%%\n", "Cor(ln(PPL(Q)), ln(PPL(base)))", 100 * c->correlation);
    print_figure("Mean ln(PPL(Q)/PPL(base))", c->ln_ratio, "");
    print_figure("Mean PPL(Q)/PPL(base)", c->ratio, "");
    print_figure("Mean PPL(Q)-PPL(base)", c->difference, "");
    printf("\n====== KL divergence statistics ======\n");
    print_figure("Mean    KLD", c->divergence, "");
    print_percentiles("KLD", c->divergences, "");
    printf("\n====== Token probability statistics ======\n");
    print_figure("Mean    dp", c->probability, " %");
    print_percentiles("dp", c->probabilities, "%");
    print_figure("RMS dp    ", c->probability_rms, " %");
    print_figure("Same top p", c->same_top, " %");
}

/* ---- as JSON ---- */

static void open_json(const struct options *o, double seconds)
{
    struct stat s;
    printf("{\"model\": ");
    print_json_string(stdout, o->model);
    printf(", \"bytes\": %.0f, \"seconds\": %.2f, \"activations\": \"%s\"", stat(o->model, &s) == 0 ? (double)s.st_size : 0, seconds, activations_of(o, false));
}

static void json_text(const char *name, const char *text)
{
    printf(", \"%s\": ", name);
    print_json_string(stdout, text);
}

static void json_figure(const char *name, struct figure f)
{
    printf(", \"%s\": %.9g, \"%s_error\": %.6g", name, f.value, name, f.error);
}

static struct figure scaled(struct figure f, double by)
{
    return (struct figure){f.value * by, f.error * by};
}

static void json_comparison(const char *base, const struct comparison *c)
{
    json_text("base", base);
    printf(", \"base_ppl\": %.9g", c->base_ppl.value);
    json_figure("ppl_ratio", c->ratio);
    printf(", \"ln_ppl_ratio\": %.9g", c->ln_ratio.value);
    json_figure("mean_kld", c->divergence);
    printf(", \"max_kld\": %.9g, \"p999_kld\": %.9g, \"p99_kld\": %.9g, \"median_kld\": %.9g, \"rms_dp\": %.9g", c->divergences[0], c->divergences[1],
           c->divergences[2], c->divergences[5], c->probability_rms.value / 100);
    json_figure("same_top", scaled(c->same_top, 0.01));
}

/* ---- ---- */

bool report_text(const struct options *o, const struct scores *s, const char *base, double seconds)
{
    const struct figure alone = perplexity(s->tokens, s->n);
    struct comparison c;
    if (base && !compare(s->tokens, s->n, &c))
        return false;
    if (o->json) {
        open_json(o, seconds);
        printf(", \"windows\": %u, \"n_tokens\": %zu", s->windows, s->n);
        json_figure("ppl", alone);
        if (base)
            json_comparison(base, &c);
        if (o->kld)
            json_text("base_activations", activations_of(o, true));
        printf("}\n");
        return true;
    }
    if (base)
        print_comparison(&c);
    else
        printf("Final estimate: PPL = %.4f +/- %.5f\n", alone.value, alone.error);
    print_activations(o, o->kld);
    return true;
}

void report_snippets(const struct options *o, const struct snippets *s, double seconds)
{
    const struct figure f = mean(s->perplexities, s->n);
    if (o->json) {
        open_json(o, seconds);
        printf(", \"texts\": %u, \"too_short\": %u", s->n, s->too_short);
        json_figure("ppl_c4", f);
        printf("}\n");
    } else {
        printf("Mean perplexity of %u texts: %.4f +/- %.4f", s->n, f.value, f.error);
        printf(s->too_short ? ", %u too short\n" : "\n", s->too_short);
        print_activations(o, NULL);
    }
}

static void print_tasks(const struct options *o, const char *kind, const char *file, const struct chosen *model, const struct chosen *other, const struct mcnemar *m)
{
    const struct figure f = accuracy(model->right, model->n);
    printf("%s, %u tasks of %s", kind, model->n, file);
    printf(model->cut ? ", %u of them cut at the front\n" : "\n", model->cut);
    printf("%-30s: %6.2f %% +/- %5.2f %%\n", "Accuracy", f.value, f.error);
    if (!other)
        return;
    const struct figure g = accuracy(other->right, other->n);
    printf("%-30s: %6.2f %% +/- %5.2f %%   %s\n", "Accuracy of the other", g.value, g.error, o->against);
    printf("%-30s: %u, %u\n", "Both right, both wrong", m->both, m->neither);
    printf("%-30s: %u, %u\n", "Right alone: model, other", m->only_first, m->only_second);
    printf("%-30s: p = %.4g (%s)\n", "McNemar's test", m->p, m->exact ? "exact" : "chi-square");
}

void report_tasks(const struct options *o, const char *kind, const char *file, const struct chosen *model, const struct chosen *other, double seconds)
{
    struct mcnemar m = {0};
    if (other)
        m = mcnemar(model->right, other->right, model->n);
    if (!o->json) {
        print_tasks(o, kind, file, model, other, &m);
        print_activations(o, o->against);
        return;
    }
    open_json(o, seconds);
    json_text("kind", kind);
    json_text("file", file);
    printf(", \"tasks\": %u, \"cut\": %u, \"n_tokens\": %llu", model->n, model->cut, (unsigned long long)model->tokens);
    json_figure("accuracy", scaled(accuracy(model->right, model->n), 0.01));
    if (other) {
        json_text("against", o->against);
        json_text("against_activations", activations_of(o, true));
        json_figure("against_accuracy", scaled(accuracy(other->right, other->n), 0.01));
        printf(", \"both\": %u, \"neither\": %u, \"only_model\": %u, \"only_against\": %u, \"mcnemar\": \"%s\", \"p\": %.6g", m.both, m.neither, m.only_first,
               m.only_second, m.exact ? "exact" : "chi-square", m.p);
    }
    printf("}\n");
}
