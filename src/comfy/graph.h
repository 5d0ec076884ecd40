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
    char display_id[WORKFLOW_ID_SIZE]; /* for nodes made by subgraph expansion: the node the user sees */
    char parent_id[WORKFLOW_ID_SIZE];  /* likewise: the node that expanded */
};

/* `graph` is the prompt (a dict by node id) or a DynamicPrompt; NULL: nothing is known. */
void graph_describe(PyObject *graph, PyObject *id, struct graph_node *node);

/* dictionary[id] when there is one; borrowed, NULL otherwise (also when it is no dict). */
PyObject *graph_item(PyObject *dictionary, PyObject *id);

#endif
