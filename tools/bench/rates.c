/* rates.c: bitloom bench --bits: what a bit costs: models of one shape with random X-bit weights of several bit rates, generating in turns. Prints
 * tokens per second beside the sizes, and draws them. Owns the temporary files and the picture. */
#include "bench/bench.h"
#include "bench/random_model.h"
#include "base/error.h"
#include "compress/out_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_TOKENS = 32, PATH_ROOM = 4096 };
#define USUAL_RATES "1.5,2,2.5,3,3.5,4,4.5,5,6,8"

struct rate {
    double bits, values[BENCH_MOST];
    uint64_t bytes;
    struct spread speed;
    bl_model *model;
    bl_sequence *sequence;
};
struct chart {
    const struct options *o;
    const struct bench_shape *shape;
    char folder[PATH_ROOM - 128], device[128];
    bool is_temporary;
    uint32_t n, tokens;
    struct rate rates[BENCH_LIST];
};

/* ---- before anything is made ---- */

/* Memory that can be had without swapping; 0: not known. */
static uint64_t free_memory(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[256];
    unsigned long long kilobytes = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
            break;
    if (f)
        fclose(f);
    return kilobytes * 1024;
}

static uint64_t all_bytes(struct chart *c, const struct bench_shape *shape)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->n; i++)
        sum += c->rates[i].bytes = bench_model_bytes(shape, c->rates[i].bits);
    return sum;
}

static void choose_shape(struct chart *c)
{
    for (const struct bench_shape *s = bench_shapes; s->name; s++) {
        c->shape = s;
        if (c->o->shape ? strcmp(c->o->shape, s->name) == 0 : all_bytes(c, s) <= free_memory() / 2)
            break;
    }
    (void)all_bytes(c, c->shape);
}

static bool choose_folder(struct chart *c)
{
    const char *temporary = getenv("TMPDIR");
    c->is_temporary = !c->o->folder;
    const int n = c->is_temporary ? snprintf(c->folder, sizeof c->folder, "%s/bitloom-bench-XXXXXX", temporary && *temporary ? temporary : "/tmp")
                                  : snprintf(c->folder, sizeof c->folder, "%s", c->o->folder);
    errno = ENAMETOOLONG;
    if (n > 0 && (size_t)n < sizeof c->folder && (c->is_temporary ? mkdtemp(c->folder) != NULL : mkdir(c->folder, 0777) == 0 || errno == EEXIST))
        return true;
    fprintf(stderr, "%s bench: %s: cannot make the folder: %s\n", program_name, c->folder, strerror(errno));
    c->is_temporary = false;
    return false;
}

static void name_file(const struct chart *c, const struct rate *r, char out[PATH_ROOM])
{
    snprintf(out, PATH_ROOM, "%s/bitloom-bench-%s-%.3f.gguf", c->folder, c->shape->name, r->bits);
}

static bool is_made(const struct chart *c, const struct rate *r)
{
    char path[PATH_ROOM];
    struct stat s;
    name_file(c, r, path);
    return stat(path, &s) == 0 && (uint64_t)s.st_size == r->bytes;
}

/* All files are there at once, in the end. */
static int check_room(const struct chart *c)
{
    char path[PATH_ROOM];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < c->n; i++)
        bytes += is_made(c, &c->rates[i]) ? 0 : c->rates[i].bytes;
    name_file(c, &c->rates[0], path);
    return xq_out_check_room(path, bytes) == BL_OK ? EXIT_OK : report_error();
}

/* ---- the models ---- */

static int make_model(struct chart *c, struct rate *r)
{
    char path[PATH_ROOM];
    struct options own = *c->o;
    bl_model_info info;
    name_file(c, r, path);
    own.model = path;
    own.context = c->tokens;
    own.batch = 1;
    if (!is_made(c, r) && bench_write_model(path, c->shape, r->bits) != BL_OK)
        return report_error();
    const int code = open_model(&own, &r->model, &r->sequence);
    if (c->is_temporary)
        (void)unlink(path); /* it is there as long as it is open */
    if (code != EXIT_OK)
        return code;
    bl_model_get_info(r->model, &info);
    snprintf(c->device, sizeof c->device, "%s", info.device);
    return bench_forward(r->model, r->sequence, 1, false) < 0 ? report_error() : EXIT_OK;
}

