#include "python/watch_internal.h"

#include "base/each_node.h"
#include "python/frames.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

static struct watch_target *targets;

static int position_of(PyObject *names, int count, const char *wanted) {
    for (int i = 0; i < count; i++) {
        char name[128];
        PyObject *item = PySequence_GetItem(names, i);
        python_text(item, name, sizeof name);
        python_decref(item);
        if (strcmp(name, wanted) == 0) return i;
    }
    PyErr_Clear();
    return -1;
}

static struct watch_target *target_create(PyObject *watched, PyObject *code,
                                          const struct watch_handler *handler, void *context) {
    enum { CO_COROUTINE = 0x80 };
    PyObject *names = code ? python_attribute(code, "co_varnames") : NULL;
    PyObject *cells = code ? python_attribute(code, "co_cellvars") : NULL;
    struct watch_target *target = names && cells ? calloc(1, sizeof *target) : NULL;
    if (target) {
        target->handler = handler;
        target->context = context;
        target->watched = python_newref(watched);
        target->code = python_newref(code);
        target->parameters = (int)python_long_attribute(code, "co_argcount", 0);
        target->coroutine = python_long_attribute(code, "co_flags", 0) & CO_COROUTINE;
        for (int i = 0; i < WATCH_ARGUMENTS; i++)
            target->positions[i] = -1;
        for (int i = 0; i < WATCH_ARGUMENTS && handler->arguments[i]; i++) {
            target->names[i] = PyUnicode_InternFromString(handler->arguments[i]);
            if (!target->names[i]) continue;
            target->positions[i] = position_of(names, target->parameters, handler->arguments[i]);
            target->is_cell[i] = PySequence_Contains(cells, target->names[i]) > 0;
        }
        PyErr_Clear();
    }
    python_decref(names);
    python_decref(cells);
    return target;
}

static void target_destroy(struct watch_target *target) {
    for (int i = 0; i < WATCH_ARGUMENTS; i++)
        python_decref(target->names[i]);
    python_decref(target->function);
    python_decref(target->watched);
    python_decref(target->code);
    python_decref(target->armed);
    free(target);
}

static bool arm(struct watch_target *target, enum watch_needs needs) {
    return (needs == WATCH_RETURNS && watch_monitoring_arm(target)) || watch_swap_arm(target);
}

static bool is_known(const PyObject *watched) {
    for (const struct watch_target *target = targets; target; target = target->next)
        if (target->watched == watched) return true;
    return false;
}

/* Of a function that has the code which it was given; NULL: it is not watched. */
static const struct watch_target *target_of(PyObject *function) {
    PyObject *code = python_attribute(function, "__code__");
    const struct watch_target *target = targets;
    while (target && (target->watched != function || target->armed != code))
        target = target->next;
    python_decref(code);
    return target;
}

bool watch_watches(PyObject *function) {
    const struct watch_target *target = target_of(function);
    return target && (target->function || watch_monitoring_sees(target->code));
}

const char *watch_mechanism(PyObject *function) {
    const struct watch_target *target = target_of(function);
    return !target ? "nothing" : target->function ? "code swap" : "sys.monitoring";
}

/* Takes the target over, which is armed or not. */
static bool keep_if(bool armed, struct watch_target *target) {
    if (!armed) {
        target_destroy(target);
        return false;
    }
    target->armed = python_attribute(target->watched, "__code__");
    target->next = targets;
    targets = target;
    return true;
}

bool watch_anew(PyObject *function, const struct watch_handler *handler, void *context,
                enum watch_needs needs) {
    PyObject *code = python_attribute(function, "__code__");
    struct watch_target *target = code ? target_create(function, code, handler, context) : NULL;
    python_decref(code);
    return target && keep_if(arm(target, needs), target);
}

bool watch_function(PyObject *function, const struct watch_handler *handler, void *context,
                    enum watch_needs needs) {
    return is_known(function) || watch_anew(function, handler, context, needs);
}

