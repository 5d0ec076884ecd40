/* calls: the watched calls that have been entered and not left, in order of entry.
 *
 * Needs the GIL. Pointers to calls are good until the next push or pop: after Python code has run, calls_again says which
 * call it is now. */
#ifndef COMFYDD_CALLS_H
#define COMFYDD_CALLS_H

#include "comfy/graph.h"
#include "comfy/workflow.h"
#include "python/python_api.h"

/* What a prompt's call was given. References are owned; any may be NULL. */
struct prompt {
    PyObject *executor;
    PyObject *nodes; /* a dict by node id */
    PyObject *extra_data;
    struct graph graph; /* taken out while it is read */
};

/* A prompt's call (node NULL) or a node's. */
struct call {
    void *key; /* the watch's name for the activation */
    struct workflow *workflow;
    struct node *node;
    uintptr_t thread;      /* base/thread */
    struct prompt *prompt; /* owned; NULL: a node's */
    PyObject *results;     /* owned; a node's: where the executor notes what is done; may be NULL */
    bool done_before;      /* it was there already at entry */
    PyObject *id;          /* owned: the prompt's or the node's; may be NULL */
    PyObject *bridge;      /* owned: what bridge_enter gave, or NULL */
    uint64_t entered_ns;   /* monotonic */
};

/* Drops its references, which may run Python code. NULL is fine. */
void prompt_free(struct prompt *prompt);

/* A new call of this thread at the end; NULL without memory. */
struct call *calls_push(void *key, struct workflow *workflow, struct node *node, uint64_t mono_ns);

/* The call with this key; NULL when there is none. */
struct call *calls_find(const void *key);

/* Grows with each push and pop. */
extern unsigned calls_changes;

/* The call with this key, which was `call` when calls_changes was `then`; NULL when it is gone. */
static inline struct call *calls_again(struct call *call, const void *key, unsigned then) {
    return calls_changes == then ? call : calls_find(key);
}

/* Shows `span_id` to ddtrace as its parent until the call is taken out. Runs Python code. */
void calls_enter_bridge(const void *key, const struct workflow *workflow, uint64_t span_id);

/* Takes a call out, whose references are the caller's then: calls_finish drops them, and leaves the bridge, which runs Python
 * code. calls_pop does both. */
struct call calls_take(struct call *call);
void calls_finish(struct call *taken);
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

/* How many prompt calls there are. */
size_t calls_prompts(void);

/* In a forked child: empties the table without dropping references (they are the parent's bookkeeping). */
void calls_forget(void);

#endif
