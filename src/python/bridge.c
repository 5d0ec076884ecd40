#include "python/bridge.h"

#include "base/log.h"
#include "trace/ids.h"

/* Guarded by the GIL; each reference our own. `leave` stays when the bridge ends: tokens are still out. */
static PyObject *enter_function, *leave_function, *current_function;

/* The ids of the latest trace as Python objects: its nodes follow each other. */
static struct {
    uint64_t high, low, root_span;
    PyObject *trace_id, *root_span_id;
} latest;

static void replace(PyObject **place, PyObject *object) {
    PyObject *before = *place;
    *place = object;
    python_decref(before); /* last: may run Python code */
}

bool bridge_set(PyObject *enter, PyObject *leave, PyObject *current) {
    if (python_is_none(enter) && python_is_none(leave) && python_is_none(current)) {
        replace(&enter_function, NULL);
        replace(&current_function, NULL);
        return true;
    }
    if (!PyCallable_Check(enter) || !PyCallable_Check(leave) || !PyCallable_Check(current)) {
        PyErr_BadArgument();
        return false;
    }
    replace(&enter_function, python_newref(enter));
    replace(&leave_function, python_newref(leave));
    replace(&current_function, python_newref(current));
    return true;
}

/* After a call that raised: ends the bridge and says why. */
static void swallow(const char *call) {
    struct python_error error;
    char type[80], message[200];
    python_error_save(&error);
    PyObject *name = python_attribute(error.type, "__name__");
    PyObject *text = error.value ? PyObject_Str(error.value) : NULL;
    python_text(name, type, sizeof type);
    python_text(text, message, sizeof message);
    python_decref(name);
    python_decref(text);
    python_error_restore(&error);
    /* Ctrl-C, or the program's own limits: no fault of the bridge. */
    bool no_room = python_error_is("RecursionError") || python_error_is("MemoryError");
    if (python_error_clear() || no_room) return;
    replace(&enter_function, NULL);
    replace(&current_function, NULL);
    log_once("spans of ddtrace no longer join the nodes' traces: the bridge's %s raised %s (%s)", call, type,
             message);
}

/* A Python int of 128 bits: new reference. */
static PyObject *wide_int(uint64_t high, uint64_t low) {
    PyObject *upper = PyLong_FromUnsignedLongLong(high), *lower = PyLong_FromUnsignedLongLong(low);
    PyObject *bits = PyLong_FromLong(64);
    PyObject *shifted = upper && bits ? PyNumber_Lshift(upper, bits) : NULL;
    PyObject *whole = shifted && lower ? PyNumber_Or(shifted, lower) : NULL;
    python_decref(upper);
    python_decref(lower);
    python_decref(bits);
    python_decref(shifted);
    return whole;
}

static bool remember(const struct flight_trace *trace) {
    if (latest.trace_id && latest.low == trace->trace_id_low && latest.high == trace->trace_id_high &&
        latest.root_span == trace->root_span_id)
        return true;
    PyObject *trace_id = wide_int(trace->trace_id_high, trace->trace_id_low);
    PyObject *root_span_id = PyLong_FromUnsignedLongLong(trace->root_span_id);
    if (!trace_id || !root_span_id) {
        python_decref(trace_id);
        python_decref(root_span_id);
        return false;
    }
    replace(&latest.trace_id, trace_id);
    replace(&latest.root_span_id, root_span_id);
    latest.high = trace->trace_id_high;
    latest.low = trace->trace_id_low;
    latest.root_span = trace->root_span_id;
    return true;
}

static PyObject *text_or_none(const char *text) {
    PyObject *object = text && *text ? PyUnicode_FromString(text) : NULL;
    if (object) return object;
    PyErr_Clear();
    return python_none();
}

