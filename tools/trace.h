/* trace.h: steps as a Chrome trace (chrome://tracing, Perfetto): one complete event per node, one row per lane. */
#ifndef BL_TOOLS_TRACE_H
#define BL_TOOLS_TRACE_H
#include <bitloom/bitloom.h>
#include <stdio.h>

struct trace {
    FILE *file;
    uint64_t n_events, steps;
};
/* False after a line on stderr. */
bool trace_open(struct trace *trace, const char *path);
/* The bl_trace_fn; user is the struct trace. */
void trace_step(void *user, uint32_t rows, const bl_node_timing *nodes, uint32_t n_nodes);
bool trace_close(struct trace *trace, const char *path);
#endif
