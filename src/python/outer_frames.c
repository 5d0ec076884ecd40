#include "python/outer_frames.h"

PyObject *outer_frames_variable(PyFrameObject *frame, const char *name) {
    PyObject *value;
    if (python_minor >= 12) {
        PyObject *key = PyUnicode_FromString(name);
        value = key ? PyFrame_GetVar(frame, key) : NULL;
        python_decref(key);
    } else {
        PyObject *locals = python_attribute((PyObject *)frame, "f_locals");
        value = python_item(locals, name);
        python_decref(locals);
    }
    if (!value) PyErr_Clear();
    return value;
}

PyObject *outer_frames_find(PyObject *(*look)(PyFrameObject *frame, PyObject *code), int deepest) {
    PyFrameObject *top = PyEval_GetFrame(); /* borrowed */
    PyObject *frame = top ? python_newref((PyObject *)top) : NULL;
    PyObject *found = NULL;
    for (int depth = 0; frame && !found && depth < deepest; depth++) {
        PyObject *code = python_attribute(frame, "f_code");
        if (code) found = look((PyFrameObject *)frame, code);
        python_decref(code);
        PyObject *back = python_attribute(frame, "f_back");
        Py_DecRef(frame);
        frame = back;
        if (frame && python_is_none(frame)) {
            Py_DecRef(frame);
            frame = NULL;
        }
    }
    python_decref(frame);
    return found;
}