/* The code object of that name among the constants of `code`, or of code objects there; new reference, or NULL. */
static PyObject *nested_code(PyObject *code, const char *wanted, int depth) {
    PyObject *constants = python_attribute(code, "co_consts");
    Py_ssize_t count = constants ? PySequence_Size(constants) : 0;
    PyObject *found = NULL;
    for (Py_ssize_t i = 0; i < count && !found; i++) {
        PyObject *constant = PySequence_GetItem(constants, i);
        PyObject *name = constant ? python_attribute(constant, "co_name") : NULL;
        char text[128];
        python_text(name, text, sizeof text);
        if (strcmp(text, wanted) == 0)
            found = python_newref(constant);
        else if (name && depth > 0)
            found = nested_code(constant, wanted, depth - 1);
        python_decref(name);
        python_decref(constant);
    }
    PyErr_Clear();
    python_decref(constants);
    return found;
}

bool watch_nested_coroutine(PyObject *function, const char *name, const struct watch_handler *handler,
                            void *context) {
    enum { NESTED_DEEPEST = 4 };
    PyObject *outer = python_attribute(function, "__code__");
    PyObject *code = outer ? nested_code(outer, name, NESTED_DEEPEST) : NULL;
    python_decref(outer);
    bool done = code && is_known(code);
    struct watch_target *target = code && !done ? target_create(code, code, handler, context) : NULL;
    python_decref(code);
    if (target) done = keep_if(target->coroutine && watch_monitoring_arm(target), target);
    return done;
}

/* ---- calling handlers ---- */

EACH_NODE static int handlers; /* being called now; written under the GIL */
EACH_NODE static bool stopped;

static bool begin(void) {
    __atomic_store_n(&handlers, handlers + 1,
                     __ATOMIC_SEQ_CST); /* before the look: watch_stop does the two the other way round */
    return !__atomic_load_n(&stopped, __ATOMIC_SEQ_CST);
}

static void end(void) {
    __atomic_store_n(&handlers, handlers - 1, __ATOMIC_RELEASE);
}

void watch_entered(const struct watch_call *call, void *key) {
    if (begin()) call->target->handler->enter(call, key, call->target->context);
    end();
}

void watch_left(const struct watch_call *call, void *key, PyObject *value, bool raised) {
    if (begin()) call->target->handler->leave(call, key, call->target->context, value, raised);
    end();
}

void watch_suspended(const struct watch_call *call, void *key, bool suspended) {
    if (begin()) call->target->handler->suspend(call, key, call->target->context, suspended);
    end();
}

bool watch_stop(int patience_ms) {
    __atomic_store_n(&stopped, true, __ATOMIC_SEQ_CST);
    for (int waited_ms = 0; __atomic_load_n(&handlers, __ATOMIC_SEQ_CST) > 0; waited_ms++) {
        if (waited_ms == patience_ms) return false;
        poll(NULL, 0, 1);
    }
    return true;
}

void watch_forked(void) {
    __atomic_store_n(&handlers, 0, __ATOMIC_RELAXED);
}

/* ---- what handlers ask ---- */

/* By Python's own means: new reference, or NULL. There may be no memory for a frame object. */
static PyObject *variable(const struct watch_call *call, PyObject *name) {
    PyFrameObject *frame = call->frame ? call->frame : PyEval_GetFrame();
    return frame ? PyFrame_GetVar(frame, name) : NULL;
}

/* A parameter of the frame that is running. One that inner functions use is in a cell, which they share. */
static PyObject *parameter(const struct watch_call *call, int index) {
    PyObject *found = frames_local(call->running, call->target->positions[index]); /* borrowed */
    if (!found) return NULL;
    return call->target->is_cell[index] ? PyCell_Get(found) : python_newref(found);
}

PyObject *watch_argument(const struct watch_call *call, int index) {
    const struct watch_target *target = call->target;
    if (target->positions[index] < 0) return NULL;
    PyObject *value;
    if (call->running) {
        value = parameter(call, index);
    } else if (!call->arguments) {
        value = variable(call, target->names[index]);
    } else {
        value = PyTuple_GetItem(call->arguments, target->positions[index]); /* borrowed */
        if (value) Py_IncRef(value);
    }
    if (!value) PyErr_Clear();
    return value;
}

PyObject *watch_watched(const struct watch_call *call) {
    return call->target->watched;
}

enum watch_local watch_local(const struct watch_call *call, PyObject *name) {
    if (call->arguments) return WATCH_UNKNOWN;
    PyObject *value = variable(call, name);
    if (!value) PyErr_Clear();
    python_decref(value);
    return value ? WATCH_BOUND : WATCH_UNBOUND;
}
