/* reruns: nodes that are executed a second time in one run, because the cache has lost their result, told from those whose
 * result is handed out again.
 *
 * Only a node that is really executed gets its inputs. Where the locals of the executor's function can be seen
 * (sys.monitoring), they show that; elsewhere its helper `get_input_data` is watched too, from the first time on that a cache
 * which may lose results is asked again. Needs the GIL. */
#ifndef COMFYDD_RERUNS_H
#define COMFYDD_RERUNS_H

#include "comfy/calls.h"
#include "python/watch.h"

/* At the entry of a node's call, when the node's result was there before. `caches`: what the executor passes under that
 * name, NULL when it does not. May run Python code. */
void reruns_expect(const struct watch_call *watched, PyObject *caches);

/* At its successful end: whether the node was executed. */
bool reruns_ran(const struct watch_call *watched, const struct node *node);

#endif
