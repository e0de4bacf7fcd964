/* trace.c: see trace.h. Knows the JSON of trace events and nothing of graphs. */
#include "trace.h"

#include <errno.h>
#include <string.h>

bool trace_open(struct trace *trace, const char *path)
{
    *trace = (struct trace){.file = fopen(path, "w")};
    if (!trace->file) {
        fprintf(stderr, "bitloom: %s: cannot create: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(trace->file, "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [");
    return true;
}

static void write_label(FILE *f, const char *label)
{
    for (const unsigned char *s = (const unsigned char *)(label ? label : ""); *s; s++) {
        if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if (*s < 0x20 || *s >= 0x7f)
            fprintf(f, "\\u%04x", *s);
        else
            fputc(*s, f);
    }
}

void trace_step(void *user, uint32_t rows, const bl_node_timing *nodes, uint32_t n_nodes)
{
    struct trace *t = user;
    for (uint32_t i = 0; i < n_nodes; i++) {
        fprintf(t->file, "%s\n{\"name\": \"", t->n_events++ ? "," : "");
        write_label(t->file, nodes[i].label);
        fprintf(t->file, "\", \"ph\": \"X\", \"pid\": %u, \"tid\": %u, \"ts\": %.3f, \"dur\": %.3f, \"args\": {\"step\": %llu, \"rows\": %u}}", nodes[i].lane / BL_MAX_LANES + 1,
                nodes[i].lane % BL_MAX_LANES,                 (double)nodes[i].begin_ns / 1e3, (double)(nodes[i].end_ns - nodes[i].begin_ns) / 1e3, (unsigned long long)t->steps, rows);
    }
    t->steps++;
}

bool trace_close(struct trace *trace, const char *path)
{
    fprintf(trace->file, "\n]}\n");
    bool failed = ferror(trace->file) != 0;
    if (fclose(trace->file) != 0 || failed) {
        fprintf(stderr, "bitloom: %s: cannot write: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}
