#include "comfy/status.h"

#include "comfy/workflow.h"

#include <string.h>

static bool is_about(PyObject *data, const char *prompt_id) {
    PyObject *about = python_item(data, "prompt_id");
    char id[WORKFLOW_ID_SIZE];
    python_text(about, id, sizeof id);
    bool same = !about || strcmp(id, prompt_id) == 0;
    python_decref(about);
    return same;
}

PyObject *status_message(PyObject *executor, const char *prompt_id, const char *event) {
    PyObject *messages = executor ? python_attribute(executor, "status_messages") : NULL;
    PyObject *found = NULL;
    Py_ssize_t count = messages ? PySequence_Size(messages) : 0;
    for (Py_ssize_t i = 0; i < count && !found; i++) {
        PyObject *message = PySequence_GetItem(messages, i);
        PyObject *name = message ? PySequence_GetItem(message, 0) : NULL;
        char text[64];
        python_text(name, text, sizeof text);
        PyObject *data = strcmp(text, event) == 0 ? PySequence_GetItem(message, 1) : NULL;
        if (data && is_about(data, prompt_id)) found = python_newref(data);
        python_decref(data);
        python_decref(name);
        python_decref(message);
    }
    PyErr_Clear();
    python_decref(messages);
    return found;
}
