/* attribution: which node, or workflow, the current thread works for, so that what it allocates is counted there.
 *
 * While a node's call runs on a thread, that is the node. While the call is suspended (an async executor awaits), the event
 * loop's thread works for the workflow; the steps of an async node's own task are recognised by ComfyUI's coroutine around
 * them, where sys.monitoring is there (3.12 and newer). Elsewhere they count for the only node that is at work, and for the
 * workflow when there are several. Needs the GIL. */
#ifndef COMFYDD_ATTRIBUTION_H
#define COMFYDD_ATTRIBUTION_H

#include "comfy/workflow.h"
#include "python/python_api.h"

/* This thread works for the node; NULL: for the workflow. */
void attribution_set(const struct workflow *workflow, const struct node *node);

/* It works for its innermost call (comfy/calls) again, or for nobody. */
void attribution_innermost(void);

/* Recognises the tasks of async nodes of this executor module (from A1 on; others have none). */
void attribution_watch_tasks(PyObject *module);

#endif
