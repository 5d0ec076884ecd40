/* watch_internal: what the two mechanisms of watch.h share. */
#ifndef COMFYDD_WATCH_INTERNAL_H
#define COMFYDD_WATCH_INTERNAL_H

#include "python/watch.h"

/* A watched function; never freed (its code may run until the end of the process). */
struct watch_target {
    struct watch_target *next; /* all of them, for "already watched" */
    PyObject *watched; /* owned: the program's function object, or its code when that is all there is */
    const struct watch_handler *handler;
    void *context;
    PyObject *function; /* swap, owned: a private function with the original code, which the stub calls */
    PyObject *code;     /* owned: the code object whose activations are seen */
    /* Owned: the code that the program's function has since; NULL when `watched` is code itself. */
    PyObject *armed;
    int parameters;
    bool coroutine;
    PyObject *names[WATCH_ARGUMENTS]; /* owned, interned */
    int positions[WATCH_ARGUMENTS];   /* among the parameters; -1 where there is none */
    bool is_cell[WATCH_ARGUMENTS];    /* inner functions use it */
};

struct watch_call {
    const struct watch_target *target;
    const void *running;  /* monitoring: frames_innermost; NULL where that is not known, and with swap */
    PyFrameObject *frame; /* monitoring: borrowed, or NULL while it is not needed; swap: NULL */
    PyObject *arguments;  /* swap: the tuple, borrowed; monitoring: NULL */
};

/* Call the target's handler, unless watching has stopped. */
void watch_entered(const struct watch_call *call, void *key);
void watch_left(const struct watch_call *call, void *key, PyObject *value, bool raised);
void watch_suspended(const struct watch_call *call, void *key, bool suspended);

/* Arms one mechanism; true when it works. Errors are cleared. */
bool watch_monitoring_arm(struct watch_target *target);
bool watch_swap_arm(struct watch_target *target);

/* Whether the activations of this code are reported: not when another tool has taken the place of ours. */
bool watch_monitoring_sees(PyObject *code);

#endif
