/* Local sys.monitoring events (PEP 669) on the code objects of watched functions.
 *
 * Only PY_START and PY_RETURN are asked for, and PY_YIELD and PY_RESUME of coroutines whose handler wants to know: all are
 * local on 3.12+, so all other Python code runs as if nothing were watched. PY_UNWIND is global up to 3.14 and costs
 * every exception of the program, hence WATCH_EXCEPTIONS goes to the swap mechanism. */
#include "base/each_node.h"
#include "python/frames.h"
#include "python/watch_internal.h"

#include <string.h>

static const char tool_name[] = "comfydd";
static PyObject *monitoring; /* owned: the sys.monitoring namespace */
static long tool = -1;
static long event_start, event_return, event_yield, event_resume;

/* Few entries (one or two per loaded executor): a list in order of arming, newest last. */
#define TARGET_LIMIT 64
static struct {
    const PyObject *code; /* the target's: found without looking into others */
    struct watch_target *target;
} targets[TARGET_LIMIT];
EACH_NODE static int target_count;

static const struct watch_target *target_of(const PyObject *code) {
    for (int i = target_count; i-- > 0;)
        if (targets[i].code == code) return targets[i].target;
    return NULL;
}

/* The call that is reported. Its key is the frame's address, or that of its frame object where frames are not read: unique
 * while the frame runs, and never used as a pointer again; NULL when it cannot be had. */
static void *key_of(struct watch_call *call, PyObject *code) {
    *call = (struct watch_call){.target = target_of(code)};
    if (!call->target) return NULL;
    call->running = frames_innermost(code);
    if (call->running) return (void *)call->running;
    return call->frame = PyEval_GetFrame();
}

/* Callbacks must not raise: an exception would surface in the watched program. */
static PyObject *on_start(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    (void)self, (void)count;
    struct watch_call call;
    void *key = key_of(&call, arguments[0]);
    if (key) watch_entered(&call, key);
    return python_none();
}

static PyObject *on_return(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    (void)self;
    struct watch_call call;
    void *key = key_of(&call, arguments[0]);
    if (key && count > 2) watch_left(&call, key, arguments[2], false);
    return python_none();
}

static PyObject *suspend(PyObject *code, bool suspended) {
    struct watch_call call;
    void *key = key_of(&call, code);
    if (key) watch_suspended(&call, key, suspended);
    return python_none();
}

static PyObject *on_yield(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    (void)self, (void)count;
    return suspend(arguments[0], true);
}

static PyObject *on_resume(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    (void)self, (void)count;
    return suspend(arguments[0], false);
}

static PyMethodDef start_method = {"comfydd_start", (PyCFunction)(void (*)(void))on_start, METH_FASTCALL,
                                   NULL};
static PyMethodDef return_method = {"comfydd_return", (PyCFunction)(void (*)(void))on_return, METH_FASTCALL,
                                    NULL};

static PyMethodDef yield_method = {"comfydd_yield", (PyCFunction)(void (*)(void))on_yield, METH_FASTCALL,
                                   NULL};
static PyMethodDef resume_method = {"comfydd_resume", (PyCFunction)(void (*)(void))on_resume, METH_FASTCALL,
                                    NULL};

static bool succeeded(PyObject *result) {
    python_decref(result);
    if (!result) PyErr_Clear();
    return result != NULL;
}

/* Another tool may free every id, and take ours. */
static bool tool_is_ours(void) {
    PyObject *name = PyObject_CallMethod(monitoring, "get_tool", "l", tool);
    char text[16];
    bool ours = python_text(name, text, sizeof text) && strcmp(text, tool_name) == 0;
    PyErr_Clear();
    python_decref(name);
    return ours;
}

static bool take_tool_id(void) {
    /* ddtrace, profilers, coverage and debuggers own 1 to 4; 0 belongs to debuggers, so it comes second. */
    static const int preferred[] = {5, 0};
    for (size_t i = 0; i < sizeof preferred / sizeof *preferred; i++)
        if (succeeded(PyObject_CallMethod(monitoring, "use_tool_id", "is", preferred[i], tool_name))) {
            tool = preferred[i];
            return true;
        }
    return false;
}

static bool on_event(long event, PyMethodDef *method) {
    PyObject *callback = PyCFunction_NewEx(method, NULL, NULL);
    bool done = callback &&
                succeeded(PyObject_CallMethod(monitoring, "register_callback", "llO", tool, event, callback));
    python_decref(callback);
    return done;
}

static bool prepare(void) {
    if (tool >= 0) return tool_is_ours();
    if (!monitoring) {
        PyObject *found = PySys_GetObject("monitoring"); /* borrowed */
        if (!found || python_minor < 12) return false;
        monitoring = python_newref(found);
    }
    PyObject *events = python_attribute(monitoring, "events");
    if (!events) return false;
    event_start = python_long_attribute(events, "PY_START", 0);
    event_return = python_long_attribute(events, "PY_RETURN", 0);
    event_yield = python_long_attribute(events, "PY_YIELD", 0);
    event_resume = python_long_attribute(events, "PY_RESUME", 0);
    Py_DecRef(events);
    if (!event_start || !event_return || !event_yield || !event_resume || !take_tool_id()) return false;
    if (on_event(event_start, &start_method) && on_event(event_return, &return_method) &&
        on_event(event_yield, &yield_method) && on_event(event_resume, &resume_method))
        return true;
    succeeded(PyObject_CallMethod(monitoring, "free_tool_id", "l", tool));
    tool = -1;
    return false;
}

bool watch_monitoring_sees(PyObject *code) {
    if (tool < 0 || !tool_is_ours()) return false;
    PyObject *set = PyObject_CallMethod(monitoring, "get_local_events", "lO", tool, code);
    long events = set ? PyLong_AsLong(set) : 0;
    PyErr_Clear();
    python_decref(set);
    return (events & event_start) && (events & event_return);
}

bool watch_monitoring_arm(struct watch_target *target) {
    if (target_of(target->code) && watch_monitoring_sees(target->code))
        return true; /* another function with the same code: seen as that one */
    if (target_count == TARGET_LIMIT || !prepare()) return false;
    targets[target_count].code = target->code;
    targets[target_count++].target = target;
    long events = event_start | event_return;
    if (target->coroutine && target->handler->suspend) events |= event_yield | event_resume;
    if (succeeded(PyObject_CallMethod(monitoring, "set_local_events", "lOl", tool, target->code, events)))
        return true;
    target_count--;
    return false;
}
