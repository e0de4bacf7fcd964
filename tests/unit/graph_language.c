/* graph_language.c: the language of the graph texts: operators, names, statements, blocks, arguments, functions on numbers, limits. */
#include "graph_fake.h"

#include "base/error.h"
#include "base/limits.h"
#include "graph/eval.h"

#include <math.h>
#include <stdlib.h>

static struct fake f;

static void sources(void)
{
    static const double numbers[] = {4, 5, 6};
    fake_least(&f);
    fake_tensor(&f, "w.weight", BL_FMT_F32, 64, 96);
    fake_tensor(&f, "plain", BL_FMT_F32, 64, 1);
    fake_tensor(&f, "blk.3.q.weight", BL_FMT_F32, 64, 7);
    fake_number(&f, "test.n", 12);
    fake_array(&f, "test.list", numbers, 3);
    fake_text(&f, "test.kind", "linear");
    fake_number(&f, "general.g", 1);
    fake_number(&f, "tokenizer.t", 2);
    fake_number(&f, "bitloom.b", 3);
}

static double value_of(const char *expression)
{
    char text[1024];
    snprintf(text, sizeof text, "param r = %s\n" LEAST, expression);
    struct bl_graph *g = must_parse(&f, text);
    const struct bl_graph_param *r = bl_graph_find_param(g, "r");
    cr_assert(r && !r->is_text, "%s", expression);
    double number = r->number;
    bl_graph_destroy(g);
    return number;
}