static int measure(struct chart *c)
{
    int code = check_room(c);
    for (uint32_t i = 0; code == EXIT_OK && i < c->n; i++) {
        if (!c->o->quiet && isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[Kmodel %u of %u: %g bits, %.0f MB", i + 1, c->n, c->rates[i].bits, (double)c->rates[i].bytes / 1e6);
        code = make_model(c, &c->rates[i]);
    }
    for (uint32_t k = 0; code == EXIT_OK && k < (uint32_t)c->o->repetitions; k++) {
        if (!c->o->quiet && isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[Kround %u of %lld%s", k + 1, (long long)c->o->repetitions, k + 1 == c->o->repetitions ? "\n" : "");
        for (uint32_t i = 0; code == EXIT_OK && i < c->n; i++) {
            const double seconds = bench_forward(c->rates[i].model, c->rates[i].sequence, c->tokens, false);
            c->rates[i].values[k] = c->tokens / seconds;
            code = seconds < 0 ? report_error() : EXIT_OK;
        }
    }
    for (uint32_t i = 0; code == EXIT_OK && i < c->n; i++)
        c->rates[i].speed = bench_spread(c->rates[i].values, (uint32_t)c->o->repetitions);
    return code;
}

/* ---- what is printed ---- */

/* The last rate is what the others are compared with. */
static double speed_ratio(const struct chart *c, const struct rate *r)
{
    return r->speed.median / c->rates[c->n - 1].speed.median;
}

static double bytes_ratio(const struct chart *c, const struct rate *r)
{
    return (double)c->rates[c->n - 1].bytes / (double)r->bytes;
}

static void print_json(const struct chart *c)
{
    printf("{\"shape\": \"%s\", \"device\": ", c->shape->name);
    print_json_string(stdout, c->device);
    printf(", \"n_gen\": %u, \"repetitions\": %lld, \"load_average\": %.2f, \"rates\": [", c->tokens, (long long)c->o->repetitions, bench_load());
    for (uint32_t i = 0; i < c->n; i++) {
        const struct rate *r = &c->rates[i];
        printf("%s\n  {\"bits\": %g, \"bytes\": %llu, \"speed_ratio\": %.4f, \"bytes_ratio\": %.4f, \"tg\": ", i ? "," : "", r->bits, (unsigned long long)r->bytes,
               speed_ratio(c, r), bytes_ratio(c, r));
        bench_print_spread(&r->speed);
        printf("}");
    }
    printf("\n]}\n");
}

static void print_table(const struct chart *c)
{
    printf("%s, shape %s, random weights, tg%u, load average %.1f\n%6s %10s %10s +/- %-8s %10s %12s %12s\n", c->device, c->shape->name, c->tokens, bench_load(), "bits", "MB",
           "tok/s", "", "median", "speed", "bytes");
    for (uint32_t i = 0; i < c->n; i++) {
        const struct rate *r = &c->rates[i];
        printf("%6g %10.1f ", r->bits, (double)r->bytes / 1e6);
        bench_print_columns(&r->speed);
        printf(" %12.2f %12.2f\n", speed_ratio(c, r), bytes_ratio(c, r));
    }
    printf("speed: over that of the last line; bytes: those of the last line over these\n");
}

/* ---- the picture ---- */

#define LEFT 60.0
#define TOP 50.0
#define WIDTH 560.0
#define HEIGHT 300.0

static double place_x(double bits)
{
    return LEFT + WIDTH * bits / 8.5;
}

static double place_y(double speed, double most)
{
    return TOP + HEIGHT * (1 - speed / most);
}

static void draw_axes(FILE *f, double most)
{
    for (int bits = 0; bits <= 8; bits++)
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d</text>\n", place_x(bits), TOP + HEIGHT + 18, bits);
    for (int i = 0; i <= 4; i++)
        fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n", LEFT, LEFT + WIDTH,
                place_y(most * i / 4, most), place_y(most * i / 4, most), LEFT - 6, place_y(most * i / 4, most) + 4, most * i / 4);
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">bits per weight</text>\n", LEFT + WIDTH / 2, TOP + HEIGHT + 38);
}

static void draw(FILE *f, const struct chart *c)
{
    double most = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const double speed = c->rates[i].speed.median, even = c->rates[c->n - 1].speed.median * bytes_ratio(c, &c->rates[i]);
        most = speed > most ? speed : most;
        most = even > most ? even : most;
    }
    most *= 1.05;
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 400\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"660\" height=\"400\" fill=\"#fff\"/>\n"
               "<text x=\"%.1f\" y=\"20\" font-size=\"15\">Smaller is faster: tokens per second, shape %s</text>\n"
               "<text x=\"%.1f\" y=\"38\" fill=\"#666\">dashed: as if time went by the bytes of the file alone</text>\n", LEFT, c->shape->name, LEFT);
    draw_axes(f, most);
    fprintf(f, "<polyline fill=\"none\" stroke=\"#999\" stroke-dasharray=\"5 4\" points=\"");
    for (uint32_t i = 0; i < c->n; i++)
        fprintf(f, "%.1f,%.1f ", place_x(c->rates[i].bits), place_y(c->rates[c->n - 1].speed.median * bytes_ratio(c, &c->rates[i]), most));
    fprintf(f, "\"/>\n<polyline fill=\"none\" stroke=\"#2463a8\" stroke-width=\"2\" points=\"");
    for (uint32_t i = 0; i < c->n; i++)
        fprintf(f, "%.1f,%.1f ", place_x(c->rates[i].bits), place_y(c->rates[i].speed.median, most));
    fprintf(f, "\"/>\n");
    for (uint32_t i = 0; i < c->n; i++)
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"#2463a8\"><title>%g bits, %.1f MB: %.2f tokens per second</title></circle>\n",
                place_x(c->rates[i].bits), place_y(c->rates[i].speed.median, most), c->rates[i].bits, (double)c->rates[i].bytes / 1e6, c->rates[i].speed.median);
    fprintf(f, "</svg>\n");
}

