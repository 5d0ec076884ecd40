/* executor: the joint between the watched Python functions and the spans.
 *
 * It turns calls of ComfyUI's executor (comfy/generations) into workflows and nodes (comfy/workflow). A node's call is
 * matched to its workflow by prompt id, the identity of its extra_data, and its thread, never by what was opened last.
 * Everything runs with the GIL held, which is what protects the tables. */
#ifndef COMFYDD_EXECUTOR_H
#define COMFYDD_EXECUTOR_H

#include "python/python_api.h"

/* Must be called before the first module is found. `read_settings` is called when an executor is found: then this is a
 * ComfyUI. `start_tracing` is called at the first workflow, and again at the
 * first workflow of a forked child: it makes spans possible. */
void executor_init(void (*read_settings)(void), void (*start_tracing)(void));

/* A module that may be an executor has been loaded: watches it if it is one. Suits discovery_start. */
void executor_module_found(PyObject *module);

/* The process ends: closes what is open, without touching Python. */
void executor_shutdown(void);

/* In a forked child, from an atfork handler: what is open belongs to the parent. */
void executor_forked(void);

#endif