static const struct {
    const char *expression;
    double expected;
} numbers[] = {
    /* literals */
    {"0", 0}, {"12", 12}, {"0.5", 0.5}, {"1e3", 1000}, {"1E-2", 0.01}, {"2.5e+1", 25}, {"0.044715", 0.044715}, {"1e-5", 1e-5}, {"1e22", 1e22},
    {"1e-400", 0}, {"9007199254740993", 9007199254740992.0},
    /* each operator */
    {"2 + 3", 5}, {"2 - 3", -1}, {"2 * 3", 6}, {"7 / 2", 3.5}, {"7 % 4", 3}, {"-7 % 4", -3}, {"5.5 % 2", 1.5}, {"-3", -3}, {"2 == 2", 1},
    {"2 == 3", 0}, {"2 != 3", 1}, {"2 != 2", 0}, {"2 < 3", 1}, {"3 < 3", 0}, {"3 <= 3", 1}, {"4 <= 3", 0}, {"3 > 2", 1}, {"3 > 3", 0},
    {"3 >= 3", 1}, {"2 >= 3", 0}, {"1 and 2", 1}, {"1 and 0", 0}, {"0 and 0", 0}, {"0 or 0", 0}, {"0 or 3", 1}, {"1 or 1", 1},
    {"\"a\" == \"a\"", 1}, {"\"a\" == \"b\"", 0}, {"\"a\" != \"b\"", 1}, {"\"a\" != \"a\"", 0}, {"\"#\" == \"#\"", 1},
    /* to the left */
    {"10 - 3 - 2", 5}, {"100 / 10 / 5", 2}, {"100 % 30 % 4", 2}, {"2 * 7 % 4", 2}, {"7 % 4 * 2", 6}, {"8 / 4 * 2", 4}, {"1 - 2 + 3", 2},
    {"3 > 2 > 1", 0}, {"1 == 1 == 1", 1}, {"3 == 3 == 3", 0},
    /* precedence, each level against the next */
    {"2 + 3 * 4", 14}, {"2 * 3 + 4", 10}, {"10 - 6 / 2", 7}, {"10 + 7 % 4", 13}, {"(2 + 3) * 4", 20}, {"-2 + 3", 1}, {"-2 * 3", -6}, {"2 * -3", -6},
    {"2 - -3", 5}, {"- -3", 3}, {"---3", -3}, {"-(2 + 3)", -5}, {"-4 % 3", -1}, {"1 + 2 < 4", 1}, {"4 < 1 + 2", 0}, {"2 * 2 == 4", 1}, {"1 < 2 and 2 < 1", 0},
    {"1 or 0 and 0", 1}, {"0 and 0 or 1", 1}, {"(1 or 0) and 0", 0}, {"0 and (0 or 1)", 0}, {"1 == 2 or 2 == 2", 1}, {"nokey.x ? 1 or 0", 1}, {"{arch}.x ? 1 + 2", 3},
    {"((((7))))", 7}, {"2*(3+(4-1))", 12}, {"1+2*3-4/2", 5},
    /* fallback */
    {"{arch}.n ? 5", 12}, {"{arch}.none ? 5", 5}, {"{arch}.none ? {arch}.nope ? 6", 6}, {"{arch}.none ? {arch}.n ? 6", 12}, {"1 + ({arch}.none ? 2) * 3", 7},
    {"3 ? 4", 3}, {"0 ? 4", 0}, {"rows(gone ? token_embd)", 16}, {"rows(token_embd ? gone)", 16}, {"exists(gone ? gone2)", 0}, {"{arch}.none ? 1 < 2", 1},
    {"{arch}.list[9 - 9] ? 8", 4}, {"{arch}.none[0] ? 8", 8},
    /* keys */
    {"{arch}.n", 12}, {"test.n ? 1", 1}, {"general.g", 1}, {"tokenizer.t", 2}, {"bitloom.b", 3}, {"{arch}.list[0]", 4}, {"{arch}.list[2]", 6},
    {"{arch}.list[1] * {arch}.list[2]", 30}, {"-{arch}.list[1]", -5}, {"2 * {arch}.list[1 + 1] - 1", 11}, {"{arch}.n[0]", 12}, {"{arch}.n[5]", 12},
    {"{arch}.list[{arch}.list[0] - 3]", 5}, {"{arch}.kind == \"linear\"", 1}, {"\"linear\" == {arch}.kind", 1}, {"{arch}.kind != \"yarn\"", 1}, {"arch == \"test\"", 1},
    /* functions on numbers; functions_are_known finds the ones that are missing here */
    {"sqrt(16)", 4}, {"sqrt(a=9)", 3}, {"log(1)", 0}, {"floor(2.7)", 2}, {"floor(-2.1)", -3}, {"not(0)", 1}, {"not(3)", 0}, {"min(2, 3)", 2}, {"min(3, 2)", 2},
    {"min(2, 2)", 2}, {"max(2, 3)", 3}, {"max(3, 2)", 3}, {"max(2, 2)", 2}, {"min(b=1, a=2)", 1}, {"if(1, 2, 3)", 2}, {"if(0, 2, 3)", 3},
    {"if(b=1, a=2, condition=0)", 1}, {"if(2 > 1, 10, 20) + 1", 11}, {"rows(if(1, token_embd, w))", 16}, {"if(1, \"a\", \"b\") == \"a\"", 1},
    {"require(1, \"x\")", 1}, {"exists({arch}.n)", 1}, {"exists({arch}.none)", 0}, {"exists(token_embd)", 1}, {"exists(gone)", 0}, {"exists(none)", 0},
    {"rows(token_embd)", 16}, {"columns(token_embd)", 64}, {"columns(plain)", 64}, {"rows(plain)", 1}, {"rows(w[8:20])", 12}, {"columns(w[8:20])", 64},
    {"rows(w[8:20][2:5])", 3}, {"rows(w[0:96])", 96}, {"rows(blk.3.q)", 7}, {"max(min(4, 2), min(3, 9))", 3}, {"sqrt(max(4, 9) + 7)", 4},
};

Test(graph_language, expressions)
{
    sources();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        double got = value_of(numbers[i].expression);
        cr_expect_eq(got, numbers[i].expected, "%s = %.17g, expected %.17g", numbers[i].expression, got, numbers[i].expected);
    }
}

/* Every function of the table has a call here or in graph_ops.c, by name: a new one fails until it is tested. */
Test(graph_language, functions_are_known)
{
    static const char *const on_values[] = {"embed", "linear", "rms_norm", "layer_norm", "rope", "attention", "silu", "gelu", "gelu_tanh", "gelu_quick", "relu",
                                            "relu2", "sigmoid", "tanh", "softcap", "select"};
    uint32_t n = 0;
    for (const char *name; (name = bl_eval_function_name(n)); n++) {
        bool known = false;
        size_t length = strlen(name);
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
            known = known || (strncmp(numbers[i].expression, name, length) == 0 && numbers[i].expression[length] == '(');
        for (size_t i = 0; i < sizeof on_values / sizeof on_values[0]; i++)
            known = known || strcmp(on_values[i], name) == 0;
        cr_expect(known, "function %s has no test", name);
    }
    cr_assert_eq(n, 11 + sizeof on_values / sizeof on_values[0]);
}

