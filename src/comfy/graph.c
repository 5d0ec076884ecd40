#include "comfy/graph.h"

#include <string.h>

PyObject *graph_item(PyObject *dictionary, PyObject *id) {
    if (!dictionary || !PyDict_Check(dictionary)) return NULL;
    PyObject *value = PyDict_GetItemWithError(dictionary, id);
    if (!value) PyErr_Clear();
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

/* From the graph itself, without running the program's code: later versions first. */
static void describe_in_graph(PyObject *dynprompt, PyObject *id, struct graph_node *node) {
    static const char *const places[] = {"node_overrides", "ephemeral_prompt", "original_prompt"};
    /* An attribute that is not there costs an exception: looked for once per type. (Its __dict__ would tell cheaply, but
     * asking for it slows down the program's own access to the object on 3.11 and 3.12.) */
    static PyTypeObject *type; /* never dereferenced */
    static size_t first;
    if (type != Py_TYPE(dynprompt)) {
        type = Py_TYPE(dynprompt);
        first = 0;
    }
    for (size_t i = first; i < sizeof places / sizeof *places; i++) {
        PyObject *prompt = python_attribute(dynprompt, places[i]);
        if (!prompt && i == first) first++;
        bool found = class_type_in(prompt, id, node->class_type, sizeof node->class_type);
        python_decref(prompt);
        if (found && strcmp(places[i], "original_prompt") == 0) return; /* not made by expansion */
        if (found) break;
    }
    read_expansion(dynprompt, id, node);
}

void graph_describe(PyObject *graph, PyObject *id, struct graph_node *node) {
    node->class_type[0] = node->display_id[0] = node->parent_id[0] = '\0';
    if (!graph) return;
    if (PyDict_Check(graph)) {
        class_type_in(graph, id, node->class_type, sizeof node->class_type);
    } else {
        describe_in_graph(graph, id, node);
    }
}
