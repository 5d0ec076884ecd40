/* calls: the watched calls that have been entered and not left, in order of entry.
 *
 * Needs the GIL. Pointers to calls are good until the next push or pop: what runs Python code in between looks its call
 * up again. */
#ifndef COMFYDD_CALLS_H
#define COMFYDD_CALLS_H

#include "comfy/workflow.h"
#include "python/python_api.h"

#include <pthread.h>

/* A prompt's call (node NULL) or a node's. */
struct call {
    void *key; /* the watch's name for the activation */
    struct workflow *workflow;
    struct node *node;
    pthread_t thread;
    PyObject *executor, *prompt, *extra_data; /* a prompt's: owned; a node's: NULL */
    PyObject *bridge;                         /* owned: what bridge_enter gave, or NULL */
    uint64_t entered_ns;                      /* monotonic */
    bool done_before;                         /* a node's: its result was there already at entry */
};

/* A new call of this thread at the end; NULL without memory. */
struct call *calls_push(void *key, struct workflow *workflow, struct node *node, uint64_t mono_ns);

/* The call with this key; NULL when there is none. */
struct call *calls_find(const void *key);

/* Takes a call out and drops its references; leaves the bridge, which runs Python code. */
void calls_pop(struct call *call);

/* Takes out all calls of this workflow. */
void calls_pop_workflow(const struct workflow *workflow);

/* The innermost node call of this workflow on this thread; NULL when there is none. */
struct call *calls_innermost_node(const struct workflow *workflow);

/* The innermost call of any kind on this thread; NULL when there is none. */
struct call *calls_innermost(void);

/* The innermost prompt call on this thread; NULL when there is none. */
struct call *calls_innermost_prompt(void);

/* The prompt call that a node's call belongs to: the same prompt id (where the executor passes one), preferably the
 * same extra_data object, preferably this thread. NULL when there is none. */
struct call *calls_prompt_of(PyObject *prompt_id, PyObject *extra_data);

/* In a forked child: empties the table without dropping references (they are the parent's bookkeeping). */
void calls_forget(void);

#endif