Test(graph_language, refusals_that_only_a_source_shows)
{
    sources();
    must_refuse(&f, "x = {arch}.list[3]\n" LEAST, BL_EFORMAT, "test.list");
    must_refuse(&f, "x = {arch}.kind + 1\n" LEAST, BL_EFORMAT, "string");
    must_refuse(&f, "x = \"a\" < \"b\"\n" LEAST, BL_EFORMAT, "strings");
    must_refuse(&f, "x = {arch}.none + 1\n" LEAST, BL_EFORMAT, "test.none");
    must_refuse(&f, "x = {arch}.none ? {arch}.nope\n" LEAST, BL_EFORMAT, "test.nope");
    must_refuse(&f, "x = 1e999\n" LEAST, BL_EFORMAT, "number");
    must_refuse(&f, "x = 1.5   y = blk.{x}.q\n" LEAST, BL_EFORMAT, "'x'");
    must_refuse(&f, "x = embed(tokens, token_embd) * 1e300\n" LEAST, BL_EFORMAT, "finite");
    must_refuse(&f, "x = embed(tokens, token_embd) / 1e-300\n" LEAST, BL_EFORMAT, "finite");
    f.keys[0].numbers[0] = (double)NAN;
    must_refuse(&f, "x = embed(tokens, token_embd) * {arch}.n\n" LEAST, BL_EFORMAT, "finite");
}

Test(graph_language, names_with_braces)
{
    sources();
    static const struct {
        const char *text;
        double expected;
    } cases[] = {
        {"i = 3   param r = rows(blk.{i}.q)\n", 7},
        {"i = \"blk.3\"   param r = rows({i}.q)\n", 7},
        {"a = \"bl\"   i = 3   param r = rows({a}k.{i}.q)\n", 7},
        {"a = \"n\"   param r = {arch}.{a}\n", 12},
        {"i = 4   param r = exists(blk.{i}.q)\n", 0},
        {"g = \"general\"   param r = {g}.g\n", 1}, /* expanded first, then a key by its beginning */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "%s" LEAST, cases[i].text);
        struct bl_graph *g = must_parse(&f, text);
        cr_expect_eq(bl_graph_find_param(g, "r")->number, cases[i].expected, "%s", cases[i].text);
        bl_graph_destroy(g);
    }
}

static double param_of(const char *text)
{
    char all[2048];
    snprintf(all, sizeof all, "%s" LEAST, text);
    struct bl_graph *g = must_parse(&f, all);
    const struct bl_graph_param *r = bl_graph_find_param(g, "r");
    cr_assert_not_null(r, "%s", text);
    double number = r->number;
    bl_graph_destroy(g);
    return number;
}

