#include "comfy/reruns.h"

#include <string.h>

enum input_argument { INPUT_ID };

/* Inputs are also read to find out what has changed: of nodes whose call this is not. */
static void inputs_read(const struct watch_call *watched, void *key, void *context) {
    (void)key, (void)context;
    struct call *call = calls_innermost();
    uint64_t hash;
    if (!call || !call->node) return;
    PyObject *read = watch_argument(watched, INPUT_ID);
    if (python_text_hash(read, &hash) && hash == call->node->hash) call->node->inputs_read = true;
    python_decref(read);
}

static void inputs_returned(const struct watch_call *watched, void *key, void *context, PyObject *value,
                            bool raised) {
    (void)watched, (void)key, (void)context, (void)value, (void)raised;
}

static const struct watch_handler input_handler = {
    .enter = inputs_read, .leave = inputs_returned, .arguments = {[INPUT_ID] = "unique_id"}};

/* ComfyUI's own default forgets nothing before a run's end. */
static bool keeps_results(PyObject *caches) {
    PyObject *outputs = caches ? python_attribute(caches, "outputs") : NULL;
    PyObject *type = outputs ? PyObject_Type(outputs) : NULL;
    PyObject *name = type ? python_attribute(type, "__name__") : NULL;
    char text[64];
    bool keeps = python_text(name, text, sizeof text) && strcmp(text, "HierarchicalCache") == 0;
    python_decref(name);
    python_decref(type);
    python_decref(outputs);
    return keeps;
}

static enum watch_local seen_local(const struct watch_call *watched) {
    static PyObject *input_data_all; /* owned, interned: a local that only a really executed node binds */
    if (!input_data_all && !(input_data_all = PyUnicode_InternFromString("input_data_all"))) PyErr_Clear();
    return input_data_all ? watch_local(watched, input_data_all) : WATCH_UNKNOWN;
}

void reruns_expect(const struct watch_call *watched, PyObject *caches) {
    if (seen_local(watched) != WATCH_UNKNOWN || keeps_results(caches)) return;
    PyObject *globals = python_attribute(watch_watched(watched), "__globals__");
    PyObject *function = python_item(globals, "get_input_data");
    if (function) watch_function(function, &input_handler, NULL, WATCH_RETURNS);
    python_decref(function);
    python_decref(globals);
}

bool reruns_ran(const struct watch_call *watched, const struct node *node) {
    enum watch_local bound = seen_local(watched);
    return bound == WATCH_UNKNOWN ? node->inputs_read : bound == WATCH_BOUND;
}
