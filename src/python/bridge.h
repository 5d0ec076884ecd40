/* bridge: showing our spans to ddtrace as its active parent, and reading the parent that ddtrace has.
 *
 * Calls what the shim registered (comfydd_set_bridge; include/comfydd/shim.h has their signatures); without a bridge
 * every call costs next to nothing. Needs the GIL. The caller's error indicator is preserved and no error is left. An
 * exception from the bridge is reported once and ends it, unless the program's stack or memory had no room; contexts that are
 * active then are still taken back. */
#ifndef COMFYDD_BRIDGE_H
#define COMFYDD_BRIDGE_H

#include "comfydd/flight.h"
#include "python/python_api.h"

#include <stdbool.h>
#include <stdint.h>

struct ids_parent;

/* Replaces the bridge by three callables, or ends it with three times None. Keeps references of its own. False, with a
 * TypeError set, for anything else. */
bool bridge_set(PyObject *enter, PyObject *leave, PyObject *current);

/* Makes the span the parent of what ddtrace traces on this thread and task until bridge_leave. `origin` and
 * `tags` (as struct ids_parent has them) may be NULL. Returns a token, owned by the caller, for bridge_leave; NULL when
 * there is no bridge. */
PyObject *bridge_enter(const struct flight_trace *trace, uint64_t span_id, const char *origin,
                       const char *tags);

/* Makes active again what was active before. Call it on the thread and task of the bridge_enter. Takes the token over;
 * NULL is fine. */
void bridge_leave(PyObject *token);

/* The trace context active in ddtrace, on this thread and task. False when there is none: `parent` is unspecified. */
bool bridge_current(struct ids_parent *parent);

#endif