Test(graph_language, statements_and_blocks)
{
    sources();
    static const struct {
        const char *text;
        double expected;
    } cases[] = {
        /* lines */
        {"a = 1 b = 2 c = a + b param r = c * 2\n", 6},
        {"a = 1   # b = 2\nparam r = a # the end\n", 1},
        {"#\n\n   # deep comment\n  \nparam r = 5\n", 5},
        {"a = 2\r\nif a == 2\r\n  a = 3\r\n\r\nparam r = a\r\n", 3},
        {"param r = 4#no blank\n", 4},
        {"param = 3   param r = param + 1\n", 4},
        {"repeat = 2   if = 3   param r = repeat * if\n", 6},
        {"pos = 7   param r = pos\n", 7},
        {"w = 3   param r = w\n", 3}, /* a variable hides a tensor */
        /* if and else */
        {"a = 1\nif 1\n  a = 2\nelse\n  a = 3\nparam r = a\n", 2},
        {"a = 1\nif 0\n  a = 2\nelse\n  a = 3\nparam r = a\n", 3},
        {"a = 1\nif 0\n  a = 2\nparam r = a\n", 1},
        {"if 1\n  a = 2\nparam r = a\n", 2}, /* what a block sets stays */
        {"if 0\n  if 1\n    a = 1\n  else\n    a = 2\nelse\n  if 0\n    a = 3\n  else\n    a = 4\nparam r = a\n", 4},
        {"if 1\n  if 0\n    a = 1\nelse\n  a = 2\na = 5\nparam r = a\n", 5},
        {"a = 0\nif 1\n  if 0\n    a = 1\n  else\n    a = 2\nelse\n  a = 3\nparam r = a\n", 2},
        {"if 0\n  x = gone + nonsense(1)\nparam r = 1\n", 1}, /* what is not run is not looked up */
        {"if 1\n     a = 1\n     b = 2\nparam r = a + b\n", 3},
        /* repeat */
        {"a = 0\nrepeat i in 5\n  a = a + i\nparam r = a\n", 10},
        {"a = 7\nrepeat i in 0\n  a = nonsense(1)\nparam r = a\n", 7},
        {"repeat i in 5\n  a = 1\nparam r = i\n", 4},
        {"a = 0\nrepeat i in 3\n  repeat j in 4\n    a = a + 10 * i + j\nparam r = a\n", 138},
        {"a = 0\nrepeat i in 4\n  if i % 2\n    a = a + 10\n  else\n    a = a + 1\nparam r = a\n", 22},
        {"a = 0\nrepeat i in 3\n  a = a + 1\n  i = 100\nparam r = a\n", 3}, /* the count is the repeat's own */
        {"a = 0\nrepeat i in 2 + 1\n  a = a + 1\nrepeat i in a\n  a = a * 2\nparam r = a\n", 24},
        {"a = 0\nrepeat i in 3\n  repeat j in i\n    a = a + 1\nparam r = a\n", 3},
        {"a = 0\nrepeat i in 2\n  if 1\n    repeat j in 2\n      if i == j\n        a = a + 1\nparam r = a\n", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double got = param_of(cases[i].text);
        cr_expect_eq(got, cases[i].expected, "%.17g, expected %.17g:\n%s", got, cases[i].expected, cases[i].text);
    }
    must_refuse(&f, "a = rows(blk.{b}.q) ? 1\n" LEAST, BL_EFORMAT, "'b'");
    must_refuse(&f, "if 1\n  a = 1\nb = 2\nelse\n  a = 3\n" LEAST, BL_EFORMAT, "else");
    must_refuse(&f, "if 1\n  a = 1\nelse\n  a = 2\nelse\n  a = 3\n" LEAST, BL_EFORMAT, "else");
    /* Text without a newline at its end. */
    struct bl_graph *g = must_parse(&f, LEAST "param r = 9");
    cr_assert_eq(bl_graph_find_param(g, "r")->number, 9);
    cr_assert_null(bl_graph_find_param(g, "q"));
    bl_graph_destroy(g);
}

Test(graph_language, params_of_text)
{
    sources();
    struct bl_graph *g = must_parse(&f, "param kind = {arch}.kind   param own = \"a b\"\n" LEAST);
    cr_assert_eq(g->n_params, 2);
    cr_assert(bl_graph_find_param(g, "kind")->is_text && bl_graph_find_param(g, "own")->is_text);
    cr_assert_str_eq(bl_graph_find_param(g, "kind")->text, "linear");
    cr_assert_str_eq(bl_graph_find_param(g, "own")->text, "a b");
    bl_graph_destroy(g);
}

/* The block of a node: the iteration of the outermost repeat, wherever that stands. */
Test(graph_language, blocks_of_nodes)
{
    sources();
    struct bl_graph *g = must_parse(&f, "x = embed(tokens, token_embd)\nif 1\n  repeat i in 2\n    x = silu(x)\n    repeat j in 2\n      x = gelu(x)\n"
                                        "    if 1\n      x = relu(x)\n  x = tanh(x)\n" LEAST);
    static const uint32_t blocks[] = {BL_NO_ID, 0, 0, 0, 0, 1, 1, 1, 1, BL_NO_ID, BL_NO_ID};
    for (uint32_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        cr_expect_eq(g->nodes[i].block, blocks[i], "node %u: block %u", i, g->nodes[i].block);
    bl_graph_destroy(g);
}

/* ---- limits: at the limit, and one more ---- */

static char *buffer; /* of the largest text */
static size_t used;

static void begin_text(void)
{
    if (!buffer)
        buffer = malloc(BL_LIMIT_GRAPH_TEXT_BYTES + 4096);
    cr_assert_not_null(buffer);
    used = 0;
    buffer[0] = 0;
}

static void add(const char *text)
{
    size_t n = strlen(text);
    memcpy(buffer + used, text, n + 1);
    used += n;
}

static void add_many(char c, size_t n)
{
    memset(buffer + used, c, n);
    used += n;
    buffer[used] = 0;
}

static void at_limit_or_above(bool above, const char *word)
{
    if (above)
        must_refuse(&f, buffer, BL_ELIMIT, word);
    else
        bl_graph_destroy(must_parse(&f, buffer));
}

Test(graph_language, limits_of_text)
{
    sources();
    for (int above = 0; above < 2; above++) {
        begin_text();
        add(LEAST);
        add_many('#', BL_LIMIT_GRAPH_TEXT_BYTES - used + (size_t)above);
        at_limit_or_above(above, "1048576");

        begin_text(); /* the last line ends with a newline like the others */
        add(LEAST);
        add_many('\n', BL_LIMIT_GRAPH_LINES - 1 + (size_t)above);
        at_limit_or_above(above, "4096");

        begin_text(); /* and without one */
        add_many('\n', BL_LIMIT_GRAPH_LINES - 1 + (size_t)above);
        add(LEAST);
        used--;
        buffer[used] = 0;
        at_limit_or_above(above, "4096");
    }
}

Test(graph_language, limits_of_depth)
{
    sources();
    for (size_t above = 0; above < 2; above++) {
        begin_text();
        add("x = ");
        add_many('(', BL_LIMIT_GRAPH_DEPTH + above);
        add("1");
        add_many(')', BL_LIMIT_GRAPH_DEPTH + above);
        add("\n" LEAST);
        at_limit_or_above(above, "64");

        begin_text();
        for (size_t i = 0; i < BL_LIMIT_GRAPH_DEPTH + above; i++) {
            add_many(' ', i);
            add(i % 2 ? "repeat i in 1\n" : "if 1\n");
        }
        add_many(' ', BL_LIMIT_GRAPH_DEPTH + above);
        add("a = 1\n" LEAST);
        at_limit_or_above(above, "64");
    }
}

Test(graph_language, limits_of_counts)
{
    sources();
    for (uint32_t above = 0; above < 2; above++) {
        char line[128];
        begin_text(); /* LEAST has three nodes, and its embedding a fourth here */
        add("x = embed(tokens, token_embd)\nrepeat i in 7\n  repeat j in 1024\n    x = silu(x)\n");
        snprintf(line, sizeof line, "repeat i in %u\n  x = silu(x)\n", BL_LIMIT_GRAPH_NODES - 7 * 1024 - 4 + above);
        add(line);
        add(LEAST);
        at_limit_or_above(above, "8192 nodes");

        begin_text(); /* arch, tokens, pos, outputs and none are set from the start; LEAST sets logits */
        for (uint32_t i = 0; i < 250 + above; i++) {
            snprintf(line, sizeof line, "v%u = %u\n", i, i);
            add(line);
        }
        add(LEAST);
        at_limit_or_above(above, "256");

        begin_text(); /* a name of a variable, of a tensor and of a path of the longest length */
        add("x = exists(");
        add_many('a', 255 + above);
        add(")\n" LEAST);
        at_limit_or_above(above, "255");
    }
}

/* Words: one per line that is run, one per word of an expression and one for its end. A call is one word with its bracket. */
Test(graph_language, limits_of_steps)
{
    sources();
    for (int above = 0; above < 2; above++) {
        begin_text();
        add("repeat i in 999\n  repeat j in 332\n    x = 1\n"); /* 3 + 999 * (3 + 332 * 3) = 998004 */
        add("repeat i in 658\n  x = 1\n");                      /* 3 + 658 * 3 */
        add(above ? "x = --1\n" : "x = -1\n");                   /* 4; one more */
        add(LEAST);                                              /* 15 */
        at_limit_or_above(above, "1000000");
    }
}
