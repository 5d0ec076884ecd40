/* watch_probe: src/python/watch.h as a library of its own, for ctypes.PyDLL: any function can be watched, by either
 * mechanism, and what the handlers are told goes to a Python callable. */
#include "python/exc_stack.h"
#include "python/python_api.h"
#include "python/watch.h"
#include "resolve.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int probe_watch(PyObject *function, PyObject *report, enum watch_needs needs,
                       const char *const *arguments);
EXPORT const char *probe_mechanism(PyObject *function);
EXPORT int probe_stop(void);
EXPORT int probe_levels(void);

/* The report's arguments: what ("enter" or "leave"), the key, the values of the wanted arguments (None where the
 * function has no such parameter), value (None for NULL), raised, and whether an error was set on arrival. It runs
 * Python code, as the bridge does in the library's own handlers. None stands for nothing to call. */
static void tell(const char *what, const struct watch_call *call, void *key, PyObject *report,
                 PyObject *value, bool raised) {
    if (python_is_none(report)) return;
    PyObject *error_was_set = PyLong_FromLong(PyErr_Occurred() != NULL);
    struct python_error error;
    python_error_save(&error);
    PyObject *values = PyTuple_New(WATCH_ARGUMENTS);
    for (int i = 0; i < WATCH_ARGUMENTS; i++) {
        PyObject *argument = watch_argument(call, i);
        PyTuple_SetItem(values, i, argument ? argument : python_none()); /* steals */
    }
    PyObject *name = PyUnicode_FromString(what);
    PyObject *number = PyLong_FromUnsignedLongLong((unsigned long long)(size_t)key);
    PyObject *end = PyLong_FromLong(raised);
    PyObject *result = PyObject_CallFunctionObjArgs(
        report, name, number, values, value ? value : &_Py_NoneStruct, end, error_was_set, NULL);
    PyErr_Clear();
    python_decref(result);
    python_decref(end);
    python_decref(number);
    python_decref(name);
    python_decref(values);
    python_decref(error_was_set);
    python_error_restore(&error);
}

static void entered(const struct watch_call *call, void *key, void *report) {
    tell("enter", call, key, report, NULL, false);
}

static void left(const struct watch_call *call, void *key, void *report, PyObject *value, bool raised) {
    tell("leave", call, key, report, value, raised);
}

/* 1 when watched. `arguments` is a list of names that ends with NULL. Both are kept for ever. */
int probe_watch(PyObject *function, PyObject *report, enum watch_needs needs, const char *const *arguments) {
    if (!python_minor && !python_init(resolve_all_first)) return 0;
    struct watch_handler *handler = calloc(1, sizeof *handler);
    if (!handler) return 0;
    handler->enter = entered;
    handler->leave = left;
    for (int i = 0; i < WATCH_ARGUMENTS && arguments[i]; i++)
        handler->arguments[i] = strdup(arguments[i]);
    return watch_function(function, handler, python_newref(report), needs);
}

const char *probe_mechanism(PyObject *function) {
    return watch_mechanism(function);
}

int probe_stop(void) {
    return watch_stop(0);
}

/* How many levels of this thread's stack of exceptions, from the innermost one on, handle nothing, the outermost of all not
 * counted; -1 where the stack is not known. Leaves it as it was. */
int probe_levels(void) {
    enum { MOST = 100 };
    void *levels[MOST];
    int count = 0;
    if (!exc_stack_init()) return -1;
    while (count < MOST && (levels[count] = exc_stack_leave_out()))
        count++;
    for (int i = count; i-- > 0;)
        exc_stack_put_back(levels[i]);
    return count;
}
