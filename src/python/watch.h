/* watch: telling C when chosen Python functions are entered and left, without changing what the program sees.
 *
 * Two mechanisms behind one contract (facts and figures: HACKING.md, "Watching"):
 *   watch_monitoring   sys.monitoring local events on the function's code object; Python 3.12+; functions whose
 *                      exceptions need not be seen
 *   watch_swap         the function's __code__ is swapped for a stub with the same signature; every version; sees
 *                      exceptions; for coroutines too
 * watch_function chooses.
 *
 * An activation (one call of a watched function) is named by a key, unique while it is open. Activations are entered
 * when their body starts to run: a coroutine that is never awaited never shows. An exit can be missed (monitoring does
 * not see exceptions): then the key may be entered again, or stay open until the caller of the function is left.
 *
 * Threads: everything runs with the GIL held, on the watched thread. Handlers must not leave a Python error set, and
 * need not expect one to be set. No handler is called in a sub-interpreter. */
#ifndef COMFYDD_WATCH_H
#define COMFYDD_WATCH_H

#include "python/python_api.h"

#include <stdbool.h>

#define WATCH_ARGUMENTS 8

struct watch_call;

/* What to do at a function; owned by the caller, lives for ever. */
struct watch_handler {
    /* The body begins. A call is valid during the handler only. */
    void (*enter)(const struct watch_call *call, void *key, void *context);
    /* The activation ended: `value` is what it returned, or the exception that left it when `raised` (NULL for a
     * coroutine that was closed or thrown away). Borrowed. */
    void (*leave)(const struct watch_call *call, void *key, void *context, PyObject *value, bool raised);
    /* A coroutine is suspended, and its thread does other things; or it goes on (not called for its first step, nor when
     * an exception is thrown into it). May be NULL. */
    void (*suspend)(const struct watch_call *call, void *key, void *context, bool suspended);
    /* Parameters that enter and suspend want, by name; a NULL ends the list. */
    const char *arguments[WATCH_ARGUMENTS + 1];
};

enum watch_needs {
    WATCH_RETURNS,    /* monitoring where it exists */
    WATCH_EXCEPTIONS, /* swap */
};

/* Watches `function` (a Python function object; borrowed). False, without an error set, when that is not possible; the
 * function is unchanged then. A function already watched stays so, once. */
bool watch_function(PyObject *function, const struct watch_handler *handler, void *context,
                    enum watch_needs needs);

/* Whether this function is watched, and the program has neither given it other code since (that may be a wrapper around the
 * code that is watched: ddtrace wraps like this) nor taken sys.monitoring away. */
bool watch_watches(PyObject *function);

/* Watches a function with the code that it has now, as if it had not been watched before. */
bool watch_anew(PyObject *function, const struct watch_handler *handler, void *context,
                enum watch_needs needs);

/* Watches the coroutine function `name` that is defined inside `function`'s body, or inside of functions there, however
 * often it is made, where there is monitoring; its exceptions are not seen. False, without an error set, where there is
 * none, or no such function. */
bool watch_nested_coroutine(PyObject *function, const char *name, const struct watch_handler *handler,
                            void *context);

/* No handler is called from now on: for the end of the process, when other threads may still run Python code. Waits for those
 * that are being called, at most so long; false when one still is. Any thread, without the GIL; never waits for that. */
bool watch_stop(int patience_ms);

/* In a forked child, from an atfork handler: what other threads' handlers were doing does not count. */
void watch_forked(void);

/* The value of handler->arguments[index] as passed to this call: new reference; NULL when there is no such parameter. */
PyObject *watch_argument(const struct watch_call *call, int index);

/* The function that was called. Borrowed. */
PyObject *watch_watched(const struct watch_call *call);

enum watch_local { WATCH_UNBOUND, WATCH_BOUND, WATCH_UNKNOWN };

/* Whether the function's local `name` (an interned str) has a value. UNKNOWN where locals cannot be seen. */
enum watch_local watch_local(const struct watch_call *call, PyObject *name);

/* What watches this function: "sys.monitoring", "code swap", or "nothing". Static. */
const char *watch_mechanism(PyObject *function);

#endif
