/* graph: what a prompt's graph says about a node. Reads dicts and plain attributes only; no method of the program runs.
 *
 * Needs the GIL; leaves no error set. */
#ifndef COMFYDD_GRAPH_H
#define COMFYDD_GRAPH_H

#include "comfy/workflow.h"
#include "python/python_api.h"

/* Texts of one node, empty when unknown. */
struct graph_node {
    char class_type[5004];
    char display_id[WORKFLOW_NODE_ID_SIZE]; /* for nodes made by subgraph expansion: the node the user sees */
    char parent_id[WORKFLOW_NODE_ID_SIZE];  /* likewise: the node that expanded */
};

#define GRAPH_DICTS 3

/* A prompt's graph. Zero-initialised: none. */
struct graph {
    PyObject *source; /* owned: the prompt (a dict by node id) or a DynamicPrompt */
    PyObject *dicts
        [GRAPH_DICTS]; /* owned: where it has its nodes, the first that has one counts; NULL: no such dict */
};

/* Reads where `source` (NULL: nothing is known) has its nodes, unless that is known already. */
void graph_open(struct graph *graph, PyObject *source);
void graph_close(struct graph *graph);

void graph_describe(struct graph *graph, PyObject *id, struct graph_node *node);

/* dictionary[id] when there is one; borrowed, NULL otherwise (also when it is no dict). */
PyObject *graph_item(PyObject *dictionary, PyObject *id);

#endif
