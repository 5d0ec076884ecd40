#include "comfy/failure.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_LIMIT 30000 /* more than the agent takes, so that cutting and marking is left to the span */
/* Of a stack's lines: less than a span keeps, so that what was raised still follows them. */
#define STACK_LIMIT 22000
#define LINE_LIMIT  4096

static const char stack_heading[] = "Traceback (most recent call last):\n";

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), wanted = strlen(end);
    return size >= wanted && strcmp(text + size - wanted, end) == 0;
}

/* One name for what PyTorch has called torch.cuda.OutOfMemoryError, torch.OutOfMemoryError and torch._C.…; and for what
 * comes from its calls of CUDA elsewhere than in its allocators: a RuntimeError, in newer versions an AcceleratorError. */
static bool is_out_of_memory(const struct failure *failure) {
    if (ends_with(failure->type, "OutOfMemoryError")) return true;
    bool of_a_call =
        strcmp(failure->type, "builtins.RuntimeError") == 0 || ends_with(failure->type, ".AcceleratorError");
    return of_a_call && failure->message && strstr(failure->message, "error: out of memory");
}

/* "module.Class", as ddtrace writes error.type (builtins included). */
static void class_name(PyObject *exception, char *out, size_t room) {
    PyObject *type = PyObject_Type(exception);
    PyObject *module = python_attribute(type, "__module__"), *name = python_attribute(type, "__qualname__");
    size_t used = python_text(module, out, room / 2);
    if (used) out[used++] = '.';
    python_text(name, out + used, room - used);
    python_decref(module);
    python_decref(name);
    Py_DecRef(type);
}

static char *copy_trimmed(PyObject *text) {
    char *copy = text ? malloc(TEXT_LIMIT) : NULL;
    if (!copy) return NULL;
    size_t size = python_text(text, copy, TEXT_LIMIT);
    while (size && strchr(" \n\r\t", copy[size - 1]))
        copy[--size] = '\0';
    char *fitting = realloc(copy, size + 1);
    return fitting ? fitting : copy;
}

/* The text of one item, which ends a line; returns its size. */
static size_t line_at(PyObject *lines, Py_ssize_t at, char line[LINE_LIMIT]) {
    PyObject *item = PySequence_GetItem(lines, at);
    size_t size = python_text(item, line, LINE_LIMIT);
    python_decref(item);
    return size;
}

/* The texts of a list of str, one after the other. Of too many the last ones, below a heading: there it was raised. */
static void append_lines(struct buf *out, PyObject *lines) {
    char line[LINE_LIMIT];
    Py_ssize_t count = PySequence_Size(lines), first = count;
    for (size_t size = 0; first > 0; first--) {
        size += line_at(lines, first - 1, line);
        if (size > STACK_LIMIT) break;
    }
    if (first > 0) {
        char left_out[64];
        snprintf(left_out, sizeof left_out, "  [the first %zd are left out]\n", first);
        if (!out->size) buf_string(out, stack_heading);
        buf_string(out, left_out);
    }
    for (Py_ssize_t i = first; i < count; i++)
        buf_append(out, line, line_at(lines, i, line));
    PyErr_Clear();
}

static char *terminated(struct buf *text) {
    if (text->size) buf_append(text, "", 1);
    if (text->size && !text->failed) return text->data;
    buf_finish(text);
    return NULL;
}

/* As Python prints it: the frames that the executor has formatted, then type and message. */
static char *stack_of_details(PyObject *details, const struct failure *failure) {
    PyObject *lines = python_item(details, "traceback");
    struct buf text = {0};
    if (lines && PySequence_Size(lines) > 0) {
        buf_string(&text, stack_heading);
        append_lines(&text, lines);
        static const char builtins[] = "builtins."; /* which Python leaves out */
        size_t skip = strncmp(failure->type, builtins, sizeof builtins - 1) == 0 ? sizeof builtins - 1 : 0;
        buf_string(&text, failure->type + skip);
        if (failure->message) {
            buf_string(&text, ": ");
            buf_string(&text, failure->message);
        }
    }
    PyErr_Clear();
    python_decref(lines);
    return terminated(&text);
}

static char *stack_of_exception(PyObject *exception) {
    PyObject *module = PyImport_ImportModule("traceback");
    PyObject *type = PyObject_Type(exception), *trace = python_attribute(exception, "__traceback__");
    PyObject *lines = module && trace
                          ? PyObject_CallMethod(module, "format_exception", "OOO", type, exception, trace)
                          : NULL;
    struct buf text = {0};
    if (lines)
        append_lines(&text, lines);
    else
        python_error_clear();
    python_decref(lines);
    python_decref(trace);
    python_decref(type);
    python_decref(module);
    return terminated(&text);
}

struct failure failure_read(PyObject *exception, PyObject *details) {
    struct failure failure = {0};
    if (exception && python_is_none(exception)) exception = NULL;
    if (exception) {
        class_name(exception, failure.type, sizeof failure.type);
    } else {
        PyObject *type = python_item(details, "exception_type");
        if (!python_text(type, failure.type, sizeof failure.type)) strcpy(failure.type, "unknown");
        python_decref(type);
    }
    if (ends_with(failure.type, "InterruptProcessingException")) {
        failure.interrupted = true;
        failure.type[0] = '\0';
        return failure;
    }
    PyObject *message = python_item(details, "exception_message");
    if (!message && exception) message = PyObject_Str(exception);
    failure.message = copy_trimmed(message);
    python_error_clear();
    python_decref(message);
    if (is_out_of_memory(&failure)) strcpy(failure.type, "OutOfMemoryError");
    failure.stack = stack_of_details(details, &failure);
    if (!failure.stack && exception) failure.stack = stack_of_exception(exception);
    return failure;
}

void failure_finish(struct failure *failure) {
    /* Most nodes have none, and a call of libc's costs what it takes to fetch its code. */
    if (failure->message) free(failure->message);
    if (failure->stack) free(failure->stack);
    failure_init(failure);
}
