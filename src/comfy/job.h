/* job: what a prompt's extra_data says about its job. Only the named keys are ever read: the dict holds API keys too.
 *
 * Needs the GIL; leaves no error set. */
#ifndef COMFYDD_JOB_H
#define COMFYDD_JOB_H

#include "python/python_api.h"
#include "trace/ids.h"

#include <stdbool.h>

struct job {
    char id[256];    /* extra_data["job_id"], empty when absent */
    bool has_parent; /* from dd_trace_id and dd_parent_id, else traceparent */
    struct ids_parent parent;
    double created_ms; /* extra_data["create_time"], milliseconds since the epoch; 0 when unknown */
};

/* A malformed context gives a log line (ten per process at most) and no parent. */
struct job job_read(PyObject *extra_data);

#endif
