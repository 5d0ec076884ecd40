/* Watching by code swap: the function's __code__ becomes that of a stub with the same signature,
 *
 *     def f(a, b, ):
 *      comfydd_ = <C callable>
 *      try: return comfydd_((a, b, ))          (or async def ... return await ...)
 *      except: comfydd_(); raise
 *
 * compiled here, with the C callable placed among its constants. The C callable reports the entry, calls a private
 * function object that carries the original code and globals, and reports how it ended. The program's function object
 * keeps its identity, name, signature and defaults; the stub borrows file name, first line and names, so inspect shows the
 * original. Tracebacks do too: called without an argument, the callable takes the stub's own entry off, and `raise` adds
 * none. A coroutine is driven through a small awaitable that passes send, throw and close on.
 *
 * Only documented API is used, so one code serves 3.9 - 3.15. Refused: closures, *args, **kwargs, keyword-only
 * parameters, generators; no ComfyUI executor function is one. */
#include "python/watch_internal.h"

#include "base/buf.h"
#include "python/exc_stack.h"

#include <stdlib.h>
#include <string.h>

/* ---- the awaitable around a watched coroutine ---- */

typedef struct {
    PyObject_HEAD
    PyObject *inner;     /* owned: the original coroutine */
    PyObject *arguments; /* owned */
    const struct watch_target *target;
    bool open;      /* entered and not left */
    bool suspended; /* has yielded */
} Awaitable;

static PyTypeObject *awaitable_type;
static PyObject *send_name, *throw_name, *close_name; /* interned */
static PyObject *stop_iteration;                      /* borrowed from builtins */

/* In the limited API from 3.10 on. */
extern int PyIter_Send(PyObject *iterator, PyObject *value, PyObject **result) __attribute__((weak));
enum { SEND_RETURN = 0, SEND_ERROR = -1, SEND_NEXT = 1 };

static void awaitable_left(Awaitable *self, PyObject *value, bool raised) {
    if (!self->open) return;
    self->open = false;
    struct watch_call call = {.target = self->target, .arguments = self->arguments};
    watch_left(&call, self, value, raised);
}

/* The inner coroutine raised: StopIteration is its return. The error stays set. */
static void awaitable_raised(Awaitable *self) {
    struct python_error error;
    python_error_save(&error);
    bool returned = error.type == stop_iteration;
    PyObject *exception = python_error_exception(&error);
    PyObject *value = returned && exception ? python_attribute(exception, "value") : NULL;
    awaitable_left(self, returned ? value : exception, !returned);
    python_decref(value);
    python_error_restore(&error);
}

static void awaitable_suspend(Awaitable *self, bool suspended) {
    if (!self->open || self->suspended == suspended) return;
    self->suspended = suspended;
    struct watch_call call = {.target = self->target, .arguments = self->arguments};
    if (self->target->handler->suspend) watch_suspended(&call, self, suspended);
}

static PyObject *awaitable_step(Awaitable *self, PyObject *yielded) {
    if (yielded)
        awaitable_suspend(self, true);
    else
        awaitable_raised(self);
    return yielded;
}

static PyObject *awaitable_send(PyObject *object, PyObject *value) {
    Awaitable *self = (Awaitable *)object;
    awaitable_suspend(self, false);
    void *level = exc_stack_leave_out();
    PyObject *yielded = PyObject_CallMethodObjArgs(self->inner, send_name, value, NULL);
    exc_stack_put_back(level);
    return awaitable_step(self, yielded);
}

static PyObject *awaitable_next(PyObject *object) {
    return awaitable_send(object, python_none_object);
}

static PyObject *awaitable_self(PyObject *object) {
    return python_newref(object);
}

/* am_send, 3.10+: a return without the detour over StopIteration. */
static int awaitable_am_send(PyObject *object, PyObject *value, PyObject **result) {
    Awaitable *self = (Awaitable *)object;
    awaitable_suspend(self, false);
    void *level = exc_stack_leave_out();
    int how = PyIter_Send(self->inner, value, result);
    exc_stack_put_back(level);
    if (how == SEND_NEXT) awaitable_suspend(self, true);
    if (how == SEND_RETURN) awaitable_left(self, *result, false);
    if (how == SEND_ERROR) awaitable_raised(self);
    return how;
}

static PyObject *awaitable_throw(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    Awaitable *self = (Awaitable *)object;
    return awaitable_step(self, PyObject_CallMethodObjArgs(
                                    self->inner, throw_name, count > 0 ? arguments[0] : NULL,
                                    count > 1 ? arguments[1] : NULL, count > 2 ? arguments[2] : NULL, NULL));
}

