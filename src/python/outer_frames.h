/* outer_frames: the Python frames that the running code was called from.
 *
 * Needs the GIL; no error is left set. Asking for a frame's variable may run Python code on no version. */
#ifndef COMFYDD_OUTER_FRAMES_H
#define COMFYDD_OUTER_FRAMES_H

#include "python/python_api.h"

/* What `look` returns (a new reference) for the innermost frame for which that is not NULL, among the running one and those
 * around it, `deepest` in all; NULL when there is none. `code` is the frame's; both are borrowed. */
PyObject *outer_frames_find(PyObject *(*look)(PyFrameObject *frame, PyObject *code), int deepest);

/* A frame's variable; new reference, NULL when it has none of that name. */
PyObject *outer_frames_variable(PyFrameObject *frame, const char *name);

#endif
