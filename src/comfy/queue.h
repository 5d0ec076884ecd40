/* queue: when a prompt was put into ComfyUI's queue, and in which trace context.
 *
 * PromptQueue.put runs on the server's thread while the HTTP request is handled; the prompt is executed on another
 * thread, later. The last 10,000 prompts that wait are known. Needs the GIL. */
#ifndef COMFYDD_QUEUE_H
#define COMFYDD_QUEUE_H

#include "python/python_api.h"
#include "trace/ids.h"

#include <stdbool.h>
#include <stdint.h>

struct queue_entry {
    uint64_t put_mono_ns;
    bool has_parent; /* ddtrace was tracing the request that queued the prompt */
    struct ids_parent parent;
};

/* Watches PromptQueue.put of this executor module, if it has one. */
void queue_watch(PyObject *module);

/* Takes the entry of this prompt out, the oldest of several with this id; false when it was not seen. */
bool queue_take(const char *prompt_id, struct queue_entry *entry);

#endif