static PyObject *awaitable_close(PyObject *object, PyObject *unused) {
    (void)unused;
    Awaitable *self = (Awaitable *)object;
    PyObject *result = PyObject_CallMethodObjArgs(self->inner, close_name, NULL);
    struct python_error error;
    python_error_save(&error);
    awaitable_left(self, NULL, true);
    python_error_restore(&error);
    return result;
}

static int awaitable_traverse(PyObject *object, visitproc visit, void *context) {
    Awaitable *self = (Awaitable *)object;
    int stop = visit((PyObject *)Py_TYPE(object), context);
    if (!stop && self->inner) stop = visit(self->inner, context);
    if (!stop && self->arguments) stop = visit(self->arguments, context);
    return stop;
}

static void awaitable_dealloc(PyObject *object) {
    Awaitable *self = (Awaitable *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->open) { /* thrown away half-way */
        struct python_error error;
        python_error_save(&error);
        awaitable_left(self, NULL, true);
        python_error_restore(&error);
    }
    python_decref(self->inner);
    python_decref(self->arguments);
    PyObject_GC_Del(object);
    Py_DecRef((PyObject *)type);
}

static bool make_awaitable_type(void) {
    if (awaitable_type) return true;
    static PyMethodDef methods[] = {
        {"send", awaitable_send, METH_O, NULL},
        {"throw", (PyCFunction)(void (*)(void))awaitable_throw, METH_FASTCALL, NULL},
        {"close", awaitable_close, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    enum { AM_SEND = 81 }; /* Py_am_send of typeslots.h, 3.10+ */
    PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)awaitable_dealloc},
        {Py_tp_traverse, (void *)awaitable_traverse},
        {Py_tp_iter, (void *)awaitable_self},
        {Py_tp_iternext, (void *)awaitable_next},
        {Py_am_await, (void *)awaitable_self},
        {Py_tp_methods, methods},
        {python_minor >= 10 ? AM_SEND : 0, (void *)awaitable_am_send},
        {0, NULL},
    };
    PyType_Spec spec = {"comfydd.watched", sizeof(Awaitable), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                        slots};
    send_name = PyUnicode_InternFromString("send");
    throw_name = PyUnicode_InternFromString("throw");
    close_name = PyUnicode_InternFromString("close");
    stop_iteration = PyDict_GetItemString(PyEval_GetBuiltins(), "StopIteration");
    awaitable_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return awaitable_type && stop_iteration && send_name && throw_name && close_name;
}

static PyObject *call_coroutine(const struct watch_target *target, PyObject *arguments) {
    PyObject *inner = PyObject_CallObject(target->function, arguments);
    if (!inner) return NULL;
    Awaitable *self = (Awaitable *)PyType_GenericAlloc(awaitable_type, 0);
    if (!self) { /* no memory: the stub awaits the original itself, unwatched */
        PyErr_Clear();
        return inner;
    }
    self->inner = inner;
    self->arguments = python_newref(arguments);
    self->target = target;
    self->open = true;
    struct watch_call call = {.target = target, .arguments = arguments};
    watch_entered(&call, self);
    return (PyObject *)self;
}

/* ---- plain functions ---- */

/* The detour counts as 2 (3.9, 3.10) or 1 levels of Python's recursion limit; recursive_execute nests once per node of
 * a chain, so they are given back, exactly: one more would remove the limit. A limit that the program sets meanwhile is its
 * limit from then on. */
static void lend_recursion(int sign) {
    static int limit, lent; /* the program's, and what it has on top */
    int now = Py_GetRecursionLimit();
    if (now != limit + lent) limit = now;
    lent += sign * (python_minor < 11 ? 2 : 1);
    Py_SetRecursionLimit(limit + lent);
}

static PyObject *call_function(const struct watch_target *target, PyObject *arguments) {
    struct watch_call call = {.target = target, .arguments = arguments};
    void *key = &call; /* unique while this C frame exists */
    watch_entered(&call, key);
    lend_recursion(+1);
    PyObject *result = PyObject_CallObject(target->function, arguments);
    lend_recursion(-1);
    if (result) {
        watch_left(&call, key, result, false);
        return result;
    }
    struct python_error error;
    python_error_save(&error);
    watch_left(&call, key, python_error_exception(&error), true);
    python_error_restore(&error);
    return NULL;
}

/* The exception that is being handled has come through the stub, which is the first entry of its traceback: takes that off.
 * (Up to 3.10 the interpreter raises again with the traceback that it keeps beside the exception.) */
