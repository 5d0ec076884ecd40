/* graph: what a prompt's graph says about a node. Reads dicts and plain attributes only; no method of the program runs.
 *
 * Needs the GIL; leaves no error set. */
#ifndef COMFYDD_GRAPH_H
#define COMFYDD_GRAPH_H

#include "comfy/workflow.h"
#include "python/python_api.h"

/* What describes a node, and the objects that its texts belong to, but for the caller's own id. */
struct graph_node {
    struct node_description texts;
    PyObject *id, *class_type, *display, *parent; /* owned; some may be NULL */
};

#define GRAPH_DICTS 3

/* A prompt's graph. Zero-initialised: none. */
struct graph {
    PyObject *source; /* owned: the prompt (a dict by node id) or a DynamicPrompt */
    /* Owned: dicts with its nodes; the first that has one counts. NULL: no such dict. */
    PyObject *dicts[GRAPH_DICTS];
};

/* Reads where `source` (NULL: nothing is known) has its nodes, unless that is known already. */
void graph_open(struct graph *graph, PyObject *source);
void graph_close(struct graph *graph);

/* Fills *node in, which is graph_node_finish's afterwards; `id` stays the caller's until then. */
void graph_describe(struct graph *graph, PyObject *id, struct graph_node *node);
void graph_node_finish(struct graph_node *node);

/* dictionary[id] when there is one; borrowed, NULL otherwise (also when it is no dict). */
PyObject *graph_item(PyObject *dictionary, PyObject *id);

#endif
