/* graph_fake.h: what the graph tests share: a model file that is only a table of tensors and keys, the built-in families on it, random small
 * graphs, and checks by brute force that hold for every graph. */
#ifndef BL_TESTS_GRAPH_FAKE_H
#define BL_TESTS_GRAPH_FAKE_H
#include "graph/graph.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { FAKE_TENSORS = 256, FAKE_KEYS = 32, FAKE_NUMBERS = 4, FAKE_TEXT_BYTES = 1 << 14 };
struct fake_tensor {
    char name[64];
    enum bl_format format;
    uint64_t columns, rows;
};
struct fake_key {
    char name[96];
    const char *text; /* or NULL: numbers */
    bool is_array;
    uint32_t n;
    double numbers[FAKE_NUMBERS];
};
struct fake {
    struct fake_tensor tensors[FAKE_TENSORS];
    uint32_t n_tensors;
    struct fake_key keys[FAKE_KEYS];
    uint32_t n_keys;
    struct bl_graph_source source;
};

void fake_init(struct fake *f, const char *arch);
void fake_tensor(struct fake *f, const char *name, enum bl_format format, uint64_t columns, uint64_t rows);
void fake_number(struct fake *f, const char *name, double number);
void fake_array(struct fake *f, const char *name, const double *numbers, uint32_t n);
void fake_text(struct fake *f, const char *name, const char *text);
/* "token_embd" of 64 columns and 16 rows, and a text that turns it into logits: what a text needs at least. */
void fake_least(struct fake *f);
#define LEAST "logits = linear(select(embed(tokens, token_embd), outputs), token_embd)\n"

bl_status fake_parse(struct fake *f, const char *text, struct bl_graph **out);
struct bl_graph *must_parse(struct fake *f, const char *text);
/* Expects a refusal with that code whose text holds `word`. */
void must_refuse(struct fake *f, const char *text, bl_status code, const char *word);

/* The n-th built-in family with two layers; its name, or NULL past the last one. */
const char *fake_family(uint32_t n, struct fake *f, struct bl_graph **out);

enum { RANDOM_QUANTIZED = 1, RANDOM_SMALL = 2 };
uint64_t random_next(uint64_t *state);
/* A graph of random ops over few widths, always legal. */
struct bl_graph *random_graph(uint64_t seed, uint32_t flags, struct fake *f);

/* Every input is produced by an earlier node, producers are right, no node is dead, stores come before their attention. */
void check_serial_order(const struct bl_graph *g);
uint32_t count_ops(const struct bl_graph *g, enum bl_node_op op);
/* The only node of that op. */
const struct bl_node *only(const struct bl_graph *g, enum bl_node_op op);
#endif