static void hide_stub(const struct watch_target *target) {
    PyObject *type, *exception, *traceback;
    PyErr_GetExcInfo(&type, &exception, &traceback);
    PyObject *frame = traceback ? python_attribute(traceback, "tb_frame") : NULL;
    PyObject *code = frame ? python_attribute(frame, "f_code") : NULL;
    PyObject *next = code && code == target->armed ? python_attribute(traceback, "tb_next") : NULL;
    if (next && PyException_SetTraceback(exception, next) == 0) {
        PyErr_SetExcInfo(type, exception, python_is_none(next) ? NULL : python_newref(next)); /* takes them */
        type = exception = NULL;
    }
    PyErr_Clear();
    python_decref(type);
    python_decref(exception);
    python_decref(traceback);
    python_decref(frame);
    python_decref(code);
    python_decref(next);
}

/* The one C callable in a stub's constants; `capsule` holds the target. Its one argument is the tuple of the stub's own. (Not
 * METH_O: 3.11 counts a level of recursion for those.) */
static PyObject *on_call(PyObject *capsule, PyObject *const *arguments, Py_ssize_t count) {
    const struct watch_target *target = PyCapsule_GetPointer(capsule, NULL);
    if (target && count == 0) {
        hide_stub(target);
        return python_none();
    }
    if (!target || count != 1 ||
        !python_is_tuple(arguments[0])) { /* not the stub: it is among its constants, for all to see */
        PyErr_BadArgument();
        return NULL;
    }
    if (!target->function) return python_none(); /* warm_up */
    return target->coroutine ? call_coroutine(target, arguments[0]) : call_function(target, arguments[0]);
}

static PyMethodDef call_method = {"comfydd_call", (PyCFunction)(void (*)(void))on_call, METH_FASTCALL, NULL};

/* ---- building the stub ---- */

static const char placeholder[] = "comfydd_"; /* also the local variable that receives it */

static bool suits(const struct watch_target *target) {
    enum { VARARGS = 0x04, VARKEYWORDS = 0x08, GENERATOR = 0x20, COROUTINE = 0x80, ASYNC_GENERATOR = 0x200 };
    long flags = python_long_attribute(target->code, "co_flags", -1);
    PyObject *closed = python_attribute(target->code, "co_freevars");
    bool free_of_closure = closed && PySequence_Size(closed) == 0;
    python_decref(closed);
    PyErr_Clear();
    return free_of_closure && flags >= 0 &&
           !(flags & (VARARGS | VARKEYWORDS | GENERATOR | ASYNC_GENERATOR)) &&
           python_long_attribute(target->code, "co_kwonlyargcount", 1) == 0;
}

/* The stub's source. Positional-only parameters lose their slash: callers cannot tell, the code object's own count
 * is set from the original below. */
static bool write_source(const struct watch_target *target, struct buf *source) {
    struct buf parameters = {0};
    PyObject *names = python_attribute(target->code, "co_varnames");
    for (int i = 0; names && i < target->parameters; i++) {
        char name[256];
        PyObject *item = PySequence_GetItem(names, i);
        if (!python_text(item, name, sizeof name) || strcmp(name, placeholder) == 0) parameters.failed = true;
        python_decref(item);
        buf_string(&parameters, name);
        buf_string(&parameters, ", ");
    }
    PyErr_Clear();
    python_decref(names);
    buf_append(&parameters, "", 1);
    if (parameters.failed || !names) {
        buf_finish(&parameters);
        return false;
    }
    /* Through a local: a constant called directly makes some versions warn. No global name is looked up. */
    buf_string(source, target->coroutine ? "async def f(" : "def f(");
    buf_string(source, parameters.data);
    buf_string(source, "):\n comfydd_ = 'comfydd_'\n try: return ");
    buf_string(source, target->coroutine ? "await comfydd_((" : "comfydd_((");
    buf_string(source, parameters.data);
    buf_string(source, "))\n except: comfydd_(); raise\n");
    buf_append(source, "", 1);
    buf_finish(&parameters);
    return !source->failed;
}

/* The code object of f inside the compiled module. */
static PyObject *compile_stub(const char *source) {
    enum { FILE_INPUT = 257 }; /* Py_file_input */
    PyObject *module = Py_CompileString(source, "<comfydd>", FILE_INPUT);
    PyObject *constants = module ? python_attribute(module, "co_consts") : NULL;
    PyObject *stub = NULL;
    for (Py_ssize_t i = 0; constants && !stub && i < PySequence_Size(constants); i++) {
        PyObject *constant = PySequence_GetItem(constants, i);
        PyObject *inner = constant ? python_attribute(constant, "co_consts") : NULL;
        if (inner) stub = python_newref(constant);
        python_decref(inner);
        python_decref(constant);
    }
    python_decref(module);
    python_decref(constants);
    return stub;
}

