/* eval.c: runs a graph text: statements and blocks, with explicit stacks and a budget of steps. Expressions are in expression.c. */
#include "graph/interpreter.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bl_status add_param(struct interpreter *in, const char *name, const struct bl_val *val)
{
    struct bl_graph *g = in->e.graph;
    if (val->kind != BL_VAL_NUMBER && val->kind != BL_VAL_STRING)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "param %s is %s, expected a number or a string", name, bl_val_kind_name(val->kind));
    for (uint32_t i = 0; i < g->n_params; i++)
        if (strcmp(g->params[i].name, name) == 0)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "param %s is set twice", name);
    if (g->n_params == g->cap_params) {
        uint32_t cap = g->cap_params ? g->cap_params * 2 : 16;
        struct bl_graph_param *grown = bl_arena_alloc(&g->arena, cap, sizeof *grown);
        if (!grown)
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "the text needs more memory than its limit");
        if (g->n_params)
            memcpy(grown, g->params, g->n_params * sizeof *grown);
        g->params = grown;
        g->cap_params = cap;
    }
    g->params[g->n_params++] = (struct bl_graph_param){bl_arena_string(&g->arena, name, strlen(name)), val->kind == BL_VAL_STRING, val->number, val->text};
    return BL_OK;
}

static bl_status absent_error(const struct bl_eval *e, const struct bl_val *val)
{
    BL_EVAL_FAIL(e, BL_EFORMAT, "unknown name '%s': no variable, key or tensor of that name", val->text);
}

static bl_status statements(struct interpreter *in, const struct bl_graph_line *line)
{
    const struct bl_graph_token *t = line->tokens;
    while (t->kind != BL_TOK_END) {
        bool is_param = t->kind == BL_TOK_NAME && strcmp(t->text, "param") == 0 && t[1].kind == BL_TOK_NAME;
        if (is_param)
            t++;
        if (t->kind != BL_TOK_NAME || !is_punct(t + 1, '='))
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: expected NAME = ..., found '%s'", t->column, t->text);
        const char *name = t->text;
        t += 2;
        struct bl_val val;
        BL_TRY(bl_eval_expression(in, &t, &val));
        if (val.kind == BL_VAL_ABSENT)
            return absent_error(&in->e, &val);
        if (is_param)
            BL_TRY(add_param(in, name, &val));
        BL_TRY(bl_set_variable(in, name, &val, NULL));
    }
    return BL_OK;
}

static bl_status number_here(struct interpreter *in, const struct bl_graph_token *t, const char *what, double *out)
{
    struct bl_val val;
    BL_TRY(bl_eval_expression(in, &t, &val));
    if (val.kind == BL_VAL_ABSENT)
        return absent_error(&in->e, &val);
    if (val.kind != BL_VAL_NUMBER)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "%s needs a number, not %s", what, bl_val_kind_name(val.kind));
    if (t->kind != BL_TOK_END)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: unexpected '%s' after the expression", t->column, t->text);
    *out = val.number;
    return BL_OK;
}

static void push_frame(struct interpreter *in, const struct frame *f)
{
    in->frames[in->n_frames++] = *f;
    in->if_known[in->n_frames] = false; /* an "if" of an earlier block at this depth is no partner for an "else" here */
}

static bool top_is_outermost_repeat(const struct interpreter *in)
{
    for (uint32_t k = 0; k + 1 < in->n_frames; k++)
        if (in->frames[k].n)
            return false;
    return in->frames[in->n_frames - 1].n;
}

/* Begins the iteration frames[top].i, or leaves the block. */
static void next_iteration(struct interpreter *in, uint32_t *pc)
{
    struct frame *f = &in->frames[in->n_frames - 1];
    bool outermost = top_is_outermost_repeat(in);
    if (f->i < f->n) {
        in->variables[f->variable].val = number_val(f->i);
        if (outermost)
            in->e.block = f->i;
        f->i++;
        *pc = f->body;
    } else {
        *pc = f->end;
        in->n_frames--;
        if (outermost)
            in->e.block = BL_NO_ID;
    }
}

