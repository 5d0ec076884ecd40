/* outcome: how a node's call ended, from what the executor's function returned or raised.
 *
 * Needs the GIL; no error is left set. Who is given an outcome owns its failure's texts (failure_finish). */
#ifndef COMFYDD_OUTCOME_H
#define COMFYDD_OUTCOME_H

#include "comfy/failure.h"
#include "comfy/generations.h"
#include "comfy/workflow.h"

struct outcome {
    enum node_result result;
    struct failure failure; /* of FAILURE */
    bool elsewhere;         /* the failure is another node's, for which this one waited in vain */
};

/* Of a returned (result, details, exception), or of what the oldest executors return on success. */
void outcome_returned(struct outcome *outcome, const struct generation *generation, const struct node *node,
                      PyObject *value);

/* Of an exception (NULL for a coroutine that was closed or thrown away). The oldest executors raise: it passes the calls of
 * all nodes that waited for the failing one. */
void outcome_raised(struct outcome *outcome, const struct workflow *workflow, PyObject *exception);

#endif