static PyObject *call_enter(const struct flight_trace *trace, uint64_t span_id, const char *origin,
                            const char *tags) {
    if (!remember(trace)) return NULL;
    /* References of our own: the GIL changes hands during the call, and all that is static here may be replaced. */
    PyObject *function = python_newref(enter_function);
    PyObject *trace_number = python_newref(latest.trace_id);
    PyObject *root_span_number = python_newref(latest.root_span_id);
    PyObject *span_number = PyLong_FromUnsignedLongLong(span_id);
    PyObject *priority = PyLong_FromLong(trace->priority);
    PyObject *mechanism = PyLong_FromLong(trace->mechanism);
    PyObject *origin_text = text_or_none(origin);
    PyObject *tags_text = text_or_none(tags);
    PyObject *token = NULL;
    if (span_number && priority && mechanism)
        token = PyObject_CallFunctionObjArgs(function, trace_number, span_number, root_span_number, priority,
                                             mechanism, origin_text, tags_text, NULL);
    python_decref(function);
    python_decref(trace_number);
    python_decref(root_span_number);
    python_decref(span_number);
    python_decref(priority);
    python_decref(mechanism);
    python_decref(origin_text);
    python_decref(tags_text);
    return token;
}

PyObject *bridge_enter(const struct flight_trace *trace, uint64_t span_id, const char *origin,
                       const char *tags) {
    if (!enter_function) return NULL;
    struct python_error error;
    python_error_save(&error);
    PyObject *token = call_enter(trace, span_id, origin, tags);
    if (!token) swallow("enter");
    python_error_restore(&error);
    return token;
}

void bridge_leave(PyObject *token) {
    if (!token) return;
    struct python_error error;
    python_error_save(&error);
    PyObject *function = python_newref(leave_function);
    PyObject *result = PyObject_CallFunctionObjArgs(function, token, NULL);
    if (!result) swallow("leave");
    python_decref(result);
    python_decref(function);
    python_decref(token);
    python_error_restore(&error);
}

/* One item of what current() returned as an unsigned number, its lower 64 bits after shifting; false with an error. */
static bool read_number(PyObject *number, long shift, uint64_t *value) {
    PyObject *bits = PyLong_FromLong(shift);
    PyObject *shifted = number && bits ? PyNumber_Rshift(number, bits) : NULL;
    if (shifted) *value = PyLong_AsUnsignedLongLongMask(shifted);
    python_decref(bits);
    python_decref(shifted);
    return shifted && !PyErr_Occurred();
}

static bool read_priority(PyObject *number, struct ids_parent *parent) {
    parent->has_priority = number && !python_is_none(number);
    if (!parent->has_priority) return number != NULL;
    long priority = PyLong_AsLong(number);
    if (priority == -1 && PyErr_Occurred()) return false;
    parent->priority = priority < -1 ? -1 : priority > 2 ? 2 : (int)priority;
    return true;
}

static bool read_context(PyObject *context, struct ids_parent *parent) {
    PyObject *trace_id = PySequence_GetItem(context, 0);
    PyObject *span_id = trace_id ? PySequence_GetItem(context, 1) : NULL;
    PyObject *priority = span_id ? PySequence_GetItem(context, 2) : NULL;
    PyObject *origin = priority ? PySequence_GetItem(context, 3) : NULL;
    PyObject *tags = origin ? PySequence_GetItem(context, 4) : NULL;
    bool read = tags && read_number(trace_id, 64, &parent->trace_id_high) &&
                read_number(trace_id, 0, &parent->trace_id_low) &&
                read_number(span_id, 0, &parent->span_id) && read_priority(priority, parent);
    if (read) {
        char text[2048];
        python_text(origin, parent->origin, sizeof parent->origin);
        if (python_text(tags, text, sizeof text) < sizeof text - 1) ids_apply_tags(text, parent);
    }
    python_decref(trace_id);
    python_decref(span_id);
    python_decref(priority);
    python_decref(origin);
    python_decref(tags);
    return read;
}

bool bridge_current(struct ids_parent *parent) {
    if (!current_function) return false;
    *parent = (struct ids_parent){0};
    struct python_error error;
    python_error_save(&error);
    PyObject *function = python_newref(current_function);
    PyObject *context = PyObject_CallFunctionObjArgs(function, NULL);
    bool found = context && !python_is_none(context);
    if (!context || (found && !read_context(context, parent))) {
        found = false;
        swallow("current");
    }
    python_decref(context);
    python_decref(function);
    python_error_restore(&error);
    return found && parent->trace_id_low && parent->span_id;
}
