#include "comfy/graph.h"

#include "base/each_node.h"

/* Of a dict. */
static PyObject *item_of(PyObject *dictionary, PyObject *id) {
    PyObject *value = PyDict_GetItemWithError(dictionary, id);
    if (!value && PyErr_Occurred()) PyErr_Clear();
    return value;
}

PyObject *graph_item(PyObject *dictionary, PyObject *id) {
    return dictionary && python_is_dict(dictionary) ? item_of(dictionary, id) : NULL;
}

/* The text of *object, which is owned, and becomes the one that the text belongs to. */
static const char *text_of(PyObject **object) {
    size_t size;
    PyObject *made;
    const char *text = python_utf8(*object, &size, &made);
    if (made) {
        Py_DecRef(*object);
        *object = made;
    }
    return text;
}

static bool read_class_type(PyObject *dictionary, PyObject *id, struct graph_node *node) {
    EACH_NODE static PyObject *key; /* owned */
    if (!key && !(key = PyUnicode_InternFromString("class_type"))) PyErr_Clear();
    PyObject *item = key ? item_of(dictionary, id) : NULL;
    PyObject *class_type = item ? graph_item(item, key) : NULL;
    if (!class_type) return false;
    python_decref(node->class_type);
    node->class_type = python_newref(class_type);
    node->texts.class_type = text_of(&node->class_type);
    return *node->texts.class_type;
}

/* Follows ephemeral_display as the executor does: from a node made by expansion to the one the user sees. */
static __attribute__((cold)) void read_expansion(PyObject *dynprompt, PyObject *id, struct graph_node *node) {
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
        node->parent = python_newref(parent);
        node->display = python_newref(display);
        node->texts.parent_id = text_of(&node->parent);
        node->texts.display_id = text_of(&node->display);
        python_decref(displays);
    }
    python_decref(parents);
}

/* ---- where the nodes are ---- */

/* Later versions first; nodes made by expansion are in the second. */
enum { OVERRIDES, EPHEMERAL, ORIGINAL };

/* Without running the program's code. */
static __attribute__((cold)) void read_dicts(struct graph *graph) {
    static const char *const names[GRAPH_DICTS] = {"node_overrides", "ephemeral_prompt", "original_prompt"};
    bool is_prompt = python_is_dict(graph->source);
    for (int i = 0; i < GRAPH_DICTS; i++) {
        python_decref(graph->dicts[i]);
        PyObject *found = is_prompt ? NULL : python_attribute(graph->source, names[i]);
        bool usable = found && python_is_dict(found);
        if (found && !usable) Py_DecRef(found);
        graph->dicts[i] = usable ? found : NULL;
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
        PyObject *dictionary = graph->dicts[i];
        if (!dictionary) continue;
        /* Most of the others are empty, which is known sooner than that an id is not there. */
        if (i != ORIGINAL && PyDict_Size(dictionary) == 0) continue;
        if (!read_class_type(dictionary, id, node)) continue;
        if (i != ORIGINAL) read_expansion(graph->source, id, node);
        return true;
    }
    return false;
}

void graph_describe(struct graph *graph, PyObject *id, struct graph_node *node) {
    size_t size;
    *node = (struct graph_node){.texts = {"", "", "", ""}};
    node->texts.id = python_utf8(id, &size, &node->id);
    if (!graph->source || find(graph, id, node)) return;
    read_dicts(graph); /* the program has other ones now? */
    find(graph, id, node);
}

void graph_node_finish(struct graph_node *node) {
    python_decref(node->id);
    python_decref(node->class_type);
    python_decref(node->display);
    python_decref(node->parent);
}
