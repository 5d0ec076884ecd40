/* shim: the C functions that the Python side (comfyui_shim/) calls in libcomfydd.so, through ctypes.PyDLL.
 *
 * Every function must be called with the GIL held, in the main interpreter; each is safe to call at any time, any
 * number of times, in a process where the library is inert too. PyObject arguments are borrowed; what is kept is
 * kept with a reference of the library's own. */
#ifndef COMFYDD_SHIM_H
#define COMFYDD_SHIM_H

typedef struct _object PyObject;

#define COMFYDD_SHIM_ABI 2

/* COMFYDD_SHIM_ABI of the loaded library; also how the shim finds out that one is loaded. */
int comfydd_shim_abi(void);

/* Starts watching now, for a library that was loaded by dlopen instead of LD_PRELOAD. 1 when watching, also when it
 * was already; 0 when the library stays inert (disabled, no supported Python, a second copy). */
int comfydd_start(void);

/* The service and the environment of our spans, wherever they were set, or the defaults: for ddtrace to use the same.
 * Never NULL or empty; valid for ever once comfydd_start has returned 1. */
const char *comfydd_service(void);
const char *comfydd_env(void);

/* ddtrace's runtime id (32 lower-case hex digits), so that runtime metrics and profiles join our spans. Replaces the
 * library's own. Returns 0, or -1 when the text is not of that form. */
int comfydd_set_runtime_id(const char *id);

/* Registers the bridge to ddtrace. Three callables, or None for all of them to take it away:
 *   enter(trace_id: int (128 bit), span_id: int, root_span_id: int, priority: int, mechanism: int, origin: str | None,
 *         tags: str | None)
 *       -> object   called on the thread and task that starts a node; makes the span ddtrace's active parent
 *   leave(object) -> None   called on the same thread and task when the node's call ends
 *   current() -> None | (trace_id: int, span_id: int, priority: int | None, origin: str | None, tags: str | None)
 *       the trace context active in ddtrace now; called when a prompt is queued
 * `tags` are those that travel with the trace, as the header x-datadog-tags has them: "_dd.p.dm=-4,_dd.p.x=y".
 * An exception from any of them is swallowed, reported once, and ends the bridge. Returns 0, or -1 with a Python
 * exception set when the arguments are not callable. */
int comfydd_set_bridge(PyObject *enter, PyObject *leave, PyObject *current);

#endif