static int write_picture(const struct chart *c, struct xq_out_file *file)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (f)
        draw(f, c);
    bl_status status = f && fclose(f) == 0 ? BL_OK : bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory to draw", c->o->output);
    if (status == BL_OK)
        status = xq_out_write(file, text, bytes, 0);
    if (status == BL_OK)
        status = xq_out_finish(file);
    free(text);
    return status == BL_OK ? EXIT_OK : report_error();
}

int bench_rates(const struct options *o)
{
    static struct chart c;
    double bits[BENCH_LIST];
    c.o = o;
    c.tokens = o->bench_tokens < 0 ? DEFAULT_TOKENS : (uint32_t)o->bench_tokens;
    if (!c.tokens) {
        fprintf(stderr, "%s bench: -n 0: must be 1 or more with --bits\n", program_name);
        return EXIT_USAGE;
    }
    if (!bench_list(*o->bench_bits ? o->bench_bits : USUAL_RATES, bits, &c.n))
        return EXIT_USAGE;
    for (uint32_t i = 0; i < c.n; i++)
        c.rates[i].bits = bits[i];
    choose_shape(&c);
    struct xq_out_file picture = {0};
    if (o->output && xq_out_open(&picture, o->output) != BL_OK) /* before anything is measured */
        return report_error();
    int code = choose_folder(&c) ? measure(&c) : EXIT_FAILED;
    if (code == EXIT_OK && o->json)
        print_json(&c);
    else if (code == EXIT_OK)
        print_table(&c);
    if (code == EXIT_OK && o->output)
        code = write_picture(&c, &picture);
    xq_out_discard(&picture);
    for (uint32_t i = 0; i < c.n; i++) {
        bl_sequence_destroy(c.rates[i].sequence);
        bl_model_close(c.rates[i].model);
    }
    if (c.is_temporary)
        (void)rmdir(c.folder);
    return code;
}
