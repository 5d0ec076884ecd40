/* bridge_probe: the library's Python-facing half (bridge.c, shim_abi.c) as a library of its own, with what is
 * internal there exported: tests can make the calls that executor.c makes around nodes. Needs the GIL, when it is loaded
 * into a running Python too. */
#include "config.h"
#include "python/bridge.h"
#include "python/shim_abi.h"
#include "resolve.h"
#include "trace/ids.h"

#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT PyObject *probe_enter(const struct flight_trace *trace, uint64_t span_id, const char *origin,
                             const char *tags);
EXPORT void probe_leave(PyObject *token);
EXPORT PyObject *probe_both_while_raising(const struct flight_trace *trace);
EXPORT int probe_current(struct ids_parent *parent);
EXPORT const char *probe_runtime_id(void);

PyObject *probe_enter(const struct flight_trace *trace, uint64_t span_id, const char *origin,
                      const char *tags) {
    return bridge_enter(trace, span_id, origin, tags);
}

void probe_leave(PyObject *token) {
    bridge_leave(token);
}

/* A node is entered and left while an exception is on its way: that exception, and no other, comes out. */
PyObject *probe_both_while_raising(const struct flight_trace *trace) {
    PyErr_BadArgument();
    bridge_leave(bridge_enter(trace, 1, NULL, NULL));
    return NULL;
}

int probe_current(struct ids_parent *parent) {
    return bridge_current(parent);
}

const char *probe_runtime_id(void) {
    return shim_runtime_id();
}

static int start(void) {
    if (!python_minor) python_init(resolve_all_first); /* as the library's start does */
    return config_load(NULL) && !getenv("PROBE_INERT");
}

__attribute__((constructor)) static void load(void) {
    if (Py_IsInitialized()) python_init(resolve_all_first); /* it is not yet where this is preloaded */
    if (!getenv("PROBE_WITHOUT_START")) shim_on_start(start);
}