/* The stub's constants with the C callable in the placeholder's place, as a tuple. */
static PyObject *constants_with(PyObject *stub, PyObject *callable) {
    PyObject *constants = python_attribute(stub, "co_consts");
    PyObject *list = constants ? PySequence_List(constants) : NULL;
    for (Py_ssize_t i = 0; list && i < PyList_Size(list); i++) {
        char text[sizeof placeholder + 1];
        python_text(PyList_GetItem(list, i), text, sizeof text);
        if (strcmp(text, placeholder) == 0) PyList_SetItem(list, i, python_newref(callable));
    }
    PyObject *tuple = list ? PySequence_Tuple(list) : NULL;
    python_decref(constants);
    python_decref(list);
    return tuple;
}

/* stub.replace(co_consts=..., and what the original is called and where it stands). */
static PyObject *dress(PyObject *stub, PyObject *constants, PyObject *original) {
    static const char *const same[] = {"co_name", "co_filename", "co_firstlineno", "co_qualname", /* 3.11+ */
                                       "co_posonlyargcount"};
    PyObject *keywords = PyDict_New();
    PyObject *replace = python_attribute(stub, "replace");
    PyObject *nothing = PyTuple_New(0);
    PyObject *dressed = NULL;
    if (keywords && replace && nothing && PyDict_SetItemString(keywords, "co_consts", constants) == 0) {
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            PyObject *value = python_attribute(original, same[i]);
            if (value) PyDict_SetItemString(keywords, same[i], value);
            python_decref(value);
        }
        dressed = PyObject_Call(replace, nothing, keywords);
    }
    python_decref(keywords);
    python_decref(replace);
    python_decref(nothing);
    return dressed;
}

/* A private function object with this code, and the original's globals and name. Defaults are not needed: the stub's
 * function has applied them. */
static PyObject *private_function(const struct watch_target *target, PyObject *code) {
    PyObject *type = PyObject_Type(target->watched);
    PyObject *globals = python_attribute(target->watched, "__globals__");
    PyObject *name = python_attribute(target->watched, "__name__");
    PyObject *qualified = python_attribute(target->watched, "__qualname__");
    PyObject *copy = NULL;
    if (type && globals && name && qualified)
        copy = PyObject_CallFunctionObjArgs(type, code, globals, name, NULL);
    if (copy && PyObject_SetAttrString(copy, "__qualname__", qualified) != 0) {
        Py_DecRef(copy);
        copy = NULL;
    }
    python_decref(type);
    python_decref(globals);
    python_decref(name);
    python_decref(qualified);
    return copy;
}

/* 3.11 counts a level more for calls that its interpreter has not specialised yet, which it does after eight: those are
 * made here, by nobody, so that lend_recursion is right from the first real call on. */
static void warm_up(const struct watch_target *target, PyObject *code) {
    if (python_minor != 11 || target->coroutine) return;
    PyObject *function = private_function(target, code);
    PyObject *arguments = PyTuple_New(target->parameters);
    for (int i = 0; arguments && i < target->parameters; i++)
        PyTuple_SetItem(arguments, i, python_none());
    for (int i = 0; function && arguments && i < 16; i++)
        python_decref(PyObject_CallObject(function, arguments));
    python_decref(function);
    python_decref(arguments);
}

bool watch_swap_arm(struct watch_target *target) {
    struct buf source = {0};
    PyObject *stub = NULL, *capsule = NULL, *callable = NULL, *constants = NULL, *code = NULL;
    if (target->coroutine) exc_stack_init();
    if (suits(target) && make_awaitable_type() && write_source(target, &source))
        stub = compile_stub(source.data);
    if (stub) capsule = PyCapsule_New(target, NULL, NULL);
    if (capsule) callable = PyCFunction_NewEx(&call_method, capsule, NULL);
    if (callable) constants = constants_with(stub, callable);
    if (constants) code = dress(stub, constants, target->code);
    if (code) {
        warm_up(target, code);
        target->function = private_function(target, target->code);
    }
    bool armed = target->function && PyObject_SetAttrString(target->watched, "__code__", code) == 0;
    PyErr_Clear();
    python_decref(stub);
    python_decref(capsule);
    python_decref(callable);
    python_decref(constants);
    python_decref(code);
    buf_finish(&source);
    return armed;
}
