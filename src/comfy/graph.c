#include "comfy/graph.h"

#include <string.h>

PyObject *graph_item(PyObject *dictionary, PyObject *id) {
    /* Most are empty, which is known sooner than that an id is not there. */
    if (!dictionary || !PyDict_Check(dictionary) || PyDict_Size(dictionary) == 0) return NULL;
    PyObject *value = PyDict_GetItemWithError(dictionary, id);
    if (!value && PyErr_Occurred()) PyErr_Clear();
    return value;
}

static bool class_type_in(PyObject *prompt, PyObject *id, char *out, size_t room) {
    PyObject *class_type = python_item(graph_item(prompt, id), "class_type");
    bool found = python_text(class_type, out, room) > 0;
    python_decref(class_type);
    return found;
}

/* Follows ephemeral_display as the executor does: from a node made by expansion to the one the user sees. */
static void read_expansion(PyObject *dynprompt, PyObject *id, struct graph_node *node) {
    PyObject *parents = python_attribute(dynprompt, "ephemeral_parents");
    PyObject *parent = graph_item(parents, id);
    if (parent) {
        PyObject *displays = python_attribute(dynprompt, "ephemeral_display");
        PyObject *display = id;
        for (int depth = 0; depth < 1000; depth++) {
            PyObject *next = graph_item(displays, display);
            if (!next) break;
            display = next;
        }
        python_text(parent, node->parent_id, sizeof node->parent_id);
        python_text(display, node->display_id, sizeof node->display_id);
        python_decref(displays);
    }
    python_decref(parents);
}

/* ---- where the nodes are ---- */

/* Later versions first; nodes made by expansion are in the second. */
enum { OVERRIDES, EPHEMERAL, ORIGINAL };

/* Without running the program's code. */
static void read_dicts(struct graph *graph) {
    static const char *const names[GRAPH_DICTS] = {"node_overrides", "ephemeral_prompt", "original_prompt"};
    bool is_prompt = PyDict_Check(graph->source);
    for (int i = 0; i < GRAPH_DICTS; i++) {
        python_decref(graph->dicts[i]);
        graph->dicts[i] = is_prompt ? NULL : python_attribute(graph->source, names[i]);
    }
    if (is_prompt) graph->dicts[ORIGINAL] = python_newref(graph->source);
}

void graph_open(struct graph *graph, PyObject *source) {
    if (source == graph->source) return;
    graph_close(graph);
    if (!source) return;
    graph->source = python_newref(source);
    read_dicts(graph);
}

void graph_close(struct graph *graph) {
    struct graph gone = *graph;
    *graph = (struct graph){0};
    for (int i = 0; i < GRAPH_DICTS; i++)
        python_decref(gone.dicts[i]);
    python_decref(gone.source);
}

/* ---- a node ---- */

static bool find(const struct graph *graph, PyObject *id, struct graph_node *node) {
    for (int i = 0; i < GRAPH_DICTS; i++) {
        if (!class_type_in(graph->dicts[i], id, node->class_type, sizeof node->class_type)) continue;
        if (i != ORIGINAL) read_expansion(graph->source, id, node);
        return true;
    }
    return false;
}

void graph_describe(struct graph *graph, PyObject *id, struct graph_node *node) {
    node->class_type[0] = node->display_id[0] = node->parent_id[0] = '\0';
    if (!graph->source || find(graph, id, node)) return;
    read_dicts(graph); /* the program has other ones now? */
    find(graph, id, node);
}
