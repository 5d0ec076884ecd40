/* failure: what went wrong in a node, read from Python objects.
 *
 * Needs the GIL; leaves no error set. Reading a message may run the exception's own __str__. */
#ifndef COMFYDD_FAILURE_H
#define COMFYDD_FAILURE_H

#include "python/python_api.h"

#include <stdbool.h>

struct failure {
    bool interrupted; /* the user stopped the workflow: no error, the texts below are empty */
    char type[256];   /* module-qualified class, or OutOfMemoryError; empty: no failure */
    char *message;    /* owned, may be NULL */
    char *stack;      /* owned, may be NULL */
};

/* The exception (may be NULL) and the executor's own description of it (a dict with exception_message, exception_type
 * and traceback; may be NULL). */
__attribute__((cold)) struct failure failure_read(PyObject *exception, PyObject *details);

/* None; all but the characters of `type`, of which there are many. */
static inline void failure_init(struct failure *failure) {
    failure->interrupted = false;
    failure->type[0] = '\0';
    failure->message = failure->stack = NULL;
}

/* Frees its texts: there is none then. */
void failure_finish(struct failure *failure);

#endif