static bl_status run_line(struct interpreter *in, uint32_t *pc)
{
    const struct bl_graph_line *line = &in->lines.lines[*pc];
    const struct bl_graph_token *t = line->tokens;
    in->e.line = line->number;
    if (++in->steps > BL_LIMIT_GRAPH_STEPS)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "more than %u words evaluated", BL_LIMIT_GRAPH_STEPS);
    uint32_t end = line->block_end, depth = in->n_frames;
    bool is_repeat = t->kind == BL_TOK_NAME && strcmp(t->text, "repeat") == 0 && t[1].kind == BL_TOK_NAME;
    bool is_if = t->kind == BL_TOK_NAME && strcmp(t->text, "if") == 0 && !is_punct(t + 1, '=');
    bool is_else = t->kind == BL_TOK_NAME && strcmp(t->text, "else") == 0 && t[1].kind == BL_TOK_END;
    if ((is_repeat || is_if || is_else) && end == *pc + 1)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'%s' without deeper lines", t->text);
    if ((is_repeat || is_if) && depth == BL_LIMIT_GRAPH_DEPTH)
        BL_EVAL_FAIL(&in->e, BL_ELIMIT, "blocks nested deeper than %u", BL_LIMIT_GRAPH_DEPTH);
    if (is_repeat) {
        if (t[2].kind != BL_TOK_NAME || strcmp(t[2].text, "in") != 0)
            BL_EVAL_FAIL(&in->e, BL_EFORMAT, "column %u: expected 'repeat NAME in COUNT'", t[2].column);
        double n;
        BL_TRY(number_here(in, t + 3, "repeat", &n));
        if (!(n >= 0) || n > BL_LIMIT_LAYERS || n != floor(n))
            BL_EVAL_FAIL(&in->e, BL_ELIMIT, "repeat count %g, limit %u", n, BL_LIMIT_LAYERS);
        struct frame f = {*pc, *pc + 1, end, 0, 0, (uint32_t)n};
        struct bl_val zero = number_val(0);
        BL_TRY(bl_set_variable(in, t[1].text, &zero, &f.variable));
        in->if_known[depth] = false;
        push_frame(in, &f);
        next_iteration(in, pc);
        return BL_OK;
    }
    if (is_if || is_else) {
        bool take;
        if (is_if) {
            double condition;
            BL_TRY(number_here(in, t + 1, "if", &condition));
            take = condition != 0;
        } else {
            if (!in->if_known[depth])
                BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'else' without 'if'");
            take = !in->if_taken[depth];
        }
        in->if_known[depth] = is_if;
        in->if_taken[depth] = take;
        if (take)
            push_frame(in, &(struct frame){*pc, *pc + 1, end, 0, 0, 0});
        *pc = take ? *pc + 1 : end;
        return BL_OK;
    }
    in->if_known[depth] = false;
    if (end != *pc + 1) {
        in->e.line = in->lines.lines[*pc + 1].number;
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "unexpected indent");
    }
    BL_TRY(statements(in, line));
    (*pc)++;
    return BL_OK;
}

static bl_status run(struct interpreter *in)
{
    static const struct {
        const char *name;
        enum bl_val_kind kind;
        uint32_t id;
    } inputs[] = {{"tokens", BL_VAL_INPUT, BL_INPUT_TOKENS}, {"pos", BL_VAL_INPUT, BL_INPUT_POS}, {"outputs", BL_VAL_INPUT, BL_INPUT_OUTPUTS},
                  {"none", BL_VAL_NONE, 0}};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        BL_TRY(bl_set_variable(in, inputs[i].name, &(struct bl_val){.kind = inputs[i].kind, .id = inputs[i].id}, NULL));
    BL_TRY(bl_set_variable(in, "arch", &(struct bl_val){.kind = BL_VAL_STRING, .text = in->e.source->arch}, NULL));
    for (uint32_t pc = 0;;) {
        while (in->n_frames && pc == in->frames[in->n_frames - 1].end)
            next_iteration(in, &pc);
        if (pc == in->lines.n_lines)
            break;
        BL_TRY(run_line(in, &pc));
    }
    const struct variable *logits = bl_find_variable(in, "logits");
    if (!logits || logits->val.kind != BL_VAL_VALUE)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "the text does not set 'logits' to a value");
    struct bl_graph *g = in->e.graph;
    g->logits = logits->val.id;
    if (g->values[g->logits].rows != BL_ROWS_OF_OUTPUT)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'logits' is not on the rows of select(x, outputs)");
    if (g->nodes[g->values[g->logits].producer].op != BL_NODE_LINEAR && g->nodes[g->values[g->logits].producer].op != BL_NODE_UNARY)
        BL_EVAL_FAIL(&in->e, BL_EFORMAT, "'logits' must come from linear() or a function of it");
    return BL_OK;
}

bl_status bl_graph_parse(const char *text, uint64_t text_bytes, const char *text_name, const struct bl_graph_source *source, bool allow_unused,
                         struct bl_graph **out)
{
    *out = NULL;
    bl_status status = BL_ENOMEM;
    struct interpreter *in = calloc(1, sizeof *in);
    struct bl_graph *g = calloc(1, sizeof *g);
    if (!in || !g) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the graph", source->name);
        goto out;
    }
    bl_arena_init(&g->arena, UINT64_C(24) << 20);
    g->text_name = bl_arena_string(&g->arena, text_name, strlen(text_name));
    g->tensor_used = bl_arena_alloc(&g->arena, source->n_tensors, 1);
    g->logits = BL_NO_ID;
    if (!g->text_name || !g->tensor_used) {
        status = bl_error_push(BL_ENOMEM, __FILE__, __LINE__, "%s: no memory for the graph", source->name);
        goto out;
    }
    in->e = (struct bl_eval){g->text_name, source, g, 0, BL_NO_ID};
    char name[512]; /* of the text and of the file that it is read for */
    snprintf(name, sizeof name, "%s: %s", source->name, text_name);
    status = bl_graph_text_read(text, text_bytes, name, &g->arena, &in->lines);
    if (status == BL_OK)
        status = run(in);
    for (uint32_t i = 0; status == BL_OK && !allow_unused && i < source->n_tensors; i++)
        if (!g->tensor_used[i] && !(source->is_table && source->is_table(source->user, i)))
            status = bl_error_push(BL_EFORMAT, __FILE__, __LINE__, "%s: tensor '%s' is used by no op of graph %s: the answers would be wrong",
                                   source->name, source->tensor_name(source->user, i), g->text_name);
out:
    free(in);
    if (status != BL_OK) {
        bl_graph_destroy(g);
        return status;
    }
    *out = g;
    return BL_OK;
}

void bl_graph_destroy(struct bl_graph *graph)
{
    if (!graph)
        return;
    bl_arena_finish(&graph->arena);
    free(graph);
}

const struct bl_graph_param *bl_graph_find_param(const struct bl_graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->n_params; i++)
        if (strcmp(graph->params[i].name, name) == 0)
            return &graph->params[i];
    return NULL;
}
